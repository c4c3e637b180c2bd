package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// theirs makes a ConfigMap that is of no unit.
func (w *live) theirs(name, value string) {
	w.Helper()
	c := &corev1.ConfigMap{Data: map[string]string{"k": value}}
	c.Namespace, c.Name = w.ns, name
	if err := w.env.Client.Create(w.Context(), c); err != nil {
		w.Fatal(err)
	}
}

// checks has a unit wait for ConfigMaps whose value says how they are.
func checks(timeout time.Duration, names ...string) Health {
	j, err := health.Compile(health.Exprs{
		Current: "data.k == 'well'", InProgress: "data.k == 'not yet'", Failed: "data.k.startsWith('broken')",
	})
	if err != nil {
		panic(err)
	}
	h := Health{Timeout: timeout, Judges: health.Rules{{Kind: "ConfigMap", Judge: j}}}
	for _, n := range names {
		h.Checks = append(h.Checks, Check{Ref: object.Ref{Kind: "ConfigMap", Name: n}, Version: "v1"})
	}
	return h
}

// A unit is ready when what it asks for is healthy, says meanwhile what it waits
// for, and hears by itself when that comes, fails and mends.
func TestAUnitWaitsForWhatHasToBeHealthy(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Health = checks(time.Hour, "x", "y")
	w.theirs("x", "not yet")
	w.engine.Put(u)
	out := w.explains(u, "Progressing", "waiting for ConfigMap/"+w.ns+"/x is InProgress", "/y is NotFound")
	if out.Health != Pending || len(out.Unwell) != 2 || out.Since.IsZero() || out.Next.Before(time.Now()) {
		t.Errorf("%+v", out)
	}
	w.holds("a=1", "x=not yet")
	w.edit("x", "well")
	w.theirs("y", "well")
	if out := w.says(u, "Ready 1"); out.Health != Healthy || len(out.Unwell) > 0 {
		t.Errorf("%+v", out)
	}
	w.edit("y", "broken for good")
	if out := w.explains(u, "Unhealthy HealthCheckFailed: failed: ", "/y is Failed"); strings.Contains(out.Message, "/x") {
		t.Errorf("what is well is named: %s", out.Message)
	}
	w.edit("y", "well")
	w.says(u, "Ready 1")
}

func TestAUnitWaitsNoLongerThanItIsToldTo(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Health = checks(time.Second, "x")
	w.engine.Put(u)
	out := w.explains(u, "Unhealthy HealthCheckFailed: not healthy after 1s: ", "/x is NotFound")
	if out.Health != Ill || !out.applied() && out.State != Unhealthy {
		t.Errorf("%+v", out)
	}
	w.theirs("x", "well")
	w.says(u, "Ready 1")
}

// Where all objects of a unit count, nothing else does.
func TestAUnitWaitsForAllOfItsOwn(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "well"), of("b", "not yet")))
	u.Health = checks(time.Hour, "none")
	u.Health.Wait = true
	w.engine.Put(u)
	if out := w.explains(u, "Progressing", "/b is InProgress"); len(out.Unwell) != 1 {
		t.Errorf("%v", out.Unwell)
	}
	w.publish(artifact("git", "2", of("a", "well"), of("b", "well")))
	w.says(u, "Ready 2")
	// What is corrected has its time again, and is waited for.
	w.edit("b", "broken")
	w.comesToHold("a=well", "b=well")
	w.says(u, "Ready 2")
}

