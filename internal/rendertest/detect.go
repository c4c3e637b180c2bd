package rendertest

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
)

// Detect are the options of a render of whatever a directory is.
type Detect struct {
	detect.Options
	Path, Revision string
	GenerateNames  bool
	Repeats        bool
}

// Render returns the options as render has them.
func (o Detect) Render() render.Options {
	return render.Options{Path: o.Path, Revision: o.Revision, GenerateNames: o.GenerateNames, Repeats: o.Repeats, Builder: o.Options}
}

// DetectArchives are the trees in testdata of render/detect, as seen from a
// package next to it or from itself.
func DetectArchives(t testing.TB) []string {
	t.Helper()
	return archives(t, "detect", "jsonnet-")
}

// UnpackDetect is [Unpack] for those. A file may be a link: "-> " and where to.
func UnpackDetect(t testing.TB, a *txtar.Archive) (files map[string]string, o Detect, want string) {
	t.Helper()
	files, o, want = unpack[Detect](t, a)
	for name, text := range files {
		if strings.HasPrefix(text, "-> ") {
			files[name] = strings.TrimSuffix(text, "\n")
		}
	}
	return files, o, want
}
