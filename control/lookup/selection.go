package lookup

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/fault"
)

// A Selection is the Secrets of a namespace that a label selects, by one watch. It
// is safe for concurrent use.
type Selection struct {
	r        *Reader
	owner    string
	describe string

	mu     sync.Mutex
	synced bool
	err    error
	held   map[types.NamespacedName]*corev1.Secret
}

// Select watches the Secrets of a namespace that a label selects, as long as the
// Reader does. The owner is woken when they have been read, when they can't be,
// and when they are others.
func (r *Reader) Select(owner, namespace, selector string) *Selection {
	s := &Selection{r: r, owner: owner, describe: fmt.Sprintf("Secrets of namespace %s with %s", namespace, selector)}
	core := r.client.CoreV1().Secrets(namespace)
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			l, err := core.List(ctx, o)
			s.failed(err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			w, err := core.Watch(ctx, o)
			s.failed(err)
			return w, err
		},
	}, r.client)
	go cache.NewReflectorWithOptions(lw, &corev1.Secret{}, s, cache.ReflectorOptions{Name: "selections"}).RunWithContext(r.ctx)
	return s
}

// Secrets returns them, sorted by name; they may not be changed. A [fault.Wait]
// says that they have not been read yet, and a [fault.Retry] that they can't be,
// and why.
func (s *Selection) Secrets() ([]*corev1.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.synced:
	case s.err != nil:
		return nil, &fault.Error{Next: fault.Retry, Err: fmt.Errorf("read %s: %w", s.describe, s.err)}
	default:
		return nil, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s have not been read yet", s.describe)}
	}
	return slices.SortedFunc(maps.Values(s.held), func(a, b *corev1.Secret) int { return cmp.Compare(a.Name, b.Name) }), nil
}

func (s *Selection) failed(err error) {
	s.mu.Lock()
	news := err != nil && s.err == nil && !s.synced
	s.err = err
	s.mu.Unlock()
	if news {
		s.r.wake(s.owner)
	}
}

// change changes what is held, and tells the owner if it is something else then.
func (s *Selection) change(f func(held map[types.NamespacedName]*corev1.Secret)) {
	s.mu.Lock()
	after := maps.Clone(s.held)
	if after == nil {
		after = make(map[types.NamespacedName]*corev1.Secret)
	}
	f(after)
	news := !s.synced || !maps.EqualFunc(s.held, after, sameSecret)
	s.synced, s.err, s.held = true, nil, after
	s.mu.Unlock()
	if news {
		s.r.wake(s.owner)
	}
}

// sameSecret reports whether two states of a Secret say the same.
func sameSecret(a, b *corev1.Secret) bool {
	return a == b || sameData(a.Data, b.Data) && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// kept is what is held of a Secret.
func kept(o any) (types.NamespacedName, *corev1.Secret) {
	in := o.(*corev1.Secret)
	out := &corev1.Secret{Data: in.Data, Type: in.Type}
	out.Namespace, out.Name, out.Labels, out.Annotations = in.Namespace, in.Name, in.Labels, maps.Clone(in.Annotations)
	delete(out.Annotations, corev1.LastAppliedConfigAnnotation)
	return types.NamespacedName{Namespace: in.Namespace, Name: in.Name}, out
}

// Add implements [cache.ReflectorStore].
func (s *Selection) Add(o any) error {
	key, secret := kept(o)
	s.change(func(held map[types.NamespacedName]*corev1.Secret) { held[key] = secret })
	return nil
}

// Update implements [cache.ReflectorStore].
func (s *Selection) Update(o any) error { return s.Add(o) }

// Delete implements [cache.ReflectorStore].
func (s *Selection) Delete(o any) error {
	key, _ := kept(o)
	s.change(func(held map[types.NamespacedName]*corev1.Secret) { delete(held, key) })
	return nil
}

// Replace implements [cache.ReflectorStore].
func (s *Selection) Replace(list []any, _ string) error {
	s.change(func(held map[types.NamespacedName]*corev1.Secret) {
		clear(held)
		for _, o := range list {
			key, secret := kept(o)
			held[key] = secret
		}
	})
	return nil
}

// Resync implements [cache.ReflectorStore].
func (s *Selection) Resync() error { return nil }
