package git

import (
	"container/list"
	"sync"
)

// An lru keeps values up to a total cost, the least recently used going first.
// It is safe for concurrent use.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	most  int64
	held  int64
	order *list.List
	at    map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

func newLRU[K comparable, V any](most int64) *lru[K, V] {
	return &lru[K, V]{most: most, order: list.New(), at: make(map[K]*list.Element)}
}

func (c *lru[K, V]) get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.at[k]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// add keeps v. What would fill a good part of the cache alone is not kept.
func (c *lru[K, V]) add(k K, v V, cost int64) {
	if cost > c.most/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.at[k]; ok {
		c.order.MoveToFront(e)
		return
	}
	c.at[k] = c.order.PushFront(&lruEntry[K, V]{k, v, cost})
	c.held += cost
	for c.held > c.most {
		last := c.order.Back()
		e := last.Value.(*lruEntry[K, V])
		c.order.Remove(last)
		delete(c.at, e.key)
		c.held -= e.cost
	}
}

// clear lets go of all that is kept.
func (c *lru[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order.Init()
	c.at = make(map[K]*list.Element)
	c.held = 0
}
