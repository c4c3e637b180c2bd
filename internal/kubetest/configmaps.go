package kubetest

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ConfigMaps returns those of a namespace that the control plane has not put
// there, each with its value of the key k: name=value.
func (e *Env) ConfigMaps(t testing.TB, ns string) (all []string) {
	t.Helper()
	list := &corev1.ConfigMapList{}
	if err := e.Client.List(t.Context(), list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		if c.Name != "kube-root-ca.crt" {
			all = append(all, c.Name+"="+c.Data["k"])
		}
	}
	return all
}

// EditConfigMap sets the value of the key k, as kubectl edit does.
func (e *Env) EditConfigMap(t testing.TB, ns, name, value string) {
	t.Helper()
	c := &corev1.ConfigMap{}
	c.Namespace, c.Name = ns, name
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"data":{"k":%q}}`, value))
	if err := e.Client.Patch(t.Context(), c, patch, client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
}
