package custom

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestWhatTheCacheKeepsIsWholeAgain(t *testing.T) {
	status := func() map[string]any {
		return map[string]any{
			"observedGeneration": int64(3), "ratio": 0.5, "inventory": map[string]any{"entries": []any{map[string]any{"id": "shop_web_apps_Deployment", "v": "v1"}}},
		}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{
			"name": "web", "managedFields": []any{map[string]any{"manager": "kubectl"}},
			"annotations": map[string]any{"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"},
		},
		"spec": map[string]any{"path": "./web"}, "status": status(),
	}}
	for range 2 { // a list may hold what was kept before
		if _, err := Slim(u, "spec", "operation"); err != nil {
			t.Fatal(err)
		}
	}
	for part, want := range map[string]string{"spec": `{"path":"./web"}`, "operation": ""} {
		if text, _ := u.Object[part].(string); text != want {
			t.Errorf("the %s is kept as %q, want %q", part, text, want)
		}
	}
	kept := u.DeepCopy()
	got := &unstructured.Unstructured{Object: u.Object}
	if err := Whole(got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{"name": "web", "annotations": map[string]any{"a": "b"}},
		"spec":     map[string]any{"path": "./web"}, "status": status(),
	}
	if diff := cmp.Diff(want, got.Object); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(kept.Object, u.Object); diff != "" {
		t.Errorf("what is shared with the cache was changed: -before +after\n%s", diff)
	}
}
