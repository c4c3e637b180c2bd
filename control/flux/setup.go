package flux

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/source"
)

// controllers are those of the dialect. They implement [control.Controllers].
type controllers struct {
	units   *kustomizations
	sources map[string]*sources // by kind
}

// Setup implements [control.Dialect].
func (o Options) Setup(_ context.Context, mgr ctrl.Manager, p control.Parts) (control.Controllers, error) {
	c := &controllers{
		units: &kustomizations{
			o: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), statuses: newStatuses(mgr.GetClient(), statusManager),
			engine: p.Engine, refs: p.Refs, events: p.Events, log: p.Log, queue: &control.Queue{},
		},
		sources: make(map[string]*sources),
	}
	// The workers wait for nothing, or for a status or a finalizer to be stored.
	for _, kind := range sourceTypes() {
		s := &sources{
			kind: kind, client: mgr.GetClient(), statuses: newStatuses(mgr.GetClient(), sourceManager), stores: p.Stores, keeper: p.Sources, refs: p.Refs,
			events: p.Events, log: p.Log, queue: &control.Queue{}, host: p.ArtifactHost,
		}
		c.sources[kind.Kind] = s
		if err := reconciles(mgr, strings.ToLower(kind.Kind), kind.GroupVersionKind, 8, s.queue, s); err != nil {
			return nil, fmt.Errorf("set up %s: %w", kind.plural, err)
		}
	}
	if err := reconciles(mgr, "kustomization", KustomizationKind, 4, c.units.queue, c.units); err != nil {
		return nil, fmt.Errorf("set up kustomizations: %w", err)
	}
	return c, nil
}

// Names implements [control.Controllers].
func (c *controllers) Names() []string {
	names := []string{KustomizationKind.Kind}
	for _, kind := range sourceTypes() {
		names = append(names, kind.Kind)
	}
	return names
}

// Load implements [control.Controllers].
func (c *controllers) Load(ctx context.Context) (sources []string, err error) {
	if err := c.units.putAll(ctx); err != nil {
		return nil, err
	}
	for _, kind := range sourceTypes() {
		names, err := c.sources[kind.Kind].names(ctx)
		if err != nil {
			return nil, err
		}
		sources = append(sources, names...)
	}
	return sources, nil
}

// Wake implements [control.Controllers].
func (c *controllers) Wake(name string) {
	kind, key := keyOf(name)
	if kind == KustomizationKind.Kind {
		c.units.queue.Add(key)
	} else if s := c.sources[kind]; s != nil {
		s.queue.Add(key)
	}
}

// of returns who works on a source. A name that the controllers are asked about is
// one of theirs.
func (c *controllers) of(name string) *sources {
	kind, _ := keyOf(name)
	return c.sources[kind]
}

// Looked implements [control.Controllers].
func (c *controllers) Looked(l source.Look) { c.of(l.Source).looked(l) }

// Touched implements [control.Controllers].
func (c *controllers) Touched(name, from, to string, units []string) bool {
	_, key := keyOf(name)
	return c.of(name).commits.add(key, from, to, units, time.Now())
}

// Missing implements [control.Controllers].
func (c *controllers) Missing(ctx context.Context, name string) error {
	return c.of(name).noArtifact(ctx, name)
}

// asked has what plumb writes itself, status and finalizers, wake nobody.
var asked = builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))

func controllerOptions(mgr ctrl.Manager, name string, workers int) controller.Options {
	log := mgr.GetLogger().WithValues("controller", name)
	return controller.Options{
		MaxConcurrentReconciles: workers,
		// Which object it is about is in the errors. To have it in a logger
		// for each run costs more than a run that finds nothing.
		LogConstructor: func(*reconcile.Request) logr.Logger { return log },
		// For what the API server can't be told or asked; a source's own
		// failures have times of their own.
		UsePriorityQueue: new(true),
		RateLimiter:      workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 15*time.Second),
	}
}

// reconciles has r work on the objects of a kind, and on those that the queue
// names.
func reconciles(mgr ctrl.Manager, name string, kind schema.GroupVersionKind, workers int, q *control.Queue, r reconcile.Reconciler) error {
	return ctrl.NewControllerManagedBy(mgr).Named(name).
		For(example(kind), asked).
		WatchesRawSource(q.Source()).
		WithOptions(controllerOptions(mgr, name, workers)).
		Complete(named(kind.Kind, r))
}

// named says in the errors of r which object they are about.
func named(kind string, r reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		result, err := r.Reconcile(ctx, req)
		if err != nil {
			err = fmt.Errorf("%s: %w", unitName(kind, req.Namespace, req.Name), err)
		}
		return result, err
	})
}

func example(kind schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	return u
}
