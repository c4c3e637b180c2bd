package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/fault"
)

const (
	// doubtAfter is how long requests get no answer before a server is doubted.
	// One that is started anew takes less.
	doubtAfter = 5 * time.Second
	// quietAfter is how long all watches may show nothing before it is: servers
	// send a bookmark each minute.
	quietAfter = 90 * time.Second
)

// A silence is what is known of whether a server answers, by all that is asked
// of it.
type silence struct {
	server string
	pause  time.Duration         // how long a server is left alone that has just not answered
	doubt  func(since time.Time) // called with no lock held; nil: nobody wants to know

	mu      sync.Mutex
	heard   time.Time // when it said something last
	since   time.Time // if after heard: since when it does not answer
	again   time.Time // when to ask again
	watches int
	timer   *time.Timer // of listen; nil: there is no watch
}

// hears notes that the server says something.
func (s *silence) hears() {
	s.mu.Lock()
	s.heard = time.Now()
	s.mu.Unlock()
}

// lost notes that a request which was sent at some time got no answer. A server
// that has said something since then has not fallen silent; silent says whether
// it has.
func (s *silence) lost(sent time.Time) (silent bool) {
	s.mu.Lock()
	if s.heard.After(sent) {
		s.mu.Unlock()
		return false
	}
	if !s.since.After(s.heard) {
		s.since = sent
	}
	since := s.since
	s.mu.Unlock()
	if time.Since(since) >= doubtAfter {
		s.doubted(since)
	}
	return true
}

func (s *silence) doubted(since time.Time) {
	if s.doubt != nil {
		s.doubt(since)
	}
}

// late is lost for a request that was given up, and returns the error that says
// so. A server that is silent is left alone for a while.
func (s *silence) late(sent time.Time) error {
	if !s.lost(sent) {
		return notAnswering(fmt.Errorf("%s has left a request without an answer for %s", s.server, time.Since(sent).Round(time.Second)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = time.Now().Add(s.pause)
	return s.notSince()
}

// leftAlone returns the error for a server that has just not answered, so that
// not everybody waits to learn it.
func (s *silence) leftAlone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.After(s.heard) || !time.Now().Before(s.again) {
		return nil
	}
	return s.notSince()
}

func (s *silence) notSince() error {
	return notAnswering(fmt.Errorf("%s has not answered since %s", s.server, s.since.UTC().Format(time.RFC3339)))
}

func notAnswering(err error) error {
	return &fault.Error{Next: fault.Retry, Reason: fault.NotAnswering, Hint: "check the server that the kubeconfig names", Err: err}
}

// watched notes that a watch has begun. Who is dead behind a proxy that keeps
// the connection shows nothing by it.
func (s *silence) watched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	if s.timer == nil {
		s.timer = time.AfterFunc(quietAfter, s.listen)
	}
}

// unwatched notes that a watch has ended.
func (s *silence) unwatched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watches--; s.watches == 0 {
		s.timer.Stop()
		s.timer = nil
	}
}

// listen looks whether the watches show anything.
func (s *silence) listen() {
	s.mu.Lock()
	heard, left := s.heard, quietAfter-time.Since(s.heard)
	quiet := left <= 0 && s.timer != nil
	if s.timer != nil {
		if quiet {
			left = quietAfter
		}
		s.timer.Reset(left)
	}
	s.mu.Unlock()
	if quiet {
		s.doubted(heard)
	}
}

// answers reports whether an error is an answer of the server: one that refuses
// is alive, and so is one that can't prove who it is.
func answers(err error) bool {
	var status apierrors.APIStatus
	var unproven *tls.CertificateVerificationError
	var alert tls.AlertError
	return err == nil || errors.As(err, &status) || errors.As(err, &unproven) || errors.As(err, &alert)
}
