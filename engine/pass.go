package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// A pass is one look at one unit: what is observed, what is planned from that,
// and what became of the plan. All who look at a unit take the same way.
type pass struct {
	*Engine
	unit   Unit
	st     *state
	place  *place
	client *cluster.Client
	ledger Ledger // nil: nothing new is written
	holds  bool   // it stays where it is, also while an operation runs

	// What was observed.
	items   []apply.Item
	unknown []apply.Item        // desired, of kinds that the cluster does not have
	kindErr error               // which these are
	whole   bool                // what is desired is what was applied last
	alike   map[object.Ref]bool // as desired in all that counts

	applier *apply.Applier
	plan    *apply.Plan
	record  *apply.Record
	goesOn  bool // something is yet to be deleted that nothing speaks against
	refused bool // a hook was
	judged  bool // how healthy its own objects are
	out     Outcome
}

func (w *pass) dry() bool { return w.applier.Dry }

// begin finds the cluster of a unit and who acts there.
func (e *Engine) begin(u Unit, ledger Ledger) (*pass, error) {
	w := &pass{Engine: e, unit: u, st: e.state(u), ledger: ledger}
	w.out.Inventory = w.st.inventory
	if len(u.Artifacts) > 0 {
		w.out.Revision, w.out.Commit = u.Revision(), u.Artifacts[0].Commit
	}
	var err error
	if w.place, err = e.place(u.Target, u.Name); err != nil {
		return w, err
	}
	w.client, err = w.place.As(u.Target.User)
	return w, err
}

// end says what the look came to.
func (w *pass) end(err error) (Outcome, error) {
	now := time.Now()
	w.out.Inventory, w.out.hooks = w.st.inventory, len(w.st.hooks) > 0 && !w.out.Rehearsed
	w.st.following = nil // the watch has its own
	w.out.Plan, w.out.Record = w.plan, w.record
	w.tellHealth()
	var next time.Time
	if w.out.Fights, next = w.st.fights.Told(now); !next.IsZero() {
		w.out.Next = sooner(w.out.Next, next)
	}
	if fault.Is(err, fault.UnknownKind) && w.place.watch != nil {
		if since := now.Sub(w.place.watch.KindsChanged()); since < kindsLate {
			w.out.Next = sooner(w.out.Next, now.Add(max(time.Second, since)))
		}
	}
	if w.place != nil && w.place.watch != nil && w.st.asksAPIs {
		w.place.watch.AwaitKinds(w.unit.Name)
		if told := w.place.watch.KindsChanged().Add(kindsTold); told.After(now) {
			w.out.Next = sooner(w.out.Next, told)
		}
	}
	w.out.conclude(err)
	return w.out, err
}

// kindsLate is how long after a definition has come a server that is busy may
// begin to serve its kind. Until then it is asked again, with pauses that grow.
const kindsLate = time.Minute

// observeDesired renders the unit, and tells apart what the cluster has no kind
// for.
func (w *pass) observeDesired(ctx context.Context) error {
	r, err := w.render(ctx, w.unit, w.st)
	if err != nil {
		return err
	}
	w.out.Digest, w.whole = r.Digest(), r.Digest() == w.unit.AppliedDigest
	if w.items, w.unknown, err = w.Engine.items(ctx, w.unit, w.st, w.place, r); err != nil {
		return err
	}
	w.out.Doubted = doubted(w.items, w.st.hooks)
	w.out.Left, w.out.Repeated, w.out.RemovalHooks = left(w.items), w.st.repeated, w.st.removalHooks()
	return nil
}

// ErrWatchStarts is the cause of an outcome that comes before anything is known
// of the live objects. The next one comes when they are.
var ErrWatchStarts = errors.New("the watch on the objects of this unit is starting")

// observeLive has the watch follow the unit's objects, and waits for no answer.
func (w *pass) observeLive(ctx context.Context) (err error) {
	if w.kindErr, err = w.follow(ctx, w.unit, w.st, w.place, w.items); err != nil {
		return err
	}
	if w.kindErr == nil && len(w.unknown) > 0 {
		w.kindErr = errors.New("a kind has come since; trying again")
	}
	synced, err := w.place.watch.Synced(w.unit.Name)
	e := &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: err}
	switch {
	case synced:
		return err
	case err == nil:
		e.Err = ErrWatchStarts
		w.out.unseen = w.unmet()
	}
	if slices.ContainsFunc(apply.Errors(err), apierrors.IsNotFound) {
		e.After = kindGoneAfter
		if err := w.unfollowGone(ctx); err != nil {
			return err
		}
	}
	return e
}

