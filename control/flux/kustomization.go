package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
)

// kustomizations reconciles Kustomizations.
type kustomizations struct {
	o        Options
	client   client.Client // reads come from the cache
	live     client.Reader // reads go to the server
	statuses *statuses
	engine   *engine.Engine
	shelf    *source.Shelf
	refs     *lookup.Reader
	events   record.EventRecorder
	log      *slog.Logger
	queue    *queue
	calm     calm
	spared   spared
	servers  *share // of other clusters

	mu       sync.Mutex
	attempts map[types.NamespacedName]attempt
	waiting  map[types.NamespacedName]time.Time // for a dependency, since when
	told     map[types.NamespacedName]time.Time // what is waited for, when
}

// An attempt is what is remembered of failures, to try again ever more slowly.
type attempt struct {
	count int
	at    string // generation and revision: another one starts anew
}

// get reads a custom resource as it is stored. What it holds is shared with the
// cache, and may not be changed.
func get(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u, err := peek(ctx, c, gvk, key)
	if err != nil {
		return nil, err
	}
	return u, whole(u)
}

// peek is get but for the status, which may be as [Slim] has it.
func peek(ctx context.Context, c client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, c.Get(ctx, key, u, client.UnsafeDisableDeepCopy)
}

// Reconcile holds one Kustomization true.
func (r *kustomizations) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := unitName(KustomizationKind.Kind, req.Namespace, req.Name)
	subject := report.Subject{Kind: KustomizationKind.Kind, Name: req.Name, Namespace: req.Namespace}
	u, err := peek(ctx, r.client, KustomizationKind, req.NamespacedName)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.engine.Forget(name)
			r.refs.Forget(name)
			r.servers.forget(req.NamespacedName)
			r.calm.forget(req.NamespacedName)
			r.spared.forget(req.NamespacedName)
			r.statuses.forget(req.NamespacedName)
			subject.Gone()
			r.mu.Lock()
			delete(r.attempts, req.NamespacedName)
			delete(r.waiting, req.NamespacedName)
			delete(r.told, req.NamespacedName)
			r.mu.Unlock()
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	u = r.statuses.newest(u)
	last, stirs, calm := r.calm.look(req.NamespacedName)
	if calm && last.version == u.GetResourceVersion() && last.source == r.shelf.Get(last.source.Source) && r.engine.Rests(name) {
		subject.Succeeded()
		return ctrl.Result{RequeueAfter: soon(last.interval)}, nil
	}
	started := time.Now()
	if err := whole(u); err != nil {
		return ctrl.Result{}, err
	}
	k, err := decodeKustomization(u)
	if err != nil {
		return ctrl.Result{}, r.stalled(ctx, u, subject, err)
	}
	if !k.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, k, u)
	}
	if k.Spec.Suspend {
		return ctrl.Result{}, nil
	}
	if !controllerutil.ContainsFinalizer(u, finalizer) {
		withFinalizer := u.DeepCopy()
		controllerutil.AddFinalizer(withFinalizer, finalizer)
		if err := r.client.Patch(ctx, withFinalizer, client.MergeFrom(u), client.FieldOwner(statusManager)); err != nil {
			return ctrl.Result{}, fmt.Errorf("add the finalizer: %w", err)
		}
		u = withFinalizer
	}
	before := k.Status.DeepCopy()
	requested, isRequested := meta.ReconcileAnnotationValue(u.GetAnnotations())
	isRequested = isRequested && requested != k.Status.LastHandledReconcileAt

	made := r.shelfOf(k) // or from what comes meanwhile, which is then another
	out, err := r.run(ctx, k, u, isRequested)
	if fault.Is(err, notYet) {
		return ctrl.Result{RequeueAfter: time.Minute}, nil // what is missing wakes it
	}
	if wait := r.grace(req.NamespacedName, k, err); wait > 0 && !isRequested {
		r.tellChanges(k, out, time.Since(started))
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if crowded := r.calm.yield(req.NamespacedName); crowded && err == nil && len(out.Changes) > 0 && !k.stored && !isRequested && !r.isWaitedFor(ctx, name) {
		// Many units have something to write: first it is live, then all
		// say so.
		r.tellChanges(k, out, time.Since(started))
		r.tellLive(k, out)
		r.calm.postpone(req.NamespacedName)
		r.queue.addLow(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if isSpecFault(err) {
		c := report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}
		c.Stall(reasonOf(err, "InvalidSpec"), err.Error())
		k.Status.ObservedGeneration = k.Generation
	} else {
		conclude(k, out, err, time.Since(started))
	}
	again := r.pace(k, before, out, err)
	if isRequested {
		k.Status.LastHandledReconcileAt = requested
	}
	if k.stored || !equality.Semantic.DeepEqual(*before, k.Status) {
		if err := r.statuses.write(ctx, u, &k.Status); err != nil {
			return ctrl.Result{}, fmt.Errorf("write status: %w", err)
		}
	}
	if err == nil && out.AtRest() && !k.changedIn(u) {
		r.calm.settle(req.NamespacedName, rest{stirs: stirs, version: u.GetResourceVersion(), source: made, interval: k.Spec.Interval.Duration})
	}
	r.tell(k, before, out, time.Since(started))
	result := r.next(k, out, err)
	if again > 0 {
		result.RequeueAfter = min(result.RequeueAfter, again)
	}
	return result, nil
}

// dependencyGrace is how long a unit that is ready may wait for one that it
// depends on before it says so: with every commit, the dependencies come first.
const dependencyGrace = 5 * time.Second

// grace returns how long to wait before reporting that a dependency is not
// ready.
func (r *kustomizations) grace(key types.NamespacedName, k *kustomization, err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !fault.Is(err, meta.DependencyNotReadyReason) || isSpecFault(err) ||
		!(report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}).Current() {
		delete(r.waiting, key)
		return 0
	}
	since, ok := r.waiting[key]
	if !ok {
		since = time.Now()
		r.waiting[key] = since
	}
	return time.Until(since.Add(dependencyGrace))
}

