package kustomize

import (
	"fmt"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

// limits bound what a repository can make a render cost. They are far above
// what people write and far below what hurts.
type limits struct {
	read     int64 // bytes of all files
	marks    int   // characters in all YAML files that can begin a value
	written  int64 // bytes of all objects as JSON
	depth    int   // nesting in one YAML document
	expanded int   // YAML nodes of a document with its aliases followed
	bases    int   // kustomizations under one another
	visits   int   // kustomizations built, each as often as it is named
	product  int64 // bytes of a kustomization times the objects it is applied to
	objects  int64 // objects of one kustomization, with all below it
	work     int64 // comparisons of objects with each other
	steps    int   // through a tree in search of manifests
	path     int   // names in the path of a field

	aloneObjects int64 // of a render that keeps others waiting
	aloneBytes   int64
}

var defaultLimits = limits{
	read:     64 << 20,
	marks:    3_000_000,
	written:  render.MostWritten,
	depth:    500,
	expanded: 250_000,
	bases:    64,
	visits:   5_000,
	product:  2 << 30,
	objects:  10_000,
	work:     400_000_000,
	steps:    1_000_000,
	path:     100,

	aloneObjects: 2_000,
	aloneBytes:   16 << 20,
}

// manifest are those of one file.
func (l limits) manifest() manifest.Limits {
	return manifest.Limits{Depth: l.depth, Expanded: l.expanded, Documents: l.objects}
}

func tooLarge(format string, args ...any) error {
	return render.Stall(render.TooLarge, "", fmt.Errorf(format, args...))
}
