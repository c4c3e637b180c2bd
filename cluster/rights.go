package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/fault"
)

// Rights tell what users of a cluster may do there, as its API server says.
//
// The question is put in the user's own name, by a SelfSubjectAccessReview: so
// the groups that the server gives the user count, and plumb needs no right
// but that to impersonate. An answer is kept for a minute, and dropped when a
// role or a binding changes, where plumb may watch those.
type Rights struct {
	ctx     context.Context
	cluster *Cluster
	changed func()

	mu       sync.Mutex
	watching bool
	answers  map[Question]*answer
	swept    time.Time
	moved    time.Time // when a role or binding changed last
	telling  bool
}

// A Question is whether a user may do something. Without a name it is about
// every object of the kind in the namespace.
type Question struct {
	User, Verb      string
	Resource        schema.GroupResource
	Namespace, Name string
}

type answer struct {
	done  chan struct{}
	until time.Time // with zero: it has not been given
	yes   bool
	err   error
}

const (
	keepAnswer = time.Minute
	// settleRights is how long after a change the server may still decide by
	// what was before it.
	settleRights  = 2 * time.Second
	reviewTimeout = 15 * time.Second
)

// NewRights returns the Rights on a cluster until ctx is done. changed is
// called some moments after roles or bindings have changed; it must not block.
func NewRights(ctx context.Context, c *Cluster, changed func()) *Rights {
	return &Rights{ctx: ctx, cluster: c, changed: changed, answers: make(map[Question]*answer)}
}

// May reports whether q's user may do it: to every object of the kind in the
// namespace, or to the named one. Plumb's own requests, which are those of no
// user, the server answers for itself. An error is the lack of an answer.
func (r *Rights) May(ctx context.Context, q Question) (bool, error) {
	if q.User == "" {
		return true, nil
	}
	r.watch()
	all := q
	all.Name = ""
	yes, err := r.ask(ctx, all)
	if err != nil || yes || q.Name == "" {
		return yes, err
	}
	return r.ask(ctx, q)
}

// ask gives the answer that is known, or waits for the server's with all who
// ask the same, for as long as ctx has time.
func (r *Rights) ask(ctx context.Context, q Question) (bool, error) {
	r.mu.Lock()
	now := time.Now()
	r.sweep(now)
	a := r.answers[q]
	if a == nil || !a.until.IsZero() && !now.Before(a.until) {
		a = &answer{done: make(chan struct{})}
		r.answers[q] = a
		go r.find(context.WithoutCancel(ctx), q, a)
	}
	r.mu.Unlock()
	select {
	case <-a.done:
		return a.yes, a.err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// find has the server answer q.
func (r *Rights) find(ctx context.Context, q Question, a *answer) {
	yes, err := r.review(ctx, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	a.yes, a.err, a.until = yes, err, time.Now().Add(keepAnswer)
	if time.Since(r.moved) < settleRights {
		a.until = time.Now().Add(settleRights)
	}
	if err != nil && r.answers[q] == a {
		delete(r.answers, q)
	}
	close(a.done)
}

// sweep drops old answers, now and then.
func (r *Rights) sweep(now time.Time) {
	if now.Sub(r.swept) < keepAnswer {
		return
	}
	r.swept = now
	for q, a := range r.answers {
		if !a.until.IsZero() && now.After(a.until) {
			delete(r.answers, q)
		}
	}
}

// review asks the server.
func (r *Rights) review(ctx context.Context, q Question) (bool, error) {
	failed := func(err error) error {
		return &fault.Error{
			Next: fault.Retry, Reason: fault.ReconciliationFailed,
			Err: fmt.Errorf("find out whether %s may %s %s: %w", q.User, q.Verb, q.Resource, err),
		}
	}
	as, err := r.cluster.As(q.User)
	if err != nil {
		return false, failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	yes, err := as.May(ctx, authorizationv1.ResourceAttributes{
		Verb: q.Verb, Group: q.Resource.Group, Resource: q.Resource.Resource, Namespace: q.Namespace, Name: q.Name,
	})
	if err != nil {
		return false, failed(err)
	}
	return yes, nil
}

// May asks the server whether the client's own user may do something. An error
// is the lack of an answer.
func (c *Client) May(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	review, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SelfSubjectAccessReview"},
		Spec:     authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
	})
	if err != nil {
		return false, err
	}
	got, err := c.dynamic.Resource(authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews")).
		Create(ctx, &unstructured.Unstructured{Object: review}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	var result authorizationv1.SelfSubjectAccessReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(got.Object, &result); err != nil {
		return false, err
	}
	return result.Status.Allowed, nil
}

// watch makes sure that changes of roles and bindings are seen, from the first
// question on.
func (r *Rights) watch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watching {
		return
	}
	r.watching = true
	self, err := r.cluster.As("")
	if err != nil {
		return // the question that follows says so
	}
	for _, resource := range []string{"roles", "rolebindings", "clusterroles", "clusterrolebindings"} {
		go r.follow(self, schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: resource})
	}
}

func (r *Rights) follow(self *Client, resource schema.GroupVersionResource) {
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	// Who may not see them, as on somebody else's cluster, has answers that
	// are a minute old at most.
	allowed := func(err error) {
		if apierrors.IsForbidden(err) {
			stop()
		}
	}
	lw := ListWatch(self.metadata, self.metadata.Resource(resource), allowed)
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, rightsStore{r}, cache.ReflectorOptions{Name: "rights"}).RunWithContext(ctx)
}

// rightsStore is a store that keeps nothing.
type rightsStore struct{ r *Rights }

func (s rightsStore) Add(any) error               { s.r.drop(); return nil }
func (s rightsStore) Update(any) error            { s.r.drop(); return nil }
func (s rightsStore) Delete(any) error            { s.r.drop(); return nil }
func (s rightsStore) Replace([]any, string) error { s.r.drop(); return nil }
func (s rightsStore) Resync() error               { return nil }

// drop forgets every answer, and tells of it once things have settled.
func (r *Rights) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.answers)
	r.moved = time.Now()
	if r.telling {
		return
	}
	r.telling = true
	time.AfterFunc(settleRights, func() {
		r.mu.Lock()
		r.telling = false
		clear(r.answers) // given meanwhile, they may be from before
		r.mu.Unlock()
		if r.ctx.Err() == nil {
			r.changed()
		}
	})
}