// notYet is the reason of what this process has not read yet after a start.
// It is no news about the unit.
const notYet = "NotYetRead"

// runTimeout is how long one run may take. None waits for anything but answers
// to its own requests.
const runTimeout = 2 * time.Minute

// run makes the unit of k and runs it. One that can't go forward is held true
// to what it has applied.
func (r *kustomizations) run(ctx context.Context, k *kustomization, u *unstructured.Unstructured, verify bool) (out engine.Outcome, err error) {
	session := r.refs.Begin(unitName(KustomizationKind.Kind, k.Namespace, k.Name))
	defer session.End()
	// A cluster that does not answer holds a worker no longer than this.
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	out, err = r.forward(ctx, k, u, session, verify)
	if err != nil && !out.Planned && ctx.Err() == nil && !fault.Is(err, notYet) && !fault.Is(err, cluster.ReasonNotAnswering) {
		err = errors.Join(err, r.hold(ctx, k, session, &out))
	}
	return out, err
}

// forward makes the unit of k and runs it.
func (r *kustomizations) forward(ctx context.Context, k *kustomization, u *unstructured.Unstructured, refs getter, verify bool) (out engine.Outcome, err error) {
	from, err := r.o.sourceName(k)
	if err != nil {
		return out, specFault{err}
	}
	unit, err := r.o.toUnit(k, refs)
	if err != nil {
		if fault.Of(err).Next == fault.Stall {
			err = specFault{err}
		} else if fault.Of(err).Reason == report.Progressing {
			err = &fault.Error{Next: fault.Wait, Reason: notYet, Err: err}
		}
		return engine.Outcome{Inventory: unit.Remembers}, err
	}
	out.Inventory = unit.Remembers
	unit.Source = r.shelf.Get(from)
	if unit.Source == nil {
		return out, r.noArtifact(ctx, from)
	}
	out.Revision = unit.Source.Revision
	if err := r.checkDependencies(ctx, k, u); err != nil {
		if fault.Of(err).Next == fault.Stall {
			err = specFault{err}
		}
		return out, err
	}
	if verify {
		r.engine.Doubt(unit.Name)
	}
	leave, ok := r.enter(unit.Target, k)
	if !ok {
		return out, &fault.Error{Next: fault.Wait, Reason: notYet, Err: errors.New("others wait for its cluster")}
	}
	defer func() { leave(err) }()
	return r.engine.Run(ctx, unit, &ledger{r: r, k: k, u: u})
}

