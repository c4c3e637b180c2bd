package argocd

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/object"
)

// memory is what is remembered of Applications beside what is stored. It is safe
// for concurrent use; the zero value remembers nothing.
type memory struct {
	mu sync.Mutex
	of map[types.NamespacedName]*remembered
}

type remembered struct {
	signature    string              // of the unit that was put
	awaits       bool                // news of its sources
	finalized    int                 // how often finalizers for hooks were set or taken off
	how, request string              // of a refresh
	operation    time.Time           // when the last one began
	automatic    *api.OperationState // that has begun by itself, and is not stored
	resolve      [2]string           // the ID of an operation, and by which it is known what is newest for it
	// results are what became of objects in the operation of that ID.
	id      string
	results map[object.Ref]api.ResourceResult
	// What objects of a render have, by its digest.
	render string
	facts  facts
	// What it uses of what surrounds it, and what that was when it was put.
	concern concern
	print   string
}

func (m *memory) with(key types.NamespacedName, f func(*remembered)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = make(map[types.NamespacedName]*remembered)
	}
	r := m.of[key]
	if r == nil {
		r = &remembered{}
		m.of[key] = r
	}
	f(r)
}

func (m *memory) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, key)
}

// knows reports whether something is remembered of an Application.
func (m *memory) knows(key types.NamespacedName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[key] != nil
}

// concerned notes what an Application uses, and what that is.
func (m *memory) concerned(key types.NamespacedName, c concern, is string) {
	m.with(key, func(r *remembered) { r.concern, r.print = c, is })
}

// concerns are the Applications for which what they use is something else now.
func (m *memory) concerns(printOf func(concern) string) (keys []types.NamespacedName) {
	m.mu.Lock()
	was := make(map[types.NamespacedName]remembered, len(m.of))
	for key, r := range m.of {
		was[key] = remembered{concern: r.concern, print: r.print}
	}
	m.mu.Unlock()
	prints := make(map[concern]string)
	for key, r := range was {
		is, ok := prints[r.concern]
		if !ok {
			is = printOf(r.concern)
			prints[r.concern] = is
		}
		if is != r.print {
			keys = append(keys, key)
		}
	}
	return keys
}

// put notes the signature of a unit, and reports whether it is another one.
func (m *memory) put(key types.NamespacedName, signature string) (news bool) {
	m.with(key, func(r *remembered) { news, r.signature = r.signature != signature, signature })
	return news
}

// awaits notes whether an Application waits for news of its sources.
func (m *memory) awaits(key types.NamespacedName, is bool) {
	m.with(key, func(r *remembered) { r.awaits = is })
}

func (m *memory) isAwaiting(key types.NamespacedName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of[key]
	return r == nil || r.awaits
}

// finalizes notes that finalizers change; what they have become is looked at once
// more, since somebody else may have set others at the same time.
func (m *memory) finalizes(key types.NamespacedName) {
	m.with(key, func(r *remembered) { r.finalized++ })
}

// finalized is how often that was.
func (m *memory) finalized(key types.NamespacedName) (n int) {
	m.with(key, func(r *remembered) { n = r.finalized })
	return n
}

// asked returns by which a refresh of that kind is known that was asked for
// before, if it was.
func (m *memory) asked(key types.NamespacedName, how string) (request string, same bool) {
	m.with(key, func(r *remembered) { request, same = r.request, r.how == how })
	return request, same
}

func (m *memory) asks(key types.NamespacedName, how, request string) {
	m.with(key, func(r *remembered) { r.how, r.request = how, request })
}

// began returns when the last operation began that is known of.
func (m *memory) began(key types.NamespacedName) (at time.Time) {
	m.with(key, func(r *remembered) { at = r.operation })
	return at
}

func (m *memory) begins(key types.NamespacedName, at time.Time) {
	m.with(key, func(r *remembered) { r.operation = at })
}

// automatic returns the operation that has begun by itself and is not stored, if
// there is one.
func (m *memory) automatic(key types.NamespacedName) (s *api.OperationState) {
	m.with(key, func(r *remembered) { s = r.automatic })
	return s
}

func (m *memory) automates(key types.NamespacedName, s *api.OperationState) {
	m.with(key, func(r *remembered) { r.automatic = s })
}

// resolves returns by which it is known what is newest for an operation, and asks
// for that once.
func (m *memory) resolves(key types.NamespacedName, id string, ask func() string) (request string) {
	m.with(key, func(r *remembered) {
		if r.resolve[0] != id {
			r.resolve = [2]string{id, ask()}
		}
		request = r.resolve[1]
	})
	return request
}

// note adds what became of objects in an operation, and returns all of that.
func (m *memory) note(key types.NamespacedName, id string, results []api.ResourceResult) (all map[object.Ref]api.ResourceResult) {
	m.with(key, func(r *remembered) {
		if r.id != id {
			r.id, r.results = id, make(map[object.Ref]api.ResourceResult)
		}
		if r.results == nil {
			return // it is over, and in the status
		}
		for _, x := range results {
			ref := refOfResult(x)
			if before, ok := r.results[ref]; ok && isUnchanged(x) && !failed(before) {
				continue // what was done to it was done by a look before this one
			}
			r.results[ref] = x
		}
		all = make(map[object.Ref]api.ResourceResult, len(r.results))
		for ref, x := range r.results {
			all[ref] = x
		}
	})
	return all
}

// resumes notes what became of objects in an operation as far as that is stored,
// unless more is known of it.
func (m *memory) resumes(key types.NamespacedName, id string, res *api.SyncResult) {
	m.with(key, func(r *remembered) {
		if r.id == id {
			return
		}
		r.id, r.results = id, make(map[object.Ref]api.ResourceResult)
		if res == nil {
			return
		}
		for _, x := range res.Resources {
			if x.HookType == "" {
				r.results[refOfResult(x)] = x
			}
		}
	})
}

// over drops what became of objects in an operation that has ended.
func (m *memory) over(key types.NamespacedName, id string) {
	m.with(key, func(r *remembered) {
		if r.id == id {
			r.results = nil
		}
	})
}

// factsOf returns those of a render, and makes them once.
func (m *memory) factsOf(key types.NamespacedName, render string, read func() facts) (f facts) {
	known := false
	m.with(key, func(r *remembered) { f, known = r.facts, r.render == render && render != "" })
	if known {
		return f
	}
	f = read()
	m.with(key, func(r *remembered) { r.facts, r.render = f, render })
	return f
}
