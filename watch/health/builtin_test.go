package health

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A state is an object of a kind of Kubernetes and how it is, as both dialects
// call it.
type state struct{ name, object, want string }

func judgeAll(t *testing.T, judges Judges, states []state) {
	t.Helper()
	for _, s := range states {
		u := parse(t, s.object)
		r := judges.For(u.GroupVersionKind().GroupKind()).Of(u)
		if got := told(r); got != s.want {
			t.Errorf("%s: %q, want %q", s.name, got, s.want)
		}
	}
}

// told is a result in a line.
func told(r Result) string {
	s := r.Status.Plain()
	if r.Unruled {
		s = "-"
	}
	if r.Message != "" {
		s += ": " + r.Message
	}
	return s
}

func TestKindsOfKubernetes(t *testing.T) {
	const (
		deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, "
		sts        = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {generation: 2}, "
		ds         = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 2}, "
		rs         = "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {generation: 2}, "
		pod        = "{apiVersion: v1, kind: Pod, "
		job        = "{apiVersion: batch/v1, kind: Job, "
		cron       = "{apiVersion: batch/v1, kind: CronJob, "
		hpa        = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, "
	)
	judgeAll(t, Table, []state{
		{"a Deployment that is paused", deployment + "spec: {paused: true}, status: {observedGeneration: 1}}", "Suspended: it is paused"},
		{"one that was changed just now", deployment + "spec: {replicas: 2}, status: {observedGeneration: 1}}", "Progressing: its controller has not seen the latest change yet"},
		{"one that is stuck", deployment + "status: {observedGeneration: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}}", "Degraded: it has not come further within its progress deadline"},
		{"one whose replicas are made", deployment + "spec: {replicas: 2}, status: {observedGeneration: 2, updatedReplicas: 1}}", "Progressing: 1 of 2 replicas are updated"},
		{"one with old replicas", deployment + "spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 3, updatedReplicas: 2}}", "Progressing: 1 old replicas have yet to end"},
		{"one whose replicas start", deployment + "spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1}}", "Progressing: 1 of 2 replicas are available"},
		{"one that is as it should be", deployment + "spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}", "Healthy"},
		{"one of no replicas", deployment + "spec: {replicas: 0}, status: {observedGeneration: 2}}", "Healthy"},
		{"one that goes", "{apiVersion: apps/v1, kind: Deployment, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}", "Progressing: being deleted"},

		{"a StatefulSet nobody has seen", sts + "spec: {replicas: 1}}", "Progressing: its controller has not seen the latest change yet"},
		{"one that starts", sts + "spec: {replicas: 3}, status: {observedGeneration: 2, readyReplicas: 1}}", "Progressing: 1 of 3 replicas are ready"},
		{"one at its partition", sts + "spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}, status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 2}}", "Healthy"},
		{"one before its partition", sts + "spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}, status: {observedGeneration: 2, readyReplicas: 3, updatedReplicas: 1}}", "Progressing: 1 of 2 replicas are updated"},
		{"one whose Pods a person deletes", sts + "spec: {replicas: 3, updateStrategy: {type: OnDelete}}, status: {observedGeneration: 2, readyReplicas: 3, currentRevision: a, updateRevision: b}}", "Healthy"},
		{"one between revisions", sts + "spec: {replicas: 3}, status: {observedGeneration: 2, readyReplicas: 3, currentRevision: a, updateRevision: b, updatedReplicas: 1}}", "Progressing: 1 of 3 replicas are updated"},
		{"one that is as it should be", sts + "spec: {replicas: 3}, status: {observedGeneration: 2, readyReplicas: 3, currentRevision: a, updateRevision: a}}", "Healthy"},

		{"a DaemonSet that was changed", ds + "status: {observedGeneration: 1}}", "Progressing: its controller has not seen the latest change yet"},
		{"one that rolls", ds + "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 1}}", "Progressing: the pods of 1 of 3 nodes are updated"},
		{"one that starts", ds + "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 2}}", "Progressing: the pods of 2 of 3 nodes are available"},
		{"one that a person rolls", ds + "spec: {updateStrategy: {type: OnDelete}}, status: {observedGeneration: 2, desiredNumberScheduled: 3}}", "Healthy"},
		{"one that is as it should be", ds + "status: {observedGeneration: 2, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 3}}", "Healthy"},

		{"a ReplicaSet that can't make Pods", rs + "spec: {replicas: 1}, status: {observedGeneration: 2, conditions: [{type: ReplicaFailure, status: 'True', message: no quota}]}}", "Degraded: no quota"},
		{"one that starts", rs + "spec: {replicas: 2}, status: {observedGeneration: 2, availableReplicas: 1}}", "Progressing: 1 of 2 replicas are available"},
		{"one that is as it should be", rs + "spec: {replicas: 2}, status: {observedGeneration: 2, availableReplicas: 2}}", "Healthy"},

		{"a Pod that waits", pod + "status: {phase: Pending}}", "Progressing"},
		{"one whose image can't be had", pod + "spec: {restartPolicy: Always}, status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull, message: no such image}}}]}}", "Degraded: no such image"},
		{"one that crashes", pod + "status: {phase: Running, containerStatuses: [{state: {waiting: {reason: CrashLoopBackOff}}}]}}", "Degraded: CrashLoopBackOff"},
		{"one with an end, whose image may come yet", pod + "spec: {restartPolicy: Never}, status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull}}}]}}", "Progressing"},
		{"one that runs and is ready", pod + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Healthy"},
		{"one that runs and is not ready", pod + "status: {phase: Running, conditions: [{type: Ready, status: 'False'}]}}", "Progressing"},
		{"one that has ended before", pod + "status: {phase: Running, containerStatuses: [{lastState: {terminated: {exitCode: 1}}}]}}", "Degraded"},
		{"one with an end, that runs", pod + "spec: {restartPolicy: OnFailure}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Progressing"},
		{"one with an end, that is a server", pod + "metadata: {annotations: {argocd.argoproj.io/ignore-restart-policy: 'true'}}, spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Healthy"},
		{"one that has succeeded", pod + "status: {phase: Succeeded}}", "Healthy"},
		{"one that has failed", pod + "spec: {restartPolicy: Never}, status: {phase: Failed, initContainerStatuses: [{name: init, state: {terminated: {exitCode: 0}}}], containerStatuses: [{name: main, state: {terminated: {exitCode: 1}}}]}}", `Degraded: container "main" failed with exit code 1`},
		{"one that says why", pod + "status: {phase: Failed, containerStatuses: [{name: main, state: {terminated: {exitCode: 1, message: no table users}}}]}}", "Degraded: no table users"},
		{"one that was evicted", pod + "status: {phase: Failed, message: The node was low on memory}}", "Degraded: The node was low on memory"},
		{"one that had too much memory", pod + "status: {phase: Failed, containerStatuses: [{state: {terminated: {exitCode: 137, reason: OOMKilled}}}]}}", "Degraded: OOMKilled"},
		{"one nobody knows of", pod + "status: {phase: Unknown}}", `Unknown: phase "Unknown"`},

		{"a Service", "{apiVersion: v1, kind: Service, spec: {type: ClusterIP}}", "Healthy"},
		{"one that waits for its balancer", "{apiVersion: v1, kind: Service, spec: {type: LoadBalancer}}", "Progressing: it has no address yet"},
		{"one that has one", "{apiVersion: v1, kind: Service, spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}}", "Healthy"},
		{"an Ingress without an address", "{apiVersion: networking.k8s.io/v1, kind: Ingress}", "Progressing: it has no address yet"},
		{"one with an address", "{apiVersion: networking.k8s.io/v1, kind: Ingress, status: {loadBalancer: {ingress: [{hostname: a}]}}}", "Healthy"},
		{"a claim that waits", "{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Pending}}", "Progressing: it is not bound to a volume yet"},
		{"one that has a volume", "{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Bound}}", "Healthy"},
		{"one that has lost it", "{apiVersion: v1, kind: PersistentVolumeClaim, status: {phase: Lost}}", "Degraded: its volume is lost"},

		{"a Job that runs", job + "status: {active: 1}}", "Progressing: it has not completed"},
		{"one that was resumed", job + "status: {conditions: [{type: Suspended, status: 'False', message: resumed}]}}", "Progressing: it has not completed"},
		{"one that is suspended", job + "status: {conditions: [{type: Suspended, status: 'True', message: Job suspended}]}}", "Suspended: Job suspended"},
		{"one that has completed", job + "status: {conditions: [{type: Suspended, status: 'False'}, {type: Complete, status: 'True', message: Reached expected number of succeeded pods}]}}", "Healthy: Reached expected number of succeeded pods"},
		{"one that has failed", job + "status: {conditions: [{type: FailureTarget, status: 'True'}, {type: Failed, status: 'True', message: too often}]}}", "Degraded: too often"},
		{"a schedule that was never due", cron + "status: {}}", "Healthy: it has not been due yet"},
		{"one that is suspended", cron + "spec: {suspend: true}, status: {lastScheduleTime: '2026-01-01T00:00:00Z'}}", "Healthy: it is suspended"},
		{"one whose job runs", cron + "status: {lastScheduleTime: '2026-01-02T00:00:00Z', lastSuccessfulTime: '2026-01-01T00:00:00Z', active: [{name: a}]}}", "Healthy: a job is running"},
		{"one whose last job failed", cron + "status: {lastScheduleTime: '2026-01-02T00:00:00Z', lastSuccessfulTime: '2026-01-01T00:00:09Z'}}", "Degraded: its last job has not succeeded"},
		{"one whose jobs never succeeded", cron + "status: {lastScheduleTime: '2026-01-02T00:00:00Z'}}", "Healthy: no job has succeeded yet"},
		{"one whose last job succeeded", cron + "status: {lastScheduleTime: '2026-01-02T00:00:00Z', lastSuccessfulTime: '2026-01-02T00:00:09Z'}}", "Healthy"},

		{"an autoscaler at its beginning", hpa + "status: {}}", "Progressing: it has scaled nothing yet"},
		{"one that finds nothing to scale", hpa + "status: {conditions: [{type: AbleToScale, status: 'False', reason: FailedGetScale, message: no Deployment}]}}", "Degraded: no Deployment"},
		{"one without metrics", hpa + "status: {conditions: [{type: AbleToScale, status: 'True', reason: SucceededGetScale}, {type: ScalingActive, status: 'False', reason: FailedGetResourceMetric, message: no metrics}]}}", "Degraded: no metrics"},
		{"one that scales to nothing", hpa + "status: {conditions: [{type: AbleToScale, status: 'True', message: able}, {type: ScalingActive, status: 'False', reason: ScalingDisabled}]}}", "Healthy: able"},
		{"one of version 1", "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {annotations: {autoscaling.alpha.kubernetes.io/conditions: '[{\"type\":\"AbleToScale\",\"status\":\"True\"}]'}}}", "Healthy"},
		{"one of version 1 with nonsense", "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {annotations: {autoscaling.alpha.kubernetes.io/conditions: '['}}}", "Unknown: annotation autoscaling.alpha.kubernetes.io/conditions: unexpected end of JSON input"},
		{"an APIService nobody has looked at", "{apiVersion: apiregistration.k8s.io/v1, kind: APIService}", "Progressing: it has not been looked at yet"},
		{"one whose server is away", "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, status: {conditions: [{type: Available, status: 'False', reason: MissingEndpoints, message: none}]}}", "Progressing: MissingEndpoints: none"},
		{"one that is served", "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, status: {conditions: [{type: Available, status: 'True', reason: Local}]}}", "Healthy: Local"},
		{"a Workflow that runs", "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, status: {phase: Running}}", "Progressing"},
		{"one that has failed", "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, status: {phase: Error, message: lost}}", "Degraded: lost"},

		{"a ConfigMap, which has no health", "{apiVersion: v1, kind: ConfigMap}", "-"},
		{"one that goes", "{apiVersion: v1, kind: ConfigMap, metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}", "Progressing: being deleted"},
		{"a kind that nobody knows", "{apiVersion: example.com/v1, kind: Widget, status: {conditions: [{type: Ready, status: 'False'}]}}", "-"},
	})
}

