// Package chaos_test changes everything at once, on a slow and faulty way to
// the API server, and looks at what is there when it has become quiet. All
// intervals are an hour, so what was missed stays missed.
package chaos_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

var (
	seed  = flag.Uint64("seed", 0, "where the choices begin; 0: elsewhere each time")
	lasts = flag.Duration("for", 30*time.Second, "how long the chaos lasts")
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

const units = 6

func TestAllIsTrueAfterChaos(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("go test ./test/chaos -seed %d -for %s", *seed, *lasts)
	way := &way{}
	w := pt.On(t, kubetest.Private(t, "--api-only").Through(t, way.pass))
	c := &chaos{
		t: t, w: w, ns: w.Namespace(t), repo: w.Git.Repo(t, "all"),
		files: map[string]string{}, vars: map[int]string{}, drifts: map[string][]time.Time{},
	}
	for i := range units {
		c.put(file(i, "x", "base"), "0")
		c.put(file(i, "y", "base"), "0")
		c.vary(i, "0")
	}
	c.repo.Commit(t, c.manifests(), "first")
	w.Source(t, c.ns, "all", c.repo)
	all := make([]*unit, units)
	for i := range all {
		all[i] = &unit{chaos: c, n: i, dir: "x", mark: "0"}
		all[i].create()
	}
	c.agree(all)

	r := rand.New(rand.NewPCG(*seed, 0))
	rounds := 0
	for end := time.Now().Add(*lasts); time.Now().Before(end); rounds++ {
		way.mood.Store(int32(r.IntN(3)))
		var busy sync.WaitGroup
		some := func(chance int, do func(*rand.Rand)) {
			if r.IntN(100) >= chance {
				return
			}
			r := rand.New(rand.NewPCG(*seed, r.Uint64()))
			busy.Go(func() {
				for range 1 + r.IntN(4) {
					time.Sleep(rand.N(60 * time.Millisecond))
					do(r)
				}
			})
		}
		for _, u := range all {
			some(60, u.change)
		}
		some(40, c.commit)
		some(40, c.drift)
		some(30, func(r *rand.Rand) { c.vary(r.IntN(units), fmt.Sprint(r.IntN(1000))) })
		if r.IntN(10) == 0 {
			time.Sleep(rand.N(100 * time.Millisecond))
			w.Plumb.Kill(syscall.SIGKILL)
			w.Plumb.Start()
		}
		busy.Wait()
		way.mood.CompareAndSwap(faulty, slow)
		for _, u := range all {
			u.again()
		}
		c.agree(all)
	}
	t.Logf("%d rounds, %d commits, %d edits of units; %d requests failed on the way", rounds, c.commits, c.edits.Load(), way.failed.Load())
}

// A way is what is between plumb and the API server.
type way struct {
	mood   atomic.Int32
	failed atomic.Int64
}

// Moods of a way.
const (
	good int32 = iota
	slow
	faulty
)

var errWay = errors.New("the way to the API server is bad")

func (w *way) pass(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	mood, luck := w.mood.Load(), rand.IntN(100)
	w.wait(4, 50*time.Millisecond)
	if mood == faulty && luck < 3 { // it is not heard
		w.failed.Add(1)
		return nil, errWay
	}
	resp, err := next.RoundTrip(r)
	switch {
	case err != nil:
	case r.URL.Query().Has("watch"):
		resp.Body = &slowBody{resp.Body, w}
	case mood == faulty && luck < 6: // it is done, and the answer is lost
		w.failed.Add(1)
		resp.Body.Close()
		return nil, errWay
	default:
		w.wait(4, 50*time.Millisecond)
	}
	return resp, err
}

// wait takes time once in n times, if the way is not good.
func (w *way) wait(n int, most time.Duration) {
	if w.mood.Load() != good && rand.IntN(n) == 0 {
		time.Sleep(rand.N(most))
	}
}

// slowBody is a watch that is late at times.
type slowBody struct {
	io.ReadCloser
	way *way
}

func (s *slowBody) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	s.way.wait(4, 200*time.Millisecond)
	return n, err
}

// chaos is what Git, the Secrets and the units should come to.
type chaos struct {
	t    *testing.T
	w    *pt.World
	ns   string
	repo *gittest.Repository

	mu      sync.Mutex
	files   map[string]string // the value by file
	vars    map[int]string
	drifts  map[string][]time.Time // by object
	commits int
	edits   atomic.Int64
}

