package gittest

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"plumb.dev/plumb/internal/webtest"
)

// A Server serves repositories by Git's smart HTTP protocol, fetch and push.
type Server struct {
	webtest.Front
	root string
	http *httptest.Server
	cgi  *cgi.Handler

	mu    sync.Mutex
	allow func(*http.Request) bool
	v0    bool
}

// A Request is what a client sent.
type Request = webtest.Request

// New returns a server over HTTP.
func New(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// NewTLS returns a server over HTTPS. If clients is set, a client must show a
// certificate that one of those signed.
func NewTLS(t testing.TB, clients *x509.CertPool) *Server {
	t.Helper()
	s := newServer(t)
	s.http = webtest.TLS(t, s, clients, false)
	return s
}

func newServer(t testing.TB) *Server {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatalf("git --exec-path: %v", err)
	}
	s := &Server{root: t.TempDir()}
	s.cgi = &cgi.Handler{
		Path:       strings.TrimSpace(string(out)) + "/git-http-backend",
		Env:        append(Env(), "GIT_PROJECT_ROOT="+s.root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=test"),
		InheritEnv: []string{"PATH"},
		Stderr:     io.Discard,
	}
	return s
}

// Repo returns a new, empty repository.
func (s *Server) Repo(t testing.TB, name string) *Repository {
	t.Helper()
	return newRepository(t, s, name)
}

// URL is the server's address.
func (s *Server) URL() string { return s.http.URL }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return webtest.CA(s.http) }

// Stop cuts all connections and takes no more.
func (s *Server) Stop() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// OldProtocol makes the server speak protocol v0, whatever clients ask for.
func (s *Server) OldProtocol() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v0 = true
}

// RequireBasic lets in only who shows this user and password.
func (s *Server) RequireBasic(user, password string) {
	s.require(func(r *http.Request) bool {
		u, p, ok := r.BasicAuth()
		return ok && u == user && p == password
	})
}

// RequireBearer lets in only who shows this token.
func (s *Server) RequireBearer(token string) {
	s.require(func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+token })
}

// require lets in only the requests that allow says yes to.
func (s *Server) require(allow func(*http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allow = allow
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<30))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil // a CGI program is told how much to read
	w = s.Count(w, Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: string(body)})
	s.mu.Lock()
	allow, v0 := s.allow, s.v0
	s.mu.Unlock()
	if allow != nil && !allow(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if v0 {
		r.Header.Del("Git-Protocol")
	}
	s.Answer(w, r, s.cgi)
}
