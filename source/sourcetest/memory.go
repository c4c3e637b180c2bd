package sourcetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// Timeout is how long a Memory that hangs is waited for.
const Timeout = time.Minute

// A Memory is a server with one source, and a store, in memory: for tests of
// what is above, on a clock of their own.
type Memory struct {
	url  string
	disk *Disk

	mu       sync.Mutex
	files    map[string]string // nil: the reference stands for nothing
	admit    string            // empty: whoever asks
	fault    Fault
	mended   chan struct{} // closed when fault changes
	after    time.Duration
	requests int
	sent     int64
}

// A Disk is where Memories keep what was fetched.
type Disk struct {
	mu   sync.Mutex
	kept map[string]map[string]*kept // by place and revision
}

type kept struct {
	files   map[string]string
	readers map[string]bool // passwords
	state   *health
}

// health is shared by all trees of one content.
type health struct {
	mu             sync.Mutex
	damaged, found bool
}

// NewMemory returns a server that has nothing yet at its URL.
func NewMemory(url string, disk *Disk) *Memory {
	return &Memory{url: url, disk: disk, mended: make(chan struct{})}
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{kept: make(map[string]map[string]*kept)} }

// Places returns what is kept.
func (d *Disk) Places() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.kept))
}

// Sweep implements [source.Store].
func (d *Disk) Sweep(used func(place string) bool) error {
	for _, place := range d.Places() {
		if !used(place) {
			d.mu.Lock()
			delete(d.kept, place)
			d.mu.Unlock()
		}
	}
	return nil
}

// Publish implements [Server].
func (m *Memory) Publish(_ testing.TB, files map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = maps.Clone(files)
}

// Withdraw implements [Server].
func (m *Memory) Withdraw(testing.TB) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = nil
}

// Admit implements [Server].
func (m *Memory) Admit(password string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.admit = password
}

// Behave implements [Server].
func (m *Memory) Behave(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
	close(m.mended)
	m.mended = make(chan struct{})
}

// Ask has the server, when it is Down, say after how long to come back.
func (m *Memory) Ask(after time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = after
}

// MaxFile implements [Server].
func (m *Memory) MaxFile() int { return 100_000 }

// Store implements [Server].
func (m *Memory) Store() source.Store { return m.disk }

// Restart implements [Server]: all that counts is on disk.
func (m *Memory) Restart(testing.TB) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	for _, place := range m.disk.kept {
		for _, k := range place {
			old := k.state
			old.mu.Lock()
			k.state = &health{damaged: old.damaged}
			old.mu.Unlock()
		}
	}
}

// Damage implements [Server].
func (m *Memory) Damage(testing.TB) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	for _, place := range m.disk.kept {
		for _, k := range place {
			k.state.mu.Lock()
			k.state.damaged = true
			k.state.mu.Unlock()
		}
	}
}

// Asked implements [Server].
func (m *Memory) Asked() (requests int, sent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	requests, sent = m.requests, m.sent
	m.requests, m.sent = 0, 0
	return requests, sent
}

// Fetcher implements [Server].
func (m *Memory) Fetcher(password string) source.Fetcher { return memoryFetcher{m, password} }

// ask is a request, which the server answers as it behaves.
func (m *Memory) ask(ctx context.Context, password string) (files map[string]string, f Fault, err error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	m.mu.Lock()
	m.requests++
	m.mu.Unlock()
	for {
		m.mu.Lock()
		files, f, mended := m.files, m.fault, m.mended
		admitted, after := m.admit == "" || m.admit == password, m.after
		m.mu.Unlock()
		switch {
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return nil, f, failure(source.ReasonTimeout, "%s does not answer", m.url)
		case ctx.Err() != nil:
			return nil, f, context.Cause(ctx)
		case f == Down:
			e := failure("ServerError", "%s answers that it can't", m.url)
			e.After = after
			return nil, f, e
		case f == Hung:
			select {
			case <-ctx.Done():
			case <-mended:
			}
		case !admitted:
			return nil, f, failure("AuthenticationFailed", "%s lets in somebody else", m.url)
		case files == nil:
			return nil, f, failure("ReferenceNotFound", "%s has nothing", m.url)
		default:
			return files, f, nil
		}
	}
}

func failure(reason fault.Reason, format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Retry, Reason: reason, Err: fmt.Errorf(format, args...)}
}

func revisionOf(files map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %q\n", name, files[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

type memoryFetcher struct {
	m        *Memory
	password string
}

func (f memoryFetcher) Key() string {
	sum := sha256.Sum256([]byte(f.m.url + "\x00" + f.password))
	return hex.EncodeToString(sum[:])
}

func (f memoryFetcher) URL() string   { return f.m.url }
func (f memoryFetcher) Place() string { return "place of " + f.m.url }

func (f memoryFetcher) Server() string {
	u, err := url.Parse(f.m.url)
	if err != nil {
		return f.m.url
	}
	return u.Host
}

func (f memoryFetcher) String() string   { return f.m.url }
func (f memoryFetcher) GoString() string { return f.m.url }

func (f memoryFetcher) Resolve(ctx context.Context) (source.Revision, error) {
	files, _, err := f.m.ask(ctx, f.password)
	if err != nil {
		return source.Revision{}, err
	}
	r := revisionOf(files)
	d := f.m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.kept[f.Place()][r]; k != nil {
		k.readers[f.password] = true
	}
	return source.Revision{Name: r}, nil
}

func (f memoryFetcher) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	if c, err := f.Open(r); err == nil && !c.Broken() {
		return c, nil
	}
	files, fault, err := f.m.ask(ctx, f.password)
	if err != nil {
		return nil, err
	}
	d := f.m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.kept[f.Place()][r.Name]; k != nil && !k.state.broken() {
		k.readers[f.password] = true // another fetched it, or just has
		return k.content(), nil
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for name, content := range files {
		if f.m.sent += int64(len(content)); len(content) > f.m.MaxFile() {
			return nil, failure("SourceTooLarge", "%s is too large", name)
		}
	}
	switch {
	case fault == Cut:
		return nil, failure("ConnectionFailed", "the answer was cut")
	case fault == Wrong, revisionOf(files) != r.Name:
		return nil, failure("SourceCorrupt", "%s is not what was sent", r.Name)
	}
	k := &kept{files: files, readers: map[string]bool{f.password: true}, state: &health{}}
	if d.kept[f.Place()] == nil {
		d.kept[f.Place()] = make(map[string]*kept)
	}
	d.kept[f.Place()][r.Name] = k
	return k.content(), nil
}

func (f memoryFetcher) Open(r source.Revision) (*source.Content, error) {
	d := f.m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kept[f.Place()][r.Name]
	if k == nil || !k.readers[f.password] {
		return nil, failure(source.ReasonNotFetched, "%s of %s was not fetched", r.Name, f.m.url)
	}
	return k.content(), nil
}

func (k *kept) content() *source.Content {
	state := k.state
	return &source.Content{Tree: &checked{tree.FromFiles(k.files), state}, Broken: state.broken}
}

func (h *health) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found
}

// A checked tree finds out when it is read that it was damaged.
type checked struct {
	tree.Tree
	state *health
}

func (c *checked) ReadFile(name string) ([]byte, error) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	if c.state.damaged {
		c.state.found = true
		return nil, &fs.PathError{Op: "read", Path: name, Err: failure("SourceCorrupt", "its content is another")}
	}
	return c.Tree.ReadFile(name)
}
