package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// A kind is that of the custom resources which units are. All is measured of one
// as of another.
type kind struct {
	name     string // of figures, and by which it is asked for
	resource schema.GroupVersionResource
	kind     string
	source   bool     // it needs a GitRepository, which the units share
	revision []string // where a status says at which commit it is
	// spec is that of a unit which renders a directory of the repository.
	spec func(w *world, path string) map[string]any
	// settled reports whether a unit is as it should be, as far as one can be
	// where no controller runs.
	settled func(*unstructured.Unstructured) bool
	// known is what the metric of a unit says that plumb knows to be so.
	known string
	// status is a patch that says another revision.
	status map[string]any
	// subresource is where a status is written.
	subresource []string
	// writes are those of a unit that is created: before its objects are tried,
	// and after they are applied.
	writes func(*unstructured.Unstructured) (before, after []write)
	events int // of a unit that is created
	// requests are those that a commit to a unit asks for.
	requests float64
	of       string // what they are
	// memory is what plumb may take once all is settled, in MB, with a unit of
	// another kind beside.
	memory float64
	beside *kind
	// starve has units wait for what never comes, and feed ends that. They wait
	// once waits says so of each.
	starve, feed func(w *world, ctx context.Context, units []string) error
	waits        func(*unstructured.Unstructured) bool
}

// A write is one to a custom resource: of its status, or of what is beside it.
type write struct {
	body   map[string]any
	status bool
}

var fluxKind = kind{
	name: "Kustomizations", resource: kustomizations, kind: "Kustomization", source: true,
	revision: []string{"status", "lastAppliedRevision"},
	spec: func(_ *world, path string) map[string]any {
		return map[string]any{
			"interval": "1m", "prune": true, "path": path,
			"sourceRef": map[string]any{"kind": "GitRepository", "name": "apps"},
		}
	},
	settled: func(u *unstructured.Unstructured) bool { return condition(u, "Ready") },
	known:   " 1\n",
	status: map[string]any{
		"lastAppliedRevision": "another", "lastAttemptedRevision": "another",
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "Applied revision: another",
			"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
		}},
	},
	subresource: []string{"status"},
	// The finalizer is an annotation, since nobody would take it off. Before
	// anything is written the inventory is.
	writes: func(u *unstructured.Unstructured) (before, after []write) {
		status, _, _ := unstructured.NestedMap(u.Object, "status")
		finalizers := map[string]any{"finalizers": strings.Join(u.GetFinalizers(), ",")}
		return []write{
			{body: map[string]any{"metadata": map[string]any{"annotations": finalizers}}},
			{body: map[string]any{"status": map[string]any{"inventory": status["inventory"], "conditions": status["conditions"]}}, status: true},
		}, []write{{body: map[string]any{"status": status}, status: true}}
	},
	events: 1, requests: 3, of: "an apply, a status of the unit and of the source",
	memory: 120,
	starve: func(w *world, ctx context.Context, units []string) error { return w.awaitHealth(ctx, units, true) },
	feed:   func(w *world, ctx context.Context, units []string) error { return w.awaitHealth(ctx, units, false) },
	waits:  func(u *unstructured.Unstructured) bool { return condition(u, "Reconciling") },
}

var argocdKind = kind{
	name: "Applications", resource: schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"},
	kind: "Application", revision: []string{"status", "sync", "revision"},
	spec: func(w *world, path string) map[string]any {
		return map[string]any{
			"project":     "default",
			"source":      map[string]any{"repoURL": w.url, "path": strings.TrimPrefix(path, "./"), "targetRevision": "main"},
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": appSpace},
			"syncPolicy": map[string]any{
				"automated": map[string]any{"prune": true, "selfHeal": true},
				// Without controllers nothing is ever gone that goes after its dependents.
				"syncOptions": []any{"PrunePropagationPolicy=background"},
			},
		}
	},
	settled: isSynced,
	// Without controllers no Deployment becomes available.
	known: " 0\n",
	status: map[string]any{
		"reconciledAt": "2026-01-01T00:00:00Z", "sync": map[string]any{"status": "Synced", "revision": "another"},
	},
	// An operation begins, with what is compared by then, and ends.
	writes: func(u *unstructured.Unstructured) (before, after []write) {
		status, _, _ := unstructured.NestedMap(u.Object, "status")
		begun := maps.Clone(status)
		delete(begun, "history")
		return []write{{body: map[string]any{"status": begun, "operation": operationOf(u)}}},
			[]write{{body: map[string]any{"status": status, "operation": nil}}}
	},
	events: 4, requests: 2, of: "an apply, and a status of the unit",
	memory: 130, beside: &fluxKind,
	starve: (*world).hang, feed: (*world).release,
	waits: func(u *unstructured.Unstructured) bool { return phaseOf(u) == "Running" },
}

var kinds = []*kind{&fluxKind, &argocdKind}

