// Package health judges one object: is it as ready as its kind can be?
//
// The rules are those of kstatus, and for kinds that need more, CEL
// expressions that the user gives. A judgement is a function of the object
// alone; who watches it, and for how long an object may stay in progress, is
// for others.
package health

import (
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Status is the health of one object.
type Status uint8

// From best to worst, as far as waiting for them goes.
const (
	Current     Status = iota // as ready as it gets
	InProgress                // on its way
	Terminating               // being deleted
	Missing                   // not there
	Unknown                   // cannot be judged
	Failed                    // will not get there by itself
)

var names = [...]string{"Current", "InProgress", "Terminating", "NotFound", "Unknown", "Failed"}

// String returns the status as kstatus calls it.
func (s Status) String() string { return names[s] }

// A Result is a status and why.
type Result struct {
	Status  Status
	Message string // empty for Current
}

// Of judges u by the rules of kstatus, but for one: a Job that runs is on its
// way. What waits for it waits for what it does.
func Of(u *unstructured.Unstructured) Result {
	r, err := status.Compute(u)
	if err != nil {
		return Result{Unknown, err.Error()}
	}
	switch r.Status {
	case status.CurrentStatus:
		if u.GroupVersionKind().GroupKind() == job && !completed(u) {
			return Result{InProgress, "the Job has not completed"}
		}
		return Result{Status: Current}
	case status.InProgressStatus:
		return Result{InProgress, asleep(u) + r.Message}
	case status.FailedStatus:
		return Result{Failed, r.Message}
	case status.TerminatingStatus:
		return Result{Terminating, r.Message}
	case status.NotFoundStatus:
		return Result{Missing, r.Message}
	}
	return Result{Unknown, r.Message}
}

// asleep says of an object that somebody has stopped: that is why it gets no
// further, whatever else it says.
func asleep(u *unstructured.Unstructured) string {
	for field, word := range map[string]string{"suspend": "suspended", "paused": "paused"} {
		if yes, ok, err := unstructured.NestedBool(u.Object, "spec", field); ok && err == nil && yes {
			return "it is " + word + ": "
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

// Exprs are CEL expressions for a kind whose readiness kstatus can't see. Each
// gives a bool from the object's top-level fields. They are asked in the order
// inProgress, failed, current; an empty one is not asked.
type Exprs struct {
	Current, InProgress, Failed string
}

// A Judge is compiled Exprs.
type Judge struct {
	current, inProgress, failed cel.Program
}

// Compile returns the judge for e. A bad expression is a [fault.Stall] with
// reason InvalidCELExpression.
func Compile(e Exprs) (*Judge, error) {
	var j Judge
	for _, x := range []struct {
		name, expr string
		into       *cel.Program
	}{{"inProgress", e.InProgress, &j.inProgress}, {"failed", e.Failed, &j.failed}, {"current", e.Current, &j.current}} {
		if x.expr == "" {
			continue
		}
		p, err := Expression(x.expr)
		if err != nil {
			return nil, fmt.Errorf("healthCheckExprs %s: %w", x.name, err)
		}
		*x.into = p
	}
	return &j, nil
}

// Eval evaluates a program of [Expression] or [Condition] to a bool.
func Eval(p cel.Program, vars map[string]any) (bool, error) {
	out, _, err := p.Eval(vars)
	if err != nil {
		return false, err
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the expression gives a %T, not a bool", out.Value())
	}
	return b, nil
}

// Of judges u. An object whose controller has not seen its latest generation
// is in progress, whatever the expressions say.
func (j *Judge) Of(u *unstructured.Unstructured) Result {
	if u.GetDeletionTimestamp() != nil {
		return Result{Terminating, "being deleted"}
	}
	if seen, ok, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); ok && seen != u.GetGeneration() {
		return Result{InProgress, "the latest generation has not been observed"}
	}
	for _, q := range []struct {
		p    cel.Program
		then Result
	}{
		{j.inProgress, Result{InProgress, "inProgress expression holds"}},
		{j.failed, Result{Failed, "failed expression holds"}},
		{j.current, Result{Status: Current}},
	} {
		if q.p == nil {
			continue
		}
		yes, err := Eval(q.p, u.Object)
		if err != nil {
			// A field that is not there yet is the usual cause.
			return Result{InProgress, why(u, err)}
		}
		if yes {
			return q.then
		}
	}
	return Result{InProgress, "current expression does not hold"}
}

// why says why an expression gave no answer for u. Such an error may quote what
// it was evaluated on, which for a Secret is nobody's to read.
func why(u *unstructured.Unstructured, err error) string {
	if gk := u.GroupVersionKind().GroupKind(); gk.Group == "" && gk.Kind == "Secret" {
		return "an expression gives no answer; why is not shown, because that may quote the Secret's values"
	}
	return oneLine(err.Error())
}
