package control

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"
)

// A Queue is the way into a controller's work queue for those who are not the
// API server: the keeper of sources, and what reads Secrets for them.
type Queue struct {
	mu      sync.Mutex
	to      workqueue.TypedRateLimitingInterface[reconcile.Request]
	waiting []types.NamespacedName // added before the controller started
}

// Source is what a controller watches to be fed by q.
func (q *Queue) Source() ctrlsource.Source {
	return ctrlsource.Func(func(_ context.Context, to workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.to = to
		for _, k := range q.waiting {
			to.Add(reconcile.Request{NamespacedName: k})
		}
		q.waiting = nil
		return nil
	})
}

// Add has the objects of those names reconciled. It does not block.
func (q *Queue) Add(keys ...types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.to == nil {
		q.waiting = append(q.waiting, keys...)
		return
	}
	for _, k := range keys {
		q.to.Add(reconcile.Request{NamespacedName: k})
	}
}
