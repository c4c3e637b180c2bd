package argocd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/shown"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// Store implements [engine.Dialect]. The objects of a comparison are in the
// status already, and while an operation runs they count as its own.
func (r *applications) Store(ctx context.Context, u engine.Unit, entries []apply.Entry) error {
	a := originOf(u)
	stored, err := r.newest(ctx, a.key())
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	before, err := decodeStatus(stored)
	if err != nil {
		return err
	}
	have := make(map[object.Ref]bool)
	for _, e := range inventoryOf(&before) {
		have[e.Ref] = true
	}
	st := before
	st.Resources = slices.Clone(before.Resources)
	for _, e := range entries {
		if have[e.Ref] {
			continue
		}
		i := slices.IndexFunc(st.Resources, func(s api.ResourceStatus) bool { return refOfStatus(s) == e.Ref })
		if i < 0 {
			st.Resources = append(st.Resources, api.ResourceStatus{
				Group: e.Ref.Group, Version: e.Version, Kind: e.Ref.Kind, Namespace: e.Ref.Namespace, Name: e.Ref.Name, Status: api.OutOfSync,
				SyncWave: int64(e.Wave), RequiresDeletionConfirmation: e.Asks,
			})
			continue
		}
		st.Resources[i].Health = nil // it was missing, and comes
	}
	sortResources(st.Resources)
	return r.write(ctx, stored, &before, write{status: &st})
}

// Report implements [engine.Dialect].
func (r *applications) Report(ctx context.Context, u engine.Unit, out engine.Outcome) error {
	a := originOf(u)
	if id := out.Operation.ID; id != "" {
		r.known.note(a.key(), id, results(out))
	}
	switch {
	case out.Rested:
		r.orphans.seek(a.key(), u, nil, r.shown.Shows(a.key()))
		subject(a.key()).Succeeded()
		return nil
	case out.Interim:
		r.tellChanges(a, out)
		return nil
	case errors.Is(out.Err, engine.ErrWatchStarts) && !u.Leaving:
		return nil // what is said still stands, and the next outcome comes at once
	}
	stored, err := r.newest(ctx, a.key())
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if string(stored.GetUID()) != u.UID {
		return nil // another one has the name by now
	}
	before, err := decodeStatus(stored)
	if err != nil {
		before = api.ApplicationStatus{} // of which the rest can still be told
	}
	if u.Leaving {
		return r.seenOff(ctx, a, u, stored, &before, out)
	}
	now := decode(stored)
	now.Status = before
	st := r.conclude(a, &before, u, out)
	wrong := a.wrongWith(out)
	request, same := r.known.asked(a.key(), howRefreshed(stored.GetAnnotations()))
	w := write{status: &st, refreshed: same && request != "" && out.Handled == request}
	if out.Plan != nil && stored.GetDeletionTimestamp() == nil {
		if w.with, w.without = awaiting(stored.GetFinalizers(), out.RemovalHooks); len(w.with)+len(w.without) > 0 {
			r.known.finalizes(a.key())
		}
	}
	r.concludeOperation(now, &st, &w, out)
	now.rollback(&st, &w, wrong, out)
	if !w.ends {
		if _, _, refused := now.automate(u, out); refused.Type != "" {
			wrong[refused.Type] = refused.Message
		}
	}
	if r.orphans.seek(a.key(), u, st.Resources, r.shown.Shows(a.key())) {
		warning, known := r.orphans.warning(a.key())
		if !known {
			warning = orphansSaid(before.Conditions)
		}
		if warning != "" {
			wrong[api.ConditionOrphanedResource] = warning
		}
	}
	if without := fit(&st, mostStatus); without != "" {
		wrong[api.ConditionUnknownError] = without
	}
	if !comes(out) {
		st.Conditions = conditions(before.Conditions, wrong)
	}
	if !w.refreshed {
		request = ""
	}
	if r.shown.Tell(a.key(), shown.Seen{Unit: u, Plan: out.Plan, Resources: st.Resources, Barred: out.Plan == nil && barred(out)}, request) {
		w.refreshed = false // it will be once Argo CD's server can read what was seen
	}
	if changed := !equal(before, st); changed || w.refreshed || w.ends || w.rolledBack != nil || len(w.with)+len(w.without) > 0 {
		st.ReconciledAt = reconciled(&st)
		if err := r.write(ctx, stored, &before, w); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
	}
	if w.begun {
		r.known.automates(a.key(), nil)
	}
	if w.ends {
		r.known.over(a.key(), out.Operation.ID)
	}
	if w.ends != w.begun || w.refreshed || w.rolledBack != nil {
		r.queue.Add(a.key()) // what it asks for is another unit
	}
	r.tell(a, &before, &st, w, out)
	return nil
}

