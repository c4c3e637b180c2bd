// Package kustomize makes objects of a directory with Kustomize.
//
// [Options] are what a custom resource can add to a kustomization. Nothing in a
// repository can run a program or open a connection, links and paths stay
// inside it, and what it makes the library allocate is bounded before the
// library sees it.
//
// The differences to kustomize build are where a user would otherwise get
// something else than what they wrote:
//
//   - URLs are refused wherever Kustomize would open one, in every field and
//     in the configuration of every plugin, unless [Options] allow them.
//     Kustomize never sees one: it is handed kustomizations that are written
//     anew, see handed.go. Flux's switch stops only clones.
//   - A field has one spelling, where Kustomize takes any case, and a key is
//     not an alias.
//
// Flux's controller 1.9 drops a field that a kustomization doesn't have; here,
// as in kustomize build, it is an error. And a kustomization without resources,
// such as one of generators alone, gets no origin annotations unless asked for;
// Flux needs them to get past "kustomization.yaml is empty".
package kustomize

import (
	"context"
	"encoding/json"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// version names what, besides tree and options, decides what a build gives. A
// test holds it to go.mod.
const version = "kustomize/v0.21.2 kyaml/v0.21.2 yaml/v1.6.0"

// own is the API group of Kustomize's own kinds.
const own = "kustomize.config.k8s.io"

// Options say how Kustomize builds a directory. The zero value builds it as it
// is. They are a [render.Builder].
type Options struct {
	// Generate makes a kustomization of every YAML file in the directory and
	// below where it has none. Otherwise that is an error.
	Generate bool

	// Namespace, NamePrefix and NameSuffix replace what the directory's own
	// kustomization says, if set.
	Namespace  string
	NamePrefix string
	NameSuffix string

	// Patches are applied after the kustomization's own.
	Patches []Patch

	// Images replace the kustomization's own by name: field by field, or as a
	// whole.
	Images []Image

	// Replicas replace the kustomization's own, by name.
	Replicas []Replica

	// Components are directories, relative to the one that is built. One that
	// the kustomization has is not added.
	Components              []string
	IgnoreMissingComponents bool

	// CommonLabels and CommonAnnotations are added as kustomize edit add
	// does.
	CommonLabels      Labels
	CommonAnnotations Annotations

	// BuildMetadata replaces the kustomization's own, if set:
	// originAnnotations, transformerAnnotations, managedByLabel.
	BuildMetadata []string

	// AllowRemoteBases lets Kustomize fetch what a kustomization names by
	// URL. Such a result is not a function of the tree.
	AllowRemoteBases bool
}

// A Patch is a strategic merge or JSON 6902 patch, inline or in a file, whose
// Path is relative to the directory that is built. What it does to names and
// kinds is undone unless that is allowed.
type Patch struct {
	Patch                            string
	Path                             string
	Target                           *Selector
	AllowNameChange, AllowKindChange bool
}

// A Selector says which objects a patch is for. Group to Namespace are
// anchored regular expressions.
type Selector struct {
	Group, Version, Kind, Name, Namespace string
	LabelSelector, AnnotationSelector     string
}

// An Image replaces name, tag or digest of the images called Name.
type Image struct {
	Name, NewName, NewTag, Digest string

	// Whole replaces all that the kustomization says of the image, but for
	// what is "*", as kustomize edit set image does. Otherwise what is empty
	// stays.
	Whole bool
}

// A Replica says how many there are of a workload.
type Replica struct {
	Name  string
	Count int64
}

// Labels are set on objects, and unless WithoutSelectors on their selectors and
// templates; then on templates if IncludeTemplates. One that the kustomization
// sets in the same way is an error, unless Force replaces it.
type Labels struct {
	Values                                    map[string]string
	Force, WithoutSelectors, IncludeTemplates bool
}

// Annotations are set on objects and their templates. One that the kustomization
// sets is an error, unless Force replaces it.
type Annotations struct {
	Values map[string]string
	Force  bool
}

// Version is the release of Kustomize that is built in: v5.8.2.
func Version() string { return strings.TrimPrefix(managedBy, "kustomize-") }

// Kind is what [Decode] decodes.
const Kind = "kustomize"

// Decode returns the options that were encoded as JSON.
func Decode(b []byte) (render.Builder, error) {
	var o Options
	err := json.Unmarshal(b, &o)
	return o, err
}

// Kind implements [render.Builder].
func (o Options) Kind() string { return Kind }

// Probes implements [render.Builder].
func (o Options) Probes() []string { return konfig.RecognizedKustomizationFileNames() }

// AsksCluster implements [render.Builder].
func (o Options) AsksCluster() bool { return false }

// Open implements [render.Builder].
func (o Options) Open() bool { return o.AllowRemoteBases }

// Version implements [render.Builder].
func (o Options) Version() string { return version }

// Build implements [render.Builder].
func (o Options) Build(ctx context.Context, in render.Input) (render.Built, error) {
	return o.within(ctx, in.Tree, in.Dir, defaultLimits)
}

// within builds within limits.
func (o Options) within(ctx context.Context, t tree.Tree, dir string, l limits) (render.Built, error) {
	s := newSource(ctx, t, l)
	b, err := o.build(s, dir)
	if s.err != nil {
		// What the tree or the context said outranks what Kustomize made of
		// it, also where Kustomize went on without the file.
		err = s.err
	}
	if err != nil {
		return render.Built{}, s.explain(err)
	}
	b.Kind, b.Own, b.Place = Kind, own, s.placeOf
	b.Foreign, b.Warnings, b.Spent = s.remote, s.warnings, s.spent
	return b, nil
}

// build is the way of a directory through Kustomize.
func (o Options) build(s *source, dir string) (b render.Built, err error) {
	top, err := prepare(s, dir, o)
	if err != nil {
		return b, err
	}
	found, err := survey(s, top, o)
	if err != nil || found.empty {
		return b, err
	}
	s.spent = found.schema
	resources, err := build(s, dir, found)
	if err != nil {
		return b, err
	}
	b.Objects, err = objects(resources)
	return b, err
}
