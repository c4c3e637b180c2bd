package detect_test

import (
	"flag"
	"testing"

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
	rendertest.Golden(t, rendertest.DetectArchives(t), *update, func(t *testing.T, a *txtar.Archive) (got, want string) {
		files, o, want := rendertest.UnpackDetect(t, a)
		return rendertest.Outcome(render.Objects(t.Context(), tree.FromFiles(files), o.Render())), want
	})
}