// Where health is only told, it is told of every object and whatever else is the
// matter, and nothing is waited for.
func TestHealthIsTold(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "well"), of("b", "not yet"), of("c", "broken")))
	u.Health = checks(time.Second)
	u.Health.Tell, u.Permission = true, apply.LookOnly
	w.engine.Put(u)
	if out := w.says(u, "OutOfSync 1"); len(out.Unwell) != 3 || out.Worst() != health.Missing {
		t.Errorf("before anything is applied: %v", out.Unwell)
	}
	u.Permission, u.Digest = apply.Everything, "2"
	w.engine.Put(u)
	out := w.explains(u, "Unhealthy HealthCheckFailed: failed: ", "/c is Failed")
	if out.Err != nil || len(out.Unwell) != 2 || out.Worst() != health.Failed || out.Health != Ill {
		t.Errorf("%+v", out)
	}
	w.publish(artifact("git", "2", of("a", "well"), of("b", "not yet"), of("c", "well")))
	if out := w.explains(u, "Progressing", "/b is InProgress"); out.Worst() != health.InProgress {
		t.Errorf("%+v", out.Unwell)
	}
	w.publish(artifact("git", "3", of("a", "well"), of("b", "well")))
	w.says(u, "Ready 3")
	w.publish(artifact("git", "4", of("a", "well"), of("b", "broken")))
	w.explains(u, "Unhealthy", "/b is Failed")
	u.Objects, u.Digest = uncounted{u.Objects}, "3"
	w.engine.Put(u)
	w.says(u, "Ready 4")
}

// uncounted are objects whose health does not count.
type uncounted struct{ Objects }

func (o uncounted) Policy(u Unit, x *unstructured.Unstructured) apply.Policy {
	p := o.Objects.Policy(u, x)
	p.Healthless = true
	return p
}

// A rule that has no answer is an error that says so once, and no judgement; one
// that could not be asked is asked again.
func TestARuleThatHasNoAnswer(t *testing.T) {
	for _, wait := range []bool{false, true} {
		w := newLive(t)
		j := &faulty{err: &fault.Error{Next: fault.Retry, Reason: fault.HealthRuleFailed, Err: errors.New("argocd-cm, rule: no process")}}
		u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
		u.Health = Health{Timeout: time.Hour, Tell: !wait, Wait: wait, Judges: health.Rules{{Kind: "ConfigMap", Judge: j}}}
		w.engine.Put(u)
		out := w.explains(u, "Unhealthy HealthRuleFailed: ", "argocd-cm, rule: no process")
		if strings.Count(out.Message, "argocd-cm") != 1 || out.Worst() != health.Unknown || !fault.Is(out.Unjudged, fault.HealthRuleFailed) || out.Next.IsZero() {
			t.Errorf("%+v", out)
		}
		w.holds("a=1", "b=1")
		j.set(&fault.Error{Next: fault.Wait, Reason: fault.HealthRuleFailed, Err: errors.New("argocd-cm, rule: line 1")})
		w.engine.Wake(u.Name)
		w.explains(u, "Unhealthy HealthRuleFailed: ", "argocd-cm, rule: line 1")
		j.set(nil)
		w.edit("a", "2") // another version, which is judged anew
		w.edit("b", "2")
		w.says(u, "Ready 1")
	}
}

// faulty has an answer, or none.
type faulty struct {
	mu  sync.Mutex
	err error
}

func (f *faulty) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Of implements [health.Judge].
func (f *faulty) Of(*unstructured.Unstructured) health.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return health.Result{Status: health.Unknown, Err: f.err}
	}
	return health.Result{}
}

// A check of a kind that the cluster does not have is waited for, and is said.
func TestACheckOfAKindThatThereIsNot(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Health = Health{Timeout: time.Hour, Checks: []Check{{Ref: object.Ref{Group: w.ns + ".example.com", Kind: "Widget", Name: "w"}, Version: "v1"}}}
	w.engine.Put(u)
	w.explains(u, "UnknownKind", "Widget")
	w.holds("a=1")
	define := fmt.Sprintf(definition, w.ns)
	if _, err := w.env.Kubectl(t.Context(), define, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.env.Shell(t, "kubectl delete crd widgets."+w.ns+".example.com") })
	w.explains(u, "Progressing", "/w is NotFound")
	widget := fmt.Sprintf("{apiVersion: %[1]s.example.com/v1, kind: Widget, metadata: {name: w, namespace: %[1]s}}", w.ns)
	if _, err := w.env.Kubectl(t.Context(), widget, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	w.says(u, "Ready 1")
}

