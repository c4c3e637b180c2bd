package engine

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
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
	// Renders, if there are any, are in place of the unit's: of other sources
	// than the unit's, however many these are.
	Renders []Rendering
	// Prune and Force, if not nil, are in place of the unit's.
	Prune, Force *bool
	// Replace, Late, Asks and Propagation are those of the unit, and of its
	// pruning, while it runs.
	Replace, Late, Asks bool
	Propagation         metav1.DeletionPropagation
	// MakesNamespace, if not nil, says whether the unit's namespace is made where
	// it is not there, in place of what the unit says.
	MakesNamespace *bool
	Retry          Retry
	// Only, if not nil, are the objects that it is about; one without namespace
	// stands for all that have its name. It makes no hooks.
	Only []object.Ref
	// NoHooks: it makes none.
	NoHooks bool
	// PruneLast: nothing is pruned before all else is healthy.
	PruneLast bool
	// Dry has the server try what it would write, and stops short of that. It runs
	// no hooks, and in no order.
	Dry bool
	// Strict: it applies also what does not count in a comparison, and replaces what is
	// to be replaced whether or not it differs, see [apply.Course].
	Strict bool
	// Automatic: nobody has asked for it, so it gives way to a newer revision.
	Automatic bool
	// Waits: it does not begin yet, or go on, and is not withdrawn either.
	Waits bool
	// Terminate: it is to end now, as far as it has come.
	Terminate bool
	// Was is how far it had come, where an earlier process has told that. Then
	// it goes on.
	Was Progress
	// Inherited: an earlier process has begun it, or another controller. Of a unit
	// that adopts, the hooks that this has made go on, too.
	Inherited bool
}

// A Retry says how often an operation that failed is tried again, and after
// which pauses.
type Retry struct {
	Limit       int           // how often; 0: never, less: without end
	First, Most time.Duration // pauses
	Factor      float64       // by which each is longer than the one before; 0: 2
	// Refresh has it go to the newest revision.
	Refresh bool
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

// An Automation brings a unit to its source without anybody's asking. It is
// implemented by dialects.
type Automation interface {
	// Begin returns the operation that is to begin, since a look has come to
	// out while none ran; nil: none. Nobody has been told of it. The next outcome
	// that is told is that of the operation, which may have ended by then.
	Begin(ctx context.Context, u Unit, out Outcome) *Operation
}

// commits are those of artifacts, in the order of their sources.
func commits(artifacts []*source.Artifact) string {
	ids := make([]string, len(artifacts))
	for i, at := range artifacts {
		if ids[i] = at.Commit.ID; ids[i] == "" {
			ids[i] = at.Revision
		}
	}
	return strings.Join(ids, " ")
}

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
	// Newest are the commits that were the newest of the unit's sources when it
	// began, also where it goes to others on purpose.
	Newest string
	// Hooks are what hooks have come to, in this try.
	Hooks []apply.HookRun
	// Failed: this try has, as Reason and Message say. What is left of it are the
	// hooks for that, and letting go of those that have run.
	Failed bool
	// Stopped: it was terminated.
	Stopped bool
}

func (p Progress) same(q Progress) bool { return reflect.DeepEqual(p, q) }

// An Underway is an operation while it runs.
type Underway struct {
	*Operation
	Progress *Progress
	Told     Progress // what of it is stored
}

// adopt makes the operation whose turn it is the one that runs.
func (t *tracked) adopt(u Unit, now time.Time) {
	op := t.due(u)
	t.running = op
	if op == nil || op.Waits || op.ID == t.operation.ID {
		return
	}
	if t.automatic != nil && op.ID != t.automatic.ID {
		t.automatic = nil // when the other one is withdrawn, it would be begun again
	}
	t.operation, t.pinned, t.begunAt = Progress{ID: op.ID, Began: now}, nil, t.touched
	if op.Was.ID == op.ID {
		t.operation = op.Was
		t.operation.Hooks = slices.Clone(op.Was.Hooks) // what was given stays as it is
	}
}

// operate returns a unit as it is while its operation runs, and reports whether
// that is so.
func (t *tracked) operate(u Unit, now time.Time) (Unit, bool) {
	op, p := t.running, &t.operation
	if op == nil || op.Waits {
		u.Operation = nil
		return u, false
	}
	u.Operation = op
	switch {
	case p.Stage != Running:
		return u, false
	case op.Terminate && !p.Stopped:
		p.Failed, p.Stopped, p.Reason, p.Message, p.Next = true, true, "", terminated, time.Time{}
	case len(op.Sources) > 0 && len(op.Renders) == 0 && len(op.Sources) != len(u.Sources):
		p.end(GaveUp, now, fault.InvalidSpec, fmt.Sprintf("it names %d sources, and the unit has %d", len(op.Sources), len(u.Sources)))
		return u, false
	case now.Before(p.Next):
		return u, false
	case !p.Next.IsZero():
		p.Failed, p.Hooks, p.Next = false, nil, time.Time{} // another try
		if op.Retry.Refresh {
			t.pinned = nil
		}
	}
	u.Permission = op.Permission
	if len(op.Sources) > 0 {
		u.Sources = op.Sources
	}
	if len(op.Renders) > 0 {
		u.Renders = op.Renders
	}
	if op.Prune != nil {
		u.Prune.Enabled = *op.Prune
	}
	if op.Force != nil {
		u.Force = *op.Force
	}
	u.Replace, u.Late, u.Prune.Asks, u.Prune.Propagation = op.Replace, op.Late, op.Asks, op.Propagation
	switch makes := op.MakesNamespace; {
	case makes == nil:
	case !*makes:
		u.MakesNamespace = nil
	case u.MakesNamespace == nil:
		u.MakesNamespace = &Metadata{}
	}
	u.Underway = &Underway{Operation: op, Progress: p, Told: t.toldOf}
	if t.toldOf.ID != op.ID && op.Was.ID == op.ID {
		u.Underway.Told = op.Was
	}
	return u, true
}

