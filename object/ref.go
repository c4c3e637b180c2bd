// Package object names Kubernetes objects and holds sets of them.
//
// It is what the stages of the engine meet in: a renderer makes a [Set], a
// plan compares it, an inventory remembers its [Ref]s. It talks to no cluster.
package object

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Ref identifies one object in one cluster, whatever version of its API it
// is read through.
type Ref struct {
	Group     string
	Kind      string
	Namespace string // empty: cluster-scoped, or not yet known
	Name      string
}

// RefOf returns the Ref of u.
func RefOf(u *unstructured.Unstructured) Ref {
	gvk := u.GroupVersionKind()
	return Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// GroupKind returns the kind that r is of.
func (r Ref) GroupKind() schema.GroupKind {
	return schema.GroupKind{Group: r.Group, Kind: r.Kind}
}

// String returns the form that messages use: Deployment/shop/web, or
// Namespace/shop for what has no namespace.
func (r Ref) String() string {
	var b strings.Builder
	b.WriteString(r.Kind)
	b.WriteByte('/')
	if r.Namespace != "" {
		b.WriteString(r.Namespace)
		b.WriteByte('/')
	}
	b.WriteString(r.Name)
	return b.String()
}

// Compare orders refs by namespace, kind, group and name.
func Compare(a, b Ref) int {
	return cmp.Or(
		strings.Compare(a.Namespace, b.Namespace),
		strings.Compare(a.Kind, b.Kind),
		strings.Compare(a.Group, b.Group),
		strings.Compare(a.Name, b.Name),
	)
}

// Names names some objects in a line, but not more than most.
func Names(refs []Ref, most int) string {
	var b strings.Builder
	for i, r := range refs {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == most {
			b.WriteString("…")
			break
		}
		b.WriteString(r.String())
	}
	return b.String()
}
