package render

import (
	"container/list"
	"context"
	"sync"

	"plumb.dev/plumb/tree"
)

// A Cache keeps the last result for each key, and gives it again for as long
// as the options are the same and nothing that the render saw has changed.
// What it gives is what a render would: with a Cache of no bytes the objects
// are the same, byte for byte. It is safe for concurrent use.
type Cache struct {
	max int64

	mu    sync.Mutex
	bytes int64
	kept  map[string]*list.Element // of *entry
	order *list.List               // the least recently used at the back
}

type entry struct {
	key     string
	options string
	result  Result
	size    int64
}

// NewCache returns a cache that keeps about max bytes of results.
func NewCache(max int64) *Cache {
	return &Cache{max: max, kept: map[string]*list.Element{}, order: list.New()}
}

// Objects returns the result of [Objects] for t and o. The key says whose
// result it is, such as the name of a unit: there is one result for each. A
// hit decodes nothing.
func (c *Cache) Objects(ctx context.Context, key string, t tree.Tree, o Options) (r Result, hit bool, err error) {
	digest := o.Digest()
	if r, ok := c.get(key, digest); ok {
		if _, holds := r.Trace.Holds(t); holds {
			return r, true, nil
		}
	}
	r, err = Objects(ctx, t, o)
	if err != nil {
		return Result{}, false, err
	}
	if r.Cacheable {
		c.put(key, digest, r)
	} else {
		c.Forget(key)
	}
	return r, false, nil
}

// Stands reports whether what is kept for a key would hold in t, if the
// options are still the same.
func (c *Cache) Stands(key string, t tree.Tree) bool {
	c.mu.Lock()
	at, ok := c.kept[key]
	c.mu.Unlock()
	if !ok {
		return false
	}
	_, holds := at.Value.(*entry).result.Trace.Holds(t)
	return holds
}

func (c *Cache) get(key, options string) (Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.kept[key]
	if !ok || at.Value.(*entry).options != options {
		return Result{}, false
	}
	c.order.MoveToFront(at)
	return at.Value.(*entry).result, true
}

func (c *Cache) put(key, options string, r Result) {
	e := &entry{key: key, options: options, result: r.Packed(), size: r.size() + int64(len(key)+len(options))}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
	c.kept[key] = c.order.PushFront(e)
	c.bytes += e.size
	for c.bytes > c.max {
		c.drop(c.order.Back().Value.(*entry).key)
	}
}

func (c *Cache) drop(key string) {
	at, ok := c.kept[key]
	if !ok {
		return
	}
	c.bytes -= at.Value.(*entry).size
	delete(c.kept, key)
	c.order.Remove(at)
}

// Forget drops the result of a key.
func (c *Cache) Forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(key)
}

// Bytes returns about how many bytes the kept results take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
