// Package webtest is what servers for tests have in common: they count what is
// asked of them, and can be made to fail.
package webtest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// A Request is what a client sent.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                string // if the server keeps it
}

// A Fault answers a request in place of the server, or reports that it does not.
type Fault func(w http.ResponseWriter, r *http.Request, server http.Handler) bool

// Status answers everything with a status, and headers given in pairs.
func Status(code int, headers ...string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		http.Error(w, http.StatusText(code), code)
		return true
	}
}

// A Front stands before what a server does. The zero value has nothing to say. It
// is safe for concurrent use.
type Front struct {
	mu       sync.Mutex
	fault    Fault
	requests []Request
	sent     int64
}

// Fail makes requests fail by f until it is called with nil.
func (f *Front) Fail(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Requests returns the requests since the last Reset.
func (f *Front) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// Sent returns how many bytes of bodies were sent since the last Reset.
func (f *Front) Sent() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// Reset forgets requests and bytes.
func (f *Front) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests, f.sent = nil, 0
}

// Count notes a request, and returns what counts what is written in answer.
func (f *Front) Count(w http.ResponseWriter, is Request) http.ResponseWriter {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, is)
	return &counter{w, f}
}

// Answer answers a request as the server does, or as it was made to fail.
func (f *Front) Answer(w http.ResponseWriter, r *http.Request, server http.Handler) {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil || !fault(w, r, server) {
		server.ServeHTTP(w, r)
	}
}

type counter struct {
	http.ResponseWriter
	f *Front
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.f.mu.Lock()
	c.f.sent += int64(n)
	c.f.mu.Unlock()
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *counter) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// TLS serves over HTTPS. If clients is set, a client must show a certificate that one
// of those signed. old keeps to HTTP/1.1.
func TLS(t testing.TB, h http.Handler, clients *x509.CertPool, old bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = !old
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that fail are what tests are about
	if clients != nil {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// CA is the certificate to trust, in PEM.
func CA(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
