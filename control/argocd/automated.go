package argocd

import (
	"context"
	"fmt"
	"slices"
	"time"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// Of an operation that begins of itself, how often it is tried again where the
// sync policy does not say.
const automatedRetries = 5

// Begin implements [engine.Automation].
func (r *applications) Begin(ctx context.Context, u engine.Unit, out engine.Outcome) *engine.Operation {
	if !isCompared(out) || !out.Plan.Forbids(true) && !out.Plan.Bars() {
		return nil // there is nothing to do, which is so of most looks
	}
	stored, err := r.newest(ctx, originOf(u).key())
	if err != nil || string(stored.GetUID()) != u.UID {
		return nil // which the end of this look finds, too
	}
	now := read(stored)
	op, wait, _ := now.automate(u, out)
	if wait > 0 {
		time.AfterFunc(wait, func() { r.engine.Wake(u.Name) })
	}
	if op == nil {
		return nil
	}
	now.Operation = op
	s := r.adopt(now)
	r.known.automates(now.key(), s)
	begun, _, err := r.o.operation(now, r.around.now(), s)
	if err != nil {
		return nil // which can't be: its sources are those of the unit
	}
	return begun
}

// automate returns the operation that the sync policy wants, since the cluster is
// not as the sources are: one for each revision and what is made of it, and with
// selfHeal more, ever more slowly: the next one after wait, if that is not zero.
// Refused is why there is none although something is to be done. a is the
// Application as it is stored; it is put anew when a sync window opens.
func (a *application) automate(u engine.Unit, out engine.Outcome) (op *api.Operation, wait time.Duration, refused api.Condition) {
	auto := a.automated()
	if auto == nil || a.unreadable != nil || a.Operation != nil || a.DeletionTimestamp != nil || !isCompared(out) ||
		!out.Plan.Forbids(is(auto.Prune)) && len(out.Plan.Missing()) == 0 && !out.Plan.Bars() || a.digest() != originOf(u).digest() {
		return nil, 0, refused
	}
	refuse := func(kind, format string, args ...any) (*api.Operation, time.Duration, api.Condition) {
		return nil, 0, api.Condition{Type: kind, Message: fmt.Sprintf(format, args...)}
	}
	switch window := termsOf(u).opening(time.Now()); {
	case window.Err != nil:
		return refuse(api.ConditionSyncError, "Sync operation %s", window.Why)
	case !window.Auto:
		return refuse(api.ConditionSyncWindow, "Sync operation %s", window.Why)
	}
	opts, err := a.options()
	if err != nil {
		return nil, 0, refused // which the unit says
	}
	if len(out.Plan.Missing()) > 0 { // it begins when the kinds come
		return refuse(api.ConditionSyncError, "Sync operation to %s waits: %s", revisionsText(out.Revision), out.Err)
	}
	if !out.Plan.Forbids(is(auto.Prune) && !opts.keep) && !out.Plan.Bars() {
		return nil, 0, refused
	}
	if wipes(out.Plan) && !is(auto.AllowEmpty) {
		if is(auto.Prune) {
			return refuse(
				api.ConditionSyncError, "Skipping sync attempt to %s: it would prune all objects; spec.syncPolicy.automated.allowEmpty allows that", revisionsText(out.Revision),
			)
		}
		return nil, 0, refused
	}
	if why, _ := a.held(a.Status.OperationState, out.Revision); why != "" {
		return nil, 0, refused
	}
	healed := int64(0)
	if s := a.Status.OperationState; attempted(a, s, out.Revision) {
		switch {
		case s.Phase != api.PhaseSucceeded:
			return refuse(api.ConditionSyncError, "Failed last sync attempt to %s: %s", revisionsText(out.Revision), s.Message)
		case !is(auto.SelfHeal):
			return nil, 0, refused
		}
		if s.Operation.Sync != nil {
			healed = s.Operation.Sync.AutoHealAttemptsCount + 1
		}
		if wait := time.Until(s.FinishedAt.Add(healPause(healed))); wait > 0 {
			return nil, wait, refused
		}
	}
	op = &api.Operation{
		InitiatedBy: api.Initiator{Automated: true}, Retry: api.Retry{Limit: automatedRetries},
		Sync: &api.SyncOperation{
			Prune: is(auto.Prune) && !opts.keep, SyncOptions: a.Spec.SyncPolicy.SyncOptions, AutoHealAttemptsCount: healed,
		},
	}
	op.Sync.Revision, op.Sync.Revisions = a.revisions(out.Revision)
	if p := a.Spec.SyncPolicy.Retry; p != nil {
		op.Retry = *p
	}
	return op, 0, refused
}

// isCompared reports whether a look has shown what is to be done. Kinds that are not
// there are no reason against that, and what one object waits for, or that it can't
// be put right, keeps the rest of a new revision from nothing.
func isCompared(out engine.Outcome) bool {
	return out.Plan != nil && !fault.Is(out.Err, fault.NotAnswering)
}

// wipes reports whether nothing at all is desired, and something is there.
func wipes(p *apply.Plan) bool {
	return len(p.Surplus()) > 0 && !slices.ContainsFunc(p.Changes, func(c *apply.Change) bool { return !c.Surplus && !c.Aside })
}

// attempted reports whether the last operation was to that revision, of sources
// as they are.
func attempted(a *application, s *api.OperationState, revision string) bool {
	if s == nil || s.SyncResult == nil || s.FinishedAt == nil || s.Operation.Sync != nil && s.Operation.Sync.DryRun {
		return false
	}
	one, several := a.revisions(revision)
	res := s.SyncResult
	return res.Revision == one && slices.Equal(res.Revisions, several) && equal(res.Source, a.Spec.Source) && equal(res.Sources, a.Spec.Sources)
}

// healPause is how long to wait before something is put right again that was put
// right so often.
func healPause(times int64) time.Duration {
	const first, most = 2 * time.Second, 5 * time.Minute
	pause := first
	for range min(times-1, 10) {
		pause *= 3
	}
	return min(pause, most)
}

func revisionsText(revision string) string {
	_, several := split(revision, true)
	if len(several) == 1 {
		return several[0]
	}
	return fmt.Sprint(several)
}