// awaitHealth has units wait for health, or not.
func (w *world) awaitHealth(ctx context.Context, units []string, wait bool) error {
	return parallel(len(units), func(i int) error {
		return w.patchUnit(ctx, units[i], map[string]any{"spec": map[string]any{"wait": wait, "timeout": "5m"}})
	})
}

// hang commits a hook to every other unit, which never ends, and to the rest an
// object of a second wave: the first one never gets healthy. (Without controllers
// no Job runs.)
func (w *world) hang(ctx context.Context, units []string) error {
	files := map[string]string{}
	for i, unit := range units {
		name, more := "late", lateObject
		if i%2 == 0 {
			name, more = "hook", hangingHook
		}
		files[moreFile(unit, name)] = strings.ReplaceAll(more, "APP", unit)
		files[overlayFile(unit)] = strings.Replace(overlay(unit, w.version()), "[../base]", "[../base, "+name+".yaml]", 1)
	}
	_, _, err := w.push(ctx, files)
	return err
}

// release commits units as they were, and ends the operations whose hook hangs: a
// newer commit does not.
func (w *world) release(ctx context.Context, units []string) error {
	files := map[string]string{}
	for _, unit := range units {
		files[overlayFile(unit)] = overlay(unit, w.version())
	}
	_, hash, err := w.push(ctx, files)
	if err != nil {
		return err
	}
	return w.plumb.Until(ctx, w.patience(), func() error {
		for _, unit := range units {
			u, err := w.client.Resource(w.kind.resource).Namespace(unitSpace).Get(ctx, unit, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if isSynced(u) && w.kind.at(hash)(u) {
				continue
			}
			if phaseOf(u) == "Running" && !names(hash, "status", "operationState", "syncResult", "revision")(u) {
				terminate := map[string]any{"status": map[string]any{"operationState": map[string]any{"phase": "Terminating"}}}
				if err := w.patchUnit(ctx, unit, terminate); err != nil {
					return err
				}
			}
			return fmt.Errorf("%s is still at an operation", unit)
		}
		return nil
	})
}

// isSynced reports whether an Application is, and has nothing to do.
func isSynced(u *unstructured.Unstructured) bool {
	sync, _, _ := unstructured.NestedString(u.Object, "status", "sync", "status")
	return sync == "Synced" && phaseOf(u) == "Succeeded" && u.Object["operation"] == nil
}

// phaseOf is that of the last operation of an Application.
func phaseOf(u *unstructured.Unstructured) string {
	phase, _, _ := unstructured.NestedString(u.Object, "status", "operationState", "phase")
	return phase
}

func operationOf(u *unstructured.Unstructured) map[string]any {
	op, _, _ := unstructured.NestedMap(u.Object, "status", "operationState", "operation")
	return op
}

// at reports whether a unit says that it is at a commit.
func (k *kind) at(hash string) func(*unstructured.Unstructured) bool {
	return names(hash, k.revision...)
}

// floors are a kind like it that plumb does not know.
func (k *kind) floors() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "bench.plumb.dev", Version: k.resource.Version, Resource: k.resource.Resource}
}

// floor is an object of that kind.
func (k *kind) floor(name string, spec any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": k.floors().GroupVersion().String(), "kind": k.kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// createUnit creates a unit, whose spec may say more.
func (w *world) createUnit(ctx context.Context, k *kind, name, path string, more map[string]any) error {
	spec := k.spec(w, path)
	maps.Copy(spec, more)
	unit := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": k.resource.GroupVersion().String(), "kind": k.kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}
	_, err := w.client.Resource(k.resource).Namespace(unitSpace).Create(ctx, unit, metav1.CreateOptions{})
	return err
}

// patchUnit changes a unit.
func (w *world) patchUnit(ctx context.Context, name string, change map[string]any) error {
	patch, err := json.Marshal(change)
	if err == nil {
		_, err = w.client.Resource(w.kind.resource).Namespace(unitSpace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	}
	return err
}

// beside creates a unit of another kind than the others, waits until it is as it
// should be, and returns how to have it gone again.
func (w *world) beside(ctx context.Context, k *kind) (remove func() error, err error) {
	name, path := chainName(0), "./"+chainDir(0)
	seen, stop, err := w.sight(ctx, k.resource, unitSpace, name)
	if err != nil {
		return nil, err
	}
	defer stop()
	if k.source {
		if err := w.createSource(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.createUnit(ctx, k, name, path, nil); err != nil {
		return nil, err
	}
	_, err = w.first(ctx, seen, w.patience(), k.settled)
	return func() error {
		if err := w.client.Resource(k.resource).Namespace(unitSpace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		err := w.plumb.Until(ctx, w.patience(), func() error {
			_, err := w.client.Resource(k.resource).Namespace(unitSpace).Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				return fmt.Errorf("%s is still there", name)
			}
			return nil
		})
		if k.source {
			err = errors.Join(err, w.client.Resource(gitRepositories).Namespace(unitSpace).Delete(ctx, "apps", metav1.DeleteOptions{}))
		}
		return err
	}, err
}
