package watch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/object"
)

// Workloads are the kinds that come of what people write: whoever owns one of
// their objects, a custom resource too, is what it came of.
var Workloads = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Group: "apps", Version: "v1", Kind: "DaemonSet"},
	{Group: "apps", Version: "v1", Kind: "ReplicaSet"},
	{Group: "batch", Version: "v1", Kind: "CronJob"},
	{Group: "batch", Version: "v1", Kind: "Job"},
	{Version: "v1", Kind: "Pod"},
}

// A Child is an object that others own, as far as its metadata tell.
type Child struct {
	Ref     object.Ref
	Version string // of the API it was read through
	UID     types.UID
	// Revision is the resourceVersion: another one means that something of the
	// object has changed.
	Revision string
	// Whose a root is; see [NewRoots].
	Whose string
}

// Children shows what objects own, to those who look and for as long as they
// do. It watches the metadata of some kinds, in the namespaces that are looked
// at, once for all who look there. It is safe for concurrent use.
type Children struct {
	ctx     context.Context
	cluster *cluster.Client
	kinds   []schema.GroupVersionKind
	whose   Whose // nil: roots are not shown

	mu     sync.Mutex
	stores map[childKey]*childStore
	apart  map[schema.GroupVersionKind]bool // kinds that may be listed only in single namespaces
}

type childKey struct {
	kind      schema.GroupVersionKind
	namespace string // empty: all
}

// NewChildren returns the Children of some kinds, until ctx is done.
func NewChildren(ctx context.Context, c *cluster.Client, kinds []schema.GroupVersionKind) *Children {
	return &Children{
		ctx: ctx, cluster: c, kinds: kinds,
		stores: make(map[childKey]*childStore), apart: make(map[schema.GroupVersionKind]bool),
	}
}

// Whose says to whom an object belongs, by its metadata.
type Whose func(schema.GroupVersionKind, *metav1.PartialObjectMetadata) string

// NewRoots returns Children that also show what nobody owns: the roots of what
// there is, and whose each is.
func NewRoots(ctx context.Context, c *cluster.Client, kinds []schema.GroupVersionKind, whose Whose) *Children {
	all := NewChildren(ctx, c, kinds)
	all.whose = whose
	return all
}

// A Look is somebody's view of the children in some namespaces. It costs
// watches until it is closed.
type Look struct {
	c          *Children
	namespaces []string
	changed    func(namespace string)
	stores     map[childKey]*childStore // guarded by c.mu
}

// Look begins to show the children in some namespaces. changed is called when
// it may show something else, in a namespace or, without one, in all; it must not
// block.
func (c *Children) Look(namespaces []string, changed func(namespace string)) *Look {
	l := &Look{c: c, namespaces: slices.Compact(slices.Sorted(slices.Values(namespaces))), changed: changed, stores: make(map[childKey]*childStore)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.kinds {
		c.open(l, k)
	}
	return l
}

// open has a look see the objects of a kind.
func (c *Children) open(l *Look, kind schema.GroupVersionKind) {
	namespaces := l.namespaces
	if len(namespaces) > mostStreams && !c.apart[kind] {
		namespaces = []string{""}
	}
	for _, ns := range namespaces {
		key := childKey{kind, ns}
		b := c.stores[key]
		if b == nil {
			ctx, cancel := context.WithCancel(c.ctx)
			b = &childStore{key: key, whose: c.whose, cancel: cancel, looks: make(map[*Look]bool), answered: make(chan struct{})}
			c.stores[key] = b
			go c.watch(ctx, b)
		}
		b.see(l, true)
		l.stores[key] = b
	}
}

// Close ends the look, and the watches that nobody else needs.
func (l *Look) Close() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, b := range l.stores {
		l.c.close(l, b)
	}
}

func (c *Children) close(l *Look, b *childStore) {
	delete(l.stores, b.key)
	if !b.see(l, false) {
		b.cancel()
		delete(c.stores, b.key)
	}
}

// Of returns what an object owns itself, sorted.
func (l *Look) Of(owner types.UID) (children []Child) {
	for _, b := range l.all() {
		children = append(children, b.of(owner)...)
	}
	slices.SortFunc(children, func(a, b Child) int { return object.Compare(a.Ref, b.Ref) })
	return children
}

// Roots returns what nobody owns in a namespace, sorted, where that is shown.
func (l *Look) Roots(namespace string) (roots []Child) {
	for _, b := range l.all() {
		roots = append(roots, b.rootsOf(namespace)...)
	}
	slices.SortFunc(roots, func(a, b Child) int { return object.Compare(a.Ref, b.Ref) })
	return roots
}

// Below returns what objects own, and what that owns in turn.
func (l *Look) Below(owners ...types.UID) (children []Child) {
	seen := make(map[types.UID]bool)
	for len(owners) > 0 {
		for _, c := range l.Of(owners[0]) {
			if !seen[c.UID] {
				seen[c.UID] = true
				children, owners = append(children, c), append(owners, c.UID)
			}
		}
		owners = owners[1:]
	}
	return children
}

