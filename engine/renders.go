package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// A Rendering is a directory of one of a unit's sources, and how it becomes
// objects.
type Rendering struct {
	From int // which of the unit's sources
	// Mounts are others of its sources that are read together with that one.
	Mounts []Mount
	render.Options
}

// A Mount is one of a unit's sources, as a directory of another.
type Mount struct {
	From int
	At   string
}

// tree is what a rendering reads of artifacts.
func (r Rendering) tree(artifacts []*source.Artifact) (tree.Tree, error) {
	base := artifacts[r.From].Tree
	if len(r.Mounts) == 0 {
		return base, nil
	}
	mounts := make([]tree.Mount, len(r.Mounts))
	for i, m := range r.Mounts {
		mounts[i] = tree.Mount{At: m.At, Tree: artifacts[m.From].Tree}
	}
	return tree.Overlay(base, mounts)
}

// reads reports whether a rendering reads one of a unit's sources.
func (r Rendering) reads(sources []string, name string) bool {
	return sources[r.From] == name || slices.ContainsFunc(r.Mounts, func(m Mount) bool { return sources[m.From] == name })
}

// Results are what the renderings of a unit come to, in their order. Of an
// object that several have, the last one counts.
type Results []render.Result

// Render renders a unit from its artifacts, without a cluster.
func Render(ctx context.Context, u Unit) (Results, error) {
	return u.renders(func(_ int, t tree.Tree, o render.Options) (render.Result, error) { return render.Objects(ctx, t, o) })
}

// renders renders each of a unit's renderings with f. What f has nobody supply, is
// an error for people.
func (u Unit) renders(f func(i int, t tree.Tree, o render.Options) (render.Result, error)) (Results, error) {
	if len(u.Renders) == 0 {
		return nil, specFault{&fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("it names nothing to render")}}
	}
	rs := make(Results, len(u.Renders))
	for i, r := range u.Renders {
		a := u.Artifacts[r.From]
		r.Revision = hashOf(a.Revision)
		t, err := r.tree(u.Artifacts)
		if err == nil {
			rs[i], err = f(i, t, r.Options)
		}
		if needs := (*render.Needs)(nil); errors.As(err, &needs) {
			err = needs.Fault()
		}
		if err != nil {
			return nil, fmt.Errorf("render %q at %s: %w", r.Path, a.Revision, err)
		}
	}
	return rs, nil
}

// renders renders a unit, or knows what it would render to. as is added to what
// that is kept as.
func (e *Engine) renders(ctx context.Context, u Unit, as string) (Results, error) {
	return u.renders(func(i int, t tree.Tree, o render.Options) (render.Result, error) {
		if o.Builder.AsksCluster() {
			var err error
			if o.Cluster, err = e.whatHas(ctx, u.Target); err != nil {
				return render.Result{}, err
			}
		}
		r, kept, err := e.cache.Objects(ctx, u.renderKey(i)+as, t, o)
		if needs := (*render.Needs)(nil); u.Supply != nil && errors.As(err, &needs) {
			r, kept, err = e.supplied(ctx, u, i, as, t, o, needs)
		}
		for _, w := range r.Warnings {
			if !kept && e.o.Log != nil { // a preview has none
				e.o.Log.Warn("rendered with a warning", "unit", u.Name, "revision", u.Revision(), "warning", w)
			}
		}
		return r, err
	})
}

// supplied renders a rendering of a unit with the charts that it needs laid into its
// tree.
func (e *Engine) supplied(ctx context.Context, u Unit, i int, as string, t tree.Tree, o render.Options, needs *render.Needs) (r render.Result, kept bool, err error) {
	names, err := u.Supply(i, needs.All)
	if err != nil {
		return r, false, err
	}
	mounts := make([]tree.Mount, len(names))
	for j, name := range names {
		a, err := e.o.Artifact(ctx, name)
		if err != nil {
			n := needs.All[j]
			return r, false, fmt.Errorf("%s: the chart %s %s that it depends on: %w", n.By, n.Name, n.Version, err)
		}
		mounts[j] = tree.Mount{At: needs.All[j].At, Tree: a.Tree}
	}
	if t, err = tree.Overlay(t, mounts); err != nil {
		return r, false, err
	}
	return e.cache.Objects(ctx, u.suppliedKey(i)+as, t, o)
}

