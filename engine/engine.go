package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
	"plumb.dev/plumb/watch"
	"plumb.dev/plumb/watch/health"
)

// Options are what an Engine is made with.
type Options struct {
	Config *rest.Config // of the cluster that plumb runs in
	Log    *slog.Logger
	// Workers is how many units are looked at at once on the cluster that plumb
	// runs in, and Elsewhere on each other one.
	Workers, Elsewhere int
	// Artifact returns the newest artifact of a source, or why there is none.
	Artifact func(ctx context.Context, source string) (*source.Artifact, error)
	// RenderMemory bounds the renders that are kept in memory, in bytes.
	RenderMemory int64
	// Renders is where they are kept, too; nil is nowhere.
	Renders *render.Folder
	// Renderers render; nil: this process does.
	Renderers *render.Workers
}

// An Engine holds units true. It is safe for concurrent use.
type Engine struct {
	o        Options
	ctx      context.Context
	registry *registry
	loop     *loop.Loop
	cache    *render.Cache
	index    *claimIndex
	// units returns every unit there is, as far as it can be told, with the
	// names of those that can't, where they are not put beforehand. It is asked
	// once, before something is deleted or taken over.
	units func(context.Context) (units []Unit, unknown []string)
	// wake has a unit looked at. It does not block.
	wake func(unit string)

	mu     sync.Mutex
	at     map[string]*place
	states map[string]*state
	checks map[string]map[string]int // how many health checks, by namespace and unit
}

// A place is a cluster and the watch on it.
type place struct {
	*cluster.Cluster
	watch  *watch.Watch
	rights *cluster.Rights // nil: whoever asks has read all there is to tell
	stop   context.CancelFunc
	users  map[string]bool // units

	mu     sync.Mutex
	denied map[string]bool // units that wait for rights
}

// A state is what the engine remembers of a unit. Only Run for that unit
// touches it, but for claims.
type state struct {
	inventory []apply.Entry
	loaded    bool
	cluster   string

	// prepared are the items of a render, kept while it stands.
	prepared []apply.Item
	prepFor  string
	source   *rendered      // of prepared
	missing  []watch.Target // of kinds that the cluster does not have
	ignored  int            // of prepared: how many are left alone
	judges   map[Expr]*health.Judge
	since    time.Time // when waiting for health began, and for what
	sinceFor string
	contests map[object.Ref]*contest  // objects that somebody has changed of late
	ending   map[object.Ref]time.Time // objects that are being deleted: since when that is known
	held     bool                     // pruning
	waits    bool                     // for all its objects to be healthy

	sight

	mu       sync.Mutex
	rendered string // the last revision that could be rendered
}

// New returns an Engine that watches until ctx is done.
func New(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{
		o: o, ctx: ctx, cache: render.NewCache(o.RenderMemory),
		at: make(map[string]*place), states: make(map[string]*state), checks: make(map[string]map[string]int),
		registry: newRegistry(), index: newClaimIndex(),
	}
	e.wake = e.Wake
	e.loop = newLoop(e)
	if o.Renderers != nil {
		e.cache.RenderBy(o.Renderers)
	}
	if o.Renders != nil {
		e.cache.KeepIn(o.Renders, func(err error) { o.Log.Error("the folder for renders", "err", err) })
	}
	if _, err := e.place(Target{}, ""); err != nil {
		return nil, err
	}
	return e, nil
}

func newLoop(e *Engine) *loop.Loop {
	return loop.New(loop.Options{
		Workers: e.o.Workers, Elsewhere: e.o.Elsewhere, Look: e.look, Ping: e.ping, Unreachable: e.unreachable,
	})
}

func (e *Engine) place(t Target, unit string) (*place, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.at[t.Cluster]
	if p == nil {
		config := t.Config
		if t.Cluster == "" {
			config = e.o.Config
		}
		c, err := cluster.New(t.Cluster, config)
		if err != nil {
			return nil, err
		}
		self, err := c.As("")
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(e.ctx)
		w, err := watch.New(ctx, self, e.o.Log, e.wake)
		if err != nil {
			stop()
			return nil, err
		}
		p = &place{Cluster: c, watch: w, stop: stop, users: make(map[string]bool)}
		p.rights = cluster.NewRights(ctx, c, func() { e.rightsChanged(p) })
		e.at[t.Cluster] = p
	}
	if unit != "" {
		p.users[unit] = true
	}
	return p, nil
}

// leave ends a unit's use of a cluster, and the connection with the last.
func (e *Engine) leave(clusterID, unit string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.at[clusterID]
	if p == nil {
		return
	}
	p.watch.Leave(unit)
	delete(p.users, unit)
	if clusterID != "" && len(p.users) == 0 {
		p.stop()
		delete(e.at, clusterID)
	}
}

func (e *Engine) state(u Unit) *state {
	e.mu.Lock()
	st := e.states[u.Name]
	if st == nil {
		st = &state{contests: make(map[object.Ref]*contest), judges: make(map[Expr]*health.Judge)}
		e.states[u.Name] = st
	}
	e.mu.Unlock()
	if !st.loaded {
		st.inventory, st.loaded, st.cluster = u.Remembers, true, u.Target.Cluster
	}
	return st
}

// Stands reports whether a unit that has run would render to the same in t, as
// far as the tree goes. d is how t differs from the tree before it, if that is
// known.
func (e *Engine) Stands(unit string, t tree.Tree, d *tree.Diff) bool {
	return e.cache.Stands(unit, t, d)
}

// Rests reports whether nothing is known that a run of a unit would act on, if
// the unit and its source are as they were at the last run, and that came to
// rest. It may not be called while the unit runs.
func (e *Engine) Rests(unit string) bool {
	e.mu.Lock()
	st := e.states[unit]
	var p *place
	if st != nil {
		p = e.at[st.cluster]
	}
	e.mu.Unlock()
	if p == nil || st.prepFor == "" || len(st.prepared) != len(st.inventory)+st.ignored || len(st.contests) > 0 {
		return false
	}
	if synced, err := p.watch.Synced(unit); !synced || err != nil {
		return false
	}
	for _, it := range st.prepared {
		if it.Policy.Mode == apply.Ignore {
			continue
		}
		l, known := p.watch.Live(unit, it.Ref)
		if !known || !l.Settled || l.Deleting || l.Digest != it.Digest || st.waits && l.Health.Status != health.Current {
			return false
		}
	}
	return true
}

// Forget drops what is remembered of a unit that is no more.
func (e *Engine) Forget(unit string) {
	e.mu.Lock()
	st := e.states[unit]
	delete(e.states, unit)
	for _, units := range e.checks {
		delete(units, unit)
	}
	places := make([]string, 0, len(e.at))
	for id := range e.at {
		places = append(places, id)
	}
	e.mu.Unlock()
	e.cache.Forget(unit)
	if st != nil {
		for _, id := range places {
			e.leave(id, unit)
		}
	}
}

// Doubt has the next run of a unit ask the server about every object, instead
// of relying on what the watch has shown.
func (e *Engine) Doubt(unit string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	st := e.states[unit]
	if st == nil {
		return
	}
	p := e.at[st.cluster]
	if p == nil {
		return
	}
	for _, it := range st.inventory {
		p.watch.Unsettle(unit, it.Ref)
	}
}

// Read reads an object of a cluster in plumb's own name.
func (e *Engine) Read(ctx context.Context, t Target, ref object.Ref, version string) (*unstructured.Unstructured, error) {
	p, err := e.place(t, "")
	if err != nil {
		return nil, err
	}
	client, err := p.As("")
	if err != nil {
		return nil, err
	}
	return client.Get(ctx, ref, version)
}

// Run does for u what can be done now. The outcome holds all that was learned,
// also when there is an error.
func (e *Engine) Run(ctx context.Context, u Unit, ledger Ledger) (out Outcome, err error) {
	st := e.state(u)
	out.Revision, out.Commit = u.Source.Revision, u.Source.Commit
	defer func() {
		out.Inventory = st.inventory
		st.fought(time.Now(), &out)
	}()
	p, err := e.place(u.Target, u.Name)
	if err != nil {
		return out, err
	}
	if st.cluster != u.Target.Cluster {
		// The objects in the inventory are on another cluster: that they
		// are not on this one proves nothing.
		e.leave(st.cluster, u.Name)
		st.cluster = u.Target.Cluster
	}
	client, err := p.As(u.Target.User)
	if err != nil {
		return out, err
	}

	rendered, err := e.render(ctx, u, st)
	if err != nil {
		return out, fmt.Errorf("render %q at %s: %w", u.Render.Path, u.Source.Revision, err)
	}
	out.Rendered, out.Digest = true, rendered.Digest
	items, unknown, err := e.items(ctx, u, st, p, rendered)
	if err != nil {
		return out, err
	}
	out.Left = left(items)
	defer st.source.pack()
	defer func() { err = e.explain(ctx, u, st, p, err) }()
	kindErr, err := e.follow(ctx, u, st, p, items)
	if err != nil {
		return out, err
	}
	if kindErr == nil && len(unknown) > 0 {
		kindErr = errors.New("a kind has come since; trying again")
	}
	if synced, err := p.watch.Synced(u.Name); !synced {
		if err == nil {
			err = errors.New("the watch on the objects of this unit is starting")
		}
		return out, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: err}
	} else if err != nil {
		return out, err
	}

	plan, ok := apply.Make(items, st.inventory, u.Managers, u.Order, p.live(u, st), u.Policy)
	if !ok {
		return out, &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("an object of this unit is not known yet")}
	}
	out.Planned = true
	dropExpired(u, &plan)
	out.Held = append(out.Held, plan.Hold...)
	st.contested(&plan, u.Managers, time.Now(), &out)

	a := e.applier(ctx, u, p, client, items)
	a.Settle(plan.Settle)
	before := len(st.inventory)
	if err := e.write(ctx, u, st, a, p, plan, items, unknown, ledger, &out); err != nil {
		return out, err
	}
	if len(unknown) > 0 {
		return out, kindErr
	}
	err = e.prune(ctx, u, st, a, plan.Prune, before, &out)
	for _, c := range plan.Prune {
		p.watch.Unsettle(u.Name, c.Ref) // should it come back, it is new
	}
	if err != nil {
		return out, err
	}
	if err := st.heldUp(plan.Hold, time.Now(), &out); err != nil {
		return out, err
	}
	if err := p.untouched(ctx, u, items); err != nil {
		return out, err
	}
	out.Applied = true
	return out, e.judge(u, st, p, items, &out)
}

// write makes the changes of the plan, stage by stage and step by step. What
// they bring is in the stored inventory before it is written, but not before
// the server has let it pass: what was refused was never there. A stage of which
// something is refused is not written, but for what the refused object may
// have lacked.
func (e *Engine) write(ctx context.Context, u Unit, st *state, a *apply.Applier, p *place, plan apply.Plan, items []apply.Item, unknown []object.Ref, ledger Ledger, out *Outcome) error {
	entries := apply.Inventory(items)
	st.inventory = apply.Union(apply.Without(entries, refs(plan.Stages...)), apply.Without(st.inventory, ignored(items)))
	for i, stage := range plan.Stages {
		if len(unknown) > 0 && i == len(plan.Stages)-1 {
			// Part of the last stage can't be written, so none of it is,
			// except what had been applied before.
			stage = slices.DeleteFunc(slices.Clone(stage), func(c *apply.Change) bool {
				return c.Cause != apply.Drift && !isDefinition(c.Ref)
			})
		}
		if err := a.Try(ctx, stage); err != nil {
			return errors.Join(err, e.correct(ctx, st, a, stage, plan.Stages[i+1:], out))
		}
		steps := apply.Steps(stage)
		for n, step := range steps {
			rest := slices.Concat(steps[n:]...)
			if err := a.TryRest(ctx, step, rest); err != nil {
				return errors.Join(err, e.correct(ctx, st, a, rest, plan.Stages[i+1:], out))
			}
			if err := st.remember(ctx, rest, entries, ledger); err != nil {
				return err
			}
			if err := e.makeStep(ctx, st, a, step, out); err != nil {
				return err
			}
		}
		if err := established(u, p, stage); err != nil {
			return err
		}
	}
	return nil
}

// remember stores those entries of the inventory that changes bring, if the
// server has let them pass.
func (st *state) remember(ctx context.Context, changes []*apply.Change, entries []apply.Entry, ledger Ledger) error {
	brings := refs(apply.Tried(changes))
	grown := apply.Union(slices.DeleteFunc(slices.Clone(entries), func(e apply.Entry) bool { return !brings[e.Ref] }), st.inventory)
	if slices.Equal(grown, st.inventory) {
		return nil
	}
	if err := ledger.Store(ctx, grown); err != nil {
		return fmt.Errorf("store the inventory, before writing what is new in it: %w", err)
	}
	st.inventory = grown
	return nil
}

