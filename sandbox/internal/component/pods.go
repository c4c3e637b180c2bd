package component

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// An engineRoom runs what is in pods that kwok has made Running, and says what
// keeps the others from it.
type engineRoom struct {
	client kubernetes.Interface
	pods   listers.PodLister
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

// runPods runs containers until ctx is done.
func runPods(ctx context.Context, client kubernetes.Interface, failed func(error)) {
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods()
	r := &engineRoom{
		client: client, pods: pods.Lister(),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, 10*time.Second)),
	}
	add := func(o any) {
		if pod, ok := o.(*corev1.Pod); ok {
			r.queue.Add(types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }}); err != nil {
		failed(err)
		return
	}
	factory.Start(ctx.Done())
	context.AfterFunc(ctx, r.queue.ShutDown)
	const atATime = 4
	for range atATime {
		go r.work(ctx, failed)
	}
}

func (r *engineRoom) work(ctx context.Context, failed func(error)) {
	for {
		name, down := r.queue.Get()
		if down {
			return
		}
		again, err := r.look(ctx, name)
		switch {
		case err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
			failed(fmt.Errorf("pod %s: %w", name, err))
			fallthrough
		case err != nil:
			r.queue.AddRateLimited(name)
		default:
			r.queue.Forget(name)
			if again > 0 {
				r.queue.AddAfter(name, again)
			}
		}
		r.queue.Done(name)
	}
}

// look has a pod come as far as it is by now, and says when it comes further.
func (r *engineRoom) look(ctx context.Context, name types.NamespacedName) (again time.Duration, err error) {
	pod, err := r.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil || pod.DeletionTimestamp != nil || pod.Spec.NodeName == "" || pod.Annotations[annotationFail] == "true" {
		return 0, err
	}
	pod = pod.DeepCopy()
	var changed bool
	switch pod.Status.Phase {
	case corev1.PodPending:
		changed = holdImages(pod)
	case corev1.PodRunning:
		changed, again = goOn(pod, time.Now())
	}
	if changed {
		_, err = r.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	}
	return again, err
}

// goOn has the containers of a running pod come as far as they are by now.
func goOn(pod *corev1.Pod, now time.Time) (changed bool, again time.Duration) {
	at := metav1.NewTime(now)
	ended, failed := 0, false
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		did, after := step(pod, status, at)
		changed = changed || did
		if after > 0 && (again == 0 || after < again) {
			again = after
		}
		if t := status.State.Terminated; t != nil {
			ended++
			failed = failed || t.ExitCode != 0
		}
	}
	switch {
	case !changed:
	case ended == len(pod.Spec.Containers) && failed:
		pod.Status.Phase = corev1.PodFailed
		setReady(pod, false, "PodFailed", at)
	case ended == len(pod.Spec.Containers):
		pod.Status.Phase = corev1.PodSucceeded
		setReady(pod, false, "PodCompleted", at)
	default:
		ready := !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return !s.Ready })
		setReady(pod, ready, "ContainersNotReady", at)
	}
	return changed, again
}

// longestPause is that before a container that has ended is started again. The
// first one is a second, and each twice as long as the one before.
const longestPause = time.Minute

// step has one container end, or start again, if it is time for that.
func step(pod *corev1.Pod, status *corev1.ContainerStatus, now metav1.Time) (changed bool, again time.Duration) {
	state := &status.State
	switch {
	case state.Running != nil:
		r, ends := runIn(pod, status.Name)
		if !ends {
			return false, 0
		}
		began := state.Running.StartedAt
		if left := began.Add(r.takes).Sub(now.Time); r.takes > 0 && left > -time.Second {
			// When it began is known to the second, and it is not to end too soon.
			return false, left + time.Second
		}
		reason := "Completed"
		if r.code != 0 {
			reason = "Error"
		}
		end := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: r.code, Reason: reason, StartedAt: began, FinishedAt: now}}
		status.Ready, status.Started = false, new(bool)
		if !restarts(pod, r.code) {
			status.State = end
			return true, 0
		}
		status.LastTerminationState = end
		status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s", pause(status.RestartCount), status.Name, pod.Name, pod.Namespace),
		}}
		return true, pause(status.RestartCount)
	case state.Waiting != nil && status.LastTerminationState.Terminated != nil:
		if left := status.LastTerminationState.Terminated.FinishedAt.Add(pause(status.RestartCount)).Sub(now.Time); left > 0 {
			return false, left
		}
		status.RestartCount++
		status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
		status.Ready, status.Started = true, new(true)
		r, ends := runIn(pod, status.Name)
		if !ends {
			return true, 0
		}
		return true, r.takes + time.Millisecond
	}
	return false, 0
}

