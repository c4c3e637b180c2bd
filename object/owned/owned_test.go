package owned_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/owned"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

var managers = owned.Managers{Self: "kustomize-controller", Undo: []string{"kubectl", "before-first-apply"}}

func object(t *testing.T, b []byte) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	j, err := yaml.YAMLToJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	return u
}

// Each file of testdata holds a desired object and a live one, and what is to
// be said of them: whether they are the same, and in which fields they differ.
func TestCompare(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range ar.Files {
				parts[f.Name] = f.Data
			}
			desired, live := object(t, parts["desired.yaml"]), object(t, parts["live.yaml"])
			var b strings.Builder
			switch {
			case owned.Same(desired, live, managers):
				b.WriteString("same\n")
			default:
				b.WriteString("not known to be the same\n")
			}
			if names := owned.UndoNames(live, managers); len(names) > 0 {
				b.WriteString("undo: " + strings.Join(names, ", ") + "\n")
			}
			if at, ok := parts["applied.yaml"]; ok {
				for _, f := range owned.Diff(object(t, at), live) {
					b.WriteString(f.String())
					if f.Manager != "" {
						b.WriteString(" (by " + f.Manager + ")")
					}
					b.WriteByte('\n')
				}
			}
			if *update {
				for i := range ar.Files {
					if ar.Files[i].Name == "want" {
						ar.Files[i].Data = []byte(b.String())
					}
				}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(parts["want"]), b.String()); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
