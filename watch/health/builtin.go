package health

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The kinds of Kubernetes that have more to say than kstatus asks for: what has
// failed for now and may mend, what was stopped, what waits for an address. What
// each status is, Argo CD's users know; the words are plumb's.

// builtin are the judges of the kinds of Kubernetes.
var builtin = map[schema.GroupKind]Judge{
	{Group: "apps", Kind: "Deployment"}:                     &shaped[deploymentShape]{},
	{Group: "apps", Kind: "ReplicaSet"}:                     &shaped[replicaSetShape]{},
	{Group: "apps", Kind: "StatefulSet"}:                    &shaped[statefulSetShape]{},
	{Group: "apps", Kind: "DaemonSet"}:                      &shaped[daemonSetShape]{},
	{Kind: "Pod"}:                                           &shaped[podShape]{},
	{Kind: "Service"}:                                       &shaped[serviceShape]{},
	{Kind: "PersistentVolumeClaim"}:                         &shaped[claimShape]{},
	{Group: "networking.k8s.io", Kind: "Ingress"}:           &shaped[ingressShape]{},
	{Group: "extensions", Kind: "Ingress"}:                  &shaped[ingressShape]{},
	job:                                                     &shaped[jobShape]{},
	{Group: "batch", Kind: "CronJob"}:                       &shaped[cronJobShape]{},
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: &shaped[autoscalerShape]{},
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:   &shaped[apiServiceShape]{},
	{Group: argo, Kind: "Workflow"}:                         &shaped[workflowShape]{},
	{Group: argo, Kind: "Application"}:                      &shaped[applicationShape]{},
}

// A shape has those fields of a kind that its health depends on, and names them.
type shape interface{ health() Result }

// shaped judges objects of the shape S.
type shaped[S shape] struct {
	also bool // those that are being deleted
}

func (*shaped[S]) quick() bool { return true }

// Of implements [Judge].
func (j *shaped[S]) Of(u *unstructured.Unstructured) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = panicked(u, p)
		}
	}()
	if !j.also && u.GetDeletionTimestamp() != nil {
		return deleting
	}
	var s S
	if r, bad := read(u, &s); bad {
		return r
	}
	return s.health()
}

var deleting = Result{Status: Terminating, Message: "being deleted"}

// read reads the fields of an object that into has. An object with another type
// of value in one of them is Unknown.
func read(u *unstructured.Unstructured, into any) (r Result, bad bool) {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
		return Result{Status: Unknown, Message: fmt.Sprintf("the object is not of the shape of a %s: %s", u.GetKind(), oneLine(err.Error()))}, true
	}
	return Result{}, false
}

