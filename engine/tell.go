package engine

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/fault"
)

const (
	// dependencyGrace is how long a unit that is ready may wait for one that it
	// depends on before it says so: with every commit, the dependencies come
	// first.
	dependencyGrace = 5 * time.Second
	// What a unit waits for is told at once, and what becomes of it is told
	// again as time goes on: a Deployment that rolls says something new with
	// every Pod, and each time that is a write.
	waitingTold   = 5 * time.Second  // between two that only tell how the waiting goes
	waitingLooked = 10 * time.Second // between two looks at what the objects say
	// foldedFor is how long a status may say an older revision, of a unit that
	// the commits since did not touch. The first of them is told at once.
	foldedFor = 30 * time.Second
)

// A telling is how much of an outcome is told now.
type telling uint8

const (
	tellAll     telling = iota
	tellInterim         // what was changed is news; what that makes of the unit is told later
	tellLive            // the same, and it is all that there was to do
	tellLater           // nothing is new but the revision
	tellNothing
)

// conclude tells what came of a look, or lets it wait.
func (e *Engine) conclude(ctx context.Context, rec *reconciliation, out Outcome) loop.Result {
	out.Took = time.Since(rec.began)
	if len(rec.artifacts) > 0 {
		out.Fetched = rec.artifacts[0].Fetched
	}
	how, again := e.telling(ctx, rec, &out)
	r := loop.Result{Again: again}
	switch how {
	case tellAll:
		r = e.tellAll(ctx, rec, out, again)
	case tellLater:
		rec.t.folded = true
		rec.t.rest = atRest{valid: true, wakes: rec.wakes, artifacts: rec.artifacts}
		e.stood(rec.t, rec.u.Name, rec.t.standing(rec.u, out))
	case tellInterim, tellLive:
		out.Interim, out.Live = true, how == tellLive
		r = e.tell(ctx, rec, out, again)
	}
	if how == tellLive {
		e.loop.QueueAfter(loop.Idle, idleDelay, rec.u.Name)
	}
	r.Unanswered = unanswered(out.Err)
	r.Awaited = out.Operation.ID != "" && out.Operation.Stage == Running
	return r
}

// telling decides how much is told now, and when to look again at the latest
// for the rest; zero is as the outcome has it.
func (e *Engine) telling(ctx context.Context, rec *reconciliation, out *Outcome) (telling, time.Duration) {
	t := rec.t
	switch {
	case fault.Is(out.Err, fault.NotYetRead), out.unseen:
		return tellNothing, time.Minute // what is missing wakes it
	case ctx.Err() != nil:
		return tellNothing, 0 // it broke off; who ended it says so, and what was not seen is no failure
	}
	t.operated(rec, out, time.Now())
	if wait := t.grace(rec.u, out.Err); wait > 0 && !rec.awaited() {
		return tellInterim, wait
	}
	if e.registry.unbatch(t) && e.mayLag(rec, out) {
		t.deferred = true
		return tellLive, 0
	}
	if out.Err == nil && out.applied() && !out.Rehearsed {
		e.registry.applied(t, out.Revision, out.Digest)
	}
	t.held = fault.Is(out.Err, fault.PruneHeld)
	out.Stands = t.steady(rec.u, *out)
	if left := t.foldedLeft(); left > 0 && e.untouched(rec, out) {
		return tellLater, left
	}
	switch again := t.pace(rec.u, out, rec.stored); {
	case !again.skip || rec.asked || rec.u.Operation != nil && !t.operation.same(t.toldOf):
		return tellAll, again.after
	case len(out.Changes()) > 0:
		return tellInterim, again.after
	default:
		return tellNothing, again.after
	}
}

// foldedLeft is how long the next revision may go untold.
func (t *tracked) foldedLeft() time.Duration { return time.Until(t.toldAt.Add(foldedFor)) }

