package argocd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// controllers are those of the dialect. They implement [control.Controllers].
type controllers struct{ units *applications }

// Setup implements [control.Dialect].
func (o *Options) Setup(ctx context.Context, mgr manager.Manager, p control.Parts) (control.Controllers, error) {
	r := &applications{
		o: o, client: mgr.GetClient(), live: mgr.GetAPIReader(), engine: p.Engine, sources: newShared(p.Sources, p.Stores),
		events: p.Events, log: p.Log, queue: &control.Queue{},
	}
	if o.Namespace == "" {
		return &controllers{r}, nil
	}
	r.orphans = &orphans{
		ctx: ctx, engine: p.Engine, log: p.Log, at: make(map[string]*field), of: make(map[types.NamespacedName]*search),
		changed: func(key types.NamespacedName) {
			r.shown.Redraw(key)
			r.queue.Add(key)
		},
	}
	if err := r.show(ctx, mgr, p); err != nil {
		return nil, err
	}
	var err error
	r.around, err = watchSurroundings(ctx, mgr, p, o, func() { r.queue.Add(surroundingsKey) })
	if err != nil {
		return nil, err
	}
	log := mgr.GetLogger().WithValues("controller", "application")
	err = ctrl.NewControllerManagedBy(mgr).Named("application").
		For(example(), builder.WithPredicates(predicate.Funcs{
			// What plumb has written itself, it knows of.
			UpdateFunc: func(e event.UpdateEvent) bool { return !r.latest.Heard(e.ObjectNew) },
		})).
		WatchesRawSource(r.queue.Source()).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 4, // they wait for nothing but a status to be stored
			LogConstructor:          func(*reconcile.Request) logr.Logger { return log },
			UsePriorityQueue:        new(true),
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](20*time.Millisecond, 15*time.Second),
		}).
		Complete(reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			result, err := r.Reconcile(ctx, req)
			if err != nil && req.NamespacedName != surroundingsKey {
				err = fmt.Errorf("%s: %w", unitName(req.NamespacedName), err)
			}
			return result, err
		}))
	if err != nil {
		return nil, fmt.Errorf("set up applications: %w", err)
	}
	return &controllers{r}, nil
}

// WebhookSecrets implements [control.Pushable].
func (o *Options) WebhookSecrets() []lookup.Ref {
	if o.Namespace == "" {
		return nil
	}
	return []lookup.Ref{{Kind: lookup.Secret, Namespace: o.Namespace, Name: "argocd-secret"}}
}

// Names implements [control.Controllers].
func (c *controllers) Names() []string {
	return []string{api.ApplicationKind.Kind, sourceName, settingsName}
}

// Load implements [control.Controllers]. The sources are put with those who want
// them.
func (c *controllers) Load(ctx context.Context) ([]string, error) {
	if c.units.o.Namespace == "" {
		return nil, nil
	}
	c.units.queue.Add(surroundingsKey)
	c.units.around.await(ctx)
	return nil, c.units.putAll(ctx)
}

// Wake implements [control.Controllers].
func (c *controllers) Wake(name string) {
	if key, ok := keyOf(name); ok {
		c.units.queue.Add(key)
		return
	}
	if strings.HasPrefix(name, settingsName+"/") {
		c.units.queue.Add(surroundingsKey)
		return
	}
	c.units.woken(name)
}

// Looked implements [control.Controllers].
func (c *controllers) Looked(source.Look) {}

// Touched implements [control.Controllers]. Each Application says itself which
// revision it was compared with.
func (c *controllers) Touched(string, string, string, []string) bool { return false }

// Missing implements [control.Controllers].
func (c *controllers) Missing(_ context.Context, name string) error {
	if s, ok := c.units.sources.keeper.State(name); ok && s.Err != nil && !s.Pending {
		return s.Err
	}
	return unknownSource(name)
}

// sourceTypes says what the sources of a unit are made of.
func (r *applications) sourceTypes(a *application, u engine.Unit) (types []string) {
	for i, s := range a.sources() {
		t := "Directory"
		switch {
		case s.Helm != nil || s.Chart != "":
			t = "Helm"
		case s.Kustomize != nil:
			t = "Kustomize"
		case s.Directory == nil && i < len(u.Sources):
			t = typeOf(r.sources.keeper.Get(u.Sources[i]), s.Path)
		}
		types = append(types, t)
	}
	return types
}

// typeOf is what a directory is by the files in it.
func typeOf(a *source.Artifact, dir string) string {
	if a != nil {
		if kind, err := kindOf(a.Tree, dir); err == nil && typeNames[kind] != "" {
			return typeNames[kind]
		}
	}
	return "Directory"
}

// typeNames are what Argo CD calls kinds of directories.
var typeNames = map[string]string{"kustomize": "Kustomize", "helm": "Helm"}

func kindOf(t tree.Tree, dir string) (string, error) {
	at, err := tree.Clean(dir)
	if err == nil {
		at, err = tree.Resolve(t, at)
	}
	if err != nil {
		return "", err
	}
	return detect.Found(t, at, nil)
}
