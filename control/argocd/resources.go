package argocd

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// resources are the objects that a look has shown, but for hooks. How healthy
// they are, judges have said.
func resources(out engine.Outcome, judges health.Judges) (all []api.ResourceStatus) {
	unwell := make(map[object.Ref]health.Result, len(out.Unwell))
	for _, w := range out.Unwell {
		unwell[w.Ref] = w.Result
	}
	did := resultsByRef(out.Record)
	for _, c := range out.Plan.Changes {
		r := did[c.Ref]
		if c.Hook != nil || c.Aside || c.Rule == apply.RuleIgnored || r != nil && r.Absent {
			continue
		}
		s := api.ResourceStatus{
			Group: c.Ref.Group, Version: c.Version, Kind: c.Ref.Kind, Namespace: c.Ref.Namespace, Name: c.Ref.Name, Status: api.OutOfSync,
			SyncWave: int64(c.At.Wave), RequiresDeletionConfirmation: c.Entry().Asks,
		}
		switch {
		case c.Surplus:
			s.RequiresPruning = true
		case c.Rule == apply.RuleNotAdmitted:
			s.Status = api.Unknown
		case isSynced(c, r):
			s.Status = api.Synced
		}
		if !c.Healthless {
			s.Health = healthOf(c, r, unwell, judges)
		}
		all = append(all, s)
	}
	sortResources(all)
	return all
}

func resultsByRef(r *apply.Record) map[object.Ref]*apply.Result {
	by := make(map[object.Ref]*apply.Result)
	for _, x := range r.All() {
		by[x.Ref] = x
	}
	return by
}

// isSynced reports whether an object is as desired, after what was done.
func isSynced(c *apply.Change, r *apply.Result) bool {
	if r == nil {
		return c.Action == apply.Nothing
	}
	return r.Action == apply.Settle || r.Is(apply.Written, apply.Unneeded)
}

// healthOf says how an object is; nil is for kinds that are as healthy as they
// are there.
func healthOf(c *apply.Change, r *apply.Result, unwell map[object.Ref]health.Result, judges health.Judges) *api.Health {
	written, judged := r != nil && r.Did == apply.Written, hasHealth(c.Ref.GroupKind(), judges)
	h, bad := unwell[c.Ref]
	switch {
	case !bad && judged:
		return &api.Health{Status: api.Healthy}
	case !bad:
		return nil
	case written && (h.Status == health.Unknown || h.Status == health.Missing):
		if !judged {
			return nil
		}
		return &api.Health{Status: api.Progressing, Message: "it was just applied"}
	}
	return &api.Health{Status: h.Status.Plain(), Message: h.Message}
}

// hasHealth reports whether objects of a kind are not healthy by being there.
func hasHealth(gk schema.GroupKind, judges health.Judges) bool { return judges.For(gk) != unruled() }

// unruled judges kinds of which nothing is known. The table is read when it is
// first asked, which not every command does.
var unruled = sync.OnceValue(func() health.Judge {
	return health.Table.For(schema.GroupKind{Group: "nobody.invalid", Kind: "Nothing"})
})

// order is that of how bad a health is.
var order = []string{api.Healthy, api.Suspended, api.Progressing, api.Missing, api.Degraded, api.Unknown}

// worstOf is the health of an Application: the worst of its objects. What is
// missing shows in that it is out of sync, unless all is, and what is to be pruned
// does not count.
func worstOf(all []api.ResourceStatus) (worst string) {
	worst = api.Healthy
	if len(all) > 0 && !slices.ContainsFunc(all, func(s api.ResourceStatus) bool { return s.Health == nil || s.Health.Status != api.Missing }) {
		return api.Missing
	}
	for _, s := range all {
		if s.Health == nil || s.Hook || s.RequiresPruning || s.Health.Status == api.Missing {
			continue
		}
		if slices.Index(order, s.Health.Status) > slices.Index(order, worst) {
			worst = s.Health.Status
		}
	}
	return worst
}

// transit is a health with a time that moves only when it is another one.
func transit(before api.Health, status string) api.Health {
	h := api.Health{Status: status, LastTransitionTime: before.LastTransitionTime}
	if before.Status != status || h.LastTransitionTime == nil {
		at := clock()
		h.LastTransitionTime = &at
	}
	return h
}

// uncounted are the objects that keep nothing from being in sync: those of which
// it does not count that they are no longer desired, and those that are as desired
// although the project does not allow them.
func uncounted(p *apply.Plan) map[object.Ref]bool {
	set := make(map[object.Ref]bool)
	for _, c := range p.Changes {
		if c.Extra || !c.Surplus && c.Rule == apply.RuleNotAdmitted && c.Needs == apply.Nothing {
			set[c.Ref] = true
		}
	}
	return set
}

