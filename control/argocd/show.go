package argocd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/watch"
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
	r.shown = &shown{
		orphans: r.orphans, store: cached.Open(o), engine: p.Engine, log: p.Log, ctx: ctx, names: r.o.trackingName, wake: r.queue.Add,
		of: make(map[types.NamespacedName]*sight), children: make(map[string]*watch.Children),
	}
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		defer r.shown.store.Close()
		return r.shown.run(ctx, func(k types.NamespacedName) bool { return r.exists(ctx, k) }, r.o.called, func(ctx context.Context) error {
			return r.tellCluster(ctx, p.Clientset.Discovery())
		})
	}))
}

func (r *applications) exists(ctx context.Context, key types.NamespacedName) bool {
	if !r.o.serves(key.Namespace, r.around.now()) {
		return false
	}
	_, err := r.newest(ctx, key)
	return err == nil
}

// clustersTold is how often it is told how clusters are.
const clustersTold = time.Minute

// tellCluster stores how the cluster is that plumb runs in.
func (r *applications) tellCluster(ctx context.Context, server discovery.DiscoveryInterface) error {
	now := metav1.Now()
	c := cached.Cluster{Connection: cached.Connection{Status: cached.Successful, At: &now}, Cache: cached.ClusterCache{SyncedAt: &now}}
	if v, err := server.ServerVersion(); err != nil {
		c.Connection.Status, c.Connection.Message = cached.Failed, err.Error()
	} else {
		c.ServerVersion = v.GitVersion
	}
	// Groups that can't be asked are left out; the others count.
	_, lists, err := server.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		c.Connection.Status, c.Connection.Message = cached.Failed, err.Error()
	}
	for _, l := range lists {
		c.APIVersions = append(c.APIVersions, l.GroupVersion)
		for _, x := range l.APIResources {
			if strings.Contains(x.Name, "/") {
				continue // it is a part of another
			}
			c.Cache.APIs++
			c.APIVersions = append(c.APIVersions, l.GroupVersion+"/"+x.Kind)
		}
	}
	slices.Sort(c.APIVersions)
	c.APIVersions = slices.Compact(c.APIVersions)
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(api.ApplicationKind)
	if err := r.client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Applications: %w", err)
	}
	for i := range all.Items {
		server, _, _ := unstructured.NestedString(all.Items[i].Object, "spec", "destination", "server")
		name, _, _ := unstructured.NestedString(all.Items[i].Object, "spec", "destination", "name")
		if server == address.InCluster || name == settings.InClusterName {
			c.Applications++
		}
	}
	return r.shown.store.PutCluster(ctx, address.InCluster, c)
}
