package kubetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/api/flux"
)

// CRDs makes sure that the server knows plumb's kinds. On the shared control
// plane they stay; a test that removes or changes them uses a private one.
func (e *Env) CRDs(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.crds(ctx); err != nil {
		t.Fatalf("install plumb's CRDs: %v", err)
	}
}

// installed has the addresses of the servers that this process has installed
// the definitions on.
var installed sync.Map

func (e *Env) crds(ctx context.Context) error {
	if _, ok := installed.Load(e.Config.Host); ok {
		return nil
	}
	definitions := append(flux.Definitions(), argocd.Definitions()...)
	for _, d := range definitions {
		apply := client.ApplyConfigurationFromUnstructured(d)
		if err := e.Client.Apply(ctx, apply, client.FieldOwner("kubetest"), client.ForceOwnership); err != nil {
			return err
		}
	}
	for _, d := range definitions {
		for {
			err := e.established(ctx, d.GetName())
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	installed.Store(e.Config.Host, true)
	return nil
}

// established returns nil when the server serves a definition's objects: for
// a moment it says so of a definition before it answers for its kind.
func (e *Env) established(ctx context.Context, name string) error {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	if err := e.Client.Get(ctx, client.ObjectKey{Name: name}, u); err != nil {
		return err
	}
	var d apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &d); err != nil {
		return err
	}
	stands := false
	for _, c := range d.Status.Conditions {
		stands = stands || c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	}
	if !stands {
		return fmt.Errorf("%s is not established", name)
	}
	for _, v := range d.Spec.Versions {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(d.Spec.Group + "/" + v.Name)
		list.SetKind(d.Spec.Names.Kind + "List")
		if err := e.Client.List(ctx, list, client.Limit(1)); err != nil {
			return errors.Join(fmt.Errorf("%s is not served", name), err)
		}
	}
	return nil
}
