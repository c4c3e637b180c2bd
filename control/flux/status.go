package flux

import (
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
)

const (
	healthyType = meta.HealthyCondition
	succeeded   = meta.SucceededReason
)

// unseen says that the cluster of a unit does not answer: whatever was true
// there, nobody can see whether it still is.
func unseen(c report.Conditions, err error) {
	c.Retry(string(fault.NotAnswering), err.Error())
	c.Set(report.Ready, metav1.ConditionUnknown, string(fault.NotAnswering), err.Error())
}

// conclude writes into the status of k what a look has shown.
func conclude(k *kustomization, out engine.Outcome) {
	st, err := &k.Status, out.Err
	c := report.Conditions{List: &st.Conditions, Generation: k.Generation}
	if out.SpecIsWrong() {
		c.Stall(reasonOf(err, "InvalidSpec"), err.Error())
		st.ObservedGeneration = k.Generation
		return
	}
	if out.Revision != "" && out.Digest != "" {
		st.LastAttemptedRevision = out.Revision
	}
	if len(out.Inventory) > 0 || st.Inventory != nil {
		st.Inventory = toInventory(out.Inventory)
	}
	asked := k.Spec.Wait || len(k.Spec.HealthChecks) > 0
	if !asked {
		c.Drop(healthyType)
	}
	f := fault.Of(err)
	switch {
	case out.Stands:
		return
	case fault.Is(err, fault.NotAnswering):
		unseen(c, err)
		return
	case err == nil && len(out.Fights) > 0:
		// Whether the rest is healthy, or comes to be, does not end a fight.
		st.LastAppliedRevision = out.Revision
		st.ObservedGeneration = k.Generation
		c.Retry(string(fault.FieldConflict), fights(out.Fights))
		if asked && out.Health == engine.Healthy {
			c.Set(healthyType, metav1.ConditionTrue, succeeded, "Health check passed")
		}
	case err == nil && out.Health == engine.Pending:
		waiting := "waiting for " + out.Waiting()
		c.Progress("Reconciliation in progress: " + waiting)
		c.Set(healthyType, metav1.ConditionUnknown, report.Progressing,
			fmt.Sprintf("Running health checks for revision %s with a timeout of %s: %s", out.Revision, k.GetTimeout(), waiting))
		return
	case err == nil:
		st.LastAppliedRevision = out.Revision
		st.ObservedGeneration = k.Generation
		c.Ready(meta.ReconciliationSucceededReason, applied(out.Revision, out.Left))
		if asked {
			c.Set(healthyType, metav1.ConditionTrue, succeeded, "Health check passed")
		}
	case f.Next == fault.Wait && f.Reason == fault.Progressing:
		c.Progress("Reconciliation in progress: " + err.Error())
		return
	default:
		reason := reasonOf(err, meta.ReconciliationFailedReason)
		c.Retry(reason, err.Error())
		if asked && reason == meta.HealthCheckFailedReason {
			c.Set(healthyType, metav1.ConditionFalse, reason, err.Error())
		}
	}
	note(k, out)
}

// fights says which fields are fought over, and with whom.
func fights(all []apply.Fight) string {
	const most = 10
	var parts []string
	for i, f := range all {
		if i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, fmt.Sprintf("%s: %s", f.Ref, f))
	}
	return strings.Join(parts, "; ") + "; put back at most once a minute until that ends"
}

// note records the run in the history, if it says anything new.
func note(k *kustomization, out engine.Outcome) {
	ready := apimeta.FindStatusCondition(k.Status.Conditions, report.Ready)
	if out.Digest == "" || ready == nil {
		return
	}
	latest := k.Status.History.Latest()
	if latest != nil && latest.Digest == out.Digest && latest.LastReconciledStatus == ready.Reason &&
		latest.Metadata["revision"] == out.Revision && !out.ChangedByGit() {
		return
	}
	k.Status.History.Upsert(out.Digest, time.Now(), out.Took.Round(time.Millisecond), ready.Reason, map[string]string{"revision": out.Revision})
}

// clip bounds the message of an event, between two characters; the API server
// takes 1,024 bytes.
func clip(message string) string {
	if len(message) > 1000 {
		message = strings.ToValidUTF8(message[:1000], "") + " …"
	}
	return message
}
