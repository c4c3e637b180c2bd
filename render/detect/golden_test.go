package detect_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/internal/rendertest"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata")

type options = rendertest.Detect

// Each archive is a tree, a section "options" of YAML, and a section "want":
// the objects, or the error. The comment says what it shows.
func TestGolden(t *testing.T) {
	for _, name := range rendertest.DetectArchives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files, o, want := rendertest.UnpackDetect(t, a)
			got := rendertest.Outcome(render.Objects(t.Context(), tree.FromFiles(files), o.Render()))
			if *update {
				rendertest.SetWant(a, got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
