package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A clusterUp is a running cluster.
type clusterUp struct {
	*process
	dir        string
	kubeconfig string
	config     *rest.Config
	client     *kubernetes.Clientset
}

// up runs a cluster with its state in dir.
func up(t *testing.T, dir string, flags ...string) *clusterUp {
	t.Helper()
	c := &clusterUp{dir: dir, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	c.process = start(t, append([]string{"up", "--dir", dir, "--kubeconfig", c.kubeconfig}, flags...)...)
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.config.QPS = -1
	c.config.Timeout = 5 * time.Second
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		t.Fatal(err)
	}
	return c
}

// namespace makes a namespace of the test's own.
func (c *clusterUp) namespace(t *testing.T, name string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCluster(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	c := up(t, dir, "--audit")

	t.Run("is the release that it was built from", func(t *testing.T) {
		version, err := c.client.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(version.GitVersion, "v"+version.Major+"."+version.Minor+".") {
			t.Errorf("version %+v", version)
		}
	})
	t.Run("the kubeconfig is private", func(t *testing.T) {
		info, err := os.Stat(c.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	})
	t.Run("workloads", func(t *testing.T) { testWorkloads(t, c) })
	t.Run("a service account may what RBAC lets it", func(t *testing.T) { testServiceAccount(t, c) })
	t.Run("a port or folder in use is an error", func(t *testing.T) { testInUse(t, c) })
	t.Run("a second one runs beside it", func(t *testing.T) {
		other := up(t, filepath.Join(t.TempDir(), "cluster"), "--api-only")
		if other.config.Host == c.config.Host {
			t.Errorf("both at %s", c.config.Host)
		}
		if got := len(pids(t, other.dir)); got != 2 {
			t.Errorf("--api-only runs %d processes, want 2", got)
		}
	})
	t.Run("requests are in the audit log", func(t *testing.T) {
		log, err := os.ReadFile(filepath.Join(dir, "log", "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(log), `"user":{"username":"admin"`) {
			t.Errorf("no request by admin in %d bytes", len(log))
		}
	})
	for _, component := range []string{"kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler", "kwok"} {
		t.Run(component+" comes back when it is killed", func(t *testing.T) { testKill(t, c, component) })
	}

	c.namespace(t, "kept")
	t.Run("SIGTERM leaves no process", func(t *testing.T) {
		processes := pids(t, dir)
		if len(processes) != 5 {
			t.Errorf("processes %v, want 5", processes)
		}
		if took := c.stop(t); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if c.err != nil {
			t.Errorf("ended with %v", c.err)
		}
		for name, pid := range processes {
			if running(pid) {
				t.Errorf("%s still runs", name)
			}
		}
		if _, err := os.Stat(c.kubeconfig); err == nil {
			t.Error("the kubeconfig is still there")
		}
	})
	t.Run("started again, it has its state and its address", func(t *testing.T) {
		again := up(t, dir, "--ephemeral", "--nodes", "1")
		if again.config.Host != c.config.Host {
			t.Errorf("at %s, was at %s", again.config.Host, c.config.Host)
		}
		if _, err := c.client.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Errorf("with the credentials of the first run: %v", err)
		}
		nodes, err := again.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(nodes.Items) != 1 {
			t.Errorf("%d nodes (%v), want 1", len(nodes.Items), err)
		}
		again.stop(t)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("--ephemeral left %s", dir)
		}
	})
}

func TestKilledParentTakesItsChildrenAlong(t *testing.T) {
	t.Parallel()
	c := up(t, filepath.Join(t.TempDir(), "cluster"), "--api-only")
	processes := pids(t, c.dir)
	if len(processes) == 0 {
		t.Fatal("no pid files")
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		for name, pid := range processes {
			if running(pid) {
				return name + " runs"
			}
		}
		return ""
	})
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte("apiVersion: v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := fail(t, "up", "--dir", dir, "--kubeconfig", filepath.Join(t.TempDir(), "k"), "--ephemeral"), "no sandbox's"; !strings.Contains(got, want) {
		t.Errorf("--dir: %q lacks %q", got, want)
	}
	if got, want := fail(t, "up", "--dir", t.TempDir(), "--kubeconfig", file), "no sandbox's"; !strings.Contains(got, want) {
		t.Errorf("--kubeconfig: %q lacks %q", got, want)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func testServiceAccount(t *testing.T, c *clusterUp) {
	ns := c.namespace(t, "tenant")
	ctx := t.Context()
	eventually(t, func() string {
		_, err := c.client.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return text(err)
	})
	token, err := c.client.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	tenant, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}

	review, err := tenant.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := review.Status.UserInfo.Username, "system:serviceaccount:tenant:default"; got != want {
		t.Errorf("the token is %s's, want %s's", got, want)
	}
	if _, err := tenant.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v, want forbidden", err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "edit"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "default", Namespace: ns}},
	}
	if _, err := c.client.RbacV1().RoleBindings(ns).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		_, err := tenant.CoreV1().ConfigMaps(ns).List(ctx, metav1.ListOptions{})
		return text(err)
	})
	if _, err := tenant.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v, want forbidden", err)
	}
}

func testInUse(t *testing.T, c *clusterUp) {
	_, port, err := net.SplitHostPort(strings.TrimPrefix(c.config.Host, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "kubeconfig")
	got := fail(t, "up", "--dir", filepath.Join(t.TempDir(), "cluster"), "--kubeconfig", other, "--port", port)
	if want := fmt.Sprintf("plumb-sandbox: port %s is already in use", port); !strings.HasPrefix(got, want) {
		t.Errorf("port: %q, want %q", got, want)
	}
	got = fail(t, "up", "--dir", c.dir, "--kubeconfig", other)
	if want := "is in use by another sandbox"; !strings.Contains(got, want) {
		t.Errorf("folder: %q lacks %q", got, want)
	}
}

// testKill kills a component and sees that it and the cluster work again,
// with the same state.
func testKill(t *testing.T, c *clusterUp, component string) {
	ctx := t.Context()
	ns := c.namespace(t, "before-"+component)
	old := pids(t, c.dir)[component]
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if now := pids(t, c.dir)[component]; now == old || now == 0 {
			return component + " has not started again"
		}
		return ""
	})
	eventually(t, func() string {
		_, err := c.client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return text(err)
	})
	// Pods that become ready need every component.
	eventually(t, func() string { return c.tryApply(ns, deployment, "") })
	eventually(t, func() string {
		d, err := c.client.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != 2 {
			err = fmt.Errorf("%d replicas are available", d.Status.AvailableReplicas)
		}
		return text(err)
	})
	if want := component + " died"; !strings.Contains(c.log(), want) {
		t.Errorf("progress lacks %q", want)
	}
}

func text(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
