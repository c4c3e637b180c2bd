// Package render turns a tree and options into Kubernetes objects.
//
// [Objects] is a pure function of the two: it reads nothing else, no network,
// no environment, no clock, and gives the same objects in the same order each
// time. While it runs, everything it reads, lists and looks for in vain is
// traced, so that a [Cache] can tell in microseconds whether a result still
// stands at another revision. A cache never changes an answer.
//
// What makes objects of files is a [Builder]; render/kustomize is one. Here is
// what all of them share: the trace and the cache, what comes after the build
// (variables, metadata, checks), and the limits of that. The repository is
// hostile until shown otherwise, and so is what a builder made of it.
//
// An error means that there is no result, never that there is a part of one.
// Except for a store that could not be read, a context that ended and a render
// that takes too long it is a [fault.Stall]: the repository or the options have
// to change. Messages name file and line, relative to the repository, and no
// value of a Secret.
//
// Objects are syntactically complete (apiVersion, kind, name), each once unless
// they may be repeated, two versions of one object counting as that object twice. Whether they are valid,
// allowed and encrypted is left to the gate, what is done about none at all to
// the apply stage.
//
// # Variables
//
// They are replaced as Flux does it, except where a user would otherwise get
// something else than what they wrote:
//
//   - The schemas of a CustomResourceDefinition hold no variables: their
//     descriptions and patterns are full of what looks like one.
//   - The value of a variable stays whole: it is the text that it is, also if
//     YAML would cut it at " #" or take "null" for nothing, and so are newlines
//     inside of it. Alone in its place it may become a number, a boolean or a
//     list of them, as in Flux, if it is written as JSON writes that number;
//     not where only text can be: in labels, annotations, ConfigMaps and
//     Secrets. It never brings keys or objects with it.
//
// A builder can't be interrupted. [Workers] build in processes of their own,
// which can be ended; in this one, the processor and memory of a build that was
// given up on are not bounded.
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
	"plumb.dev/plumb/tree"
)

// version names what, besides tree, options and builder, decides what a render
// gives. A test holds it to go.mod.
const version = "plumb/3 kyaml/v0.21.2 envsubst/v1.9.0 yaml/v1.6.0"

// Options say how a directory of a tree becomes objects.
type Options struct {
	// Path is the directory, relative to the root: "apps/shop",
	// "./apps/shop/", or "" for the root.
	Path string

	// Builder makes objects of it.
	Builder Builder

	// Revision is what the source calls the state of the tree: a commit. What
	// a render makes of it is traced, as what it makes of a file is.
	Revision string `json:"-"`

	// Cluster is the one that the objects are for; nil: there is none, or the
	// builder does not ask. What a render makes of it is traced.
	Cluster *Cluster `json:"-"`

	// Labels and Annotations are set on the metadata of every object once it
	// is built. They don't reach selectors or templates.
	Labels      map[string]string
	Annotations map[string]string

	// GenerateNames lets an object have no name, or a generateName. Who
	// applies it has to give it one: all of a kind have the same Ref, and none
	// is the same as another.
	GenerateNames bool

	// Repeats lets an object be there more than once: the last one is meant, which
	// is for who applies it. Otherwise that is an error.
	Repeats bool

	// Substitute, if not nil, replaces ${variables} in the built objects.
	Substitute *Substitution
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

// Digest identifies the options, but for revision and cluster, and the builder:
// equal digests, trees, revisions and clusters give equal results. As it covers the variables, it is as secret as
// they are guessable: for comparing, not for showing.
func (o Options) Digest() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // a builder encodes as JSON, and so do strings and maps of them
	}
	h := sha256.New()
	h.Write([]byte(version + " " + o.Builder.Version() + "\n"))
	h.Write(b)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// secret reports whether the options hold what may not be stored, and so a
// result of them, whose key covers the options.
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
func attempt(ctx context.Context, t tree.Tree, o Options, l limits) (Result, error) {
	return resultOf(ctx, o, l, func() (Built, tree.Trace, error) { return build(ctx, t, o) })
}

