// Package argocd holds Argo CD's API as plumb reads and writes it: the types of
// Application and AppProject, and the custom resource definitions made of them.
//
// All fields that Argo CD 3.6 has are here. What a spec or an operation holds
// beside them is kept by the API server, so that the dialect, in package
// control/argocd, can refuse it by name; what a status holds beside them stays
// as it is.
//
// An Application has no status subresource: clients set operation and status
// in one write, and each write moves metadata.generation.
//
// +groupName=argoproj.io
// +versionName=v1alpha1
package argocd

import (
	"embed"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/api"
)

//go:generate go run -C ../gen . -out ../argocd argocd

//go:embed *.yaml
var files embed.FS

// The kinds.
var (
	GroupVersion    = schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}
	ApplicationKind = GroupVersion.WithKind("Application")
	ProjectKind     = GroupVersion.WithKind("AppProject")
)

// Definitions returns the custom resource definitions, sorted by name. They
// are the caller's to change.
func Definitions() []*unstructured.Unstructured { return definitions.All() }

// Defines reports whether there is a definition of that name.
func Defines(name string) bool { return definitions.Have(name) }

var definitions = api.Read(files)
