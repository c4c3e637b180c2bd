package helm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/helm"
	"plumb.dev/plumb/source/sourcetest"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// A repository is a Helm repository on a server.
type repository struct {
	*httptest.Server
	mu       sync.Mutex
	index    string
	archives map[string][]byte // by path
	admit    string
	fault    sourcetest.Fault
	requests []string // paths, and what they were answered
	shown    []string // Authorization
	sent     int64
	zip      bool
	say      func(w http.ResponseWriter, r *http.Request, index string) bool // validators of the index; true: it is answered
	instead  http.HandlerFunc
}

func newRepository(t testing.TB) *repository {
	t.Helper()
	r := &repository{archives: make(map[string][]byte), say: etag}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// etag has the index told from another by an ETag.
func etag(w http.ResponseWriter, r *http.Request, index string) bool {
	sum := sha256.Sum256([]byte(index))
	tag := fmt.Sprintf("%q", hex.EncodeToString(sum[:8]))
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	return false
}

// dated has it told by a date, of which each index has another.
func dated() func(w http.ResponseWriter, r *http.Request, index string) bool {
	dates := make(map[string]string)
	return func(w http.ResponseWriter, r *http.Request, index string) bool {
		if dates[index] == "" {
			dates[index] = time.Unix(1_800_000_000+int64(len(dates)), 0).UTC().Format(http.TimeFormat)
		}
		w.Header().Set("Last-Modified", dates[index])
		if r.Header.Get("If-Modified-Since") == dates[index] {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		return false
	}
}

func untold(http.ResponseWriter, *http.Request, string) bool { return false }

type counted struct {
	http.ResponseWriter
	n    int64
	code int
}

func (c *counted) WriteHeader(code int) { c.code = code; c.ResponseWriter.WriteHeader(code) }

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

func (c *counted) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

func (r *repository) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	c := &counted{ResponseWriter: w, code: http.StatusOK}
	r.mu.Lock()
	r.shown = append(r.shown, req.Header.Get("Authorization"))
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.requests = append(r.requests, fmt.Sprint(req.URL.Path, " ", c.code))
		r.sent += c.n
		r.mu.Unlock()
	}()
	r.serve(c, req)
}

func (r *repository) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	fault, admit, index, instead := r.fault, r.admit, r.index, r.instead
	body, ok := r.archives[req.URL.Path]
	r.mu.Unlock()
	_, password, _ := req.BasicAuth()
	switch {
	case instead != nil:
		instead(w, req)
		return
	case fault == sourcetest.Down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case fault == sourcetest.Hung:
		<-req.Context().Done()
		return
	case admit != "" && admit != password:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case req.URL.Path == "/charts/index.yaml":
		r.mu.Lock()
		answered := r.say(w, req, index)
		r.mu.Unlock()
		if answered {
			return
		}
		body = []byte(index)
		if r.zip && req.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			body = zip(body)
		}
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case fault == sourcetest.Wrong:
		body = bytes.Clone(body)
		body[len(body)/2] ^= 0x10
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if fault == sourcetest.Cut {
		w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	w.Write(body)
}

func (r *repository) set(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	do()
}

// taken are the requests since the last call, and what was shown with them.
func (r *repository) taken() (requests, shown []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests, shown = r.requests, r.shown
	r.requests, r.shown = nil, nil
	return requests, shown
}

func (r *repository) url() string { return r.URL + "/charts" }

func zip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// pack makes an archive of files.
func pack(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o644})
		io.WriteString(w, files[name])
	}
	w.Close()
	return zip(b.Bytes())
}

// chart makes the archive of a chart.
func chart(name, version string, files map[string]string) []byte {
	all := map[string]string{name + "/Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	for file, content := range files {
		all[name+"/"+file] = content
	}
	return pack(all)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A listing is one version in an index.
type listing struct{ name, version, url, digest string }

func indexOf(list ...listing) string {
	byName := make(map[string][]listing)
	for _, l := range list {
		byName[l.name] = append(byName[l.name], l)
	}
	var b strings.Builder
	b.WriteString("apiVersion: v1\nentries:\n")
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		fmt.Fprintf(&b, "  %s:\n", name)
		for _, l := range byName[name] {
			fmt.Fprintf(&b, "  - apiVersion: v2\n    created: \"2026-01-01T00:00:00Z\"\n    description: a chart\n")
			if l.digest != "" {
				fmt.Fprintf(&b, "    digest: %s\n", l.digest)
			}
			fmt.Fprintf(&b, "    name: %s\n    urls:\n    - %s\n    version: %s\n", name, l.url, l.version)
		}
	}
	b.WriteString("generated: \"2026-01-01T00:00:00Z\"\n")
	return b.String()
}

