package argocd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	api "plumb.dev/plumb/api/argocd"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/text"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
)

// How often to look at an Application although nothing has happened, and the
// longest pause after a failure.
const (
	interval      = 3 * time.Minute
	retryInterval = time.Minute
)

// toUnit makes the unit of an Application, but for its operation, and says what
// it wants of repositories. One that can't be held true says why; where it may
// not be, nothing is done, and else it is held to what it has applied.
func (o *Options) toUnit(a *application, in *around) (u engine.Unit, wants []want) {
	name := unitName(a.key())
	o.names.add(name)
	origin := a.origin()
	u = engine.Unit{
		Name: name, UID: string(a.UID), Namespace: a.Spec.Destination.Namespace, Origin: origin, Objects: o.objects(),
		Suspended: a.Annotations[skipReconcile] == "true", Leaving: a.DeletionTimestamp != nil,
		Managers: owned.Managers{Self: applyManager, Former: formerManagers}, Adopts: true, Interval: interval, RetryInterval: retryInterval,
		Permission: apply.LookOnly,
		Order:      apply.Order{Needed: needed},
		Prune:      engine.Prune{Tracks: true, Approved: engine.AnyRevision, Protected: []string{o.OwnNamespace, o.Namespace}},
		Health:     engine.Health{Tell: true, Judges: in.common.judges},
		Hooks:      hooksIn(&a.Status),
		Remembers:  inventoryOf(&a.Status),
	}
	if auto := a.automated(); auto != nil {
		u.Prune.AllowEmpty = is(auto.AllowEmpty)
		if is(auto.SelfHeal) && a.Annotations[rolledBack] == "" {
			u.Permission = apply.CorrectDrift
		}
	}
	if opts, err := a.options(); err == nil {
		u.MakesNamespace = a.makesNamespace(opts)
		u.Force, u.Replace, u.Late, u.Prune.Asks, u.Prune.Propagation = opts.force, opts.replace, opts.late, opts.asks, opts.propagation
	}
	t, denied := in.from(a, a.sources())
	if denied == nil {
		u.Target, u.Suspended = t.target, u.Suspended || t.cluster.Skipped
	} else {
		u.Target = in.where(a)
	}
	origin.terms, u.Digest = t, digest(a.digest(), t.digest())
	rules, err := a.check()
	if u.Refused = cmp.Or(err, denied); u.Refused != nil {
		return u, nil
	}
	u.Ignores = in.common.ignoring(a, rules)
	u.DependsOn = o.dependencies(a)
	m, err := o.made(a, in, a.sources(), nil)
	if u.Refused = err; err != nil {
		return u, nil
	}
	u.Sources, u.Renders = m.names, m.renders
	return u, m.wants
}

func urlsOf(sources []api.Source) (urls []string) {
	for _, s := range sources {
		urls = append(urls, s.RepoURL)
	}
	return urls
}

// dependencies are the units that a waits for before it is synced. What those of
// other namespaces say is told to nobody but in Argo CD's own.
func (o *Options) dependencies(a *application) []engine.Dependency {
	all, _ := control.Dependencies(a.Annotations[control.DependsOn], api.ApplicationKind.Kind, a.Namespace) // it was checked
	for i, d := range all {
		if a.Namespace != o.Namespace && !control.Within(d, a.Namespace) {
			all[i].May = func(context.Context) (bool, error) { return false, nil }
		}
	}
	return all
}

// needed are kinds that Applications and Kustomizations need while they go.
var needed = []string{
	"argoproj.io/AppProject", "source.toolkit.fluxcd.io/GitRepository", "source.toolkit.fluxcd.io/OCIRepository",
	"source.toolkit.fluxcd.io/Bucket", "source.toolkit.fluxcd.io/HelmRepository", "source.toolkit.fluxcd.io/HelmChart",
}