// file is where the ConfigMap of that name is that a unit has, as it is in one
// of two folders.
func file(unit int, dir, name string) string { return fmt.Sprintf("u%d/%s/%s.yaml", unit, dir, name) }

func (c *chaos) put(file, value string) { c.files[file] = value }

// manifests returns all files.
func (c *chaos) manifests() map[string]string {
	out := map[string]string{}
	for f, value := range c.files {
		out[f] = pt.ConfigMap(objectOf(f), "value", value, "file", f, "var", "${VAR}")
	}
	return out
}

// objectOf names the object in a file, which is the same in both folders.
func objectOf(file string) string {
	parts := strings.Split(strings.TrimSuffix(file, ".yaml"), "/")
	return parts[0] + "-" + parts[2]
}

// commit changes, adds or removes a file. The one named base stays, so that no
// unit loses so much that pruning is held.
func (c *chaos) commit(r *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := file(r.IntN(units), []string{"x", "y"}[r.IntN(2)], []string{"base", "one", "two"}[r.IntN(3)])
	c.commits++
	if _, ok := c.files[f]; ok && !strings.HasSuffix(f, "base.yaml") && r.IntN(2) == 0 {
		delete(c.files, f)
		c.repo.Remove(c.t, "remove "+f, f)
	} else {
		c.put(f, fmt.Sprint(r.IntN(1000)))
		c.repo.Commit(c.t, map[string]string{f: c.manifests()[f]}, "change "+f)
	}
	// As a webhook, which may find nobody; but then a start asks by itself.
	err := child.Hint(c.t.Context(), c.w.Plumb.Hint, c.repo.URL())
	if unheard := (*url.Error)(nil); !errors.As(err, &unheard) {
		c.check(err)
	}
}

// vary changes a Secret.
func (c *chaos) vary(i int, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: fmt.Sprintf("vars-%d", i)}, StringData: map[string]string{"VAR": "v" + value}}
	err := c.w.Client.Update(c.t.Context(), s)
	if client.IgnoreNotFound(err) == nil && err != nil {
		err = c.w.Client.Create(c.t.Context(), s)
	}
	c.check(err)
	c.vars[i] = "v" + value
}

