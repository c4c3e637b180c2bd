package inspect

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// healthOf is what is asked of the objects of a unit. What is wrong with its
// spec otherwise, its status says.
func (t *trees) healthOf(ctx context.Context, f *Found) engine.Unit {
	u, err := f.Dialect.Unit(f.Object, t.Reader(ctx))
	if err != nil && len(u.Health.Checks) == 0 {
		return engine.Unit{Namespace: f.Ref.Namespace}
	}
	return u
}

// checked adds to n the objects that the unit's health checks name and that
// are not among its own.
func (t *trees) checked(ctx context.Context, client *cluster.Client, u engine.Unit, inventory []apply.Entry, n *Node) {
	if u.Health.Wait {
		return
	}
	for _, c := range u.Health.Checks {
		found, err := engine.LocateCheck(ctx, client, u, c)
		if slices.ContainsFunc(inventory, func(e apply.Entry) bool { return e.Ref == found.Ref }) {
			continue
		}
		child := nodeOf(found.Ref)
		child.HealthCheck = true
		n.Children = append(n.Children, child)
		if err != nil {
			child.Health, child.Message = health.Unknown.String(), fault.Of(err).Err.Error()
			continue
		}
		o, err := client.Get(ctx, found.Ref, found.Version)
		switch {
		case apierrors.IsNotFound(err):
			child.Health = health.Missing.String()
		case err != nil:
			child.Health, child.Message = health.Unknown.String(), err.Error()
		default:
			judge(child, u, o)
		}
	}
}

// judge says how healthy an object is, by who judges its kind for the unit.
func judge(n *Node, u engine.Unit, o *unstructured.Unstructured) {
	j := u.Health.Judge(object.RefOf(o).GroupKind())
	if j == nil {
		j = health.KStatus
	}
	h := j.Of(o)
	n.Health, n.Message = h.Status.String(), h.Message
}
