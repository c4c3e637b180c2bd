package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// A bench is a watch on a real API server, and who writes there.
type bench struct {
	*Watch
	env *kubetest.Env
	ns  string
}

func watchOn(t *testing.T, env *kubetest.Env, config *rest.Config) *bench {
	t.Helper()
	c, err := cluster.New("", config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := c.As("")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(t.Context(), self, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Watch: w, env: env}
}

func newBench(t *testing.T) *bench {
	env := kubetest.Start(t)
	b := watchOn(t, env, env.Config)
	b.ns = env.Namespace(t)
	return b
}

func (b *bench) create(t *testing.T, ns, name string, labels map[string]string) {
	t.Helper()
	if err := b.env.Client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) patch(ctx context.Context, ns, name, patch string) error {
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	return b.env.Client.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)))
}

func at(scope Scope, ns string, names ...string) (targets []Target) {
	for _, name := range names {
		targets = append(targets, Target{Ref: object.Ref{Kind: "ConfigMap", Namespace: ns, Name: name}, Version: "v1", Scope: scope, Managers: managers})
	}
	return targets
}

func (b *bench) follow(t *testing.T, unit string, targets []Target) {
	t.Helper()
	if err := b.Follow(t.Context(), unit, targets); err != nil {
		t.Fatal(err)
	}
}

// sees waits until a unit knows that an object is there, or is not.
func (b *bench) sees(t *testing.T, unit string, target Target, exists bool) {
	t.Helper()
	kubetest.Eventually(t, 30*time.Second, func() error {
		if l, known := b.Live(unit, target.Ref); !known || l.Exists != exists {
			return fmt.Errorf("%s: %+v, known %v", target.Ref, l, known)
		}
		return nil
	})
}

// keys are what the server is asked for.
func (b *bench) keys() map[streamKey]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make(map[streamKey]bool)
	for k := range b.streams {
		keys[k] = true
	}
	return keys
}

func (b *bench) asks(t *testing.T, want ...streamKey) {
	t.Helper()
	set := make(map[streamKey]bool)
	for _, k := range want {
		k.resource = configMaps
		set[k] = true
	}
	kubetest.Eventually(t, 30*time.Second, func() error {
		if got := b.keys(); !maps.Equal(got, set) {
			return fmt.Errorf("it watches %v, want %v", got, set)
		}
		return nil
	})
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("c", i))
	}
	return names
}

func TestManyNamesBecomeOneWatchAndFewAgainSome(t *testing.T) {
	b := newBench(t)
	other := b.env.Namespace(t)
	names := numbered(2 * mostNames)
	for _, name := range names {
		b.create(t, b.ns, name, nil)
	}
	b.create(t, other, "c0", nil)
	all := append(at(Scope{}, b.ns, names...), at(Scope{}, other, "c0")...)
	b.follow(t, "one", all[:1])
	b.asks(t, streamKey{namespace: b.ns, name: "c0"})
	b.sees(t, "one", all[0], true)
	b.follow(t, "many", all)
	b.asks(t, streamKey{namespace: b.ns}, streamKey{namespace: other, name: "c0"})
	for _, target := range all {
		b.sees(t, "many", target, true)
	}
	b.Leave("many")
	b.asks(t, streamKey{namespace: b.ns})
	b.tighten()
	b.asks(t, streamKey{namespace: b.ns, name: "c0"})
	if l, known := b.Live("one", all[0].Ref); !known || !l.Exists {
		t.Errorf("it is %+v, known %v", l, known)
	}
	b.Leave("one")
	b.asks(t)
}

