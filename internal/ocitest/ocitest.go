// Package ocitest serves artifacts of an OCI registry to tests.
//
// The registry is go-containerregistry's. What stands before it lets in who
// logs in, by a password or by a token from a realm, counts what is asked of it
// and sent, and can be made to fail in the ways that registries do.
//
// The same files give the same digests. What it starts ends with the test.
package ocitest

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"plumb.dev/plumb/internal/webtest"
)

// A Server is a registry.
type Server struct {
	webtest.Front
	http     *httptest.Server
	registry http.Handler

	mu       sync.Mutex
	user     string
	password string
	realm    string // where tokens are given out; empty: the password is shown to the registry itself
}

// A Request is what a client sent.
type Request = webtest.Request

// New returns a registry over HTTP.
func New(t testing.TB) *Server {
	t.Helper()
	s := newServer()
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// NewTLS returns a registry over HTTPS. If clients is set, a client must show a
// certificate that one of those signed.
func NewTLS(t testing.TB, clients *x509.CertPool) *Server {
	t.Helper()
	s := newServer()
	s.http = webtest.TLS(t, s, clients, false)
	return s
}

func newServer() *Server {
	return &Server{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
}

// Host is the registry's host and port, as they are in a reference.
func (s *Server) Host() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.http.URL, "https://"), "http://")
}

// URL is the registry's address.
func (s *Server) URL() string { return s.http.URL }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte { return webtest.CA(s.http) }

// RequireBasic lets in only who shows this user and password.
func (s *Server) RequireBasic(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password, s.realm = user, password, ""
}

// RequireToken lets in only who has a token, which this server gives out at
// /token to who shows the user and password there. Clients are sent to realm,
// or to this server if that is empty.
func (s *Server) RequireToken(user, password, realm string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if realm == "" {
		realm = s.http.URL + "/token"
	}
	s.user, s.password, s.realm = user, password, realm
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = s.Count(w, Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()})
	s.mu.Lock()
	user, password, realm := s.user, s.password, s.realm
	s.mu.Unlock()
	u, p, basic := r.BasicAuth()
	known := basic && u == user && p == password
	switch {
	case r.URL.Path == "/token":
		if !known {
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		fmt.Fprintf(w, `{"token":%q}`, token(user, password))
		return
	case password == "":
	case realm != "":
		if r.Header.Get("Authorization") != "Bearer "+token(user, password) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", realm, s.Host()))
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
	case !known:
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	s.Answer(w, r, s.registry)
}

// token is one that stands for a user and password; it has no place for them.
func token(user, password string) string { return digest([]byte(user + "\x00" + password))[7:] }

func refuse(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, reason)
}

// call has the registry itself do something, past what stands before it.
func (s *Server) call(t testing.TB, method, target, contentType string, body []byte, want int) http.Header {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	s.registry.ServeHTTP(w, r)
	if w.Code != want {
		t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
	}
	return w.Header()
}

// PutBlob stores a blob and returns its digest.
func (s *Server) PutBlob(t testing.TB, repo string, b []byte) string {
	t.Helper()
	d := digest(b)
	s.call(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+url.QueryEscape(d), "application/octet-stream", b, http.StatusCreated)
	return d
}

// PutManifest stores a manifest or index as it is, under a tag or its digest,
// and returns the digest.
func (s *Server) PutManifest(t testing.TB, repo, reference, mediaType string, b []byte) string {
	t.Helper()
	d := digest(b)
	if reference == "" {
		reference = d
	}
	s.call(t, http.MethodPut, "/v2/"+repo+"/manifests/"+reference, mediaType, b, http.StatusCreated)
	return d
}

// Delete removes a tag, or a manifest by its digest.
func (s *Server) Delete(t testing.TB, repo, reference string) {
	t.Helper()
	s.call(t, http.MethodDelete, "/v2/"+repo+"/manifests/"+reference, "", nil, http.StatusAccepted)
}
