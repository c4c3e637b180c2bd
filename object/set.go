package object

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// A Set is objects in the order in which they were rendered, each Ref once.
// Whoever is handed a Set may not change the objects in it.
type Set []*unstructured.Unstructured

// IsSecret reports whether u is a core Secret.
func IsSecret(u *unstructured.Unstructured) bool {
	return u != nil && u.GetKind() == "Secret" && u.GroupVersionKind().Group == ""
}
