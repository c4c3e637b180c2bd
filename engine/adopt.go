package engine

import (
	"context"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch"
)

// What another tool has applied in a unit's name is the unit's own although it
// lacks the unit's label, and it is as desired if all is that counts: neither the
// label nor who owns the fields is worth a write. The first write of each for
// another reason brings both.

// scope is by what the server is asked for an object of u.
func (st *state) scope(u Unit, ref object.Ref) watch.Scope {
	return watch.Scope{Selector: u.Objects.Selector(), Unlabelled: st.unlabelled[ref]}
}

// expect notes at the first look which objects may lack the label: those that the
// unit had, and those that it wants, if it will not find out by itself when it is
// about to make them.
func (st *state) expect(u Unit, items []apply.Item) {
	if !u.Adopts || st.unlabelled != nil {
		return
	}
	st.unlabelled = make(map[object.Ref]bool, len(items))
	for _, en := range st.inventory {
		st.unlabelled[en.Ref] = true
	}
	for _, it := range items {
		if u.Automation == nil && it.Policy.Mode != apply.Ignore && !it.Aside {
			st.unlabelled[it.Ref] = true
		}
	}
}

// meet has those followed by their label alone that turned out to have it, or not
// to be there and not to have been.
func (w *pass) meet(ctx context.Context) error {
	st, u := w.st, w.unit
	if len(st.unlabelled) == 0 {
		return nil
	}
	selector, err := labels.Parse(u.Objects.Selector())
	if err != nil {
		return err
	}
	had := make(map[object.Ref]bool, len(st.inventory))
	for _, en := range st.inventory {
		had[en.Ref] = true
	}
	before := len(st.unlabelled)
	maps.DeleteFunc(st.unlabelled, func(ref object.Ref, _ bool) bool {
		l, known := w.place.watch.Live(u.Name, ref)
		switch {
		case !known:
			return false
		case !l.Exists:
			return !had[ref]
		}
		return l.Object != nil && selector.Matches(labels.Set(l.Object.GetLabels()))
	})
	if len(st.unlabelled) == before {
		return nil
	}
	if len(st.unlabelled) == 0 {
		st.unlabelled = map[object.Ref]bool{} // a map keeps the room that it has had
	}
	_, err = w.follow(ctx, u, st, w.place, w.items)
	return err
}

// An answer is what the server said about an object: whether it would be as it is
// if it was applied.
type answer struct {
	digest, version string // of what was desired, and of what was there
	alike           bool
}

// compare finds out which objects are as desired in all that counts, although
// they were not applied as the unit would. It is for a unit that may not write:
// one that may finds out by writing. What can't be told here the server is asked,
// once for each state.
func (w *pass) compare(ctx context.Context) error {
	u, st := w.unit, w.st
	w.alike = make(map[object.Ref]bool)
	if !u.Adopts || u.Permission == apply.Everything {
		return nil
	}
	marks, live := u.Objects.Marks(u), w.place.live(u, st)
	asked := make(map[object.Ref]answer)
	var ask []apply.Item
	states := make(map[object.Ref]*unstructured.Unstructured)
	for _, it := range w.items {
		l, known := live(it.Ref)
		if !known || l.Object == nil || l.Deleting || l.Settled && l.Digest == it.Digest || it.Aside || it.Policy.Mode == apply.Ignore || it.Policy.Mode == apply.IfNotPresent {
			continue
		}
		m, desired := it.Policy.Managers(u.Managers), it.Object()
		bare, all := without(desired, l.Object, marks(it.Ref))
		if owned.Same(bare, l.Object, m) || owned.AsRecorded(bare, l.Object, m) {
			w.alike[it.Ref] = true
			continue
		}
		now := answer{digest: it.Digest, version: l.Object.GetResourceVersion()}
		if a := st.asked[it.Ref]; a.digest == now.digest && a.version == now.version {
			asked[it.Ref], w.alike[it.Ref] = a, a.alike
			continue
		}
		if all && u.Permission == apply.CorrectDrift && l.Digest == it.Digest {
			continue // to put it back is to find out
		}
		asked[it.Ref], states[it.Ref] = now, l.Object
		ask = append(ask, it)
	}
	err := w.ask(ctx, ask, states, asked)
	st.asked = asked
	return err
}

// ask asks the server about objects, and notes its answers.
func (w *pass) ask(ctx context.Context, items []apply.Item, live map[object.Ref]*unstructured.Unstructured, answers map[object.Ref]answer) error {
	const atATime = 8
	actor := w.actor(ctx)
	var mu sync.Mutex
	return parallel.Each(ctx, atATime, items, func(_ int, it apply.Item) error {
		alike, err := actor.Alike(ctx, &it, live[it.Ref])
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			delete(answers, it.Ref)
			return err
		}
		a := answers[it.Ref]
		a.alike = alike
		answers[it.Ref], w.alike[it.Ref] = a, alike
		return nil
	})
}

// without returns what is desired less those marks that a live object lacks; all
// says that it has them all.
func without(desired, live *unstructured.Unstructured, m Marks) (bare *unstructured.Unstructured, all bool) {
	bare, all = desired.DeepCopy(), true
	less := func(has, there, marks map[string]string) map[string]string {
		for name := range marks {
			if _, ok := there[name]; !ok {
				delete(has, name)
				all = false
			}
		}
		if len(has) == 0 {
			return nil
		}
		return has
	}
	bare.SetLabels(less(bare.GetLabels(), live.GetLabels(), m.Labels))
	bare.SetAnnotations(less(bare.GetAnnotations(), live.GetAnnotations(), m.Annotations))
	return bare, all
}
