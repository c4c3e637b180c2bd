package argocd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// owns are the kinds that are shown below what owns them.
var owns = slices.Concat(watch.Workloads, []schema.GroupVersionKind{
	{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"},
	{Group: "apps", Version: "v1", Kind: "ControllerRevision"},
})

// A painter makes of what a look has shown what Argo CD's server is to read. It
// reads the objects as they are by then, in the name that the unit acts in, and
// what they own in plumb's. It remembers what it may need again, and is not safe
// for concurrent use.
type painter struct {
	changed func() // what it has painted may be another by now

	look     *watch.Look
	lookedAt string
	bodies   map[types.UID]body
	foreseen map[object.Ref]forecast
	hosts    map[string]host
}

type body struct {
	revision string
	object   *unstructured.Unstructured
}

// A forecast is what the server would make of an object.
type forecast struct {
	digest, revision string // of what is desired, and of the live object
	object           *unstructured.Unstructured
}

type host struct {
	read time.Time
	own  map[string]bool // UIDs of the Application's Pods that were there then
	node *corev1.Node
	pods []corev1.Pod
}

func (p *painter) stop() {
	if p.look != nil {
		p.look.Close()
		p.look = nil
	}
}

// paint returns what is to be stored.
func (p *painter) paint(ctx context.Context, s *shown, x *seen) (app cached.App, err error) {
	client, err := s.engine.Client(x.unit.Target)
	if err != nil {
		return app, err
	}
	live := readLive(ctx, client, x)
	d := drawing{seen: x, painter: p, engine: s.engine, status: make(map[object.Ref]*api.ResourceStatus, len(x.resources))}
	for i := range x.resources {
		d.status[refOfStatus(x.resources[i])] = &x.resources[i]
	}
	forecasts := make(map[object.Ref]forecast)
	for _, c := range x.plan.Changes {
		l, held := live[c.Ref]
		if passes := c.Hook != nil || c.Surplus; !held || passes && l.object == nil && l.err == nil {
			continue // nobody misses it
		}
		if err := d.add(ctx, c, l, forecasts); err != nil {
			return app, err
		}
	}
	p.foreseen = forecasts
	children, err := p.below(ctx, s, x.unit.Target, live)
	if err != nil {
		return app, err
	}
	for _, o := range children {
		n := cached.NodeOf(o)
		n.Health = healthOfNode(x.unit, o)
		d.tree.Nodes = append(d.tree.Nodes, n)
		d.pod(o)
	}
	d.tidy()
	d.tree.Hosts = p.hostsOf(ctx, client, d.pods)
	return cached.App{Resources: d.resources, Tree: d.tree}, nil
}

// A drawing is what a painter has so far.
type drawing struct {
	*seen
	*painter
	engine    *engine.Engine
	status    map[object.Ref]*api.ResourceStatus
	resources []cached.Resource
	tree      cached.Tree
	pods      map[string]map[string]bool // UIDs of Pods, by the name of their host
}

// add adds an object of the Application.
func (d *drawing) add(ctx context.Context, c *apply.Change, l liveObject, forecasts map[object.Ref]forecast) error {
	st := cached.State{Live: l.object, Sensitive: termsOf(d.unit).sensitive()}
	if !c.Surplus {
		st.Target = c.Desired()
	}
	node := cached.Node{Ref: cached.Ref{Group: c.Ref.Group, Version: c.Version, Kind: c.Ref.Kind, Namespace: c.Ref.Namespace, Name: c.Ref.Name}}
	switch s := d.status[c.Ref]; {
	case l.err != nil:
		node.Health = &cached.Health{Status: api.Unknown, Message: l.err.Error()}
	case l.object == nil && c.Rule == apply.RuleNotAdmitted:
	case l.object == nil:
		node.Health = &cached.Health{Status: api.Missing}
	default:
		node = cached.NodeOf(l.object)
		d.pod(l.object)
		if node.Health = healthOfNode(d.unit, l.object); s != nil && (s.Health == nil || s.Health.Status != api.Missing) {
			node.Health = plainHealth(s.Health)
		}
	}
	d.tree.Nodes = append(d.tree.Nodes, node)
	if l.err != nil {
		return nil // what it is like can't be told, so it isn't
	}
	st.Normalized, st.Predicted = st.Live, st.Target
	if st.Live != nil && st.Target != nil {
		st.Normalized, st.Predicted = d.compare(ctx, c, st.Live, forecasts)
	}
	r, err := st.Resource(c.Ref, c.Hook != nil)
	d.resources = append(d.resources, r)
	return err
}

// compare returns a live object and what a sync would make of it, both without
// what does not count. Where the server refuses it, it is what is desired: why it
// does is told by who syncs.
func (d *drawing) compare(ctx context.Context, c *apply.Change, live *unstructured.Unstructured, forecasts map[object.Ref]forecast) (is, becomes *unstructured.Unstructured) {
	becomes = live
	if s := d.status[c.Ref]; c.Hook == nil && (s == nil || s.Status != api.Synced) {
		f := d.foreseen[c.Ref]
		if f.object == nil || f.digest != c.Digest() || f.revision != live.GetResourceVersion() {
			after, err := d.engine.Foresee(ctx, d.unit, c, live)
			if err != nil {
				return live, c.Desired()
			}
			f = forecast{c.Digest(), live.GetResourceVersion(), after.DeepCopy()}
			f.object.SetResourceVersion(live.GetResourceVersion()) // which nobody wants to see compared
			f.object.SetGeneration(live.GetGeneration())
		}
		forecasts[c.Ref] = f
		becomes = f.object
	}
	counts, is, err := owned.Counting(becomes, live, c.Managers(d.unit.Managers))
	if err != nil {
		return live, becomes // the Application says in a condition what is wrong with its rules
	}
	return is, counts
}

// pod notes on which host a Pod is.
func (d *drawing) pod(o *unstructured.Unstructured) {
	name := cached.HostName(o)
	if o.GetKind() != "Pod" || o.GetAPIVersion() != "v1" || name == "" {
		return
	}
	if d.pods == nil {
		d.pods = make(map[string]map[string]bool)
	}
	if d.pods[name] == nil {
		d.pods[name] = make(map[string]bool)
	}
	d.pods[name][string(o.GetUID())] = true
}

// tidy has each node once, and no parent that is not in the tree: what has one
// that is not shown would not be either.
func (d *drawing) tidy() {
	there := make(map[string]bool, len(d.tree.Nodes))
	d.tree.Nodes = slices.DeleteFunc(d.tree.Nodes, func(n cached.Node) bool {
		again := n.UID != "" && there[n.UID]
		there[n.UID] = true
		return again
	})
	for i := range d.tree.Nodes {
		n := &d.tree.Nodes[i]
		n.ParentRefs = slices.DeleteFunc(n.ParentRefs, func(r cached.Ref) bool { return !there[r.UID] })
	}
	slices.SortFunc(d.tree.Nodes, func(a, b cached.Node) int { return object.Compare(refOfNode(a), refOfNode(b)) })
	slices.SortFunc(d.resources, func(a, b cached.Resource) int { return object.Compare(refOfResource(a), refOfResource(b)) })
}

func refOfNode(n cached.Node) object.Ref {
	return object.Ref{Group: n.Group, Kind: n.Kind, Namespace: n.Namespace, Name: n.Name}
}

func refOfResource(r cached.Resource) object.Ref {
	return object.Ref{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

func plainHealth(h *api.Health) *cached.Health {
	if h == nil {
		return nil
	}
	return &cached.Health{Status: h.Status, Message: h.Message}
}

// healthOfNode judges a live object as the unit does; nil: its kind has none.
func healthOfNode(u engine.Unit, o *unstructured.Unstructured) *cached.Health {
	j := u.Health.Judge(object.RefOf(o).GroupKind())
	if j == nil {
		j = health.KStatus
	}
	h := j.Of(o)
	if h.Unruled {
		return nil
	}
	return &cached.Health{Status: h.Status.Plain(), Message: h.Message}
}

// A liveObject is what came of reading one; none of both: it is not there.
type liveObject struct {
	object *unstructured.Unstructured
	err    error
}

// manyOfAKind objects are listed by their label rather than read one by one.
const manyOfAKind = 4

// readLive reads the objects of a plan as they are. What the project does not allow
// is not read: whoever sees the Application need not be allowed to.
func readLive(ctx context.Context, client *cluster.Client, x *seen) map[object.Ref]liveObject {
	type set struct {
		kind      schema.GroupVersionKind
		namespace string
	}
	sets := make(map[set][]*apply.Change)
	live := make(map[object.Ref]liveObject, len(x.plan.Changes))
	for _, c := range x.plan.Changes {
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
		all, err := r.List(ctx, metav1.ListOptions{LabelSelector: unitLabel + "=" + digest(x.unit.Name)})
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
func (p *painter) below(ctx context.Context, s *shown, t engine.Target, live map[object.Ref]liveObject) (all []*unstructured.Unstructured, err error) {
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
		c, err := s.childrenAt(t)
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
func (s *shown) childrenAt(t engine.Target) (*watch.Children, error) {
	t.User = ""
	client, err := s.engine.Client(t)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[t.Cluster]
	if c == nil {
		c = watch.NewChildren(s.ctx, client, owns)
		s.children[t.Cluster] = c
	}
	return c, nil
}

// hostFor is how long it stands what is known of a host.
const hostFor = time.Minute

// hostsOf returns how much of their hosts some Pods use. What the unit's identity
// may not read is left out.
func (p *painter) hostsOf(ctx context.Context, client *cluster.Client, pods map[string]map[string]bool) (all []cached.Host) {
	now := make(map[string]host, len(pods))
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		h, ok := p.hosts[name]
		if !ok || time.Since(h.read) > hostFor || !maps.Equal(h.own, pods[name]) {
			h = readHost(ctx, client, name)
			h.own = pods[name]
		}
		now[name] = h
		if h.node != nil {
			all = append(all, cached.HostOf(h.node, h.pods, pods[name]))
		}
	}
	p.hosts = now
	return all
}

func readHost(ctx context.Context, client *cluster.Client, name string) host {
	h := host{read: time.Now()}
	o, err := client.Get(ctx, object.Ref{Kind: "Node", Name: name}, "v1")
	if err != nil {
		return h
	}
	node := &corev1.Node{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, node); err != nil {
		return h
	}
	r, err := client.Resource(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "")
	if err != nil {
		return h
	}
	pods, err := r.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return h
	}
	h.node, h.pods = node, cached.PodsOf(pods)
	return h
}
