package kustomize_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// Whatever three files hold, a render ends with objects or with a message of
// one line, and the process goes on.
func FuzzObjects(f *testing.F) {
	for _, name := range archives(f) {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var k, one, two []byte
		for _, file := range a.Files {
			switch {
			case strings.HasSuffix(file.Name, "kustomization.yaml"):
				k = file.Data
			case strings.HasSuffix(file.Name, ".yaml") && one == nil:
				one = file.Data
			case strings.HasSuffix(file.Name, ".yaml"):
				two = file.Data
			}
		}
		f.Add(k, one, two)
	}
	f.Add([]byte("resources: [a.yaml]\npatches: [{path: b.yaml}]"), []byte(configMap("a", "x")), []byte(configMap("a", "y")))
	f.Fuzz(func(t *testing.T, k, a, b []byte) {
		m := files("apps/a.yaml", string(a), "apps/b.yaml", string(b), "base/kustomization.yaml", "resources: [c.yaml]", "base/c.yaml", configMap("c", "x"))
		if len(k) > 0 {
			m["apps/kustomization.yaml"] = string(k)
		}
		for name, content := range m {
			if strings.HasPrefix(content, "-> ") {
				delete(m, name)
			}
		}
		o := options{Path: "apps", NamePrefix: "p-", Substitute: &render.Substitution{Vars: map[string]string{"v": "x: y", "name": "web"}}}
		r, err := objects(t.Context(), tree.FromFiles(m), o)
		if err != nil {
			if f := fault.Of(err); f.Next != fault.Stall || f.Reason == "" || bytes.ContainsAny([]byte(err.Error()), "\n\r") {
				t.Fatalf("%s %q: %v", f.Next, f.Reason, err)
			}
			return
		}
		again, err := objects(t.Context(), tree.FromFiles(m), o)
		if err != nil || again.Digest != r.Digest {
			t.Fatalf("the second time: %v, %s, %s", err, r.Digest, again.Digest)
		}
	})
}
