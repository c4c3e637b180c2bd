package report

import (
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The types of condition by which kstatus, and with it every client that
// waits, tells how far an object has come. Reconciling and Stalled are there
// only while they are true.
const (
	Ready       = "Ready"
	Reconciling = "Reconciling"
	Stalled     = "Stalled"
)

// Reasons that don't say more than the type does.
const (
	Progressing          = "Progressing"
	ProgressingWithRetry = "ProgressingWithRetry"
)

// MaxMessage is the most bytes that a condition's message gets; the rest is cut
// off.
const MaxMessage = 20_000

// Conditions edits the conditions of an object at one generation. A condition
// that stays the same keeps its time.
type Conditions struct {
	List       *[]metav1.Condition
	Generation int64
}

// Set sets a condition.
func (c Conditions) Set(t string, s metav1.ConditionStatus, reason, message string) {
	if len(message) > MaxMessage {
		message = strings.ToValidUTF8(message[:MaxMessage-3], "") + "..."
	}
	apimeta.SetStatusCondition(c.List, metav1.Condition{
		Type: t, Status: s, Reason: reason, Message: message, ObservedGeneration: c.Generation,
	})
}

// Drop removes conditions.
func (c Conditions) Drop(types ...string) {
	for _, t := range types {
		apimeta.RemoveStatusCondition(c.List, t)
	}
}

// Ready says that all is as it should be.
func (c Conditions) Ready(reason, message string) {
	c.Drop(Reconciling, Stalled)
	c.Set(Ready, metav1.ConditionTrue, reason, message)
}

// Progress says that work goes on.
func (c Conditions) Progress(message string) {
	c.Drop(Stalled)
	c.Set(Reconciling, metav1.ConditionTrue, Progressing, message)
	c.Set(Ready, metav1.ConditionUnknown, Progressing, message)
}

// Retry says that something is wrong and will be tried again.
func (c Conditions) Retry(reason, message string) {
	c.Drop(Stalled)
	c.Set(Reconciling, metav1.ConditionTrue, ProgressingWithRetry, message)
	c.Set(Ready, metav1.ConditionFalse, reason, message)
}

// Stall says that something is wrong which only a change of the spec puts
// right.
func (c Conditions) Stall(reason, message string) {
	c.Drop(Reconciling)
	c.Set(Stalled, metav1.ConditionTrue, reason, message)
	c.Set(Ready, metav1.ConditionFalse, reason, message)
}

// Find returns a condition; it is empty if there is none of the type.
func Find(list []metav1.Condition, t string) metav1.Condition {
	if c := apimeta.FindStatusCondition(list, t); c != nil {
		return *c
	}
	return metav1.Condition{}
}
