package flux

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

// Parts are what the controllers are made of.
type Parts struct {
	Store        *git.Store
	Clientset    kubernetes.Interface
	Events       record.EventRecorder
	Log          *slog.Logger
	RenderMemory int64 // bytes
	Renders      *render.Folder
	Concurrent   int // units at once
	ArtifactHost string
}

// Indexes of Kustomizations and GitRepositories.
const (
	bySource     = "source"
	byDependency = "dependsOn"
	byInclude    = "include"
)

// A Dialect is the controllers, set up.
type Dialect struct{ git *gitRepositories }

// Hint has the sources with the given URL polled now, or all of them if there
// is none. It returns how many they are.
func (d *Dialect) Hint(url string) int { return d.git.Hint(url) }

// Setup adds the controllers to mgr. They run until ctx is done.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options, p Parts) (*Dialect, error) {
	shelf := &source.Shelf{}
	ks := &kustomizations{
		o: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), statuses: newStatuses(mgr.GetClient(), statusManager), shelf: shelf,
		events: p.Events, log: p.Log, queue: &queue{},
		attempts: make(map[types.NamespacedName]attempt), waiting: make(map[types.NamespacedName]time.Time), told: make(map[types.NamespacedName]time.Time),
	}
	gr := &gitRepositories{
		o: o, client: mgr.GetClient(), statuses: newStatuses(mgr.GetClient(), sourceManager), store: p.Store, shelf: shelf,
		events: p.Events, log: p.Log, queue: &queue{}, polls: make(map[types.NamespacedName]*poll), host: p.ArtifactHost,
	}
	wake := func(name string) {
		switch kind, key := keyOf(name); kind {
		case KustomizationKind.Kind:
			ks.calm.stir(key)
			ks.queue.add(key)
		case GitRepositoryKind.Kind:
			gr.queue.add(key)
		}
	}
	ks.refs = lookup.New(ctx, p.Clientset, wake)
	gr.refs = ks.refs
	// A server that does not answer holds one of these, and costs nothing.
	polls := max(p.Concurrent, 64)
	gr.servers = newShare(polls, 0, gr.queue.add)
	ks.servers = newShare(p.Concurrent, max(1, p.Concurrent/4), ks.queue.add)
	var err error
	ks.engine, err = engine.New(ctx, engine.Options{
		Config: mgr.GetConfig(), Log: p.Log, Wake: wake, Units: ks.units, RenderMemory: p.RenderMemory, Renders: p.Renders,
	})
	if err != nil {
		return nil, err
	}
	if err := index(ctx, mgr); err != nil {
		return nil, err
	}
	gr.published = func(name string, before *source.Artifact) {
		var touched, untouched []types.NamespacedName
		a := shelf.Get(name)
		var diff *tree.Diff
		if a != nil && before != nil {
			if d, ok := tree.Compare(before.Tree, a.Tree); ok {
				diff = &d
			}
		}
		for _, u := range listBy(ctx, mgr.GetClient(), true, bySource, name, p.Log) {
			if a != nil && ks.engine.Stands(unitName(KustomizationKind.Kind, u.Namespace, u.Name), a.Tree, diff) {
				untouched = append(untouched, u)
			} else {
				touched = append(touched, u)
			}
		}
		if len(touched) > p.Concurrent {
			ks.calm.crowd(touched)
		}
		ks.queue.add(touched...)
		ks.queue.addLow(untouched...)
		for _, u := range listBy(ctx, mgr.GetClient(), false, byInclude, name, p.Log) {
			gr.queue.add(u)
		}
	}
	opts := func(name string, n int) controller.Options {
		log := mgr.GetLogger().WithValues("controller", name)
		return controller.Options{
			MaxConcurrentReconciles: n,
			// Which object it is about is in the errors. To have it in a logger
			// for each run costs more than a run that finds nothing.
			LogConstructor: func(*reconcile.Request) logr.Logger { return log },
			// For what the API server can't be told or asked; a unit's own
			// failures have times of their own.
			UsePriorityQueue: new(true),
			RateLimiter:      workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 15*time.Second),
		}
	}
	// What plumb writes itself, status and finalizers, need not wake it.
	asked := builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
	err = ctrl.NewControllerManagedBy(mgr).Named("gitrepository").
		For(example(false), asked).
		WatchesRawSource(gr.queue.source()).
		WithOptions(opts("gitrepository", polls)).
		Complete(named(GitRepositoryKind.Kind, gr))
	if err != nil {
		return nil, fmt.Errorf("set up sources: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).Named("kustomization").
		For(example(true), asked).
		Watches(example(true), handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, dep client.Object) []reconcile.Request {
			if u, ok := dep.(*unstructured.Unstructured); ok {
				ks.statuses.newest(u) // lets go of what the cache has now
			}
			var out []reconcile.Request
			name := unitName(KustomizationKind.Kind, dep.GetNamespace(), dep.GetName())
			for _, key := range listBy(ctx, mgr.GetClient(), true, byDependency, name, p.Log) {
				ks.calm.stir(key)
				out = append(out, reconcile.Request{NamespacedName: key})
			}
			return out
		})).
		WatchesRawSource(ks.queue.source()).
		WithOptions(opts("kustomization", p.Concurrent)).
		Complete(named(KustomizationKind.Kind, ks))
	if err != nil {
		return nil, fmt.Errorf("set up kustomizations: %w", err)
	}
	return &Dialect{git: gr}, nil
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

func example(kustomization bool) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if kustomization {
		u.SetGroupVersionKind(KustomizationKind)
	} else {
		u.SetGroupVersionKind(GitRepositoryKind)
	}
	return u
}

// index lets those be found who refer to an object, also where the rest of
// their spec is not valid.
func index(ctx context.Context, mgr ctrl.Manager) error {
	in := mgr.GetFieldIndexer()
	err := in.IndexField(ctx, example(true), bySource, func(obj client.Object) []string {
		u := obj.(*unstructured.Unstructured)
		ref, _, _ := unstructured.NestedStringMap(u.Object, "spec", "sourceRef")
		ns := ref["namespace"]
		if ns == "" {
			ns = u.GetNamespace()
		}
		return []string{unitName(ref["kind"], ns, ref["name"])}
	})
	if err != nil {
		return err
	}
	err = in.IndexField(ctx, example(true), byDependency, func(obj client.Object) []string {
		var out []string
		for _, key := range dependenciesOf(obj.(*unstructured.Unstructured)) {
			out = append(out, unitName(KustomizationKind.Kind, key.Namespace, key.Name))
		}
		return out
	})
	if err != nil {
		return err
	}
	return in.IndexField(ctx, example(false), byInclude, func(obj client.Object) []string {
		u := obj.(*unstructured.Unstructured)
		var out []string
		for _, name := range includedBy(u) {
			out = append(out, unitName(GitRepositoryKind.Kind, u.GetNamespace(), name))
		}
		return out
	})
}

func listBy(ctx context.Context, c client.Client, kustomizations bool, field, value string, log *slog.Logger) []types.NamespacedName {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(example(kustomizations).GroupVersionKind())
	// Only names are read, of what may be all there are.
	if err := c.List(ctx, list, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy); err != nil {
		log.Error("list who refers to an object", "field", field, "value", value, "err", err)
		return nil
	}
	keys := make([]types.NamespacedName, len(list.Items))
	for i := range list.Items {
		keys[i] = client.ObjectKeyFromObject(&list.Items[i])
	}
	return keys
}