// syncOf is whether all objects are as desired, but for those that do not count.
func syncOf(all []api.ResourceStatus, uncounted map[object.Ref]bool) string {
	if slices.ContainsFunc(all, func(s api.ResourceStatus) bool { return s.Status != api.Synced && !uncounted[refOfStatus(s)] }) {
		return api.OutOfSync
	}
	return api.Synced
}

func sortResources(all []api.ResourceStatus) {
	slices.SortFunc(all, func(a, b api.ResourceStatus) int { return object.Compare(refOfStatus(a), refOfStatus(b)) })
}

// results are what became of the objects of a unit in a look.
func results(out engine.Outcome) (all []api.ResourceResult) {
	if out.Plan == nil {
		return nil
	}
	did := resultsByRef(out.Record)
	for _, c := range out.Plan.Changes {
		if c.Hook != nil || c.Rule == apply.RuleIgnored || c.Aside && (did[c.Ref] == nil || !did[c.Ref].Is(apply.Written, apply.Refused)) {
			continue
		}
		if x, ok := resultOf(c, did[c.Ref]); ok {
			all = append(all, x)
		}
	}
	return all
}

// hookResults are what hooks have come to.
func hookResults(runs []apply.HookRun) (all []api.ResourceResult) {
	for _, run := range runs {
		x := api.ResourceResult{
			Group: run.Ref.Group, Version: run.Version, Kind: run.Ref.Kind, Namespace: run.Ref.Namespace, Name: run.Ref.Name,
			Status: api.ResultSynced, HookType: hookTypes[run.Phase], SyncPhase: hookTypes[run.Phase], HookPhase: api.PhaseRunning, Message: run.Message,
		}
		switch {
		case run.Failed:
			x.HookPhase = api.PhaseFailed
		case !run.Ended.IsZero():
			x.HookPhase = api.PhaseSucceeded
		}
		if run.Refused {
			x.Status = api.ResultSyncFailed
		}
		if run.Stopped {
			x.Message = stopped
		}
		if x.Message == "" {
			x.Message = called(run.Ref) + " " + created
		}
		all = append(all, x)
	}
	return all
}

// stopped is what is said of a hook that did not end by itself.
const stopped = "Terminated"

// hookTypes are how the phases of hooks are called.
var hookTypes = func() map[apply.Phase]string {
	types := make(map[apply.Phase]string, len(phaseOf))
	for t, phase := range phaseOf {
		types[phase] = t
	}
	return types
}()

// resultOf is what became of an object, in the words of Argo CD's users. What
// nothing has become of yet has none.
func resultOf(c *apply.Change, r *apply.Result) (x api.ResourceResult, ok bool) {
	x = api.ResourceResult{
		Group: c.Ref.Group, Version: c.Version, Kind: c.Ref.Kind, Namespace: c.Ref.Namespace, Name: c.Ref.Name,
		Status: api.ResultSynced, HookPhase: api.PhaseRunning, SyncPhase: "Sync",
	}
	if c.Aside {
		x.SyncPhase = hookTypes[apply.Before]
	}
	say := func(what string) { x.Message = called(c.Ref) + " " + what }
	switch {
	case c.Surplus && r != nil && r.Did == apply.Would:
		x.Status, x.Message, x.HookPhase = api.ResultPruned, "pruned"+dryRun, api.PhaseSucceeded
	case c.Surplus && r != nil && r.Is(apply.Deleted, apply.Going, apply.Gone):
		x.Status, x.Message, x.HookPhase = api.ResultPruned, "pruned", api.PhaseSucceeded
	case c.Surplus && r != nil && r.Rule == apply.RulePruningOff:
		x.Status, x.Message, x.HookPhase = api.ResultPruneSkipped, "ignored (requires pruning)", api.PhaseSucceeded
	case c.Surplus && r != nil && (r.Rule == apply.RuleKept || r.Is(apply.Kept, apply.Left)):
		x.Status, x.Message, x.HookPhase = api.ResultPruneSkipped, "ignored (no prune)", api.PhaseSucceeded
	case c.Surplus:
		return x, false
	case r != nil && r.Did == apply.Refused:
		x.Status, x.HookPhase = api.ResultSyncFailed, api.PhaseFailed
		if x.Message = r.Why; r.Err != nil {
			x.Message = r.Err.Error()
		}
	case r != nil && r.Did == apply.Written && r.Action == apply.Create:
		say(created)
	case r != nil && r.Did == apply.Written && (r.Action == apply.Recreate || c.Whole):
		say(replaced)
	case r != nil && r.Did == apply.Written:
		say(configured)
	case r != nil && r.Did == apply.Would && r.Action == apply.Update && c.Whole:
		say(replaced + dryRun)
	case r != nil && r.Did == apply.Would:
		say(would[r.Action] + dryRun)
	case r != nil && r.Did == apply.Unneeded && c.Whole && c.Strict:
		say(replaced) // which the server was asked to do, and which changes nothing
	case isSynced(c, r):
		say(unchanged)
	default:
		return x, false
	}
	return x, true
}