// untouched reports whether nothing is new of a unit at rest but its revision,
// and whoever asks can find out that this is so.
func (e *Engine) untouched(rec *reconciliation, out *Outcome) bool {
	t, last := rec.t, rec.t.last
	return out.AtRest() && len(out.Changes()) == 0 && !rec.stored && !rec.awaited() && !t.deferred &&
		last.AtRest() && last.Digest == out.Digest && last.Health == out.Health && slices.EqualFunc(last.Unwell, out.Unwell, Unwell.same) && slices.Equal(last.Left, out.Left) &&
		slices.Equal(last.Inventory, out.Inventory) && slices.Equal(last.Repeated, out.Repeated) &&
		t.stands.Ready == "True" && t.stands.Digest == rec.u.Digest && e.registry.recorded(rec.artifacts)
}

// mayLag reports whether what became of a unit may be told later: many units
// have something to write, and first it is live, then all say so.
func (e *Engine) mayLag(rec *reconciliation, out *Outcome) bool {
	return out.Err == nil && len(out.Changes()) > 0 && !rec.stored && !rec.awaited() && !e.registry.isWaitedFor(rec.u.Name)
}

// tellAll tells an outcome, and says when to look again: after again, if that is
// not zero, at the latest.
func (e *Engine) tellAll(ctx context.Context, rec *reconciliation, out Outcome, again time.Duration) loop.Result {
	if rec.asked && !errors.Is(out.Err, ErrWatchStarts) { // what is asked is how things are
		out.Handled = rec.u.Requested
	}
	out.Deferred, rec.t.deferred = rec.t.deferred, false
	next := rec.t.next(rec.u, out)
	if again > 0 {
		next = min(next, again)
	}
	return e.tell(ctx, rec, out, next)
}

// tell tells the dialect an outcome, and notes that, unless it could not be told.
func (e *Engine) tell(ctx context.Context, rec *reconciliation, out Outcome, again time.Duration) loop.Result {
	t := rec.t
	err := rec.put.Dialect.Report(ctx, rec.put, out)
	e.registry.store(t, out.Inventory)
	if err != nil {
		level := slog.LevelError
		if apierrors.IsConflict(err) { // somebody else wrote at the same time, and it is told of what they wrote
			level = slog.LevelDebug
		}
		e.o.Log.Log(ctx, level, "could not tell what became of a unit", "unit", rec.u.Name, "err", err)
		t.rest.valid = false
		t.untold++
		return loop.Result{Again: min(15*time.Second, 10*time.Millisecond<<min(t.untold, 11))}
	}
	t.untold = 0
	if out.Interim || out.Rested {
		return loop.Result{Again: again}
	}
	if out.Handled != "" {
		t.handled = out.Handled
	}
	t.toldOf, t.toldAt, t.folded = out.Operation, time.Now(), false
	// Two that each want what the other has would wake each other without end.
	wants := out.Digest != "" && out.Digest != t.last.Digest || !slices.Equal(out.Inventory, t.last.Inventory)
	t.last = out.Kept()
	t.rest = atRest{}
	if out.AtRest() {
		t.rest = atRest{valid: true, wakes: rec.wakes, artifacts: rec.artifacts}
	}
	e.stood(t, rec.u.Name, t.standing(rec.u, out))
	if wants {
		e.wakeAt(loop.Normal, e.registry.rivalsOf(rec.u.Name)...) // it may have let go of something
	}
	return loop.Result{Again: again}
}

// stood notes how a unit stands, and wakes who depends on it if that is news.
func (e *Engine) stood(t *tracked, name string, s Standing) {
	if e.registry.stood(t, s) {
		e.wakeAt(loop.Normal, e.registry.from(e.registry.dependents, name)...)
	}
}

// stood notes how a unit stands, and reports whether that is news.
func (r *registry) stood(t *tracked, s Standing) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := t.stands != s
	t.stands = s
	return news
}