// drift edits or deletes an object.
func (c *chaos) drift(r *rand.Rand) {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("v1")
	o.SetKind("ConfigMap")
	o.SetNamespace(c.ns)
	o.SetName(fmt.Sprintf("u%d-%s", r.IntN(units), []string{"base", "one", "two"}[r.IntN(3)]))
	now := time.Now()
	was := slices.DeleteFunc(c.drifts[o.GetName()], func(t time.Time) bool { return now.Sub(t) > time.Minute })
	if len(was) == 4 { // more would be a fight
		return
	}
	c.drifts[o.GetName()] = append(was, now)
	if r.IntN(3) == 0 {
		c.check(client.IgnoreNotFound(c.w.Client.Delete(c.t.Context(), o)))
		return
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"data":{"value":"by hand"}}`))
	c.check(client.IgnoreNotFound(c.w.Client.Patch(c.t.Context(), o, patch, client.FieldOwner("somebody"))))
}

func (c *chaos) check(err error) {
	if err != nil {
		c.t.Error(err)
	}
}

// A unit is a Kustomization, as it should be.
type unit struct {
	*chaos
	n         int
	dir, mark string
	suspended bool
	deleted   bool
	asked     string // the last request
}

func (u *unit) name() string { return fmt.Sprintf("u%d", u.n) }

// depends reports whether it depends on the unit before it.
func (u *unit) depends() bool { return u.n%3 != 0 }

func (u *unit) create() {
	o := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"interval": "1h", "retryInterval": "1s", "prune": true, "path": fmt.Sprintf("./u%d/%s", u.n, u.dir),
			"sourceRef":      map[string]any{"kind": "GitRepository", "name": "all"},
			"commonMetadata": map[string]any{"labels": map[string]any{"mark": "m" + u.mark}},
			"postBuild":      map[string]any{"substituteFrom": []any{map[string]any{"kind": "Secret", "name": fmt.Sprintf("vars-%d", u.n)}}},
		},
	}}
	if u.depends() {
		u.check(unstructured.SetNestedSlice(o.Object, []any{map[string]any{"name": fmt.Sprintf("u%d", u.n-1)}}, "spec", "dependsOn"))
	}
	u.identify(o)
	u.check(u.w.Client.Create(u.t.Context(), o))
	u.asked = ""
}

func (u *unit) identify(o *unstructured.Unstructured) {
	o.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	o.SetKind("Kustomization")
	o.SetNamespace(u.ns)
	o.SetName(u.name())
}

func (u *unit) patch(format string, args ...any) {
	o := &unstructured.Unstructured{}
	u.identify(o)
	u.check(u.w.Client.Patch(u.t.Context(), o, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...))))
}

func (u *unit) suspend(yes bool) {
	u.patch(`{"spec":{"suspend":%t}}`, yes)
	u.suspended = yes
}

// change makes one change of the unit.
func (u *unit) change(r *rand.Rand) {
	if u.deleted {
		return
	}
	u.edits.Add(1)
	switch r.IntN(10) {
	case 0:
		u.suspend(!u.suspended)
	case 1:
		if u.suspended { // its objects would stay
			return
		}
		o := &unstructured.Unstructured{}
		u.identify(o)
		u.check(u.w.Client.Delete(u.t.Context(), o))
		u.deleted = true
	case 2, 3, 4:
		u.asked = fmt.Sprint(r.IntN(1_000_000))
		u.patch(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, u.asked)
	case 5, 6:
		u.mark = fmt.Sprint(r.IntN(1000))
		u.patch(`{"spec":{"commonMetadata":{"labels":{"mark":"m%s"}}}}`, u.mark)
	default:
		u.dir = []string{"x", "y"}[r.IntN(2)]
		u.patch(`{"spec":{"path":"./u%d/%s"}}`, u.n, u.dir)
	}
}

// again creates the unit if it was deleted.
func (u *unit) again() {
	if !u.deleted {
		return
	}
	kubetest.Eventually(u.t, pt.Patience, func() error {
		u.w.Plumb.Start() // where it does not run
		_, err := u.w.Object(u.t.Context(), pt.Kustomization, u.ns, u.name())
		if err == nil {
			return fmt.Errorf("%s is still there", u.name())
		}
		return client.IgnoreNotFound(err)
	})
	if left := u.live(u.t.Context()); len(left) > 0 {
		u.t.Errorf("%s is gone and has left %v", u.name(), slices.Sorted(maps.Keys(left)))
	}
	u.deleted = false
	u.create()
}

// content is what is compared of an object.
type content struct {
	Data map[string]string
	Mark string
}

// live returns the objects that have the unit's label.
func (u *unit) live(ctx context.Context) map[string]content {
	var list corev1.ConfigMapList
	u.check(u.w.Client.List(ctx, &list, client.InNamespace(u.ns), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": u.name()}))
	out := map[string]content{}
	for _, o := range list.Items {
		out[o.Name] = content{o.Data, o.Labels["mark"]}
	}
	return out
}

// want returns the objects that it should have.
func (u *unit) want() map[string]content {
	out := map[string]content{}
	for f, value := range u.files {
		if strings.HasPrefix(f, fmt.Sprintf("u%d/%s/", u.n, u.dir)) {
			out[objectOf(f)] = content{map[string]string{"value": value, "file": f, "var": u.vars[u.n]}, "m" + u.mark}
		}
	}
	return out
}

// agree waits until all is as it should be, and is said to be.
func (c *chaos) agree(all []*unit) {
	c.t.Helper()
	head := c.repo.Head(c.t, "main")
	held := false
	for _, u := range all {
		if held = u.suspended || held && u.depends(); held {
			continue
		}
		kubetest.Eventually(c.t, pt.Patience, func() error {
			c.w.Plumb.Start() // where it does not run
			if diff := cmp.Diff(u.want(), u.live(c.t.Context())); diff != "" {
				return fmt.Errorf("%s: -want +got:\n%s", u.name(), diff)
			}
			s, generation, err := c.w.StatusOf(c.t.Context(), pt.Kustomization, c.ns, u.name())
			if err != nil {
				return err
			}
			if r := s.Condition("Ready"); r.Status != metav1.ConditionTrue || r.ObservedGeneration != generation ||
				s.ObservedGeneration != generation || !strings.HasSuffix(s.LastAppliedRevision, head) || s.LastHandledReconcileAt != u.asked || len(s.IDs()) != len(u.want()) {
				return fmt.Errorf("%s, of generation %d, asked at %q: the status is not that of %s: %+v", u.name(), generation, u.asked, head, s)
			}
			return nil
		})
	}
}
