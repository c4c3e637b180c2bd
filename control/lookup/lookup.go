// Package lookup reads the Secrets, ConfigMaps and ServiceAccounts that custom
// resources refer to, each through a watch of its own. Of an account it is the
// names of its pull secrets that count.
//
// So a reference costs a request once, a change of it wakes who refers to it
// at once, and plumb neither sees nor holds any other Secret. Reads are in
// plumb's own name: the caller makes sure that the reference may be followed,
// which in both dialects means that it stays in its own namespace.
package lookup

import (
	"context"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/fault"
)

// A Kind is what can be referred to.
type Kind string

// The kinds.
const (
	Secret    Kind = "Secret"
	ConfigMap Kind = "ConfigMap"
	// ServiceAccount has one datum, [PullSecrets].
	ServiceAccount Kind = "ServiceAccount"
)

// PullSecrets is what of a ServiceAccount the names of its imagePullSecrets are,
// one a line.
const PullSecrets = "imagePullSecrets"

// AccountData is what counts of a ServiceAccount.
func AccountData(a *corev1.ServiceAccount) map[string][]byte {
	names := make([]string, len(a.ImagePullSecrets))
	for i, s := range a.ImagePullSecrets {
		names[i] = s.Name
	}
	return map[string][]byte{PullSecrets: []byte(strings.Join(names, "\n"))}
}

// A Ref is a reference.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// String returns the form that messages use.
func (r Ref) String() string { return fmt.Sprintf("%s/%s/%s", r.Kind, r.Namespace, r.Name) }

// A Reader keeps what is referred to. It is safe for concurrent use.
type Reader struct {
	ctx    context.Context
	client kubernetes.Interface
	wake   func(owner string)

	mu     sync.Mutex
	held   map[Ref]*held
	owners map[string]map[Ref]bool
}

// New returns a Reader that watches until ctx is done. wake is called with an
// owner's name when something that it refers to has been read or has changed;
// it must not block.
func New(ctx context.Context, client kubernetes.Interface, wake func(owner string)) *Reader {
	return &Reader{ctx: ctx, client: client, wake: wake, held: make(map[Ref]*held), owners: make(map[string]map[Ref]bool)}
}

// A Session is one look at everything that an owner refers to.
type Session struct {
	r     *Reader
	owner string
	used  map[Ref]bool
}

// Begin starts a look. What the owner referred to before and does not ask for
// until [Session.End] is no longer watched for it.
func (r *Reader) Begin(owner string) *Session {
	return &Session{r: r, owner: owner, used: make(map[Ref]bool)}
}

// Get returns the data of ref; found is false if it does not exist. A
// [fault.Wait] says that it has not been read yet, and a [fault.Retry] that it
// can't be, and why; the owner is woken when it was read.
func (s *Session) Get(ref Ref) (data map[string][]byte, found bool, err error) {
	s.used[ref] = true
	return s.r.hold(ref, s.owner).get()
}

func (h *held) get() (data map[string][]byte, found bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.synced:
	case h.err != nil:
		return nil, false, &fault.Error{Next: fault.Retry, Err: fmt.Errorf("read %s: %w", h.ref, h.err)}
	default:
		return nil, false, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s has not been read yet", h.ref)}
	}
	return h.data, h.data != nil, nil
}

// End ends the look.
func (s *Session) End() {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref := range r.owners[s.owner] {
		if !s.used[ref] {
			r.part(ref, s.owner)
		}
	}
	if len(s.used) == 0 {
		delete(r.owners, s.owner)
	} else {
		r.owners[s.owner] = s.used
	}
}

// Peek reads what is held for somebody, and watches nothing new.
func (r *Reader) Peek() Peek { return Peek{r} }

// A Peek reads what is held.
type Peek struct{ r *Reader }

// Get is [Session.Get] for what is held. What is not is an error.
func (p Peek) Get(ref Ref) (data map[string][]byte, found bool, err error) {
	p.r.mu.Lock()
	h := p.r.held[ref]
	p.r.mu.Unlock()
	if h == nil {
		return nil, false, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s has not been read yet", ref)}
	}
	return h.get()
}

// Forget ends all watches for an owner.
func (r *Reader) Forget(owner string) { r.Begin(owner).End() }

func (r *Reader) part(ref Ref, owner string) {
	h := r.held[ref]
	if h == nil {
		return
	}
	delete(h.owners, owner)
	if len(h.owners) == 0 {
		h.stop()
		delete(r.held, ref)
	}
}