// kindGoneAfter is when to look again at a kind that can't be watched any more.
// The server may not say at once that it is gone.
const kindGoneAfter = 2 * time.Second

// unfollowGone looks up the kinds anew, and has the watch leave those that have
// gone since they were looked up.
func (w *pass) unfollowGone(ctx context.Context) error {
	w.place.Forget()
	w.st.prepFor = ""
	w.st.following = slices.DeleteFunc(w.st.following, func(t watch.Target) bool {
		_, err := w.place.Mapping(ctx, t.Ref.GroupKind().WithVersion(t.Version))
		return fault.Is(err, fault.UnknownKind)
	})
	return w.place.watch.Follow(ctx, w.unit.Name, w.st.following)
}

// unmet reports whether this process has not seen the objects of a unit yet, of
// which another has told.
func (w *pass) unmet() bool { return !w.st.met && len(w.unit.Remembers) > 0 }

// facts are what was observed.
func (w *pass) facts(ctx context.Context, live func(object.Ref) (apply.Live, bool)) apply.Facts {
	u, st := w.unit, w.st
	f := apply.Facts{
		Admits: func(r object.Ref) error { return u.Objects.Admits(u, r) },
		Items:  w.items, Unknown: w.unknown, Hooks: w.hooks(), Course: w.course(), Inventory: st.inventory, Managers: u.Managers, Order: u.Order, Live: live, Policy: u.policy,
		Permission: u.Permission, Alike: w.alike, Whole: w.whole, Fights: st.fights, Now: time.Now(),
		Pruning: apply.Pruning{
			Enabled: u.Prune.Enabled, Leaving: u.Leaving, AllowEmpty: u.Prune.AllowEmpty, Asks: u.Prune.Asks, Confirmed: u.Prune.Confirmed, Tracks: u.Prune.Tracks, Withheld: st.held || u.Prune.Held, Path: u.paths(),
		},
	}
	if u.Leaving {
		f.Pruning.Asks, f.Pruning.Confirmed = u.Removal.Asks, u.Removal.Confirmed
	}
	f.Force, f.Replace, f.Late = u.Force, u.Replace, u.Late
	if revision := u.Revision(); revision != "" {
		f.Pruning.Revision = revision
		f.Pruning.Approved = u.Prune.Approved == revision || u.Prune.Approved == AnyRevision
		if u.Applied == revision {
			f.Done = make(map[object.Ref]bool, len(u.Remembers))
			for _, en := range u.Remembers {
				f.Done[en.Ref] = true
			}
		}
	}
	if u.Permission == apply.Everything && (u.Prune.Enabled || u.Leaving) {
		f.Claims = w.claimsOn(ctx, f.Surplus())
	}
	return f
}

// live returns what a plan may know of an object. What is in doubt is as a rule
// found out by trying to write it; where that is not permitted, it is read.
func (w *pass) live(ctx context.Context) (func(object.Ref) (apply.Live, bool), error) {
	watched := w.place.live(w.unit, w.st)
	if w.unit.Permission != apply.LookOnly {
		return watched, nil
	}
	var doubted []apply.Item
	for _, it := range w.items {
		if l, known := watched(it.Ref); known && l.Exists && !l.Settled && l.Object == nil && it.Policy.Mode != apply.Ignore {
			doubted = append(doubted, it)
		}
	}
	read, err := readAll(ctx, w.client, doubted)
	if err != nil || len(doubted) == 0 {
		return watched, err
	}
	asked := make(map[object.Ref]bool, len(doubted))
	for _, it := range doubted {
		asked[it.Ref] = true
	}
	return func(r object.Ref) (apply.Live, bool) {
		l, known := watched(r)
		if asked[r] && known && l.Object == nil {
			o := read[r]
			l.Object, l.Exists, l.Deleting = o, o != nil, o != nil && o.GetDeletionTimestamp() != nil
		}
		return l, known
	}, nil
}

