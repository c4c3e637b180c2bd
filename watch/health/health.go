// Package health judges one object: is it as ready as its kind can be?
//
// A [Judge] is a function of the object alone; who watches it, and for how long
// an object may stay in progress, is for others. There are the rules of kstatus
// ([Of]), CEL expressions that a user gives ([Exprs]), and a table of plumb's own
// ([Table]) for the kinds of Kubernetes and of many projects. Package lua has
// judges that users write in Lua.
package health

import (
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Status is the health of one object. All judges and all dialects have the
// same ones: those who have no word of their own for one read it as the next
// best thing.
type Status uint8

// From best to worst.
const (
	Current     Status = iota // as ready as it gets
	Suspended                 // on its way, but somebody has stopped it
	InProgress                // on its way
	Terminating               // being deleted
	Missing                   // not there
	Failed                    // will not get there by itself
	Unknown                   // cannot be judged
)

var (
	kstatusWords = [...]string{"Current", "InProgress", "InProgress", "Terminating", "NotFound", "Failed", "Unknown"}
	plainWords   = [...]string{"Healthy", "Suspended", "Progressing", "Progressing", "Missing", "Degraded", "Unknown"}
)

// String returns the status as kstatus calls it, and so do Flux's users. It has
// no word for Suspended, which is InProgress: who waits for it waits on.
func (s Status) String() string { return kstatusWords[s] }

// Plain returns the status as Argo CD's users know it. It has no word for
// Terminating, which is Progressing.
func (s Status) Plain() string { return plainWords[s] }

// Worse reports whether s is worse than t. What consists of several objects is
// as healthy as the worst of them.
func (s Status) Worse(t Status) bool { return s > t }

// A Result is a status and why.
type Result struct {
	Status  Status
	Message string // may be empty
	// Unruled: nobody judges objects of this kind. It is as good as Current
	// for who waits, and for who asks, it has no health.
	Unruled bool
	// Err is why there is no judgement, where the judge is at fault and not the
	// object. The status is Unknown then.
	Err error
}

// A Judge says how healthy objects of a kind are. It has an answer for objects
// of any shape, and the same for the same object. It is safe for concurrent use
// and comparable: equal judges judge alike.
type Judge interface {
	Of(u *unstructured.Unstructured) Result
}

// Judges say who judges the objects of a kind. They are safe for concurrent use.
type Judges interface {
	// For returns the judge of a kind, always an equal one; nil: it is for
	// others.
	For(gk schema.GroupKind) Judge
}

// First are judges of whom the first that has one for a kind counts.
type First []Judges

// For implements [Judges].
func (f First) For(gk schema.GroupKind) Judge {
	for _, js := range f {
		if j := js.For(gk); j != nil {
			return j
		}
	}
	return nil
}

// IsQuick reports whether a judge takes microseconds at most, whatever the
// object is, so that it can be asked whenever the object changes.
func IsQuick(j Judge) bool {
	q, ok := j.(interface{ quick() bool })
	return ok && q.quick()
}

// KStatus judges by the rules of kstatus, as [Of] does.
var KStatus Judge = kstatus{}

type kstatus struct{}

func (kstatus) Of(u *unstructured.Unstructured) Result { return Of(u) }
func (kstatus) quick() bool                            { return true }

// panicked is the result for an object on which a judge panicked.
func panicked(u *unstructured.Unstructured, p any) Result {
	return Result{Status: Unknown, Message: fmt.Sprintf("the object is not of the shape of a %s: %v", u.GetKind(), p)}
}

// Of judges u by the rules of kstatus, but for one: a Job that runs is on its
// way. What waits for it waits for what it does.
func Of(u *unstructured.Unstructured) (result Result) {
	defer func() {
		if p := recover(); p != nil {
			result = panicked(u, p)
		}
	}()
	r, err := status.Compute(u)
	if err != nil {
		return Result{Status: Unknown, Message: err.Error()}
	}
	switch r.Status {
	case status.CurrentStatus:
		if u.GroupVersionKind().GroupKind() == job && !completed(u) {
			return Result{Status: InProgress, Message: "the Job has not completed"}
		}
		return Result{Status: Current}
	case status.InProgressStatus:
		if why := asleep(u); why != "" {
			return Result{Status: Suspended, Message: why + r.Message}
		}
		return Result{Status: InProgress, Message: r.Message}
	case status.FailedStatus:
		return Result{Status: Failed, Message: r.Message}
	case status.TerminatingStatus:
		return Result{Status: Terminating, Message: r.Message}
	case status.NotFoundStatus:
		return Result{Status: Missing, Message: r.Message}
	}
	return Result{Status: Unknown, Message: r.Message}
}

// asleep says of an object that somebody has stopped: that is why it gets no
// further, whatever else it says.
func asleep(u *unstructured.Unstructured) string {
	for _, x := range []struct{ field, word string }{{"suspend", "suspended"}, {"paused", "paused"}} {
		if yes, ok, err := unstructured.NestedBool(u.Object, "spec", x.field); ok && err == nil && yes {
			return "it is " + x.word + ": "
		}
	}
	return ""
}

var job = schema.GroupKind{Group: "batch", Kind: "Job"}

func completed(job *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == "Complete" && m["status"] == "True"
	})
}