// clock is what the time is, in seconds as statuses have it.
func clock() metav1.Time { return metav1.NewTime(time.Now().Truncate(time.Second)) }

// conclude is what a look has shown, as a status says it. Before is what it says
// now.
func (r *applications) conclude(a *application, before *api.ApplicationStatus, u engine.Unit, out engine.Outcome) api.ApplicationStatus {
	st := *before
	st.ControllerNamespace = r.o.Namespace
	st.ResourceHealthSource = "" // the health of objects is with them
	if out.Plan == nil && waits(out) {
		return st
	}
	if out.Plan == nil {
		// It could not be compared. What is known of its objects stays.
		if comes(out) && before.Sync.Status != "" {
			return st
		}
		st.Sync.Status = api.Unknown
		switch {
		case !out.Unreachable.IsZero(), barred(out):
			st.Health = transit(before.Health, api.Unknown)
		case st.Health.Status == "": // nothing of it is known to be ill
			st.Health = transit(before.Health, api.Healthy)
		}
		return st
	}
	f := r.known.factsOf(a.key(), out.Digest, func() facts { return factsOf(out) })
	st.Resources = resources(out, u.Health.Judges)
	st.Sync = api.SyncStatus{Status: syncOf(st.Resources, uncounted(out.Plan)), ComparedTo: a.comparedTo()}
	st.Sync.Revision, st.Sync.Revisions = a.revisions(out.Revision)
	st.Health = transit(before.Health, worstOf(st.Resources))
	st.Summary.Images, st.Summary.IsAppOfApps = f.images, f.apps
	st.SourceType, st.SourceTypes = "", nil
	if types := r.sourceTypes(a, u); a.several() {
		st.SourceTypes = types
	} else if len(types) == 1 {
		st.SourceType = types[0]
	}
	return st
}

// waits reports whether another unit has to be ready first. The operation says so.
func waits(out engine.Outcome) bool {
	return fault.Is(out.Err, fault.DependencyNotReady) && fault.Of(out.Err).Next == fault.Wait
}

// comes reports whether there is no comparison yet, and will be by itself.
func comes(out engine.Outcome) bool {
	return out.Plan == nil && out.Err != nil && fault.Of(out.Err).Reason == fault.Progressing
}

// comparedTo is what a comparison is about.
func (a *application) comparedTo() *api.ComparedTo {
	return &api.ComparedTo{
		Source: a.Spec.Source, Sources: a.Spec.Sources, Destination: a.Spec.Destination, IgnoreDifferences: a.Spec.IgnoreDifferences,
	}
}

// revisions takes the revision of a unit apart into the commits of its sources:
// one, or a list where the sources are one.
func (a *application) revisions(revision string) (one string, several []string) {
	return split(revision, a.several())
}

func split(revision string, list bool) (one string, several []string) {
	for _, r := range strings.Fields(revision) {
		several = append(several, hashOf(r))
	}
	if list {
		return "", several
	}
	if len(several) > 0 {
		one = several[0]
	}
	return one, nil
}

// underWay returns the operation of that ID, if it is the one that runs: as it is
// stored, or as it has begun by itself and nobody has been told yet. now is the
// Application as it is stored.
func (r *applications) underWay(now *application, id string) (s *api.OperationState, stored bool) {
	if s = now.Status.OperationState; now.runs() && operationID(s) == id {
		return s, true
	}
	if s = r.known.automatic(now.key()); s != nil && now.Operation == nil && operationID(s) == id {
		return s, false
	}
	return nil, false
}

