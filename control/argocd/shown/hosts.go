package shown

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/object"
)

// hostFor is how long it stands what is known of a host.
const hostFor = time.Minute

// A host is what was read of a Node and its Pods.
type host struct {
	read time.Time
	own  map[string]bool // UIDs of the Application's Pods that were there then
	node *corev1.Node    // nil: it could not be read
	pods []corev1.Pod
}

// hostsOf returns how much of their hosts some Pods use. What the unit's identity
// may not read is left out.
func (p *painter) hostsOf(ctx context.Context, client *cluster.Client, pods map[string]map[string]bool) (all []cached.Host) {
	now := make(map[string]host, len(pods))
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		h, ok := p.hosts[name]
		if !ok || time.Since(h.read) > hostFor || !maps.Equal(h.own, pods[name]) {
			h = readHost(ctx, client, name)
			h.own = pods[name]
		}
		now[name] = h
		if h.node != nil {
			all = append(all, cached.HostOf(h.node, h.pods, pods[name]))
		}
	}
	p.hosts = now
	return all
}

func readHost(ctx context.Context, client *cluster.Client, name string) host {
	h := host{read: time.Now()}
	o, err := client.Get(ctx, object.Ref{Kind: "Node", Name: name}, "v1")
	if err != nil {
		return h
	}
	node := &corev1.Node{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, node); err != nil {
		return h
	}
	r, err := client.Resource(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "")
	if err != nil {
		return h
	}
	pods, err := r.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + name})
	if err != nil {
		return h
	}
	h.node, h.pods = node, cached.PodsOf(pods)
	return h
}
