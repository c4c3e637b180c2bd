package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/fault"
)

// A wire is what is between plumb and a server.
type wire func(r *http.Request) (*http.Response, error)

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func refuses(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func replies(code int) wire {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}
}

// A line is a server behind a wire, with a clock of its own, and what was
// doubted of it.
type line struct {
	t      *testing.T
	began  time.Time
	by     *bound
	mu     sync.Mutex
	doubts []string
}

func lined(t *testing.T, f func(*line)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, err := newBound("https://far:6443", standard)
		if err != nil {
			t.Fatal(err)
		}
		l := &line{t: t, began: time.Now(), by: b}
		b.doubt = func(since time.Time) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.doubts = append(l.doubts, fmt.Sprintf("at %s since %s", time.Since(l.began), since.Sub(l.began)))
		}
		f(l)
	})
}

// ask sends a request, and reads the answer if it is not a watch.
func (l *line) ask(ctx context.Context, by wire, path string) (*http.Response, error) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://far:6443"+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	resp, err := l.by.wrap(by).RoundTrip(r)
	if err == nil && !isWatch(r) {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

func (l *line) wants(doubts ...string) {
	l.t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got, want := strings.Join(l.doubts, ", "), strings.Join(doubts, ", "); got != want {
		l.t.Errorf("doubted %q, want %q", got, want)
	}
	l.doubts = nil
}

const things = "/api/v1/configmaps"

func TestAServerThatRefusesForSomeSecondsIsDoubted(t *testing.T) {
	lined(t, func(l *line) {
		for range 8 {
			_, _ = l.ask(l.t.Context(), refuses, things)
			time.Sleep(time.Second)
		}
		l.wants("at 5s since 0s", "at 6s since 0s", "at 7s since 0s")
	})
}

func TestAServerThatIsStartedAnewIsNotDoubted(t *testing.T) {
	lined(t, func(l *line) {
		for range 10 { // one after the other, so that all together take long
			for range 4 {
				_, _ = l.ask(l.t.Context(), refuses, things)
				time.Sleep(time.Second)
			}
			if _, err := l.ask(l.t.Context(), replies(http.StatusOK), things); err != nil {
				l.t.Fatal(err)
			}
		}
		l.wants()
	})
}

func TestWhateverIsAnsweredIsAnAnswer(t *testing.T) {
	lined(t, func(l *line) {
		for range 30 { // what can't be listed, and what has expired
			for _, code := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusServiceUnavailable} {
				_, _ = l.ask(l.t.Context(), replies(code), things)
			}
			_, _ = l.ask(l.t.Context(), func(*http.Request) (*http.Response, error) {
				return nil, &tls.CertificateVerificationError{Err: errors.New("unknown authority")}
			}, things)
			gone, cancel := context.WithCancel(l.t.Context())
			cancel() // whoever asked does not want to know any more
			_, _ = l.ask(gone, hangs, things)
			time.Sleep(time.Second)
		}
		l.wants()
	})
	for _, err := range []error{nil, apierrors.NewUnauthorized("no"), fmt.Errorf("get: %w", tls.AlertError(42))} {
		if !answers(err) {
			t.Errorf("%v is no answer", err)
		}
	}
	for _, err := range []error{io.EOF, context.DeadlineExceeded, errors.New("connection refused")} {
		if answers(err) {
			t.Errorf("%v is an answer", err)
		}
	}
}

func TestAServerThatHangsIsDoubtedAndLeftAlone(t *testing.T) {
	lined(t, func(l *line) {
		_, err := l.ask(l.t.Context(), hangs, things)
		wantReason(t, err, fault.NotAnswering)
		l.wants("at 30s since 0s")
		asked := false
		answer := wire(func(r *http.Request) (*http.Response, error) { asked = true; return replies(http.StatusOK)(r) })
		_, again := l.ask(l.t.Context(), answer, things)
		if asked || again == nil || again.Error() != err.Error() {
			l.t.Errorf("asked: %v; the error is %v and was %v", asked, again, err)
		}
		// Who has to find out whether it answers does ask.
		if _, err := l.ask(context.WithValue(l.t.Context(), probe{}, true), answer, "/version"); err != nil || !asked {
			l.t.Errorf("asked: %v; the error is %v", asked, err)
		}
		if _, err := l.ask(l.t.Context(), answer, things); err != nil {
			l.t.Errorf("a server that answers is left alone: %v", err)
		}
	})
}

// A webhook that holds up one write says nothing of the server.
func TestOneRequestThatHangsLeavesTheOthersAlone(t *testing.T) {
	lined(t, func(l *line) {
		failed := make(chan error)
		go func() {
			_, err := l.ask(l.t.Context(), hangs, things)
			failed <- err
		}()
		for range 29 {
			time.Sleep(time.Second)
			if _, err := l.ask(l.t.Context(), replies(http.StatusOK), things); err != nil {
				l.t.Fatal(err)
			}
		}
		err := <-failed
		wantReason(t, err, fault.NotAnswering)
		if _, err := l.ask(l.t.Context(), replies(http.StatusOK), things); err != nil {
			l.t.Errorf("the others are not sent: %v", err)
		}
		l.wants()
	})
}

// A proxy keeps up connections to a server that is dead.
func TestWatchesThatShowNothingAreDoubted(t *testing.T) {
	lined(t, func(l *line) {
		in, out := io.Pipe()
		stream := wire(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: in}, nil
		})
		watch, err := l.ask(l.t.Context(), stream, things+"?watch=true")
		if err != nil {
			l.t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, watch.Body) }()
		for range 5 {
			time.Sleep(time.Minute)
			if _, err := io.WriteString(out, "{}"); err != nil { // a bookmark
				l.t.Fatal(err)
			}
		}
		l.wants()
		time.Sleep(4 * time.Minute)
		l.wants("at 6m30s since 5m0s", "at 8m0s since 5m0s")
		watch.Body.Close()
		watch.Body.Close()
		time.Sleep(time.Hour)
		l.wants() // nobody waits for anything
	})
}
