// Package helm makes objects of a Helm chart, as helm template does.
//
// [Options] are a [render.Builder]. The chart is a directory of the tree; Helm's
// own library loads it, merges its values and renders its templates. What comes
// of that is what Helm has, object by object and in its order: those of crds/,
// the manifests, the hooks. Nothing is installed, and hooks are objects with
// annotations: what they stand for is for who applies them.
//
// All that a render goes by is in the options and the tree, but for what the
// templates ask of the cluster (.Capabilities): that a render has asked is in
// what is built ([render.Built.Asked]). Nothing is fetched, and nothing looked
// up: lookup finds nothing, getHostByName gives nothing.
//
// # What is random
//
// A template may ask for the time, a random text or a new key. Then no two
// renders are the same, and who compares them with a cluster would never be
// done. So such a chart is rendered twice, and what differs is told
// ([render.Built.Varies]): it is what an object gets when it is made, and not
// what it has to have from then on.
//
// # Where it differs from Helm
//
//   - A dependency with repository file://… that is not under charts/ is read from
//     there, which helm dependency build would do.
//   - .helmignore counts for charts from archives, too.
//   - Schemas are not fetched: one that refers to a URL is refused.
//   - An object whose annotation names no hook that Helm knows is left out, as it
//     is there, and a warning says so.
package helm

import (
	"encoding/json"

	"plumb.dev/plumb/render"
)

// Options say what a chart is rendered with.
type Options struct {
	Release Release

	// Values are merged in their order: what comes later wins. Below them are
	// the chart's own.
	Values []Values

	// Parameters are set over all values: those that are texts after the others,
	// and those from files last.
	Parameters []Parameter

	// IgnoreMissingFiles passes over files of Values that are not there.
	IgnoreMissingFiles bool

	// KubeVersion and APIVersions are what .Capabilities says, the latter beside what
	// Helm says without a cluster. Empty: what the cluster has
	// ([render.Options.Cluster]), or what Helm says if there is none.
	KubeVersion string
	APIVersions []string

	SkipCRDs   bool // leave out what is in crds/
	SkipTests  bool // leave out hooks that are tests
	SkipSchema bool // don't hold the values to the chart's schema
}

// A Release is what .Release says.
type Release struct {
	Name, Namespace string
	Revision        int // 0: 1
	Upgrade         bool
}

// Values are a layer of values: a text, or files of the tree.
type Values struct {
	// Text is YAML.
	Text string `json:",omitempty"`

	// File is the name of a file in the tree, from its root. As a Pattern, it
	// stands for all that match it (https://pkg.go.dev/github.com/bmatcuk/doublestar/v4),
	// those of a directory before those below it, by name; what another layer
	// names outright is left to that. A file counts once, where it is first.
	File    string `json:",omitempty"`
	Pattern bool   `json:",omitempty"`

	// As is what messages call the layer, and Written a Pattern as it was written,
	// if that is something else.
	As      string
	Written string `json:",omitempty"`
}

// A Parameter sets one value, as helm --set does: Name is a path such as
// image.tag, hosts[0] or a\.b, and Value a number, true, false, null, a list in
// braces, or text.
type Parameter struct {
	Name, Value string
	Text        bool   `json:",omitempty"` // whatever it looks like
	File        string `json:",omitempty"` // in place of Value: a file in the tree that holds the text
}

// Kind is what [Decode] decodes.
const Kind = "helm"

// version names what, besides tree and options, decides what a build gives. A
// test holds it to go.mod.
const version = "helm/1 helm/v4.3.1 sprig/v3.3.0 jsonschema/v6.0.3 doublestar/v4.10.4"

// Decode returns the options that were encoded as JSON.
func Decode(b []byte) (render.Builder, error) {
	var o Options
	err := json.Unmarshal(b, &o)
	return o, err
}

// Kind implements [render.Builder].
func (o Options) Kind() string { return Kind }

// Probes implements [render.Builder].
func (o Options) Probes() []string { return []string{chartFile, valuesFile, ignoreFile} }

// AsksCluster implements [render.Builder].
func (o Options) AsksCluster() bool { return true }

// Open implements [render.Builder].
func (o Options) Open() bool { return false }

// Version implements [render.Builder].
func (o Options) Version() string { return version }

// Files of a chart.
const (
	chartFile  = "Chart.yaml"
	valuesFile = "values.yaml"
	schemaFile = "values.schema.json"
	ignoreFile = ".helmignore"
	notesFile  = "NOTES.txt"
)
