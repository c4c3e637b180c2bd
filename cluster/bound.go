package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/fault"
)

// A limit bounds one answer.
type limit struct {
	first time.Duration // until its head is there
	whole time.Duration // until its end; 0: it has none
	bytes int64
}

// bounds are the limits of each kind of request.
type bounds struct {
	discovery limit // which kinds there are: /api, /apis, /openapi
	read      limit // objects, and lists of them
	write     limit // which admission webhooks may hold for 30 s, and the server for 60
	watch     limit // bytes are those of one connection
	frame     int64 // bytes of one event of a watch
	// pause is how long a server is left alone that has just not answered.
	pause time.Duration
}

var standard = bounds{
	discovery: limit{10 * time.Second, 20 * time.Second, 16 << 20},
	read:      limit{30 * time.Second, 60 * time.Second, 256 << 20},
	write:     limit{65 * time.Second, 75 * time.Second, 16 << 20},
	watch:     limit{30 * time.Second, 0, 256 << 20},
	frame:     16 << 20,
	pause:     5 * time.Second,
}

func (b bounds) of(r *http.Request) limit {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return b.write
	case isWatch(r):
		return b.watch
	case isDiscovery(r.URL.Path):
		return b.discovery
	}
	return b.read
}

func isWatch(r *http.Request) bool {
	on, err := strconv.ParseBool(r.URL.Query().Get("watch"))
	return err == nil && on
}

// isDiscovery reports whether a path is of an API rather than of objects: /api,
// /api/v1, /apis, /apis/apps, /apis/apps/v1, /openapi/…, /version.
func isDiscovery(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts { // a server may be below a path of its own
		switch n := len(parts) - i; {
		case p == "openapi", p == "version" && n == 1:
			return true
		case p == "api":
			return n <= 2
		case p == "apis":
			return n <= 3
		}
	}
	return false
}

// A bound is what all requests to a server go through that a user named. It
// holds nobody up for long, sends no more than it may, and leads nowhere else.
type bound struct {
	bounds
	silence
	url *url.URL
}

func newBound(host string, b bounds) (*bound, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, errors.New("the address of the cluster is not a URL")
	}
	return &bound{bounds: b, url: u, silence: silence{server: u.Redacted(), pause: b.pause}}, nil
}

// wrap is for rest.Config.Wrap.
func (b *bound) wrap(next http.RoundTripper) http.RoundTripper { return boundTransport{b, next} }

type boundTransport struct {
	*bound
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != t.url.Scheme || r.URL.Host != t.url.Host {
		// Credentials would go along.
		return nil, &fault.Error{
			Next: fault.Retry, Reason: fault.Redirected, Hint: "name that server in the kubeconfig",
			Err: fmt.Errorf("%s redirects to %s://%s, which is not followed", t.server, r.URL.Scheme, r.URL.Host),
		}
	}
	if err := t.leftAlone(); err != nil && r.Context().Value(probe{}) == nil {
		return nil, err
	}
	lim, sent := t.of(r), time.Now()
	ctx, cancel := context.WithCancelCause(r.Context())
	first := time.AfterFunc(lim.first, func() { cancel(errNoAnswer) })
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	first.Stop()
	if err != nil {
		cancel(nil)
		switch {
		case errors.Is(context.Cause(ctx), errNoAnswer):
			return nil, t.late(sent)
		case !answers(err) && !errors.Is(r.Context().Err(), context.Canceled):
			t.lost(sent)
		}
		return nil, err
	}
	t.hears()
	if isDiscovery(r.URL.Path) {
		resp.Header.Del("Retry-After") // whoever asks for kinds has no patience of its own
	} else if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after > 1 {
		resp.Header.Set("Retry-After", "1") // the client sleeps for as long as it is told to, with a worker
	}
	body := &boundBody{ReadCloser: resp.Body, bound: t.bound, limit: lim, ctx: ctx, cancel: cancel}
	if lim.whole > 0 {
		body.end = time.AfterFunc(lim.whole-lim.first, func() { cancel(errNoAnswer) })
	} else {
		t.watched()
		body.unwatched = sync.OnceFunc(t.unwatched)
		if strings.Contains(resp.Header.Get("Content-Type"), "json") {
			body.frame = &jsonFrame{most: t.frame}
		}
	}
	resp.Body = body
	return resp, nil
}

var errNoAnswer = errors.New("no answer")

// A boundBody is an answer within its limit.
type boundBody struct {
	io.ReadCloser
	*bound
	limit
	ctx       context.Context
	cancel    context.CancelCauseFunc
	end       *time.Timer // nil: a watch
	unwatched func()      // nil: not a watch
	frame     *jsonFrame  // of a watch in JSON
	read      int64
}

// Read implements [io.Reader].
func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if n > 0 {
		b.hears()
	}
	switch {
	case b.read > b.bytes:
		b.cancel(nil)
		return 0, b.tooLarge("an answer", b.bytes)
	case b.frame != nil && !b.frame.take(p[:n]):
		b.cancel(nil)
		return 0, b.tooLarge("an event of a watch", b.frame.most)
	case err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(b.ctx), errNoAnswer):
		return n, notAnswering(fmt.Errorf("%s has not come to the end of an answer in %s", b.server, b.whole))
	}
	return n, err
}

// Close implements [io.Closer].
func (b *boundBody) Close() error {
	if b.end != nil {
		b.end.Stop()
	}
	if b.unwatched != nil {
		b.unwatched()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

func (b *boundBody) tooLarge(what string, most int64) error {
	return &fault.Error{
		Next: fault.Retry, Reason: fault.AnswerTooLarge, Hint: "check the server that the kubeconfig names",
		Err: fmt.Errorf("%s sends %s of more than %d MiB", b.server, what, max(1, most>>20)),
	}
}

// A jsonFrame counts the bytes of each value in a stream of JSON: whoever
// decodes one holds it whole.
type jsonFrame struct {
	most   int64
	size   int64
	depth  int
	text   bool // inside a string
	escape bool // after a backslash in one
}

// take reports whether no value is larger than it may be.
func (f *jsonFrame) take(b []byte) bool {
	for len(b) > 0 {
		if f.text && !f.escape {
			// Most of what is sent is strings.
			n := bytes.IndexAny(b, `"\`)
			if n < 0 {
				n = len(b)
			}
			f.size += int64(n)
			if b = b[n:]; len(b) == 0 {
				break
			}
		}
		f.step(b[0])
		b = b[1:]
		if f.size > f.most {
			return false
		}
	}
	return f.size <= f.most
}

func (f *jsonFrame) step(c byte) {
	f.size++
	switch {
	case f.escape:
		f.escape = false
	case f.text:
		f.text, f.escape = c != '"', c == '\\'
	case c == '"':
		f.text = true
	case c == '{', c == '[':
		f.depth++
	case c == '}', c == ']':
		f.depth--
		if f.depth <= 0 {
			f.depth, f.size = 0, 0
		}
	}
}
