package health

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Completed says how far an object is that is there to do something once, as
// hooks are: Current, it has done it; Failed, it has ended otherwise, and the
// message says why in the object's own words where it has some; any other
// status, it is not done.
//
// An [Ender] has the first word. Else Jobs, Argo Workflows and Pods that are not
// restarted for ever have an end of their own. Of any other object j says: what is
// healthy is done, and what j can't judge has failed, unless that is j's fault (the
// result has an error). Without j nobody judges its kind, and it is done as soon as
// it is there.
func Completed(u *unstructured.Unstructured, j Judge) Result {
	if e, ok := j.(Ender); ok {
		if r := e.Ended(u); !r.Unruled {
			return ended(r)
		}
	}
	if end := endOf(u); end != nil {
		return end.Of(u)
	}
	if j == nil {
		return Result{}
	}
	return ended(j.Of(u))
}

// ended is a judgement of an object that is to come to an end.
func ended(r Result) Result {
	if r.Status == Unknown && r.Err == nil {
		r.Status = Failed
	}
	return r
}

// An Ender is a judge that says itself whether an object has done what it is
// there for, whatever its kind has for an end: what users say of a kind.
type Ender interface {
	Judge
	// Ended judges an object that is there to do something once, also while it is
	// being deleted. Unruled leaves it to others.
	Ended(u *unstructured.Unstructured) Result
}

// Completion is [Completed] as a judge, for who watches.
type Completion struct{ Judge Judge }

// Of implements [Judge].
func (c Completion) Of(u *unstructured.Unstructured) Result { return Completed(u, c.Judge) }

func (c Completion) quick() bool { return c.Judge == nil || IsQuick(c.Judge) }

// endOf returns who says of an object whether it has come to its end, or nil
// for one that has none.
func endOf(u *unstructured.Unstructured) Judge {
	switch u.GroupVersionKind().GroupKind() {
	case job:
		return jobEnd
	case schema.GroupKind{Group: argo, Kind: "Workflow"}:
		return workflowEnd
	case schema.GroupKind{Kind: "Pod"}:
		if policy, _, _ := unstructured.NestedString(u.Object, "spec", "restartPolicy"); policy == "Never" || policy == "OnFailure" {
			return podEnd
		}
	}
	return nil
}

// What is being deleted may have come to its end before.
var (
	jobEnd      = &shaped[jobShape]{also: true}
	workflowEnd = &shaped[workflowShape]{also: true}
	podEnd      = &shaped[endingPod]{also: true}
)

// An endingPod is a pod that is to come to its end, whatever it says of itself.
type endingPod podShape

func (o endingPod) health() Result {
	o.Metadata.Annotations = nil
	return podShape(o).health()
}

const argo = "argoproj.io"
