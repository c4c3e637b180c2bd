package argocd

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
)

// Reasons of events, as Argo CD's users know them.
const (
	operationStarted   = "OperationStarted"
	operationCompleted = "OperationCompleted"
	resourceUpdated    = "ResourceUpdated"
	driftCorrected     = "DriftCorrected"
)

// tellChanges reports what was changed in events, metrics and the log.
func (r *applications) tellChanges(a *application, out engine.Outcome) {
	n, corrected := len(out.Changes()), 0
	for _, c := range out.Changes() {
		if c.Cause != apply.Drift {
			continue
		}
		corrected++
		what, _ := c.Drift()
		r.logOf(a).Info("drift corrected", "object", c.Ref.String(), "drift", what)
		r.eventOf(a, c.Ref, corev1.EventTypeWarning, driftCorrected, fmt.Sprintf("%s: %s, put back", c.Ref, what))
	}
	if n > 0 {
		subject(a.key()).Took(out.Took)
		r.logOf(a).Info("applied", "changed", n, "revision", out.Revision, "took", out.Took.Round(time.Millisecond).String())
	}
	subject(a.key()).Corrected(corrected)
}

// tell reports the outcome in events, metrics and the log.
func (r *applications) tell(a *application, before, after *api.ApplicationStatus, w write, out engine.Outcome) {
	r.tellChanges(a, out)
	s := subject(a.key())
	switch {
	case after.Sync.Status == api.Synced && after.Health.Status == api.Healthy:
		s.Ready(1)
		s.Succeeded()
	case after.Sync.Status == api.Unknown:
		s.Ready(-1)
	default:
		s.Ready(0)
	}
	if after.Sync.Status != before.Sync.Status {
		r.event(a, corev1.EventTypeNormal, resourceUpdated, fmt.Sprintf("Updated sync status: %s -> %s", before.Sync.Status, after.Sync.Status))
	}
	if after.Health.Status != before.Health.Status {
		r.event(a, corev1.EventTypeNormal, resourceUpdated, fmt.Sprintf("Updated health status: %s -> %s", before.Health.Status, after.Health.Status))
	}
	if out.Err != nil && !equal(before.Conditions, after.Conditions) {
		s.Failed(string(out.Reason))
		r.logOf(a).Error("an Application is not as it should be", "reason", string(out.Reason), "err", out.Err)
	}
	if w.begun {
		r.tellBegun(a, after.OperationState)
	}
	if w.ends {
		r.tellOperation(a, after.OperationState)
	}
}

// tellBegun says that an operation begins.
func (r *applications) tellBegun(a *application, s *api.OperationState) {
	by := "by " + s.Operation.InitiatedBy.Username
	switch {
	case s.Operation.InitiatedBy.Automated:
		by = "automated"
	case s.Operation.InitiatedBy.Username == "":
		by = "by an unknown user"
	}
	r.event(a, corev1.EventTypeNormal, operationStarted, fmt.Sprintf("Initiated sync, %s", by))
	r.logOf(a).Info("operation started", "by", by)
}

// tellOperation says how an operation ended.
func (r *applications) tellOperation(a *application, s *api.OperationState) {
	to, at := "", ""
	if res := s.SyncResult; res != nil {
		at = strings.TrimSpace(strings.Join(append([]string{res.Revision}, res.Revisions...), " "))
	}
	if at != "" {
		to = " to " + at
	}
	if s.Phase == api.PhaseSucceeded {
		r.event(a, corev1.EventTypeNormal, operationCompleted, fmt.Sprintf("Sync operation%s succeeded", to))
		r.logOf(a).Info("operation succeeded", "revision", at)
		return
	}
	r.event(a, corev1.EventTypeWarning, operationCompleted, fmt.Sprintf("Sync operation%s failed: %s", to, s.Message))
	r.logOf(a).Error("operation failed", "revision", at, "phase", s.Phase, "err", s.Message)
}

func (r *applications) logOf(a *application) *slog.Logger {
	return r.log.With("kind", api.ApplicationKind.Kind, "namespace", a.Namespace, "name", a.Name)
}

// event records a core/v1 Event about a.
func (r *applications) event(a *application, kind, reason, message string) {
	r.eventOf(a, object.Ref{}, kind, reason, message)
}

// eventOf is event for one of its objects.
func (r *applications) eventOf(a *application, of object.Ref, kind, reason, message string) {
	ann := map[string]string{}
	if !of.IsZero() {
		ann[view.EventObject] = of.String()
	}
	u := example()
	u.SetNamespace(a.Namespace)
	u.SetName(a.Name)
	u.SetUID(a.UID)
	u.SetResourceVersion(a.ResourceVersion)
	r.events.AnnotatedEventf(u, ann, kind, reason, "%s", clipTo(message, maxEvent))
}

// maxEvent is the most bytes that the message of an event gets; the API server
// takes 1,024.
const maxEvent = 1000
