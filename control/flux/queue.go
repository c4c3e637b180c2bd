package flux

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"
)

// A queue is the way into a controller's work queue for those who are not the
// API server: the engine, the shelf of artifacts, the push hint.
type queue struct {
	mu      sync.Mutex
	to      priorityqueue.PriorityQueue[reconcile.Request]
	waiting []types.NamespacedName // added before the controller started
}

// What nothing waits for comes after what something does, and a little later,
// so that a commit is live before all the units that it does not touch have
// said that they know it.
const (
	lowPriority = -10
	lowDelay    = 100 * time.Millisecond
)

// source is what a controller watches to be fed by q.
func (q *queue) source() ctrlsource.Source {
	return ctrlsource.Func(func(_ context.Context, to workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		prioritized, ok := to.(priorityqueue.PriorityQueue[reconcile.Request])
		if !ok {
			return fmt.Errorf("the controller's queue is a %T, which knows no priorities", to)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.to = prioritized
		for _, k := range q.waiting {
			to.Add(reconcile.Request{NamespacedName: k})
		}
		q.waiting = nil
		return nil
	})
}

// add has the objects of those names reconciled. It does not block.
func (q *queue) add(keys ...types.NamespacedName) { q.put(priorityqueue.AddOpts{}, keys...) }

// addLow has the objects of those names reconciled when nothing else has to be.
func (q *queue) addLow(keys ...types.NamespacedName) {
	priority := lowPriority
	q.put(priorityqueue.AddOpts{Priority: &priority, After: lowDelay}, keys...)
}

func (q *queue) put(o priorityqueue.AddOpts, keys ...types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.to == nil {
		q.waiting = append(q.waiting, keys...)
		return
	}
	for _, k := range keys {
		q.to.AddWithOpts(o, reconcile.Request{NamespacedName: k})
	}
}
