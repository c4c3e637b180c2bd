package argocd

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
)

// inProgress reports whether an operation of that phase is not done.
func inProgress(phase string) bool { return phase == api.PhaseRunning || phase == api.PhaseTerminating }

// runs reports whether the operation of a is the one that its status says to be
// in progress.
func (a *application) runs() bool {
	s := a.Status.OperationState
	return a.Operation != nil && s != nil && inProgress(s.Phase) && equal(s.Operation, a.Operation)
}

// adopt returns the state of an operation that somebody has set and that begins
// now. Its ID is made from when it began, in seconds, so no two begin in one.
func (a *application) adopt(now metav1.Time, last time.Time) *api.OperationState {
	if before := a.Status.OperationState; before != nil && before.StartedAt.After(last) {
		last = before.StartedAt.Time
	}
	if !now.After(last) {
		now = metav1.NewTime(last.Add(time.Second))
	}
	return &api.OperationState{Operation: *a.Operation, Phase: api.PhaseRunning, StartedAt: now}
}

// operationID tells an operation from others, also after a restart.
func operationID(s *api.OperationState) string {
	text, err := json.Marshal(s.Operation)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return s.StartedAt.UTC().Format(time.RFC3339) + " " + digest(string(text))
}

// byItself reports whether plumb began an operation: others who automate have
// names.
func byItself(op *api.Operation) bool {
	return op.InitiatedBy.Automated && op.InitiatedBy.Username == ""
}

// checkOperation refuses what is wrong with an operation by itself, and what this
// version can't do.
func (a *application) checkOperation(op *api.Operation, in *around) error {
	s := op.Sync
	switch {
	case s == nil:
		return invalid("operation: it asks for nothing; set operation.sync")
	case len(s.Manifests) > 0:
		return unsupported("operation.sync.manifests", "plumb applies what is in Git, and no local files")
	}
	if _, err := parseOptions("operation.sync.syncOptions", s.SyncOptions); err != nil {
		return err
	}
	if _, err := retryOf(&op.Retry); err != nil {
		return fmt.Errorf("operation.retry.%w", err)
	}
	sources := a.operates(s)
	for i, src := range sources {
		if err := checkSource(src); err != nil {
			return fmt.Errorf("operation.sync, source %d: %w", i+1, err)
		}
	}
	if t, err := in.terms(a); err == nil { // else the unit says so
		if err := t.sources(urlsOf(sources)...); err != nil {
			return fmt.Errorf("operation.sync: %w", err)
		}
	}
	if n := len(s.Revisions); n > 0 && n != len(sources) {
		return invalid("operation.sync.revisions: it names %d, and there are %d sources", n, len(sources))
	}
	return nil
}

// operates returns the sources of an operation: those of the spec, if it names
// none.
func (a *application) operates(s *api.SyncOperation) []api.Source {
	if own := sourcesOf(s.Source, s.Sources); len(own) > 0 {
		return own
	}
	return a.sources()
}

// revisionsOf are those that an operation asks for, one for each source, or none.
func revisionsOf(s *api.SyncOperation, sources int) []string {
	if len(s.Revisions) > 0 {
		return s.Revisions
	}
	if s.Revision != "" && sources == 1 {
		return []string{s.Revision}
	}
	return nil
}

// keepsTo returns the sources that an operation goes on with, whatever those of
// the spec are by now: one that goes to newer revisions when it is tried again
// goes to those of the sources that it was tried with.
func keepsTo(s *api.OperationState) []api.Source {
	if !s.Operation.Retry.Refresh || s.RetryCount == 0 || s.SyncResult == nil {
		return nil
	}
	return sourcesOf(s.SyncResult.Source, s.SyncResult.Sources)
}

// operation makes of an operation that runs what the engine does, and says what
// it wants of repositories. One that nobody has asked for follows what the
// Application follows: a newer revision takes its place. An error is that of
// sources that it names, which may not be used any more.
func (o *Options) operation(a *application, in *around, s *api.OperationState) (*engine.Operation, []want, error) {
	sync := s.Operation.Sync
	opts, _ := parseOptions("", sync.SyncOptions) // it was checked
	retry, _ := retryOf(&s.Operation.Retry)       // likewise
	prune := sync.Prune && !opts.keep
	force := opts.force || sync.SyncStrategy.Forces()
	op := &engine.Operation{
		ID: operationID(s), Permission: apply.Everything, Prune: &prune, Force: &force, Retry: retry,
		Terminate: s.Phase == api.PhaseTerminating,
		Was:       engine.Progress{ID: operationID(s), Began: s.StartedAt.Time, Failures: int(s.RetryCount), Hooks: hooksIn(&api.ApplicationStatus{OperationState: s})},
		Automatic: byItself(&s.Operation), PruneLast: opts.pruneLast, MakesNamespace: opts.namespace,
		Dry: sync.DryRun, Replace: opts.replace, Late: opts.late, Asks: opts.asks, Propagation: opts.propagation, NoHooks: sync.SyncStrategy.SkipsHooks(), Strict: !opts.changed,
	}
	for _, x := range sync.Resources {
		op.Only = append(op.Only, object.Ref{Group: x.Group, Kind: x.Kind, Namespace: x.Namespace, Name: x.Name})
	}
	sources := a.operates(sync)
	revisions := revisionsOf(sync, len(sources))
	if kept := keepsTo(s); kept != nil && !(byItself(&s.Operation) && equal(kept, a.sources())) {
		sources, revisions = kept, nil // it was tried with them
	} else if (byItself(&s.Operation) || len(revisions) == 0) && len(sourcesOf(sync.Source, sync.Sources)) == 0 {
		return op, nil, nil
	}
	if _, err := in.from(a, sources); err != nil {
		return op, nil, err
	}
	m, err := o.made(a, in, sources, revisions)
	if err != nil {
		return op, nil, err
	}
	op.Sources, op.Renders = m.names, m.renders
	return op, m.wants, nil
}