const terminated = "it was terminated"

// due returns the operation that a unit is to be looked at with. One that is
// withdrawn, or gives way to another, first lets go of its hooks.
func (t *tracked) due(u Unit) *Operation {
	op := u.Operation
	if op == nil {
		op = t.automatic
	}
	if run := t.running; run != nil && run.ID == t.operation.ID && (op == nil || op.ID != run.ID) && t.operation.Stage == Running && len(t.operation.Hooks) > 0 {
		stop := *run
		stop.Terminate, stop.Waits = true, false
		return &stop
	}
	return op
}

// pin has an operation that goes on work at the revisions that it began with.
func (t *tracked) pin(rec *reconciliation, newest []*source.Artifact) {
	switch {
	case !rec.operating:
	case t.pinned != nil:
		rec.artifacts, rec.noSource = t.pinned, nil
	case rec.noSource == nil && len(rec.artifacts) > 0: // one that is refused may name none yet
		t.pinned = rec.artifacts
		t.operation.Newest = commits(newest)
	}
}

// supersede ends an operation that nobody has asked for, if there is a newer
// revision that makes something else of the unit, and none of its hooks runs. One
// that goes to newer revisions when it is tried again is tried now.
func (t *tracked) supersede(newest []*source.Artifact, now time.Time) {
	p, op := &t.operation, t.running
	if t.touched == t.begunAt {
		return
	}
	if op == nil || op.Waits || !op.Automatic || op.Terminate || p.Stage != Running || p.Newest == "" || len(newest) == 0 ||
		commits(newest) == p.Newest || slices.ContainsFunc(p.Hooks, func(r apply.HookRun) bool { return r.Ended.IsZero() }) {
		return
	}
	if op.Retry.Refresh && !p.Next.IsZero() {
		p.Newest, p.Next = commits(newest), now // to which it goes itself
	} else if len(p.Hooks) == 0 {
		p.end(Terminated, now, "", superseded)
	} else if !p.Failed {
		p.Failed, p.Stopped, p.Message = true, true, superseded
	}
}

const superseded = "there is a newer revision"

// begins reports whether an operation begins by itself, after a look in which
// none ran.
func (t *tracked) begins(ctx context.Context, rec *reconciliation, out Outcome) bool {
	if rec.put.Automation == nil || rec.operating || rec.put.Operation != nil || rec.u.Operation != nil && t.operation.Stage == Running || out.Plan == nil {
		return false
	}
	op := rec.put.Automation.Begin(ctx, rec.put, out)
	if op == nil {
		return false
	}
	t.automatic = op
	t.adopt(rec.put, rec.began)
	return true
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
	if rec.operating && p.Stage == Running {
		p.note(rec.u.Operation.Retry, out, now)
	}
	if p.Stage == Running && !p.Next.IsZero() {
		out.Next = sooner(out.Next, p.Next)
	}
	out.Operation = *p
	out.Operation.Hooks = slices.Clone(p.Hooks)
	if next := t.due(rec.put); p.Stage != Running && (rec.operating || next != nil && next.ID != p.ID) {
		out.Next = now // it is the turn of that one, or of the unit's own permission
	}
}

// note notes what a try has come to.
func (p *Progress) note(r Retry, out *Outcome, now time.Time) {
	p.Revision, p.Next = out.Revision, time.Time{}
	f := fault.Of(out.Err)
	switch {
	case out.Err == nil:
		p.end(Succeeded, now, "", "")
	case f.Next == fault.Wait && p.Stopped && out.Plan == nil && f.Reason != fault.Progressing:
		p.failed(r, true, out, now) // nothing can be done about its hooks
	case f.Next == fault.Wait:
		if !p.Failed {
			p.Reason, p.Message = out.Reason, out.Message
		}
	case !p.Failed && out.hooks:
		p.Failed, p.Reason, p.Message = true, out.Reason, out.Message
		out.Next = now // there may be hooks for that
	default:
		p.failed(r, f.Next == fault.Stall, out, now)
	}
}

// failed ends a try that has failed, and says when there is another.
func (p *Progress) failed(r Retry, inVain bool, out *Outcome, now time.Time) {
	reason, message := out.Reason, out.Message
	if p.Failed {
		reason, message = p.Reason, p.Message
	}
	if p.Stopped {
		p.end(Terminated, now, reason, message)
		return
	}
	if !inVain {
		p.Failures++
	}
	if inVain || r.Limit >= 0 && p.Failures > r.Limit {
		p.end(GaveUp, now, reason, message)
		return
	}
	p.Reason, p.Message, p.Next = reason, message, now.Add(r.pause(p.Failures))
}
