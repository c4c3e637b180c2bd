package shown

import (
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/argocd/cached"
)

// clusterTold is how often it is told how the cluster is.
const clusterTold = time.Minute

// tellCluster stores how the cluster is that plumb runs in.
func (b *Board) tellCluster(ctx context.Context) error {
	now := metav1.Now()
	c := cached.Cluster{Connection: cached.Connection{Status: cached.Successful, At: &now}, Cache: cached.ClusterCache{SyncedAt: &now}}
	if v, err := b.o.Server.ServerVersion(); err != nil {
		c.Connection.Status, c.Connection.Message = cached.Failed, err.Error()
	} else {
		c.ServerVersion = v.GitVersion
	}
	// Groups that can't be asked are left out; the others count.
	_, lists, err := b.o.Server.ServerGroupsAndResources()
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
	n, err := b.o.Applications(ctx)
	if err != nil {
		return err
	}
	c.Applications = int64(n)
	return b.o.Store.PutCluster(ctx, address.InCluster, c)
}
