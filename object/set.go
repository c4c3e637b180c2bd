package object

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A Set is objects in the order in which they were rendered, each Ref once.
// Whoever is handed a Set may not change the objects in it.
type Set []*unstructured.Unstructured

// Refs returns the refs of the objects, sorted.
func (s Set) Refs() []Ref {
	refs := make([]Ref, len(s))
	for i, u := range s {
		refs[i] = RefOf(u)
	}
	slices.SortFunc(refs, Compare)
	return refs
}

// Clone returns a deep copy.
func (s Set) Clone() Set {
	out := make(Set, len(s))
	for i, u := range s {
		out[i] = u.DeepCopy()
	}
	return out
}
