package shown

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
)

// owns are the kinds that are shown below what owns them.
var owns = slices.Concat(watch.Workloads, []schema.GroupVersionKind{
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
	{Group: "apps", Version: "v1", Kind: "ControllerRevision"},
})

// A liveObject is what came of reading one; none of both: it is not there.
type liveObject struct {
	object *unstructured.Unstructured
	err    error
}

// manyOfAKind objects are listed by their label rather than read one by one.
const manyOfAKind = 4

// readLive reads the objects of a plan as they are. What the project does not allow
// is not read: whoever sees the Application need not be allowed to. All of them
// match the selector.
func readLive(ctx context.Context, client *cluster.Client, plan *apply.Plan, selector string) map[object.Ref]liveObject {
	type set struct {
		kind      schema.GroupVersionKind
		namespace string
	}
	sets := make(map[set][]*apply.Change)
	live := make(map[object.Ref]liveObject, len(plan.Changes))
	for _, c := range plan.Changes {
		if c.Rule == apply.RuleNotAdmitted {
			live[c.Ref] = liveObject{}
		} else if c.Rule != apply.RuleIgnored && c.Ref.Name != "" && !c.Aside {
			k := set{c.Ref.GroupKind().WithVersion(c.Version), c.Ref.Namespace}
			sets[k] = append(sets[k], c)
		}
	}
	listed := make(map[object.Ref]*unstructured.Unstructured)
	for k, changes := range sets {
		if len(changes) < manyOfAKind {
			continue
		}
		r, err := client.Resource(ctx, k.kind, k.namespace)
		if err != nil {
			continue // which reading them says, too
		}
		all, err := r.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			continue // who may not list them may read them perhaps
		}
		for i := range all.Items {
			listed[object.RefOf(&all.Items[i])] = &all.Items[i]
		}
	}
	var single []*apply.Change
	for _, changes := range sets {
		for _, c := range changes {
			if o := listed[c.Ref]; o != nil {
				live[c.Ref] = liveObject{object: o}
				continue
			}
			single = append(single, c)
		}
	}
	const atATime = 16
	read := make([]liveObject, len(single))
	_ = parallel.Each(ctx, atATime, single, func(i int, c *apply.Change) error {
		read[i].object, read[i].err = client.Get(ctx, c.Ref, c.Version)
		return nil // it is told of one by one
	})
	for i, c := range single {
		l := read[i]
		switch {
		case apierrors.IsNotFound(l.err), fault.Is(l.err, fault.UnknownKind):
			l = liveObject{}
		case l.err != nil:
			l.object = nil
		case l.object == nil:
			l.err = context.Cause(ctx)
		}
		live[c.Ref] = l
	}
	return live
}

// below returns what live objects own, and what that owns in turn.
func (p *painter) below(ctx context.Context, b *Board, t engine.Target, live map[object.Ref]liveObject) (all []*unstructured.Unstructured, err error) {
	var namespaces []string
	var owners []types.UID
	for _, l := range live {
		if l.object != nil && l.object.GetNamespace() != "" {
			namespaces, owners = append(namespaces, l.object.GetNamespace()), append(owners, l.object.GetUID())
		}
	}
	slices.Sort(namespaces)
	namespaces = slices.Compact(namespaces)
	if at := fmt.Sprint(t.Cluster, namespaces); at != p.lookedAt || p.look == nil {
		c, err := b.childrenAt(t)
		if err != nil {
			return nil, err
		}
		before := p.look
		p.look, p.lookedAt = c.Look(namespaces, func(string) { p.changed() }), at
		if before != nil {
			before.Close()
		}
	}
	// What may not be listed is not shown, and all else is.
	if _, err := p.look.Wait(ctx); err != nil {
		return nil, fmt.Errorf("list what belongs to the objects: %w", err)
	}
	children := p.look.Below(owners...)
	bodies := make(map[types.UID]body, len(children))
	var unknown []watch.Child
	for _, c := range children {
		if b, ok := p.bodies[c.UID]; ok && b.revision == c.Revision {
			bodies[c.UID] = b
			continue
		}
		unknown = append(unknown, c)
	}
	for uid, b := range p.look.Read(ctx, unknown) {
		if b.Object != nil {
			bodies[uid] = body{b.Object.GetResourceVersion(), b.Object}
		}
	}
	p.bodies = bodies
	for _, c := range children {
		if b, ok := bodies[c.UID]; ok {
			all = append(all, b.object)
		}
	}
	return all, nil
}

// childrenAt returns what objects of a cluster own.
func (b *Board) childrenAt(t engine.Target) (*watch.Children, error) {
	t.User = ""
	client, err := b.o.Engine.Client(t)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.children[t.Cluster]
	if c == nil {
		c = watch.NewChildren(b.ctx, client, owns)
		b.children[t.Cluster] = c
	}
	return c, nil
}
