package inspect

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
)

// A Trace is where an object comes from. Fields of which nothing is known are
// empty.
type Trace struct {
	Object string `json:"object"`
	// By are the objects that made it, up to the one that a unit applied.
	By       []string     `json:"by,omitempty"`
	Unit     string       `json:"unit"`
	Ready    string       `json:"ready"`
	Message  string       `json:"message,omitempty"`
	Source   string       `json:"source"`
	Path     string       `json:"path"`
	Revision string       `json:"revision"`
	Commit   *view.Commit `json:"commit,omitempty"`
	// Listed: the unit's inventory has it.
	Listed bool   `json:"listed"`
	Drift  *Event `json:"drift,omitempty"` // the last correction that is still known
	// DriftUnknown is why none could be looked for.
	DriftUnknown string   `json:"driftUnknown,omitempty"`
	Writers      []Writer `json:"writers,omitempty"`
}

// A Writer is a field manager of an object.
type Writer struct {
	Manager     string    `json:"manager"`
	Operation   string    `json:"operation"`
	Subresource string    `json:"subresource,omitempty"`
	When        time.Time `json:"when,omitzero"`
}

// Trace finds out where o comes from.
func (c *Cluster) Trace(ctx context.Context, o *unstructured.Unstructured) (*Trace, error) {
	t := &Trace{Object: object.RefOf(o).String(), Writers: writersOf(o)}
	top, unit, err := c.climb(ctx, o, t)
	if err != nil {
		return nil, err
	}
	t.Unit = unit.String()
	f, err := c.Get(ctx, unit)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%s carries the mark of %s, which does not exist", t.Object, unit)
	}
	if err != nil {
		return nil, err
	}
	t.Ready, t.Message, t.Path, t.Revision = f.Ready, f.Message, f.Path, f.Revision
	t.Listed = slices.ContainsFunc(f.Inventory, func(e apply.Entry) bool { return e.Ref == top })
	c.traceSource(ctx, f, t)
	events, _, err := c.Events(ctx, unit.Namespace, About(unit), func(e Event) bool {
		return e.Ref == unit && e.Reason == "DriftCorrected" && e.About == top.String()
	})
	switch {
	case err != nil:
		t.DriftUnknown = err.Error()
	case len(events) > 0:
		t.Drift = &events[len(events)-1]
	}
	return t, nil
}

// traceSource adds what is known of the source and the commit.
func (c *Cluster) traceSource(ctx context.Context, f *Found, t *Trace) {
	if f.Source.IsZero() {
		return
	}
	t.Source = f.Source.String()
	src, err := c.Get(ctx, f.Source)
	if err == nil && src.Revision == f.Revision && !src.Commit.IsZero() {
		t.Commit = &src.Commit
		return
	}
	// The source is at another commit by now.
	if subject := c.Subjects(ctx, f)[f.Revision]; subject != "" {
		t.Commit = &view.Commit{Subject: subject}
	}
}

// climb follows owners up to an object that carries the mark of a unit.
func (c *Cluster) climb(ctx context.Context, o *unstructured.Unstructured, t *Trace) (top, unit object.Ref, err error) {
	const deepest = 10
	var mark *object.Ref
	var lost error // the owner that could not be read
	for range deepest {
		top = object.RefOf(o)
		for _, k := range c.Kinds() {
			if k.Owns == nil {
				continue
			}
			if u, ok := k.Owns(o); ok {
				mark = &u
			}
		}
		owner := metav1.GetControllerOf(o)
		if owner == nil && len(o.GetOwnerReferences()) > 0 {
			owner = &o.GetOwnerReferences()[0]
		}
		if owner == nil {
			break
		}
		gv, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil {
			break
		}
		ref := object.Ref{Group: gv.Group, Kind: owner.Kind, Namespace: o.GetNamespace(), Name: owner.Name}
		up, err := c.Client.Get(ctx, ref, gv.Version)
		if err != nil {
			lost = fmt.Errorf("its owner %s can't be read: %w", ref, err)
			break
		}
		if up.GetUID() != owner.UID {
			break
		}
		t.By = append(t.By, ref.String())
		o = up
	}
	if mark == nil && lost != nil {
		return top, unit, fmt.Errorf("%s carries no mark of a unit, and it can't be told what made it: %w", t.Object, lost)
	}
	if mark == nil {
		return top, unit, fmt.Errorf("%s was not applied by a unit: neither it nor what made it carries the mark of one", t.Object)
	}
	return top, *mark, nil
}

// writersOf are the field managers of o, the latest first.
func writersOf(o *unstructured.Unstructured) []Writer {
	var out []Writer
	for _, m := range o.GetManagedFields() {
		w := Writer{Manager: m.Manager, Operation: string(m.Operation), Subresource: m.Subresource}
		if m.Time != nil {
			w.When = m.Time.Time
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b Writer) int { return b.When.Compare(a.When) })
	return out
}
