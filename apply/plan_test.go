package apply_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

var self = owned.Managers{Self: "kustomize-controller"}

// inventoryOf is that of a unit that has applied some items.
func inventoryOf(items []apply.Item) []apply.Entry {
	var entries []apply.Entry
	for _, it := range items {
		if it.Policy.Mode != apply.Ignore {
			entries = append(entries, apply.Entry{Ref: it.Ref, Version: it.Version})
		}
	}
	return apply.Union(entries, nil)
}

// cm is a ConfigMap as it is desired, or as it is live if somebody applied it.
func cm(value, by string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"}, "data": map[string]any{"v": value},
	}}
	if by != "" {
		_ = unstructured.SetNestedSlice(u.Object, []any{map[string]any{
			"manager": by, "operation": "Apply", "fieldsV1": map[string]any{"f:data": map[string]any{"f:v": map[string]any{}}},
		}}, "metadata", "managedFields")
	}
	return u
}

func ref(kind, name string) object.Ref {
	r := object.Ref{Kind: kind, Namespace: "shop", Name: name}
	switch kind {
	case "CustomResourceDefinition":
		r.Group, r.Namespace = "apiextensions.k8s.io", ""
	case "Namespace", "PriorityClass":
		r.Namespace = ""
	}
	return r
}

// text is a plan in a line for each thing to do.
func text(p *apply.Plan) string {
	var b strings.Builder
	if p == nil {
		return ""
	}
	for _, c := range p.Changes {
		switch {
		case c.Writes():
			fmt.Fprintf(&b, "%d %s %s: %s\n", c.Stage, c.Action, c.Ref, c.Cause)
		case c.Action != apply.Nothing:
			fmt.Fprintf(&b, "%s %s\n", c.Action, c.Ref)
		}
	}
	return b.String()
}

// What is done about one object follows from what is known of it.
func TestMakeDecides(t *testing.T) {
	for _, c := range []struct {
		what   string
		live   apply.Live
		policy apply.Policy
		says   apply.Policy // of the live object about itself
		want   string
	}{
		{what: "it was never there", want: "3 create ConfigMap/shop/a: first"},
		{what: "it was there, and is gone", live: apply.Live{Digest: "now"}, want: "3 create ConfigMap/shop/a: drift"},
		{what: "it was as Git had it before", live: apply.Live{Exists: true, Settled: true, Digest: "before"}, want: "3 update ConfigMap/shop/a: git"},
		{what: "it is as Git has it", live: apply.Live{Exists: true, Settled: true, Digest: "now"}},
		{what: "somebody changed it", live: apply.Live{Exists: true, Digest: "now", Object: cm("theirs", "rival")}, want: "3 update ConfigMap/shop/a: drift"},
		{what: "somebody changed it, and back", live: apply.Live{Exists: true, Digest: "now", Object: cm("git", self.Self)}, want: "settle ConfigMap/shop/a"},
		{what: "after a start it is found as desired", live: apply.Live{Exists: true, Object: cm("git", self.Self)}, want: "settle ConfigMap/shop/a"},
		{what: "after a start it can't be told", live: apply.Live{Exists: true, Object: cm("git", "rival")}, want: "3 update ConfigMap/shop/a: first"},
		{what: "it is being deleted", live: apply.Live{Exists: true, Deleting: true, Settled: true, Digest: "now"}, want: "hold ConfigMap/shop/a"},
		{what: "Git says to leave it alone", policy: apply.Policy{Mode: apply.Ignore}},
		{what: "it says so itself", live: apply.Live{Exists: true, Digest: "now", Object: cm("theirs", "rival")}, says: apply.Policy{Mode: apply.Ignore}},
		{what: "it is only created", policy: apply.Policy{Mode: apply.IfNotPresent}, want: "3 create ConfigMap/shop/a: first"},
		{what: "and never again", policy: apply.Policy{Mode: apply.IfNotPresent}, live: apply.Live{Exists: true, Object: cm("theirs", "rival")}},
	} {
		t.Run(c.what, func(t *testing.T) {
			items := []apply.Item{{
				Ref: ref("ConfigMap", "a"), Version: "v1", Digest: "now", Policy: c.policy,
				Object: func() *unstructured.Unstructured { return cm("git", "") },
			}}
			p, ok := apply.Make(apply.Facts{
				Items: items, Inventory: inventoryOf(items), Managers: self,
				Live:   func(object.Ref) (apply.Live, bool) { return c.live, true },
				Policy: func(*unstructured.Unstructured) apply.Policy { return c.says },
			})
			if diff := cmp.Diff(c.want, strings.TrimSpace(text(p))); !ok || diff != "" {
				t.Errorf("known %v, -want +got:\n%s", ok, diff)
			}
		})
	}
}

// Nothing is planned from what is not known.
func TestMakeWaitsForEveryObject(t *testing.T) {
	items := []apply.Item{{Ref: ref("ConfigMap", "a")}, {Ref: ref("ConfigMap", "b")}}
	p, ok := apply.Make(apply.Facts{Items: items, Managers: self, Live: func(r object.Ref) (apply.Live, bool) { return apply.Live{}, r.Name == "a" }})
	if ok || p != nil {
		t.Errorf("it plans %q, knowing nothing of b", text(p))
	}
}

// What others need goes first, and is pruned last.
func TestMakeOrders(t *testing.T) {
	refs := []object.Ref{
		ref("Deployment", "web"), ref("Setting", "s"), ref("ConfigMap", "c"), ref("PriorityClass", "high"),
		ref("CustomResourceDefinition", "x"), ref("ServiceAccount", "sa"), ref("Namespace", "shop"), ref("ValidatingWebhookConfiguration", "w"),
	}
	var items []apply.Item
	for _, r := range refs {
		items = append(items, apply.Item{Ref: r, Version: "v1"})
	}
	missing := func(object.Ref) (apply.Live, bool) { return apply.Live{}, true }
	p, _ := apply.Make(apply.Facts{Items: items, Managers: self, Order: apply.Order{Stage: []string{"setting"}}, Live: missing})
	want := `0 create Namespace/shop: first
0 create CustomResourceDefinition/x: first
1 create PriorityClass/high: first
2 create Setting/shop/s: first
3 create ServiceAccount/shop/sa: first
3 create ConfigMap/shop/c: first
3 create Deployment/shop/web: first
3 create ValidatingWebhookConfiguration/shop/w: first
`
	if diff := cmp.Diff(want, text(p)); diff != "" {
		t.Errorf("created: -want +got:\n%s", diff)
	}
	p, _ = apply.Make(apply.Facts{Inventory: inventoryOf(items), Managers: self, Order: apply.Order{Stage: []string{"setting"}}, Pruning: apply.Pruning{Leaving: true}})
	want = `delete ValidatingWebhookConfiguration/shop/w
delete Deployment/shop/web
delete ConfigMap/shop/c
delete ServiceAccount/shop/sa
delete Setting/shop/s
delete PriorityClass/high
delete CustomResourceDefinition/x
delete Namespace/shop
`
	if diff := cmp.Diff(want, text(p)); diff != "" {
		t.Errorf("pruned: -want +got:\n%s", diff)
	}
}
