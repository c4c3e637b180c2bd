// Package charttest serves Helm charts to tests: as a Helm repository over HTTP,
// and as artifacts of an OCI registry at the same address.
//
// Charts are packed from trees, and equal files give equal archives, so that the
// same steps give the same digests. A [Server] counts what is asked of it and
// can be made to fail in the ways that servers do. The registry is only read.
package charttest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/webtest"
	"plumb.dev/plumb/tree"
)

// A Server serves charts: URL()/index.yaml is the repository's index, and
// OCI()/NAME the artifact of a chart, tagged with its versions.
type Server struct {
	webtest.Front
	http *httptest.Server

	mu     sync.Mutex
	charts []Chart
	change func(index map[string]any)
	allow  func(*http.Request) bool
}

// New returns a server over HTTP.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// NewTLS returns a server over HTTPS.
func NewTLS(t testing.TB) *Server {
	t.Helper()
	s := &Server{}
	s.http = webtest.TLS(t, s, nil, false)
	return s
}

// URL is the repository's address.
func (s *Server) URL() string { return s.http.URL }

// OCI is the address of the charts in the registry.
func (s *Server) OCI() string { return "oci://" + s.http.Listener.Addr().String() + "/charts" }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return webtest.CA(s.http) }

// Pool is what trusts the server.
func (s *Server) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.http.Certificate())
	return pool
}

// Add packs the chart in a directory of a tree, and serves it.
func (s *Server) Add(t testing.TB, at tree.Tree, dir string) Chart {
	t.Helper()
	c := Pack(t, at, dir)
	s.Serve(c)
	return c
}

// Serve serves a chart, in place of one with its name and version.
func (s *Server) Serve(c Chart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charts = append(slices.DeleteFunc(slices.Clone(s.charts), c.is), c)
}

// Withdraw serves a chart no more.
func (s *Server) Withdraw(c Chart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charts = slices.DeleteFunc(slices.Clone(s.charts), c.is)
}

func (c Chart) is(o Chart) bool { return c.Name == o.Name && c.Version == o.Version }

// File is what the archive is called.
func (c Chart) File() string { return c.Name + "-" + c.Version + ".tgz" }

// Digest is that of the archive, in hexadecimal digits.
func (c Chart) Digest() string { return digest(c.Archive) }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ChangeIndex has change change the index before it is served.
func (s *Server) ChangeIndex(change func(index map[string]any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

// RequireBasic lets in only who shows this user and password.
func (s *Server) RequireBasic(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = func(r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		return ok && u == user && p == password
	}
}

// RedirectArchives sends who asks for an archive to another server.
func (s *Server) RedirectArchives(base string) {
	away := gittest.Redirect(http.StatusFound, base)
	s.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return strings.HasSuffix(r.URL.Path, ".tgz") && away(w, r, next)
	})
}

// Index is the index as it is served.
func (s *Server) Index(t testing.TB) []byte {
	t.Helper()
	s.mu.Lock()
	charts, change := s.charts, s.change
	s.mu.Unlock()
	b, err := yaml.Marshal(indexOf(charts, change))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// IndexDigest is the digest of the index, with its algorithm.
func (s *Server) IndexDigest(t testing.TB) string {
	t.Helper()
	return "sha256:" + digest(s.Index(t))
}

// never is when charts are said to be made.
var never = time.Unix(0, 0).UTC().Format(time.RFC3339)

func indexOf(charts []Chart, change func(map[string]any)) map[string]any {
	entries := map[string]any{}
	for _, c := range charts {
		entry := maps.Clone(c.Metadata)
		entry["urls"] = []any{c.File()}
		entry["digest"] = c.Digest()
		entry["created"] = never
		of, _ := entries[c.Name].([]any)
		entries[c.Name] = append(of, entry)
	}
	index := map[string]any{"apiVersion": "v1", "generated": never, "entries": entries}
	if change != nil {
		change(index)
	}
	return index
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = s.Count(w, webtest.Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()})
	s.mu.Lock()
	allow, charts, change := s.allow, s.charts, s.change
	s.mu.Unlock()
	if allow != nil && !allow(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	s.Answer(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { respond(w, r, charts, change) }))
}

func respond(w http.ResponseWriter, r *http.Request, charts []Chart, change func(map[string]any)) {
	send := func(kind string, content []byte) {
		w.Header().Set("Content-Type", kind)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok {
		kind, content, ok := registry(rest, charts)
		if !ok {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"there is none"}]}`)
			return
		}
		w.Header().Set("Docker-Content-Digest", "sha256:"+digest(content))
		send(kind, content)
		return
	}
	if r.URL.Path == "/index.yaml" {
		b, err := yaml.Marshal(indexOf(charts, change))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("ETag", `"`+digest(b)+`"`)
		send("application/yaml", b)
		return
	}
	for _, c := range charts {
		if r.URL.Path == "/"+c.File() {
			send("application/gzip", c.Archive)
			return
		}
	}
	http.NotFound(w, r)
}

// Media types of a chart in a registry.
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	ConfigType   = "application/vnd.cncf.helm.config.v1+json"
	ContentType  = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Tag is that of the chart in the registry, where a + can't be.
func (c Chart) Tag() string { return strings.ReplaceAll(c.Version, "+", "_") }

// Manifest is what the registry has at the chart's tag.
func (c Chart) Manifest() []byte {
	of := func(kind string, b []byte) map[string]any {
		return map[string]any{"mediaType": kind, "digest": "sha256:" + digest(b), "size": len(b)}
	}
	return encoded(map[string]any{
		"schemaVersion": 2, "mediaType": ManifestType,
		"config":      of(ConfigType, c.config()),
		"layers":      []any{of(ContentType, c.Archive)},
		"annotations": map[string]any{"org.opencontainers.image.title": c.Name, "org.opencontainers.image.version": c.Version},
	})
}

func (c Chart) config() []byte { return encoded(c.Metadata) }

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is from YAML
	}
	return b
}

// registry is what a registry of charts has at a path below /v2/.
func registry(at string, charts []Chart) (kind string, content []byte, ok bool) {
	if at == "" {
		return "application/json", []byte("{}"), true
	}
	parts := strings.Split(at, "/")
	if len(parts) != 4 || parts[0] != "charts" {
		return "", nil, false
	}
	var tags []string
	for _, c := range charts {
		if c.Name != parts[1] {
			continue
		}
		tags = append(tags, c.Tag())
		manifest := c.Manifest()
		switch want := parts[3]; parts[2] {
		case "manifests":
			if want == c.Tag() || want == "sha256:"+digest(manifest) {
				return ManifestType, manifest, true
			}
		case "blobs":
			for _, b := range [][]byte{c.Archive, c.config()} {
				if want == "sha256:"+digest(b) {
					return "application/octet-stream", b, true
				}
			}
		}
	}
	if parts[2] == "tags" && parts[3] == "list" && len(tags) > 0 {
		slices.Sort(tags)
		return "application/json", encoded(map[string]any{"name": "charts/" + parts[1], "tags": tags}), true
	}
	return "", nil, false
}
