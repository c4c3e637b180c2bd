package object

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// A Set is objects in the order in which they were rendered, each Ref once.
// Whoever is handed a Set may not change the objects in it.
type Set []*unstructured.Unstructured
