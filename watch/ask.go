package watch

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/parallel"
)

// A lister lists objects of a stream's resource in a namespace, or in all.
type lister func(ctx context.Context, namespace string, o metav1.ListOptions) (*unstructured.UnstructuredList, error)

const (
	// manyUnseen objects are asked for by listing them with all others rather
	// than one by one.
	manyUnseen = 32
	pageSize   = 500
)

// find has an object asked for that is followed, and of which it is not known
// what it is like.
func (s *stream) find(name types.NamespacedName) {
	s.unseen[name] = true
	if s.ask != nil && !s.asking {
		s.asking = true
		go s.findAll(s.ask)
	}
}

// findAll asks until everything that is followed has been seen. What comes by
// an event meanwhile needs no answer.
func (s *stream) findAll(ask lister) {
	pause := time.Second
	for {
		s.mu.Lock()
		var names []types.NamespacedName
		for name := range s.unseen {
			names = append(names, name)
		}
		if len(names) == 0 {
			s.asking = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		err := s.findThese(names, ask)
		if s.ctx.Err() != nil {
			return
		}
		s.connected(err)
		if err == nil {
			pause = time.Second
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 30*time.Second)
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *stream) findThese(names []types.NamespacedName, ask lister) error {
	if len(names) > manyUnseen {
		return s.page(names, ask)
	}
	const atATime = 8
	return parallel.Each(s.ctx, atATime, names, func(_ int, name types.NamespacedName) error {
		l, err := ask(s.ctx, name.Namespace, metav1.ListOptions{
			LabelSelector: s.key.selector, FieldSelector: fields.OneTermEqualSelector("metadata.name", name.Name).String(),
		})
		if err != nil {
			return err
		}
		s.found([]types.NamespacedName{name}, l.Items, l.GetResourceVersion())
		return nil
	})
}

// page lists everything, as far as it takes to find names.
func (s *stream) page(names []types.NamespacedName, ask lister) error {
	missing := make(map[types.NamespacedName]bool, len(names))
	namespace := names[0].Namespace
	for _, n := range names {
		missing[n] = true
		if n.Namespace != namespace {
			namespace = s.key.namespace
		}
	}
	o := metav1.ListOptions{LabelSelector: s.key.selector, Limit: pageSize}
	for {
		l, err := ask(s.ctx, namespace, o)
		if err != nil {
			return err
		}
		for i := range l.Items {
			delete(missing, types.NamespacedName{Namespace: l.Items[i].GetNamespace(), Name: l.Items[i].GetName()})
		}
		s.found(nil, l.Items, "")
		if o.Continue = l.GetContinue(); o.Continue != "" && len(missing) > 0 {
			continue
		}
		gone := make([]types.NamespacedName, 0, len(missing))
		for n := range missing {
			gone = append(gone, n)
		}
		s.found(gone, nil, l.GetResourceVersion())
		return nil
	}
}

// found takes over an answer: of names, those that are not among the items were
// not there at version.
func (s *stream) found(names []types.NamespacedName, items []unstructured.Unstructured, version string) {
	var all change
	note := func(c change) { all.told, all.moved = append(all.told, c.told...), all.moved || c.moved }
	s.mu.Lock()
	there := make(map[types.NamespacedName]bool, len(items))
	for i := range items {
		name := types.NamespacedName{Namespace: items[i].GetNamespace(), Name: items[i].GetName()}
		there[name] = true
		if s.records[name] != nil {
			note(s.upsert(items[i].DeepCopy()))
		}
	}
	for _, name := range names {
		if s.unseen[name] && !there[name] {
			note(s.remove(name, parseVersion(version)))
		}
	}
	s.mu.Unlock()
	s.tell(all)
}
