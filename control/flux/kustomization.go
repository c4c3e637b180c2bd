package flux

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
)

// kustomizations makes Kustomizations units of the engine, and tells in their
// status what became of them. It implements [engine.Dialect].
type kustomizations struct {
	o        Options
	client   client.Client // reads come from the cache
	live     client.Reader // reads go to the server
	statuses *statuses
	engine   *engine.Engine
	refs     *lookup.Reader
	events   record.EventRecorder
	log      *slog.Logger
	queue    *control.Queue
	told     told
}

// get reads a custom resource as it is stored. What it holds is shared with the
// cache, and may not be changed.
func get(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u, err := peek(ctx, c, gvk, key)
	if err != nil {
		return nil, err
	}
	return u, custom.Whole(u)
}

// peek is get but for the status, which may be as [custom.Slim] has it.
func peek(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, c.Get(ctx, key, u, client.UnsafeDisableDeepCopy)
}

// newest reads a Kustomization as it is known to be stored.
func (r *kustomizations) newest(ctx context.Context, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u, err := r.statuses.Newest(ctx, r.client, KustomizationKind, key)
	if err != nil {
		return nil, err
	}
	return u, custom.Whole(u)
}

// Reconcile makes a unit of one Kustomization, and has the engine hold it true.
func (r *kustomizations) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	u, err := r.newest(ctx, req.NamespacedName)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	k, err := decodeKustomization(u)
	if err != nil {
		r.engine.Put(r.unreadable(u, err))
		return ctrl.Result{}, nil
	}
	switch {
	case !k.DeletionTimestamp.IsZero():
		if controllerutil.ContainsFinalizer(u, finalizer) {
			return ctrl.Result{}, r.leave(ctx, k)
		}
		return ctrl.Result{}, nil
	case !k.Spec.Suspend:
		err = r.finalize(ctx, u)
	}
	session := r.refs.Begin(unitName(KustomizationKind.Kind, k.Namespace, k.Name))
	defer session.End()
	unit := r.unit(k, session)
	if err != nil {
		unit.Refused = err // so that it is known what it claims
	}
	r.engine.Put(unit)
	return ctrl.Result{}, err
}

// finalize makes sure that a Kustomization can't go before its objects did.
func (r *kustomizations) finalize(ctx context.Context, u *unstructured.Unstructured) error {
	if controllerutil.ContainsFinalizer(u, finalizer) {
		return nil
	}
	with := u.DeepCopy()
	controllerutil.AddFinalizer(with, finalizer)
	if err := r.client.Patch(ctx, with, client.MergeFrom(u), client.FieldOwner(statusManager)); err != nil {
		return fmt.Errorf("add the finalizer: %w", err)
	}
	return nil
}

// forget drops what is known of a Kustomization that is no more.
func (r *kustomizations) forget(key types.NamespacedName) {
	name := unitName(KustomizationKind.Kind, key.Namespace, key.Name)
	r.engine.Delete(name)
	r.refs.Forget(name)
	r.statuses.Forget(key)
	r.told.forget(key)
	report.Subject{Kind: KustomizationKind.Kind, Name: key.Name, Namespace: key.Namespace}.Gone()
}

// unit makes the unit of k. One that can't be held true says why.
func (r *kustomizations) unit(k *kustomization, refs getter) engine.Unit {
	u := r.o.unit(k, refs)
	u.Dialect, u.Origin = r, k.origin()
	u.DependsOn = r.dependencies(k)
	if fault.Is(u.Refused, fault.Progressing) {
		u.Refused = &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: u.Refused}
	}
	if requested, ok := meta.ReconcileAnnotationValue(k.Annotations); ok && requested != k.Status.LastHandledReconcileAt {
		u.Requested = requested
	}
	return u
}

// unreadable makes the unit of a Kustomization that can't be decoded. This
// version has not applied it; what an older one has is in the inventory.
func (r *kustomizations) unreadable(u *unstructured.Unstructured, cause error) engine.Unit {
	k := &kustomization{unreadable: true}
	k.Namespace, k.Name, k.UID, k.Generation = u.GetNamespace(), u.GetName(), u.GetUID(), u.GetGeneration()
	if err := decodeStatus(u, &k.Status); err != nil {
		k.Status.Inventory = nil
		unit := r.o.unit(k, r.refs.Peek())
		unit.Dialect, unit.Origin, unit.Refused, unit.Unknown = r, k.origin(), cause, true
		unit.Target.Invalid = true
		return unit
	}
	unit := r.o.unit(k, r.refs.Peek())
	unit.Dialect, unit.Origin, unit.Refused = r, k.origin(), cause
	unit.Target.Invalid = true
	return unit
}

// leave has what k has applied deleted, as its deletion policy says.
func (r *kustomizations) leave(ctx context.Context, k *kustomization) error {
	session := r.refs.Begin(unitName(KustomizationKind.Kind, k.Namespace, k.Name))
	defer session.End()
	u := r.unit(k, session)
	switch k.Spec.DeletionPolicy {
	case kustomizev1.DeletionPolicyDelete:
		u.Removal.Deletes = true
	case kustomizev1.DeletionPolicyWaitForTermination:
		u.Removal = engine.Removal{Deletes: true, Waits: true}
	case kustomizev1.DeletionPolicyOrphan:
	default:
		u.Removal.Deletes = k.Spec.Prune
	}
	u.Removal.Deletes = u.Removal.Deletes && !k.Spec.Suspend
	if u.Removal.Deletes {
		if leaving, err := custom.IsLeaving(ctx, r.live, "kustomizations."+KustomizationKind.Group); err != nil {
			return err
		} else if leaving {
			r.event(k, "", corev1.EventTypeWarning, "PruneHeld", "the CustomResourceDefinition of Kustomizations is being deleted; the objects were kept")
			u.Removal.Deletes = false
		}
	}
	// Where the objects are, which they are and in whose name they go has to be
	// known. What else may be wrong with the spec does not count now.
	if _, err := inventoryOf(&k.Status); err == nil && !u.Target.Invalid && u.Refused != nil {
		r.log.Warn("deleting a unit that could not be applied", "unit", u.Name, "err", u.Refused)
		u.Refused = nil
	}
	if ref, ok := kubeconfigSecret(k); ok {
		switch _, found, err := session.Get(ref); {
		case err != nil:
			u.Refused = err
		case !found:
			u.Removal.Orphaned = ref.String() + " does not exist"
		}
	}
	r.engine.Put(u)
	return nil
}

// putAll puts all Kustomizations that there are. It comes before the engine
// starts: what that does not know of claims nothing.
func (r *kustomizations) putAll(ctx context.Context) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(KustomizationKind)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Kustomizations: %w", err)
	}
	for i := range list.Items {
		key := client.ObjectKeyFromObject(&list.Items[i])
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: key}); err != nil {
			r.queue.Add(key)
			r.log.Error("a Kustomization can't be worked on yet", "namespace", key.Namespace, "name", key.Name, "err", err)
		}
	}
	return nil
}

// standingOf is what the status of k says of it.
func standingOf(k *kustomization) engine.Standing {
	ready := report.Find(k.Status.Conditions, report.Ready)
	if ready.Status == "" {
		return engine.Standing{}
	}
	s := engine.Standing{
		Ready: string(ready.Status), Reason: fault.Reason(ready.Reason), Message: ready.Message, Attempted: k.Status.LastAttemptedRevision,
	}
	if cmp.Or(ready.ObservedGeneration, k.Status.ObservedGeneration) == k.Generation {
		s.Digest = digestOfSpec(k)
	}
	return s
}