// suppliedKey is what the i-th rendering of a unit is kept as where it needs charts.
func (u Unit) suppliedKey(i int) string { return u.renderKey(i) + " supplied" }

// renderKey is what the i-th rendering of a unit is kept as.
func (u Unit) renderKey(i int) string {
	if i == 0 {
		return u.Name
	}
	return fmt.Sprintf("%s %d", u.Name, i)
}

// Digest identifies all objects and their order.
func (rs Results) Digest() string {
	if len(rs) == 1 {
		return rs[0].Digest
	}
	all := sha256.New()
	for _, r := range rs {
		fmt.Fprintln(all, r.Digest)
	}
	return "sha256:" + hex.EncodeToString(all.Sum(nil))
}

// Warnings are those of all.
func (rs Results) Warnings() (all []string) {
	for _, r := range rs {
		all = append(all, r.Warnings...)
	}
	return all
}

// items are those of all.
func (rs Results) items() (all []render.Item) {
	for _, r := range rs {
		all = append(all, r.Items...)
	}
	return all
}

// Objects are those of all, as they were rendered. They may be shared, and may
// not be changed.
func (rs Results) Objects() (all object.Set, err error) {
	for _, r := range rs {
		set, err := r.Objects()
		if err != nil {
			return nil, err
		}
		all = append(all, set...)
	}
	return all, nil
}

// paths are the directories that a unit is rendered from.
func (u Unit) paths() string {
	paths := make([]string, len(u.Renders))
	for i, r := range u.Renders {
		paths[i] = r.Path
	}
	return strings.Join(paths, ", ")
}

// Revision is that of a unit's artifacts: with several, one after the other.
func (u Unit) Revision() string { return revisionOf(u.Artifacts) }

func revisionOf(artifacts []*source.Artifact) string {
	revisions := make([]string, len(artifacts))
	for i, a := range artifacts {
		revisions[i] = a.Revision
	}
	return strings.Join(revisions, " ")
}

// shares reports whether two units have an artifact of the same source.
func (u Unit) shares(other Unit) bool {
	return slices.ContainsFunc(u.Artifacts, func(a *source.Artifact) bool {
		return slices.ContainsFunc(other.Artifacts, func(b *source.Artifact) bool { return a.Source == b.Source })
	})
}

// AllSources are the sources of a unit, and of its operation.
func (u Unit) AllSources() []string {
	if u.Operation == nil {
		return u.Sources
	}
	return slices.Concat(u.Sources, u.Operation.Sources)
}

// hashOf returns what of a revision is the same whatever it is called: 9f2c… of
// main@sha1:9f2c….
func hashOf(revision string) string { return revision[strings.LastIndexByte(revision, ':')+1:] }

// stands reports whether a unit would render to the same with a as that of one
// of its sources, as far as sources go. d is how its tree differs from the one
// before it, if that is known.
func (e *Engine) stands(u Unit, name string, a *source.Artifact, d *tree.Diff) bool {
	if !slices.Contains(u.Sources, name) {
		return false // it is that of an operation
	}
	has := e.knownToHave(u.Target)
	for i, r := range u.Renders {
		if !r.reads(u.Sources, name) {
			continue
		}
		main, t, changed := a, a.Tree, d
		if len(r.Mounts) > 0 {
			artifacts, err := e.artifacts(context.Background(), u)
			if err != nil {
				return false
			}
			if t, err = r.tree(artifacts); err != nil {
				return false
			}
			main, changed = artifacts[r.From], nil // d is of one of them
		}
		if !e.cache.Stands(u.renderKey(i), hashOf(main.Revision), has, t, changed) {
			return false
		}
	}
	return len(u.Renders) > 0
}
