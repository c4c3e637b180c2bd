package engine

import (
	"fmt"
	"math"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
)

// An Operation is something that is to be done once, since somebody asked for
// it. While it runs, it decides what may be done, and to which revisions.
//
// A unit that permits little is brought to its source by operations. One that
// ends leaves the unit to its own permission, and its dialect to put the unit
// without it.
type Operation struct {
	// ID tells it from others. Each is carried out once.
	ID string
	// Permission is how much it may do.
	Permission apply.Permission
	// Sources, if there are any, are in place of the unit's, one for each: the
	// same ones at other revisions.
	Sources []string
	// Prune and Force, if not nil, are in place of the unit's.
	Prune, Force *bool
	Retry        Retry
	// Terminate: it is to end now, as far as it has come.
	Terminate bool
	// Was is how far it had come, where an earlier process has told that. Then
	// it goes on.
	Was Progress
}

// A Retry says how often an operation that failed is tried again, and after
// which pauses.
type Retry struct {
	Limit       int           // how often; 0: never, less: without end
	First, Most time.Duration // pauses
	Factor      float64       // by which each is longer than the one before; 0: 2
}

// pause is how long to wait after so many failures.
func (r Retry) pause(failures int) time.Duration {
	factor := r.Factor
	if factor <= 0 {
		factor = 2
	}
	pause := float64(max(r.First, time.Second)) * math.Pow(factor, float64(failures-1))
	if most := float64(r.Most); most > 0 {
		pause = min(pause, most)
	}
	return time.Duration(min(pause, float64(24*time.Hour)))
}

// A Stage is how an operation stands.
type Stage uint8

// The stages of an operation.
const (
	Running Stage = iota
	Succeeded
	GaveUp // something was refused, as often as it may be tried
	Terminated
)

var stages = [...]string{"Running", "Succeeded", "GaveUp", "Terminated"}

// String returns the stage in a word.
func (s Stage) String() string { return stages[s] }

// A Progress is how far an operation has come. A dialect stores it, so that
// another process can go on.
type Progress struct {
	ID       string
	Stage    Stage
	Reason   fault.Reason // why it is not done, or what it waits for
	Message  string
	Revision string // that it was last tried with
	Began    time.Time
	Ended    time.Time
	Failures int
	Next     time.Time // when it is tried again, after a failure
}

// operate returns a unit as it is while its operation runs, and reports whether
// that is so.
func (t *tracked) operate(u Unit, now time.Time) (Unit, bool) {
	op := u.Operation
	if op == nil {
		return u, false
	}
	if t.operation.ID != op.ID {
		t.operation = Progress{ID: op.ID, Began: now}
		if op.Was.ID == op.ID {
			t.operation = op.Was
		}
	}
	p := &t.operation
	switch {
	case p.Stage != Running:
		return u, false
	case op.Terminate:
		p.end(Terminated, now, "", "it was terminated")
		return u, false
	case len(op.Sources) > 0 && len(op.Sources) != len(u.Sources):
		p.end(GaveUp, now, fault.InvalidSpec, fmt.Sprintf("it names %d sources, and the unit has %d", len(op.Sources), len(u.Sources)))
		return u, false
	case now.Before(p.Next):
		return u, false
	}
	u.Permission = op.Permission
	if len(op.Sources) > 0 {
		u.Sources = op.Sources
	}
	if op.Prune != nil {
		u.Prune.Enabled = *op.Prune
	}
	if op.Force != nil {
		u.Force = *op.Force
	}
	return u, true
}

func (p *Progress) end(s Stage, now time.Time, reason fault.Reason, message string) {
	p.Stage, p.Ended, p.Next, p.Reason, p.Message = s, now, time.Time{}, reason, message
}

// operated notes what a look has come to for the operation of a unit.
func (t *tracked) operated(rec *reconciliation, out *Outcome, now time.Time) {
	if rec.u.Operation == nil {
		return
	}
	p := &t.operation
	if rec.operating {
		p.note(rec.u.Operation.Retry, out, now)
	}
	if p.Stage == Running && !p.Next.IsZero() {
		out.Next = sooner(out.Next, p.Next)
	}
	out.Operation = *p
}

// note notes what a try has come to.
func (p *Progress) note(r Retry, out *Outcome, now time.Time) {
	p.Revision, p.Next = out.Revision, time.Time{}
	f := fault.Of(out.Err)
	switch {
	case out.Err == nil:
		p.end(Succeeded, now, "", "")
	case f.Next == fault.Wait:
		p.Reason, p.Message = out.Reason, out.Message
	case f.Next == fault.Stall:
		p.end(GaveUp, now, out.Reason, out.Message)
	default:
		p.Failures++
		if r.Limit >= 0 && p.Failures > r.Limit {
			p.end(GaveUp, now, out.Reason, out.Message)
			return
		}
		p.Reason, p.Message, p.Next = out.Reason, out.Message, now.Add(r.pause(p.Failures))
	}
}