// makePlan plans from what was observed.
func (w *pass) makePlan(f apply.Facts) error {
	plan, ok := apply.Make(f)
	if !ok {
		w.out.unseen = w.unmet()
		return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("an object of this unit is not known yet")}
	}
	w.plan, w.record, w.st.met = plan, apply.Begin(plan), true
	w.st.fights, w.st.held = plan.Fights(), plan.Withheld
	return nil
}

// act does what the plan says. What something speaks against is in the error
// last, since all else is done first.
func (w *pass) act(ctx context.Context) error {
	w.applier.Settle(w.plan)
	if err := w.plan.NotAdmitted(); err != nil && w.unit.Permission == apply.Everything && !w.dry() {
		apply.Block(w.record.All(), "nothing is done while something is not admitted")
		return err
	}
	if err := w.missing(time.Now()); err != nil {
		apply.Block(w.record.All(), "nothing is done while the cluster lacks a kind")
		return err
	}
	err := w.write(ctx)
	if err == nil {
		err = w.prune(ctx)
	}
	apply.Block(w.record.All(), w.blockedBy())
	return err
}

// blockedBy says what keeps the rest of the plan from being done.
func (w *pass) blockedBy() string {
	for _, r := range w.record.All() {
		switch {
		case r.Did == apply.Refused:
			return fmt.Sprintf("it waits for %s, which is refused", r.Ref)
		case r.KindComes():
			return fmt.Sprintf("it waits for the kind of %s", r.Ref)
		}
	}
	return "what comes before it has to be done first"
}

// write makes the changes of the plan, stage by stage. What they bring is in the
// stored inventory before it is written, but not before the server has let it
// pass: what was refused was never there.
func (w *pass) write(ctx context.Context) error {
	if w.unit.Permission == apply.Everything {
		w.st.inventory = apply.Union(w.present(), apply.Without(w.st.inventory, notOurs(w.items, w.st.hooks)))
	}
	var stages [][]*apply.Result
	for _, s := range w.plan.Stages() {
		stages = append(stages, w.record.Of(s))
	}
	for i, stage := range stages {
		if !w.dry() && slices.ContainsFunc(stage, func(c *apply.Result) bool { return c.KindComes() }) {
			return errors.Join(w.kindErr, w.correct(ctx, stage, stages[i+1:]))
		}
		if err := w.writeStage(ctx, stage, stages[i+1:]); err != nil {
			return err
		}
	}
	return nil
}

// writeStage makes the changes of a stage step by step. If the server refuses
// something of it, it makes none, but for what the refused object may have
// lacked, and what was there before.
func (w *pass) writeStage(ctx context.Context, stage []*apply.Result, later [][]*apply.Result) error {
	stage, err := w.refuses(stage, w.applier.Try(ctx, stage))
	if err != nil {
		return errors.Join(err, w.correct(ctx, stage, later))
	}
	steps := apply.Steps(stage)
	for n, step := range steps {
		rest := slices.Concat(steps[n:]...)
		if err := w.applier.TryRest(ctx, step, rest); err != nil {
			return errors.Join(err, w.correct(ctx, rest, later))
		}
		if err := w.remember(ctx, rest); err != nil {
			return err
		}
		if err := w.makeStep(ctx, step); err != nil {
			return err
		}
	}
	if w.dry() {
		for _, c := range stage {
			if c.Action == apply.Create || c.Action == apply.Recreate {
				w.applier.Coming[c.Ref] = true
			}
		}
		return nil
	}
	return w.established(stage)
}

// present are the entries of what is there already, as it should be or as it
// is left.
func (w *pass) present() (entries []apply.Entry) {
	for _, c := range w.plan.Changes {
		switch c.Rule {
		case apply.RuleIgnored, apply.RuleUnknownKind, apply.RulePermission, apply.RuleStageOrder, apply.RuleSelection, apply.RuleFailed,
			apply.RuleStepOrder, apply.RuleNeeded:
			continue
		}
		if !c.Surplus && c.Hook == nil && !c.Aside {
			entries = append(entries, c.Entry())
		}
	}
	return entries
}