// How an object is nobody hears through a unit whose identity may not read it.
func TestAUnitHearsNothingOfWhatItMayNotRead(t *testing.T) {
	w := newLive(t)
	w.account("deployer")
	w.allow("deployer", "create", "patch")
	w.theirs("x", "broken by a secret")
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	u.Target.User = cluster.User(w.ns, "deployer")
	u.Health = checks(time.Hour, "x", "none")
	w.engine.Put(u)
	out := w.explains(u, "AccessDenied", "deployer may not get it")
	for _, c := range out.Unwell {
		if c.Status != health.Unknown || strings.Contains(c.String(), "broken") {
			t.Errorf("%s", c)
		}
	}
	w.allow("deployer", "get", "list", "watch")
	w.explains(u, "Unhealthy", "/x is Failed")
}

func TestACheckIsFoundWhereItsKindIs(t *testing.T) {
	u := Unit{Namespace: "shop"}
	for _, c := range []struct {
		ref, want object.Ref
		err       bool
	}{
		{ref: object.Ref{Kind: "ConfigMap", Name: "a"}, want: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}},
		{ref: object.Ref{Kind: "ConfigMap", Namespace: "b", Name: "a"}, want: object.Ref{Kind: "ConfigMap", Namespace: "b", Name: "a"}},
		{ref: object.Ref{Kind: "Namespace", Namespace: "b", Name: "a"}, want: object.Ref{Kind: "Namespace", Name: "a"}},
		{ref: object.Ref{Kind: "None", Name: "a"}, want: object.Ref{Kind: "None", Name: "a"}, err: true},
	} {
		got, err := LocateCheck(t.Context(), usual, u, Check{Ref: c.ref, Version: "v1"})
		if got.Ref != c.want || (err != nil) != c.err {
			t.Errorf("%s: %s, %v; want %s", c.ref, got.Ref, err, c.want)
		}
	}
}

// What is waited for is named in one line of bounded length.
func TestWhatIsUnwellIsListed(t *testing.T) {
	var all []Unwell
	for i := range maxListed + 2 {
		all = append(all, Unwell{configMap(fmt.Sprint(i)), health.Result{Status: health.InProgress, Message: "two\n lines " + strings.Repeat("ä", maxReason)}})
	}
	all[3].Status = health.Failed
	text := Outcome{Unwell: all}.Waiting()
	if strings.Contains(text, "\n") || len(text) > (maxListed+1)*(maxReason+80) || !strings.HasSuffix(text, ", …") || strings.Contains(text, "/10 ") || strings.ContainsRune(text, '\uFFFD') {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	if text := list(all, true); !strings.HasPrefix(text, "ConfigMap/shop/3 is Failed: two lines ä") || strings.Contains(text, "shop/2") {
		t.Error(text)
	}
}

func TestARefusalForLackOfRightsIsFound(t *testing.T) {
	no := apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "a", nil)
	other := apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, "a", nil)
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":      {nil, false},
		"it":           {no, true},
		"wrapped":      {fmt.Errorf("x: %w", &fault.Error{Err: no}), true},
		"among others": {fmt.Errorf("%w, %w", other, no), true},
		"another":      {fmt.Errorf("x: %w", other), false},
	} {
		if got := forbidden(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// After a start a unit that can't go forward is held to what it had applied, if
// its source still renders to that.
func TestAfterAStartAUnitIsHeldToWhatItHadApplied(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1"), of("b", "1")))
	w.engine.Put(u)
	out := w.says(u, "Ready 1")
	u.Remembers, u.Applied, u.AppliedDigest = out.Inventory, out.Revision, out.Digest
	u.DependsOn = on("none")
	w.begin()
	w.engine.Put(u)
	w.explains(u, "Waiting DependencyNotReady", "'the none' does not exist")
	w.edit("a", "by hand")
	if err := w.env.Client.Delete(t.Context(), w.object("b"), client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.comesToHold("a=1", "b=1")
	// What is new is not begun with.
	w.publish(artifact("git", "2", of("a", "2"), of("c", "2")))
	w.says(u, "Waiting 2")
	w.holds("a=1", "b=1")
}
