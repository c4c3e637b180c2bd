package flux

import (
	"context"
	"fmt"
	"strings"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
)

// Store implements [engine.Dialect]. It is the moment at which it is known that
// there is work to do, so it says so too.
func (r *kustomizations) Store(ctx context.Context, u engine.Unit, entries []apply.Entry) error {
	k := originOf(u)
	stored, err := r.newest(ctx, k.key())
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if err := decodeStatus(stored, &k.Status); err != nil {
		return fmt.Errorf("the status of %s can't be read: %w", u.Name, err)
	}
	k.Status.Inventory = toInventory(entries)
	c := report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}
	c.Progress("Reconciliation in progress")
	return r.statuses.write(ctx, stored, &k.Status)
}

// Report implements [engine.Dialect].
func (r *kustomizations) Report(ctx context.Context, u engine.Unit, out engine.Outcome) error {
	k := originOf(u)
	stored, err := peek(ctx, r.client, KustomizationKind, k.key())
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	stored = r.statuses.Of(stored)
	switch {
	case out.Rested && r.told.at(k.key()) == stored.GetResourceVersion():
		k.subject().Succeeded()
		return nil
	case out.Interim:
		r.tellChanges(k, out)
		if out.Live {
			r.tellLive(k, out)
		}
		return nil
	}
	if err := custom.Whole(stored); err != nil {
		return err
	}
	if k.unreadable {
		k.subject().Failed(reasonOf(out.Err, "InvalidSpec"))
		k.subject().Ready(0)
		return r.statuses.stall(ctx, stored, out.Err)
	}
	if err := decodeStatus(stored, &k.Status); err != nil {
		return r.statuses.stall(ctx, stored, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("status: %w", err)})
	}
	if u.Leaving {
		return r.seenOff(ctx, k, stored, out)
	}
	before := k.Status.DeepCopy()
	conclude(k, out)
	if out.Unreachable.IsZero() {
		if err := contest(report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}, out.Fights); err != nil {
			return err
		}
	}
	if out.Handled != "" {
		k.Status.LastHandledReconcileAt = out.Handled
	}
	if !equality.Semantic.DeepEqual(*before, k.Status) {
		if err := r.statuses.write(ctx, stored, &k.Status); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
	}
	r.tell(k, before, out)
	r.told.note(k.key(), report.Find(k.Status.Conditions, report.Ready), stored.GetResourceVersion())
	return nil
}

// seenOff says why a unit that is being deleted is still there, or lets it go.
func (r *kustomizations) seenOff(ctx context.Context, k *kustomization, stored *unstructured.Unstructured, out engine.Outcome) error {
	r.tellChanges(k, out)
	for _, h := range out.Held() {
		if out.State == engine.Removed {
			r.event(k, "", corev1.EventTypeWarning, "PruneHeld", h.Ref.String()+" was left: "+h.Why)
		}
	}
	r.tellOrphaned(k, out)
	if out.State == engine.Removed {
		without := stored.DeepCopy()
		controllerutil.RemoveFinalizer(without, finalizer)
		if err := r.client.Patch(ctx, without, client.MergeFrom(stored), client.FieldOwner(statusManager)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("remove the finalizer: %w", err)
		}
		return nil
	}
	if k.Status.Inventory != nil || len(out.Inventory) > 0 {
		if entries, err := inventoryOf(&k.Status); err == nil && len(entries) != len(out.Inventory) {
			k.Status.Inventory = toInventory(out.Inventory)
		}
	}
	waits := fault.Of(out.Err).Reason == fault.Progressing
	c := report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}
	switch {
	case waits:
		c.Progress("Deletion in progress: " + out.Err.Error())
	case fault.Is(out.Err, fault.NotAnswering):
		unseen(c, out.Err)
	default:
		c.Retry(reasonOf(out.Err, meta.PruneFailedReason), out.Err.Error())
	}
	if err := r.statuses.write(ctx, stored, &k.Status); err != nil || waits {
		return err
	}
	r.event(k, "", corev1.EventTypeWarning, meta.PruneFailedReason, out.Err.Error()+"; to leave the objects, set spec.deletionPolicy to Orphan")
	return nil
}

// tellOrphaned says which objects are left because nobody may delete them any
// more.
func (r *kustomizations) tellOrphaned(k *kustomization, out engine.Outcome) {
	names := make([]string, len(out.Orphaned))
	for i, e := range out.Orphaned {
		names[i] = e.Ref.String()
	}
	if len(names) == 0 {
		return
	}
	r.log.Warn("deleted without pruning", "kind", KustomizationKind.Kind, "namespace", k.Namespace, "name", k.Name, "err", out.Err, "left", names)
	r.event(k, "", corev1.EventTypeWarning, meta.PruneFailedReason, out.Err.Error()+", so these were left: "+strings.Join(names, ", "))
}

// told remembers what was last told of each Kustomization.
type told struct {
	mu   sync.Mutex
	said map[types.NamespacedName]*said
}

type said struct {
	ready   metav1.Condition
	version string // of the custom resource then
	left    string // which objects were left alone
}

func (t *told) with(key types.NamespacedName, f func(*said)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.said == nil {
		t.said = make(map[types.NamespacedName]*said)
	}
	s := t.said[key]
	if s == nil {
		s = &said{}
		t.said[key] = s
	}
	f(s)
}

// note notes what is told now.
func (t *told) note(key types.NamespacedName, ready metav1.Condition, version string) {
	t.with(key, func(s *said) { s.ready, s.version = ready, version })
}

// at returns the version of the custom resource when it was told of last.
func (t *told) at(key types.NamespacedName) (version string) {
	t.with(key, func(s *said) { version = s.version })
	return version
}

// was returns the condition that was told last, or what is stored if none was.
func (t *told) was(key types.NamespacedName, stored *kustomizev1.KustomizationStatus) (ready metav1.Condition) {
	t.with(key, func(s *said) { ready = s.ready })
	if ready.Type == "" {
		ready = report.Find(stored.Conditions, report.Ready)
	}
	return ready
}

// leaves notes which objects are left alone, and returns what was said before.
func (t *told) leaves(key types.NamespacedName, message string) (before string) {
	t.with(key, func(s *said) { before, s.left = s.left, message })
	return before
}

func (t *told) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.said, key)
}