func (r *Reader) hold(ref Ref, owner string) *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.held[ref]
	if h == nil {
		ctx, stop := context.WithCancel(r.ctx)
		h = &held{r: r, ref: ref, stop: stop, owners: make(map[string]bool)}
		r.held[ref] = h
		h.run(ctx)
	}
	h.owners[owner] = true
	if r.owners[owner] == nil {
		r.owners[owner] = make(map[Ref]bool)
	}
	r.owners[owner][ref] = true
	return h
}

// held is one object, and the store of the reflector that watches it.
type held struct {
	r      *Reader
	ref    Ref
	stop   context.CancelFunc
	owners map[string]bool // under r.mu

	mu     sync.Mutex
	synced bool
	err    error
	data   map[string][]byte // nil: it does not exist
}

func (h *held) run(ctx context.Context) {
	core := h.r.client.CoreV1()
	sel := fields.OneTermEqualSelector("metadata.name", h.ref.Name).String()
	list := func(o metav1.ListOptions) (runtime.Object, error) {
		switch h.ref.Kind {
		case Secret:
			return core.Secrets(h.ref.Namespace).List(ctx, o)
		case ServiceAccount:
			return core.ServiceAccounts(h.ref.Namespace).List(ctx, o)
		}
		return core.ConfigMaps(h.ref.Namespace).List(ctx, o)
	}
	follow := func(o metav1.ListOptions) (watch.Interface, error) {
		switch h.ref.Kind {
		case Secret:
			return core.Secrets(h.ref.Namespace).Watch(ctx, o)
		case ServiceAccount:
			return core.ServiceAccounts(h.ref.Namespace).Watch(ctx, o)
		}
		return core.ConfigMaps(h.ref.Namespace).Watch(ctx, o)
	}
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = sel
			l, err := list(o)
			h.failed(err)
			return l, err
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = sel
			w, err := follow(o)
			h.failed(err)
			return w, err
		},
	}, h.r.client)
	var example runtime.Object = &corev1.ConfigMap{}
	switch h.ref.Kind {
	case Secret:
		example = &corev1.Secret{}
	case ServiceAccount:
		example = &corev1.ServiceAccount{}
	}
	r := cache.NewReflectorWithOptions(lw, example, h, cache.ReflectorOptions{Name: "references"})
	go r.RunWithContext(ctx)
}

// failed notes how an attempt to read went, and tells the owners once if they
// wait for it.
func (h *held) failed(err error) {
	h.mu.Lock()
	news := err != nil && h.err == nil && !h.synced
	h.err = err
	h.mu.Unlock()
	if news {
		h.tell()
	}
}

func (h *held) tell() {
	h.r.mu.Lock()
	owners := make([]string, 0, len(h.owners))
	for o := range h.owners {
		owners = append(owners, o)
	}
	h.r.mu.Unlock()
	for _, o := range owners {
		h.r.wake(o)
	}
}

func (h *held) set(data map[string][]byte) error {
	h.mu.Lock()
	changed := !h.synced || !sameData(h.data, data)
	h.synced, h.err, h.data = true, nil, data
	h.mu.Unlock()
	if !changed {
		return nil
	}
	h.tell()
	return nil
}

func sameData(a, b map[string][]byte) bool {
	if (a == nil) != (b == nil) || len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || string(v) != string(w) {
			return false
		}
	}
	return true
}

func dataOf(o any) map[string][]byte {
	data := map[string][]byte{}
	switch o := o.(type) {
	case *corev1.ServiceAccount:
		return AccountData(o)
	case *corev1.Secret:
		for k, v := range o.Data {
			data[k] = v
		}
	case *corev1.ConfigMap:
		for k, v := range o.Data {
			data[k] = []byte(v)
		}
		for k, v := range o.BinaryData {
			data[k] = v
		}
	}
	return data
}

// Add implements [cache.ReflectorStore].
func (h *held) Add(o any) error { return h.set(dataOf(o)) }

// Update implements [cache.ReflectorStore].
func (h *held) Update(o any) error { return h.set(dataOf(o)) }

// Delete implements [cache.ReflectorStore].
func (h *held) Delete(any) error { return h.set(nil) }

// Replace implements [cache.ReflectorStore].
func (h *held) Replace(list []any, _ string) error {
	if len(list) == 0 {
		return h.set(nil)
	}
	return h.set(dataOf(list[0]))
}

// Resync implements [cache.ReflectorStore].
func (h *held) Resync() error { return nil }