// One value serves both dialects: who has no word for a status reads it as the
// next best thing.
func TestAStatusHasAWordInBothDialects(t *testing.T) {
	for s, want := range map[Status]string{
		Current: "Current Healthy", Suspended: "InProgress Suspended", InProgress: "InProgress Progressing", Terminating: "Terminating Progressing",
		Missing: "NotFound Missing", Failed: "Failed Degraded", Unknown: "Unknown Unknown",
	} {
		if got := s.String() + " " + s.Plain(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	worse := []Status{Current, Suspended, InProgress, Terminating, Missing, Failed, Unknown}
	for i, s := range worse {
		for j, other := range worse {
			if s.Worse(other) != (i > j) {
				t.Errorf("%s worse than %s: %t", s.Plain(), other.Plain(), s.Worse(other))
			}
		}
	}
}

func TestWhatIsThereToComeToAnEnd(t *testing.T) {
	const (
		pod  = "{apiVersion: v1, kind: Pod, "
		job  = "{apiVersion: batch/v1, kind: Job, "
		gone = "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, "
	)
	widget := schema.GroupKind{Group: "example.com", Kind: "Widget"}
	judges := Rules{{widget.Group, widget.Kind, compileExprs(t, Exprs{Current: "status.ok", Failed: "status.bad"})}, {"example.com", "Odd", odd{}}}
	for _, c := range []struct{ name, object, want string }{
		{"a Pod that runs", pod + "spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Progressing"},
		{"one that has done its job", pod + "spec: {restartPolicy: Never}, status: {phase: Succeeded}}", "Healthy"},
		{"one that has done it, and goes", pod + gone + "spec: {restartPolicy: Never}, status: {phase: Succeeded}}", "Healthy"},
		{"one that goes before", pod + gone + "spec: {restartPolicy: Never}, status: {phase: Running}}", "Progressing"},
		{"one that has failed", pod + "spec: {restartPolicy: OnFailure}, status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}}", `Degraded: container "a" failed with exit code 3`},
		{"one that is no server, whatever it says", pod + "metadata: {annotations: {argocd.argoproj.io/ignore-restart-policy: 'true'}}, spec: {restartPolicy: Never}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Progressing"},
		{"one that waits for an image", pod + "spec: {restartPolicy: Never}, status: {phase: Pending, containerStatuses: [{state: {waiting: {reason: ErrImagePull}}}]}}", "Progressing"},
		{"a server, once it is ready", pod + "spec: {restartPolicy: Always}, status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}}", "Healthy"},
		{"a Job that runs", job + "status: {active: 1}}", "Progressing: it has not completed"},
		{"one that is suspended", job + "status: {conditions: [{type: Suspended, status: 'True'}]}}", "Suspended"},
		{"one that has completed", job + "status: {conditions: [{type: Complete, status: 'True'}]}}", "Healthy"},
		{"one that has failed", job + "status: {conditions: [{type: Failed, status: 'True', message: too often}]}}", "Degraded: too often"},
		{"a Workflow that has failed", "{apiVersion: argoproj.io/v1alpha1, kind: Workflow, status: {phase: Failed, message: lost}}", "Degraded: lost"},
		{"a ConfigMap, as soon as it is there", "{apiVersion: v1, kind: ConfigMap}", "Healthy"},
		{"a kind with a rule", "{apiVersion: example.com/v1, kind: Widget, status: {ok: false, bad: false}}", "Progressing: current expression does not hold"},
		{"it is healthy", "{apiVersion: example.com/v1, kind: Widget, status: {ok: true, bad: false}}", "Healthy"},
		{"it has failed", "{apiVersion: example.com/v1, kind: Widget, status: {bad: true}}", "Degraded: failed expression holds"},
		{"it can't be judged", "{apiVersion: example.com/v1, kind: Odd}", "Degraded: odd"},
		{"its judge is at fault", "{apiVersion: example.com/v1, kind: Odd, error: true}", "Unknown: odd"},
	} {
		u := parse(t, c.object)
		kind := u.GroupVersionKind().GroupKind()
		j := judges.For(kind)
		if kind.Group == "" && kind.Kind == "Pod" {
			j = Table.For(kind)
		}
		if got := told(Completed(u, j)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := told((Completion{j}).Of(u)); got != c.want {
			t.Errorf("as a judge, %s: %q, want %q", c.name, got, c.want)
		}
	}
	if (Completion{}) != (Completion{}) || !IsQuick(Completion{}) || IsQuick(Completion{odd{}}) || IsQuick(nil) {
		t.Error("judges of hooks are not told apart, or asked too often")
	}
}

// What users say of a kind has the first word about the end of its objects, also
// while these are being deleted; what they leave open, the kind has.
func TestAnEnderHasTheFirstWord(t *testing.T) {
	const job = "{apiVersion: batch/v1, kind: Job, "
	for object, want := range map[string]string{
		job + "status: {conditions: [{type: Failed, status: 'True'}]}}": "Healthy: seen",
		job + "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}":  "Healthy: seen while it goes",
		job + "unknown: true}": "Degraded: no idea",
		job + "leave: true, status: {conditions: [{type: Failed, status: 'True', message: too often}]}}": "Degraded: too often",
	} {
		u := parse(t, object)
		if got := told(Completed(u, ender{})); got != want {
			t.Errorf("%s: %q, want %q", object, got, want)
		}
	}
}

// ender is what users say of a kind.
type ender struct{ Judge }

func (ender) Ended(u *unstructured.Unstructured) Result {
	switch {
	case u.Object["leave"] == true:
		return Result{Unruled: true}
	case u.Object["unknown"] == true:
		return Result{Status: Unknown, Message: "no idea"}
	case u.GetDeletionTimestamp() != nil:
		return Result{Message: "seen while it goes"}
	}
	return Result{Message: "seen"}
}

// odd can't judge, by its own fault or that of the object.
type odd struct{}

func (odd) Of(u *unstructured.Unstructured) Result {
	r := Result{Status: Unknown, Message: "odd"}
	if u.Object["error"] != nil {
		r.Err = fmt.Errorf("odd")
	}
	return r
}

// Whatever shape an object has, it is judged, and one with a text where a number
// has to be is said to be none of its kind.
func TestAnObjectOfAnyShapeIsJudged(t *testing.T) {
	for object, says := range map[string]string{
		"{apiVersion: apps/v1, kind: Deployment, status: {replicas: three}}":                             "not of the shape of a Deployment",
		"{apiVersion: v1, kind: Pod, status: ready}":                                                     "not of the shape of a Pod",
		"{apiVersion: v1, kind: Pod, spec: {restartPolicy: Never}, status: {containerStatuses: {a: 1}}}": "not of the shape of a Pod",
		"{apiVersion: bitnami.com/v1, kind: SealedSecret, status: {observedGeneration: a}}":              "status.observedGeneration is a string, not a number",
	} {
		u := parse(t, object)
		j := Table.For(u.GroupVersionKind().GroupKind())
		if r := j.Of(u); r.Status != Unknown || !strings.Contains(r.Message, says) {
			t.Errorf("%s: %s", object, told(r))
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := tableKinds(t)
	for range 6_000 {
		kind := kinds[rng.IntN(len(kinds))]
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": kind.Group + "/v1", "kind": kind.Kind, "metadata": anything(rng, 2), "spec": anything(rng, 4), "status": anything(rng, 5),
		}}
		if rng.IntN(4) > 0 {
			u.Object["metadata"] = map[string]any{"generation": int64(rng.IntN(3))}
		}
		text, err := json.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		for what, r := range map[string]Result{"table": Table.For(kind).Of(u), "kstatus": KStatus.Of(u), "hook": Completed(u, Table.For(kind))} {
			if r.Status > Unknown || strings.Contains(r.Message, "runtime error") && what != "kstatus" || r.Status == Unknown && r.Message == "" {
				t.Fatalf("%s: %s: %+v", what, text, r)
			}
		}
		after, err := json.Marshal(u.Object)
		if err != nil || string(after) != string(text) {
			t.Fatalf("it was changed: %s", text)
		}
	}
}

// anything is a value with the names and words that rules look for, in places
// where they may not be.
func anything(rng *rand.Rand, depth int) any {
	words := []string{"Ready", "True", "False", "Running", "Failed", "", "type", "Accepted", "Progressing"}
	names := []string{
		"conditions", "phase", "replicas", "updatedReplicas", "observedGeneration", "state", "health", "status", "type", "reason", "message", "parents",
		"listeners", "containerStatuses", "waiting", "terminated", "loadBalancer", "ingress", "restartPolicy", "annotations", "paused", "suspend", "nodeSets", "count",
	}
	switch n := rng.IntN(10); {
	case n < 4 && depth > 0:
		m := map[string]any{}
		for range rng.IntN(6) {
			m[names[rng.IntN(len(names))]] = anything(rng, depth-1)
		}
		return m
	case n < 6 && depth > 0:
		l := []any{}
		for range rng.IntN(4) {
			l = append(l, anything(rng, depth-1))
		}
		return l
	case n == 6:
		return int64(rng.IntN(5) - 1)
	case n == 7:
		return rng.IntN(2) == 0
	case n == 8:
		return nil
	}
	return words[rng.IntN(len(words))]
}
