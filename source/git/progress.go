package git

import (
	"context"
	"io"
	"sync/atomic"
	"time"
)

// A pulse watches that a server goes on sending. Only time spent waiting for
// it counts. Until the pack begins, any byte is a sign of life, since a server
// may think for long and says so every few seconds; from then on it must send
// at a pace that ends some day.
type pulse struct {
	stall  time.Duration
	cancel context.CancelCauseFunc
	need   atomic.Int64
	got    atomic.Int64 // all bytes, for whoever wants to know
	timer  *time.Timer

	since  int64
	waited time.Duration
}

const minPace = 512 // bytes in each stall time

func newPulse(stall time.Duration, cancel context.CancelCauseFunc) *pulse {
	p := &pulse{stall: stall, cancel: cancel}
	p.need.Store(1)
	p.timer = time.AfterFunc(stall, func() { cancel(errStalled) })
	p.timer.Stop()
	return p
}

func (p *pulse) packStarts() { p.need.Store(minPace) }

// read is one read under watch. Reads of one conversation follow each other.
func (p *pulse) read(r io.Reader, b []byte) (int, error) {
	begin := time.Now()
	p.timer.Reset(max(p.stall-p.waited, time.Millisecond))
	n, err := r.Read(b)
	p.timer.Stop()
	p.got.Add(int64(n))
	p.waited += time.Since(begin)
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
