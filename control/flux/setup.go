package flux

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/source"
)

// A served is the controllers, set up.
type served struct{ git *gitRepositories }

// Hint implements [control.Served].
func (d *served) Hint(url string) int { return d.git.keeper.Hint(url) }

// setup adds the controllers to mgr. They run until ctx is done.
func setup(ctx context.Context, mgr ctrl.Manager, o Options, p control.Parts) (*served, error) {
	ks := &kustomizations{
		o: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), statuses: newStatuses(mgr.GetClient(), statusManager),
		events: p.Events, log: p.Log, queue: &queue{},
	}
	gr := &gitRepositories{
		client: mgr.GetClient(), statuses: newStatuses(mgr.GetClient(), sourceManager), store: p.Store,
		events: p.Events, log: p.Log, queue: &queue{}, host: p.ArtifactHost,
	}
	ks.refs = lookup.New(ctx, p.Clientset, func(name string) {
		switch kind, key := keyOf(name); kind {
		case KustomizationKind.Kind:
			ks.queue.add(key)
		case GitRepositoryKind.Kind:
			gr.queue.add(key)
		}
	})
	gr.refs = ks.refs
	var err error
	ks.engine, err = engine.New(ctx, engine.Options{
		Config: mgr.GetConfig(), Log: p.Log, Artifact: gr.artifact, RenderMemory: p.RenderMemory, Renders: p.Renders, Renderers: p.Renderers,
		Workers: p.Concurrent, Elsewhere: max(1, p.Concurrent/4),
	})
	if err != nil {
		return nil, err
	}
	gr.keeper = source.NewKeeper(ctx, source.Options{
		Stores: []source.Store{p.Store}, Log: p.Log, Published: ks.engine.Published, Changed: gr.changed, Looked: gr.looked,
	})
	if err := gr.control(mgr); err != nil {
		return nil, fmt.Errorf("set up sources: %w", err)
	}
	if err := ks.control(mgr); err != nil {
		return nil, fmt.Errorf("set up kustomizations: %w", err)
	}
	return &served{git: gr}, nil
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

// control has GitRepositories put, and says which there are once that is known.
func (r *gitRepositories) control(mgr ctrl.Manager) error {
	const workers = 8 // each of which waits for nothing, or for a status to be stored
	err := ctrl.NewControllerManagedBy(mgr).Named("gitrepository").
		For(example(GitRepositoryKind), asked).
		WatchesRawSource(r.queue.source()).
		WithOptions(controllerOptions(mgr, "gitrepository", workers)).
		Complete(named(GitRepositoryKind.Kind, r))
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return nil // it ends
		}
		return r.expect(ctx)
	}))
}

// control has Kustomizations put, and starts the engine once all of them are.
func (r *kustomizations) control(mgr ctrl.Manager) error {
	const workers = 4 // each of which waits for nothing, or for a finalizer to be stored
	err := ctrl.NewControllerManagedBy(mgr).Named("kustomization").
		For(example(KustomizationKind), asked).
		WatchesRawSource(r.queue.source()).
		WithOptions(controllerOptions(mgr, "kustomization", workers)).
		Complete(named(KustomizationKind.Kind, r))
	if err != nil {
		return err
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return nil // it ends
		}
		if err := r.putAll(ctx); err != nil {
			return err
		}
		r.engine.Start(ctx)
		<-ctx.Done()
		return nil
	}))
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