// steady reports whether what was said of a unit before still stands although it
// waits for something: it was ready at this revision and has the same time to
// become so again, since Pods come and go; or it was fought over, and is.
func (t *tracked) steady(u Unit, out Outcome) bool {
	if out.State != Progressing || t.stands.Digest != u.Digest || t.stands.Attempted != out.Revision {
		return false
	}
	return t.stands.Ready == "True" && (out.Err != nil || len(out.Changes()) == 0) ||
		out.Err != nil && t.stands.Reason == fault.FieldConflict
}

// standing is how a unit stands by an outcome.
func (t *tracked) standing(u Unit, out Outcome) Standing {
	if out.Stands {
		return t.stands
	}
	s := Standing{Digest: u.Digest, Attempted: out.Revision, Ready: "False", Reason: out.Reason, Message: out.Message}
	switch out.State {
	case Ready:
		s.Ready = "True"
	case Progressing:
		s.Ready = "Unknown"
	}
	return s
}

// grace returns how long to wait before telling that a dependency is not ready.
func (t *tracked) grace(u Unit, err error) time.Duration {
	if !fault.Is(err, fault.DependencyNotReady) || fault.Of(err).Next == fault.Stall || t.stands.Ready != "True" || t.stands.Digest != u.Digest {
		t.waiting = time.Time{}
		return 0
	}
	if t.waiting.IsZero() {
		t.waiting = time.Now()
	}
	return time.Until(t.waiting.Add(dependencyGrace))
}

// A pacing says when to look again at what is waited for, and whether to tell of
// it at all now.
type pacing struct {
	after time.Duration
	skip  bool
}

// pace lets an outcome go untold if all that is new is how the waiting goes, and
// that was told just now.
func (t *tracked) pace(u Unit, out *Outcome, stored bool) pacing {
	is := t.standing(u, *out)
	if out.Err != nil || is.Ready != "Unknown" {
		t.told = time.Time{}
		return pacing{}
	}
	was := t.stands
	same := was.Ready == is.Ready && was.Digest == is.Digest && was.Attempted == is.Attempted && len(out.Changes()) == 0 && !stored
	if same && was.Message == is.Message && !out.AtRest() {
		return pacing{after: t.deadline(out, waitingLooked), skip: true}
	}
	if left := waitingTold - time.Since(t.told); same && left > 0 {
		return pacing{after: t.deadline(out, left), skip: true}
	}
	t.told = time.Now()
	if out.AtRest() {
		return pacing{} // what its objects say wakes it
	}
	return pacing{after: waitingLooked}
}

// deadline is when to look again where that is sooner than after.
func (*tracked) deadline(out *Outcome, after time.Duration) time.Duration {
	if out.Next.IsZero() {
		return after
	}
	return min(after, max(time.Until(out.Next), 10*time.Millisecond))
}

// soon is when an interval that begins now is over. Long ones end with a full
// second of the clock, so that those of many units wake the process together.
func soon(interval time.Duration) time.Duration {
	const by = 0.05 // spreads the intervals of units with the same one
	after := time.Duration(float64(interval) * (1 - by + 2*by*rand.Float64()))
	if interval < 20*time.Second {
		return after
	}
	return time.Until(time.Now().Add(after).Truncate(time.Second))
}

// next says when to look again at the latest; zero is not before something
// happens.
func (t *tracked) next(u Unit, out Outcome) time.Duration {
	if at := u.Digest + " " + out.Revision; t.failures.at != at || out.Err == nil {
		t.failures = failures{at: at}
	}
	if out.Err != nil {
		t.failures.count++
	}
	after := soon(u.Interval)
	switch f := fault.Of(out.Err); {
	case out.Err == nil:
	case out.SpecIsWrong() && out.Next.IsZero():
		return 0 // a change of the spec wakes it
	case f.After > 0:
		after = f.After
	case f.Next == fault.Retry:
		// From a second up to the interval that the user gave.
		after = min(u.RetryInterval, time.Second<<min(t.failures.count, 10))
	default:
		after = u.RetryInterval
	}
	return t.deadline(&out, after)
}
