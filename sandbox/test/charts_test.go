package test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChartsAreServedOverHTTPAndFromARegistry(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "shop"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "shop/Chart.yaml"), []byte("{apiVersion: v2, name: shop, version: 1.0.0}"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, "charts", "--root", root, "--username", "ada", "--password", "secret")
	fields := strings.Fields(p.ready)
	if len(fields) != 3 || !strings.HasPrefix(fields[1], "http://127.0.0.1:") || !strings.HasPrefix(fields[2], "oci://127.0.0.1:") || !strings.HasSuffix(fields[2], "/charts") {
		t.Fatalf("it says %q", p.ready)
	}
	for _, path := range []string{"index.yaml", "shop-1.0.0.tgz", "v2/charts/shop/manifests/1.0.0"} {
		for userinfo, want := range map[string]int{"": http.StatusUnauthorized, "ada:secret@": http.StatusOK} {
			response, err := http.Get(strings.Replace(fields[1], "//", "//"+userinfo, 1) + path)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s as %q: %s", path, userinfo, response.Status)
			}
		}
	}
}
