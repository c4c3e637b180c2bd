package chartserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// serve serves three charts, one of them in two versions.
func serve(t *testing.T) (root string, h *Handler, url string) {
	t.Helper()
	root = t.TempDir()
	write(t, root, map[string]string{
		"team/shop/Chart.yaml":             "{apiVersion: v2, name: shop, version: 1.9.0}",
		"team/shop/templates/a.yaml":       "kind: ConfigMap\n",
		"team/shop/charts/part/Chart.yaml": "{apiVersion: v2, name: part, version: 0.1.0}",
		"team/shop-next/Chart.yaml":        "{apiVersion: v2, name: shop, version: 1.10.0+a}",
		"other/Chart.yaml":                 "{apiVersion: v2, name: other, version: 0.1.0, dependencies: [{name: base, repository: 'file://../base'}]}",
		"base/Chart.yaml":                  "{apiVersion: v2, name: base, version: 0.1.0}",
		"base/values.yaml":                 "a: b\n",
	})
	h, err := NewHandler(root)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return root, h, s.URL
}

func get(t *testing.T, url string, header ...string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, b
}

type entry struct {
	Version, Digest string
	URLs            []string
}

func indexOf(t *testing.T, url string) map[string][]entry {
	t.Helper()
	status, b := get(t, url)
	var i struct{ Entries map[string][]entry }
	if err := yaml.Unmarshal(b, &i); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d, %v\n%s", url, status, err, b)
	}
	return i.Entries
}

func filesOf(t *testing.T, archive []byte) (names []string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestAFolderIsARepositoryOfTheChartsBelowIt(t *testing.T) {
	root, _, url := serve(t)
	all := indexOf(t, url+"/index.yaml")
	if len(all) != 3 || len(all["shop"]) != 2 || all["shop"][0].Version != "1.10.0+a" {
		t.Errorf("all charts: %v", all)
	}
	team := indexOf(t, url+"/team/index.yaml")
	if len(team) != 1 || len(team["shop"]) != 2 {
		t.Errorf("the team's charts: %v", team)
	}
	old := team["shop"][1]
	status, archive := get(t, url+"/team/"+old.URLs[0])
	if sum := sha256.Sum256(archive); status != http.StatusOK || hex.EncodeToString(sum[:]) != old.Digest {
		t.Errorf("%d, %x, want %s", status, sum, old.Digest)
	}
	if got := filesOf(t, archive); !slices.Equal(got, []string{"shop/Chart.yaml", "shop/charts/part/Chart.yaml", "shop/templates/a.yaml"}) {
		t.Errorf("the archive has %q", got)
	}
	for _, path := range []string{"/none/index.yaml", "/team/other-0.1.0.tgz", "/", "/team/shop/Chart.yaml"} {
		if status, _ := get(t, url+path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}

	write(t, root, map[string]string{"team/shop/values.yaml": "new: true\n"})
	if again := indexOf(t, url+"/team/index.yaml")["shop"]; again[1].Digest == old.Digest || again[0].Digest != team["shop"][0].Digest {
		t.Errorf("after a change of one chart: %v, before: %v", again, team)
	}
}

func TestADependencyOfAnotherFolderIsPackedToo(t *testing.T) {
	root, _, url := serve(t)
	_, archive := get(t, url+"/other-0.1.0.tgz")
	if got := filesOf(t, archive); !slices.Equal(got, []string{"other/Chart.yaml", "other/charts/base/Chart.yaml", "other/charts/base/values.yaml"}) {
		t.Errorf("the archive has %q", got)
	}
	write(t, root, map[string]string{"base/Chart.yaml": "{name: base, version: 0.1.0, dependencies: [{name: other, repository: 'file://../other'}]}"})
	if status, b := get(t, url+"/index.yaml"); status != http.StatusInternalServerError || !strings.Contains(string(b), "deep") {
		t.Errorf("charts that depend on each other: %d %s", status, b)
	}
}

func TestTheRegistryHasTheSameArchives(t *testing.T) {
	_, _, url := serve(t)
	status, b := get(t, url+"/v2/charts/shop/manifests/1.10.0_a", "Accept", manifestType)
	var m struct {
		Config, Layers json.RawMessage
	}
	var layers []struct{ MediaType, Digest string }
	if err := errors.Join(json.Unmarshal(b, &m), json.Unmarshal(m.Layers, &layers)); err != nil || status != http.StatusOK || len(layers) != 1 || layers[0].MediaType != contentType {
		t.Fatalf("%d, %v\n%s", status, err, b)
	}
	_, archive := get(t, url+"/v2/charts/shop/blobs/"+layers[0].Digest)
	_, same := get(t, url+"/shop-1.10.0+a.tgz")
	if len(archive) == 0 || !bytes.Equal(archive, same) {
		t.Errorf("%d bytes, and by HTTP %d", len(archive), len(same))
	}
	if _, b := get(t, url+"/v2/charts/shop/tags/list"); !strings.Contains(string(b), `"1.9.0"`) {
		t.Errorf("tags: %s", b)
	}
}

func TestNothingIsSaidWithoutCredentials(t *testing.T) {
	_, h, url := serve(t)
	h.Username, h.Password = "ada", "secret"
	for _, path := range []string{"/index.yaml", "/v2/", "/v2/charts/shop/tags/list", "/shop-1.9.0.tgz"} {
		if status, _ := get(t, url+path); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, status)
		}
		for userinfo, want := range map[string]int{"ada:wrong@": http.StatusUnauthorized, "bob:secret@": http.StatusUnauthorized, "ada:secret@": http.StatusOK} {
			if status, _ := get(t, strings.Replace(url, "//", "//"+userinfo, 1)+path); status != want {
				t.Errorf("%s as %s: %d", path, userinfo, status)
			}
		}
	}
}

func TestWhatIsNoChartIsNamed(t *testing.T) {
	for content, want := range map[string]string{"name: [": "Chart.yaml", "name: shop": "version", "{name: ../a, version: 1.0.0}": "slashes"} {
		root := t.TempDir()
		write(t, root, map[string]string{"a/Chart.yaml": content})
		if _, err := NewHandler(root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}
