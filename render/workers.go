package render

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/lru"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// Workers render in processes of their own, see [worker.Pool]. What a
// repository holds is read, parsed and built there; variables are replaced
// here, so that no value of a Secret is where a repository could get at it.
type Workers struct {
	pool   *worker.Pool
	limits Bounds

	mu     sync.Mutex
	failed *lru.Cache[string, *failure]
}

// Bounds are those of a process, as a message names them.
type Bounds struct {
	Memory   int64
	Together int64 // of all of them
	Time     time.Duration
	Hint     string // how to raise them
}

// NewWorkers returns workers on a pool.
func NewWorkers(pool *worker.Pool, b Bounds) *Workers {
	return &Workers{pool: pool, limits: b, failed: lru.New[string, *failure](4 * maxFailures)}
}

// maxFailures is how many renders are remembered that ended their worker.
const maxFailures = 1000

// A failure is a render that ended its worker. It would again: as long as
// nothing has changed that it may have seen, it is not tried before a time.
type failure struct {
	err   *fault.Error
	seen  tree.Trace
	pause time.Duration
	until time.Time
}

// Pauses before a render that ended its worker is tried again.
const (
	firstPause = time.Minute
	lastPause  = time.Hour
)

// A request is what a worker is to build, or to say where a field is.
type request struct {
	Path          string
	Revision      string
	GenerateNames bool
	Builder       []byte // as JSON
	Version       string // of Kubernetes, if the builder asks
	APIs          []string
	Place         *place
}

type place struct {
	Ref   object.Ref
	Field []string
}

// A response is what it has built.
type response struct {
	Fault    *spoken
	Needs    []Need
	Objects  [][]byte // as JSON, keys sorted
	Kind     string
	Own      string
	Secret   bool
	Foreign  bool
	Revised  bool
	Asked    Asked
	Varies   []Varying
	Warnings []string
	Trace    []tree.Sighting
	Place    string
}

// A spoken is a fault on its way between processes.
type spoken struct {
	Next   fault.Next
	Reason fault.Reason
	Hint   string
	Object object.Ref
	Text   string
	Quote  bool
}

func speak(err error) *spoken {
	f := fault.Of(err)
	s := &spoken{Next: f.Next, Reason: f.Reason, Text: err.Error()}
	if known := (*fault.Error)(nil); errors.As(err, &known) && error(known) == err { //nolint:errorlint // nothing is around it
		s.Hint, s.Object, s.Text = f.Hint, f.Object, f.Err.Error()
	}
	if quote := Quote(""); errors.As(err, &quote) {
		s.Text, s.Quote = string(quote), true
	}
	return s
}

func (s *spoken) error() error {
	f := &fault.Error{Next: s.Next, Reason: s.Reason, Hint: s.Hint, Object: s.Object, Err: errors.New(s.Text)}
	if s.Quote {
		f.Err = Quote(s.Text)
	}
	return f
}

// Job returns what does the jobs of a kind of builder in a worker.
func Job(decode func([]byte) (Builder, error)) worker.Func {
	return func(ctx context.Context, t tree.Tree, input []byte) ([]byte, bool) {
		r, spent := answer(ctx, t, input, decode)
		b, err := cbor.Marshal(r)
		if err != nil {
			b, err = cbor.Marshal(response{Fault: speak(fmt.Errorf("encode what was built: %w", err))})
		}
		if err != nil {
			panic(err) // text can be encoded
		}
		return b, spent
	}
}

func answer(ctx context.Context, t tree.Tree, input []byte, decode func([]byte) (Builder, error)) (r response, spent bool) {
	var q request
	if err := cbor.Unmarshal(input, &q); err != nil {
		return response{Fault: speak(err)}, true
	}
	o := Options{Path: q.Path, Revision: q.Revision, GenerateNames: q.GenerateNames, Cluster: NewCluster(q.Version, q.APIs)}
	var err error
	if o.Builder, err = decode(q.Builder); err != nil {
		return response{Fault: speak(err)}, true
	}
	built, trace, err := build(ctx, t, o)
	needs := (*Needs)(nil)
	switch {
	case errors.As(err, &needs):
		return response{Needs: needs.All}, built.Spent
	case err != nil:
		return response{Fault: speak(err)}, built.Spent
	case q.Place != nil:
		return response{Place: built.placeOf(q.Place.Ref, q.Place.Field)}, built.Spent
	}
	r = response{
		Kind: built.Kind, Own: built.Own, Secret: built.Secret, Foreign: built.Foreign, Revised: built.Revised, Asked: built.Asked, Varies: built.Varies,
		Warnings: built.Warnings, Trace: trace.Sightings(),
	}
	written := 0
	for i, u := range built.Objects {
		b, err := json.Marshal(u.Object)
		if err != nil {
			return response{Fault: speak(Stall(BuildFailed, "", fmt.Errorf("object %d of the render is no JSON", i+1)))}, built.Spent
		}
		if written += len(b); written > MostWritten {
			return response{Fault: speak(tooLarge("the objects of this render are larger than %d MiB", MostWritten>>20))}, built.Spent
		}
		r.Objects = append(r.Objects, b)
	}
	return r, built.Spent
}

// Objects is [Objects], in a process of its own.
func (w *Workers) Objects(ctx context.Context, t tree.Tree, o Options) (Result, error) {
	return resultOf(ctx, o, defaultLimits, func() (Built, tree.Trace, error) { return w.build(ctx, t, o) })
}

