package watch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/object"
)

// A childStore is what is owned of one kind, in a namespace or in all. It is the
// store of a reflector.
type childStore struct {
	key      childKey
	whose    Whose // nil: roots are not kept
	cancel   context.CancelFunc
	answered chan struct{} // closed once there is a list, or an error

	mu     sync.Mutex
	err    error
	looks  map[*Look]bool
	owners map[types.NamespacedName][]types.UID
	byUID  map[types.UID]map[types.NamespacedName]Child
	roots  map[string]map[string]Child // by namespace and name
}

// see begins or ends a look, and reports whether there are any.
func (b *childStore) see(l *Look, on bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		b.looks[l] = true
	} else {
		delete(b.looks, l)
	}
	return len(b.looks) > 0
}

func (b *childStore) watchers() []*Look {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.looks))
}

func (b *childStore) of(owner types.UID) []Child {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.byUID[owner]))
}

func (b *childStore) rootsOf(namespace string) []Child {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.roots[namespace]))
}

func (b *childStore) state() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *childStore) answer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.answered:
	default:
		close(b.answered)
	}
}

// connected notes how an attempt to list or watch went.
func (b *childStore) connected(err error) {
	b.mu.Lock()
	was := b.err
	b.err = nil
	if err != nil {
		where := "in all namespaces"
		if b.key.namespace != "" {
			where = "of namespace " + b.key.namespace
		}
		b.err = fmt.Errorf("list objects of kind %s %s: %w", b.key.kind.Kind, where, err)
	}
	b.mu.Unlock()
	if err != nil {
		b.answer()
	}
	if (was == nil) != (err == nil) {
		b.tell("")
	}
}

// tell says to those who look that something has changed in a namespace, or in
// all.
func (b *childStore) tell(namespace string) {
	for _, l := range b.watchers() {
		l.changed(namespace)
	}
}

// tokenOf is the annotation of a Secret that says whose token it is: such a one
// goes with its ServiceAccount, although no owner is named.
const tokenOf = "kubernetes.io/service-account.uid"

// owners are what owns an object.
func owners(m *metav1.PartialObjectMetadata) (uids []types.UID) {
	for _, o := range m.OwnerReferences {
		uids = append(uids, o.UID)
	}
	if uid := m.Annotations[tokenOf]; uid != "" {
		uids = append(uids, types.UID(uid))
	}
	return uids
}

// set notes an object, or that it is gone.
func (b *childStore) set(m *metav1.PartialObjectMetadata, gone bool) {
	name := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	for _, uid := range b.owners[name] {
		delete(b.byUID[uid], name)
		if len(b.byUID[uid]) == 0 {
			delete(b.byUID, uid)
		}
	}
	delete(b.owners, name)
	delete(b.roots[m.Namespace], m.Name)
	if gone {
		return
	}
	owners := owners(m)
	if len(owners) == 0 && b.whose == nil {
		return
	}
	c := Child{
		Ref:     object.Ref{Group: b.key.kind.Group, Kind: b.key.kind.Kind, Namespace: m.Namespace, Name: m.Name},
		Version: b.key.kind.Version, UID: m.UID, Revision: m.ResourceVersion,
	}
	if len(owners) == 0 {
		c.Whose = b.whose(b.key.kind, m)
		if b.roots[m.Namespace] == nil {
			b.roots[m.Namespace] = make(map[string]Child)
		}
		b.roots[m.Namespace][m.Name] = c
	}
	for _, uid := range owners {
		if b.byUID[uid] == nil {
			b.byUID[uid] = make(map[types.NamespacedName]Child)
		}
		b.byUID[uid][name] = c
		b.owners[name] = append(b.owners[name], uid)
	}
}

// note runs f, which sets something of a namespace, or of all, and tells of it.
func (b *childStore) note(namespace string, f func()) error {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	b.tell(namespace)
	return nil
}

// Add implements [cache.ReflectorStore].
func (b *childStore) Add(o any) error { return b.Update(o) }

// Update implements [cache.ReflectorStore].
func (b *childStore) Update(o any) error {
	m := o.(*metav1.PartialObjectMetadata)
	return b.note(m.Namespace, func() { b.set(m, false) })
}

// Delete implements [cache.ReflectorStore].
func (b *childStore) Delete(o any) error {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil
	}
	return b.note(m.Namespace, func() { b.set(m, true) })
}

// Replace implements [cache.ReflectorStore].
func (b *childStore) Replace(list []any, _ string) error {
	defer b.answer()
	return b.note("", func() {
		b.owners = make(map[types.NamespacedName][]types.UID)
		b.byUID = make(map[types.UID]map[types.NamespacedName]Child)
		b.roots = make(map[string]map[string]Child)
		b.err = nil
		for _, o := range list {
			m := o.(*metav1.PartialObjectMetadata)
			b.set(m, false)
		}
	})
}

// Resync implements [cache.ReflectorStore].
func (b *childStore) Resync() error { return nil }
