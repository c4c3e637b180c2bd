package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
)

// Kinds tells how a server calls a kind, as [cluster.Cluster.Mapping] does.
type Kinds interface {
	Mapping(context.Context, schema.GroupVersionKind) (*apimeta.RESTMapping, error)
}

// Objects returns the objects of a render as they are applied for u. One of a
// kind that k does not know stays as it is but for the unit's labels.
func Objects(ctx context.Context, k Kinds, u Unit, r render.Result) (object.Set, error) {
	set, err := r.Objects()
	if err != nil {
		return nil, err
	}
	out := make(object.Set, len(set))
	for i := range set {
		ref, err := locate(ctx, k, u, r.Items[i].Ref, r.Items[i].Version)
		if err != nil && !fault.Is(err, fault.UnknownKind) {
			return nil, err
		}
		out[i] = finish(&rendered{r: r, labels: u.Marks.Labels}, i, ref)
	}
	return out, nil
}

// Preview says what [Engine.Run] would do for u if it began anew, and writes
// nothing: it plans in the same way, from live objects that it reads one by
// one, and has the server try each change. Changes holds what would be done,
// Held what something speaks against. An error means that part of the outcome
// is missing: one for each object that the server refuses, joined.
//
// It acts as client, not as the unit's own identity. units returns every unit
// there is, as far as it can be told, with the names of those that can't; it is
// asked only if something would be deleted or taken over.
func Preview(ctx context.Context, client *cluster.Client, u Unit, units func(context.Context) ([]Unit, []string)) (out Outcome, err error) {
	const renderMemory = 64 << 20
	e := &Engine{
		registry: newRegistry(), index: newClaimIndex(), units: units, wake: func(string) {},
		ctx: ctx, cache: render.NewCache(renderMemory),
		at:     map[string]*place{u.Target.Cluster: {Cluster: client.Cluster, users: map[string]bool{}}},
		states: map[string]*state{},
	}
	e.o.Artifact = func(_ context.Context, name string) (*source.Artifact, error) {
		if slices.Contains(u.Sources, name) {
			return u.Source, nil
		}
		return nil, fmt.Errorf("%s is not at hand", name)
	}
	st, p := e.state(u), e.at[u.Target.Cluster]
	out.Revision, out.Commit = u.Source.Revision, u.Source.Commit

	rendered, err := e.render(ctx, u, st)
	if err != nil {
		return out, fmt.Errorf("render %q at %s: %w", u.Render.Path, u.Source.Revision, err)
	}
	out.Rendered, out.Digest = true, rendered.Digest
	items, missing, err := e.items(ctx, u, st, p, rendered)
	if err != nil {
		return out, err
	}
	out.Left = left(items)
	live, err := readAll(ctx, client, items)
	if err != nil {
		return out, err
	}
	plan, _ := apply.Make(items, st.inventory, u.Managers, u.Order, func(r object.Ref) (apply.Live, bool) {
		o := live[r]
		return apply.Live{Exists: o != nil, Deleting: o != nil && o.GetDeletionTimestamp() != nil, Object: o}, true
	}, u.Policy)
	dropExpired(u, &plan)
	out.Held = append(out.Held, plan.Hold...)

	a := &apply.Applier{
		Client: client, Managers: u.Managers, Force: u.Force, Policy: u.Policy, Dry: true,
		Namespaces: append([]string{u.Namespace}, u.Prune.Protected...),
		Mine:       mine(u), MayTake: e.mayTake(ctx, u),
		Settled: func(object.Ref, string, *unstructured.Unstructured) {},
		Secrets: secretsOf(u, items),
	}
	var errs []error
	coming := map[string]bool{}
	for _, stage := range plan.Stages {
		would, err := a.Preview(ctx, stage, coming)
		out.Changes = append(out.Changes, would...)
		errs = append(errs, err)
		for _, c := range would {
			if c.Ref.Kind == "Namespace" && c.Ref.Group == "" {
				coming[c.Ref.Name] = true
			}
		}
	}
	defined, undefined := previewUnknown(u, items, missing)
	out.Changes = append(out.Changes, defined...)
	out.Held = append(out.Held, undefined...)
	if len(undefined) > 0 {
		return out, errors.Join(errs...) // nothing is pruned before everything is applied
	}
	prune := slices.DeleteFunc(plan.Prune, func(c *apply.Change) bool {
		return slices.ContainsFunc(missing, func(r object.Ref) bool { return r.GroupKind() == c.Ref.GroupKind() && r.Name == c.Ref.Name })
	})
	errs = append(errs, e.previewPrune(ctx, u, st, a, prune, &out))
	return out, errors.Join(errs...)
}

// previewPrune says of every object that is no longer desired what would
// become of it.
func (e *Engine) previewPrune(ctx context.Context, u Unit, st *state, a *apply.Applier, prune []*apply.Change, out *Outcome) error {
	err := e.prune(ctx, u, st, a, prune, len(u.Remembers), out)
	told := map[object.Ref]bool{}
	for _, c := range append(slices.Clone(out.Changes), out.Held...) {
		told[c.Ref] = true
	}
	answer := fault.Is(err, fault.EmptyRender) || fault.Is(err, fault.PruneHeld) || fault.Is(err, fault.PruneProtected)
	for _, c := range prune {
		switch {
		case c.Action == apply.Delete && !told[c.Ref]:
			c.Action, c.Why = apply.Hold, "it could not be looked at"
			fallthrough
		case c.Action == apply.Hold && !told[c.Ref]:
			out.Held = append(out.Held, c)
		case c.Action == apply.Release && !told[c.Ref] && c.Why != "it is gone":
			out.Changes = append(out.Changes, c)
		}
		if c.Action == apply.Hold && answer && !fault.Is(err, fault.PruneProtected) {
			c.Why = string(fault.Of(err).Reason) + ": " + fault.Of(err).Err.Error() // the hint is for who has pushed it
		}
	}
	if answer {
		return nil // it is in what is held
	}
	return err
}

// previewUnknown tells apart objects whose kind comes with them and such whose
// kind nobody defines.
func previewUnknown(u Unit, items []apply.Item, missing []object.Ref) (defined, undefined []*apply.Change) {
	comes := map[schema.GroupKind]bool{}
	for _, it := range items {
		if it.Ref.Kind == "CustomResourceDefinition" {
			o := it.Object().Object
			group, _, _ := unstructured.NestedString(o, "spec", "group")
			kind, _, _ := unstructured.NestedString(o, "spec", "names", "kind")
			comes[schema.GroupKind{Group: group, Kind: kind}] = true
		}
	}
	for _, r := range missing {
		c := &apply.Change{Ref: r, Action: apply.Create, Cause: apply.First, Why: "not tried on the server, because its kind comes with it"}
		if comes[r.GroupKind()] {
			defined = append(defined, c)
			continue
		}
		c.Action, c.Why = apply.Hold, "the cluster does not have its kind; nothing is pruned before it does"
		undefined = append(undefined, c)
	}
	return defined, undefined
}

// readAll reads the live objects of items, some at a time.
func readAll(ctx context.Context, client *cluster.Client, items []apply.Item) (map[object.Ref]*unstructured.Unstructured, error) {
	const parallel = 16
	live := make(map[object.Ref]*unstructured.Unstructured, len(items))
	errs := make([]error, len(items))
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			o, err := client.Get(ctx, it.Ref, it.Version)
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				errs[i] = &fault.Error{Object: it.Ref, Err: fmt.Errorf("read: %w", err)}
			default:
				mu.Lock()
				live[it.Ref] = o
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return live, errors.Join(errs...)
}
