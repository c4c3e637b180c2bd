package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldManager is the name in which fields are applied.
const fieldManager = "plumb-install"

// apply puts the objects on the cluster by server-side apply. A field that
// somebody else has set to another value is an error, unless force is set.
func apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, force bool, progress io.Writer) error {
	options := []client.ApplyOption{client.FieldOwner(fieldManager)}
	if force {
		options = append(options, client.ForceOwnership)
	}
	for _, u := range objects {
		what := name(u)
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u.DeepCopy()), options...)
		switch {
		case apierrors.IsConflict(err):
			return fmt.Errorf("apply %s: %w; take the fields over with --force-conflicts", what, err)
		case apierrors.IsForbidden(err):
			return fmt.Errorf("apply %s: %w; install as a cluster administrator", what, err)
		case err != nil:
			return fmt.Errorf("apply %s: %w", what, err)
		}
		fmt.Fprintf(progress, "applied %s\n", what)
	}
	return nil
}

// waitAll returns when every definition among the objects is established and
// every Deployment is available.
func waitAll(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, progress io.Writer) error {
	for _, u := range objects {
		var ready func(*unstructured.Unstructured) error
		switch u.GetKind() {
		case "CustomResourceDefinition":
			ready = established
		case "Deployment":
			ready = available
		default:
			continue
		}
		if err := wait(ctx, c, u, ready, progress); err != nil {
			return err
		}
	}
	return nil
}

func wait(ctx context.Context, c client.Client, u *unstructured.Unstructured, ready func(*unstructured.Unstructured) error, progress io.Writer) error {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(u.GroupVersionKind())
	for told := ""; ; {
		err := c.Get(ctx, client.ObjectKeyFromObject(u), live)
		if err == nil {
			err = ready(live)
		}
		if err == nil {
			if told != "" {
				fmt.Fprintf(progress, "%s is ready\n", name(u))
			}
			return nil
		}
		if ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			fmt.Fprintf(progress, "waiting for %s: %s\n", name(u), told)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s; kubectl describe says more", name(u), context.Cause(ctx), cmp.Or(told, "the API server has not answered"))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func established(u *unstructured.Unstructured) error {
	return condition(u, "Established")
}

func available(u *unstructured.Unstructured) error {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if observed < u.GetGeneration() {
		return errors.New("not looked at yet")
	}
	wanted, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	all, _, _ := unstructured.NestedInt64(u.Object, "status", "replicas")
	updated, _, _ := unstructured.NestedInt64(u.Object, "status", "updatedReplicas")
	running, _, _ := unstructured.NestedInt64(u.Object, "status", "availableReplicas")
	if old := all - updated; updated < wanted || old > 0 || running < wanted {
		return fmt.Errorf("%d of %d pods are available, %d of an older version are left", max(0, running-old), wanted, old)
	}
	return condition(u, "Available")
}

// condition returns nil if the condition is true.
func condition(u *unstructured.Unstructured, kind string) error {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		if c["type"] == kind && c["status"] == "True" {
			return nil
		}
	}
	return fmt.Errorf("not %s", kind)
}

// requireAlone returns an error if controllers of Flux run on the cluster:
// they and plumb would act on the same objects.
func requireAlone(ctx context.Context, c client.Client) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DeploymentList"})
	if err := c.List(ctx, list, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"}); err != nil {
		return fmt.Errorf("look for Flux's controllers: %w", err)
	}
	for _, d := range list.Items {
		// A name may go on with that of a shard.
		acts := strings.HasPrefix(d.GetName(), "kustomize-controller") || strings.HasPrefix(d.GetName(), "source-controller")
		if acts && runs(&d) {
			return fmt.Errorf("%s of Flux runs in namespace %s and acts on the same objects; scale it to 0 first, or say --beside-flux", d.GetName(), d.GetNamespace())
		}
	}
	return nil
}

// requireNoArgoCD returns an error if Argo CD's application controller runs on the
// cluster.
func requireNoArgoCD(ctx context.Context, c client.Client) error {
	for _, kind := range []string{"StatefulSet", "Deployment"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind + "List"})
		if err := c.List(ctx, list, client.MatchingLabels{"app.kubernetes.io/name": "argocd-application-controller"}); err != nil {
			return fmt.Errorf("look for Argo CD's application controller: %w", err)
		}
		for _, u := range list.Items {
			if runs(&u) {
				return fmt.Errorf("%s %s of Argo CD runs in namespace %s and acts on the same Applications; scale it to 0 first, or leave them to it with --beside-argocd", kind, u.GetName(), u.GetNamespace())
			}
		}
	}
	return nil
}

// runs reports whether a workload is not scaled to none.
func runs(u *unstructured.Unstructured) bool {
	replicas, set, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	return replicas > 0 || !set
}

func name(u *unstructured.Unstructured) string {
	if u.GetNamespace() != "" {
		return fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
	}
	return u.GetKind() + " " + u.GetName()
}
