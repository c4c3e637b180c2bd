package render

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"plumb.dev/plumb/tree"
)

// A Cache keeps the last result for each key, and gives it again for as long
// as the options are the same and nothing that the render saw has changed.
// What it gives is what a render would: with a Cache of no bytes the objects
// are the same, byte for byte. It is safe for concurrent use.
type Cache struct {
	max    int64
	folder *Folder // may be nil
	failed func(error)

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
	at      tree.ID // of the root of a tree in which the trace is known to hold
}

// NewCache returns a cache that keeps about max bytes of results in memory.
func NewCache(max int64) *Cache {
	return &Cache{max: max, kept: map[string]*list.Element{}, order: list.New(), failed: func(error) {}}
}

// KeepIn has the cache keep results in a folder, too, except for those that
// hold values from a Secret of the cluster. failed is told when that does not
// work; the cache goes on without.
func (c *Cache) KeepIn(f *Folder, failed func(error)) { c.folder, c.failed = f, failed }

// Objects returns the result of [Objects] for t and o. The key says whose
// result it is, such as the name of a unit: there is one result for each. A
// hit decodes nothing.
func (c *Cache) Objects(ctx context.Context, key string, t tree.Tree, o Options) (r Result, hit bool, err error) {
	digest, root := o.Digest(), tree.RootID(t)
	if r, at, ok := c.get(key, digest); ok {
		if at == root && root != "" {
			return r, true, nil
		}
		if _, holds := r.Trace.Holds(t); holds {
			c.moved(key, r, root)
			return r, true, nil
		}
	}
	stored := c.folder != nil && !o.secret()
	if stored {
		if r, ok := c.folder.load(key, digest); ok {
			if _, holds := r.Trace.Holds(t); holds {
				c.put(key, digest, r, root)
				return r, true, nil
			}
		}
	}
	r, err = Objects(ctx, t, o)
	if err != nil {
		return Result{}, false, err
	}
	if !r.Cacheable {
		c.Forget(key)
		return r, false, nil
	}
	c.put(key, digest, r, root)
	if stored {
		if err := c.folder.save(key, digest, r); err != nil {
			c.failed(fmt.Errorf("keep the render of %s: %w", key, err))
		}
	}
	return r, false, nil
}

// Stands reports whether what is kept for a key would be given for a tree, if
// the options are still the same. Where d, which may be nil, is how that tree
// differs from the one for which it was given last, that takes less than a
// microsecond.
func (c *Cache) Stands(key string, t tree.Tree, d *tree.Diff) bool {
	c.mu.Lock()
	kept, ok := c.kept[key]
	if !ok {
		c.mu.Unlock()
		return false
	}
	e := kept.Value.(*entry)
	r, at := e.result, e.at
	c.mu.Unlock()
	if d != nil && at == d.From && r.Trace.Stands(*d) {
		c.moved(key, r, d.To)
		return true
	}
	_, holds := r.Trace.Holds(t)
	if holds {
		c.moved(key, r, tree.RootID(t))
	}
	return holds
}

// moved notes that the trace of r, if that is still kept, holds in a tree.
func (c *Cache) moved(key string, r Result, root tree.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.kept[key]; ok && kept.Value.(*entry).result.body == r.body {
		kept.Value.(*entry).at = root
	}
}

func (c *Cache) get(key, options string) (r Result, at tree.ID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, ok := c.kept[key]
	if !ok || kept.Value.(*entry).options != options {
		return Result{}, "", false
	}
	c.order.MoveToFront(kept)
	return kept.Value.(*entry).result, kept.Value.(*entry).at, true
}

func (c *Cache) put(key, options string, r Result, root tree.ID) {
	e := &entry{key: key, options: options, result: r.Packed(), size: r.size() + int64(len(key)+len(options)), at: root}
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
	c.drop(key)
	c.mu.Unlock()
	if c.folder != nil {
		if err := c.folder.forget(key); err != nil {
			c.failed(fmt.Errorf("drop the render of %s: %w", key, err))
		}
	}
}

// Bytes returns about how many bytes the kept results take.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}