// Wait returns once everything has been listed that may be. What has not is in
// hidden, one error for each kind and namespace, sorted.
func (l *Look) Wait(ctx context.Context) (hidden []error, err error) {
	for again := true; again; {
		again = false
		for _, b := range l.all() {
			select {
			case <-b.answered:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
			// It may have been found out that all namespaces at once are too much.
			again = again || !slices.Contains(l.all(), b)
		}
	}
	for _, b := range l.all() {
		if err := b.state(); err != nil {
			hidden = append(hidden, err)
		}
	}
	slices.SortFunc(hidden, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return hidden, nil
}

func (l *Look) all() []*childStore {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return slices.Collect(maps.Values(l.stores))
}

// A Body is what came of reading a child as a whole.
type Body struct {
	Object *unstructured.Unstructured
	Err    error // of its kind and namespace, where many were read at once
}

// Read reads children as a whole. Many of a kind and namespace are read by
// listing these.
func (l *Look) Read(ctx context.Context, children []Child) map[types.UID]Body {
	sets := make(map[childKey][]Child)
	for _, c := range children {
		key := childKey{c.Ref.GroupKind().WithVersion(c.Version), c.Ref.Namespace}
		sets[key] = append(sets[key], c)
	}
	bodies := make(map[types.UID]Body, len(children))
	var single []Child
	for key, set := range sets {
		if len(set) <= manyUnseen {
			single = append(single, set...)
			continue
		}
		all, err := l.c.list(ctx, key)
		for _, c := range set {
			bodies[c.UID] = Body{all[c.UID], err}
			if err == nil && all[c.UID] == nil {
				single = append(single, c) // gone, or come since
			}
		}
	}
	const atATime = 16
	read := make([]Body, len(single))
	_ = parallel.Each(ctx, atATime, single, func(i int, c Child) error {
		read[i].Object, read[i].Err = l.c.cluster.Get(ctx, c.Ref, c.Version)
		return nil // it is told of one by one
	})
	for i, c := range single {
		if bodies[c.UID] = read[i]; read[i].Object == nil && read[i].Err == nil {
			bodies[c.UID] = Body{Err: context.Cause(ctx)}
		}
	}
	return bodies
}

// list reads all objects of a kind and namespace, page by page.
func (c *Children) list(ctx context.Context, key childKey) (map[types.UID]*unstructured.Unstructured, error) {
	r, err := c.cluster.Resource(ctx, key.kind, key.namespace)
	if err != nil {
		return nil, err
	}
	all := make(map[types.UID]*unstructured.Unstructured)
	for o := (metav1.ListOptions{Limit: pageSize}); ; {
		page, err := r.List(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("list objects of kind %s of namespace %s: %w", key.kind.Kind, key.namespace, err)
		}
		for i := range page.Items {
			all[page.Items[i].GetUID()] = &page.Items[i]
		}
		if o.Continue = page.GetContinue(); o.Continue == "" {
			return all, nil
		}
	}
}

// watch feeds a store until ctx is done.
func (c *Children) watch(ctx context.Context, b *childStore) {
	m := c.mapping(ctx, b)
	if m == nil {
		return
	}
	objects := c.cluster.AllMetadata().Resource(m.Resource).Namespace(b.key.namespace)
	connected := func(err error) {
		if apierrors.IsForbidden(err) && b.key.namespace == "" {
			c.narrow(b)
			return
		}
		b.connected(err)
	}
	lw := cluster.ListWatch(c.cluster.AllMetadata(), paged{objects}, connected)
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, b, cache.ReflectorOptions{Name: "children"}).RunWithContext(ctx)
}

// paged are objects that are listed in pages: from its cache, a server gives all
// at once, whatever the limit.
type paged struct{ metadata.ResourceInterface }

// List implements [metadata.ResourceInterface].
func (p paged) List(ctx context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	if o.ResourceVersion == "0" {
		o.ResourceVersion = ""
	}
	return p.ResourceInterface.List(ctx, o)
}

// mapping finds out how the server calls the kind of a store, and goes on until
// that is known. It is nil if there is no such kind, or ctx is done.
func (c *Children) mapping(ctx context.Context, b *childStore) *apimeta.RESTMapping {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		m, err := c.cluster.Mapping(ctx, b.key.kind)
		switch {
		case err == nil:
			return m
		case fault.Is(err, "UnknownKind"):
			b.answer() // so there is none of it
			return nil
		}
		b.connected(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// narrow has every look at a store of all namespaces see each by itself.
func (c *Children) narrow(b *childStore) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart[b.key.kind] = true
	for _, l := range b.watchers() {
		c.close(l, b)
		c.open(l, b.key.kind)
	}
	b.answer()
}