// What is known stays known, and what is settled settled, while names become a
// namespace, that all namespaces, and these names again; and no event is lost.
func TestNothingIsLostWhenTheScopeOfAStreamChanges(t *testing.T) {
	b := newBench(t)
	const objects = mostNames / 2
	followed := at(Scope{}, b.ns, numbered(objects)...)
	for _, target := range followed {
		b.create(t, b.ns, target.Ref.Name, nil)
	}
	b.follow(t, "unit", followed)
	for _, target := range followed {
		b.sees(t, "unit", target, true)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	writes := make([]int, objects)
	for i, target := range followed {
		wg.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if b.patch(t.Context(), b.ns, target.Ref.Name, fmt.Sprintf(`{"data":{"n":"%d"}}`, n)) == nil {
					writes[i] = n
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, known := b.Live("unit", target.Ref); !known {
					t.Errorf("%s is not known for a while", target.Ref)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	many := at(Scope{}, b.ns, numbered(2*mostNames)...)
	var everywhere []Target
	for i := range 2 * mostStreams {
		everywhere = append(everywhere, at(Scope{}, fmt.Sprint("nowhere-", i), "a")...)
	}
	for range 4 {
		b.follow(t, "many", many)
		b.asks(t, streamKey{namespace: b.ns})
		b.follow(t, "everywhere", everywhere)
		b.asks(t, streamKey{})
		b.Leave("many")
		b.Leave("everywhere")
		b.tighten()
		var names []streamKey
		for _, target := range followed {
			names = append(names, streamKey{namespace: b.ns, name: target.Ref.Name})
		}
		b.asks(t, names...)
	}
	stop()
	wg.Wait()
	for i, target := range followed {
		kubetest.Eventually(t, 30*time.Second, func() error {
			l, _ := b.Live("unit", target.Ref)
			if n := l.Object.Object["data"].(map[string]any)["n"]; n != fmt.Sprint(writes[i]) {
				return fmt.Errorf("%s is at %v, and was last written as %d", target.Ref, n, writes[i])
			}
			return nil
		})
	}
}

func TestAnObjectIsFollowedByItsNameUntilItHasTheLabel(t *testing.T) {
	b := newBench(t)
	const label = "plumb.dev/unit"
	scope := Scope{Selector: label, Unlabelled: true}
	targets := at(scope, b.ns, "old", "labelled", "missing")
	old, labelled, missing := targets[0], targets[1], targets[2]
	b.create(t, b.ns, "old", nil)
	b.create(t, b.ns, "labelled", map[string]string{label: "u"})
	b.follow(t, "unit", targets)
	b.sees(t, "unit", old, true)
	b.sees(t, "unit", labelled, true)
	b.sees(t, "unit", missing, false)
	byLabel := streamKey{selector: label}
	b.asks(t, byLabel, streamKey{namespace: b.ns, name: "old"}, streamKey{namespace: b.ns, name: "missing"})

	was, _ := b.Live("unit", old.Ref)
	b.Settle("unit", old.Ref, "digest", was.Object)
	if err := b.patch(t.Context(), b.ns, "old", `{"metadata":{"labels":{"`+label+`":"u"}}}`); err != nil {
		t.Fatal(err)
	}
	b.asks(t, byLabel, streamKey{namespace: b.ns, name: "missing"})
	if l, known := b.Live("unit", old.Ref); !known || !l.Exists || l.Digest != "digest" {
		t.Errorf("once it has the label it is %+v, known %v", l, known)
	}
	// What is created with the label needs no watch of its own any more.
	b.create(t, b.ns, "missing", map[string]string{label: "u"})
	b.asks(t, byLabel)
	b.sees(t, "unit", missing, true)
	// Who takes the label away has not deleted the object.
	if err := b.patch(t.Context(), b.ns, "labelled", `{"metadata":{"labels":{"`+label+`":null}}}`); err != nil {
		t.Fatal(err)
	}
	b.asks(t, byLabel, streamKey{namespace: b.ns, name: "labelled"})
	b.sees(t, "unit", labelled, true)
	if err := b.env.Client.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: b.ns, Name: "labelled"}}); err != nil {
		t.Fatal(err)
	}
	b.sees(t, "unit", labelled, false)
	b.Leave("unit")
	b.asks(t)
}

func TestAnotherScopeKeepsWhatWasSettled(t *testing.T) {
	b := newBench(t)
	const label = "test.plumb.dev/scope"
	b.create(t, b.ns, "a", map[string]string{label: "u"})
	byName, byLabel := at(Scope{}, b.ns, "a"), at(Scope{Selector: label}, b.ns, "a")
	b.follow(t, "unit", byName)
	b.sees(t, "unit", byName[0], true)
	l, _ := b.Live("unit", byName[0].Ref)
	b.Settle("unit", byName[0].Ref, "digest", l.Object)
	for range 3 {
		for _, targets := range [][]Target{byLabel, byName} {
			b.follow(t, "unit", targets)
			if l, known := b.Live("unit", targets[0].Ref); !known || !l.Settled || l.Digest != "digest" {
				t.Fatalf("it is %+v, known %v", l, known)
			}
		}
		b.asks(t, streamKey{namespace: b.ns, name: "a"})
	}
}

func TestWhatNobodyFollowsTakesNoRecord(t *testing.T) {
	b := newBench(t)
	names := numbered(3 * mostNames)
	for _, name := range names {
		b.create(t, b.ns, name, nil)
	}
	targets := at(Scope{}, b.ns, names...)
	some := targets[:mostNames+1]
	b.follow(t, "unit", some)
	b.asks(t, streamKey{namespace: b.ns})
	b.sees(t, "unit", some[0], true)
	if _, records := b.Size(); records != len(some) {
		t.Errorf("there are %d records for %d objects", records, len(some))
	}
	// Who comes later to follow what was there all the time learns what it is
	// like: that takes a question, of which the watch has kept the need.
	late := targets[len(some)]
	b.follow(t, "late", []Target{late})
	b.sees(t, "late", late, true)
	if l, _ := b.Live("late", late.Ref); l.Object == nil || l.Health.Status != health.Current {
		t.Errorf("it is %+v", l)
	}
	gone := at(Scope{}, b.ns, "not-there")
	b.follow(t, "none", gone)
	b.sees(t, "none", gone[0], false)
	// And many at once are found by a list.
	var more []string
	for i := range 2 * manyUnseen {
		more = append(more, fmt.Sprint("more-", i))
		b.create(t, b.ns, more[i], nil)
	}
	b.sees(t, "unit", some[0], true)
	b.follow(t, "more", at(Scope{}, b.ns, append(more, "less")...))
	for i, target := range at(Scope{}, b.ns, append(more, "less")...) {
		b.sees(t, "more", target, i < len(more))
	}
	b.asks(t, streamKey{namespace: b.ns})
}

func TestWhoMayNotWatchAllNamespacesWatchesEach(t *testing.T) {
	env := kubetest.Start(t)
	ns := make([]string, mostStreams+2)
	for i := range ns {
		ns[i] = env.Namespace(t)
	}
	named := ns[0] // here, only objects by their names
	for i, n := range ns {
		role := &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: n, Name: "watcher"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"}}},
		}
		if i == 0 {
			role.Rules[0].ResourceNames = numbered(mostNames + 1)
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: n, Name: "watcher"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "watcher"},
			Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "watcher-of-" + ns[0]}},
		}
		if err := errors.Join(env.Client.Create(t.Context(), role), env.Client.Create(t.Context(), binding)); err != nil {
			t.Fatal(err)
		}
	}
	config := rest.CopyConfig(env.Config)
	config.Impersonate.UserName = "watcher-of-" + ns[0]
	b := watchOn(t, env, config)
	b.ns = named
	var targets []Target
	var want []streamKey
	for _, name := range numbered(mostNames + 1) {
		b.create(t, named, name, nil)
		targets = append(targets, at(Scope{}, named, name)...)
		want = append(want, streamKey{namespace: named, name: name})
	}
	for _, n := range ns[1:] {
		for _, name := range numbered(mostNames + 1) {
			b.create(t, n, name, nil)
			targets = append(targets, at(Scope{}, n, name)...)
		}
		want = append(want, streamKey{namespace: n})
	}
	b.follow(t, "unit", targets)
	for _, target := range targets {
		b.sees(t, "unit", target, true)
	}
	b.asks(t, want...)

	const label = "test.plumb.dev/narrow"
	b.create(t, ns[1], "labelled", map[string]string{label: "u"})
	labelled := at(Scope{Selector: label}, ns[1], "labelled")
	b.follow(t, "labelled", labelled)
	b.sees(t, "labelled", labelled[0], true)
	b.asks(t, append(want, streamKey{namespace: ns[1], selector: label})...)
}

// Whoever is notified may look at once.
func TestNobodyIsNotifiedWithALockHeld(t *testing.T) {
	env := kubetest.Start(t)
	b := watchOn(t, env, env.Config)
	b.ns = env.Namespace(t)
	targets := at(Scope{Selector: "test.plumb.dev/notified", Unlabelled: true}, b.ns, numbered(2*mostNames)...)
	notified := make(chan bool, 1)
	b.notify = func(unit string) {
		b.Live(unit, targets[0].Ref)
		if _, err := b.Synced(unit); err != nil {
			t.Error(err)
		}
		select {
		case notified <- true:
		default:
		}
	}
	b.create(t, b.ns, targets[0].Ref.Name, nil)
	b.follow(t, "unit", targets)
	b.sees(t, "unit", targets[0], true)
	b.Leave("unit")
	select {
	case <-notified:
	case <-time.After(30 * time.Second):
		t.Error("nobody was notified")
	}
}
