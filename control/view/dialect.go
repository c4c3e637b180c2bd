package view

import (
	"context"
	"errors"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/tree"
)

// A Dialect is one way to write units and sources: the custom resources of one
// project. Commands are given a list of them and work on all. What it makes of
// a custom resource is what its controllers make of it.
type Dialect interface {
	// Kinds are its kinds of unit, and then those of source.
	Kinds() []Kind

	// Name is what people call it: argocd.
	Name() string

	// Manager is the field manager that the objects of its units are applied
	// as.
	Manager() string

	// Flags adds the settings that decide what becomes of a unit. What is
	// said there holds for the methods below.
	Flags(*pflag.FlagSet)

	// Unit makes the unit of a custom resource. Its Source is left to the
	// caller. With an error, the unit has what could be told.
	Unit(*unstructured.Unstructured, Reader) (engine.Unit, error)

	// Units makes units of all custom resources of a kind, for who would
	// delete or take over something; unknown are those that it can't be told
	// of. Of sources only those artifacts are at hand.
	Units(all []unstructured.Unstructured, r Reader, at []*source.Artifact) (units []engine.Unit, unknown []string)

	// Artifact makes the artifact of a source, with the credentials that r
	// may read. The store is not used for a directory.
	Artifact(ctx context.Context, u *unstructured.Unstructured, r Reader, store *stores.Stores, want Want) (*source.Artifact, error)

	// Artifacts makes those of a unit whose kind is [Kind.Inline], one for each of
	// its sources.
	Artifacts(ctx context.Context, u *unstructured.Unstructured, r Reader, store *stores.Stores, want Want) ([]*source.Artifact, error)

	// Directory makes the artifact of a directory, as if it were all of a
	// source of that name which selects nothing.
	Directory(ref object.Ref, dir tree.Tree, revision string) (*source.Artifact, error)
}

// A Reader is what a dialect reads custom resources, Secrets and ConfigMaps
// with, in the name of who looks.
type Reader interface {
	Get(lookup.Ref) (data map[string][]byte, found bool, err error)
	// Resource reads a custom resource of the dialect.
	Resource(context.Context, object.Ref) (*unstructured.Unstructured, error)
	// Secrets reads those of a namespace that a label selects.
	Secrets(ctx context.Context, namespace, selector string) ([]*corev1.Secret, error)
	// Object reads an object that is neither, but has a say in what units may do;
	// nil: it does not exist.
	Object(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error)
}

// ErrOffline is in the error of a [Reader] that has no cluster to ask. What a
// render can do without is then left out.
var ErrOffline = errors.New("no cluster is asked")

// A Want says which revision of a source is wanted. All empty, it is the one
// that the spec selects now.
type Want struct {
	// Revision is one that a status names, main@sha1:<hash>, or a name that
	// people use: a commit, a branch, a tag or a full name.
	Revision string
	// Dir is a directory that holds the files instead.
	Dir tree.Tree
}