// A meta is what most shapes have in common.
type meta struct {
	Generation  int64             `json:"generation"`
	Annotations map[string]string `json:"annotations"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func find(all []condition, kind string) condition {
	i := slices.IndexFunc(all, func(c condition) bool { return c.Type == kind })
	if i < 0 {
		return condition{}
	}
	return all[i]
}

// said is what a condition says of itself.
func (c condition) said() string {
	switch {
	case c.Reason == "":
		return c.Message
	case c.Message == "":
		return c.Reason
	}
	return c.Reason + ": " + c.Message
}

func progressing(format string, args ...any) Result {
	return Result{Status: InProgress, Message: fmt.Sprintf(format, args...)}
}

// unobserved is what is said where the controller has not seen the object as it
// is now.
var unobserved = Result{Status: InProgress, Message: "its controller has not seen the latest change yet"}

type deploymentShape struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Paused   bool   `json:"paused"`
		Replicas *int32 `json:"replicas"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		Replicas           int32       `json:"replicas"`
		UpdatedReplicas    int32       `json:"updatedReplicas"`
		AvailableReplicas  int32       `json:"availableReplicas"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

func (o deploymentShape) health() Result {
	st := o.Status
	switch {
	case o.Spec.Paused:
		return Result{Status: Suspended, Message: "it is paused"}
	case o.Metadata.Generation > st.ObservedGeneration:
		return unobserved
	case find(st.Conditions, "Progressing").Reason == "ProgressDeadlineExceeded":
		return Result{Status: Failed, Message: "it has not come further within its progress deadline"}
	case o.Spec.Replicas != nil && st.UpdatedReplicas < *o.Spec.Replicas:
		return progressing("%d of %d replicas are updated", st.UpdatedReplicas, *o.Spec.Replicas)
	case st.Replicas > st.UpdatedReplicas:
		return progressing("%d old replicas have yet to end", st.Replicas-st.UpdatedReplicas)
	case st.AvailableReplicas < st.UpdatedReplicas:
		return progressing("%d of %d replicas are available", st.AvailableReplicas, st.UpdatedReplicas)
	}
	return Result{}
}

type replicaSetShape struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Replicas *int32 `json:"replicas"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		AvailableReplicas  int32       `json:"availableReplicas"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

func (o replicaSetShape) health() Result {
	st := o.Status
	failure := find(st.Conditions, "ReplicaFailure")
	switch {
	case o.Metadata.Generation > st.ObservedGeneration:
		return unobserved
	case failure.Status == "True":
		return Result{Status: Failed, Message: failure.Message}
	case o.Spec.Replicas != nil && st.AvailableReplicas < *o.Spec.Replicas:
		return progressing("%d of %d replicas are available", st.AvailableReplicas, *o.Spec.Replicas)
	}
	return Result{}
}

type statefulSetShape struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		Replicas       *int32 `json:"replicas"`
		UpdateStrategy struct {
			Type          string `json:"type"`
			RollingUpdate *struct {
				Partition *int32 `json:"partition"`
			} `json:"rollingUpdate"`
		} `json:"updateStrategy"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64  `json:"observedGeneration"`
		ReadyReplicas      int32  `json:"readyReplicas"`
		UpdatedReplicas    int32  `json:"updatedReplicas"`
		CurrentRevision    string `json:"currentRevision"`
		UpdateRevision     string `json:"updateRevision"`
	} `json:"status"`
}

func (o statefulSetShape) health() Result {
	st, strategy := o.Status, o.Spec.UpdateStrategy
	want := int32(1)
	if o.Spec.Replicas != nil {
		want = *o.Spec.Replicas
	}
	switch {
	case st.ObservedGeneration == 0, o.Metadata.Generation > st.ObservedGeneration:
		return unobserved
	case st.ReadyReplicas < want:
		return progressing("%d of %d replicas are ready", st.ReadyReplicas, want)
	case strategy.Type == "OnDelete":
		return Result{}
	case strategy.Type == "RollingUpdate" && strategy.RollingUpdate != nil:
		if p := strategy.RollingUpdate.Partition; p != nil && st.UpdatedReplicas < want-*p {
			return progressing("%d of %d replicas are updated", st.UpdatedReplicas, want-*p)
		}
	case st.UpdateRevision != st.CurrentRevision:
		return progressing("%d of %d replicas are updated", st.UpdatedReplicas, want)
	}
	return Result{}
}