// remember stores those entries of the inventory that changes bring, if the
// server has let them pass.
func (w *pass) remember(ctx context.Context, changes []*apply.Result) error {
	if w.ledger == nil {
		return nil // there is nothing new
	}
	var brings []apply.Entry
	for _, c := range apply.Tried(changes) {
		if c.Hook != nil || c.Aside {
			continue
		}
		brings = append(brings, c.Entry())
	}
	grown := apply.Union(brings, w.st.inventory)
	if slices.Equal(grown, w.st.inventory) {
		return nil
	}
	if err := w.ledger.Store(ctx, grown); err != nil {
		return fmt.Errorf("store the inventory, before writing what is new in it: %w", err)
	}
	w.st.inventory = grown
	return nil
}

// makeStep makes the changes of a step that was tried, and notes those that put
// something back.
func (w *pass) makeStep(ctx context.Context, step []*apply.Result) error {
	_, err := w.refuses(step, w.applier.Stage(ctx, step))
	for _, c := range step {
		if c.Did == apply.Written {
			w.st.fights.Note(c, time.Now())
		}
	}
	return err
}

// correct puts back what was applied before, where a stage as a whole was
// refused: a commit that can't be applied must not keep the rest of its unit
// from being held true.
func (w *pass) correct(ctx context.Context, stage []*apply.Result, later [][]*apply.Result) error {
	errs := []error{w.applier.Try(ctx, back(apply.Untried(stage)))}
	corrections := apply.Corrections(stage)
	for _, stage := range later {
		try := back(stage)
		if w.dry() {
			try = stage // that more is refused can be said at once
		}
		errs = append(errs, w.applier.Try(ctx, try))
		corrections = append(corrections, apply.Corrections(stage)...)
	}
	return errors.Join(append(errs, w.makeStep(ctx, corrections))...)
}

// back are those of some changes that put back what was applied before.
func back(stage []*apply.Result) []*apply.Result {
	return slices.DeleteFunc(slices.Clone(stage), func(c *apply.Result) bool { return !c.Back })
}

// notOurs are the objects that are in no inventory: they are left alone, needed
// before all else, or hooks.
func notOurs(items, hooks []apply.Item) map[object.Ref]bool {
	set := unlisted(items)
	for _, it := range hooks {
		set[it.Ref] = true
	}
	return set
}

// unlisted are the desired objects that are in no inventory.
func unlisted(items []apply.Item) map[object.Ref]bool {
	set := make(map[object.Ref]bool)
	for _, it := range items {
		if it.Policy.Mode == apply.Ignore || it.Aside {
			set[it.Ref] = true
		}
	}
	return set
}

// established makes what follows a stage wait for its CRDs. Their own events
// wake the unit.
func (w *pass) established(stage []*apply.Result) error {
	for _, c := range stage {
		if c.Ref.Kind != "CustomResourceDefinition" {
			continue
		}
		w.place.Forget()
		l, _ := w.place.watch.Live(w.unit.Name, c.Ref)
		if l.Health.Status != health.Current {
			return &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing, Object: c.Ref,
				Err: errors.New("waits for the definition to be established"),
			}
		}
	}
	return nil
}

// prune deletes what the plan says, and lets go of what is no longer the unit's.
func (w *pass) prune(ctx context.Context) error {
	surplus := w.record.Of(w.plan.Surplus())
	if len(surplus) == 0 {
		return nil
	}
	var going []*apply.Result
	for _, c := range surplus {
		switch c.Action {
		case apply.Delete:
			going = append(going, c)
		case apply.Release:
			c.Absent, c.Did = true, apply.Left
			if c.Rule == apply.RuleClaimed {
				c.Did = apply.Released
			}
		}
	}
	err := w.delete(ctx, going)
	if !w.dry() && w.unit.Permission == apply.Everything {
		w.letGo(surplus)
	}
	return errors.Join(w.plan.Guard, err)
}

// letGo takes out of the inventory what is gone or another's.
func (w *pass) letGo(surplus []*apply.Result) {
	gone := map[object.Ref]bool{}
	for _, c := range surplus {
		if c.Absent {
			gone[c.Ref] = true
		}
		w.place.watch.Unsettle(w.unit.Name, c.Ref) // should it come back, it is new
	}
	w.st.inventory = apply.Without(w.st.inventory, gone)
	for _, c := range surplus {
		if c.Did == apply.Released {
			w.wake(c.By)
		}
	}
}

