package engine

import (
	"context"
	"errors"
	"fmt"
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

// lookTimeout is how long one look may take. None waits for anything but answers
// to its own requests.
const lookTimeout = 2 * time.Minute

// A reconciliation is what a look begins with.
type reconciliation struct {
	t         *tracked
	put       Unit // as the dialect has put it
	u         Unit // as it is looked at
	wakes     uint64
	artifacts []*source.Artifact
	noSource  error
	asked     bool // by a person
	operating bool // the unit's operation runs
	began     time.Time
	stored    bool // the inventory was stored meanwhile, and said that it goes on
}

// awaited reports whether somebody waits for what the look comes to.
func (rec *reconciliation) awaited() bool {
	return rec.asked || rec.operating || rec.put.Operation != nil
}

// look looks at a unit once, does what can be done now, and tells what came of
// it.
func (e *Engine) look(ctx context.Context, name string) (r loop.Result) {
	t, u, wakes, ok := e.registry.find(name)
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
	defer e.pack(name)
	rec := &reconciliation{t: t, put: u, u: u, wakes: wakes, asked: u.Requested != "" && u.Requested != t.handled, began: time.Now()}
	if u.Leaving {
		return e.seeOff(ctx, rec)
	}
	t.touched = e.registry.touches(t)
	newest := e.newest(ctx, u)
	t.adopt(u, rec.began)
	t.supersede(newest, rec.began)
	e.operate(ctx, rec, newest)
	rests := !rec.asked && !rec.operating && (rec.u.Operation == nil || t.operation.same(t.toldOf)) && t.resting(rec) && e.Rests(name)
	switch left := t.foldedLeft(); {
	case rests && t.folded && left > 0:
		return loop.Result{Again: left}
	case rests && !t.folded:
		out := t.last
		out.Rested = true
		return e.tell(ctx, rec, out, soon(u.Interval))
	}
	out := e.run(ctx, rec)
	if t.begins(ctx, rec, out) {
		e.operate(ctx, rec, newest)
		out = e.run(ctx, rec)
	}
	return e.conclude(ctx, rec, out)
}

// operate makes the unit what it is while its operation runs, if one does.
func (e *Engine) operate(ctx context.Context, rec *reconciliation, newest []*source.Artifact) {
	rec.u, rec.operating = rec.t.operate(rec.put, rec.began)
	rec.artifacts, rec.noSource = e.artifacts(ctx, rec.u)
	rec.t.pin(rec, newest)
}

// broken tells that a look ended in a panic, which is a fault of plumb's, and
// must be nobody else's.
func (e *Engine) broken(ctx context.Context, t *tracked, u Unit, v any) loop.Result {
	text := fmt.Sprintf("%T", v) // more may quote what nobody may read
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	e.o.Log.Error("a look at a unit broke off; this is a fault of plumb, please report it", "unit", u.Name, "err", text, "stack", string(debug.Stack()))
	rec := &reconciliation{t: t, put: u, u: u, began: time.Now()}
	out := Outcome{Inventory: e.registry.remembered(t), Err: &fault.Error{
		Next: fault.Retry, Reason: fault.InternalError, Err: errors.New("plumb itself failed at this unit; its log says where"),
		Hint: "nothing of it is changed meanwhile; please report it",
	}}
	out.conclude(out.Err)
	return e.tell(ctx, rec, out, t.next(u, out))
}

// depart forgets a unit that is no more.
func (e *Engine) depart(name string) {
	e.Forget(name)
	if e.registry.drop(name) {
		e.loop.Delete(name)
	}
}

// resting reports whether the unit came to rest, and nothing has happened since.
func (t *tracked) resting(rec *reconciliation) bool {
	return t.rest.valid && rec.noSource == nil && t.rest.wakes == rec.wakes && slices.Equal(t.rest.artifacts, rec.artifacts)
}

// newest are the artifacts that operations on u are measured by; without any,
// one that runs goes on.
func (e *Engine) newest(ctx context.Context, u Unit) []*source.Artifact {
	if u.Operation == nil && u.Automation == nil {
		return nil
	}
	artifacts, err := e.artifacts(ctx, u)
	if err != nil {
		return nil
	}
	return artifacts
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
func (e *Engine) run(ctx context.Context, rec *reconciliation) Outcome {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	rec.u.Applied, rec.u.AppliedDigest = e.registry.lastApplied(rec.t)
	rec.u.Prune.Held = rec.t.held
	out := e.forward(ctx, rec)
	if out.Err != nil && out.Plan == nil && ctx.Err() == nil && !fault.Is(out.Err, fault.NotYetRead) && !fault.Is(out.Err, fault.NotAnswering) {
		out.Err = errors.Join(out.Err, e.holdTrue(ctx, rec, &out))
	}
	if out.Err != nil {
		out.conclude(out.Err)
	}
	return out
}

func (e *Engine) forward(ctx context.Context, rec *reconciliation) (out Outcome) {
	u := &rec.u
	out.Inventory = e.registry.remembered(rec.t)
	if u.Refused != nil {
		out.Err = u.Refused
		if fault.Of(out.Err).Next == fault.Stall {
			out.Err = specFault{out.Err}
		}
		return out
	}
	if rec.noSource != nil {
		out.Err = rec.noSource
		return out
	}
	if len(rec.artifacts) == 0 {
		out.Err = specFault{&fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("it names no source")}}
		return out
	}
	u.Artifacts = rec.artifacts
	out.Revision = u.Revision()
	if err := e.dependencies(ctx, *u); err != nil {
		if rec.operating && fault.Of(err).Next == fault.Wait {
			return e.meanwhile(ctx, rec, err)
		}
		if out.Err = err; fault.Of(err).Next == fault.Stall {
			out.Err = specFault{err}
		}
		return out
	}
	if rec.asked {
		e.Doubt(u.Name)
	}
	out, err := e.Run(ctx, *u, &ledger{e, rec})
	out.Err = err
	return out
}

// meanwhile does what a unit may do without its operation, which waits for others.
func (e *Engine) meanwhile(ctx context.Context, rec *reconciliation, waits error) Outcome {
	u := rec.u
	u.Permission, u.Underway = rec.put.Permission, nil
	out, err := e.Run(ctx, u, &ledger{e, rec})
	if fault.Is(err, fault.Progressing) {
		err = nil // that it goes on is no news
	}
	out.Err = errors.Join(waits, err)
	return out
}

// holdTrue puts right what somebody has changed in what the unit has applied,
// and adds to out what that came to.
func (e *Engine) holdTrue(ctx context.Context, rec *reconciliation, out *Outcome) error {
	u := rec.u
	u.Permission = rec.put.Permission // what an operation may do is not done while it waits
	if len(out.Inventory) == 0 || u.Target.Invalid {
		return nil
	}
	if u.Refused == nil {
		u.Artifacts = rec.artifacts
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
	e   *Engine
	rec *reconciliation
}

// Store implements [Ledger].
func (l *ledger) Store(ctx context.Context, entries []apply.Entry) error {
	l.rec.stored = true
	l.e.registry.store(l.rec.t, entries) // also should it be stored without our hearing of it
	return l.rec.put.Dialect.Store(ctx, l.rec.put, entries)
}

// unanswered reports whether the server may have given no answer.
func unanswered(err error) bool {
	return fault.Is(err, fault.NotAnswering) || errors.Is(err, context.DeadlineExceeded)
}

// unreachable tells that the server of a unit has not answered since then. What
// needs no server is done.
func (e *Engine) unreachable(ctx context.Context, name string, since time.Time, why error) (again time.Duration) {
	t, u, wakes, ok := e.registry.find(name)
	switch {
	case t == nil:
		return 0
	case !ok:
		e.depart(name)
		return 0
	case u.Suspended && !u.Leaving, u.Target.Config == nil:
		return 0 // of plumb's own server there is nobody to tell
	}
	rec := &reconciliation{t: t, put: u, u: u, wakes: wakes, began: time.Now()}
	if u.Leaving && (!u.Removal.Deletes || u.Removal.Orphaned != "") {
		return e.seeOff(ctx, rec).Again
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
	return e.tell(ctx, rec, out, 0).Again
}

// seeOff deletes what a unit that is being deleted has applied, as it asks for.
func (e *Engine) seeOff(ctx context.Context, rec *reconciliation) loop.Result {
	within, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	out := e.removal(within, rec)
	if rec.asked {
		out.Handled = rec.u.Requested
	}
	out.Took = time.Since(rec.began)
	if ctx.Err() != nil {
		return loop.Result{} // it broke off
	}
	again := time.Duration(0)
	if out.State != Removed {
		going := out
		going.Err = errors.Join(out.Err, errors.New("deletion goes on"))
		again = rec.t.next(rec.u, going)
	}
	r := e.tell(ctx, rec, out, again)
	r.Unanswered = unanswered(out.Err)
	return r
}

func (e *Engine) removal(ctx context.Context, rec *reconciliation) (out Outcome) {
	u := rec.u
	out.Inventory = e.registry.remembered(rec.t)
	how := u.Removal
	if made := rec.t.operation.Hooks; len(made) > 0 {
		u.Hooks = made
	}
	switch {
	case how.Phase != apply.Main:
		return e.removalHooksOf(ctx, u, out)
	case !how.Deletes:
		out.State, out.Err = Removed, e.letGo(ctx, u) // which is no reason to stay
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
		out.State, out.Err = Removing, &fault.Error{
			Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s not gone yet", areAll(out.Inventory, entryRef)),
		}
	}
	return out
}

// removalHooksOf is removal where it is about hooks. These come from the source: no
// hook is taken to have run for the lack of that.
func (e *Engine) removalHooksOf(ctx context.Context, u Unit, out Outcome) Outcome {
	err := u.Refused
	if err == nil {
		u.Artifacts, err = e.artifacts(ctx, u)
	}
	if err == nil {
		out, err = e.RemoveHooks(ctx, u)
	} else {
		out.State = Removing
	}
	out.Err = err
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