func pause(restarts int32) time.Duration { return min(time.Second<<min(restarts, 6), longestPause) }

// runIn is what runs in a container of a pod. What is in a Job's pod and is not
// known is done at once; any other is taken for a server.
func runIn(pod *corev1.Pod, container string) (r fate, ends bool) {
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == container })
	if i < 0 {
		return fate{}, false
	}
	r, known := runOf(slices.Concat(pod.Spec.Containers[i].Command, pod.Spec.Containers[i].Args))
	if !known {
		return fate{}, slices.ContainsFunc(pod.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Job" })
	}
	return r, !r.forever
}

func restarts(pod *corev1.Pod, code int32) bool {
	switch pod.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return true
}

func setReady(pod *corev1.Pod, ready bool, otherwise string, now metav1.Time) {
	is, reason := corev1.ConditionFalse, otherwise
	if ready {
		is, reason = corev1.ConditionTrue, ""
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		c := corev1.PodCondition{Type: kind, Status: is, Reason: reason, LastTransitionTime: now}
		i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			pod.Status.Conditions = append(pod.Status.Conditions, c)
		case pod.Status.Conditions[i].Status != is || pod.Status.Conditions[i].Reason != reason:
			pod.Status.Conditions[i] = c
		}
	}
}

// The names of images, as the kubelet takes them, and of those that there are
// not: in no registry ending in .invalid, and none that says so.
const (
	imageName = `^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?/)?` +
		`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
		`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`
	noImage = `^[^/]+\.invalid(:[0-9]+)?/|(^|[/:])(does-?not-?exist|non-?existent|no-such-image|rubbish)([:@]|$)`
)

var isImageName, isNoImage = regexp.MustCompile(imageName), regexp.MustCompile(noImage)

// pullable is a jq expression of a pod: all its images can be had.
func pullable() string {
	return fmt.Sprintf("[.spec.containers[], (.spec.initContainers // [])[] | .image | test(%s) and (test(%s) | not)] | all",
		strconv.Quote(imageName), strconv.Quote(noImage))
}

// holdImages says of a pod that waits which of its images can't be had.
func holdImages(pod *corev1.Pod) (changed bool) {
	waiting := func(image string) (w corev1.ContainerStateWaiting, can bool) {
		switch {
		case !isImageName.MatchString(image):
			return corev1.ContainerStateWaiting{Reason: "InvalidImageName", Message: fmt.Sprintf("couldn't parse image name %q: invalid reference format", image)}, false
		case isNoImage.MatchString(image):
			return corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: fmt.Sprintf("failed to pull image %q: not found", image)}, false
		}
		return corev1.ContainerStateWaiting{Reason: "ContainerCreating"}, true
	}
	all := true
	statuses := func(containers []corev1.Container) (out []corev1.ContainerStatus) {
		for _, c := range containers {
			w, can := waiting(c.Image)
			all = all && can
			out = append(out, corev1.ContainerStatus{Name: c.Name, Image: c.Image, Started: new(bool), State: corev1.ContainerState{Waiting: &w}})
		}
		return out
	}
	init, containers := statuses(pod.Spec.InitContainers), statuses(pod.Spec.Containers)
	if all || same(pod.Status.InitContainerStatuses, init) && same(pod.Status.ContainerStatuses, containers) {
		return false
	}
	pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = init, containers
	setReady(pod, false, "ContainersNotReady", metav1.Now())
	return true
}

func same(a, b []corev1.ContainerStatus) bool {
	return slices.EqualFunc(a, b, func(a, b corev1.ContainerStatus) bool {
		return a.Image == b.Image && a.State.Waiting != nil && *a.State.Waiting == *b.State.Waiting
	})
}
