package rendertest

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
)

// Detect are the options of a render of whatever a directory is.
type Detect struct {
	detect.Options
	Path, Revision string
	GenerateNames  bool
}

// Render returns the options as render has them.
func (o Detect) Render() render.Options {
	return render.Options{Path: o.Path, Revision: o.Revision, GenerateNames: o.GenerateNames, Builder: o.Options}
}

// DetectArchives are the trees in testdata of render/detect, as seen from a
// package next to it or from itself.
func DetectArchives(t testing.TB) []string {
	t.Helper()
	for _, dir := range []string{"testdata", "detect/testdata", "../detect/testdata"} {
		if names, err := filepath.Glob(dir + "/jsonnet-*.txtar"); err == nil && len(names) > 0 {
			names, err := filepath.Glob(dir + "/*.txtar")
			if err != nil {
				t.Fatal(err)
			}
			return names
		}
	}
	t.Fatal("no testdata")
	return nil
}

// UnpackDetect is [Unpack] for those.
func UnpackDetect(t testing.TB, a *txtar.Archive) (files map[string]string, o Detect, want string) {
	t.Helper()
	files = map[string]string{}
	for _, f := range a.Files {
		switch f.Name {
		case "options":
			if err := yaml.UnmarshalStrict(f.Data, &o); err != nil {
				t.Fatalf("options: %v", err)
			}
		case "want":
			want = string(f.Data)
		default:
			files[f.Name] = string(f.Data)
			if strings.HasPrefix(files[f.Name], "-> ") {
				files[f.Name] = strings.TrimSuffix(files[f.Name], "\n")
			}
		}
	}
	return files, o, want
}
