package kubetest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
)

func TestSharedServerStoresObjects(t *testing.T) {
	env := kubetest.Start(t)
	ns := env.Namespace(t)

	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "colours", Namespace: ns},
		Data:       map[string]string{"sky": "blue"},
	}
	if err := env.Client.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	out, err := env.Kubectl(t.Context(), "", "get", "configmap", "colours", "-n", ns, "-o", "jsonpath={.data.sky}")
	if err != nil || out != "blue" {
		t.Errorf("kubectl printed %q, %v; want blue", out, err)
	}
	if _, err := env.Kubectl(t.Context(), "", "get", "configmap", "none", "-n", ns); err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("error for a ConfigMap that isn't there: %v; want what kubectl said", err)
	}
}

func TestNamespaceIsDeletedAfterItsTest(t *testing.T) {
	env := kubetest.Start(t)
	var name string
	t.Run("inner", func(t *testing.T) { name = env.Namespace(t) })

	kubetest.Eventually(t, 10*time.Second, func() error {
		var ns corev1.Namespace
		err := env.Client.Get(t.Context(), client.ObjectKey{Name: name}, &ns)
		if err == nil && ns.DeletionTimestamp == nil {
			return errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
}

func TestPrivateServerComesBackAfterAKill(t *testing.T) {
	env := kubetest.Private(t, "--api-only")
	ns := env.Namespace(t)
	env.Kill(t, "kube-apiserver")

	kubetest.Eventually(t, time.Minute, func() error { return env.Ready(t.Context()) })
	var kept corev1.Namespace
	if err := env.Client.Get(t.Context(), client.ObjectKey{Name: ns}, &kept); err != nil {
		t.Error(err)
	}
}