// made says what is to be fetched for sources, and what is made of that. What
// revisions has for one is in place of what it targets.
func (o *Options) made(a *application, in *around, sources []api.Source, revisions []string) (m makings, err error) {
	refs, mounts, err := refs(sources)
	if err != nil {
		return m, err
	}
	for i, s := range sources {
		at, err := in.Repository(s.RepoURL, a.project(), s.Chart != "")
		if err != nil {
			return m, fmt.Errorf("%s: %w", a.sourceField(i), err)
		}
		if s.Helm != nil && at.Charts != nil {
			at.Charts.PassCredentials = s.Helm.PassCredentials
		}
		w := want{Repository: at, chart: s.Chart, target: s.TargetRevision, access: in.Access(s.RepoURL, a.project()), interval: in.interval()}
		if i < len(revisions) && revisions[i] != "" {
			w.target = revisions[i]
		}
		m.wants, m.names = append(m.wants, w), append(m.names, w.name())
		if s.Path == "" && s.Ref != "" {
			continue // others refer to its files
		}
		b, err := o.builder(a, s, refs, in.common.Disabled)
		if err != nil {
			return m, fmt.Errorf("%s: %w", a.sourceField(i), err)
		}
		r := engine.Rendering{From: i, Options: render.Options{Path: s.Path, Builder: b, GenerateNames: true, Repeats: true}}
		if s.Kustomize == nil && s.Directory == nil { // charts alone look at others
			r.Mounts = mounts
		}
		m.renders = append(m.renders, r)
	}
	return m, nil
}

// makings are what a unit is made from.
type makings struct {
	names   []string // of sources
	renders []engine.Rendering
	wants   []want
}

// digest changes whenever the user changes what a is to be. Its generation moves
// with each status.
func (a *application) digest() string {
	spec, err := json.Marshal(a.Spec)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return digest(string(a.UID), string(spec), fmt.Sprint(a.unreadable))
}

// inventoryOf are the objects that a status says to be the Application's. Those
// that are missing were never applied, or are gone; while an operation runs, it
// may just have written them.
func inventoryOf(st *api.ApplicationStatus) (entries []apply.Entry) {
	running := st.OperationState != nil && inProgress(st.OperationState.Phase)
	for _, r := range st.Resources {
		if r.Hook || !running && r.Health != nil && r.Health.Status == api.Missing {
			continue
		}
		entries = append(entries, apply.Entry{Ref: refOfStatus(r), Version: r.Version, Wave: int32(r.SyncWave), Asks: r.RequiresDeletionConfirmation})
	}
	entries = apply.Union(entries, nil)
	texts := make([]*string, 0, 5*len(entries))
	for i := range entries {
		e := &entries[i]
		texts = append(texts, &e.Ref.Group, &e.Ref.Kind, &e.Ref.Namespace, &e.Ref.Name, &e.Version)
	}
	text.Gather(texts) // it is kept for long
	return entries
}

func refOfStatus(r api.ResourceStatus) object.Ref {
	return object.Ref{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// hooksIn are the hooks that a status says to have been made by the last
// operation.
func hooksIn(st *api.ApplicationStatus) (runs []apply.HookRun) {
	if st.OperationState == nil || st.OperationState.SyncResult == nil {
		return nil
	}
	for _, x := range st.OperationState.SyncResult.Resources {
		phase, ok := phaseOf[x.SyncPhase]
		if x.HookType == "" || !ok {
			continue
		}
		run := apply.HookRun{
			Ref: object.Ref{Group: x.Group, Kind: x.Kind, Namespace: x.Namespace, Name: x.Name}, Version: x.Version, Phase: phase,
			Failed: x.HookPhase == api.PhaseFailed, Refused: x.Status == api.ResultSyncFailed, Message: x.Message,
		}
		if x.HookPhase == api.PhaseFailed || x.HookPhase == api.PhaseSucceeded {
			run.Ended = st.OperationState.StartedAt.Time // no later is known
		}
		run.Stopped = run.Failed && x.Message == stopped
		runs = append(runs, run)
	}
	return runs
}

// unknownSource is why a source has no artifact yet.
func unknownSource(name string) error {
	return &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: fmt.Errorf("%s has not been fetched yet", name)}
}
