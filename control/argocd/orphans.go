package argocd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
)

// orphans finds what nobody has in the namespaces of Applications whose projects
// ask for that: it watches the metadata of all kinds that a namespace may hold,
// in those namespaces alone, and costs nothing where no project asks. It is safe
// for concurrent use; a nil one finds nothing.
type orphans struct {
	ctx     context.Context
	engine  *engine.Engine
	log     *slog.Logger
	changed func(types.NamespacedName) // there are others for an Application

	mu sync.Mutex
	at map[string]*field // by cluster
	of map[types.NamespacedName]*search
}

// A search is for the orphans of an Application.
type search struct {
	cluster, namespace string
	terms              *terms
	own                map[object.Ref]bool // what its status has
	known              bool
	found              []orphan
}

// An orphan is an object that nobody has, or what such a one owns.
type orphan struct {
	watch.Child
	parent *watch.Child // nil: it is nobody's
}

// node is how Argo CD's server is shown one: its metadata say no more.
func (o orphan) node() cached.Node {
	n := cached.Node{Ref: refOfChild(o.Child), ResourceVersion: o.Revision}
	if o.parent != nil {
		n.ParentRefs = []cached.Ref{refOfChild(*o.parent)}
	}
	return n
}

func refOfChild(c watch.Child) cached.Ref {
	return cached.Ref{Group: c.Ref.Group, Version: c.Version, Kind: c.Ref.Kind, Namespace: c.Ref.Namespace, Name: c.Ref.Name, UID: string(c.UID)}
}

// seek notes what is known of an Application now: it is searched for, if its
// project asks, which is reported. shown says that somebody wants to see them all.
func (o *orphans) seek(key types.NamespacedName, u engine.Unit, all []api.ResourceStatus, shown bool) (sought bool) {
	if o == nil {
		return false
	}
	t := termsOf(u)
	if t == nil || u.Leaving || u.Namespace == "" || u.Target.Invalid || !t.seeksOrphans(shown) {
		o.drop(key)
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[key]
	if s == nil || s.cluster != u.Target.Cluster || s.namespace != u.Namespace {
		s = &search{cluster: u.Target.Cluster, namespace: u.Namespace}
		o.of[key] = s
	}
	s.terms = t
	if all != nil {
		s.own = make(map[object.Ref]bool, len(all))
		for _, r := range all {
			s.own[refOfStatus(r)] = true
		}
	}
	f := o.at[s.cluster]
	if f == nil {
		f = &field{orphans: o, cluster: s.cluster, target: u.Target, news: make(chan struct{}, 1), dirty: map[string]bool{}}
		f.target.User = ""
		o.at[s.cluster] = f
		go f.run()
	}
	f.notify(s.namespace)
	return true
}

func (t *terms) seeksOrphans(shown bool) bool {
	seek, warn := t.project.SeeksOrphans()
	return warn || seek && shown
}

// drop ends the search for an Application.
func (o *orphans) drop(key types.NamespacedName) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[key]
	if s == nil {
		return
	}
	delete(o.of, key)
	if f := o.at[s.cluster]; f != nil {
		f.notify(s.namespace)
	}
}

// warning is what an Application is to say of its orphans, once that is known.
func (o *orphans) warning(key types.NamespacedName) (text string, known bool) {
	if o == nil {
		return "", false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[key]
	if s == nil {
		return "", false
	}
	if _, warn := s.terms.project.SeeksOrphans(); warn && len(s.found) > 0 {
		text = project.OrphansWarning(len(s.found))
	}
	return text, s.known
}

// nodes are the orphans of an Application as Argo CD's server is shown them, as far
// as they are known.
func (o *orphans) nodes(key types.NamespacedName) (all []cached.Node) {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.of[key]; s != nil {
		for _, f := range s.found {
			all = append(all, f.node())
		}
	}
	return all
}

// searches are those on a cluster, and their namespaces, sorted.
func (o *orphans) searches(cluster string) (all map[types.NamespacedName]search, namespaces []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all = make(map[types.NamespacedName]search)
	for key, s := range o.of {
		if s.cluster == cluster {
			all[key] = *s
			namespaces = append(namespaces, s.namespace)
		}
	}
	slices.Sort(namespaces)
	return all, slices.Compact(namespaces)
}

// note notes what a search has shown, and reports whether that is news.
func (o *orphans) note(key types.NamespacedName, from search, found []orphan) (news bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.of[key]
	if s == nil || s.cluster != from.cluster || s.namespace != from.namespace {
		return false
	}
	same := func(a, b orphan) bool { return a.Child.UID == b.Child.UID }
	news = !s.known || !slices.EqualFunc(s.found, found, same)
	s.known, s.found = true, found
	return news
}

// A field is what is searched of a cluster.
type field struct {
	*orphans
	cluster string
	target  engine.Target
	news    chan struct{} // with room for one

	dirtied sync.Mutex
	dirty   map[string]bool // namespaces; with an empty one, all

	// Of run alone.
	roots      *watch.Children
	look       *watch.Look
	kinds      []schema.GroupVersionKind
	asked      time.Time // when the kinds were
	namespaces []string
	wrong      string // that was told last
}

func (f *field) notify(namespace string) {
	f.dirtied.Lock()
	f.dirty[namespace] = true
	f.dirtied.Unlock()
	select {
	case f.news <- struct{}{}:
	default:
	}
}

const (
	orphanPace = 500 * time.Millisecond // the least time between two searches
	orphanWait = 30 * time.Second       // for lists
	kindsFor   = 5 * time.Minute        // how long it stands which kinds there are
)

// run searches whenever something is another, until nothing is to be searched.
func (f *field) run() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.news:
		}
		again := time.Duration(0)
		if err := f.search(); err != nil {
			again = orphanWait
			f.tell(err)
		}
		if f.ends() {
			return
		}
		select {
		case <-f.ctx.Done():
			return
		case <-time.After(orphanPace):
		}
		if again > 0 {
			time.AfterFunc(again, func() { f.notify("") })
		}
	}
}

