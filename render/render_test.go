package render_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata")

// Each archive is a tree, a section "options" of YAML, and a section "want":
// the objects, or the error. The comment says what it shows.
func TestGolden(t *testing.T) {
	for _, name := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files, o, want := unpack(t, a)
			got := outcome(render.Objects(t.Context(), tree.FromFiles(files), o))
			if *update {
				setWant(a, got)
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

func archives(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	return names
}

func unpack(t testing.TB, a *txtar.Archive) (files map[string]string, o render.Options, want string) {
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
		}
	}
	return files, o, want
}

func setWant(a *txtar.Archive, want string) {
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
	a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(want)})
}

// outcome is a result as text.
func outcome(r render.Result, err error) string {
	if err != nil {
		f := fault.Of(err)
		return fmt.Sprintf("%s %s\n%v\n", f.Next, f.Reason, err)
	}
	set, err := r.Objects()
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "# %s\n", w)
	}
	for i, u := range set {
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			return err.Error()
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(y)
	}
	if len(set) == 0 {
		b.WriteString("# no objects\n")
	}
	return b.String()
}

// files is a tree from names and contents, in pairs.
func files(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func with(m map[string]string, pairs ...string) map[string]string {
	m = maps.Clone(m)
	maps.Copy(m, files(pairs...))
	return m
}

func configMap(name, data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  key: " + data + "\n"
}

func mustRender(t testing.TB, m map[string]string, o render.Options) render.Result {
	t.Helper()
	r, err := render.Objects(context.Background(), tree.FromFiles(m), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
