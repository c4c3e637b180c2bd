// Package render turns a tree and options into Kubernetes objects.
//
// [Objects] is a pure function of the two: it reads nothing else, no network,
// no environment, no clock, and gives the same objects in the same order each
// time. While it runs, everything it reads, lists and looks for in vain is
// traced, so that a [Cache] can tell in microseconds whether a result still
// stands at another revision. A cache never changes an answer.
//
// The only renderer so far is Kustomize, with what Flux's Kustomization can
// add to it. The repository is hostile until shown otherwise: links and paths
// stay inside it, nothing in it can run a program or open a connection, and
// what it makes the libraries allocate is bounded before they see it.
//
// An error means that there is no result, never that there is a part of one.
// Except for a store that could not be read, a context that ended and a render
// that takes too long it is a [fault.Stall]: the repository or the options have to change. Messages name
// file and line, relative to the repository, and no value of a Secret.
//
// Objects are syntactically complete (apiVersion, kind, name), each once.
// Whether they are valid, allowed and encrypted is left to the gate, what is
// done about none at all to the apply stage.
//
// # Flux's rules, and where plumb leaves them
//
// A directory without a kustomization gets one that lists every YAML file in
// it and below; what the options add, and how variables are replaced, follows
// Flux's controller 1.9. The differences are where a user would otherwise get
// something else than what they wrote:
//
//   - A field that a kustomization doesn't have is an error, as in kustomize
//     build. Flux drops it.
//   - A kustomization without resources, such as one of generators alone, gets
//     no origin annotations unless asked for. Flux needs them to get past
//     "kustomization.yaml is empty".
//   - Two versions of one object are an error. Flux applies both.
//   - The schemas of a CustomResourceDefinition hold no variables: their
//     descriptions and patterns are full of what looks like one.
//   - The value of a variable stays whole: it is the text that it is, also if
//     YAML would cut it at " #" or take "null" for nothing, and so are newlines
//     inside of it. Alone in its place it may become a number, a boolean or a
//     list of them, as in Flux, if it is written as JSON writes that number;
//     not where only text can be: in labels, annotations, ConfigMaps and
//     Secrets. It never brings keys or objects with it.
//   - URLs are refused wherever Kustomize would open one, in every field and
//     in the configuration of every plugin. Kustomize never sees one: it is
//     handed kustomizations that are written anew, see handed.go. Flux's switch
//     stops only clones.
//   - A field has one spelling, where Kustomize takes any case, and a key is
//     not an alias.
//
// Not bounded yet: the processor and memory of a build that was given up on, as
// Kustomize can't be interrupted.
package render

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// version names what, besides tree and options, decides what a render gives.
// A test holds it to go.mod.
const version = "plumb/2 kustomize/v0.21.2 kyaml/v0.21.2 envsubst/v1.8.0 yaml/v1.6.0"

// Options say how a directory of a tree becomes objects. The zero value
// renders the root of the tree as it is.
type Options struct {
	// Path is the directory, relative to the root: "apps/shop",
	// "./apps/shop/", or "" for the root.
	Path string

	// TargetNamespace, NamePrefix and NameSuffix replace what the directory's
	// own kustomization says, if set.
	TargetNamespace string
	NamePrefix      string
	NameSuffix      string

	// Labels and Annotations are set on the metadata of every object once it
	// is built. They don't reach selectors or templates.
	Labels      map[string]string
	Annotations map[string]string

	// Patches are applied after the kustomization's own.
	Patches []Patch

	// Images replace the kustomization's own field by field, by name.
	Images []Image

	// Components are directories, relative to Path.
	Components              []string
	IgnoreMissingComponents bool

	// BuildMetadata replaces the kustomization's own, if set:
	// originAnnotations, transformerAnnotations, managedByLabel.
	BuildMetadata []string

	// Substitute, if not nil, replaces ${variables} in the built objects.
	Substitute *Substitution

	// AllowRemoteBases lets Kustomize fetch what a kustomization names by
	// URL. Such a result is not a function of the tree, and not cacheable.
	AllowRemoteBases bool
}

// A Patch is a strategic merge or JSON 6902 patch.
type Patch struct {
	Patch  string
	Target *Selector
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
}

// A Substitution replaces ${variables} in the text of every object.
type Substitution struct {
	// Vars are the variables. Their values may be secret: they appear in no
	// error.
	Vars map[string]string

	// Secret are the names of those Vars whose values come from a Secret.
	Secret []string

	// Always substitutes also when there are no Vars, so that defaults take
	// effect.
	Always bool

	// Strict fails on a variable that is not set and has no default.
	// Otherwise it is empty.
	Strict bool

	// DisabledKey is the label or annotation that exempts an object when it
	// is "disabled". Empty: there is none.
	DisabledKey string
}

