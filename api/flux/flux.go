// Package flux holds the custom resource definitions of the Flux kinds that
// plumb reads: sources, Kustomization and HelmRelease.
//
// They are served in every version that people have manifests of, so that
// these apply as they are, and what is written in one version is read in
// another without loss: each version has the fields of all. Whether plumb
// honours a field or refuses it is the dialect's business, in
// package control/flux.
package flux

import (
	"embed"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/api"
)

//go:generate go run -C ../gen . -out ../flux flux

//go:embed *.yaml
var files embed.FS

// Definitions returns the custom resource definitions, sorted by name. They
// are the caller's to change.
func Definitions() []*unstructured.Unstructured { return definitions.All() }

// Defines reports whether there is a definition of that name.
func Defines(name string) bool { return definitions.Have(name) }

var definitions = api.Read(files)
