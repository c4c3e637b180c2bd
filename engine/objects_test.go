package engine

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/tree"
)

// policied is a ConfigMap with a policy, and what else is in it.
func policied(name, value, policy, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {policy: %q}}\ndata: {k: %q}\n%s\n", name, policy, value, more)
}

// An immutable object is made anew where that is allowed, and else it is said what
// would have to be.
func TestAnImmutableObjectIsMadeAnewIfAllowed(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", policied("a", "1", "force", "immutable: true"), policied("b", "1", "", "immutable: true")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	before := w.object("a").UID
	w.publish(artifact("git", "2", policied("a", "2", "force", "immutable: true"), policied("b", "1", "", "immutable: true")))
	w.says(u, "Ready 2")
	if after := w.object("a").UID; after == before {
		t.Error("it is the same object")
	}
	kept := w.object("b").UID
	w.publish(artifact("git", "3", policied("a", "2", "force", "immutable: true"), policied("b", "3", "", "immutable: true")))
	w.explains(u, "/b", "immutable", "force")
	w.holds("a=2", "b=1")
	if w.object("b").UID != kept {
		t.Error("it was made anew all the same")
	}
}

// What is to be made once is left to whoever changes it, and a unit whose identity
// may not write it learns nothing of it.
func TestWhatIsMadeOnceIsLeft(t *testing.T) {
	w := newLive(t)
	u := w.unit("u", artifact("git", "1", policied("a", "1", "once", "")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	w.edit("a", "by hand")
	w.publish(artifact("git", "2", policied("a", "2", "once", ""), of("b", "2")))
	w.says(u, "Ready 2")
	w.holds("a=by hand", "b=2")

	w.account("reader")
	w.allow("reader", "get", "list", "watch")
	w.theirs("c", "not yours")
	v := w.unit("v", artifact("other", "1", policied("c", "1", "once", "")))
	v.Target.User = cluster.User(w.ns, "reader")
	w.engine.Put(v)
	w.explains(v, "AccessDenied", "may not patch it")
}

// A kind that comes with its first object is waited for, in one commit.
func TestAKindAndItsFirstObjectInOneCommit(t *testing.T) {
	w := newLive(t)
	widget := fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, metadata: {name: w}}", w.ns)
	u := w.unit("u", artifact("git", "1", fmt.Sprintf(definition, w.ns)+"\n", widget+"\n"))
	t.Cleanup(func() { _, _ = w.env.Shell(t, "kubectl delete crd widgets."+w.ns+".example.com") })
	w.engine.Put(u)
	out := w.says(u, "Ready 1")
	if len(out.Inventory) != 2 {
		t.Errorf("%v", out.Inventory)
	}
	if text, err := w.env.Kubectl(t.Context(), "", "-n", w.ns, "get", "widgets."+w.ns+".example.com", "-o", "name"); err != nil || !strings.Contains(text, "/w") {
		t.Errorf("%s, %v", text, err)
	}
}

// A server that is busy says that a definition is established before it serves the
// kind, and nothing tells of that.
func TestAKindThatIsServedLate(t *testing.T) {
	env := kubetest.Start(t)
	var mu sync.Mutex
	var late bool
	var before *http.Response
	var body []byte
	through := env.Through(t, func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/apis" && late && before != nil:
			again := *before
			again.Body = io.NopCloser(bytes.NewReader(body))
			return &again, nil
		case late && strings.HasSuffix(r.URL.Path, ".example.com/v1"):
			return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
		}
		answer, err := next.RoundTrip(r)
		if err != nil || r.URL.Path != "/apis" {
			return answer, err
		}
		if body, err = io.ReadAll(answer.Body); err != nil {
			return nil, err
		}
		before = answer
		again := *before
		again.Body = io.NopCloser(bytes.NewReader(body))
		return &again, nil
	})
	config, err := clientcmd.BuildConfigFromFlags("", through.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	w := newLiveOn(t, env, config)
	u := w.unit("u", artifact("git", "1", fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, metadata: {name: w}}\n", w.ns)))
	u.RetryInterval = time.Hour
	w.engine.Put(u)
	w.explains(u, "UnknownKind")
	mu.Lock()
	late = true
	mu.Unlock()
	t.Cleanup(func() { _, _ = w.env.Shell(t, "kubectl delete crd widgets."+w.ns+".example.com") })
	if _, err := w.env.Shell(t, "kubectl apply -f - <<'EOF'\n"+fmt.Sprintf(definition, w.ns)+"\nEOF\nkubectl wait --for=condition=Established crd/widgets."+w.ns+".example.com"); err != nil {
		t.Fatal(err)
	}
	p, err := w.engine.place(Target{}, "")
	if err != nil {
		t.Fatal(err)
	}
	quiet := 1500 * time.Millisecond // since the last event of the definition
	kubetest.Eventually(t, time.Minute, func() error {
		if since := time.Since(p.watch.KindsChanged()); since < quiet || since > time.Minute {
			return fmt.Errorf("definitions changed %s ago", since)
		}
		return nil
	})
	w.explains(u, "UnknownKind")
	mu.Lock()
	late = false
	mu.Unlock()
	w.says(u, "Ready 1")
}

// A connection to another cluster ends with the last unit that is there.
func TestAClusterIsLeftWithItsLastUnit(t *testing.T) {
	w := newLive(t)
	places := func() (all []string) {
		w.engine.mu.Lock()
		defer w.engine.mu.Unlock()
		for id := range w.engine.at {
			all = append(all, id)
		}
		slices.Sort(all)
		return all
	}
	is := func(want ...string) {
		t.Helper()
		kubetest.Eventually(t, time.Minute, func() error {
			if got := places(); !slices.Equal(got, want) {
				return fmt.Errorf("connected to %q, want %q", got, want)
			}
			return nil
		})
	}
	far := Target{Cluster: "far", Config: rest.CopyConfig(w.env.Config)}
	u := w.unit("u", artifact("one", "1", of("a", "1")))
	v := w.unit("v", artifact("two", "1", of("b", "1")))
	u.Target, v.Target = far, far
	w.engine.Put(u)
	w.engine.Put(v)
	w.says(u, "Ready 1")
	w.says(v, "Ready 1")
	is("", "far")
	w.engine.Delete(u.Name)
	v.Digest, v.Target = "2", Target{}
	w.engine.Put(v)
	is("")
	w.says(v, "Ready 1")
	// What was on the other cluster is not deleted there: nothing is known of it.
	w.holds("a=1", "b=1")
}

// A commit wakes the units that it touches, and it is told which these are.
func TestWhichUnitsACommitTouches(t *testing.T) {
	w := newLive(t)
	at := func(revision, u, v string) {
		a := artifact("git", revision)
		a.Tree = tree.FromFiles(map[string]string{"u/all.yaml": of("a", u), "v/all.yaml": of("b", v)})
		w.publish(a)
	}
	var told []string
	w.engine.o.Touched = func(source, from, to string, units []string) bool {
		told = append(told, fmt.Sprint(source, " ", from, " to ", to, ": ", strings.ReplaceAll(strings.Join(units, " "), "Toy/"+w.ns+"/", "")))
		return false
	}
	at("1", "1", "1")
	u, v := w.unit("u"), w.unit("v")
	for x, path := range map[*Unit]string{&u: "u", &v: "v"} {
		made := madeOf(artifact("git", "1"))
		x.Sources, x.Renders = made.Sources, made.Renders
		x.Renders[0].Path = path
		w.engine.Put(*x)
		w.says(*x, "Ready 1")
	}
	at("2", "1", "2")
	w.says(v, "Ready 2")
	w.says(u, "Ready 2") // which has nothing to do
	at("3", "3", "3")
	w.says(u, "Ready 3")
	w.says(v, "Ready 3")
	slices.Sort(told)
	if len(told) != 2 || told[0] != "git 1 to 2: v" || told[1] != "git 2 to 3: u v" && told[1] != "git 2 to 3: v u" {
		t.Errorf("%q", told)
	}
	w.holds("a=3", "b=3")
}

// Who may not read an object is told no more, and hears when that changes.
func TestWhoMayReadHearsWhenRightsChange(t *testing.T) {
	w := newLive(t)
	w.account("reader")
	u := w.unit("u", artifact("git", "1", of("a", "1")))
	w.engine.Put(u)
	w.says(u, "Ready 1")
	ref, user := object.Ref{Kind: "ConfigMap", Namespace: w.ns, Name: "a"}, cluster.User(w.ns, "reader")
	if err := w.engine.MayRead(t.Context(), u.Name, user, ref, "v1"); !fault.Is(err, fault.AccessDenied) || !strings.Contains(err.Error(), "may not get it") {
		t.Errorf("%v", err)
	}
	if err := w.engine.MayRead(t.Context(), u.Name, "", ref, "v1"); err != nil {
		t.Errorf("plumb itself: %v", err)
	}
	_, _, wakes, _ := w.engine.registry.find(u.Name)
	w.allow("reader", "get")
	kubetest.Eventually(t, time.Minute, func() error {
		if _, _, now, _ := w.engine.registry.find(u.Name); now == wakes {
			return fmt.Errorf("the unit was not woken since %d", now)
		}
		return w.engine.MayRead(t.Context(), u.Name, user, ref, "v1")
	})
}

func TestWhatASecretHolds(t *testing.T) {
	in := func(kind string, fields map[string]any) *unstructured.Unstructured {
		o := map[string]any{"apiVersion": "v1", "kind": kind}
		for k, v := range fields {
			o[k] = v
		}
		return &unstructured.Unstructured{Object: o}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("word"))
	for name, c := range map[string]struct {
		o    *unstructured.Unstructured
		want []string
	}{
		"encoded":     {in("Secret", map[string]any{"data": map[string]any{"k": encoded}}), []string{encoded, "word"}},
		"no base64":   {in("Secret", map[string]any{"data": map[string]any{"k": "!"}}), []string{"!"}},
		"plain":       {in("Secret", map[string]any{"stringData": map[string]any{"k": "word"}}), []string{"word"}},
		"no text":     {in("Secret", map[string]any{"data": map[string]any{"k": int64(1)}}), nil},
		"no Secret":   {in("ConfigMap", map[string]any{"data": map[string]any{"k": "word"}}), nil},
		"not a map":   {in("Secret", map[string]any{"data": "word"}), nil},
		"without any": {in("Secret", nil), nil},
	} {
		got := contents(c.o)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What the server would make of an object is what is compared.
func TestAnObjectIsFinishedAsTheServerHasIt(t *testing.T) {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\naggregationRule: {clusterRoleSelectors: []}\nrules: [{verbs: [get]}]\n"
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {kept: " + base64.StdEncoding.EncodeToString([]byte("old")) + "}\nstringData: {k: word}\n"
	u := madeOf(artifact("git", "1", of("a", "1"), role, secret))
	rs, err := Render(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	kinds := scopes{"ConfigMap": true, "Secret": true, "ClusterRole": false}
	all, err := Desired(t.Context(), kinds, u, rs)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.GetLabels()[markOf] != "ns.u" {
			t.Errorf("%s is labelled %v", object.RefOf(o), o.GetLabels())
		}
		switch o.GetKind() {
		case "ConfigMap":
			if o.GetNamespace() != "ns" {
				t.Errorf("it is in %q", o.GetNamespace())
			}
		case "ClusterRole":
			if o.Object["rules"] != nil || o.GetNamespace() != "" {
				t.Errorf("the rules of an aggregated role are %v, in %q", o.Object["rules"], o.GetNamespace())
			}
		case "Secret":
			data, _, _ := unstructured.NestedStringMap(o.Object, "data")
			if o.Object["stringData"] != nil || data["k"] != base64.StdEncoding.EncodeToString([]byte("word")) || len(data) != 2 {
				t.Errorf("the Secret is %v", o.Object)
			}
		}
	}
	// What is rendered is as it was.
	plain, err := rs.Objects()
	if err != nil || plain[0].GetLabels() != nil {
		t.Errorf("%v, %v", plain, err)
	}
}
