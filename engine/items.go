package engine

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// render renders u and notes what that claims.
func (e *Engine) render(ctx context.Context, u Unit, st *state) (Results, error) {
	rs, err := e.renders(ctx, u, "")
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lastRendered, st.renders = u.Revision(), max(st.renders, len(rs))
	st.asksAPIs = slices.ContainsFunc(rs, func(r render.Result) bool { return r.Asked.APIs })
	return rs, nil
}

// items makes the desired objects of a render those of u. unknown are the
// objects of kinds that the cluster does not have.
func (e *Engine) items(ctx context.Context, u Unit, st *state, p *place, rs Results) (items []apply.Item, unknown []apply.Item, err error) {
	key := fmt.Sprintf("%s %s %s %t", rs.Digest(), u.Digest, u.Target.Cluster, u.MakesNamespace != nil)
	if len(u.Ignores) > 0 {
		key += fmt.Sprint(" ", u.Ignores) // which may be those of more units
	}
	if st.prepFor == key {
		return st.prepared, nil, nil
	}
	st.hooks = nil
	all, repeated, err := locateAll(ctx, p, u, rs)
	if err != nil {
		return nil, nil, err
	}
	rules, err := e.ignoresOf(u, st)
	if err != nil {
		return nil, nil, err
	}
	st.missing, st.repeated = nil, repeated
	src := &desired{rs: slices.Clone(rs), marks: u.Objects.Marks(u)}
	items, unknown = make([]apply.Item, 0, len(all)+1), make([]apply.Item, 0, len(all)) // which don't move: the items refer to themselves
	for _, at := range all {
		is, ref := rs[at.part].Items[at.i], at.ref
		o, err := src.object(at.part, at.i)
		if err != nil {
			return nil, nil, err
		}
		to := &items
		if at.unknown {
			to = &unknown
			st.missing = append(st.missing, watch.Target{Ref: ref, Version: is.Version, Scope: watch.Scope{Selector: u.Objects.Selector()}, Managers: u.Managers})
		}
		item := apply.Item{Ref: ref, Version: is.Version, Digest: is.Digest, Policy: rules.policy(u, o, ref, rs[at.part].Varying(is.Ref))}
		if err := nameless(o, &item); err != nil {
			return nil, nil, err
		}
		if item.Policy.Hook != nil {
			item.Unknown = at.unknown
			item.Object = func() *unstructured.Unstructured { return finish(src, at.part, at.i, ref) }
			st.hooks = append(st.hooks, item)
			continue
		}
		*to = append(*to, item)
		it, part, i := &(*to)[len(*to)-1], at.part, at.i // not at, of which more would be kept
		it.Object = func() *unstructured.Unstructured { return finish(src, part, i, it.Ref) }
	}
	for i, by := 0, apply.Definitions(items); i < len(unknown); i++ {
		if ref := &unknown[i].Ref; by[ref.GroupKind()].Namespaced && ref.Namespace == "" {
			ref.Namespace = u.Namespace
		}
	}
	if it := u.namespace(items); it != nil {
		items = append(items, *it)
	}
	st.prepared, st.prepFor, st.source = items, key, src
	st.unlisted = len(unlisted(items))
	if len(st.missing) > 0 {
		st.prepFor = ""
	}
	return items, unknown, nil
}

// nameless notes that an object has no name, or that the server would give it
// another one each time: hooks are given one, and what is held true needs its own.
func nameless(o *unstructured.Unstructured, item *apply.Item) error {
	switch prefix := o.GetGenerateName(); {
	case item.Ref.Name != "":
		return nil
	case item.Policy.Hook == nil && prefix == "":
		return &fault.Error{
			Next: fault.Stall, Reason: fault.ReconciliationFailed, Err: fmt.Errorf("%s has no metadata.name", item.Ref.Kind),
			Hint: "give it a name, or make it a hook",
		}
	case item.Policy.Hook == nil:
		return &fault.Error{
			Next: fault.Stall, Reason: fault.BuildFailed,
			Err:  fmt.Errorf("%s with the generateName %q would be another object each time", item.Ref.Kind, prefix),
			Hint: "give it a name, or make it a hook",
		}
	default:
		h := *item.Policy.Hook
		h.GenerateName = cmp.Or(prefix, strings.ToLower(item.Ref.Kind)+"-")
		item.Policy.Hook = &h
		return nil
	}
}

