package test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// testWorkloads sees what the controllers and the simulated nodes make of
// objects. The cases wait most of their time, so they wait together.
func testWorkloads(t *testing.T, c *clusterUp) {
	cases := map[string]func(t *testing.T, c *clusterUp, ns string){
		"a deployment becomes available, and takes its pods along": testDeployment,
		"a pod that is never to be ready becomes so when let":      testNeverReady,
		"a pod that is to fail crashes under a deployment":         testCrash,
		"a job completes or fails as it should":                    testJobs,
		"a pod ends as its command does":                           testPodsEnd,
		"a job ends as its command does":                           testJobsEnd,
		"a container that ends under a deployment is restarted":    testRestart,
		"a pod whose image can't be had waits, and says so":        testImages,
		"a claim gets a volume":                                    testClaim,
		"a load balancer gets an address":                          testLoadBalancer,
		"a namespace goes away":                                    testNamespace,
		"a quota holds":                                            testQuota,
		"an aggregated API is told who asks":                       testAggregation,
	}
	i := 0
	for name, test := range cases {
		i++
		ns := c.namespace(t, fmt.Sprintf("workload-%d", i))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c, ns)
		})
	}
}

// apply applies a manifest with the sandbox's own kubectl.
func (c *clusterUp) apply(t *testing.T, ns, format string, args ...any) {
	t.Helper()
	if wrong := c.tryApply(ns, format, args...); wrong != "" {
		t.Fatal(wrong)
	}
}

// tryApply returns what went wrong, if anything.
func (c *clusterUp) tryApply(ns, format string, args ...any) string {
	cmd := exec.Command(binary, "kubectl", "--kubeconfig", c.kubeconfig, "-n", ns, "apply", "-f", "-")
	cmd.Stdin = bytes.NewBufferString(fmt.Sprintf(format, args...))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("kubectl apply: %v\n%s", err, out)
	}
	return ""
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {%s}}
    spec: {containers: [{name: web, image: nginx}]}
`

func testDeployment(t *testing.T, c *clusterUp, ns string) {
	ctx := t.Context()
	c.apply(t, ns, deployment, "")
	eventually(t, func() string {
		d, err := c.client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != 2 {
			err = fmt.Errorf("%d replicas are available", d.Status.AvailableReplicas)
		}
		return text(err)
	})
	if err := c.client.AppsV1().Deployments(ns).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		pods, err := c.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d pods are left", len(pods.Items))
		}
		return text(err)
	})
}

func testNeverReady(t *testing.T, c *clusterUp, ns string) {
	ctx := t.Context()
	c.apply(t, ns, deployment, `sandbox.plumb.dev/never-ready: "true"`)
	var pod corev1.Pod
	eventually(t, func() string {
		pods, err := c.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, pod = range pods.Items {
			if pod.Spec.NodeName != "" {
				return ""
			}
		}
		return "no pod is scheduled"
	})
	if pod.Status.Phase != corev1.PodPending {
		t.Fatalf("phase %s", pod.Status.Phase)
	}
	patch := []byte(`{"metadata": {"annotations": {"sandbox.plumb.dev/never-ready": null}}}`)
	if _, err := c.client.CoreV1().Pods(ns).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		d, err := c.client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && d.Status.ReadyReplicas != 1 {
			err = fmt.Errorf("%d replicas are ready, want 1", d.Status.ReadyReplicas)
		}
		return text(err)
	})
}

func testCrash(t *testing.T, c *clusterUp, ns string) {
	c.apply(t, ns, deployment, `sandbox.plumb.dev/fail: "true"`)
	eventually(t, func() string {
		pods, err := c.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		crashing := 0
		for _, pod := range pods.Items {
			for _, container := range pod.Status.ContainerStatuses {
				if w := container.State.Waiting; w != nil && w.Reason == "CrashLoopBackOff" {
					crashing++
				}
			}
		}
		if crashing != 2 {
			return fmt.Sprintf("%d of %d pods are crashing", crashing, len(pods.Items))
		}
		return ""
	})
}

func testJobs(t *testing.T, c *clusterUp, ns string) {
	const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {sandbox.plumb.dev/fail: "%t"}}
    spec: {restartPolicy: Never, containers: [{name: run, image: busybox}]}
`
	c.apply(t, ns, job, "good", false)
	c.apply(t, ns, job, "bad", true)
	for name, want := range map[string]batchv1.JobConditionType{"good": batchv1.JobComplete, "bad": batchv1.JobFailed} {
		eventually(t, func() string {
			job, err := c.client.BatchV1().Jobs(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			for _, condition := range job.Status.Conditions {
				if condition.Type == want && condition.Status == corev1.ConditionTrue {
					return ""
				}
			}
			return fmt.Sprintf("job %s is not %s", name, want)
		})
	}
}

