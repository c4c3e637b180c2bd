// Package lru is the cache of this program: values up to a total cost, of which
// the least recently used go first. What is kept, and what it costs, is the
// caller's to say.
package lru

import (
	"container/list"
	"sync"
)

// A Cache keeps values up to a total cost. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	most int64

	mu    sync.Mutex
	held  int64
	order *list.List // of *entry, the least recently used at the back
	at    map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

// New returns a cache that keeps values of a total cost of most.
func New[K comparable, V any](most int64) *Cache[K, V] {
	return &Cache[K, V]{most: most, order: list.New(), at: make(map[K]*list.Element)}
}

// Get returns what is kept for a key, and counts as a use of it.
func (c *Cache[K, V]) Get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.at[k]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// Add keeps a value in the place of what was kept for the key. One that would
// fill more than a quarter of the cache alone is not kept.
func (c *Cache[K, V]) Add(k K, v V, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(k)
	if cost > c.most/4 {
		return
	}
	c.at[k] = c.order.PushFront(&entry[K, V]{k, v, cost})
	c.held += cost
	for c.held > c.most {
		c.remove(c.order.Back().Value.(*entry[K, V]).key)
	}
}

// Remove lets go of what is kept for a key.
func (c *Cache[K, V]) Remove(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(k)
}

func (c *Cache[K, V]) remove(k K) {
	e, ok := c.at[k]
	if !ok {
		return
	}
	c.order.Remove(e)
	delete(c.at, k)
	c.held -= e.Value.(*entry[K, V]).cost
}

// Clear lets go of all that is kept.
func (c *Cache[K, V]) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	c.at = make(map[K]*list.Element) // a map does not shrink
	c.held = 0
}

// Held returns the cost of what is kept.
func (c *Cache[K, V]) Held() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}
