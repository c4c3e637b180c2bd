package gittest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"plumb.dev/plumb/internal/webtest"
)

// A Fault answers a request in place of git, or reports that it does not.
type Fault = webtest.Fault

// Status answers everything with a status, and headers given in pairs.
func Status(code int, headers ...string) Fault { return webtest.Status(code, headers...) }

// LoginPage answers everything with 200 and a web page.
func LoginPage() Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>Please log in</title>")
		return true
	}
}

// Redirect sends everything to another place, by the same path and query.
func Redirect(code int, base string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		w.Header().Set("Location", base+r.URL.RequestURI())
		w.WriteHeader(code)
		return true
	}
}

// Respond answers everything with these bytes as the given type.
func Respond(contentType, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, body)
		return true
	}
}

// OnPack applies change to the answer of a fetch, and lets all else pass.
func OnPack(change func(w http.ResponseWriter, body []byte, r *http.Request)) Fault {
	return func(w http.ResponseWriter, r *http.Request, git http.Handler) bool {
		rec := httptest.NewRecorder()
		git.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if !isFetch(rec.Body.String()) {
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
			return true
		}
		w.Header().Del("Content-Length")
		change(w, body, r)
		return true
	}
}

// isFetch reports whether an answer holds a pack.
func isFetch(body string) bool { return strings.Contains(body, "PACK\x00\x00\x00\x02") }

// Truncate ends the connection after n bytes of a fetch, or after all but -n
// if n is negative.
func Truncate(n int) Fault {
	return OnPack(func(w http.ResponseWriter, body []byte, _ *http.Request) {
		end := n
		if n < 0 {
			end = max(0, len(body)+n)
		}
		_, _ = w.Write(body[:min(end, len(body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // cuts the connection without a log line
	})
}

// Flip changes one bit in the pack of a fetch, n bytes from its end.
func Flip(n int) Fault {
	return OnPack(func(w http.ResponseWriter, body []byte, _ *http.Request) {
		body = append([]byte(nil), body...)
		body[max(0, len(body)-n)] ^= 1
		_, _ = w.Write(body)
	})
}

// Stall sends the first n bytes of a fetch and then nothing, until the client
// goes away.
func Stall(n int) Fault {
	return OnPack(func(w http.ResponseWriter, body []byte, r *http.Request) {
		_, _ = w.Write(body[:min(n, len(body))])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}