// ends reports whether nothing is searched any more, and ends the watches then.
func (f *field) ends() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.of {
		if s.cluster == f.cluster {
			return false
		}
	}
	delete(f.at, f.cluster)
	if f.look != nil {
		f.look.Close()
	}
	return true
}

// tell says what is wrong, once.
func (f *field) tell(err error) {
	if text := err.Error(); text != f.wrong {
		f.wrong = text
		f.log.Error("orphaned resources can't all be found", "cluster", f.target.Cluster, "err", err)
	}
}

// search finds the orphans in those namespaces of which something is another.
func (f *field) search() error {
	ctx, cancel := context.WithTimeout(f.ctx, orphanWait)
	defer cancel()
	f.dirtied.Lock()
	dirty := f.dirty
	f.dirty = make(map[string]bool)
	f.dirtied.Unlock()
	all, namespaces := f.searches(f.cluster)
	if len(all) == 0 {
		return nil
	}
	others, err := f.open(ctx, all, namespaces)
	if err != nil {
		return err
	}
	hidden, err := f.look.Wait(ctx)
	if err != nil {
		return fmt.Errorf("list what is in the namespaces: %w", err)
	}
	if len(hidden) > 0 {
		f.tell(fmt.Errorf("%w, and %d more", hidden[0], len(hidden)-1))
	}
	seen := make(map[string][]watch.Child)
	for key, s := range all {
		if !dirty[""] && !dirty[s.namespace] && s.known && !others {
			continue
		}
		roots, ok := seen[s.namespace]
		if !ok {
			roots = f.look.Roots(s.namespace)
			seen[s.namespace] = roots
		}
		if f.note(key, s, s.among(roots, f.look, f.engine.Has)) {
			f.changed(key)
		}
	}
	return nil
}

// open has the namespaces watched that are searched, and reports whether it shows
// others now. Kinds are asked for every few minutes at most.
func (f *field) open(ctx context.Context, all map[types.NamespacedName]search, namespaces []string) (others bool, err error) {
	client, err := f.engine.Client(f.target)
	if err != nil {
		return false, err
	}
	if time.Since(f.asked) > kindsFor {
		disco, err := discovery.NewDiscoveryClientForConfig(client.Config())
		if err != nil {
			return false, fmt.Errorf("ask for kinds: %w", err)
		}
		kinds, err := kindsOf(ctx, disco)
		if err != nil {
			return false, err
		}
		kinds = slices.DeleteFunc(kinds, func(k schema.GroupVersionKind) bool {
			ref := object.Ref{Group: k.Group, Kind: k.Kind}
			return !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(s search) bool { return !s.terms.excluded(ref) })
		})
		if f.asked = time.Now(); f.roots == nil || !slices.Equal(kinds, f.kinds) {
			f.kinds, f.namespaces = kinds, nil
			f.roots = watch.NewRoots(f.ctx, client, kinds, f.whose)
		}
	}
	if slices.Equal(namespaces, f.namespaces) {
		return false, nil
	}
	before := f.look
	f.look, f.namespaces = f.roots.Look(namespaces, f.notify), namespaces
	if before != nil {
		before.Close()
	}
	return true, nil
}

