package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
)

// Kinds tells how a server calls a kind, as [cluster.Cluster.Mapping] does.
type Kinds interface {
	Mapping(context.Context, schema.GroupVersionKind) (*apimeta.RESTMapping, error)
}

// Desired returns the objects of a render as they are applied for u. One of a
// kind that k does not know stays as it is but for the unit's marks.
func Desired(ctx context.Context, k Kinds, u Unit, rs Results) (object.Set, error) {
	all, _, err := locateAll(ctx, k, u, rs)
	if err != nil {
		return nil, err
	}
	out, src := make(object.Set, len(all)), &desired{rs: slices.Clone(rs), marks: u.Objects.Marks(u)}
	for i, at := range all {
		out[i] = finish(src, at.part, at.i, at.ref)
	}
	return out, nil
}

// Preview says what [Engine.Run] would do for u if it began anew, and writes
// nothing: it takes the same way, but for live objects that it reads one by one,
// and has the server try each change. An error means that part of the outcome
// is missing: one for each object that the server refuses, joined.
//
// It acts as client, not as the unit's own identity. units returns every unit
// there is, as far as it can be told, with the names of those that can't; it is
// asked only if something would be deleted or taken over.
func Preview(ctx context.Context, client *cluster.Client, u Unit, units func(context.Context) ([]Unit, []string)) (Outcome, error) {
	w, err := previewer(ctx, client, u, units)
	if err == nil {
		err = w.preview(ctx)
	}
	return w.end(err)
}

// TakeOver is Preview, and makes those changes after which objects hold the same
// as before, but for the marks of u: whose fields these are. An object that has
// changed meanwhile is left.
func TakeOver(ctx context.Context, client *cluster.Client, u Unit, units func(context.Context) ([]Unit, []string)) (Outcome, error) {
	w, err := previewer(ctx, client, u, units)
	if err == nil {
		err = w.preview(ctx)
	}
	if w.record != nil {
		alike := slices.DeleteFunc(w.record.All(), func(r *apply.Result) bool { return !r.Alike || r.Action != apply.Update })
		w.applier.Dry, w.applier.Exactly = false, true
		err = errors.Join(err, w.applier.Stage(ctx, alike))
	}
	return w.end(err)
}

// previewer is a look that begins anew, with no watch.
func previewer(ctx context.Context, client *cluster.Client, u Unit, units func(context.Context) ([]Unit, []string)) (*pass, error) {
	const renderMemory = 64 << 20
	e := &Engine{
		registry: newRegistry(), index: newClaimIndex(), units: units, wake: func(string) {},
		ctx: ctx, cache: render.NewCache(renderMemory),
		at:     map[string]*place{u.Target.Cluster: {Cluster: client.Cluster, users: map[string]bool{}}},
		states: map[string]*state{},
	}
	e.o.Artifact = func(_ context.Context, name string) (*source.Artifact, error) {
		if i := slices.Index(u.Sources, name); i >= 0 && i < len(u.Artifacts) {
			return u.Artifacts[i], nil
		}
		return nil, fmt.Errorf("%s is not at hand", name)
	}
	w, err := e.begin(u, nil)
	w.client = client
	return w, err
}

func (w *pass) preview(ctx context.Context) error {
	if err := w.observeDesired(ctx); err != nil {
		return err
	}
	live, err := readAll(ctx, w.client, w.items)
	if err != nil {
		return err
	}
	w.applier = w.actor(ctx)
	w.applier.Dry, w.applier.Coming = true, map[object.Ref]bool{}
	w.applier.Settled = func(object.Ref, string, *unstructured.Unstructured) {}
	if err := w.recall(ctx, live); err != nil {
		return err
	}
	last := w.lastDigests(ctx)
	facts, err := w.tracked(ctx, w.facts(ctx, func(r object.Ref) (apply.Live, bool) {
		o := live[r]
		l := apply.Live{Exists: o != nil, Deleting: o != nil && o.GetDeletionTimestamp() != nil, Object: o, Digest: last[r]}
		if w.st.fights.Has(r) {
			l.Digest = w.item(r).Digest // it was applied, since it is fought over
		}
		return l, true
	}))
	if err == nil {
		err = w.makePlan(facts)
	}
	if err != nil {
		return err
	}
	err = told(w.act(ctx))
	w.out.Ignored = w.ignored(live)
	return err
}

// lastDigests are those of the objects that were applied last, as far as that is
// known.
func (w *pass) lastDigests(ctx context.Context) map[object.Ref]string {
	if len(w.unit.Last) == 0 {
		return nil
	}
	was := w.unit
	was.Artifacts = was.Last
	rs, err := w.renders(ctx, was, " as it was")
	if err != nil {
		return nil // another spec may have rendered it
	}
	had := make(map[object.Ref]bool, len(w.st.inventory))
	for _, en := range w.st.inventory {
		had[en.Ref] = true
	}
	digests := make(map[object.Ref]string, len(had))
	for _, it := range rs.items() {
		if ref, err := locate(ctx, w.place, w.unit, it.Ref, it.Version); err == nil && had[ref] {
			digests[ref] = it.Digest
		}
	}
	return digests
}

// recall observes what the controller has told of fights.
func (w *pass) recall(ctx context.Context, live map[object.Ref]*unstructured.Unstructured) (err error) {
	w.st.fights, err = apply.Recall(w.unit.Fights, time.Now(), w.item, func(it *apply.Item) (*unstructured.Unstructured, error) {
		return w.applier.Foresee(ctx, it, live[it.Ref])
	})
	return err
}

// item is a desired object, or nil.
func (w *pass) item(r object.Ref) *apply.Item {
	for i := range w.items {
		if w.items[i].Ref == r {
			return &w.items[i]
		}
	}
	return nil
}

// told leaves out of the errors of a preview what the plan or the record says
// already of each object that it holds.
func told(err error) error {
	var rest []error
	for _, e := range apply.Errors(err) {
		if !fault.Is(e, fault.EmptyRender) && !fault.Is(e, fault.PruneHeld) && !fault.Is(e, fault.PruneProtected) && !fault.Is(e, fault.Unconfirmed) {
			rest = append(rest, e)
		}
	}
	return errors.Join(rest...)
}

// readAll reads the live objects of items, some at a time.
func readAll(ctx context.Context, client *cluster.Client, items []apply.Item) (map[object.Ref]*unstructured.Unstructured, error) {
	const atATime = 16
	live := make(map[object.Ref]*unstructured.Unstructured, len(items))
	var mu sync.Mutex
	err := parallel.Each(ctx, atATime, items, func(_ int, it apply.Item) error {
		o, err := client.Get(ctx, it.Ref, it.Version)
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return &fault.Error{Object: it.Ref, Err: fmt.Errorf("read: %w", err)}
		default:
			mu.Lock()
			defer mu.Unlock()
			live[it.Ref] = o
		}
		return nil
	})
	return live, err
}