// resultOf makes a result of what build gives.
func resultOf(ctx context.Context, o Options, l limits, build func() (Built, tree.Trace, error)) (Result, error) {
	built, trace, err := build()
	if err != nil {
		return Result{}, o.presentable(err)
	}
	set, err := finish(ctx, built, o, l)
	if err != nil {
		return Result{}, o.presentable(err)
	}
	r, err := newResult(set, l)
	if err != nil {
		return Result{}, err
	}
	r.Trace = trace
	r.Kind = built.Kind
	if r.Revised = built.Revised; r.Revised {
		r.Revision = o.Revision
	}
	r.Asked, r.Answered, r.Varies = built.Asked, built.Asked.of(o.Cluster), built.Varies
	r.Cacheable = !built.Foreign
	r.Secret = built.Secret || o.secret()
	for _, w := range built.Warnings {
		r.Warnings = append(r.Warnings, printable(w))
	}
	return r, nil
}

// build has the builder build, and notes what it saw of the tree.
func build(ctx context.Context, t tree.Tree, o Options) (b Built, trace tree.Trace, err error) {
	defer func() {
		if p := recover(); p != nil {
			// What a panic says may quote the repository.
			b, err = Built{}, Stall(BuildFailed, "", fmt.Errorf("the renderer gave up (%T)", p))
		}
	}()
	tracer := tree.NewTracer(t)
	dir, err := directory(tracer, o.Path)
	if err != nil {
		return Built{}, trace, err
	}
	revised := false
	revision := func() string { revised = true; return o.Revision }
	if b, err = o.Builder.Build(ctx, Input{Tree: tracer, Dir: dir, Revision: revision, GenerateNames: o.GenerateNames, Cluster: o.Cluster}); err != nil {
		return Built{}, trace, err
	}
	b.Revised = revised
	trace, ok := tracer.Trace()
	if !ok {
		return Built{}, trace, errors.New("the tree could not be read")
	}
	return b, trace, nil
}

// directory returns the name in the tree of the directory that a user wrote.
func directory(t tree.Tree, p string) (string, error) {
	if strings.ContainsRune(p, 0) || path.IsAbs(p) {
		return "", Stall("InvalidPath", "use a path relative to the root of the source",
			fmt.Errorf("path %q is not a relative path", p))
	}
	name := path.Clean(p)
	if !fs.ValidPath(name) {
		return "", Stall("InvalidPath", "use a path inside the source",
			fmt.Errorf("path %q leads out of the source", p))
	}
	dir, err := tree.Resolve(t, name)
	if err != nil {
		return "", err
	}
	e, err := t.Lookup(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", Missing(err, "PathNotFound", "path %q", p)
	case err != nil:
		return "", err
	case e.Kind != tree.Dir:
		return "", Stall("PathNotFound", "name the directory that holds it",
			fmt.Errorf("path %q is a %s, not a directory", p, e.Kind))
	}
	return dir, nil
}

// Missing is the error for what is not there, or is and has been excluded.
func Missing(err error, reason fault.Reason, format string, args ...any) *fault.Error {
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

// Reasons of what is wrong with the repository.
const (
	// BuildFailed is that of what has no reason of its own.
	BuildFailed = "BuildFailed"
	// TooLarge is that of what goes beyond a limit.
	TooLarge = "ManifestTooLarge"
	// FeatureDisabled is that of what plumb doesn't do.
	FeatureDisabled = "FeatureDisabled"
	// DecryptionUnsupported is that of what would have to be decrypted.
	DecryptionUnsupported = "DecryptionUnsupported"
)

func tooLarge(format string, args ...any) error {
	return Stall(TooLarge, "", fmt.Errorf(format, args...))
}

// Stall is the error for files that are wrong: another try is in vain until they
// change.
func Stall(reason fault.Reason, hint string, err error) error {
	return &fault.Error{Next: fault.Stall, Reason: reason, Hint: hint, Err: err}
}
