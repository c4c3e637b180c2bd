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
	cancel   context.CancelFunc
	answered chan struct{} // closed once there is a list, or an error

	mu     sync.Mutex
	err    error
	looks  map[*Look]bool
	owners map[types.NamespacedName][]types.UID
	byUID  map[types.UID]map[types.NamespacedName]Child
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
		b.tell()
	}
}

// tell says to those who look that something has changed.
func (b *childStore) tell() {
	for _, l := range b.watchers() {
		l.changed()
	}
}

// set notes what owns an object; nil: it is gone.
func (b *childStore) set(m *metav1.PartialObjectMetadata, owners []metav1.OwnerReference) {
	name := types.NamespacedName{Namespace: m.Namespace, Name: m.Name}
	for _, uid := range b.owners[name] {
		delete(b.byUID[uid], name)
		if len(b.byUID[uid]) == 0 {
			delete(b.byUID, uid)
		}
	}
	delete(b.owners, name)
	if len(owners) == 0 {
		return
	}
	c := Child{
		Ref:     object.Ref{Group: b.key.kind.Group, Kind: b.key.kind.Kind, Namespace: m.Namespace, Name: m.Name},
		Version: b.key.kind.Version, UID: m.UID, Revision: m.ResourceVersion,
	}
	for _, o := range owners {
		if b.byUID[o.UID] == nil {
			b.byUID[o.UID] = make(map[types.NamespacedName]Child)
		}
		b.byUID[o.UID][name] = c
		b.owners[name] = append(b.owners[name], o.UID)
	}
}

// note runs f, which sets something, and tells of it.
func (b *childStore) note(f func()) error {
	b.mu.Lock()
	f()
	b.mu.Unlock()
	b.tell()
	return nil
}

// Add implements [cache.ReflectorStore].
func (b *childStore) Add(o any) error { return b.Update(o) }

// Update implements [cache.ReflectorStore].
func (b *childStore) Update(o any) error {
	m := o.(*metav1.PartialObjectMetadata)
	return b.note(func() { b.set(m, m.OwnerReferences) })
}

// Delete implements [cache.ReflectorStore].
func (b *childStore) Delete(o any) error {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil
	}
	return b.note(func() { b.set(m, nil) })
}

// Replace implements [cache.ReflectorStore].
func (b *childStore) Replace(list []any, _ string) error {
	defer b.answer()
	return b.note(func() {
		b.owners = make(map[types.NamespacedName][]types.UID)
		b.byUID = make(map[types.UID]map[types.NamespacedName]Child)
		b.err = nil
		for _, o := range list {
			m := o.(*metav1.PartialObjectMetadata)
			b.set(m, m.OwnerReferences)
		}
	})
}

// Resync implements [cache.ReflectorStore].
func (b *childStore) Resync() error { return nil }
