package git

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// A pulse watches that a server goes on sending. Only time spent waiting for
// it counts. It must send at a pace that ends some day, but before a pack, for
// which a server may think for some minutes and says so every few seconds: then
// any byte is a sign of life, for so long.
type pulse struct {
	stall  time.Duration
	cancel context.CancelCauseFunc
	need   atomic.Int64
	got    atomic.Int64 // all bytes, for whoever wants to know
	timer  *time.Timer

	since    int64
	waited   time.Duration
	thinking bool
	thought  time.Duration // in all
}

const (
	minPace = 4 << 10 // bytes in each stall time
	// patience is how many stall times a server may think before a pack.
	patience = 10
)

func newPulse(stall time.Duration, cancel context.CancelCauseFunc) *pulse {
	p := &pulse{stall: stall, cancel: cancel}
	p.need.Store(minPace)
	p.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	p.timer.Stop()
	return p
}

// packAsked begins the time to think, and packStarts ends it.
func (p *pulse) packAsked()  { p.need.Store(1); p.thinking = true }
func (p *pulse) packStarts() { p.need.Store(minPace); p.thinking = false }

// asked begins the wait for another answer.
func (p *pulse) asked() { p.since, p.waited = 0, 0 }

// read is one read under watch. Reads of one conversation follow each other.
func (p *pulse) read(r io.Reader, b []byte) (int, error) {
	begin := time.Now()
	p.timer.Reset(max(p.stall-p.waited, time.Millisecond))
	n, err := r.Read(b)
	p.timer.Stop()
	p.got.Add(int64(n))
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

// watch is a wait for the server that is no read.
func (p *pulse) watch(wait func()) {
	p.timer.Reset(p.stall)
	wait()
	p.timer.Stop()
}

type pulsed struct {
	io.ReadCloser
	p *pulse
}

func (r pulsed) Read(b []byte) (int, error) { return r.p.read(r.ReadCloser, b) }
