// Package inspect reads a cluster for people: which units and sources there
// are, what belongs to them and how it is, where an object comes from, what
// happened, and what would change.
//
// It gives values and prints nothing, so that commands and the web UI show the
// same. It acts with the rights of the client that it is given, asks when it is
// asked, and keeps nothing. What it could not read is in the values, with why.
// Values of Secrets are not in them; text that others wrote is, as they wrote
// it.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
)

// A Cluster is where units and sources are, as somebody may see it. Without
// clients it still knows the kinds.
type Cluster struct {
	Client    *cluster.Client
	Clientset kubernetes.Interface
	Dialects  []view.Dialect
}

// Kinds are the kinds of all dialects.
func (c *Cluster) Kinds() []view.Kind {
	var out []view.Kind
	for _, d := range c.Dialects {
		out = append(out, d.Kinds()...)
	}
	return out
}

// ErrNoKinds is in the error of [Cluster.List] where the cluster has none of
// the kinds.
var ErrNoKinds = errors.New("it has none of the kinds that plumb works on")

// KindOf returns the kind of custom resource that ref is of.
func (c *Cluster) KindOf(ref object.Ref) (view.Kind, bool) {
	_, k, ok := c.dialectOf(ref.Group, ref.Kind)
	return k, ok
}

func (c *Cluster) dialectOf(group, kind string) (view.Dialect, view.Kind, bool) {
	for _, d := range c.Dialects {
		for _, k := range d.Kinds() {
			if k.Group == group && k.Kind == kind {
				return d, k, true
			}
		}
	}
	return nil, view.Kind{}, false
}

// A Found is a custom resource and what it says.
type Found struct {
	view.Kind
	view.Item
	Dialect view.Dialect
	Object  *unstructured.Unstructured
}

// Alone is the custom resource of f as a list.
func (f *Found) Alone() []unstructured.Unstructured { return []unstructured.Unstructured{*f.Object} }

// Found returns what u, of a kind of c, says.
func (c *Cluster) Found(k view.Kind, u *unstructured.Unstructured) *Found {
	u.SetGroupVersionKind(k.GroupVersionKind)
	d, _, _ := c.dialectOf(k.Group, k.GroupVersionKind.Kind)
	return &Found{Kind: k, Item: k.View(u), Dialect: d, Object: u}
}

// Get reads the unit or source that ref names.
func (c *Cluster) Get(ctx context.Context, ref object.Ref) (*Found, error) {
	k, ok := c.KindOf(ref)
	if !ok {
		return nil, fmt.Errorf("%s: this version of plumb does not know the kind", ref)
	}
	u, err := c.Client.Dynamic().Resource(k.Resource()).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ref, err)
	}
	f := c.Found(k, u)
	c.current(ctx, f)
	return f, nil
}

// List reads the units or sources of a namespace, or of all, sorted.
func (c *Cluster) List(ctx context.Context, namespace string, which func(view.Kind) bool) ([]*Found, error) {
	var out []*Found
	there := false
	for _, k := range c.Kinds() {
		if !which(k) {
			continue
		}
		l, err := c.Client.Dynamic().Resource(k.Resource()).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) {
			continue // no such kind
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.Plural, err)
		}
		there = true
		for i := range l.Items {
			out = append(out, c.Found(k, &l.Items[i]))
		}
	}
	if !there {
		return nil, ErrNoKinds
	}
	slices.SortFunc(out, func(a, b *Found) int { return object.Compare(a.Ref, b.Ref) })
	c.current(ctx, out...)
	return out, nil
}

// current gives those units that are ready and that the last commits did not
// touch the revision that they are at. Their status may be a little behind; if
// their source can't be read, it is what is known.
func (c *Cluster) current(ctx context.Context, units ...*Found) {
	sources := map[object.Ref]*Found{}
	for _, f := range units {
		if f.IsSource || f.Ready != "True" || f.Suspended || f.Source.IsZero() {
			continue
		}
		if _, ok := sources[f.Source]; !ok {
			c.readSources(ctx, f.Source, len(units) > 1, sources)
		}
		src := sources[f.Source]
		if src == nil {
			continue
		}
		if now := src.Commits.Since(f.Ref.String(), f.Revision); now != f.Revision {
			f.Message = strings.ReplaceAll(f.Message, f.Revision, now)
			f.Revision, f.Attempted = now, now
		}
	}
}

// readSources reads a source, or all that are beside it. That of one that can't
// be read is nil.
func (c *Cluster) readSources(ctx context.Context, ref object.Ref, beside bool, into map[object.Ref]*Found) {
	into[ref] = nil
	if !beside {
		if src, err := c.Get(ctx, ref); err == nil {
			into[ref] = src
		}
		return
	}
	all, err := c.List(ctx, ref.Namespace, func(k view.Kind) bool { return k.IsSource && k.GroupVersionKind.Kind == ref.Kind })
	if err != nil {
		return
	}
	for _, src := range all {
		into[src.Ref] = src
	}
}