// Digest identifies the options and the renderer: equal digests and equal
// trees give equal results. As it covers the variables, it is as secret as
// they are guessable: for comparing, not for showing.
func (o Options) Digest() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings, bools and maps of strings always marshal
	}
	h := sha256.New()
	h.Write([]byte(version + "\n"))
	h.Write(b)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// secret reports whether the objects hold what may not be stored.
func (o Options) secret() bool { return o.Substitute != nil && len(o.Substitute.Secret) > 0 }

// Secrets are the values of variables that come from a Secret: what they end
// up in may be shown, they may not.
func (o Options) Secrets() (values []string) {
	if o.Substitute == nil {
		return nil
	}
	for _, name := range o.Substitute.Secret {
		values = append(values, o.Substitute.Vars[name])
	}
	return values
}

// Objects renders the directory o.Path of t.
func Objects(ctx context.Context, t tree.Tree, o Options) (Result, error) {
	return withLimits(ctx, t, o, defaultLimits)
}

// attempt renders, however long that takes.
func attempt(ctx context.Context, t tree.Tree, o Options, l limits) (r Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			// What a panic says may quote the repository.
			r, err = Result{}, stall(buildFailed, "", fmt.Errorf("the renderer gave up (%T)", p))
		}
	}()
	tracer := tree.NewTracer(t)
	src := newSource(ctx, tracer, l)

	set, err := objects(src, o)
	if cause := src.failure(); cause != nil {
		// What the tree or the context said outranks what Kustomize made of
		// it, also where Kustomize went on without the file.
		err = cause
	}
	if err != nil {
		return Result{}, src.explain(err, o)
	}
	trace, ok := tracer.Trace()
	if !ok {
		return Result{}, errors.New("the tree could not be read")
	}
	if r, err = newResult(set, l); err != nil {
		return Result{}, err
	}
	r.Trace = trace
	r.Cacheable = !src.remote
	r.Warnings = src.warnings
	return r, nil
}

// objects is the way of a directory through the renderer.
func objects(src *source, o Options) (object.Set, error) {
	dir, err := directory(src, o.Path)
	if err != nil {
		return nil, err
	}
	top, err := prepare(src, dir, o)
	if err != nil {
		return nil, err
	}
	found, err := survey(src, top, o)
	if err != nil || found.empty {
		return nil, err
	}
	resources, err := build(src, dir, found)
	if err != nil {
		return nil, err
	}
	set, err := substitute(src, resources, o.Substitute)
	if err != nil {
		return nil, err
	}
	return finish(src, set, o)
}

// directory returns the name in the tree of the directory that a user wrote.
func directory(src *source, p string) (string, error) {
	if strings.ContainsRune(p, 0) || path.IsAbs(p) {
		return "", stall("InvalidPath", "use a path relative to the root of the source",
			fmt.Errorf("path %q is not a relative path", p))
	}
	name := path.Clean(p)
	if !fs.ValidPath(name) {
		return "", stall("InvalidPath", "use a path inside the source",
			fmt.Errorf("path %q leads out of the source", p))
	}
	dir, err := tree.Resolve(src.tree, name)
	if err != nil {
		return "", err
	}
	e, err := src.tree.Lookup(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", missing(err, "PathNotFound", "path %q", p)
	case err != nil:
		return "", err
	case e.Kind != tree.Dir:
		return "", stall("PathNotFound", "name the directory that holds it",
			fmt.Errorf("path %q is a %s, not a directory", p, e.Kind))
	}
	return dir, nil
}

// missing is the error for what is not there, or is and has been excluded.
func missing(err error, reason, format string, args ...any) *fault.Error {
	what := fmt.Sprintf(format, args...)
	if why := (*tree.Excluded)(nil); errors.As(err, &why) {
		hint := why.By
		if why.Shown != "" {
			hint += "; " + why.Shown + " brings it back"
		}
		return &fault.Error{Next: fault.Stall, Reason: reason, Hint: hint, Err: fmt.Errorf("%s is excluded from the source", what)}
	}
	return &fault.Error{Next: fault.Stall, Reason: reason, Err: fmt.Errorf("%s does not exist", what)}
}

// buildFailed is the reason of what is wrong with the repository and has no
// reason of its own.
const buildFailed = "BuildFailed"

func stall(reason, hint string, err error) error {
	return &fault.Error{Next: fault.Stall, Reason: reason, Hint: hint, Err: err}
}
