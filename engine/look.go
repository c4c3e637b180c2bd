package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
)

const (
	// lookTimeout is how long one look may take. None waits for anything but
	// answers to its own requests.
	lookTimeout = 2 * time.Minute
	// dependencyGrace is how long a unit that is ready may wait for one that it
	// depends on before it says so: with every commit, the dependencies come
	// first.
	dependencyGrace = 5 * time.Second
	// What a unit waits for is told at once, and what becomes of it is told
	// again as time goes on: a Deployment that rolls says something new with
	// every Pod, and each time that is a write.
	waitingTold   = 5 * time.Second  // between two that only tell how the waiting goes
	waitingLooked = 10 * time.Second // between two looks at what the objects say
)

// A glance is what a look begins with.
type glance struct {
	t         *tracked
	put       Unit // as the dialect has put it
	u         Unit // as it is looked at
	stirs     uint64
	artifacts []*source.Artifact
	noSource  error
	asked     bool // by a person
	operating bool // the unit's operation runs
	began     time.Time
	stored    bool // the inventory was stored meanwhile, and said that it goes on
}

// awaited reports whether somebody waits for what the look comes to.
func (g *glance) awaited() bool { return g.asked || g.u.Operation != nil }

// look looks at a unit once, does what can be done now, and tells what came of
// it.
func (e *Engine) look(ctx context.Context, name string) (r loop.Result) {
	t, u, stirs, ok := e.registry.find(name)
	switch {
	case t == nil:
		return loop.Result{}
	case !ok:
		e.depart(name)
		return loop.Result{}
	}
	if e.registry.renewed(t) {
		e.Forget(name)
		t.looks = looks{held: u.Prune.Held}
	}
	if u.Suspended && !u.Leaving {
		return loop.Result{}
	}
	defer func() {
		if v := recover(); v != nil {
			r = e.broken(ctx, t, u, v)
		}
	}()
	g := &glance{t: t, put: u, u: u, stirs: stirs, asked: u.Requested != "" && u.Requested != t.handled, began: time.Now()}
	if u.Leaving {
		return e.seeOff(ctx, g)
	}
	g.u, g.operating = t.operate(u, g.began)
	g.artifacts, g.noSource = e.artifacts(ctx, g.u)
	if !g.asked && (u.Operation == nil || t.operation == t.toldOf && !g.operating) && t.resting(g) && e.Rests(name) {
		out := t.last
		out.Rested = true
		return e.told(g, out, u.Dialect.Report(ctx, u, out), soon(u.Interval))
	}
	out := e.run(ctx, g)
	return e.conclude(ctx, g, out)
}

// broken tells that a look ended in a panic, which is a fault of plumb's, and
// must be nobody else's.
func (e *Engine) broken(ctx context.Context, t *tracked, u Unit, v any) loop.Result {
	text := fmt.Sprintf("%T", v) // more may quote what nobody may read
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	e.o.Log.Error("a look at a unit broke off; this is a fault of plumb, please report it", "unit", u.Name, "err", text, "stack", string(debug.Stack()))
	g := &glance{t: t, put: u, u: u, began: time.Now()}
	out := Outcome{Inventory: e.registry.remembered(t), Err: &fault.Error{
		Next: fault.Retry, Reason: fault.InternalError, Err: errors.New("plumb itself failed at this unit; its log says where"),
		Hint: "nothing of it is changed meanwhile; please report it",
	}}
	out.conclude(out.Err)
	return e.told(g, out, u.Dialect.Report(ctx, u, out), t.next(u, out))
}

// depart forgets a unit that is no more.
func (e *Engine) depart(name string) {
	e.Forget(name)
	if e.registry.drop(name) {
		e.loop.Delete(name)
	}
}

// resting reports whether the unit came to rest, and nothing has happened since.
func (t *tracked) resting(g *glance) bool {
	return t.rest.valid && g.noSource == nil && t.rest.stirs == g.stirs && slices.Equal(t.rest.artifacts, g.artifacts)
}

