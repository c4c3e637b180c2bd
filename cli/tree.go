package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
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

// A node is an object in a tree, and what belongs to it.
type node struct {
	Kind      string `json:"kind"`
	Group     string `json:"group,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Health is a word of kstatus, or Unknown.
	Health   string `json:"health"`
	Message  string `json:"message,omitempty"`
	Revision string `json:"revision,omitempty"`
	Source   *node  `json:"source,omitempty"`
	Subject  string `json:"subject,omitempty"` // of a source's commit
	// HealthCheck: it is none of the unit's objects, but checked by it.
	HealthCheck bool    `json:"healthCheck,omitempty"`
	Children    []*node `json:"children,omitempty"`
}

func (n *node) ref() object.Ref {
	return object.Ref{Group: n.Group, Kind: n.Kind, Namespace: n.Namespace, Name: n.Name}
}

func newTree(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "tree [KIND/]NAME",
		Short: "Show a unit, its objects, their health, and their children down to Pods",
		Long: `Show a unit, the source and revision it was made from, the objects it has
applied and those that its health checks name, the health of each, and what
these made in turn: ReplicaSets, Jobs, Pods. Units among the objects are shown with theirs. ReplicaSets that are
scaled to nothing are left out.`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			f, err := s.one(cmd.Context(), args[0], units)
			if err != nil {
				return err
			}
			g := grower{conn: s, seen: map[object.Ref]bool{}}
			n, err := g.unit(cmd.Context(), f)
			if err != nil {
				return err
			}
			if output != "" {
				return a.data(n, output)
			}
			a.printf("%s", a.drawTree(n))
			return nil
		},
		ValidArgsFunction: a.completeNames(units),
	}
	outputFlag(cmd, &output, "json", "yaml")
	return cmd
}

// drawTree draws n with lines.
func (a *app) drawTree(n *node) string {
	t := treeprint.NewWithRoot(a.label(n))
	a.branches(t, n)
	return t.String()
}

func (a *app) branches(t treeprint.Tree, n *node) {
	if n.Source != nil {
		t.AddNode(a.dim("from ") + a.label(n.Source))
	}
	for _, c := range n.Children {
		label := a.label(c)
		if c.HealthCheck {
			label = a.dim("checks ") + label
		}
		a.branches(t.AddBranch(label), c)
	}
}

func (a *app) label(n *node) string {
	var b strings.Builder
	b.WriteString(a.bold(clean(n.ref().String())))
	b.WriteByte(' ')
	b.WriteString(a.healthColor(n.Health)(n.Health))
	if n.Revision != "" {
		b.WriteString(" " + clean(shortHashes(n.Revision)))
	}
	if n.Subject != "" {
		b.WriteString(a.dim(" “" + clean(a.cut(n.Subject, 60)) + "”"))
	}
	if n.Message != "" {
		b.WriteString(a.dim(": " + clean(a.cut(n.Message, 100))))
	}
	return b.String()
}

func (a *app) healthColor(h string) func(...any) string {
	switch h {
	case health.Current.String(), "Ready":
		return a.good
	case health.InProgress.String(), health.Terminating.String(), health.Unknown.String(), "Suspended":
		return a.warn
	}
	return a.bad
}

// A grower makes trees from a cluster.
type grower struct {
	*conn
	seen map[object.Ref]bool // units, so that one that holds itself ends
}

// unit makes the tree of a unit.
func (g *grower) unit(ctx context.Context, f *found) (*node, error) {
	n := nodeOf(f.Ref)
	n.Revision = f.Revision
	n.Health, n.Message = stateOf(f)
	if g.seen[f.Ref] {
		n.Message = "shown above"
		return n, nil
	}
	g.seen[f.Ref] = true
	if !f.Source.IsZero() {
		n.Source = g.source(ctx, f.Source)
	}
	client := g.client
	if f.Elsewhere {
		var err error
		if client, err = g.elsewhere(ctx, f); err != nil {
			for _, e := range f.Inventory {
				c := nodeOf(e.Ref)
				c.Health, c.Message = health.Unknown.String(), "on another cluster: "+err.Error()
				n.Children = append(n.Children, c)
			}
			return n, nil
		}
	}
	u := g.healthOf(ctx, f)
	live := readInventory(ctx, client, f.Inventory)
	owned, hidden, err := offspringOf(ctx, client, f.Inventory, live)
	if err != nil {
		return nil, err
	}
	for _, err := range hidden {
		g.note("%s %s, so the tree does not show whether there are any", g.warn("warning:"), clean(err.Error()))
	}
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
		if k, ok := g.kindOf(e.Ref); ok && !f.Elsewhere {
			if k.IsSource {
				n.Children[i] = g.source(ctx, e.Ref)
				continue
			}
			sub, err := g.unit(ctx, g.found(k, o))
			if err != nil {
				return nil, err
			}
			n.Children[i] = sub
			continue
		}
		judge(c, u, o)
		c.Children = owned.of(o.GetUID())
	}
	g.checked(ctx, client, u, f.Inventory, n)
	return n, nil
}

func (g *grower) source(ctx context.Context, ref object.Ref) *node {
	n := nodeOf(ref)
	f, err := g.get(ctx, ref)
	if err != nil {
		n.Health, n.Message = health.Unknown.String(), err.Error()
		if apierrors.IsNotFound(err) {
			n.Health, n.Message = health.Missing.String(), ""
		}
		return n
	}
	n.Revision, n.Subject = f.Revision, f.Commit.Subject
	n.Health, n.Message = stateOf(f)
	return n
}

// stateOf says of a unit or source how it is.
func stateOf(f *found) (state, message string) {
	switch {
	case f.Suspended:
		return "Suspended", ""
	case f.Ready == "True":
		return "Ready", f.Note
	case f.Ready == "False":
		return or(f.Reason, "NotReady"), f.Message
	}
	return health.InProgress.String(), f.Message
}

func nodeOf(r object.Ref) *node {
	return &node{Kind: r.Kind, Group: r.Group, Namespace: r.Namespace, Name: r.Name}
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

// offspring is what the objects of a unit own, and what that owns in turn.
type offspring struct {
	look   *watch.Look
	bodies map[types.UID]watch.Body
}

// offspringOf finds what belongs to the live objects of an inventory. hidden
// says what could not be listed, and so is not shown.
func offspringOf(ctx context.Context, client *cluster.Client, inventory []apply.Entry, live []liveObject) (o offspring, hidden []error, err error) {
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
	o.look = watch.NewChildren(ctx, client, watch.Workloads).Look(namespaces, func() {})
	if hidden, err = o.look.Wait(ctx); err != nil {
		return o, nil, err
	}
	o.bodies = o.look.Read(ctx, o.look.Below(owners...))
	return o, hidden, nil
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
func (o offspring) of(uid types.UID) []*node { return o.grow(uid, map[types.UID]bool{}) }

func (o offspring) grow(uid types.UID, above map[types.UID]bool) (out []*node) {
	if above[uid] {
		return nil
	}
	above[uid] = true
	defer delete(above, uid)
	for _, c := range o.look.Of(uid) {
		n := nodeOf(c.Ref)
		n.Children = o.grow(c.UID, above)
		body := o.bodies[c.UID]
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
func (s *conn) elsewhere(ctx context.Context, f *found) (*cluster.Client, error) {
	u, err := s.unit(ctx, f)
	if err != nil && u.Target.Config == nil {
		return nil, err
	}
	if u.Target.Config == nil {
		return nil, fmt.Errorf("%s names no cluster", f.Ref)
	}
	c, err := cluster.New(u.Target.Cluster, u.Target.Config)
	if err != nil {
		return nil, err
	}
	return c.As("")
}
