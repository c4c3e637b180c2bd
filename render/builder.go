package render

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// A Builder makes objects of a directory: what Kustomize, Helm, Jsonnet or a
// reader of plain YAML does. It is a plain value that encodes as JSON, and all
// that its answer depends on, besides the tree, is in there and in its Version.
//
// Several sources are one tree to it, see [tree.Overlay].
type Builder interface {
	// Kind is the kind of builder, in a word: what decodes its fields.
	Kind() string

	// Probes are names that it looks for in each directory.
	Probes() []string

	// AsksCluster reports whether a build may go by what the cluster has.
	AsksCluster() bool

	// Open reports whether it opens connections and starts programs.
	Open() bool

	// Version names the builder and what it builds with. Another one may
	// give something else for the same fields and tree.
	Version() string

	// Build builds a directory. It reads nothing but its input, where all that
	// it reads, lists and looks for in vain is traced, and ends soon after
	// ctx. An error is a [fault.Stall] if the repository or the fields have to
	// change, or [Needs]; what the tree and ctx said is returned as it is.
	Build(ctx context.Context, in Input) (Built, error)
}

// An Input is what a Builder builds.
type Input struct {
	Tree tree.Tree
	Dir  string // it exists

	// Revision returns [Options.Revision]. Who calls it gives a result that
	// is good for that revision alone.
	Revision func() string

	// GenerateNames is that of [Options].
	GenerateNames bool

	// Cluster is that of [Options]; nil: there is none. What a builder goes by of
	// it, it says in [Built.Asked].
	Cluster *Cluster
}

// Varying is what of an object is another in each build of the same: what it has
// is good as it is.
type Varying struct {
	Ref      object.Ref
	Pointers []string // JSON pointers (RFC 6901)
}

// Built is what a Builder made of a directory.
type Built struct {
	// Objects are in the order in which they are to be. Their variables are
	// not replaced, and lists are not taken apart.
	Objects []*unstructured.Unstructured

	// Kind is what was built, in a word: the kind of the builder, or of the one
	// that it has chosen.
	Kind string

	// Own is the API group of the objects that configure the builder and
	// are none of the cluster. Empty: there is none.
	Own string

	// Secret: what it holds may not be stored.
	Secret bool

	// Foreign: it depends on more than the tree.
	Foreign bool

	// Revised: it depends on the revision. The builder need not say so.
	Revised bool

	// Asked is what it has gone by of the cluster.
	Asked Asked

	// Varies are fields that another build of the same would give other values.
	Varies []Varying

	// Spent: the build has changed what is global in its process. It has put
	// that back, but a process of its own had better end.
	Spent bool

	// Warnings are for the user: nothing failed, and something looks odd.
	Warnings []string

	// Place returns "file:line: " of a field of an object, or nothing where
	// that is not known. It may be nil.
	Place func(ref object.Ref, field []string) string
}

func (b Built) placeOf(ref object.Ref, field []string) string {
	if b.Place == nil {
		return ""
	}
	return b.Place(ref, field)
}

// A Quote is what a library has to say of an error: it may quote all that the
// library was given. What a message holds of it is cut to a length, and the
// values of variables are taken out.
type Quote string

// Error returns the text.
func (q Quote) Error() string { return string(q) }