// build has a worker build.
func (w *Workers) build(ctx context.Context, t tree.Tree, o Options) (b Built, trace tree.Trace, err error) {
	key := o.Digest()
	if err := w.before(key, t); err != nil {
		return b, trace, err
	}
	r, err := w.ask(ctx, t, o, nil)
	if err != nil {
		return b, trace, w.after(key, o, err)
	}
	w.failed.Remove(key)
	trace = tree.TraceOf(r.Trace)
	if _, ok := trace.Holds(t); !ok {
		return b, trace, errors.New("the worker has seen another tree")
	}
	b = Built{
		Kind: r.Kind, Own: r.Own, Secret: r.Secret, Foreign: r.Foreign, Revised: r.Revised, Asked: r.Asked, Varies: r.Varies, Warnings: r.Warnings,
		Objects: make([]*unstructured.Unstructured, len(r.Objects)),
	}
	for i, text := range r.Objects {
		b.Objects[i] = &unstructured.Unstructured{}
		if err := utiljson.Unmarshal(text, &b.Objects[i].Object); err != nil {
			return b, trace, fmt.Errorf("decode what a worker has built: %w", err)
		}
	}
	b.Place = func(ref object.Ref, field []string) string {
		// It is for a message alone: built once more, which is rare.
		r, err := w.ask(ctx, t, o, &place{ref, field})
		if err != nil {
			return ""
		}
		return r.Place
	}
	return b, trace, nil
}

// ask has a worker answer a request. What is a fault there is one here.
func (w *Workers) ask(ctx context.Context, t tree.Tree, o Options, at *place) (r response, err error) {
	q := request{Path: o.Path, Revision: o.Revision, GenerateNames: o.GenerateNames, Place: at}
	if o.Builder.AsksCluster() {
		q.Version, q.APIs = o.Cluster.Version(), o.Cluster.APIs()
	}
	if q.Builder, err = json.Marshal(o.Builder); err != nil {
		return r, err
	}
	input, err := cbor.Marshal(q)
	if err != nil {
		return r, err
	}
	out, err := w.pool.Do(ctx, worker.Job{
		Kind: o.Builder.Kind(), Input: input, Tree: t, Dir: o.Path, Probes: o.Builder.Probes(), Open: o.Builder.Open(),
	})
	if err != nil {
		return r, err
	}
	if err := responses.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("decode what a worker says: %w", err)
	}
	if r.Fault != nil {
		return r, r.Fault.error()
	}
	if len(r.Needs) > 0 {
		return r, &Needs{r.Needs}
	}
	return r, nil
}

// responses decodes what a worker says: of objects and names, no more than a
// render may have.
var responses = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 10, MaxNestedLevels: 8}.DecMode()
	if err != nil {
		panic(err) // only for options that don't exist
	}
	return m
}()

// before returns the error of a render that would end its worker again.
func (w *Workers) before(key string, t tree.Tree) error {
	f, ok := w.failed.Get(key)
	if !ok {
		return nil
	}
	left := time.Until(f.until)
	if left <= 0 {
		return nil
	}
	if _, holds := f.seen.Holds(t); !holds {
		return nil
	}
	err := *f.err
	if err.Next == fault.Retry {
		err.After = left
	}
	return &err
}

// after remembers a render that has ended its worker, and returns its fault.
func (w *Workers) after(key string, o Options, err error) error {
	var ended *worker.Failure
	if !errors.As(err, &ended) {
		return err
	}
	f := &failure{err: w.fault(o, ended), seen: ended.Seen, pause: firstPause}
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.failed.Get(key); ok {
		f.pause = min(2*last.pause, lastPause)
	}
	f.until = time.Now().Add(f.pause)
	if f.err.Next == fault.Retry {
		f.err.After = f.pause
	}
	w.failed.Add(key, f, 4)
	return f.err
}

// Reasons of a render that ended its process, or for which it was ended.
const (
	// TooSlow is that of one that took longer than it may take.
	TooSlow fault.Reason = "RenderTooSlow"
	// OutOfMemory is that of one that had more memory than it may have.
	OutOfMemory fault.Reason = "RenderOutOfMemory"
	// Crashed is that of one whose process ended.
	Crashed fault.Reason = "RenderCrashed"
)

// fault says what became of a render, and what can be done about it.
func (w *Workers) fault(o Options, f *worker.Failure) *fault.Error {
	at := path.Clean(o.Path)
	switch f.Cause {
	case worker.Time:
		return tooSlow("rendering %q takes longer than %s and was ended", at, w.limits.Time)
	case worker.Memory:
		return &fault.Error{
			Next: fault.Stall, Reason: OutOfMemory, Hint: "make several units of it, or look for what makes it large; " + w.limits.Hint,
			Err: fmt.Errorf("rendering %q takes more than %d MiB of memory and was ended", at, w.limits.Memory>>20),
		}
	case worker.Crowded:
		return &fault.Error{
			Next: fault.Retry, Reason: OutOfMemory, Hint: "it is tried again; " + w.limits.Hint,
			Err: fmt.Errorf("rendering %q was ended, as all that is rendered takes more than %d MiB of memory, and it has most", at, w.limits.Together>>20),
		}
	case worker.Killed:
		// The kernel does so when memory runs out, and so may a person.
		return &fault.Error{
			Next: fault.Retry, Reason: Crashed, Hint: "if it happens again, look for what makes it large, and give plumb more memory",
			Err: fmt.Errorf("rendering %q was ended from outside: %w", at, f),
		}
	}
	return &fault.Error{
		Next: fault.Stall, Reason: Crashed, Hint: "look for what is nested or repeated without end",
		Err: fmt.Errorf("rendering %q ended the process that rendered: %w", at, f),
	}
}

// Processes returns the numbers of the processes that there are.
func (w *Workers) Processes() []int { return w.pool.Processes() }
