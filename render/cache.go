package render

import (
	"context"
	"fmt"
	"sync/atomic"

	"plumb.dev/plumb/internal/lru"
	"plumb.dev/plumb/tree"
)

// A Cache keeps the last result for each key, and gives it again for as long
// as the options are the same and nothing that the render saw has changed.
// What it gives is what a render would: with a Cache of no bytes the objects
// are the same, byte for byte. It is safe for concurrent use.
type Cache struct {
	kept   *lru.Cache[string, *entry]
	render func(context.Context, tree.Tree, Options) (Result, error)
	folder *Folder // may be nil
	failed func(error)
}

type entry struct {
	options string
	result  Result
	at      atomic.Pointer[tree.ID] // of the root of a tree in which the trace is known to hold
}

// NewCache returns a cache that keeps about most bytes of results in memory.
func NewCache(most int64) *Cache {
	return &Cache{kept: lru.New[string, *entry](most), render: Objects, failed: func(error) {}}
}

// KeepIn has the cache keep results in a folder, too, except for those that
// hold values from a Secret of the cluster. failed is told when that does not
// work; the cache goes on without.
func (c *Cache) KeepIn(f *Folder, failed func(error)) { c.folder, c.failed = f, failed }

// RenderBy has workers render what is not kept.
func (c *Cache) RenderBy(w *Workers) { c.render = w.Objects }

// Objects returns the result of [Objects] for t and o. The key says whose
// result it is, such as the name of a unit: there is one result for each. A
// hit decodes nothing.
func (c *Cache) Objects(ctx context.Context, key string, t tree.Tree, o Options) (r Result, hit bool, err error) {
	digest, root := o.Digest(), tree.RootID(t)
	if e, ok := c.kept.Get(key); ok && e.options == digest && e.result.isOf(o.Revision, o.Cluster) {
		if *e.at.Load() == root && root != "" {
			return e.result, true, nil
		}
		if _, holds := e.result.Trace.Holds(t); holds {
			e.holdsAt(t)
			return e.result, true, nil
		}
	}
	if c.folder != nil {
		if r, ok := c.folder.load(key, digest); ok && r.isOf(o.Revision, o.Cluster) {
			if _, holds := r.Trace.Holds(t); holds {
				c.put(key, digest, r, t)
				return r, true, nil
			}
		}
	}
	r, err = c.render(ctx, t, o)
	if err != nil {
		return Result{}, false, err
	}
	if !r.Cacheable {
		c.Forget(key)
		return r, false, nil
	}
	c.put(key, digest, r, t)
	c.store(key, digest, r)
	return r, false, nil
}

// store keeps a result in the folder, or sees that none is there for the key.
func (c *Cache) store(key, options string, r Result) {
	if c.folder == nil {
		return
	}
	if r.Secret {
		c.drop(key)
		return
	}
	if err := c.folder.save(key, options, r); err != nil {
		c.failed(fmt.Errorf("keep the render of %s: %w", key, err))
	}
}

func (c *Cache) drop(key string) {
	if err := c.folder.forget(key); err != nil {
		c.failed(fmt.Errorf("drop the render of %s: %w", key, err))
	}
}

// Stands reports whether what is kept for a key would be given for a tree, its
// revision and a cluster, if the options are still the same. Where d, which may be nil, is how that tree
// differs from the one for which it was given last, that takes less than a
// microsecond.
func (c *Cache) Stands(key, revision string, of *Cluster, t tree.Tree, d *tree.Diff) bool {
	e, ok := c.kept.Get(key)
	if !ok || !e.result.isOf(revision, of) {
		return false
	}
	if d != nil && *e.at.Load() == d.From && e.result.Trace.Stands(*d) {
		e.at.Store(&d.To)
		return true
	}
	_, holds := e.result.Trace.Holds(t)
	if holds {
		e.holdsAt(t)
	}
	return holds
}

// holdsAt notes that the trace holds in a tree.
func (e *entry) holdsAt(t tree.Tree) {
	root := tree.RootID(t)
	e.at.Store(&root)
}

func (c *Cache) put(key, options string, r Result, t tree.Tree) {
	e := &entry{options: options, result: r.Packed()}
	e.holdsAt(t)
	c.kept.Add(key, e, r.size()+int64(len(key)+len(options)))
}

// Forget drops the result of a key.
func (c *Cache) Forget(key string) {
	c.kept.Remove(key)
	if c.folder != nil {
		c.drop(key)
	}
}

// Bytes returns about how many bytes the kept results take.
func (c *Cache) Bytes() int64 { return c.kept.Held() }