// A located is where an object of a render is.
type located struct {
	part, i int // in which rendering, and there
	ref     object.Ref
	unknown bool // the cluster does not have the kind
}

// locateAll finds out what the objects of a render are called on the cluster.
// repeated are those that are there more than once: the last one counts.
func locateAll(ctx context.Context, k Kinds, u Unit, rs Results) (all []located, repeated []object.Ref, err error) {
	last := make(map[object.Ref]int) // the place in all
	var nowhere []error
	for part, r := range rs {
		for i, it := range r.Items {
			ref, err := locate(ctx, k, u, it.Ref, it.Version)
			if fault.Is(err, fault.InvalidSpec) {
				nowhere = append(nowhere, err) // more of them may be
				continue
			}
			if err != nil && !fault.Is(err, fault.UnknownKind) {
				return nil, nil, err
			}
			if ref.Name == "" { // each is one of its own
				all = append(all, located{part, i, ref, err != nil})
				continue
			}
			before, again := last[ref]
			if again && all[before].part == part && !u.Renders[part].Repeats {
				return nil, nil, &fault.Error{
					Next: fault.Stall, Reason: fault.BuildFailed, Object: ref,
					Err: errors.New("the source holds it twice, with and without a namespace"),
				}
			}
			if again {
				repeated = append(repeated, ref)
				all[before].part = -1
			}
			last[ref] = len(all)
			all = append(all, located{part, i, ref, err != nil})
		}
	}
	if len(nowhere) > 0 {
		return nil, nil, errors.Join(nowhere...)
	}
	if len(repeated) == 0 {
		return all, nil, nil
	}
	slices.SortFunc(repeated, object.Compare)
	return slices.DeleteFunc(all, func(l located) bool { return l.part < 0 }), slices.Compact(repeated), nil
}

// locate returns the ref that a rendered object has on the cluster.
func locate(ctx context.Context, k Kinds, u Unit, ref object.Ref, version string) (object.Ref, error) {
	if err := isName(ref); err != nil && ref.Name != "" {
		return ref, err
	}
	m, err := k.Mapping(ctx, ref.GroupKind().WithVersion(version))
	if err != nil {
		return ref, err
	}
	if m.Scope.Name() != apimeta.RESTScopeNameNamespace {
		ref.Namespace = ""
	} else if ref.Namespace = cmp.Or(ref.Namespace, u.Namespace); ref.Namespace == "" {
		return ref, &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Object: ref, Err: errors.New("it needs a namespace, and has none"),
			Hint: "give it one, or name the namespace for all that have none",
		}
	}
	return ref, nil
}

// desired is a render as long as a unit is held true to it. Between two looks
// it is packed.
type desired struct {
	marks func(object.Ref) Marks
	mu    sync.Mutex
	rs    Results
}

// object returns the i-th object of a rendering. It may be shared.
func (d *desired) object(part, i int) (*unstructured.Unstructured, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.rs[part].Opened()
	if err != nil {
		return nil, err
	}
	d.rs[part] = r
	return r.Object(i)
}

// pack lets go of what can be made again.
func (d *desired) pack() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, r := range d.rs {
		d.rs[i] = r.Packed()
	}
}

// pack has what a unit is held true to take less memory, once a look at it is
// over.
func (e *Engine) pack(unit string) {
	e.mu.Lock()
	st := e.states[unit]
	e.mu.Unlock()
	if st != nil && st.source != nil {
		st.source.pack()
	}
}

