package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
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
	owned, hidden := children(ctx, client, f.Inventory)
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
	const parallel = 16
	out := make([]liveObject, len(inventory))
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, e := range inventory {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i].object, out[i].err = client.Get(ctx, e.Ref, e.Version)
		})
	}
	wg.Wait()
	return out
}

// brood are the objects of some namespaces that others own.
type brood map[types.UID][]*unstructured.Unstructured

// born are the kinds that are looked at for children. Whatever owns one of
// their objects, an operator's custom resource too, is shown with it.
var born = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Group: "batch", Version: "v1", Resource: "jobs"},
	{Version: "v1", Resource: "pods"},
}

// children lists what could belong to the objects of an inventory, once for
// each namespace. hidden says what could not be listed, and so is not shown.
func children(ctx context.Context, client *cluster.Client, inventory []apply.Entry) (b brood, hidden []error) {
	var namespaces []string
	for _, e := range inventory {
		if e.Ref.Namespace != "" && !childless(e.Ref) && !slices.Contains(namespaces, e.Ref.Namespace) {
			namespaces = append(namespaces, e.Ref.Namespace)
		}
	}
	b = brood{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, ns := range namespaces {
		for _, gvr := range born {
			wg.Go(func() {
				l, err := client.Dynamic().Resource(gvr).Namespace(ns).List(ctx, metav1.ListOptions{})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					hidden = append(hidden, fmt.Errorf("list %s of namespace %s: %w", gvr.Resource, ns, err))
					return
				}
				for i := range l.Items {
					for _, o := range l.Items[i].GetOwnerReferences() {
						b[o.UID] = append(b[o.UID], &l.Items[i])
					}
				}
			})
		}
	}
	wg.Wait()
	slices.SortFunc(hidden, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return b, hidden
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
func (b brood) of(uid types.UID) []*node { return b.grow(uid, map[types.UID]bool{}) }

func (b brood) grow(uid types.UID, above map[types.UID]bool) (out []*node) {
	if above[uid] {
		return nil
	}
	above[uid] = true
	defer delete(above, uid)
	for _, o := range b[uid] {
		n := nodeOf(object.RefOf(o))
		n.Children = b.grow(o.GetUID(), above)
		if o.GetKind() == "ReplicaSet" && len(n.Children) == 0 {
			if replicas, ok, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); ok && replicas == 0 {
				continue
			}
		}
		judge(n, engine.Unit{}, o)
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int { return object.Compare(a.ref(), b.ref()) })
	return out
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
