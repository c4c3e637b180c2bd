package ocitest

import (
	"net/http"
	"net/http/httptest"
	"strings"

	"plumb.dev/plumb/internal/webtest"
)

// A Fault answers a request in place of the registry, or reports that it does
// not.
type Fault = webtest.Fault

// Status answers everything with a status, and headers given in pairs.
func Status(code int, headers ...string) Fault { return webtest.Status(code, headers...) }

// Hang never answers.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		<-r.Context().Done()
		return true
	}
}

// At applies a fault only to requests for paths that contain part, and lets all
// else pass.
func At(part string, f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		return strings.Contains(r.URL.Path, part) && f(w, r, registry)
	}
}

// Change applies change to the body of each answer to a GET. The headers stay
// as they were.
func Change(change func(body []byte) []byte) Fault {
	return rewrite(func(w http.ResponseWriter, body []byte, code int) {
		body = change(append([]byte(nil), body...))
		w.WriteHeader(code)
		_, _ = w.Write(body)
	})
}

// Truncate ends the connection after n bytes of an answer.
func Truncate(n int) Fault {
	return rewrite(func(w http.ResponseWriter, body []byte, code int) {
		w.WriteHeader(code)
		_, _ = w.Write(body[:min(n, len(body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // cuts the connection without a log line
	})
}

// Header sets a header of what the registry answers, or takes it away if value
// is empty.
func Header(name, value string) Fault {
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		rec := httptest.NewRecorder()
		registry.ServeHTTP(rec, r)
		copyHeader(w, rec)
		if w.Header().Del(name); value != "" {
			w.Header().Set(name, value)
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
		return true
	}
}

func rewrite(answer func(w http.ResponseWriter, body []byte, code int)) Fault {
	return func(w http.ResponseWriter, r *http.Request, registry http.Handler) bool {
		if r.Method != http.MethodGet {
			return false
		}
		rec := httptest.NewRecorder()
		registry.ServeHTTP(rec, r)
		copyHeader(w, rec)
		answer(w, rec.Body.Bytes(), rec.Code)
		return true
	}
}

func copyHeader(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
}
