package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/briandowns/spinner"
	"github.com/fatih/color"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// follow calls see with the state of f now and after every change, until it
// says that it has seen enough. It watches; a connection that breaks is made
// again.
func (s *conn) follow(ctx context.Context, f *inspect.Found, see func(*inspect.Found) (done bool, err error)) error {
	r := s.Client.Dynamic().Resource(f.Resource()).Namespace(f.Ref.Namespace)
	name := fields.OneTermEqualSelector("metadata.name", f.Ref.Name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = name
			return r.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = name
			return r.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, cache.ToListWatcherWithWatchListSemantics(lw, s.Client.Dynamic()), &unstructured.Unstructured{}, nil,
		func(e watch.Event) (bool, error) {
			u, ok := e.Object.(*unstructured.Unstructured)
			switch {
			case e.Type == watch.Deleted:
				return false, fmt.Errorf("%s was deleted", f.Ref)
			case !ok:
				return false, nil
			}
			return see(s.Found(f.Kind, u.DeepCopy()))
		})
	return err
}

// waitsFor says what f waits for.
func waitsFor(f *inspect.Found, unwell *pending) string {
	if text := unwell.String(); text != "" {
		return text
	}
	if f.Ready == "True" {
		return "waiting" // that was before
	}
	return f.Message
}

// A wait is what a command shows while it waits.
type wait struct {
	*conn
	on *spinner.Spinner // nil: no terminal, lines are printed

	mu   sync.Mutex
	last string
}

// startWait shows that the command waits; end stops it.
func (s *conn) startWait() (w *wait, end func()) {
	w = &wait{conn: s}
	if !isTerminal(s.io.ErrOut) {
		return w, func() {}
	}
	if on, err := colored(s.color, s.io.ErrOut); err == nil {
		color.NoColor = !on // the spinner's; paint has its own
	}
	w.on = spinner.New(spinner.CharSets[14], 100*time.Millisecond, spinner.WithWriter(s.io.ErrOut))
	w.on.Start()
	return w, w.on.Stop
}

// say shows what is waited for, once.
func (w *wait) say(text string) {
	text = clean(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if text == w.last {
		return
	}
	w.last = text
	if w.on == nil {
		w.note("%s", text)
		return
	}
	w.on.Lock()
	w.on.Suffix = " " + short(text, 110)
	w.on.Unlock()
}

// A pending is what of a unit's objects is not healthy, kept current by
// watching them.
type pending struct {
	s       *conn
	ctx     context.Context
	changed func(string)
	watched map[watchKey]bool // of see alone

	mu       sync.Mutex
	unwell   map[object.Ref]string
	expected map[object.Ref]bool
}

type watchKey struct {
	gvr       schema.GroupVersionResource
	namespace string
}

// watchPending calls changed with a text about the objects of f that are not
// healthy, whenever that changes.
func (s *conn) watchPending(ctx context.Context, changed func(string)) *pending {
	return &pending{
		s: s, ctx: ctx, changed: changed,
		watched: map[watchKey]bool{}, unwell: map[object.Ref]string{}, expected: map[object.Ref]bool{},
	}
}

// see starts watches for the kinds in the inventory of f that are not watched
// yet. Whoever may not watch them sees nothing of them.
func (p *pending) see(f *inspect.Found) {
	if f.Selector == nil || f.Elsewhere {
		return
	}
	expected := make(map[object.Ref]bool, len(f.Inventory))
	for _, e := range f.Inventory {
		expected[e.Ref] = true
	}
	p.mu.Lock()
	p.expected = expected
	p.mu.Unlock()
	for _, e := range f.Inventory {
		m, err := p.s.Client.Mapping(p.ctx, e.Ref.GroupKind().WithVersion(e.Version))
		if err != nil {
			continue
		}
		key := watchKey{m.Resource, e.Ref.Namespace}
		if p.watched[key] {
			continue
		}
		p.watched[key] = true
		selector := f.Selector(f.Item)
		inf := dynamicinformer.NewFilteredDynamicInformer(p.s.Client.Dynamic(), key.gvr, key.namespace, 0, cache.Indexers{},
			func(o *metav1.ListOptions) { o.LabelSelector = selector }).Informer()
		// The informer has not begun, so both are accepted.
		_ = inf.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
		_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { p.note(o, false) },
			UpdateFunc: func(_, o any) { p.note(o, false) },
			DeleteFunc: func(o any) { p.note(o, true) },
		})
		go inf.RunWithContext(p.ctx)
	}
}

func (p *pending) note(o any, gone bool) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	p.mu.Lock()
	ref := object.RefOf(u)
	delete(p.unwell, ref)
	if h := health.Of(u); !gone && h.Status != health.Current {
		p.unwell[ref] = or(h.Message, h.Status.String())
	}
	text := p.text()
	p.mu.Unlock()
	if p.ctx.Err() == nil && text != "" {
		p.changed(text)
	}
}

// String says what is not healthy, or nothing.
func (p *pending) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text()
}

func (p *pending) text() string {
	var parts []string
	for ref, why := range p.unwell {
		if p.expected[ref] {
			parts = append(parts, ref.String()+": "+why)
		}
	}
	slices.Sort(parts)
	const most = 5
	if more := len(parts) - most; more > 0 {
		parts = append(parts[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}

// timedOut reports whether err is that the time is up.
func timedOut(ctx context.Context, err error) bool {
	return errors.Is(context.Cause(ctx), context.DeadlineExceeded) && err != nil
}