// concludeOperation notes in a status how far the operation has come that runs,
// and in w whether it begins or ends with that. now is the Application as it is
// stored.
func (r *applications) concludeOperation(now *application, st *api.ApplicationStatus, w *write, out engine.Outcome) {
	p := out.Operation
	from, stored := r.underWay(now, p.ID)
	if from == nil {
		return // it is another one by now, or none
	}
	s := new(*from) // which stays as it is
	st.OperationState = s
	w.begun = !stored
	op := s.Operation.Sync
	if op := &s.Operation; op.Retry.Refresh && p.Stage == engine.Running && int64(p.Failures) > s.RetryCount {
		r.sources.ask(unitName(now.key())) // the next try is of what is newest then
	}
	s.RetryCount = int64(p.Failures)
	if p.Revision != "" {
		own := sourcesOf(op.Source, op.Sources)
		several := now.several()
		res := &api.SyncResult{Source: now.Spec.Source, Sources: now.Spec.Sources}
		if len(own) > 0 {
			res.Source, res.Sources, several = op.Source, op.Sources, len(op.Sources) > 0
		} else if keepsTo(from) != nil {
			was := s.SyncResult
			res.Source, res.Sources, several = was.Source, was.Sources, len(was.Sources) > 0
		}
		res.Revision, res.Revisions = split(p.Revision, several)
		done := sortedResults(r.known.note(now.key(), p.ID, nil))
		if opts, err := parseOptions("", op.SyncOptions); err == nil && opts.changed {
			done = slices.DeleteFunc(done, isUnchanged)
		}
		var before []api.ResourceResult
		if was := s.SyncResult; was != nil && was.Revision == res.Revision && slices.Equal(was.Revisions, res.Revisions) {
			before = was.Resources
		}
		res.Resources = inTurn(append(done, hookResults(p.Hooks)...), before, out.Plan)
		if opts, err := now.options(); err == nil && is(opts.namespace) {
			res.ManagedNamespaceMetadata = now.Spec.SyncPolicy.ManagedNamespaceMetadata
		}
		s.SyncResult = res
	}
	switch p.Stage {
	case engine.Running:
		s.Message = p.Message
		if p.Reason == fault.Unconfirmed {
			s.Message += howToConfirm
		}
		if p.Failures > 0 && !p.Next.IsZero() {
			s.Message = fmt.Sprintf("%s. Retrying attempt #%d at %s.", p.Message, p.Failures, p.Next.UTC().Format("3:04PM"))
		}
		if w.begun {
			w.starts = &s.Operation
		}
		return
	case engine.Succeeded:
		s.Phase, s.Message = api.PhaseSucceeded, "successfully synced (all tasks run)"
		if s.SyncResult == nil || len(s.SyncResult.Resources) == 0 {
			s.Message = "successfully synced (no more tasks)"
		}
	case engine.Terminated:
		asked, most := s.Phase == api.PhaseTerminating, r.around.now().SyncTimeout
		s.Phase, s.Message = api.PhaseFailed, "Operation terminated"
		if !asked && most > 0 && time.Since(s.StartedAt.Time) >= most {
			s.Message += ": it took longer than controller.sync.timeout.seconds in argocd-cmd-params-cm allows"
		}
	case engine.GaveUp:
		s.Phase, s.Message = api.PhaseFailed, failure(p.Reason)+", reason: "+p.Message
		if out.Plan == nil && p.Reason != fault.ReconciliationFailed { // it is not known what to apply
			s.Phase, s.Message = api.PhaseError, p.Message
		}
		if p.Reason == fault.UnknownKind {
			s.Message += howToCome
		}
		if tries := p.Failures - 1; tries > 0 {
			s.Message += fmt.Sprintf(" (retried %d times)", tries)
		}
	}
	s.RetryCount = int64(max(0, p.Failures-1))
	if s.Phase == api.PhaseSucceeded {
		s.RetryCount = int64(p.Failures)
	}
	at := clock()
	if at.Before(&s.StartedAt) {
		at = s.StartedAt
	}
	s.FinishedAt = &at
	if s.Phase == api.PhaseSucceeded && len(op.Resources) == 0 && !op.DryRun {
		st.History = history(st.History, s, now.Spec.RevisionHistoryLimit)
	}
	w.ends = true
}

// failure is how an operation has failed, in the words of Argo CD's users.
func failure(r fault.Reason) string {
	switch r {
	case fault.HealthCheckFailed: // of a hook, or of what a wave waited for
		return "one or more synchronization tasks completed unsuccessfully"
	case fault.NotAdmitted, fault.UnknownKind:
		return "one or more synchronization tasks are not valid"
	}
	return "one or more objects failed to apply"
}

// historyLimit is how many revisions are kept where the spec does not say.
const historyLimit = 10