// enter takes a worker for a unit of another cluster, as [share.enter] does.
// For one of plumb's own there is always one.
func (r *kustomizations) enter(at engine.Target, k *kustomization) (leave func(error), ok bool) {
	if at.Config == nil {
		return func(error) {}, true
	}
	left, ok := r.servers.enter(cluster.Host(at.Config), k.key())
	return func(err error) {
		left(!fault.Is(err, cluster.ReasonNotAnswering) && !errors.Is(err, context.DeadlineExceeded))
	}, ok
}

// noArtifact says why a source has nothing to apply.
func (r *kustomizations) noArtifact(ctx context.Context, from string) error {
	kind, key := keyOf(from)
	u, err := get(ctx, r.client, GitRepositoryKind, key)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read %s '%s': %w", kind, key, err)
	}
	if err != nil {
		return &fault.Error{
			Next: fault.Wait, Reason: meta.ArtifactFailedReason, Err: fmt.Errorf("%s '%s' not found", kind, key),
			Hint: "create it, or correct spec.sourceRef; nothing is pruned meanwhile",
		}
	}
	var st sourcev1.GitRepositoryStatus
	if err := decodeStatus(u, &st); err != nil {
		return &fault.Error{Next: fault.Wait, Reason: meta.ArtifactFailedReason, Err: fmt.Errorf("the status of %s '%s' can't be read: %w", kind, key, err)}
	}
	if c := report.Find(st.Conditions, report.Ready); c.Status == metav1.ConditionFalse {
		return &fault.Error{Next: fault.Wait, Reason: meta.ArtifactFailedReason, Err: fmt.Errorf("%s '%s' is not ready: %s", kind, key, c.Message)}
	}
	if st.Artifact != nil {
		return &fault.Error{Next: fault.Wait, Reason: notYet, Err: errors.New("the source is being read after a start")}
	}
	return &fault.Error{Next: fault.Wait, Reason: report.Progressing, Err: fmt.Errorf("%s '%s' has no artifact yet", kind, key)}
}

// A specFault is an error that only a change of the custom resource mends.
type specFault struct{ error }

func (s specFault) Unwrap() error { return s.error }

func isSpecFault(err error) bool {
	var s specFault
	return errors.As(err, &s)
}

// stalled says of a resource that can't be decoded what is wrong with it,
// leaving the rest of its status as it is.
func (r *kustomizations) stalled(ctx context.Context, u *unstructured.Unstructured, s report.Subject, cause error) error {
	s.Failed(reasonOf(cause, "InvalidSpec"))
	s.Ready(0)
	return r.statuses.stall(ctx, u, cause)
}

// A ledger stores the inventory in the status.
type ledger struct {
	r *kustomizations
	k *kustomization
	u *unstructured.Unstructured
}

// Store implements [engine.Ledger]. It is the moment at which it is known that
// there is work to do, so it says so too.
func (l *ledger) Store(ctx context.Context, entries []apply.Entry) error {
	l.k.stored = true
	l.k.Status.Inventory = toInventory(entries)
	c := report.Conditions{List: &l.k.Status.Conditions, Generation: l.k.Generation}
	c.Progress("Reconciliation in progress")
	return l.r.statuses.write(ctx, l.u, &l.k.Status)
}

// isWaitedFor reports whether somebody depends on a unit.
func (r *kustomizations) isWaitedFor(ctx context.Context, name string) bool {
	return len(listBy(ctx, r.client, true, byDependency, name, r.log)) > 0
}

// soon is when an interval that begins now is over. Long ones end with a full
// second of the clock, so that those of many units wake the process together.
func soon(interval time.Duration) time.Duration {
	after := jitter(interval, 0.05, rand.Float64)
	if interval < 20*time.Second {
		return after
	}
	return time.Until(time.Now().Add(after).Truncate(time.Second))
}

// next says when to look at k again at the latest.
func (r *kustomizations) next(k *kustomization, out engine.Outcome, err error) ctrl.Result {
	key := k.key()
	at := fmt.Sprintf("%d %s", k.Generation, out.Revision)
	r.mu.Lock()
	a := r.attempts[key]
	if a.at != at || err == nil {
		a = attempt{at: at}
	}
	if err != nil {
		a.count++
	}
	r.attempts[key] = a
	r.mu.Unlock()

	after := soon(k.Spec.Interval.Duration)
	switch f := fault.Of(err); {
	case err == nil:
	case isSpecFault(err) && out.Next.IsZero():
		return ctrl.Result{} // a change of the spec wakes it
	case f.After > 0:
		after = f.After
	case f.Next == fault.Retry:
		// From a second up to the interval that the user gave.
		after = min(k.GetRetryInterval(), time.Second<<min(a.count, 10))
	default:
		after = k.GetRetryInterval()
	}
	if !out.Next.IsZero() {
		after = min(after, max(time.Until(out.Next), 10*time.Millisecond))
	}
	return ctrl.Result{RequeueAfter: after}
}

