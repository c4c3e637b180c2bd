package flux

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
)

// tellChanges reports what was changed in events, metrics and the log.
func (r *kustomizations) tellChanges(k *kustomization, out engine.Outcome) {
	s, took := k.subject(), out.Took
	log := r.logOf(k, out)
	var changed []string
	corrected := 0
	for _, c := range out.Changes() {
		changed = append(changed, fmt.Sprintf("%s %s", c.Ref, pastTense(c)))
		if c.Cause == apply.Drift {
			corrected++
			what, who := c.Drift()
			log.Info("drift corrected", "object", c.Ref.String(), "drift", what, "manager", who)
			r.eventOf(k, c.Ref, out.Revision, corev1.EventTypeWarning, "DriftCorrected", fmt.Sprintf("%s: %s, put back", c.Ref, what))
		}
	}
	if len(changed) > 0 {
		s.Took(took)
		log.Info("applied", "changed", len(changed), "took", took.Round(time.Millisecond).String())
		if corrected < len(changed) {
			r.event(k, out.Revision, corev1.EventTypeNormal, report.Progressing, strings.Join(changed, "\n"))
		}
	}
	s.Corrected(corrected)
}

// tellLive measures how long a revision that was just applied took to be live.
func (r *kustomizations) tellLive(k *kustomization, out engine.Outcome) {
	if !out.Fetched.IsZero() {
		k.subject().Live(time.Since(out.Fetched))
	}
}

func (r *kustomizations) logOf(k *kustomization, out engine.Outcome) *slog.Logger {
	return r.log.With("kind", KustomizationKind.Kind, "namespace", k.Namespace, "name", k.Name, "revision", out.Revision)
}

// tell reports the outcome in events, metrics and the log.
func (r *kustomizations) tell(k *kustomization, before *kustomizev1.KustomizationStatus, out engine.Outcome) {
	r.tellChanges(k, out)
	s := k.subject()
	changed := out.Deferred || len(out.Changes()) > 0
	ready := apimeta.FindStatusCondition(k.Status.Conditions, report.Ready)
	if ready == nil {
		return
	}
	was := r.told.was(k.key(), before)
	r.tellSpared(k, was, out)
	switch ready.Status {
	case metav1.ConditionTrue:
		s.Ready(1)
		s.Succeeded()
		if k.Status.LastAppliedRevision != before.LastAppliedRevision && (!out.Deferred || len(out.Changes()) > 0) {
			r.tellLive(k, out)
		}
	case metav1.ConditionFalse:
		s.Ready(0)
		s.Failed(ready.Reason)
	default:
		s.Ready(-1)
	}
	if was.Status == ready.Status && was.Reason == ready.Reason &&
		(was.Message == ready.Message || ready.Status == metav1.ConditionTrue && !changed) {
		return // that it is true at another revision too is in the status
	}
	switch {
	case ready.Status == metav1.ConditionTrue:
		r.event(k, out.Revision, corev1.EventTypeNormal, ready.Reason, fmt.Sprintf("Reconciliation finished at %s, next run in %s", out.Revision, k.Spec.Interval.Duration))
	case ready.Status == metav1.ConditionFalse, ready.Reason == string(fault.NotAnswering):
		r.logOf(k, out).Error("reconciliation failed", "reason", ready.Reason, "err", ready.Message)
		r.event(k, out.Revision, corev1.EventTypeWarning, ready.Reason, ready.Message)
	}
}

// event records a core/v1 Event about k.
func (r *kustomizations) event(k *kustomization, revision, kind, reason, message string) {
	r.eventOf(k, object.Ref{}, revision, kind, reason, message)
}

// eventOf is event for one of its objects.
func (r *kustomizations) eventOf(k *kustomization, of object.Ref, revision, kind, reason, message string) {
	ann := map[string]string{}
	if !of.IsZero() {
		ann[view.EventObject] = of.String()
	}
	if revision != "" {
		ann[revisionMetadata] = revision
	}
	for key, v := range k.Annotations {
		if strings.HasPrefix(key, eventMetadata) {
			ann[key] = v
		}
	}
	o := &kustomizev1.Kustomization{ObjectMeta: k.ObjectMeta}
	o.SetGroupVersionKind(KustomizationKind)
	r.events.AnnotatedEventf(o, ann, kind, reason, "%s", clip(message))
}

func pastTense(c *apply.Result) string {
	switch c.Action {
	case apply.Create:
		return "created"
	case apply.Update:
		return "configured"
	case apply.Recreate:
		return "recreated"
	case apply.Delete:
		return "deleted"
	case apply.Release:
		return "released: " + c.Why
	}
	return c.Action.String()
}
