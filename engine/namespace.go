package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
)

// namespace is the desired object that a unit's namespace is to be; nil: it makes
// none, or that is among its own objects.
func (u Unit) namespace(own []apply.Item) *apply.Item {
	m, ref := u.MakesNamespace, object.Ref{Kind: "Namespace", Name: u.Namespace}
	if m == nil || u.Namespace == "" || slices.ContainsFunc(own, func(it apply.Item) bool { return it.Ref == ref }) {
		return nil
	}
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": ref.Kind, "metadata": map[string]any{"name": ref.Name}}}
	it := &apply.Item{
		Ref: ref, Version: "v1", Aside: true, Born: map[string]string{apply.MadeFor: u.Name}, Policy: apply.Policy{Mode: apply.IfNotPresent},
		Object: func() *unstructured.Unstructured { return o },
	}
	if len(m.Labels)+len(m.Annotations) > 0 {
		it.Policy.Mode = apply.Merge
	}
	if len(m.Labels) > 0 {
		o.SetLabels(m.Labels)
	}
	if len(m.Annotations) > 0 {
		o.SetAnnotations(m.Annotations)
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is made of text
	}
	sum := sha256.Sum256(text)
	it.Digest = hex.EncodeToString(sum[:])
	return it
}

// vacate deletes the namespace that was made for a unit that goes, once all of
// the unit's own is gone, and if it is nobody else's. That it stays is no reason
// for the unit to stay.
func (w *pass) vacate(ctx context.Context) {
	u := w.unit
	if u.MakesNamespace == nil || u.Namespace == "" || len(w.st.inventory) > 0 {
		return
	}
	w.applier.Namespaces = u.Prune.Protected
	why, err := w.shared(ctx), error(nil)
	if why == "" {
		why, err = w.applier.Vacate(ctx, u.Namespace, u.Name)
	}
	if err != nil {
		why = fmt.Sprintf("it can't be told whether something is left in it: %v", err)
	}
	if why != "" {
		w.out.Left = append(w.out.Left, Left{object.Ref{Kind: "Namespace", Name: u.Namespace}, why})
	}
}

// shared says who else may need the namespace of a unit.
func (w *pass) shared(ctx context.Context) string {
	w.complete(ctx)
	if unknown := w.registry.opaque(); len(unknown) > 0 {
		return "it can't be told whether these need it: " + fmt.Sprint(unknown)
	}
	if other := w.registry.in(w.unit); other != "" {
		return "it is that of " + other + ", too"
	}
	return ""
}
