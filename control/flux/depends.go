package flux

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"github.com/google/cel-go/cel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/watch/health"
)

// dependencies returns the Kustomizations that spec.dependsOn names.
func dependencies(namespace string, refs []kustomizev1.DependencyReference) []types.NamespacedName {
	keys := make([]types.NamespacedName, len(refs))
	for i, d := range refs {
		keys[i] = types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
		if d.Namespace == "" {
			keys[i].Namespace = namespace
		}
	}
	return keys
}

// checkDependencies returns nil if everything that k depends on is ready.
// Whoever is waited for wakes k when its status changes.
func (r *kustomizations) checkDependencies(ctx context.Context, k *kustomization, self *unstructured.Unstructured) error {
	keys := dependencies(k.Namespace, k.Spec.DependsOn)
	if len(keys) == 0 {
		return nil
	}
	if cycle := r.cycle(ctx, k.key()); cycle != nil {
		return &fault.Error{
			Next: fault.Stall, Reason: meta.DependencyNotReadyReason,
			Err:  fmt.Errorf("spec.dependsOn goes in a circle: %s", strings.Join(cycle, " → ")),
			Hint: "remove one of these dependencies",
		}
	}
	var waiting []string
	for i, key := range keys {
		if key.Namespace != k.Namespace && r.o.NoCrossNamespaceRefs {
			return accessDenied("spec.dependsOn: can't access Kustomization/%s from namespace %s", key, k.Namespace)
		}
		why, err := r.notReady(ctx, k, self, key, k.Spec.DependsOn[i].ReadyExpr)
		if err != nil {
			return fmt.Errorf("spec.dependsOn: %w", err)
		}
		if why != "" {
			waiting = append(waiting, fmt.Sprintf("'%s' %s", key, why))
		}
	}
	if len(waiting) > 0 {
		return &fault.Error{
			Next: fault.Wait, Reason: meta.DependencyNotReadyReason,
			Err: fmt.Errorf("dependency %s", strings.Join(waiting, ", ")),
		}
	}
	return nil
}

// notReady says why a dependency is not ready, or nothing.
func (r *kustomizations) notReady(ctx context.Context, k *kustomization, self *unstructured.Unstructured, key types.NamespacedName, expr string) (string, error) {
	var ready cel.Program
	if expr != "" {
		var err error
		if ready, err = health.Condition(expr, "dep", "self"); err != nil {
			return "", fmt.Errorf("readyExpr: %w", err)
		}
	}
	// Whether one of the same namespace is ready is for whoever may depend on
	// it to know; everything else only for who may read it.
	allowed := r.mayRead(ctx, k, key)
	if allowed != nil && (expr != "" || key.Namespace != k.Namespace || !fault.Is(allowed, accessDeniedReason)) {
		return "", allowed
	}
	u, err := get(ctx, r.client, KustomizationKind, key)
	if client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if err != nil {
		return "does not exist", nil
	}
	if ready != nil {
		// An expression replaces the built-in check, as in Flux.
		ok, err := health.Eval(ready, map[string]any{"dep": u.Object, "self": self.Object})
		if err != nil {
			return fmt.Sprintf("can't be judged by its readyExpr: %v", err), nil
		}
		if !ok {
			return "is not ready by its readyExpr", nil
		}
		return "", nil
	}
	return r.behind(k, key, u, allowed == nil), nil
}

// behind says what a dependency that is not ready lacks, or nothing; with its
// own words where they may be told.
func (r *kustomizations) behind(k *kustomization, key types.NamespacedName, u *unstructured.Unstructured, tell bool) string {
	because := func(format string, args ...any) string {
		if !tell {
			return ""
		}
		const most = 300
		text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
		if len(text) > most {
			text = strings.ToValidUTF8(text[:most], "") + " …"
		}
		return ": " + text
	}
	dep, err := decodeKustomization(u)
	if err != nil {
		return "is not ready" + because("%v", err)
	}
	ready := report.Find(dep.Status.Conditions, report.Ready)
	switch {
	case !dep.DeletionTimestamp.IsZero():
		return "is being deleted"
	case dep.Spec.Suspend && dep.Status.ObservedGeneration != dep.Generation:
		return "is suspended"
	case ready.Status == metav1.ConditionUnknown:
		return "is being reconciled" + because("%s", ready.Message)
	case ready.Status == metav1.ConditionFalse:
		if dep.Spec.Suspend {
			return "is suspended and was not ready" + because("%s: %s", ready.Reason, ready.Message)
		}
		return "is not ready" + because("%s: %s", ready.Reason, ready.Message)
	case ready.Status == "" || dep.Status.ObservedGeneration != dep.Generation:
		return "is not ready" + because("it has not been reconciled yet")
	}
	mine, err1 := r.o.sourceName(k)
	theirs, err2 := r.o.sourceName(dep)
	if err1 == nil && err2 == nil && mine == theirs {
		if a := r.shelf.Get(mine); a != nil && dep.Status.LastAppliedRevision != a.Revision {
			if dep.Spec.Suspend {
				return "is suspended, and has not applied revision " + a.Revision
			}
			if dep.Status.LastAttemptedRevision != a.Revision {
				r.queue.add(key) // somebody waits for what it has to say
			}
			return "has not applied revision " + a.Revision + " yet"
		}
	}
	return ""
}

// mayRead returns nil if k's identity may read another Kustomization. That is
// on the cluster that plumb runs in, wherever the objects of k are.
func (r *kustomizations) mayRead(ctx context.Context, k *kustomization, key types.NamespacedName) error {
	account := cmp.Or(k.Spec.ServiceAccountName, r.o.DefaultServiceAccount)
	if account == "" {
		return nil
	}
	ref := object.Ref{Group: KustomizationKind.Group, Kind: KustomizationKind.Kind, Namespace: key.Namespace, Name: key.Name}
	return r.engine.MayRead(ctx, unitName(KustomizationKind.Kind, k.Namespace, k.Name), cluster.User(k.Namespace, account), ref, KustomizationKind.Version)
}

// cycle returns a way from a Kustomization along its dependencies back to
// itself, or nil.
func (r *kustomizations) cycle(ctx context.Context, start types.NamespacedName) []string {
	seen := map[types.NamespacedName]bool{}
	var walk func(at types.NamespacedName, path []string) []string
	walk = func(at types.NamespacedName, path []string) []string {
		path = append(path, at.String())
		u, err := get(ctx, r.client, KustomizationKind, at)
		if err != nil {
			return nil
		}
		for _, next := range dependenciesOf(u) {
			if next == start {
				return append(path, start.String())
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if c := walk(next, path); c != nil {
				return c
			}
		}
		return nil
	}
	return walk(start, nil)
}

// dependenciesOf reads spec.dependsOn of a Kustomization that need not be
// valid otherwise.
func dependenciesOf(u *unstructured.Unstructured) []types.NamespacedName {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "dependsOn")
	var keys []types.NamespacedName
	for _, d := range list {
		m, _ := d.(map[string]any)
		name, _ := m["name"].(string)
		ns, _ := m["namespace"].(string)
		if ns == "" {
			ns = u.GetNamespace()
		}
		keys = append(keys, types.NamespacedName{Namespace: ns, Name: name})
	}
	return keys
}
