// Package gentest is what the tests of generated files share.
package gentest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Definitions checks that the custom resource definitions in the folder of a
// package of api are what the generator writes for its kinds.
func Definitions(t *testing.T, kinds string) {
	t.Helper()
	dir := t.TempDir()
	gen := exec.Command("go", "run", "-C", "../gen", ".", "-out", dir, kinds)
	gen.Env = append(os.Environ(), "GOWORK=off")
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("run the generator: %v\n%s", err, out)
	}
	want, have := readAll(t, dir), readAll(t, ".")
	if diff := cmp.Diff(want, have); diff != "" || len(want) == 0 {
		t.Errorf("files differ from what is generated; run make generate (-generated +here):\n%s", diff)
	}
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, p := range paths {
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(p)] = string(content)
	}
	return files
}
