package component

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/itchyny/gojq"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A running pod has containers that all began at the same time.
func running(policy corev1.RestartPolicy, began time.Time, commands ...string) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace = "p", "n"
	pod.Spec.RestartPolicy = policy
	pod.Status.Phase = corev1.PodRunning
	for i, c := range commands {
		name := fmt.Sprint("c", i)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name, Image: "busybox", Command: strings.Fields(c)})
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(began)}},
		})
	}
	return pod
}

func stateOf(pod *corev1.Pod) string {
	s := string(pod.Status.Phase)
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Terminated != nil:
			s += fmt.Sprintf(" ended=%d", c.State.Terminated.ExitCode)
		case c.State.Waiting != nil:
			s += " " + c.State.Waiting.Reason
		default:
			s += " runs"
		}
		if c.RestartCount > 0 {
			s += fmt.Sprint("×", c.RestartCount)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			s += fmt.Sprintf(" Ready=%s", c.Status)
		}
	}
	return s
}

func TestAPodComesToItsEnd(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		after time.Duration
		want  string
		again time.Duration
	}{
		"one container":                        {running("Never", began, "true"), 0, "Succeeded ended=0 Ready=False", 0},
		"one that fails":                       {running("Never", began, "false"), 0, "Failed ended=1 Ready=False", 0},
		"one of two fails, and both end":       {running("Never", began, "true", "false"), 0, "Failed ended=0 ended=1 Ready=False", 0},
		"one of two goes on":                   {running("Never", began, "false", "sleep 5"), 0, "Running ended=1 runs Ready=False", 6 * time.Second},
		"it sleeps":                            {running("Never", began, "sleep 5"), 2 * time.Second, "Running runs", 4 * time.Second},
		"it has slept, but began later":        {running("Never", began, "sleep 5"), 5500 * time.Millisecond, "Running runs", 500 * time.Millisecond},
		"it has slept":                         {running("Never", began, "sleep 5"), 6 * time.Second, "Succeeded ended=0 Ready=False", 0},
		"it never ends":                        {running("Never", began, "sleep infinity"), time.Hour, "Running runs", 0},
		"it is a server":                       {running("Never", began, "nginx"), time.Hour, "Running runs", 0},
		"it succeeds, restarted on failure":    {running("OnFailure", began, "true"), 0, "Succeeded ended=0 Ready=False", 0},
		"it fails, restarted on failure":       {running("OnFailure", began, "false"), 0, "Running CrashLoopBackOff Ready=False", time.Second},
		"it succeeds, and is always restarted": {running("Always", began, "true"), 0, "Running CrashLoopBackOff Ready=False", time.Second},
	} {
		_, again := goOn(c.pod, began.Add(c.after))
		if got := stateOf(c.pod); got != c.want || again != c.again {
			t.Errorf("%s: %s, again after %s; want %s, %s", name, got, again, c.want, c.again)
		}
	}
	job := running("Never", began, "./migrate")
	job.OwnerReferences = []metav1.OwnerReference{{Kind: "Job"}}
	if goOn(job, began); stateOf(job) != "Succeeded ended=0 Ready=False" {
		t.Errorf("of a Job: %s", stateOf(job))
	}
}

func TestAContainerIsRestartedWithPausesThatGrow(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pod := running("Always", now, "false")
	var pauses []time.Duration
	for range 9 {
		_, left := goOn(pod, now)
		if changed, _ := goOn(pod, now.Add(left-time.Millisecond)); changed {
			t.Fatalf("it was restarted before its time: %s", stateOf(pod))
		}
		pauses = append(pauses, left)
		now = now.Add(left)
		if goOn(pod, now); !strings.HasPrefix(stateOf(pod), "Running runs") {
			t.Fatalf("it was not restarted: %s", stateOf(pod))
		}
	}
	if got := fmt.Sprint(pauses); got != "[1s 2s 4s 8s 16s 32s 1m0s 1m0s 1m0s]" {
		t.Error(got)
	}
}

func TestWhichImagesCanBeHad(t *testing.T) {
	q, err := gojq.Parse(pullable())
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]string{
		"alpine": "", "alpine:latest": "", "quay.io/a/b-c:0.1": "", "localhost:5000/a_b/c__d": "", "Registry/a": "",
		"a@sha256:" + strings.Repeat("0", 64): "", "my.rubbish-bin/a": "", "a/rubbish-bin:1": "",
		"alpine:ops!": "InvalidImageName", "Alpine": "InvalidImageName", "alpine:": "InvalidImageName", "a b": "InvalidImageName",
		"a:b:c": "InvalidImageName", "https://a/b": "InvalidImageName", "a@sha256:1": "InvalidImageName", "-a": "InvalidImageName",
		"registry.invalid/a": "ErrImagePull", "registry.invalid:5000/a": "ErrImagePull", "nginx:does-not-exist": "ErrImagePull",
		"rubbish": "ErrImagePull", "team/nonexistent:v1": "ErrImagePull",
	} {
		pod := &corev1.Pod{}
		pod.Spec.Containers = []corev1.Container{{Name: "a", Image: "busybox"}}
		pod.Spec.InitContainers = []corev1.Container{{Name: "b", Image: image}}
		changed := holdImages(pod)
		got := ""
		if changed {
			got = pod.Status.InitContainerStatuses[0].State.Waiting.Reason
			if other := pod.Status.ContainerStatuses[0].State.Waiting.Reason; other != "ContainerCreating" {
				t.Errorf("%q: the other container is %s", image, other)
			}
			if holdImages(pod) {
				t.Errorf("%q: it is said again", image)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", image, got, want)
		}
		// The stage that has pods run lets the same ones pass.
		container := map[string]any{"image": image}
		answer, _ := q.Run(map[string]any{"spec": map[string]any{"containers": []any{container}}}).Next()
		if answer != (want == "") {
			t.Errorf("%q: %v by jq", image, answer)
		}
	}
}
