package inspect

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// A Node is an object in a tree, and what belongs to it.
type Node struct {
	Kind      string `json:"kind"`
	Group     string `json:"group,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Health is a word of kstatus, or Unknown.
	Health   string `json:"health"`
	Message  string `json:"message,omitempty"`
	Revision string `json:"revision,omitempty"`
	Source   *Node  `json:"source,omitempty"`
	Subject  string `json:"subject,omitempty"` // of a source's commit
	// HealthCheck: it is none of the unit's objects, but checked by it.
	HealthCheck bool    `json:"healthCheck,omitempty"`
	Children    []*Node `json:"children,omitempty"`
}

// Ref names the object.
func (n *Node) Ref() object.Ref {
	return object.Ref{Group: n.Group, Kind: n.Kind, Namespace: n.Namespace, Name: n.Name}
}

// Tree returns the tree of a unit. hidden is what could not be listed and is
// not in it.
func (c *Cluster) Tree(ctx context.Context, f *Found) (n *Node, hidden []error, err error) {
	t := trees{Cluster: c, seen: map[object.Ref]bool{}}
	n, err = t.unit(ctx, f)
	return n, t.hidden, err
}

// trees makes the trees of a unit and of those that it holds.
type trees struct {
	*Cluster
	seen   map[object.Ref]bool // units, so that one that holds itself ends
	hidden []error
}

// unit makes the tree of a unit.
func (t *trees) unit(ctx context.Context, f *Found) (*Node, error) {
	n := nodeOf(f.Ref)
	n.Revision = f.Revision
	n.Health, n.Message = StateOf(f)
	if t.seen[f.Ref] {
		n.Message = "shown above"
		return n, nil
	}
	t.seen[f.Ref] = true
	if !f.Source.IsZero() {
		n.Source = t.source(ctx, f.Source)
	}
	client := t.Client
	if f.Elsewhere {
		var err error
		if client, err = t.elsewhere(ctx, f); err != nil {
			for _, e := range f.Inventory {
				c := nodeOf(e.Ref)
				c.Health, c.Message = health.Unknown.String(), "on another cluster: "+err.Error()
				n.Children = append(n.Children, c)
			}
			return n, nil
		}
	}
	u := t.healthOf(ctx, f)
	live := readInventory(ctx, client, f.Inventory)
	below, hidden, err := dependentsOf(ctx, client, f.Inventory, live)
	if err != nil {
		return nil, err
	}
	t.hidden = append(t.hidden, hidden...)
	for i, e := range f.Inventory {
		c := nodeOf(e.Ref)
		n.Children = append(n.Children, c)
		o := live[i].object
		switch {
		case apierrors.IsNotFound(live[i].err), fault.Is(live[i].err, "UnknownKind"):
			c.Health = health.Missing.String()
			continue
		case live[i].err != nil:
			c.Health, c.Message = health.Unknown.String(), live[i].err.Error()
			continue
		}
		if k, ok := t.KindOf(e.Ref); ok && !f.Elsewhere {
			if k.IsSource {
				n.Children[i] = t.source(ctx, e.Ref)
				continue
			}
			sub, err := t.unit(ctx, t.Found(k, o))
			if err != nil {
				return nil, err
			}
			n.Children[i] = sub
			continue
		}
		judge(c, u, o)
		c.Children = below.of(o.GetUID())
	}
	t.checked(ctx, client, u, f.Inventory, n)
	return n, nil
}

func (t *trees) source(ctx context.Context, ref object.Ref) *Node {
	n := nodeOf(ref)
	f, err := t.Get(ctx, ref)
	if err != nil {
		n.Health, n.Message = health.Unknown.String(), err.Error()
		if apierrors.IsNotFound(err) {
			n.Health, n.Message = health.Missing.String(), ""
		}
		return n
	}
	n.Revision, n.Subject = f.Revision, f.Commit.Subject
	n.Health, n.Message = StateOf(f)
	return n
}

// StateOf says of a unit or source how it is.
func StateOf(f *Found) (state, message string) {
	switch {
	case f.Suspended:
		return "Suspended", ""
	case f.Ready == "True":
		return "Ready", f.Note
	case f.Ready == "False":
		return cmp.Or(f.Reason, "NotReady"), f.Message
	}
	return health.InProgress.String(), f.Message
}

func nodeOf(r object.Ref) *Node {
	return &Node{Kind: r.Kind, Group: r.Group, Namespace: r.Namespace, Name: r.Name}
}

// A liveObject is what came of reading one.
type liveObject struct {
	object *unstructured.Unstructured
	err    error
}

// readInventory reads every object of an inventory, some at a time.
func readInventory(ctx context.Context, client *cluster.Client, inventory []apply.Entry) []liveObject {
	const atATime = 16
	out := make([]liveObject, len(inventory))
	_ = parallel.Each(ctx, atATime, inventory, func(i int, e apply.Entry) error {
		out[i].object, out[i].err = client.Get(ctx, e.Ref, e.Version)
		return nil // it is told of one by one
	})
	for i := range out {
		if out[i].object == nil && out[i].err == nil {
			out[i].err = context.Cause(ctx)
		}
	}
	return out
}

// dependents are what the objects of a unit own, and what that owns in turn.
type dependents struct {
	look   *watch.Look
	bodies map[types.UID]watch.Body
}

// dependentsOf finds what belongs to the live objects of an inventory. hidden
// says what could not be listed, and so is not shown.
func dependentsOf(ctx context.Context, client *cluster.Client, inventory []apply.Entry, live []liveObject) (d dependents, hidden []error, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var namespaces []string
	var owners []types.UID
	for i, e := range inventory {
		if live[i].object == nil || e.Ref.Namespace == "" || childless(e.Ref) {
			continue
		}
		namespaces, owners = append(namespaces, e.Ref.Namespace), append(owners, live[i].object.GetUID())
	}
	d.look = watch.NewChildren(ctx, client, watch.Workloads).Look(namespaces, func(string) {})
	if hidden, err = d.look.Wait(ctx); err != nil {
		return d, nil, err
	}
	d.bodies = d.look.Read(ctx, d.look.Below(owners...))
	return d, hidden, nil
}

// childless are the kinds of which it is known that they own nothing of what
// is shown.
func childless(r object.Ref) bool {
	switch r.Group {
	case "", "rbac.authorization.k8s.io", "networking.k8s.io", "policy", "autoscaling", "storage.k8s.io":
		return r.Kind != "ReplicationController"
	}
	return false
}

// of returns the trees of what an object owns.
func (d dependents) of(uid types.UID) []*Node { return d.below(uid, map[types.UID]bool{}) }

func (d dependents) below(uid types.UID, above map[types.UID]bool) (out []*Node) {
	if above[uid] {
		return nil
	}
	above[uid] = true
	defer delete(above, uid)
	for _, c := range d.look.Of(uid) {
		n := nodeOf(c.Ref)
		n.Children = d.below(c.UID, above)
		body := d.bodies[c.UID]
		switch {
		case apierrors.IsNotFound(body.Err):
			continue // gone meanwhile
		case body.Err != nil:
			n.Health, n.Message = health.Unknown.String(), body.Err.Error()
		case body.Object == nil:
			n.Health = health.Unknown.String() // it has come since the others were read
		case retired(body.Object) && len(n.Children) == 0:
			continue
		default:
			judge(n, engine.Unit{}, body.Object)
		}
		out = append(out, n)
	}
	return out
}

// retired reports whether o is a ReplicaSet that is scaled to nothing.
func retired(o *unstructured.Unstructured) bool {
	replicas, ok, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
	return o.GetKind() == "ReplicaSet" && ok && err == nil && replicas == 0
}

// elsewhere connects to the cluster that a unit's objects are on.
func (c *Cluster) elsewhere(ctx context.Context, f *Found) (*cluster.Client, error) {
	u, err := f.Dialect.Unit(f.Object, c.Reader(ctx))
	if err != nil && u.Target.Config == nil {
		return nil, err
	}
	if u.Target.Config == nil {
		return nil, fmt.Errorf("%s names no cluster", f.Ref)
	}
	return target(u)
}
