package argocd

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/engine"
)

// rolledBack is the annotation that says from where somebody has gone to another
// revision, or to other sources: to what Git had then. As long as Git has that,
// the Application is held where it is, also where it is synced of itself.
const rolledBack = "plumb.dev/rolled-back-from"

// wanted identifies what an Application is made from: commits, and what it makes
// of them.
func (a *application) wanted(revisions []string) string {
	sources, err := json.Marshal([]any{a.Spec.Source, a.Spec.Sources})
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return strings.Join(append(slices.Clone(revisions), digest(string(sources))[:10]), " ")
}

// left returns from where an operation has gone, now that it has ended; nothing
// if it went to what Git had. One that has changed nothing went nowhere.
func (a *application) left(s *api.OperationState, p engine.Progress) (from string) {
	newest := strings.Fields(p.Newest)
	if s.SyncResult == nil || len(newest) == 0 || byItself(&s.Operation) {
		return ""
	}
	own := sourcesOf(s.Operation.Sync.Source, s.Operation.Sync.Sources)
	if slices.Equal(went(s), newest) && (len(own) == 0 || equal(own, a.sources())) {
		return ""
	}
	return a.wanted(newest)
}

// went are the commits that an operation went to.
func went(s *api.OperationState) []string {
	if len(s.SyncResult.Revisions) > 0 {
		return s.SyncResult.Revisions
	}
	return []string{s.SyncResult.Revision}
}

// held says where an Application is held that somebody has rolled back, as long
// as Git is at the revision of a look; moved says that it is not any more.
func (a *application) held(s *api.OperationState, revision string) (why string, moved bool) {
	from := a.Annotations[rolledBack]
	if from == "" {
		return "", false
	}
	_, now := split(revision, true)
	if from != a.wanted(now) || s == nil || s.SyncResult == nil {
		return "", true
	}
	return a.heldAt(s, now), false
}

// heldAt says that an Application is held where an operation went, as long as Git
// has what it has now.
func (a *application) heldAt(s *api.OperationState, now []string) string {
	by := cmp.Or(s.Operation.InitiatedBy.Username, "somebody")
	why := fmt.Sprintf("held at %s, to which %s went back", strings.Join(went(s), " "), by)
	if a.automated() != nil {
		return fmt.Sprintf("%s; it is synced again when Git moves on from %s", why, strings.Join(now, " "))
	}
	return fmt.Sprintf("%s; Git has %s", why, strings.Join(now, " "))
}

// rollback notes in what is written whether an Application is held where it is, now
// that it does not operate.
func (a *application) rollback(st *api.ApplicationStatus, w *write, wrong map[string]string, out engine.Outcome) {
	before := a.Annotations[rolledBack]
	switch {
	case w.ends:
		from := a.left(st.OperationState, out.Operation)
		if from != before {
			w.rolledBack = &from
		}
		if from != "" {
			wrong[conditionRolledBack] = a.heldAt(st.OperationState, strings.Fields(out.Operation.Newest))
		}
	case before == "" || a.Operation != nil || out.Plan == nil:
	default:
		why, moved := a.held(st.OperationState, out.Revision)
		if moved {
			w.rolledBack = new("")
			return
		}
		wrong[conditionRolledBack] = why
	}
}

// conditionRolledBack is plumb's own: Argo CD's clients show any that ends so.
const conditionRolledBack = "RolledBackInfo"

// rollBack asks for the operation that brings an Application back to what it was
// at by its history.
func rollBack(a *application, id string, token string, prune bool) (map[string]any, error) {
	if a.Operation != nil {
		return nil, errInProgress
	}
	i := slices.IndexFunc(a.Status.History, func(h api.Revision) bool { return fmt.Sprint(h.ID) == id })
	if i < 0 {
		return nil, fmt.Errorf("its history has no entry %s", id)
	}
	h := a.Status.History[i]
	if h.Source == nil && len(h.Sources) == 0 {
		return nil, fmt.Errorf("entry %s of its history does not say from which source it was made", id)
	}
	sync := map[string]any{"prune": prune || a.automated() != nil && is(a.automated().Prune), "syncStrategy": map[string]any{"apply": map[string]any{}}}
	if len(h.Sources) > 0 {
		sync["sources"], sync["revisions"] = h.Sources, h.Revisions
	} else {
		sync["source"], sync["revision"] = h.Source, h.Revision
	}
	if p := a.Spec.SyncPolicy; p != nil && len(p.SyncOptions) > 0 {
		sync["syncOptions"] = p.SyncOptions
	}
	return map[string]any{"operation": map[string]any{
		"initiatedBy": map[string]any{"username": "plumb rollback"},
		"info":        []any{map[string]any{"name": requestInfo, "value": token}},
		"sync":        sync,
	}}, nil
}
