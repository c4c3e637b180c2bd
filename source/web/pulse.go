package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// A Pulse watches that a server goes on sending. Only time spent waiting for
// it counts. It must send at a pace that ends some day, but while it thinks,
// which may take some minutes if it says so every few seconds: then any byte is
// a sign of life, for so long. Its reads follow each other.
type Pulse struct {
	stall  time.Duration
	cancel context.CancelCauseFunc
	need   atomic.Int64
	timer  *time.Timer

	since    int64
	waited   time.Duration
	thinking bool
	thought  time.Duration // in all
}

const (
	minPace = 4 << 10 // bytes in each stall time
	// patience is how many stall times a server may think.
	patience = 10
)

// NewPulse returns one that cancels when there was no progress for so long.
func NewPulse(stall time.Duration, cancel context.CancelCauseFunc) *Pulse {
	p := &Pulse{stall: stall, cancel: cancel}
	p.need.Store(minPace)
	p.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	p.timer.Stop()
	return p
}

// Stop ends the watch.
func (p *Pulse) Stop() { p.timer.Stop() }

// Thinks begins the time to think, and Works ends it.
func (p *Pulse) Thinks() { p.need.Store(1); p.thinking = true }

// Works ends the time to think.
func (p *Pulse) Works() { p.need.Store(minPace); p.thinking = false }

// Asked begins the wait for another answer.
func (p *Pulse) Asked() { p.since, p.waited = 0, 0 }

// Read is one read under watch.
func (p *Pulse) Read(r io.Reader, b []byte) (int, error) {
	begin := time.Now()
	p.timer.Reset(max(p.stall-p.waited, time.Millisecond))
	n, err := r.Read(b)
	p.timer.Stop()
	took := time.Since(begin)
	p.waited += took
	if p.thinking {
		if p.thought += took; p.thought > patience*p.stall {
			p.cancel(errStalled)
		}
	}
	if p.since += int64(n); p.since >= p.need.Load() {
		p.since, p.waited = 0, 0
	}
	return n, err
}

// Watch is a wait for the server that is no read.
func (p *Pulse) Watch(wait func()) {
	p.timer.Reset(p.stall)
	wait()
	p.timer.Stop()
}

// Body returns r with its reads under watch.
func (p *Pulse) Body(r io.ReadCloser) io.ReadCloser { return pulsed{r, p} }

type pulsed struct {
	io.ReadCloser
	p *Pulse
}

func (r pulsed) Read(b []byte) (int, error) { return r.p.Read(r.ReadCloser, b) }

// Do asks, under watch, and returns the answer if its status is 200 or one that
// is well too.
func (p *Pulse) Do(c *http.Client, req *http.Request, well ...int) (*http.Response, error) {
	var resp *http.Response
	var err error
	p.Asked()
	p.Watch(func() { resp, err = c.Do(req) }) //nolint:bodyclose // closed below or by whoever reads it
	if err != nil {
		return nil, err
	}
	if err := Refusal(resp, well...); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = p.Body(resp.Body)
	return resp, nil
}

// AtMost returns what is in r, of which more than most bytes are an error with
// the reason [ReasonTooLarge] that calls it what.
func AtMost(r io.Reader, most int64, what string) io.Reader {
	return &bounded{r: r, left: most, most: most, what: what}
}

type bounded struct {
	r          io.Reader
	left, most int64
	what       string
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, Failure(ReasonTooLarge, "%s has more than %s", b.what, Size(b.most))
	}
	return n, err
}

// Size writes a number of bytes for people.
func Size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
