// Package directory makes objects of the files of a directory as they are:
// YAML, JSON, and what Jsonnet programs give.
//
// [Options] are a [render.Builder]. A directory may hold files that are about
// something else: one of which no document has an apiVersion, a kind or
// metadata is left out, with a warning that names it. One that has any of them
// is meant as an object, and if it is none that is an error, with file and
// line: what is left out in silence would be deleted from the cluster.
//
// YAML is read as kubectl reads it, and not as Kustomize does: yes is true.
package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

// Options say which files of a directory are read, and how.
type Options struct {
	Files

	// SkipMarker is a text that excludes each file that holds it. Empty:
	// there is none.
	SkipMarker string

	// Except are names in the directory that are never read.
	Except []string
}

// Files says which files are read. Its names in JSON are those of an
// Application's source.directory.
type Files struct {
	// Recurse reads the directories below, too. Links to directories are not
	// followed.
	Recurse bool `json:"recurse,omitempty"`

	// Exclude and Include are globs for the path of a file relative to the
	// directory: * and ** stand for any characters, also slashes, ? for one,
	// [a-z] and [!a-z] for one of a set, {a,b} for either. Empty: nothing is
	// excluded, all is included. What both match is excluded.
	Exclude string `json:"exclude,omitempty"`
	Include string `json:"include,omitempty"`

	// DisableExtensionFilter reads files whatever they are called. Otherwise
	// only .yaml, .yml, .json and .jsonnet are. One that ends in .json is JSON
	// and one in .jsonnet Jsonnet, all others are YAML.
	DisableExtensionFilter bool `json:"disableExtensionFilter,omitempty"`

	Jsonnet Jsonnet `json:"jsonnet,omitzero"`
}

// Jsonnet is what programs are given.
type Jsonnet struct {
	// ExtVars are what std.extVar gives, TLAs are the arguments of a program
	// that is a function.
	ExtVars []Variable `json:"extVars,omitempty"`
	TLAs    []Variable `json:"tlas,omitempty"`

	// Libs are directories, relative to the root of the source, in which an
	// import is looked for that is not beside the file that imports: the last
	// one first, and then the directory that is rendered.
	Libs []string `json:"libs,omitempty"`
}

// A Variable is a text, or a Jsonnet expression if it is Code.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Code  bool   `json:"code,omitempty"`
}

// Kind is what [Decode] decodes.
const Kind = "directory"

// version names what, besides tree and options, decides what a build gives. A
// test holds it to go.mod.
const version = "directory/1 go-jsonnet/v0.22.0 glob/v1.1.0 yaml/v3.0.5"

// Decode returns the options that were encoded as JSON.
func Decode(b []byte) (render.Builder, error) {
	var o Options
	err := json.Unmarshal(b, &o)
	return o, err
}

// Kind implements [render.Builder].
func (o Options) Kind() string { return Kind }

// Probes implements [render.Builder].
func (o Options) Probes() []string { return nil }

// AsksCluster implements [render.Builder].
func (o Options) AsksCluster() bool { return false }

// Open implements [render.Builder].
func (o Options) Open() bool { return false }

// Version implements [render.Builder].
func (o Options) Version() string { return version }

// Build implements [render.Builder].
func (o Options) Build(ctx context.Context, in render.Input) (render.Built, error) {
	return o.within(ctx, in, defaultLimits)
}

// within builds within limits.
func (o Options) within(ctx context.Context, in render.Input, l limits) (render.Built, error) {
	r := &reader{ctx: ctx, tree: in.Tree, dir: in.Dir, o: o, limits: l, nameless: in.GenerateNames}
	all, err := r.objects()
	if r.err != nil {
		err = r.err // also where Jsonnet said something else of it
	}
	if err != nil {
		return render.Built{}, err
	}
	b := render.Built{Kind: Kind, Warnings: r.warnings, Place: places(all)}
	for _, e := range all {
		b.Objects = append(b.Objects, &unstructured.Unstructured{Object: e.object})
	}
	return b, nil
}

// objects returns what the files hold.
func (r *reader) objects() ([]entry, error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	p := &programs{r: r}
	var all []entry
	for _, f := range files {
		b, err := r.content(f.name)
		if err != nil {
			return nil, err
		}
		if r.skips(b) {
			continue
		}
		var entries []entry
		switch at := r.at(f); path.Ext(f.rel) {
		case ".jsonnet":
			entries, err = p.run(f, b)
		case ".json":
			entries, err = r.json(b, at)
		default:
			entries, err = r.yaml(b, at)
		}
		if err != nil {
			return nil, err
		}
		if all, err = r.add(all, entries); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// add adds the objects of a file.
func (r *reader) add(all, entries []entry) ([]entry, error) {
	for _, e := range entries {
		parts, err := e.parts()
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if err := part.check(r.nameless); err != nil {
				return nil, err
			}
		}
		if all = append(all, parts...); len(all) > r.limits.objects {
			return nil, tooLarge("%s: more than %d objects with those of the files before; make several units of it", e.at, r.limits.objects)
		}
	}
	return all, nil
}

func (e entry) ref() object.Ref { return object.RefOf(&unstructured.Unstructured{Object: e.object}) }

// places returns what tells where a field is. Of an object that is there more than
// once it names all places.
func places(all []entry) func(object.Ref, []string) string {
	return func(ref object.Ref, field []string) string {
		var at []string
		for _, e := range all {
			switch {
			case e.ref() != ref:
			case e.node == nil:
				at = append(at, e.at)
			default:
				at = append(at, fmt.Sprintf("%s:%d", e.at, manifest.LineAt(e.node, field)))
			}
		}
		if len(at) == 0 {
			return ""
		}
		return strings.Join(at, " or ") + ": "
	}
}