// history adds a sync to those of before.
func history(before []api.Revision, s *api.OperationState, limit *int64) []api.Revision {
	most := int64(historyLimit)
	if limit != nil {
		most = max(0, *limit)
	}
	id := int64(0)
	if len(before) > 0 {
		id = before[len(before)-1].ID + 1
	}
	res := s.SyncResult
	if res == nil {
		return before
	}
	all := append(slices.Clone(before), api.Revision{
		ID: id, Revision: res.Revision, Revisions: res.Revisions, Source: res.Source, Sources: res.Sources,
		DeployedAt: *s.FinishedAt, DeployStartedAt: &s.StartedAt, InitiatedBy: s.Operation.InitiatedBy,
	})
	return all[max(0, int64(len(all))-most):]
}

// seenOff says why an Application that is being deleted is still there, or lets
// it go.
func (r *applications) seenOff(ctx context.Context, a *application, u engine.Unit, stored *unstructured.Unstructured, before *api.ApplicationStatus, out engine.Outcome) error {
	r.tellChanges(a, out)
	if out.State == engine.Removed {
		for _, h := range out.Held() {
			r.event(a, corev1.EventTypeWarning, "ResourceDeleted", h.Ref.String()+" was left: "+h.Why)
		}
		for _, l := range out.Left {
			r.event(a, corev1.EventTypeNormal, "ResourceDeleted", l.Ref.String()+" was left: "+l.Why)
		}
		if names := out.Orphaned; len(names) > 0 {
			r.log.Warn("deleted without its objects", "kind", api.ApplicationKind.Kind, "namespace", a.Namespace, "name", a.Name, "err", out.Err, "left", len(names))
		}
		gone := settled(u.Removal, stored.GetFinalizers())
		if len(gone) == 0 {
			return nil
		}
		err := r.write(ctx, stored, before, write{without: gone})
		if err == nil {
			r.queue.Add(a.key()) // there may be more of the deletion
		}
		return err
	}
	st := *before
	if !errors.Is(out.Err, engine.ErrWatchStarts) {
		st.Conditions = conditions(before.Conditions, conditionsOfDeletion(out, time.Since(a.DeletionTimestamp.Time)))
	}
	if len(out.Inventory) > 0 {
		st.Resources = left(before.Resources, out.Inventory)
	}
	request, same := r.known.asked(a.key(), howRefreshed(stored.GetAnnotations()))
	w := write{status: &st, refreshed: same && request != "" && out.Handled == request}
	if equal(*before, st) && !w.refreshed {
		return nil
	}
	if w.refreshed {
		st.ReconciledAt = reconciled(&st)
	}
	return r.write(ctx, stored, before, w)
}

// left are those resources that are still in an inventory.
func left(all []api.ResourceStatus, inventory []apply.Entry) (still []api.ResourceStatus) {
	there := make(map[object.Ref]bool, len(inventory))
	for _, e := range inventory {
		there[e.Ref] = true
	}
	for _, s := range all {
		if there[refOfStatus(s)] {
			still = append(still, s)
		}
	}
	return still
}

// howToCome is what whoever wants objects of a kind that is not there is told.
const howToCome = "; where the definition comes by itself, give the object the sync option SkipDryRunOnMissingResource=true"

// howToConfirm is what whoever has to confirm a deletion is told.
const howToConfirm = "; set the annotation " + deletionApproved + " of the Application to what the time is, as argocd app confirm-deletion does"

// conditionDeletes is plumb's own: it says what a deletion waits for that has gone on
// for some time, such as a hook that does not end.
const (
	conditionDeletes = "DeletionProgressInfo"
	deletionGrace    = 30 * time.Second
)

func conditionsOfDeletion(out engine.Outcome, since time.Duration) map[string]string {
	if held := notAdmitted(out); len(held) > 0 {
		says := "left, and so is the Application: "
		if slices.ContainsFunc(out.Plan.Held(), func(c *apply.Change) bool { return c.Hook != nil }) {
			says = "not made, and nothing more is deleted before it has run: "
		}
		return map[string]string{api.ConditionDeletionError: says + listed(held)}
	}
	switch {
	case out.Err == nil, fault.Is(out.Err, fault.NotYetRead), fault.Is(out.Err, fault.Progressing) && since < deletionGrace:
		return nil
	case fault.Is(out.Err, fault.Progressing):
		return map[string]string{conditionDeletes: out.Err.Error()}
	}
	text := out.Err.Error()
	if fault.Is(out.Err, fault.Unconfirmed) {
		text += howToConfirm
	}
	return map[string]string{api.ConditionDeletionError: text}
}
