package argocd

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/control/argocd/shown"
)

// show has Argo CD's own server shown what people look at, where there is a Redis
// for that.
func (r *applications) show(ctx context.Context, mgr manager.Manager, p control.Parts) error {
	if r.o.Redis.Addr == "" {
		return nil
	}
	o := cached.Options{Addr: r.o.Redis.Addr}
	if err := o.FromEnvironment(); err != nil {
		return fmt.Errorf("--argocd-redis: %w", err)
	}
	if r.o.Redis.TLS {
		var err error
		if o.TLS, err = cached.Trust(r.o.Redis.CA); err != nil {
			return fmt.Errorf("--argocd-redis-ca: %w", err)
		}
	}
	store := cached.Open(o)
	r.shown = shown.New(ctx, shown.Options{
		Store: store, Engine: p.Engine, Server: p.Clientset.Discovery(), Log: p.Log,
		Name: r.o.trackingName, Key: r.o.called, Exists: r.exists, Applications: r.local, Wake: r.queue.Add,
		Selector: selectorOf, Sensitive: sensitiveTo, Orphans: r.orphans.nodes,
	})
	// As a Runnable of the manager, only the process that works does it.
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer store.Close()
		r.shown.Run(ctx)
		return nil
	}))
}

func (r *applications) exists(ctx context.Context, key types.NamespacedName) bool {
	if !r.o.serves(key.Namespace, r.around.now()) {
		return false
	}
	_, err := r.newest(ctx, key)
	return err == nil
}

// local is how many Applications go to the cluster that plumb runs in.
func (r *applications) local(ctx context.Context) (n int, err error) {
	all, err := r.all(ctx)
	if err != nil {
		return 0, err
	}
	for i := range all {
		if to := decode(&all[i]).Spec.Destination; to.Server == address.InCluster || to.Name == settings.InClusterName {
			n++
		}
	}
	return n, nil
}