// delete deletes, a step at a time, as [apply.Order] has it: what still has work
// to do as it goes keeps what it may need for that.
func (w *pass) delete(ctx context.Context, prune []*apply.Result) error {
	leaving := make(map[object.Ref]bool, len(prune))
	var errs []error
	steps := apply.Leaving(prune)
	for i, step := range steps {
		var going []*apply.Result
		failed := false
		for _, c := range step {
			if err := w.applier.Prune(ctx, c, leaving); err != nil {
				errs = append(errs, err)
				failed = failed || !fault.Is(err, fault.PruneProtected)
			}
			if c.Is(apply.Deleted, apply.Would) {
				leaving[c.Ref] = true
			}
			if c.Did == apply.Going || c.Did == apply.Deleted && !c.Absent {
				going = append(going, c)
			}
		}
		w.goesOn = w.goesOn || failed
		later := slices.Concat(steps[i+1:]...)
		if len(later) == 0 || !failed && len(going) == 0 {
			continue
		}
		apply.Block(later, "what was deleted before it may still need it")
		w.goesOn = true
		if !failed {
			errs = append(errs, &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing,
				Err: fmt.Errorf("%s deleted once %s gone", areAll(later, resultRef), areAll(going, resultRef)),
			})
		}
		break
	}
	if err := errors.Join(errs...); err != nil {
		f := fault.Of(err)
		reason := f.Reason
		if reason == "" || reason == fault.ReconciliationFailed {
			reason = fault.PruneFailed
		}
		return &fault.Error{Next: f.Next, Reason: reason, Err: err}
	}
	return nil
}

// areAll names some objects as the subject of a sentence.
func areAll[T any](these []T, ref func(T) object.Ref) string {
	const most = 5
	refs := make([]object.Ref, len(these))
	for i, t := range these {
		refs[i] = ref(t)
	}
	if len(refs) == 1 {
		return refs[0].String() + " is"
	}
	return object.Names(refs, most) + " are"
}

func resultRef(c *apply.Result) object.Ref { return c.Ref }

func entryRef(e apply.Entry) object.Ref { return e.Ref }

// endingGrace is how long an object may be on its way out before its unit is
// no longer said to be ready.
const endingGrace = 10 * time.Second

// heldUp says what the first object that has to go first waits for.
func (w *pass) heldUp(now time.Time) error {
	before := w.st.ending
	w.st.ending = map[object.Ref]time.Time{}
	var first *apply.Result
	for _, c := range w.record.Held() {
		planned := c.Rule == apply.RuleEnding || c.Rule == apply.RuleNamespaceEnds
		if !planned && (c.Surplus || c.Did != apply.Going) {
			continue
		}
		if first == nil {
			first = c
		}
		w.st.ending[c.Ref] = now
		if since, ok := before[c.Ref]; ok {
			w.st.ending[c.Ref] = since
		}
	}
	if first == nil {
		return nil
	}
	e := &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Object: first.Ref, Err: errors.New(first.Why)}
	switch over := w.st.ending[first.Ref].Add(endingGrace); {
	case first.Reason != "":
		e.Reason = first.Reason
	case now.Before(over):
		w.out.Next = sooner(w.out.Next, over)
	default:
		e.Reason, e.Hint = fault.Terminating, "see its finalizers"
	}
	return e
}

// actor returns what acts for the unit.
func (w *pass) actor(ctx context.Context) *apply.Applier {
	u := w.unit
	confirmed, propagation := u.Prune.Confirmed, u.Prune.Propagation
	if u.Leaving {
		confirmed, propagation = u.Removal.Confirmed, u.Removal.Propagation
	}
	marks := u.Objects.Marks(u)
	return &apply.Applier{
		Client: w.client, Managers: u.Managers, Force: u.Force, Replace: u.Replace, Policy: u.policy,
		Leaving: u.Leaving, Confirmed: confirmed, Propagation: propagation,
		Marks: func(r object.Ref) (labels, annotations map[string]string) {
			m := marks(r)
			return m.Labels, m.Annotations
		},
		Namespaces: append([]string{u.Namespace}, u.Prune.Protected...),
		Secrets:    secretsOf(u, w.items),
		Mine:       mine(u),
		MayTake:    w.mayTake(ctx, u),
		Settled:    settled(u, w.place),
	}
}