// finalize deletes what k has applied, as its deletion policy says, and lets
// k go.
func (r *kustomizations) finalize(ctx context.Context, k *kustomization, u *unstructured.Unstructured) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(u, finalizer) {
		return ctrl.Result{}, nil
	}
	name := unitName(KustomizationKind.Kind, k.Namespace, k.Name)
	deletes, waits := false, false
	switch k.Spec.DeletionPolicy {
	case kustomizev1.DeletionPolicyDelete:
		deletes = true
	case kustomizev1.DeletionPolicyWaitForTermination:
		deletes, waits = true, true
	case kustomizev1.DeletionPolicyOrphan:
	default:
		deletes = k.Spec.Prune
	}
	if deletes && !k.Spec.Suspend {
		if leaving, err := r.kindIsLeaving(ctx); err != nil {
			return ctrl.Result{}, err
		} else if leaving {
			r.event(k, "", corev1.EventTypeWarning, "PruneHeld", "the CustomResourceDefinition of Kustomizations is being deleted; the objects were kept")
			deletes = false
		}
	}
	if deletes && !k.Spec.Suspend {
		done, err := r.remove(ctx, k, u, waits)
		if err != nil || !done {
			if err := r.tellRemoval(ctx, k, u, err); err != nil {
				return ctrl.Result{}, err
			}
			return r.next(k, engine.Outcome{}, errors.Join(err, errors.New("deletion goes on"))), nil
		}
	}
	without := u.DeepCopy()
	controllerutil.RemoveFinalizer(without, finalizer)
	if err := r.client.Patch(ctx, without, client.MergeFrom(u), client.FieldOwner(statusManager)); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("remove the finalizer: %w", err)
	}
	r.engine.Forget(name)
	r.refs.Forget(name)
	return ctrl.Result{}, nil
}

// tellRemoval says why a unit that is being deleted is still there.
func (r *kustomizations) tellRemoval(ctx context.Context, k *kustomization, u *unstructured.Unstructured, cause error) error {
	if cause == nil {
		return nil
	}
	c := report.Conditions{List: &k.Status.Conditions, Generation: k.Generation}
	waits := fault.Of(cause).Reason == report.Progressing
	if waits {
		c.Progress("Deletion in progress: " + cause.Error())
	} else {
		c.Retry(reasonOf(cause, meta.PruneFailedReason), cause.Error())
	}
	if err := r.statuses.write(ctx, u, &k.Status); err != nil || waits {
		return err
	}
	r.event(k, "", corev1.EventTypeWarning, meta.PruneFailedReason, cause.Error()+"; to leave the objects, set spec.deletionPolicy to Orphan")
	return nil
}

