package gittest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// A Server serves repositories by Git's smart HTTP protocol, fetch and push.
type Server struct {
	root string
	http *httptest.Server
	cgi  *cgi.Handler

	mu       sync.Mutex
	fault    Fault
	allow    func(*http.Request) bool
	v0       bool
	requests []Request
	sent     int64
}

// A Request is what a client sent.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                string
}

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
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that fail are what tests are about
	if clients != nil {
		s.http.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	}
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
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
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

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

// Fail makes requests fail by f until it is called with nil.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Requests returns the requests since the last Reset.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Sent returns how many bytes of bodies were sent since the last Reset.
func (s *Server) Sent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Reset forgets requests and bytes.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.sent = nil, 0
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<30))
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength, r.TransferEncoding = int64(len(body)), nil // a CGI program is told how much to read
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), string(body)})
	fault, allow, v0 := s.fault, s.allow, s.v0
	s.mu.Unlock()

	w = &counter{w, s}
	if allow != nil && !allow(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if v0 {
		r.Header.Del("Git-Protocol")
	}
	if fault != nil && fault(w, r, s.cgi) {
		return
	}
	s.cgi.ServeHTTP(w, r)
}

type counter struct {
	http.ResponseWriter
	s *Server
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.s.mu.Lock()
	c.s.sent += int64(n)
	c.s.mu.Unlock()
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counter) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }
