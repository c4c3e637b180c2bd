package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/engine/loop"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
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
	// Touched is told which units a commit to a source touches. It reports
	// whether it has recorded that, where people can look it up: then the other
	// units may be told of the commit later. Nil: it is not.
	Touched func(source, from, to string, units []string) (recorded bool)
	// RenderMemory bounds the renders that are kept in memory, in bytes.
	RenderMemory int64
	// Renders is where they are kept, too; nil is nowhere.
	Renders *render.Folder
	// Renderers render; nil: this process does.
	Renderers *render.Workers
	// JQ evaluates the jq expressions of rules; nil: this process does, where
	// their memory is not bounded.
	JQ ignore.Finder
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
	units      func(context.Context) (units []Unit, unknown []string)
	completing sync.Mutex // of units
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
	has    *render.Cluster // made of
	hasOf  *cluster.Served
}

// A state is what the engine remembers of a unit. Only Run for that unit
// touches it, but for claims.
type state struct {
	inventory []apply.Entry
	loaded    bool
	cluster   string

	// prepared are the items of a render, kept while it stands.
	prepared []apply.Item
	hooks    []apply.Item // of the same render
	prepFor  string
	source   *desired       // of prepared
	repeated []object.Ref   // of prepared: what is there more than once
	renders  int            // how many renderings are kept
	asksAPIs bool           // a render goes by what the cluster has
	missing  []watch.Target // of kinds that the cluster does not have
	unlisted int            // of prepared: how many are in no inventory
	ignores  *ignores       // what differs and does not count; nil: nothing has been asked
	since    time.Time      // when waiting for health began, and for what
	sinceFor string
	fights   apply.Fights             // over objects that somebody has changed of late
	ending   map[object.Ref]time.Time // objects that are being deleted: since when that is known
	held     bool                     // pruning
	met      bool                     // its objects have been seen once
	// Of a unit that adopts: what may lack its label, nil before its first look,
	// and what the server was asked about.
	unlabelled map[object.Ref]bool
	asked      map[object.Ref]answer
	waits      bool   // for all its objects to be healthy
	inherited  string // the operation whose hooks were marked that others had made
	applied    applied

	sight

	mu           sync.Mutex
	lastRendered string // the last revision that could be rendered
}

// applied are objects that a try of an operation has applied in all their fields.
type applied struct {
	try string
	all map[object.Ref]bool
}

// note adds what has become of a look.
func (a *applied) note(try string, refs []object.Ref) {
	if len(refs) == 0 {
		return
	}
	if a.try != try {
		*a = applied{try, map[object.Ref]bool{}}
	}
	for _, ref := range refs {
		a.all[ref] = true
	}
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
		c.WhenSilent(func(since time.Time) { e.loop.Doubt(server(t), since) })
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
		st = &state{fights: make(apply.Fights)}
		e.states[u.Name] = st
	}
	e.mu.Unlock()
	if !st.loaded {
		st.inventory, st.loaded, st.cluster = u.Remembers, true, u.Target.Cluster
	}
	return st
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
	if p == nil || p.news(st) || st.prepFor == "" || len(st.prepared) != len(st.inventory)+st.unlisted || len(st.fights) > 0 {
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
		if it.Aside && it.Policy.Mode == apply.IfNotPresent && known && l.Exists && !l.Deleting {
			continue // it is there, which is all
		}
		if !known || !l.Settled || l.Deleting || l.Digest != it.Digest || st.waits && l.Health.Status != health.Current {
			return false
		}
	}
	return true
}

// kept is how many renderings of a unit are kept.
func (st *state) kept() int {
	if st == nil {
		return 0
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.renders
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
	for i := range max(1, st.kept()) {
		e.cache.Forget(Unit{Name: unit}.renderKey(i))
		e.cache.Forget(Unit{Name: unit}.suppliedKey(i))
	}
	if st != nil {
		for _, id := range places {
			e.leave(id, unit)
		}
	}
}

// Doubt has the next run of a unit ask the server about every object, instead
// of relying on what the watch has shown, and put back at once what was fought
// over.
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
	st.fights = make(apply.Fights)
	for _, it := range st.inventory {
		p.watch.Doubt(unit, it.Ref)
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

// Client returns what acts at a target, in the name of its user.
func (e *Engine) Client(t Target) (*cluster.Client, error) {
	p, err := e.place(t, "")
	if err != nil {
		return nil, err
	}
	return p.As(t.User)
}

// Foresee returns what the server would make of an object that it has, if u were
// brought to what a plan of it wants.
func (e *Engine) Foresee(ctx context.Context, u Unit, c *apply.Change, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := e.Client(u.Target)
	if err != nil {
		return nil, err
	}
	a := &apply.Applier{Client: client, Managers: u.Managers, Policy: u.policy}
	return a.Foretell(ctx, c, live)
}

// Run does for u what can be done now. The outcome holds all that was learned,
// also when there is an error.
func (e *Engine) Run(ctx context.Context, u Unit, ledger Ledger) (Outcome, error) {
	if u.Permission == apply.Suspended {
		return Outcome{State: Suspended, Inventory: e.state(u).inventory}, nil
	}
	w, err := e.begin(u, ledger)
	if err != nil {
		return w.end(err)
	}
	return w.end(w.forward(ctx))
}

// forward takes a unit to its source.
func (w *pass) forward(ctx context.Context) (err error) {
	if w.st.cluster != w.unit.Target.Cluster {
		// The objects in the inventory are on another cluster: that they
		// are not on this one proves nothing.
		w.leave(w.st.cluster, w.unit.Name)
		w.st.cluster = w.unit.Target.Cluster
	}
	if err := w.observeDesired(ctx); err != nil {
		return err
	}
	defer func() { err = w.explain(ctx, w.unit, w.st, w.place, err) }()
	if err := w.observeLive(ctx); err != nil {
		return err
	}
	if err := w.meet(ctx); err != nil {
		return err
	}
	if err := w.compare(ctx); err != nil {
		return err
	}
	w.out.Foreign = w.foreign(ctx)
	if err := w.hear(ctx, time.Now()); err != nil {
		return err
	}
	live, err := w.live(ctx)
	if err != nil {
		return err
	}
	facts, err := w.tracked(ctx, w.facts(ctx, live))
	if err != nil {
		return err
	}
	if facts, err = w.looked(ctx, facts); err != nil {
		return err
	}
	if r := w.unit.Underway; r != nil && r.Dry {
		return w.rehearse(ctx, facts)
	}
	if err := w.makePlan(facts); err != nil {
		return err
	}
	if err := w.begun(); err != nil {
		return err
	}
	w.applier = w.actor(ctx)
	err = w.act(ctx)
	if facts.Course != nil {
		w.st.applied.note(facts.Course.Mark, w.record.Applied())
	}
	w.made()
	if err := errors.Join(err, w.dismiss(ctx)); err != nil {
		return err
	}
	if w.refused {
		return again(errors.New("a hook was refused"))
	}
	if r := w.unit.Underway; r != nil && r.Progress.Failed {
		return w.stepped() // all else has time until it is over
	}
	if w.plan.Holds(apply.RuleUnknownKind) {
		return w.kindErr
	}
	if err := w.heldUp(time.Now()); err != nil {
		return err
	}
	if err := w.stepped(); err != nil {
		return err
	}
	if err := w.place.untouched(ctx, w.unit, w.items); err != nil {
		return err
	}
	return w.judge()
}
