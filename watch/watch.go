// Package watch knows what became of the objects that plumb holds true.
//
// A [Watch] keeps one watch per kind in use, narrowed by label, and a [Live]
// record of some hundred bytes for each object, not the object itself. A unit
// follows the objects that matter to it ([Watch.Follow]) and is notified when
// one of them is no longer as it was settled, changes health, comes or goes.
// An event that changes none of these costs nothing more.
//
// [Watch.Settle] says that an object is as its unit wants it. Until then, and
// again once a field that counts has changed, the record holds the whole
// object, so that a plan can be made without asking the server. The watch
// writes nothing and decides nothing.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch/health"
)

// A Target is an object that a unit follows.
type Target struct {
	Ref     object.Ref
	Version string // of the API to read it through
	// Selector is the label selector that every object of its unit matches.
	// If it is empty, the object is watched by its name alone.
	Selector string
	Managers owned.Managers
	// Judge replaces the rules of kstatus; nil for most kinds.
	Judge *health.Judge
}

// Live is what is known of an object.
type Live struct {
	Exists   bool
	Deleting bool
	Health   health.Result
	// Digest is that of the desired object that the live one was last
	// settled against, and Settled says that it has not changed since in
	// any field that counts. An object that was settled and is gone has a
	// Digest and does not exist.
	Digest  string
	Settled bool
	// Object is the live object where it is not settled. It may be nil, and
	// must not be changed.
	Object *unstructured.Unstructured
}

// A Watch follows objects of one cluster. It is safe for concurrent use.
type Watch struct {
	cluster *cluster.Client
	notify  func(unit string)
	log     *slog.Logger
	ctx     context.Context

	mu      sync.Mutex
	streams map[streamKey]*stream
	units   map[string]follows
	waiting map[schema.GroupKind]map[string]bool // units that a kind is missing for
	// narrow are the resources that may be watched only in single
	// namespaces, and narrowed is how often one was added.
	narrow   map[schema.GroupVersionResource]bool
	narrowed int
	kinds    int // how often they have changed
}

// following is an object that a unit follows, and where its record is. There is
// one for each object, so it is small.
type following struct {
	object.Ref
	*view
	stream   *stream
	narrowed int // of the watch, when the stream was chosen
}

// A view is what a Target says besides which object it is. Those of one unit
// that are equal are one.
type view struct {
	Version  string
	Selector string
	Managers owned.Managers
	Judge    *health.Judge
}

func (f *following) name() types.NamespacedName {
	return types.NamespacedName{Namespace: f.Namespace, Name: f.Name}
}

func (f *following) same(t Target) bool { return f.view.same(t) }

func (v *view) same(t Target) bool {
	return v.Version == t.Version && v.Selector == t.Selector && v.Judge == t.Judge &&
		v.Managers.Self == t.Managers.Self && slices.Equal(v.Managers.Undo, t.Managers.Undo)
}

// follows are what a unit follows, sorted by Ref, each once.
type follows []*following

func (f follows) search(r object.Ref) (int, bool) {
	return slices.BinarySearchFunc(f, r, func(f *following, r object.Ref) int { return object.Compare(f.Ref, r) })
}

func (f follows) find(r object.Ref) *following {
	i, ok := f.search(r)
	if !ok {
		return nil
	}
	return f[i]
}

// view returns what t says besides which object it is.
func (f follows) view(t Target) *view {
	for _, other := range f {
		if other.same(t) {
			return other.view
		}
	}
	return &view{Version: t.Version, Selector: t.Selector, Managers: t.Managers, Judge: t.Judge}
}

// New returns a Watch that runs until ctx is done. notify is called with a
// unit's name whenever a look at it is worth while; it must not block.
func New(ctx context.Context, c *cluster.Client, log *slog.Logger, notify func(unit string)) (*Watch, error) {
	w := &Watch{
		cluster: c, notify: notify, log: log, ctx: ctx,
		streams: make(map[streamKey]*stream),
		units:   make(map[string]follows),
		waiting: make(map[schema.GroupKind]map[string]bool),
		narrow:  make(map[schema.GroupVersionResource]bool),
	}
	md, err := metadata.NewForConfig(c.Config())
	if err != nil {
		return nil, fmt.Errorf("watch kinds: %w", err)
	}
	go w.watchKinds(md)
	return w, nil
}

// watchKinds wakes the units that wait for a kind when a CRD comes or changes.
func (w *Watch) watchKinds(md metadata.Interface) {
	crds := md.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	// Who may not see definitions, as on somebody else's cluster, finds a new
	// kind when the unit that waits for it is tried again.
	allowed := func(err error) {
		if apierrors.IsForbidden(err) {
			stop()
		}
	}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := crds.List(ctx, o)
			allowed(err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			wi, err := crds.Watch(ctx, o)
			allowed(err)
			return wi, err
		},
	}, md)
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, kindStore{w}, cache.ReflectorOptions{Name: "kinds"})
	r.RunWithContext(ctx)
}