// artifacts are the newest ones of the sources of u.
func (e *Engine) artifacts(ctx context.Context, u Unit) ([]*source.Artifact, error) {
	out := make([]*source.Artifact, 0, len(u.Sources))
	for _, name := range u.Sources {
		a, err := e.o.Artifact(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// run runs a unit. One that can't go forward is held true to what it has
// applied.
func (e *Engine) run(ctx context.Context, g *glance) Outcome {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	g.u.Applied, g.u.AppliedDigest = e.registry.lastApplied(g.t)
	g.u.Prune.Held = g.t.held
	out := e.forward(ctx, g)
	if out.Err != nil && out.Plan == nil && ctx.Err() == nil && !fault.Is(out.Err, fault.NotYetRead) && !fault.Is(out.Err, fault.NotAnswering) {
		out.Err = errors.Join(out.Err, e.holdTrue(ctx, g, &out))
	}
	if out.Err != nil {
		out.conclude(out.Err)
	}
	return out
}

func (e *Engine) forward(ctx context.Context, g *glance) (out Outcome) {
	u := &g.u
	out.Inventory = e.registry.remembered(g.t)
	if u.Refused != nil {
		out.Err = u.Refused
		if fault.Of(out.Err).Next == fault.Stall {
			out.Err = specFault{out.Err}
		}
		return out
	}
	if g.noSource != nil {
		out.Err = g.noSource
		return out
	}
	if len(g.artifacts) == 0 {
		out.Err = specFault{&fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("it names no source")}}
		return out
	}
	u.Artifacts = g.artifacts
	out.Revision = u.Revision()
	if err := e.dependencies(ctx, *u); err != nil {
		if out.Err = err; fault.Of(err).Next == fault.Stall {
			out.Err = specFault{err}
		}
		return out
	}
	if g.asked {
		e.Doubt(u.Name)
	}
	out, err := e.Run(ctx, *u, &ledger{e, g})
	out.Err = err
	return out
}

// holdTrue puts right what somebody has changed in what the unit has applied,
// and adds to out what that came to.
func (e *Engine) holdTrue(ctx context.Context, g *glance, out *Outcome) error {
	u := g.u
	if len(out.Inventory) == 0 || u.Target.Invalid {
		return nil
	}
	if u.Refused == nil {
		u.Artifacts = g.artifacts
	}
	held, err := e.Hold(ctx, u)
	out.Inventory, out.Record, out.Fights, out.Next = held.Inventory, held.Record, held.Fights, held.Next
	if err != nil {
		return fmt.Errorf("holding what was applied before: %w", err)
	}
	return nil
}

// A ledger is that of the unit that is looked at. It is the moment at which it is
// known that there is work to do.
type ledger struct {
	e *Engine
	g *glance
}

// Store implements [Ledger].
func (l *ledger) Store(ctx context.Context, entries []apply.Entry) error {
	l.g.stored = true
	l.e.registry.store(l.g.t, entries) // also should it be stored without our hearing of it
	return l.g.put.Dialect.Store(ctx, l.g.put, entries)
}

// A telling is how much of an outcome is told now.
type telling uint8

const (
	tellAll     telling = iota
	tellInterim         // what was changed is news; what that makes of the unit is told later
	tellLive            // the same, and it is all that there was to do
	tellNothing
)

// conclude tells what came of a look, or lets it wait.
func (e *Engine) conclude(ctx context.Context, g *glance, out Outcome) loop.Result {
	out.Took = time.Since(g.began)
	if len(g.artifacts) > 0 {
		out.Fetched = g.artifacts[0].Fetched
	}
	if !fault.Is(out.Err, fault.NotYetRead) && !errors.Is(context.Cause(ctx), loop.ErrUnreachable) {
		g.t.operated(g, &out, time.Now())
	}
	how, again := e.telling(ctx, g, &out)
	r := loop.Result{Again: again}
	switch how {
	case tellAll:
		r = e.tellAll(ctx, g, out, again)
	case tellInterim, tellLive:
		out.Interim, out.Live = true, how == tellLive
		r = e.told(g, out, g.put.Dialect.Report(ctx, g.put, out), again)
	}
	if how == tellLive {
		e.loop.QueueAfter(loop.Idle, idleDelay, g.u.Name)
	}
	r.Unanswered = unanswered(out.Err)
	return r
}

// telling decides how much is told now, and when to look again at the latest
// for the rest; zero is as the outcome has it.
func (e *Engine) telling(ctx context.Context, g *glance, out *Outcome) (telling, time.Duration) {
	t := g.t
	switch {
	case fault.Is(out.Err, fault.NotYetRead):
		return tellNothing, time.Minute // what is missing wakes it
	case errors.Is(context.Cause(ctx), loop.ErrUnreachable):
		return tellNothing, 0 // which is told in its place
	}
	if wait := t.grace(g.u, out.Err); wait > 0 && !g.awaited() {
		return tellInterim, wait
	}
	if e.registry.uncrowd(t) && e.mayLag(g, out) {
		t.late = true
		return tellLive, 0
	}
	if out.Err == nil && out.applied() {
		e.registry.applied(t, out.Revision, out.Digest)
	}
	t.held = fault.Is(out.Err, fault.PruneHeld)
	out.Stands = t.steady(g.u, *out)
	switch again := t.pace(g.u, out, g.stored); {
	case !again.skip || g.u.Operation != nil && t.operation != t.toldOf:
		return tellAll, again.after
	case len(out.Changes()) > 0:
		return tellInterim, again.after
	default:
		return tellNothing, again.after
	}
}

// mayLag reports whether what became of a unit may be told later: many units
// have something to write, and first it is live, then all say so.
func (e *Engine) mayLag(g *glance, out *Outcome) bool {
	return out.Err == nil && len(out.Changes()) > 0 && !g.stored && !g.awaited() && !e.registry.isWaitedFor(g.u.Name)
}

// tellAll tells an outcome, and says when to look again: after again, if that is
// not zero, at the latest.
func (e *Engine) tellAll(ctx context.Context, g *glance, out Outcome, again time.Duration) loop.Result {
	if g.asked {
		out.Handled = g.u.Requested
	}
	out.Late, g.t.late = g.t.late, false
	err := g.put.Dialect.Report(ctx, g.put, out)
	next := g.t.next(g.u, out)
	if again > 0 {
		next = min(next, again)
	}
	return e.told(g, out, err, next)
}

// told notes an outcome that was told, unless it could not be.
func (e *Engine) told(g *glance, out Outcome, err error, again time.Duration) loop.Result {
	t := g.t
	e.registry.store(t, out.Inventory)
	if err != nil {
		e.o.Log.Error("could not tell what became of a unit", "unit", g.u.Name, "err", err)
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
	t.toldOf = out.Operation
	t.last = out.Kept()
	t.rest = atRest{}
	if out.Err == nil && out.AtRest() {
		t.rest = atRest{valid: true, stirs: g.stirs, artifacts: g.artifacts}
	}
	if e.registry.stood(t, t.standing(g.u, out)) {
		e.stir(loop.Normal, e.registry.from(e.registry.dependents, g.u.Name)...)
	}
	return loop.Result{Again: again}
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
	if same && was.Message == is.Message {
		return pacing{after: t.deadline(out, waitingLooked), skip: true}
	}
	if left := waitingTold - time.Since(t.told); same && left > 0 {
		return pacing{after: t.deadline(out, left), skip: true}
	}
	t.told = time.Now()
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

// unanswered reports whether the server may have given no answer.
func unanswered(err error) bool {
	return fault.Is(err, fault.NotAnswering) || errors.Is(err, context.DeadlineExceeded)
}

// unreachable tells that the server of a unit has not answered since then. What
// needs no server is done.
func (e *Engine) unreachable(ctx context.Context, name string, since time.Time, why error) (again time.Duration) {
	t, u, stirs, ok := e.registry.find(name)
	switch {
	case t == nil:
		return 0
	case !ok:
		e.depart(name)
		return 0
	case u.Suspended && !u.Leaving, u.Target.Config == nil:
		return 0 // of plumb's own server there is nobody to tell
	}
	g := &glance{t: t, put: u, u: u, stirs: stirs, began: time.Now()}
	if u.Leaving && (!u.Removal.Deletes || u.Removal.Orphaned != "") {
		return e.seeOff(ctx, g).Again
	}
	applied, _ := e.registry.lastApplied(t)
	silence := fmt.Errorf("its cluster %s has not answered since %s", server(u.Target), since.UTC().Format(time.RFC3339))
	if !errors.Is(why, context.DeadlineExceeded) {
		silence = fmt.Errorf("%w: %w", silence, why)
	}
	out := Outcome{Inventory: e.registry.remembered(t), Revision: applied, Unreachable: since, Err: &fault.Error{
		Next: fault.Wait, Reason: fault.NotAnswering, Err: silence,
		Hint: "what became of the objects there is not known; it goes on when the cluster answers",
	}}
	out.conclude(out.Err)
	return e.told(g, out, u.Dialect.Report(ctx, u, out), 0).Again
}

// seeOff deletes what a unit that is being deleted has applied, as it asks for.
func (e *Engine) seeOff(ctx context.Context, g *glance) loop.Result {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	out := e.removal(ctx, g)
	out.Took = time.Since(g.began)
	if errors.Is(context.Cause(ctx), loop.ErrUnreachable) {
		return loop.Result{}
	}
	again := time.Duration(0)
	if out.State != Removed {
		going := out
		going.Err = errors.Join(out.Err, errors.New("deletion goes on"))
		again = g.t.next(g.u, going)
	}
	r := e.told(g, out, g.put.Dialect.Report(ctx, g.put, out), again)
	r.Unanswered = unanswered(out.Err)
	return r
}

func (e *Engine) removal(ctx context.Context, g *glance) (out Outcome) {
	u := g.u
	out.Inventory = e.registry.remembered(g.t)
	how := u.Removal
	switch {
	case !how.Deletes:
		out.State = Removed
		return out
	case how.Orphaned != "":
		out.State, out.Orphaned, out.Err = Removed, out.Inventory, errors.New(how.Orphaned)
		return out
	case u.Refused != nil:
		out.State, out.Err = Removing, u.Refused
		return out
	}
	gone, err := e.accountGone(ctx, u.Target)
	switch {
	case err != nil:
		out.State, out.Err = Removing, err
		return out
	case gone != nil:
		out.State, out.Orphaned, out.Err = Removed, out.Inventory, gone
		return out
	}
	if artifacts, err := e.artifacts(ctx, u); err == nil {
		u.Artifacts = artifacts
	}
	out, err = e.Remove(ctx, u)
	switch {
	case out.State == Removing:
		out.Err = err
	case err == nil && how.Waits && len(out.Inventory) > 0:
		out.State = Removing
	}
	return out
}

// accountGone says that the account that a unit acts as does not exist, if so:
// without it nothing can be done in its name any more, today or later.
func (e *Engine) accountGone(ctx context.Context, t Target) (gone, err error) {
	ns, name, ok := cluster.Account(t.User)
	if !ok {
		return nil, nil
	}
	_, err = e.Read(ctx, t, object.Ref{Kind: "ServiceAccount", Namespace: ns, Name: name}, "v1")
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("ServiceAccount %s/%s does not exist", ns, name), nil
	}
	return nil, err
}

// SpecIsWrong reports whether nothing but another spec helps.
func (o Outcome) SpecIsWrong() bool {
	var s specFault
	return errors.As(o.Err, &s)
}

// A specFault is an error that only another spec mends.
type specFault struct{ error }

func (s specFault) Unwrap() error { return s.error }

// ping returns nil if the server answers something.
func (e *Engine) ping(ctx context.Context, host string) error {
	for _, c := range e.clusters() {
		if cluster.Host(c.Config()) == host || host == "" && c.ID == "" {
			return c.Answers(ctx)
		}
	}
	return nil // nobody has connected to it yet
}

func (e *Engine) clusters() []*cluster.Cluster {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*cluster.Cluster, 0, len(e.at))
	for _, p := range e.at {
		out = append(out, p.Cluster)
	}
	return out
}