// add publishes a chart beside those that are there.
func (r *repository) publish(list ...published) {
	var all []listing
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range list {
		b := chart(p.name, p.version, p.files)
		file := fmt.Sprintf("%s-%s.tgz", p.name, p.version)
		r.archives["/charts/"+file] = b
		all = append(all, listing{p.name, p.version, file, digest(b)})
	}
	r.index = indexOf(all...)
}

type published struct {
	name, version string
	files         map[string]string
}

func TestChart(t *testing.T) {
	for name, set := range map[string]func(*repository){
		"with an ETag":      func(*repository) {},
		"with a date":       func(r *repository) { r.say = dated() },
		"without either":    func(r *repository) { r.say = untold },
		"with an index.zip": func(r *repository) { r.zip = true },
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Server {
				s := &server{repository: newRepository(t), t: t, dir: t.TempDir()}
				set(s.repository)
				s.open()
				return s
			})
		})
	}
}

// A server is a chart of a repository.
type server struct {
	*repository
	t     *testing.T
	dir   string
	n     int
	files *archive.Store
	store *helm.Store
}

func (s *server) open() {
	s.t.Helper()
	var err error
	if s.files, err = archive.Open(s.dir, archive.Limits{}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.files.Close() })
	s.store = helm.NewStore(s.files, helm.Options{Unpacked: archive.Limits{FileBytes: int64(s.MaxFile())}})
	s.t.Cleanup(s.store.Close)
}

func (s *server) Publish(_ testing.TB, files map[string]string) {
	s.n++
	s.publish(published{"app", fmt.Sprintf("0.%d.0", s.n), files})
}

func (s *server) Withdraw(testing.TB) { s.set(func() { s.index = indexOf() }) }

func (s *server) Admit(password string) { s.set(func() { s.admit = password }) }

func (s *server) Behave(f sourcetest.Fault) { s.set(func() { s.fault = f }) }

func (s *server) MaxFile() int { return 100_000 }

func (s *server) Store() source.Store { return s.files }

func (s *server) Restart(testing.TB) {
	s.store.Close()
	s.files.Close()
	s.open()
}

func (s *server) Damage(t testing.TB) {
	t.Helper()
	kept, err := filepath.Glob(filepath.Join(s.dir, "*", "*.files"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d contents are there: %v", len(kept), err)
	}
	for _, name := range kept {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(b); i += 50 {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *server) Asked() (int, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, sent := len(s.requests), s.sent
	s.requests, s.sent = nil, 0
	return n, sent
}

func (s *server) Fetcher(password string) source.Fetcher {
	r := helm.Repository{URL: s.url()}
	if password != "" {
		r.Credentials = web.Credentials{Username: "ada", Password: password}
	}
	return bare{helm.Chart{Store: s.store, Repo: r, Name: "app"}}
}

// bare is a chart without its Chart.yaml, which a test has not published.
type bare struct{ helm.Chart }

func (b bare) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	return without(b.Chart.Fetch(ctx, r))
}

func (b bare) Open(r source.Revision) (*source.Content, error) { return without(b.Chart.Open(r)) }

func without(c *source.Content, err error) (*source.Content, error) {
	if err != nil {
		return nil, err
	}
	return &source.Content{Tree: hiding{c.Tree}, Broken: c.Broken}, nil
}

type hiding struct{ tree.Tree }

func (h hiding) Lookup(name string) (tree.Entry, error) {
	e, err := h.Tree.Lookup(name)
	if name == "." && err == nil {
		entries, err := h.ReadDir(".")
		e.ID = tree.DirID(entries)
		return e, err
	}
	return e, err
}

func (h hiding) ReadDir(name string) ([]tree.Entry, error) {
	entries, err := h.Tree.ReadDir(name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e tree.Entry) bool { return e.Name == "Chart.yaml" })
	}
	return entries, err
}