// finish returns the i-th object of a rendering as it is applied.
func finish(d *desired, part, i int, ref object.Ref) *unstructured.Unstructured {
	o, err := d.object(part, i)
	if err != nil {
		// The bytes were made by encoding an object in this process.
		panic(fmt.Sprintf("decode rendered %s: %v", ref, err))
	}
	o = o.DeepCopy()
	o.SetNamespace(ref.Namespace)
	marks := d.marks(ref)
	o.SetLabels(with(o.GetLabels(), marks.Labels))
	if len(marks.Annotations) > 0 {
		o.SetAnnotations(with(o.GetAnnotations(), marks.Annotations))
	}
	switch {
	case ref.Kind == "Secret" && ref.Group == "":
		encodeStringData(o)
	case ref.Kind == "ClusterRole" && ref.Group == "rbac.authorization.k8s.io" && o.Object["aggregationRule"] != nil:
		// The control plane writes the rules of an aggregated role, and
		// overwrites others. To apply any is to take rights away until it does.
		delete(o.Object, "rules")
	}
	return o
}

// with returns all of both; what both have is as in marks.
func with(has, marks map[string]string) map[string]string {
	if has == nil {
		has = make(map[string]string, len(marks))
	}
	maps.Copy(has, marks)
	return has
}

// encodeStringData does what the API server does with a Secret's stringData.
// It is write-only: left as it is, it could never be compared, and a key that
// is taken out of it would stay in data.
func encodeStringData(o *unstructured.Unstructured) {
	plain, ok, _ := unstructured.NestedMap(o.Object, "stringData")
	if !ok {
		return
	}
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	if data == nil {
		data = make(map[string]any, len(plain))
	}
	for k, v := range plain {
		s, ok := v.(string)
		if !ok {
			return // the server says what is wrong with it
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	o.Object["data"] = data
	delete(o.Object, "stringData")
}

// targets are what the watch follows for u.
func (e *Engine) targets(u Unit, st *state, items []apply.Item) []watch.Target {
	st.expect(u, items)
	targets := make([]watch.Target, 0, len(items)+len(u.Health.Checks))
	seen := make(map[object.Ref]bool, len(items))
	add := func(t watch.Target) {
		if !seen[t.Ref] {
			seen[t.Ref] = true
			targets = append(targets, t)
		}
	}
	for _, it := range items {
		if it.Policy.Mode == apply.Ignore {
			continue
		}
		t := watch.Target{
			Ref: it.Ref, Version: it.Version, Scope: st.scope(u, it.Ref),
			Managers: it.Policy.Managers(u.Managers), Judge: u.Health.Judge(it.Ref.GroupKind()), Words: u.Health.Tell,
		}
		if it.Aside {
			t.Scope = watch.Scope{} // it has no marks
		}
		add(t)
	}
	for _, it := range st.hooksOf(u) {
		if !it.Unknown {
			add(watch.Target{
				Ref: it.Ref, Version: it.Version, Scope: watch.Scope{Selector: u.Objects.Selector()},
				Managers: u.Managers, Judge: health.Completion{Judge: u.Health.Judge(it.Ref.GroupKind())}, Keep: true,
			})
		}
	}
	for _, c := range st.checks {
		if !u.Health.Wait {
			add(watch.Target{Ref: c.Ref, Version: c.Version, Managers: u.Managers, Judge: u.Health.Judge(c.Ref.GroupKind())})
		}
	}
	for _, en := range st.inventory {
		t := watch.Target{Ref: en.Ref, Version: en.Version, Scope: st.scope(u, en.Ref), Managers: u.Managers, Keep: u.Prune.Tracks && !u.Leaving}
		if u.Health.Tell {
			t.Judge, t.Words = u.Health.Judge(en.Ref.GroupKind()), true
		}
		add(t)
	}
	return targets
}
