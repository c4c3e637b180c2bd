package flux

import (
	"cmp"
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// dependencyKeys are the Kustomizations that spec.dependsOn names.
func dependencyKeys(namespace string, refs []kustomizev1.DependencyReference) []types.NamespacedName {
	keys := make([]types.NamespacedName, len(refs))
	for i, d := range refs {
		keys[i] = types.NamespacedName{Namespace: cmp.Or(d.Namespace, namespace), Name: d.Name}
	}
	return keys
}

// dependencies are what k depends on, as the engine has to know it.
func (r *kustomizations) dependencies(k *kustomization) []engine.Dependency {
	var out []engine.Dependency
	for i, key := range dependencyKeys(k.Namespace, k.Spec.DependsOn) {
		d := engine.Dependency{Unit: unitName(KustomizationKind.Kind, key.Namespace, key.Name), As: key.String()}
		account := cmp.Or(k.Spec.ServiceAccountName, r.o.DefaultServiceAccount)
		expr := k.Spec.DependsOn[i].ReadyExpr
		if account != "" {
			user := cluster.User(k.Namespace, account)
			d.May = func(ctx context.Context) (bool, error) { return r.mayTell(ctx, k, key, user, expr != "") }
		}
		if expr != "" {
			d.Judge = func(ctx context.Context) (string, error) { return r.byExpr(ctx, k, key, expr) }
		}
		out = append(out, d)
	}
	return append(out, r.annotated(k)...)
}

// annotated are those that its annotation names. What is wrong with that, the unit
// says.
func (r *kustomizations) annotated(k *kustomization) []engine.Dependency {
	all, _ := control.Dependencies(k.Annotations[control.DependsOn], KustomizationKind.Kind, k.Namespace)
	account := cmp.Or(k.Spec.ServiceAccountName, r.o.DefaultServiceAccount)
	for i, d := range all {
		kind, key := keyOf(d.Unit)
		switch {
		case account == "":
		case kind == KustomizationKind.Kind:
			user := cluster.User(k.Namespace, account)
			all[i].May = func(ctx context.Context) (bool, error) { return r.mayTell(ctx, k, key, user, false) }
		default:
			all[i].May = func(context.Context) (bool, error) { return false, nil }
		}
	}
	return all
}

// mayTell reports whether a user may read what another Kustomization says of
// itself. That is on the cluster that plumb runs in, wherever the objects of k
// are. Whether one of the same namespace is ready is for whoever may depend on
// it to know; everything else only for who may read it.
func (r *kustomizations) mayTell(ctx context.Context, k *kustomization, key types.NamespacedName, user string, all bool) (bool, error) {
	ref := object.Ref{Group: KustomizationKind.Group, Kind: KustomizationKind.Kind, Namespace: key.Namespace, Name: key.Name}
	err := r.engine.MayRead(ctx, unitName(KustomizationKind.Kind, k.Namespace, k.Name), user, ref, KustomizationKind.Version)
	if err != nil && (all || key.Namespace != k.Namespace || !fault.Is(err, fault.AccessDenied)) {
		return false, err
	}
	return err == nil, nil
}

// byExpr says why a dependency is not ready by its readyExpr, which replaces
// the built-in check, as in Flux.
func (r *kustomizations) byExpr(ctx context.Context, k *kustomization, key types.NamespacedName, expr string) (string, error) {
	ready, err := readyExpr(expr)
	if err != nil {
		return "", err
	}
	dep, err := r.newest(ctx, key)
	if client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if err != nil {
		return "does not exist", nil
	}
	self, err := r.newest(ctx, k.key())
	if err != nil {
		return "", err
	}
	ok, err := health.Eval(ready, map[string]any{"dep": dep.Object, "self": self.Object})
	if err != nil {
		return fmt.Sprintf("can't be judged by its readyExpr: %v", err), nil
	}
	if !ok {
		return "is not ready by its readyExpr", nil
	}
	return "", nil
}

func readyExpr(expr string) (cel.Program, error) {
	p, err := health.Condition(expr, "dep", "self")
	if err != nil {
		return nil, fmt.Errorf("readyExpr: %w", err)
	}
	return p, nil
}
