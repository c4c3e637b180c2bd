package cluster

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

// ListWatch is what a reflector follows the metadata of some objects with. in
// is where they are, of client, and told hears how each attempt to list or to
// watch went.
func ListWatch(client metadata.Interface, in metadata.ResourceInterface, told func(error)) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := in.List(ctx, o)
			told(err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			w, err := in.Watch(ctx, o)
			told(err)
			return w, err
		},
	}, client)
}
