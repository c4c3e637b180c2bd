package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/source"
)

// dry counts what a server was asked to try.
func dry(t *testing.T, env *kubetest.Env) (through *rest.Config, asked func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	gate := env.Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPatch && r.URL.Query().Has("dryRun") {
			mu.Lock()
			n++
			mu.Unlock()
		}
		return next.RoundTrip(r)
	})
	through, err := clientcmd.BuildConfigFromFlags("", gate.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return through, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// left creates an object as another tool leaves it, with a record or without one.
func (w *live) left(text string, recorded bool) {
	w.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		w.Fatal(err)
	}
	u.SetNamespace(w.ns)
	if recorded {
		record, err := u.MarshalJSON()
		if err != nil {
			w.Fatal(err)
		}
		u.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(record)})
	}
	if err := w.env.Client.Create(w.Context(), u, client.FieldOwner("live")); err != nil {
		w.Fatal(err)
	}
}

func (w *live) adopting(name string, texts ...string) Unit {
	u := w.unit(name, artifact("git", "1", texts...))
	u.Managers, u.Adopts, u.Permission = owned.Managers{Self: "live", Former: []string{"live"}}, true, apply.LookOnly
	return u
}

// limits has an amount, which the server writes in another form.
func limits(amount string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: LimitRange\nmetadata: {name: q}\nspec: {limits: [{type: Container, default: {cpu: %q}}]}\n", amount)
}

// What another tool has applied is as desired if it holds that, without a write;
// and the server is asked about the rest of it, once.
func TestWhatAnotherToolHasAppliedIsAsDesired(t *testing.T) {
	env := kubetest.Start(t)
	config, asked := dry(t, env)
	w := newLiveOn(t, env, config)
	w.left(of("a", "1"), true)
	w.left(of("b", "1"), false)
	w.left(limits("1000m"), false)
	w.left(of("c", "other"), true)
	u := w.adopting("u", of("a", "1"), of("b", "1"), of("c", "1"), limits("1000m"))
	versions := w.versions()
	w.engine.Put(u)
	out := w.says(u, "OutOfSync 1")
	held := func(out Outcome) (names []string) {
		for _, c := range out.Plan.Held() {
			names = append(names, c.Ref.Name)
		}
		return names
	}
	if got := held(out); !slices.Equal(got, []string{"c"}) {
		t.Errorf("%v are not as desired", got)
	}
	if got := asked(); got != 3 {
		t.Errorf("the server was asked about %d objects, want b, c and q", got)
	}
	u.Digest = "2" // which is another look
	w.engine.Put(u)
	w.edit("c", "another")
	w.hears(u, func(out Outcome) error {
		if asked() != 4 {
			return errors.New("it was not looked at again")
		}
		return nil
	})
	w.edit("c", "1")
	w.says(u, "Ready 1")
	if got := asked(); got > 5 {
		t.Errorf("the server was asked about what it had said before: %d times", got)
	}
	if now := w.versions(); now[0] != versions[0] || now[1] != versions[1] {
		t.Errorf("they were written: %v, before %v", now, versions)
	}

	// Somebody's change shows, and is put back where that is permitted.
	w.edit("a", "by hand")
	w.says(u, "OutOfSync 1")
	u.Permission = apply.CorrectDrift
	u.Remembers = []apply.Entry{{Ref: object.Ref{Kind: "ConfigMap", Namespace: w.ns, Name: "a"}, Version: "v1"}}
	w.begin()
	w.engine.Put(u)
	w.says(u, "OutOfSync 1")
	w.edit("a", "1")
	w.says(u, "Ready 1")
	w.edit("a", "by hand again")
	w.comesToHold("a=1", "b=1", "c=1")
}

// After a start, what was told of a unit stands until it has been looked at.
func TestAfterAStartWhatWasToldStands(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	w.engine.Put(u)
	u.Remembers = w.says(u, "Ready 1").Inventory
	delete(w.heard, u.Name)
	delete(w.reports, u.Name)
	w.begin()
	w.engine.Put(u)
	w.says(u, "Ready 1")
	if n := w.reports[u.Name]; n != 1 {
		t.Errorf("it was told %d times how it is", n)
	}
}

// Whoever takes over by hand changes nothing but whose the objects are, of those
// alone that hold what is desired.
func TestTakingOver(t *testing.T) {
	w := newLive(t)
	w.left(of("a", "1"), true)
	w.left(of("b", "other"), true)
	u := w.adopting("u", of("a", "1"), of("b", "1"))
	u.Permission, u.Artifacts = apply.Everything, []*source.Artifact{w.at["git"]}
	p, err := w.engine.place(u.Target, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.As("")
	if err != nil {
		t.Fatal(err)
	}
	all := func(context.Context) ([]Unit, []string) { return nil, nil }
	versions := w.versions()
	out, err := Preview(t.Context(), c, u, all)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out.Record.All() {
		if alike := r.Ref.Name == "a"; r.Alike != alike || r.Action != apply.Update {
			t.Errorf("%s is alike: %t, %s", r.Ref, r.Alike, r.Action)
		}
	}
	if now := w.versions(); !slices.Equal(now, versions) {
		t.Errorf("to look has written: %v", now)
	}
	if _, err = TakeOver(t.Context(), c, u, all); err != nil {
		t.Fatal(err)
	}
	if now := w.versions(); now[0] == versions[0] || now[1] != versions[1] {
		t.Errorf("they were %v and are %v", versions, now)
	}
	a := w.object("a")
	if _, recorded := a.Annotations["kubectl.kubernetes.io/last-applied-configuration"]; !recorded || !strings.Contains(a.Labels[markOf], "u") {
		t.Errorf("%v, %v", a.Labels, a.Annotations)
	}
	w.holds("a=1", "b=other")
}
