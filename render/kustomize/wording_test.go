package kustomize

import (
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render/schema"
)

// What is read from the text of an error is what these versions of the
// libraries say.
func TestTheLibrariesSayWhatIsReadFromThem(t *testing.T) {
	kustomize := func(files map[string]string) string {
		t.Helper()
		fs := filesys.MakeFsInMemory()
		for name, content := range files {
			if err := fs.WriteFile(name, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		release, err := schema.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		_, err = krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, "/a")
		if err == nil {
			t.Fatal("no error")
		}
		return err.Error()
	}
	if msg := kustomize(map[string]string{"/a/kustomization.yaml": "resources: [../b]", "/b/kustomization.yaml": "resources: [../a]"}); !cyclic(msg) {
		t.Error(msg)
	}
	web := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n"
	msg := kustomize(map[string]string{"/a/kustomization.yaml": "resources: [a.yaml, b.yaml]", "/a/a.yaml": web, "/a/b.yaml": web})
	if ref, ok := registeredTwice(msg); !ok || ref != (object.Ref{Kind: "Deployment", Namespace: "shop", Name: "web"}) {
		t.Errorf("%v from %s", ref, msg)
	}
}