type daemonSetShape struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		UpdateStrategy struct {
			Type string `json:"type"`
		} `json:"updateStrategy"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		Desired            int32 `json:"desiredNumberScheduled"`
		Updated            int32 `json:"updatedNumberScheduled"`
		Available          int32 `json:"numberAvailable"`
	} `json:"status"`
}

func (o daemonSetShape) health() Result {
	st := o.Status
	switch {
	case o.Metadata.Generation > st.ObservedGeneration:
		return unobserved
	case o.Spec.UpdateStrategy.Type == "OnDelete":
		return Result{}
	case st.Updated < st.Desired:
		return progressing("the pods of %d of %d nodes are updated", st.Updated, st.Desired)
	case st.Available < st.Desired:
		return progressing("the pods of %d of %d nodes are available", st.Available, st.Desired)
	}
	return Result{}
}

type podShape struct {
	Metadata meta `json:"metadata"`
	Spec     struct {
		RestartPolicy string `json:"restartPolicy"`
	} `json:"spec"`
	Status struct {
		Phase      string      `json:"phase"`
		Message    string      `json:"message"`
		Conditions []condition `json:"conditions"`
		Init       []container `json:"initContainerStatuses"`
		Containers []container `json:"containerStatuses"`
	} `json:"status"`
}

type container struct {
	Name  string         `json:"name"`
	State containerState `json:"state"`
	Last  containerState `json:"lastState"`
}

type containerState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Terminated *struct {
		ExitCode int32  `json:"exitCode"`
		Reason   string `json:"reason"`
		Message  string `json:"message"`
	} `json:"terminated"`
}

// longRunning is an annotation of Argo CD's by which a Pod that has an end is
// judged as one that has none.
const longRunning = "argocd.argoproj.io/ignore-restart-policy"

// restarts reports whether the pod is to run for ever.
func (o podShape) restarts() bool {
	return o.Spec.RestartPolicy != "Never" && o.Spec.RestartPolicy != "OnFailure"
}

func (o podShape) health() Result {
	st := o.Status
	forever := o.restarts() || o.Metadata.Annotations[longRunning] == "true"
	if stuck := o.stuck(); forever && stuck != "" {
		return Result{Status: Failed, Message: stuck}
	}
	switch st.Phase {
	case "", "Pending":
		return Result{Status: InProgress, Message: st.Message}
	case "Succeeded":
		return Result{Message: st.Message}
	case "Failed":
		return Result{Status: Failed, Message: o.failure()}
	case "Running":
		switch {
		case !forever:
			return Result{Status: InProgress, Message: st.Message}
		case find(st.Conditions, "Ready").Status == "True":
			return Result{Message: st.Message}
		case slices.ContainsFunc(st.Containers, func(c container) bool { return c.Last.Terminated != nil }):
			return Result{Status: Failed, Message: st.Message}
		}
		return Result{Status: InProgress, Message: st.Message}
	}
	return Result{Status: Unknown, Message: fmt.Sprintf("phase %q", st.Phase)}
}

// stuck says what keeps containers from running, such as an image that can't be
// had. It mends by itself, and so is nothing that a pod with an end has failed of.
func (o podShape) stuck() string {
	var whys []string
	for _, c := range o.Status.Containers {
		w := c.State.Waiting
		if w == nil || !strings.HasPrefix(w.Reason, "Err") && !strings.HasSuffix(w.Reason, "Error") && !strings.HasSuffix(w.Reason, "BackOff") {
			continue
		}
		why := w.Message
		if why == "" {
			why = w.Reason
		}
		whys = append(whys, why)
	}
	return strings.Join(whys, ", ")
}

// failure says what a pod has failed of.
func (o podShape) failure() string {
	if o.Status.Message != "" {
		return o.Status.Message
	}
	for _, c := range slices.Concat(o.Status.Init, o.Status.Containers) {
		t := c.State.Terminated
		switch {
		case t == nil:
		case t.Message != "":
			return t.Message
		case t.Reason == "OOMKilled":
			return t.Reason
		case t.ExitCode != 0:
			return fmt.Sprintf("container %q failed with exit code %d", c.Name, t.ExitCode)
		}
	}
	return ""
}

type serviceShape struct {
	Spec struct {
		Type string `json:"type"`
	} `json:"spec"`
	Status struct {
		LoadBalancer addresses `json:"loadBalancer"`
	} `json:"status"`
}

type addresses struct {
	Ingress []struct{} `json:"ingress"`
}

func (o serviceShape) health() Result {
	if o.Spec.Type == "LoadBalancer" && len(o.Status.LoadBalancer.Ingress) == 0 {
		return progressing("it has no address yet")
	}
	return Result{}
}

type ingressShape struct {
	Status struct {
		LoadBalancer addresses `json:"loadBalancer"`
	} `json:"status"`
}

func (o ingressShape) health() Result {
	if len(o.Status.LoadBalancer.Ingress) == 0 {
		return progressing("it has no address yet")
	}
	return Result{}
}

type claimShape struct {
	Status struct {
		Phase string `json:"phase"`
	} `json:"status"`
}

func (o claimShape) health() Result {
	switch o.Status.Phase {
	case "Bound":
		return Result{}
	case "Pending":
		return progressing("it is not bound to a volume yet")
	case "Lost":
		return Result{Status: Failed, Message: "its volume is lost"}
	}
	return Result{Status: Unknown, Message: fmt.Sprintf("phase %q", o.Status.Phase)}
}

type jobShape struct {
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

func (o jobShape) health() Result {
	all := o.Status.Conditions
	for _, c := range []struct {
		kind string
		is   Status
	}{{"Failed", Failed}, {"Complete", Current}, {"Suspended", Suspended}} {
		if found := find(all, c.kind); found.Status == "True" {
			return Result{Status: c.is, Message: found.Message}
		}
	}
	return Result{Status: InProgress, Message: "it has not completed"}
}

type cronJobShape struct {
	Spec struct {
		Suspend bool `json:"suspend"`
	} `json:"spec"`
	Status struct {
		Active     []struct{} `json:"active"`
		Scheduled  string     `json:"lastScheduleTime"`
		Successful string     `json:"lastSuccessfulTime"`
	} `json:"status"`
}

// A schedule that was suspended is as its owner wants it: nothing is on its way.
func (o cronJobShape) health() Result {
	st := o.Status
	switch {
	case o.Spec.Suspend:
		return Result{Message: "it is suspended"}
	case st.Scheduled == "":
		return Result{Message: "it has not been due yet"}
	case len(st.Active) > 0:
		return Result{Message: "a job is running"}
	case st.Successful == "":
		return Result{Message: "no job has succeeded yet"}
	case st.Successful < st.Scheduled: // both in UTC, to the second
		return Result{Status: Failed, Message: "its last job has not succeeded"}
	}
	return Result{}
}

type autoscalerShape struct {
	Metadata meta `json:"metadata"`
	Status   struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

// conditionsV1 is where the first version of the API has the conditions.
const conditionsV1 = "autoscaling.alpha.kubernetes.io/conditions"

func (o autoscalerShape) health() Result {
	all := o.Status.Conditions
	if text := o.Metadata.Annotations[conditionsV1]; len(all) == 0 && text != "" {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			return Result{Status: Unknown, Message: fmt.Sprintf("annotation %s: %v", conditionsV1, err)}
		}
	}
	able, active := find(all, "AbleToScale"), find(all, "ScalingActive")
	switch {
	case able.Status == "False" && strings.HasPrefix(able.Reason, "Failed"):
		return Result{Status: Failed, Message: able.Message}
	case active.Status == "False" && (strings.HasPrefix(active.Reason, "Failed") || strings.HasPrefix(active.Reason, "Invalid")):
		return Result{Status: Failed, Message: active.Message}
	case able.Status == "True":
		return Result{Message: able.Message}
	case find(all, "ScalingLimited").Status == "True":
		return Result{Message: find(all, "ScalingLimited").Message}
	}
	return progressing("it has scaled nothing yet")
}

type apiServiceShape struct {
	Status struct {
		Conditions []condition `json:"conditions"`
	} `json:"status"`
}

func (o apiServiceShape) health() Result {
	available := find(o.Status.Conditions, "Available")
	switch available.Status {
	case "True":
		return Result{Message: available.said()}
	case "":
		return progressing("it has not been looked at yet")
	}
	return Result{Status: InProgress, Message: available.said()}
}

type workflowShape struct {
	Spec struct {
		Suspend bool `json:"suspend"`
	} `json:"spec"`
	Status struct {
		Phase   string `json:"phase"`
		Message string `json:"message"`
	} `json:"status"`
}

func (o workflowShape) health() Result {
	st := o.Status
	switch st.Phase {
	case "Succeeded":
		return Result{Message: st.Message}
	case "Failed", "Error":
		return Result{Status: Failed, Message: st.Message}
	case "", "Pending", "Running":
		return Result{Status: InProgress, Message: st.Message}
	}
	return Result{Status: Unknown, Message: fmt.Sprintf("phase %q", st.Phase)}
}