func testPodsEnd(t *testing.T, c *clusterUp, ns string) {
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: "%s"}
spec:
  restartPolicy: %s
  containers: [{name: main, image: "alpine:latest", command: %s}]
`
	cases := map[string]struct{ policy, command, want string }{
		"true":       {"Never", `["true"]`, "Succeeded 0 Completed, 0 restarts"},
		"false":      {"Never", `["false"]`, "Failed 1 Error, 0 restarts"},
		"exit":       {"Never", `[sh, -c, "exit 42"]`, "Failed 42 Error, 0 restarts"},
		"sleep":      {"Never", `[sleep, "1"]`, "Succeeded 0 Completed, 0 restarts"},
		"both":       {"OnFailure", `[/bin/sh, -c, "sleep 1; exit 0"]`, "Succeeded 0 Completed, 0 restarts"},
		"hangs":      {"Never", `[sleep, "9999"]`, "Running"},
		"server":     {"Never", `[nginx]`, "Running"},
		"on-failure": {"OnFailure", `["false"]`, "Running 1 Error, 1 restarts"},
	}
	for name, pt := range cases {
		c.apply(t, ns, pod, name, pt.policy, pt.command)
	}
	for name, pt := range cases {
		eventually(t, func() string {
			pod, err := c.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			got := string(pod.Status.Phase)
			for _, s := range pod.Status.ContainerStatuses {
				end := s.State.Terminated
				if end == nil {
					end = s.LastTerminationState.Terminated
				}
				if end != nil {
					got += fmt.Sprintf(" %d %s, %d restarts", end.ExitCode, end.Reason, min(s.RestartCount, 1))
				}
				if end != nil && name == "sleep" && end.FinishedAt.Sub(end.StartedAt.Time) < time.Second {
					return fmt.Sprintf("it slept no second: %v", end)
				}
			}
			if got != pt.want {
				return fmt.Sprintf("%s: %s, want %s", name, got, pt.want)
			}
			return ""
		})
	}
}

func testJobsEnd(t *testing.T, c *clusterUp, ns string) {
	const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: %s}
spec:
  backoffLimit: 1
  template:
    spec: {restartPolicy: %s, containers: [{name: run, image: busybox, command: [sh, -c], args: ["%s"]}]}
`
	cases := map[string]struct{ policy, script, want string }{
		"good":       {"Never", "sleep 1 && echo done", "Complete 1 0"},
		"bad":        {"Never", "sleep 1; exit 3", "Failed 0 2"},
		"on-failure": {"OnFailure", "exit 3", "Failed 0 1"},
		"unknown":    {"Never", "./migrate --all", "Complete 1 0"},
	}
	for name, jt := range cases {
		c.apply(t, ns, job, name, jt.policy, jt.script)
	}
	for name, jt := range cases {
		eventually(t, func() string {
			job, err := c.client.BatchV1().Jobs(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			for _, condition := range job.Status.Conditions {
				got := fmt.Sprintf("%s %d %d", condition.Type, job.Status.Succeeded, job.Status.Failed)
				if got == jt.want && condition.Status == corev1.ConditionTrue {
					return ""
				}
			}
			return fmt.Sprintf("job %s is not %s but %+v", name, jt.want, job.Status)
		})
	}
}

func testRestart(t *testing.T, c *clusterUp, ns string) {
	c.apply(t, ns, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, command: [fail]}]}