// kindStore is a store that keeps nothing.
type kindStore struct{ w *Watch }

func (k kindStore) Add(any) error               { k.w.kindsChanged(); return nil }
func (k kindStore) Update(any) error            { k.w.kindsChanged(); return nil }
func (k kindStore) Delete(any) error            { k.w.kindsChanged(); return nil }
func (k kindStore) Replace([]any, string) error { k.w.kindsChanged(); return nil }
func (k kindStore) Resync() error               { return nil }

func (w *Watch) kindsChanged() {
	w.mu.Lock()
	w.kinds++
	units := map[string]bool{}
	for gk, waiting := range w.waiting {
		for u := range waiting {
			units[u] = true
		}
		delete(w.waiting, gk)
	}
	w.mu.Unlock()
	for u := range units {
		w.notify(u)
	}
}

// Follow makes targets the objects that the unit follows, instead of those it
// followed before; of two targets for one object, the first counts. Targets of
// a kind that the server does not have are left out and named in the error; the
// unit is notified when the kinds change.
func (w *Watch) Follow(ctx context.Context, unit string, targets []Target) error {
	w.mu.Lock()
	same := w.unchanged(w.units[unit], targets)
	kinds := w.kinds
	w.mu.Unlock()
	if same {
		return nil
	}
	names := w.names(ctx, targets) // which may ask the server, so nobody else waits for it
	w.mu.Lock()
	defer func() {
		missed := w.kinds != kinds && len(targets) > 0
		w.mu.Unlock()
		if missed {
			w.notify(unit) // one of the kinds may have come since it was asked for
		}
	}()
	before := w.units[unit]
	now := make(follows, 0, len(targets))
	kept := make(map[object.Ref]*following, len(targets))
	var errs []error
	for _, t := range targets {
		if kept[t.Ref] != nil {
			continue
		}
		f := before.find(t.Ref)
		if f != nil && !f.same(t) {
			f = nil
		}
		if f == nil || f.narrowed != w.narrowed {
			key, err := w.key(unit, t, names[t.kind()])
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if f != nil && f.stream.key == key {
				f.narrowed = w.narrowed
			} else {
				f = w.join(unit, t, key, now.view(t))
			}
		}
		kept[t.Ref] = f
		now = append(now, f)
	}
	for _, f := range before {
		if kept[f.Ref] != f {
			w.part(unit, f)
		}
	}
	slices.SortFunc(now, func(a, b *following) int { return object.Compare(a.Ref, b.Ref) })
	if len(now) == 0 {
		delete(w.units, unit)
	} else {
		w.units[unit] = now
	}
	return errors.Join(dedupe(errs)...)
}

// unchanged reports whether these targets are what a unit follows already.
func (w *Watch) unchanged(before follows, targets []Target) bool {
	if len(before) != len(targets) {
		return false
	}
	met := make([]bool, len(before))
	for _, t := range targets {
		i, ok := before.search(t.Ref)
		if !ok || met[i] || before[i].narrowed != w.narrowed || !before[i].same(t) {
			return false
		}
		met[i] = true
	}
	return true
}

// A named is how the server calls a kind, or why that is not known.
type named struct {
	*apimeta.RESTMapping
	err error
}

func (t Target) kind() schema.GroupVersionKind { return t.Ref.GroupKind().WithVersion(t.Version) }

// names finds out how the server calls the kinds of targets. A server that can't
// tell of one kind is not asked about the others.
func (w *Watch) names(ctx context.Context, targets []Target) map[schema.GroupVersionKind]named {
	names := make(map[schema.GroupVersionKind]named)
	var failed error
	for _, t := range targets {
		gvk := t.kind()
		if _, ok := names[gvk]; ok {
			continue
		}
		n := named{err: failed}
		if failed == nil {
			n.RESTMapping, n.err = w.cluster.Mapping(ctx, gvk)
		}
		if n.err != nil && !fault.Is(n.err, "UnknownKind") {
			failed = n.err
		}
		names[gvk] = n
	}
	return names
}

// key says which stream a target is in, of a kind that the server calls m.
func (w *Watch) key(unit string, t Target, m named) (streamKey, error) {
	if fault.Is(m.err, "UnknownKind") {
		gk := t.Ref.GroupKind()
		if w.waiting[gk] == nil {
			w.waiting[gk] = map[string]bool{}
		}
		w.waiting[gk][unit] = true
	}
	if m.err != nil {
		return streamKey{}, m.err
	}
	key := streamKey{resource: m.Resource, selector: t.Selector}
	switch {
	case t.Selector == "":
		key.namespace, key.name = t.Ref.Namespace, t.Ref.Name
	case w.narrow[m.Resource]:
		key.namespace = t.Ref.Namespace
	}
	return key, nil
}

func (w *Watch) join(unit string, t Target, key streamKey, v *view) *following {
	s := w.streams[key]
	if s == nil {
		s = w.start(key)
	}
	f := &following{Ref: t.Ref, view: v, stream: s, narrowed: w.narrowed}
	s.join(unit, f)
	return f
}

