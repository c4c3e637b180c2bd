package control

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plumb.dev/plumb/source"
)

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "x", Name: name}
}

// What is added before the controller has started is not lost, and nothing is
// queued twice.
func TestWhatIsAddedToAQueueComesToTheController(t *testing.T) {
	var q Queue
	q.Add(key("a"), key("b"))
	q.Add()
	q.Add(key("a"))
	to := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer to.ShutDown()
	if err := q.Source().Start(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if len(q.waiting) != 0 {
		t.Errorf("%v wait for another start", q.waiting)
	}
	q.Add(key("b"), key("c"))
	q.Add(key("c"))
	var got []string
	for to.Len() > 0 {
		r, _ := to.Get()
		got = append(got, r.Name)
		to.Done(r)
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("it gets %v", got)
	}
	q.Add(key("a")) // it has been worked on
	if to.Len() != 1 {
		t.Error("it does not come again")
	}
}

// What is to be said of something goes to the dialect of its kind, and of a kind
// of nobody's to nobody.
func TestEachDialectHearsOfItsOwn(t *testing.T) {
	a, b := &listener{}, &listener{}
	c := &Control{byKind: map[string]Controllers{"Kustomization": a, "GitRepository": a, "Pair": b}, ctx: t.Context(), known: make(chan struct{})}
	close(c.known)
	c.wake("Kustomization/x/a")
	c.wake("Pair/x/b")
	c.wake("Application/x/c")
	c.wake("")
	c.looked(source.Look{Source: "GitRepository/x/d"})
	c.looked(source.Look{Source: "Bucket/x/d"})
	if !c.touched("GitRepository/x/d", "1", "2", nil) || c.touched("Bucket/x/d", "1", "2", nil) || c.touched("Pair/x/p", "1", "2", nil) {
		t.Error("what is recorded of a commit is another's")
	}
	if got := strings.Join(a.heard, ", "); got != "wake Kustomization/x/a, looked GitRepository/x/d, touched GitRepository/x/d" {
		t.Error(got)
	}
	if got := strings.Join(b.heard, ", "); got != "wake Pair/x/b, touched Pair/x/p" {
		t.Error(got)
	}
}

// What comes while dialects are set up is heard once all of them are known, or
// never, if the process ends before.
func TestADialectHearsOnceItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		a := &listener{}
		c := &Control{byKind: map[string]Controllers{}, ctx: ctx, known: make(chan struct{})}
		go c.wake("Pair/x/a")
		synctest.Wait()
		c.byKind["Pair"] = a
		close(c.known)
		synctest.Wait()
		if len(a.heard) != 1 {
			t.Errorf("it hears %q", a.heard)
		}
		c.known = make(chan struct{})
		go c.wake("Pair/x/b")
		end()
		synctest.Wait()
		if len(a.heard) != 1 {
			t.Errorf("it hears %q", a.heard)
		}
	})
}

// A listener is a dialect's controllers that hear, and do no more.
type listener struct {
	Controllers
	heard []string
}

func (l *listener) Wake(name string)     { l.heard = append(l.heard, "wake "+name) }
func (l *listener) Looked(k source.Look) { l.heard = append(l.heard, "looked "+k.Source) }
func (l *listener) Touched(name, _, _ string, _ []string) bool {
	l.heard = append(l.heard, "touched "+name)
	return strings.HasPrefix(name, "GitRepository/")
}

func TestASourceOfNoDialectHasNoArtifact(t *testing.T) {
	c := &Control{Parts: Parts{Sources: source.NewKeeper(t.Context(), source.Options{})}}
	if _, err := c.artifact(t.Context(), "Bucket/x/b"); err == nil || err.Error() != "Bucket/x/b: there are no sources of that kind" {
		t.Error(err)
	}
}
