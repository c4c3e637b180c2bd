package render

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"plumb.dev/plumb/internal/text"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// A Result is what a render gave. What it is made of can be told from Items
// without decoding anything.
type Result struct {
	// Items are the objects in the order in which they were rendered, each
	// Ref once, but for those without a name and where they may be repeated. There may be none.
	Items []Item

	// Digest identifies the objects and their order.
	Digest string

	// Trace is what the render saw of the tree. Where it holds, another
	// render with the same options gives the same result.
	Trace tree.Trace

	// Kind is what was built, in a word: kustomize.
	Kind string

	// Revised: the render has looked at the revision, and is good for Revision
	// alone.
	Revised  bool
	Revision string

	// Asked is what the render has gone by of the cluster, and Answered what that was:
	// it is good for all clusters that say the same.
	Asked    Asked
	Answered string

	// Varies are fields that another render of the same would give other values:
	// an object has them when it is made, and what it has then is good.
	Varies []Varying

	// Secret: the objects, or what they were made with, hold what may not be
	// stored.
	Secret bool

	// Cacheable is false if the result depends on more than tree and options.
	Cacheable bool

	// Warnings are for the user: nothing failed, and something looks odd.
	Warnings []string

	set  object.Set // as rendered; nil if it came from a cache
	body *body
	open *opened // nil: it is packed
}

// opened is what is at hand of a body that was unpacked.
type opened struct {
	json []byte
	set  object.Set // as far as somebody has asked for it
}

// An Item says which object is at a place, and identifies its content.
type Item struct {
	Ref     object.Ref
	Version string // of its API: with Ref.Group, its apiVersion
	Digest  string // of its canonical JSON: 32 bytes, to compare
}

// isOf reports whether the result is good for a revision and a cluster.
func (r Result) isOf(revision string, c *Cluster) bool {
	return (!r.Revised || r.Revision == revision) && r.Answered == r.Asked.of(c)
}

// Varying are the fields that vary of an object, as JSON pointers.
func (r Result) Varying(ref object.Ref) []string {
	for _, v := range r.Varies {
		if v.Ref == ref {
			return v.Pointers
		}
	}
	return nil
}

// Objects returns the objects, in the order of Items. They may be shared, and
// may not be changed.
func (r Result) Objects() (object.Set, error) {
	if r.set != nil || len(r.Items) == 0 {
		return r.set, nil
	}
	b, err := r.body.json()
	if err != nil {
		return nil, err
	}
	set := make(object.Set, len(r.Items))
	for i := range set {
		if set[i], err = r.body.object(b, i); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Object returns the object at place i of Items. It may be shared, and may not
// be changed. Where more than one is wanted, Objects costs less.
func (r Result) Object(i int) (*unstructured.Unstructured, error) {
	if r.set != nil {
		return r.set[i], nil
	}
	if r.open == nil {
		b, err := r.body.json()
		if err != nil {
			return nil, err
		}
		return r.body.object(b, i)
	}
	if r.open.set[i] == nil {
		u, err := r.body.object(r.open.json, i)
		if err != nil {
			return nil, err
		}
		r.open.set[i] = u
	}
	return r.open.set[i], nil
}

// Packed returns the result without what can be made again from the rest: it
// takes less memory, and an object of it more time.
func (r Result) Packed() Result {
	r.set, r.open = nil, nil
	return r
}

// Opened is the reverse of Packed: each object is made once, when it is asked
// for. What it returns is not safe for concurrent use.
func (r Result) Opened() (Result, error) {
	if r.set != nil || r.open != nil {
		return r, nil
	}
	b, err := r.body.json()
	r.open = &opened{b, make(object.Set, len(r.Items))}
	return r, err
}

// A body is objects as compressed JSON, one after the other.
type body struct {
	packed []byte
	ends   []int // where each object ends in the JSON
}

func newResult(set object.Set, l limits) (Result, error) {
	var (
		all   bytes.Buffer
		items = make([]Item, len(set))
		ends  = make([]int, len(set))
		whole = sha256.New()
	)
	for i, u := range set {
		// Keys come out sorted: equal objects give equal bytes.
		b, err := json.Marshal(u.Object)
		if err != nil {
			return Result{}, Stall(BuildFailed, "", fmt.Errorf("object %d of the render is no JSON", i+1))
		}
		sum := sha256.Sum256(b)
		whole.Write(sum[:])
		items[i] = Item{
			Ref:     object.RefOf(u),
			Version: u.GroupVersionKind().Version,
			Digest:  string(sum[:]),
		}
		all.Write(b)
		ends[i] = all.Len()
		if int64(all.Len()) > l.written {
			return Result{}, tooLarge("the objects of this render are larger than %d MiB", l.written>>20)
		}
	}
	gather(items)
	return Result{
		Items:  items,
		Digest: "sha256:" + hex.EncodeToString(whole.Sum(nil)),
		set:    set,
		body:   &body{packed: pack(all.Bytes()), ends: ends},
	}, nil
}

// gather has items that are kept take less memory.
func gather(items []Item) {
	texts := make([]*string, 0, 6*len(items))
	for i := range items {
		it := &items[i]
		texts = append(texts, &it.Ref.Group, &it.Ref.Kind, &it.Ref.Namespace, &it.Ref.Name, &it.Version, &it.Digest)
	}
	text.Gather(texts)
}

var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // only for a level that doesn't exist
	}
	return w
}}

var unpackers = sync.Pool{New: func() any { return flate.NewReader(nil) }}

func pack(b []byte) []byte {
	var out bytes.Buffer
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	// Writing to memory doesn't fail.
	_, _ = w.Write(b)
	_ = w.Close()
	return bytes.Clone(out.Bytes())
}

func (b *body) json() ([]byte, error) {
	if len(b.ends) == 0 {
		return nil, nil
	}
	out := make([]byte, b.ends[len(b.ends)-1])
	r := unpackers.Get().(io.ReadCloser)
	defer unpackers.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(b.packed), nil); err != nil {
		return nil, fmt.Errorf("unpack a kept render: %w", err)
	}
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("unpack a kept render: %w", err)
	}
	return out, nil
}

func (b *body) object(all []byte, i int) (*unstructured.Unstructured, error) {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(all[start:b.ends[i]], &u.Object); err != nil {
		return nil, fmt.Errorf("decode a kept render: %w", err)
	}
	return u, nil
}

// size is about how many bytes of memory a kept result takes.
func (r Result) size() int64 {
	n := int64(len(r.body.packed)) + int64(len(r.Revision)) + 8*int64(len(r.body.ends)) + 120*int64(r.Trace.Len())
	for _, i := range r.Items {
		n += int64(reflect.TypeFor[Item]().Size()) + int64(len(i.Ref.Group)+len(i.Ref.Kind)+len(i.Ref.Namespace)+len(i.Ref.Name)+len(i.Version)+len(i.Digest))
	}
	return n
}
