package flux

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/report"
)

// What a unit waits for is told at once, and what becomes of it is told again
// as time goes on: a Deployment that rolls says something new with every Pod,
// and each time that is a write.
const (
	waitingTold   = 5 * time.Second  // between two writes that only tell how the waiting goes
	waitingLooked = 10 * time.Second // between two looks at what the objects say
)

// pace leaves the conditions of k as they are stored, if all that is new is how
// the waiting goes and that was told just now. It returns when to look again.
func (r *kustomizations) pace(k *kustomization, before *kustomizev1.KustomizationStatus, out engine.Outcome, err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, is := report.Find(before.Conditions, report.Ready), report.Find(k.Status.Conditions, report.Ready)
	if err != nil || out.Health != engine.Progressing || is.Status != metav1.ConditionUnknown {
		delete(r.told, k.key())
		return 0
	}
	same := was.Status == is.Status && was.Reason == is.Reason && was.ObservedGeneration == is.ObservedGeneration &&
		before.LastAttemptedRevision == k.Status.LastAttemptedRevision && len(out.Changes) == 0 && !k.stored
	if same && was.Message == is.Message {
		return waitingLooked
	}
	if left := waitingTold - time.Since(r.told[k.key()]); same && left > 0 {
		k.Status.Conditions = before.Conditions
		return left
	}
	r.told[k.key()] = time.Now()
	return waitingLooked
}