// kindsOf are the kinds that a namespace may hold and that can be watched, sorted.
// Groups that the server can't tell of are left out.
func kindsOf(ctx context.Context, disco discovery.DiscoveryInterfaceWithContext) (kinds []schema.GroupVersionKind, err error) {
	lists, err := disco.ServerPreferredNamespacedResourcesWithContext(ctx)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("ask for kinds: %w", err)
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("ask for kinds: %w", err)
		}
		for _, r := range l.APIResources {
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "watch") {
				kinds = append(kinds, gv.WithKind(r.Kind))
			}
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(kinds), nil
}

// whose says which unit an object is marked as one of.
func (f *field) whose(kind schema.GroupVersionKind, m *metav1.PartialObjectMetadata) string {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(m.Namespace)
	u.SetName(m.Name)
	u.SetLabels(m.Labels)
	u.SetAnnotations(m.Annotations)
	return f.engine.Whose(u)
}

// among are the orphans among what nobody owns in a namespace, and what they own.
// An object is not one while there is a unit whose marks it has, nor is what goes
// with an object that is not, although it names no owner.
func (s search) among(roots []watch.Child, look interface{ Of(types.UID) []watch.Child }, there func(unit string) bool) (all []orphan) {
	named := make(map[object.Ref]*watch.Child, len(roots))
	for i := range roots {
		named[roots[i].Ref] = &roots[i]
	}
	inferred := make(map[types.UID][]watch.Child)
	seen := make(map[types.UID]bool)
	var add func(c watch.Child, parent *watch.Child)
	add = func(c watch.Child, parent *watch.Child) {
		if seen[c.UID] || s.terms.admits(c.Ref) != nil {
			return
		}
		seen[c.UID] = true
		all = append(all, orphan{c, parent})
		for _, child := range slices.Concat(look.Of(c.UID), inferred[c.UID]) {
			add(child, &c)
		}
	}
	var top []watch.Child
	for _, c := range roots {
		if p := goesWith(c.Ref, named); p != nil {
			inferred[p.UID] = append(inferred[p.UID], c)
		} else if !s.own[c.Ref] && !(c.Whose != "" && there(c.Whose)) && s.terms.project.Orphan(project.ObjectOf(c.Ref)) {
			top = append(top, c)
		}
	}
	for _, c := range top {
		add(c, nil)
	}
	slices.SortFunc(all, func(a, b orphan) int { return object.Compare(a.Ref, b.Ref) })
	return all
}

// goesWith returns what an object goes with that names no owner: the Service of
// Endpoints, the StatefulSet of a volume claim.
func goesWith(r object.Ref, named map[object.Ref]*watch.Child) *watch.Child {
	switch {
	case r.Group == "" && r.Kind == "Endpoints":
		return named[object.Ref{Kind: "Service", Namespace: r.Namespace, Name: r.Name}]
	case r.Group == "" && r.Kind == "PersistentVolumeClaim":
		// It is called as a template, the set and a number.
		last := strings.LastIndexByte(r.Name, '-')
		if last < 0 || strings.Trim(r.Name[last+1:], "0123456789") != "" {
			return nil
		}
		for name := r.Name[:last]; ; {
			_, rest, ok := strings.Cut(name, "-")
			if !ok {
				return nil
			}
			if p := named[object.Ref{Group: "apps", Kind: "StatefulSet", Namespace: r.Namespace, Name: rest}]; p != nil {
				return p
			}
			name = rest
		}
	}
	return nil
}

// warn writes what is to be said of orphans, where that is not said.
func (r *applications) warn(ctx context.Context, u *unstructured.Unstructured, a *application) error {
	text, known := r.orphans.warning(a.key())
	if !known || a.Status.Sync.Status == "" || text == orphansSaid(a.Status.Conditions) {
		return nil
	}
	st := a.Status
	st.Conditions = toldAs(st.Conditions, api.ConditionOrphanedResource, text)
	st.ReconciledAt = reconciled(&st)
	if err := r.write(ctx, u, &a.Status, write{status: &st}); err != nil {
		return fmt.Errorf("write which resources are orphaned: %w", err)
	}
	a.Status = st
	return nil
}

// toldAs are conditions with another message of one type, at the place where
// [conditions] has it.
func toldAs(all []api.Condition, kind, message string) []api.Condition {
	all = slices.DeleteFunc(slices.Clone(all), func(c api.Condition) bool { return c.Type == kind })
	if message == "" {
		return all
	}
	i := slices.IndexFunc(all, func(c api.Condition) bool { return slices.Contains(judged, c.Type) && c.Type > kind })
	if i < 0 {
		i = len(all)
	}
	at := clock()
	return slices.Insert(all, i, api.Condition{Type: kind, Message: message, LastTransitionTime: &at})
}

func orphansSaid(all []api.Condition) string {
	for _, c := range all {
		if c.Type == api.ConditionOrphanedResource {
			return c.Message
		}
	}
	return ""
}