// remove deletes what k has applied. done is false while something that has
// to be waited for is left.
func (r *kustomizations) remove(ctx context.Context, k *kustomization, u *unstructured.Unstructured, waits bool) (done bool, err error) {
	session := r.refs.Begin(unitName(KustomizationKind.Kind, k.Namespace, k.Name))
	defer session.End()
	// Where the objects are, which they are and in whose name they go has to
	// be known. What else may be wrong with the spec does not count now.
	entries, err := inventoryOf(&k.Status)
	if err != nil {
		return false, err
	}
	if target, bad := r.o.target(k, session); bad == nil { // if not, what follows says why
		leave, ok := r.enter(target, k)
		if !ok {
			return false, nil
		}
		defer func() { leave(err) }()
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	if gone, err := r.identityGone(ctx, k, session); err != nil {
		return false, err
	} else if gone != "" {
		r.leave(k, entries, gone)
		return true, nil
	}
	unit, err := r.o.toUnit(k, session)
	if err != nil {
		r.log.Warn("deleting a unit that could not be applied", "unit", unit.Name, "err", err)
	}
	unit.Leaving = true
	if from, err := r.o.sourceName(k); err == nil {
		unit.Source = r.shelf.Get(from)
	}
	if unit.Source == nil {
		unit.Source = &source.Artifact{}
	}
	out, err := r.engine.Remove(ctx, unit)
	r.tell(k, k.Status.DeepCopy(), out, 0)
	if len(out.Inventory) != len(unit.Remembers) {
		k.Status.Inventory = toInventory(out.Inventory)
	}
	if err != nil && (!fault.Is(err, "PruneProtected") || out.Unfinished) {
		return false, err
	}
	for _, h := range out.Held {
		r.event(k, "", corev1.EventTypeWarning, "PruneHeld", h.Ref.String()+" was left: "+h.Why)
	}
	if waits && len(out.Inventory) > 0 && err == nil {
		return false, r.statuses.write(ctx, u, &k.Status)
	}
	return true, nil
}

// identityGone says what is gone of whom k acts as, and where: without that,
// nothing can be deleted in its name any more, today or later.
func (r *kustomizations) identityGone(ctx context.Context, k *kustomization, refs getter) (string, error) {
	if ref, ok := kubeconfigSecret(k); ok {
		switch _, found, err := refs.Get(ref); {
		case err != nil:
			return "", err
		case !found:
			return ref.String() + " does not exist", nil
		}
	}
	target, err := r.o.target(k, refs)
	if err != nil {
		return "", err
	}
	ns, name, ok := cluster.Account(target.User)
	if !ok {
		return "", nil
	}
	_, err = r.engine.Read(ctx, target, object.Ref{Kind: "ServiceAccount", Namespace: ns, Name: name}, "v1")
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("ServiceAccount %s/%s does not exist", ns, name), nil
	}
	return "", err
}

// leave says which objects are left because nobody may delete them any more.
func (r *kustomizations) leave(k *kustomization, entries []apply.Entry, why string) {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Ref.String()
	}
	if len(names) == 0 {
		return
	}
	r.log.Warn("deleted without pruning", "kind", KustomizationKind.Kind, "namespace", k.Namespace, "name", k.Name, "err", why, "left", names)
	r.event(k, "", corev1.EventTypeWarning, meta.PruneFailedReason, why+", so these were left: "+strings.Join(names, ", "))
}

// kindIsLeaving reports whether Kustomizations go because their definition
// does: then nobody has asked for the objects to go.
func (r *kustomizations) kindIsLeaving(ctx context.Context) (bool, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	err := r.live.Get(ctx, types.NamespacedName{Name: "kustomizations." + KustomizationKind.Group}, crd)
	if err != nil {
		return true, client.IgnoreNotFound(err)
	}
	return !crd.DeletionTimestamp.IsZero(), nil
}

// units returns every Kustomization as a unit, for the claims of the engine.
func (r *kustomizations) units(ctx context.Context) (units []engine.Unit, unknown []string) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(KustomizationKind)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, []string{"every Kustomization"}
	}
	return r.o.units(list.Items, r.refs.Peek(), r.shelf)
}

// units makes units of Kustomizations, as far as it can be told.
func (o Options) units(items []unstructured.Unstructured, refs getter, shelf *source.Shelf) (units []engine.Unit, unknown []string) {
	for i := range items {
		u := &items[i]
		name := unitName(KustomizationKind.Kind, u.GetNamespace(), u.GetName())
		if err := whole(u); err != nil {
			unknown = append(unknown, name)
			continue
		}
		k, err := decodeKustomization(u)
		if err != nil {
			// What can't be read has not been applied by this version; what
			// an older one has applied is in the inventory.
			k = &kustomization{}
			k.Namespace, k.Name = u.GetNamespace(), u.GetName()
			if err := decodeStatus(u, &k.Status); err != nil {
				unknown = append(unknown, name)
				continue
			}
		}
		unit, err := o.toUnit(k, refs)
		if err != nil {
			unit.Name = name
			if unit.Remembers == nil && k.Status.Inventory != nil {
				unknown = append(unknown, name)
				continue
			}
			if k.Spec.KubeConfig != nil && unit.Target.Cluster == "" {
				unit.Target.Cluster = "unknown" // not this one, whichever it is
			}
			units = append(units, unit)
			continue
		}
		if from, err := o.sourceName(k); err == nil {
			unit.Source = shelf.Get(from)
		}
		units = append(units, unit)
	}
	return units, unknown
}
