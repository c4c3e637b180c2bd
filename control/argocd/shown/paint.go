package shown

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

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

func (p *painter) stop() {
	if p.look != nil {
		p.look.Close()
		p.look = nil
	}
}

// paint returns what is to be stored.
func (p *painter) paint(ctx context.Context, b *Board, x *Seen) (app cached.App, err error) {
	client, err := b.o.Engine.Client(x.Unit.Target)
	if err != nil {
		return app, err
	}
	live := readLive(ctx, client, x.Plan, b.o.Selector(x.Unit.Name))
	d := drawing{Seen: x, painter: p, o: &b.o, status: make(map[object.Ref]*api.ResourceStatus, len(x.Resources))}
	for i := range x.Resources {
		d.status[refOfStatus(x.Resources[i])] = &x.Resources[i]
	}
	forecasts := make(map[object.Ref]forecast)
	for _, c := range x.Plan.Changes {
		l, held := live[c.Ref]
		if passes := c.Hook != nil || c.Surplus; !held || passes && l.object == nil && l.err == nil {
			continue // nobody misses it
		}
		if err := d.add(ctx, c, l, forecasts); err != nil {
			return app, err
		}
	}
	p.foreseen = forecasts
	children, err := p.below(ctx, b, x.Unit.Target, live)
	if err != nil {
		return app, err
	}
	for _, o := range children {
		n := cached.NodeOf(o)
		n.Health = healthOfNode(x.Unit, o)
		d.tree.Nodes = append(d.tree.Nodes, n)
		d.pod(o)
	}
	d.tidy()
	d.tree.Hosts = p.hostsOf(ctx, client, d.pods)
	return cached.App{Resources: d.resources, Tree: d.tree}, nil
}

// A drawing is what a painter has so far.
type drawing struct {
	*Seen
	*painter
	o         *Options
	status    map[object.Ref]*api.ResourceStatus
	resources []cached.Resource
	tree      cached.Tree
	pods      map[string]map[string]bool // UIDs of Pods, by the name of their host
}

// add adds an object of the Application.
func (d *drawing) add(ctx context.Context, c *apply.Change, l liveObject, forecasts map[object.Ref]forecast) error {
	st := cached.State{Live: l.object, Sensitive: d.o.Sensitive(d.Unit)}
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
		if node.Health = healthOfNode(d.Unit, l.object); s != nil && (s.Health == nil || s.Health.Status != api.Missing) {
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
			after, err := d.o.Engine.Foresee(ctx, d.Unit, c, live)
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
	counts, is, err := owned.Counting(becomes, live, c.Managers(d.Unit.Managers))
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

func refOfStatus(r api.ResourceStatus) object.Ref {
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