func dedupe(errs []error) []error {
	seen := map[string]bool{}
	return slices.DeleteFunc(errs, func(e error) bool {
		s := e.Error()
		defer func() { seen[s] = true }()
		return seen[s]
	})
}

// narrowTo has a resource watched namespace by namespace, because whoever
// plumb is on this cluster may not watch it in all of them.
func (w *Watch) narrowTo(r schema.GroupVersionResource) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.narrow[r] {
		w.narrow[r] = true
		w.narrowed++
	}
}

// part ends one following, and its stream with the last.
func (w *Watch) part(unit string, f *following) {
	if f.stream.leave(unit, f) {
		f.stream.cancel()
		delete(w.streams, f.stream.key)
	}
}

// Leave ends all that the unit follows.
func (w *Watch) Leave(unit string) {
	_ = w.Follow(w.ctx, unit, nil) // no target, so no kind to be missing
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, units := range w.waiting {
		delete(units, unit)
	}
}

// Synced reports whether everything that the unit follows is known. Where a
// kind can't be watched, the error says why. The unit is notified when this
// changes.
func (w *Watch) Synced(unit string) (bool, error) {
	w.mu.Lock()
	follows := w.units[unit]
	streams := map[*stream]bool{}
	for _, f := range follows {
		streams[f.stream] = true
	}
	w.mu.Unlock()
	synced := true
	var errs []error
	for s := range streams {
		ok, err := s.state()
		synced = synced && ok
		if err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return cmpString(a.Error(), b.Error()) })
	return synced, errors.Join(errs...)
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Live returns what is known of an object that the unit follows. known is
// false if it does not follow it, or the watch has not seen the kind yet: then
// nothing may be concluded.
func (w *Watch) Live(unit string, ref object.Ref) (l Live, known bool) {
	w.mu.Lock()
	f := w.units[unit].find(ref)
	w.mu.Unlock()
	if f == nil {
		return Live{}, false
	}
	return f.stream.live(unit, f.name())
}

// Settle says that the object is as the unit wants it: obj, as the server
// returned it, holds what was desired under digest.
func (w *Watch) Settle(unit string, ref object.Ref, digest string, obj *unstructured.Unstructured) {
	w.mu.Lock()
	f := w.units[unit].find(ref)
	w.mu.Unlock()
	if f != nil {
		f.stream.settle(unit, f, digest, obj)
	}
}

// Unsettle forgets that the object was as the unit wanted it, so that the next
// plan looks at it afresh.
func (w *Watch) Unsettle(unit string, ref object.Ref) {
	w.mu.Lock()
	f := w.units[unit].find(ref)
	w.mu.Unlock()
	if f != nil {
		f.stream.unsettle(unit, f.name())
	}
}

// Size returns how many streams and records there are.
func (w *Watch) Size() (streams, records int) {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.streams))
	w.mu.Unlock()
	for _, s := range all {
		records += s.size()
	}
	return len(all), records
}

type streamKey struct {
	resource        schema.GroupVersionResource
	selector        string
	namespace, name string // of a single object
}

func (w *Watch) start(key streamKey) *stream {
	ctx, cancel := context.WithCancel(w.ctx)
	s := &stream{
		key: key, cancel: cancel, notify: w.notify,
		records:   make(map[types.NamespacedName]*record),
		strangers: make(map[string]int),
		keep:      true,
	}
	w.streams[key] = s
	var tweak func(*metav1.ListOptions)
	if key.name != "" {
		sel := fields.OneTermEqualSelector("metadata.name", key.name).String()
		tweak = func(o *metav1.ListOptions) { o.FieldSelector = sel }
	} else {
		tweak = func(o *metav1.ListOptions) { o.LabelSelector = key.selector }
	}
	var r dynamic.ResourceInterface = w.cluster.Dynamic().Resource(key.resource)
	if key.namespace != "" {
		r = w.cluster.Dynamic().Resource(key.resource).Namespace(key.namespace)
	}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			tweak(&o)
			l, err := r.List(ctx, o)
			w.connected(s, err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			tweak(&o)
			wi, err := r.Watch(ctx, o)
			w.connected(s, err)
			return wi, err
		},
	}, w.cluster.Dynamic())
	ref := cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, s, cache.ReflectorOptions{
		Name:            key.resource.Resource,
		TypeDescription: key.resource.String(),
	})
	go ref.RunWithContext(ctx)
	// What nobody has followed by then is not ours to hold in memory.
	time.AfterFunc(10*time.Minute, s.forgetStrangers)
	return s
}

// connected notes how an attempt to list or watch went.
func (w *Watch) connected(s *stream, err error) {
	if apierrors.IsForbidden(err) && s.key.namespace == "" {
		w.narrowTo(s.key.resource)
	}
	s.connected(err)
}

// staleAfter is how long a watch may be down before what it showed counts as
// old.
const staleAfter = 2 * time.Minute

func parseVersion(v string) uint64 {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