const (
	created    = "created"
	replaced   = "replaced"
	configured = "configured"
	unchanged  = "unchanged"
	dryRun     = " (dry run)"
)

// would is what is said of what would be done.
var would = map[apply.Action]string{apply.Create: created, apply.Update: configured, apply.Recreate: replaced}

// isUnchanged reports whether nothing was to be done: [resultOf] has made of that
// what x says.
func isUnchanged(x api.ResourceResult) bool {
	return x.Status == api.ResultSynced && x.Message == called(refOfResult(x))+" "+unchanged
}

func refOfResult(x api.ResourceResult) object.Ref {
	return object.Ref{Group: x.Group, Kind: x.Kind, Namespace: x.Namespace, Name: x.Name}
}

// called is what kubectl calls an object: deployment.apps/web.
func called(ref object.Ref) string {
	kind := strings.ToLower(ref.Kind)
	if ref.Group != "" {
		kind += "." + ref.Group
	}
	return kind + "/" + ref.Name
}

func sortedResults(by map[object.Ref]api.ResourceResult) (all []api.ResourceResult) {
	for _, ref := range slices.SortedFunc(maps.Keys(by), object.Compare) {
		all = append(all, by[ref])
	}
	return all
}

// inTurn has results in the order in which a plan does things, and puts in the
// images of those that are new. Before are those that the status has of this
// revision.
func inTurn(all, before []api.ResourceResult, p *apply.Plan) []api.ResourceResult {
	turns := make(map[turn]int)
	if p != nil {
		for i, c := range p.Changes {
			turns[turn{c.Ref, c.At.Phase}] = i
		}
	}
	had := make(map[turn][]string, len(before))
	for _, x := range before {
		had[turnOf(x)] = x.Images
	}
	for i, x := range all {
		t := turnOf(x)
		images, known := had[t]
		if at, planned := turns[t]; !known && planned {
			if o := p.Changes[at].Desired(); o != nil {
				images = imagesOf(o.Object)
			}
		}
		all[i].Images = images
	}
	place := func(t turn) int {
		if at, planned := turns[t]; planned {
			return at
		}
		return len(turns) // it is gone
	}
	slices.SortStableFunc(all, func(x, y api.ResourceResult) int {
		a, b := turnOf(x), turnOf(y)
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(place(a), place(b)))
	})
	return all
}

// A turn is that of an object; the one of a hook may come in several phases.
type turn struct {
	ref   object.Ref
	phase apply.Phase
}

func turnOf(x api.ResourceResult) turn {
	return turn{object.Ref{Group: x.Group, Kind: x.Kind, Namespace: x.Namespace, Name: x.Name}, phaseOf[x.SyncPhase]}
}

// facts are what is known of the objects of a render.
type facts struct {
	images []string
	apps   bool // Applications are among them
}

func factsOf(out engine.Outcome) (f facts) {
	for _, c := range out.Plan.Changes {
		o := c.Desired()
		if o == nil || c.Hook != nil || c.Rule == apply.RuleIgnored {
			continue
		}
		f.images = append(f.images, images(o.Object)...)
		f.apps = f.apps || c.Ref.GroupKind() == api.ApplicationKind.GroupKind()
	}
	slices.Sort(f.images)
	f.images = slices.Compact(f.images)
	return f
}

// imagesOf are the images of an object, each once, in order.
func imagesOf(o map[string]any) []string {
	all := images(o)
	slices.Sort(all)
	return slices.Compact(all)
}

// images are those that containers of a value have, wherever they are.
func images(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if key == "containers" || key == "initContainers" || key == "ephemeralContainers" {
				list, _ := inner.([]any)
				for _, c := range list {
					if image, _, _ := unstructured.NestedString(asMap(c), "image"); image != "" {
						all = append(all, image)
					}
				}
				continue
			}
			all = append(all, images(inner)...)
		}
	case []any:
		for _, inner := range v {
			all = append(all, images(inner)...)
		}
	}
	return all
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