`)
	eventually(t, func() string {
		pods, err := c.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Sprintf("%d pods, %v", len(pods.Items), err)
		}
		for _, s := range pods.Items[0].Status.ContainerStatuses {
			if w := s.State.Waiting; w != nil && w.Reason == "CrashLoopBackOff" && s.RestartCount > 0 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", pods.Items[0].Status)
	})
}

func testImages(t *testing.T, c *clusterUp, ns string) {
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers: [{name: main, image: "%s", command: ["true"]}, {name: other, image: busybox, command: ["true"]}]
`
	for name, it := range map[string]struct{ image, reason string }{
		"invalid": {"alpine:ops!", "InvalidImageName"},
		"missing": {"registry.invalid/shop/web:v1", "ErrImagePull"},
	} {
		c.apply(t, ns, pod, name, it.image)
		eventually(t, func() string {
			pod, err := c.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || len(pod.Status.ContainerStatuses) == 0 {
				return fmt.Sprintf("no status, %v", err)
			}
			w := pod.Status.ContainerStatuses[0].State.Waiting
			if pod.Status.Phase != corev1.PodPending || w == nil || w.Reason != it.reason {
				return fmt.Sprintf("%+v", pod.Status)
			}
			return ""
		})
		patch := []byte(`{"spec": {"containers": [{"name": "main", "image": "alpine"}]}}`)
		if _, err := c.client.CoreV1().Pods(ns).Patch(t.Context(), name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string {
			pod, err := c.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && pod.Status.Phase != corev1.PodSucceeded {
				err = fmt.Errorf("with an image that there is: %+v", pod.Status)
			}
			return text(err)
		})
	}
}

func testClaim(t *testing.T, c *clusterUp, ns string) {
	ctx := t.Context()
	c.apply(t, ns, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`)
	var volume string
	eventually(t, func() string {
		claim, err := c.client.CoreV1().PersistentVolumeClaims(ns).Get(ctx, "data", metav1.GetOptions{})
		if err == nil && claim.Status.Phase != corev1.ClaimBound {
			err = fmt.Errorf("phase %s", claim.Status.Phase)
		}
		volume = claim.Spec.VolumeName
		return text(err)
	})
	if err := c.client.CoreV1().PersistentVolumeClaims(ns).Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := c.client.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		return isGone(err)
	})
}

func testLoadBalancer(t *testing.T, c *clusterUp, ns string) {
	c.apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, ports: [{port: 80}]}
`)
	eventually(t, func() string {
		service, err := c.client.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err == nil && len(service.Status.LoadBalancer.Ingress) == 0 {
			err = fmt.Errorf("no address")
		}
		return text(err)
	})
}

func testNamespace(t *testing.T, c *clusterUp, ns string) {
	ctx := t.Context()
	c.apply(t, ns, "{apiVersion: v1, kind: ConfigMap, metadata: {name: inside}}")
	if err := c.client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return isGone(err)
	})
}

func testQuota(t *testing.T, c *clusterUp, ns string) {
	ctx := t.Context()
	c.apply(t, ns, "{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {secrets: 0}}}")
	eventually(t, func() string {
		quota, err := c.client.CoreV1().ResourceQuotas(ns).Get(ctx, "none", metav1.GetOptions{})
		if err == nil && len(quota.Status.Hard) == 0 {
			err = fmt.Errorf("the quota is not counted yet")
		}
		return text(err)
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "one"}}
	if _, err := c.client.CoreV1().Secrets(ns).Create(ctx, secret, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("over the quota: %v, want forbidden", err)
	}
}

func testAggregation(t *testing.T, c *clusterUp, ns string) {
	asked := make(chan string, 100)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/sample.plumb.dev/v1/things" && len(r.TLS.PeerCertificates) > 0 {
			asked <- r.Header.Get("X-Remote-User") + " through " + r.TLS.PeerCertificates[0].Subject.CommonName
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
			GroupVersion: "sample.plumb.dev/v1",
		})
	}))
	api.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	api.StartTLS()
	t.Cleanup(api.Close)
	c.apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.sample.plumb.dev}
spec:
  group: sample.plumb.dev
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: api, namespace: %s, port: %d}
`, ns, api.Listener.Addr().(*net.TCPAddr).Port)
	eventually(t, func() string {
		err := c.client.Discovery().RESTClient().Get().AbsPath("/apis/sample.plumb.dev/v1/things").Do(t.Context()).Error()
		return text(err)
	})
	if got, want := <-asked, "admin through front-proxy-client"; got != want {
		t.Errorf("asked by %s, want %s", got, want)
	}
	// A group whose server is gone would keep other namespaces from going.
	err := c.client.Discovery().RESTClient().Delete().AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/v1.sample.plumb.dev").Do(t.Context()).Error()
	if err != nil {
		t.Error(err)
	}
}

func isGone(err error) string {
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err == nil {
		return "it is still there"
	}
	return err.Error()
}