// makeStep makes the changes of a step that was tried, and notes them.
func (e *Engine) makeStep(ctx context.Context, st *state, a *apply.Applier, stage []*apply.Change, out *Outcome) error {
	made, err := a.Stage(ctx, stage)
	out.Changes = append(out.Changes, made...)
	for _, c := range made {
		st.corrected(c, time.Now())
	}
	for _, c := range stage {
		if c.Action == apply.Hold {
			out.Held = append(out.Held, c)
		}
	}
	return err
}

// correct puts right what somebody changed, where a stage as a whole was
// refused: a commit that can't be applied must not keep the rest of its unit
// from being held true.
func (e *Engine) correct(ctx context.Context, st *state, a *apply.Applier, refused []*apply.Change, later [][]*apply.Change, out *Outcome) error {
	errs := []error{a.Try(ctx, slices.DeleteFunc(apply.Untried(refused), func(c *apply.Change) bool { return c.Cause != apply.Drift }))}
	corrections := apply.Corrections(refused)
	for _, stage := range later {
		stage = slices.DeleteFunc(slices.Clone(stage), func(c *apply.Change) bool { return c.Cause != apply.Drift })
		errs = append(errs, a.Try(ctx, stage))
		corrections = append(corrections, apply.Corrections(stage)...)
	}
	return errors.Join(append(errs, e.makeStep(ctx, st, a, corrections, out))...)
}

// ignored are the objects that the source says are not its own any more.
func ignored(items []apply.Item) map[object.Ref]bool {
	set := make(map[object.Ref]bool)
	for _, it := range items {
		if it.Policy.Mode == apply.Ignore {
			set[it.Ref] = true
		}
	}
	return set
}

// endingGrace is how long an object may be on its way out before its unit is
// no longer said to be ready.
const endingGrace = 10 * time.Second

// heldUp says what the first object of a plan that has to wait waits for.
func (st *state) heldUp(hold []*apply.Change, now time.Time, out *Outcome) error {
	before := st.ending
	st.ending = make(map[object.Ref]time.Time, len(hold))
	for _, c := range hold {
		st.ending[c.Ref] = now
		if since, ok := before[c.Ref]; ok {
			st.ending[c.Ref] = since
		}
	}
	if len(hold) == 0 {
		return nil
	}
	first := hold[0]
	e := &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Object: first.Ref, Err: errors.New(first.Why)}
	switch over := st.ending[first.Ref].Add(endingGrace); {
	case first.Reason != "":
		e.Reason = first.Reason
	case now.Before(over):
		out.Next = sooner(out.Next, over)
	default:
		e.Reason, e.Hint = fault.Terminating, "see its finalizers"
	}
	return e
}

// refs are the objects of some stages.
func refs(stages ...[]*apply.Change) map[object.Ref]bool {
	set := make(map[object.Ref]bool)
	for _, s := range stages {
		for _, c := range s {
			set[c.Ref] = true
		}
	}
	return set
}

func isDefinition(r object.Ref) bool {
	return r.Kind == "CustomResourceDefinition" || r.Kind == "Namespace"
}

// established makes what follows a stage wait for its CRDs. Their own events
// wake the unit.
func established(u Unit, p *place, stage []*apply.Change) error {
	for _, c := range stage {
		if c.Ref.Kind != "CustomResourceDefinition" {
			continue
		}
		p.Forget()
		l, _ := p.watch.Live(u.Name, c.Ref)
		if l.Health.Status != health.Current {
			return &fault.Error{
				Next: fault.Wait, Reason: fault.Progressing, Object: c.Ref,
				Err: errors.New("waits for the definition to be established"),
			}
		}
	}
	return nil
}

// applier returns what acts for u.
func (e *Engine) applier(ctx context.Context, u Unit, p *place, client *cluster.Client, items []apply.Item) *apply.Applier {
	a := &apply.Applier{
		Client: client, Managers: u.Managers, Force: u.Force, Policy: u.Policy,
		Namespaces: append([]string{u.Namespace}, u.Prune.Protected...),
		Secrets:    secretsOf(u, items),
	}
	a.Mine = mine(u)
	a.MayTake = e.mayTake(ctx, u)
	a.Settled = settled(u, p)
	return a
}
