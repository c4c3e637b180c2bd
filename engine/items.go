package engine

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
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
	return rs, nil
}

// items makes the desired objects of a render those of u. unknown are the
// objects of kinds that the cluster does not have.
func (e *Engine) items(ctx context.Context, u Unit, st *state, p *place, rs Results) (items []apply.Item, unknown []apply.Item, err error) {
	key := fmt.Sprintf("%s %s %s", rs.Digest(), u.Digest, u.Target.Cluster)
	if st.prepFor == key {
		return st.prepared, nil, nil
	}
	sets, err := rs.sets()
	if err != nil {
		return nil, nil, err
	}
	all, repeated, err := locateAll(ctx, p, u, rs)
	if err != nil {
		return nil, nil, err
	}
	st.missing, st.repeated = nil, repeated
	src := &desired{rs: rs, labels: u.Objects.Labels(u)}
	items, unknown = make([]apply.Item, 0, len(all)), make([]apply.Item, 0, len(all)) // which don't move: the items refer to themselves
	for _, at := range all {
		o, is, ref := sets[at.part][at.i], rs[at.part].Items[at.i], at.ref
		to := &items
		if at.unknown {
			to = &unknown
			st.missing = append(st.missing, watch.Target{Ref: ref, Version: o.GroupVersionKind().Version, Scope: watch.Scope{Selector: u.Objects.Selector()}, Managers: u.Managers})
		}
		*to = append(*to, apply.Item{
			Ref: ref, Version: o.GroupVersionKind().Version, Digest: is.Digest,
			Policy: u.policy(o),
		})
		it := &(*to)[len(*to)-1]
		it.Object = func() *unstructured.Unstructured { return finish(src, at.part, at.i, it.Ref) }
	}
	for i, by := 0, apply.Definitions(items); i < len(unknown); i++ {
		if ref := &unknown[i].Ref; by[ref.GroupKind()].Namespaced && ref.Namespace == "" {
			ref.Namespace = u.Namespace
		}
	}
	st.prepared, st.prepFor, st.source = items, key, src
	st.ignored = len(ignored(items))
	if len(unknown) > 0 {
		st.prepFor = ""
	}
	return items, unknown, nil
}

// A located is where an object of a render is.
type located struct {
	part, i int // in which rendering, and there
	ref     object.Ref
	unknown bool // the cluster does not have the kind
}

// locateAll finds out what the objects of a render are called on the cluster.
// repeated are those that more than one rendering has: the last one counts.
func locateAll(ctx context.Context, k Kinds, u Unit, rs Results) (all []located, repeated []object.Ref, err error) {
	last := make(map[object.Ref]int) // the place in all
	for part, r := range rs {
		for i, it := range r.Items {
			ref, err := locate(ctx, k, u, it.Ref, it.Version)
			if err != nil && !fault.Is(err, fault.UnknownKind) {
				return nil, nil, err
			}
			before, again := last[ref]
			if again && all[before].part == part {
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
	if len(repeated) == 0 {
		return all, nil, nil
	}
	slices.SortFunc(repeated, object.Compare)
	return slices.DeleteFunc(all, func(l located) bool { return l.part < 0 }), slices.Compact(repeated), nil
}

// locate returns the ref that a rendered object has on the cluster.
func locate(ctx context.Context, k Kinds, u Unit, ref object.Ref, version string) (object.Ref, error) {
	if err := isName(ref); err != nil {
		return ref, err
	}
	m, err := k.Mapping(ctx, ref.GroupKind().WithVersion(version))
	if err != nil {
		return ref, err
	}
	if m.Scope.Name() != apimeta.RESTScopeNameNamespace {
		ref.Namespace = ""
	} else if ref.Namespace == "" {
		ref.Namespace = u.Namespace
	}
	return ref, nil
}

// desired is a render as long as a unit is held true to it. Between two runs
// it is packed.
type desired struct {
	labels map[string]string // of every object
	mu     sync.Mutex
	rs     Results
}

// object returns the i-th object of a rendering. It may be shared.
func (d *desired) object(part, i int) (*unstructured.Unstructured, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rs[part].Object(i)
}

// pack lets go of what can be made again.
func (d *desired) pack() {
	d.mu.Lock()
	defer d.mu.Unlock()
	packed := make(Results, len(d.rs))
	for i, r := range d.rs {
		packed[i] = r.Packed()
	}
	d.rs = packed
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
	l := o.GetLabels()
	if l == nil {
		l = make(map[string]string, len(d.labels))
	}
	for k, v := range d.labels {
		l[k] = v
	}
	o.SetLabels(l)
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
		add(watch.Target{
			Ref: it.Ref, Version: it.Version, Scope: watch.Scope{Selector: u.Objects.Selector()},
			Managers: it.Policy.Managers(u.Managers), Judge: st.judge(u, it.Ref.GroupKind()),
		})
	}
	for _, c := range st.checks {
		if !u.Health.Wait {
			add(watch.Target{Ref: c.Ref, Version: c.Version, Managers: u.Managers, Judge: st.judge(u, c.Ref.GroupKind())})
		}
	}
	for _, en := range st.inventory {
		add(watch.Target{Ref: en.Ref, Version: en.Version, Scope: watch.Scope{Selector: u.Objects.Selector()}, Managers: u.Managers})
	}
	return targets
}

// judge returns the compiled expressions for a kind, or nil. They were seen to
// compile when the unit was made.
func (st *state) judge(u Unit, gk schema.GroupKind) health.Judge {
	x, ok := u.Health.expr(gk)
	if !ok {
		return nil
	}
	if j, ok := st.judges[x]; ok {
		return j
	}
	j, err := health.Compile(x.Exprs)
	if err != nil {
		return nil
	}
	st.judges[x] = j
	return j
}
