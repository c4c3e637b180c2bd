package flux

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

func ready(status, reason string, generation int, more string) string {
	return fmt.Sprintf("status: {conditions: [{type: Ready, status: \"%s\", reason: %s, message: m, observedGeneration: %d, lastTransitionTime: \"2026-01-01T00:00:00Z\"}%s]}", status, reason, generation, more)
}

const is = `, {type: %s, status: "True", reason: R, message: m, lastTransitionTime: "2026-01-01T00:00:00Z"}`

// Who waits for a unit is told how far it is with the spec that there is.
func TestHowFarAUnitIs(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   view.State
		ready  string
	}{
		"nothing is known":              {"", view.Working, "Unknown"},
		"it is done":                    {ready("True", "R", 2, ""), view.Done, "True"},
		"it was, at an earlier spec":    {ready("True", "R", 1, ""), view.Working, "True"},
		"one that says not of which":    {ready("True", "R", 0, ""), view.Working, "True"},
		"it is, and goes on":            {ready("True", "R", 2, fmt.Sprintf(is, "Reconciling")), view.Working, "True"},
		"it failed":                     {ready("False", "BuildFailed", 2, fmt.Sprintf(is, "Reconciling")), view.Failed, "False"},
		"it failed, at an earlier spec": {ready("False", "BuildFailed", 1, ""), view.Working, "False"},
		"it waits for another":          {ready("False", "DependencyNotReady", 2, ""), view.Waiting, "False"},
		"it would wait for good":        {ready("False", "DependencyNotReady", 2, fmt.Sprintf(is, "Stalled")), view.Failed, "False"},
		"it is under way":               {ready("Unknown", "Progressing", 2, ""), view.Working, "Unknown"},
		"only others say something":     {"status: {conditions: [" + fmt.Sprintf(is, "Foreign")[2:] + "]}", view.Working, "Unknown"},
		"conditions that are no list":   {"status: {conditions: x}", view.Working, "Unknown"},
		"a condition that is a number":  {"status: {conditions: [7]}", view.Working, "Unknown"},
		"a status that is a word":       {"status: x", view.Working, "Unknown"},
	} {
		for _, kind := range kinds() {
			if i := kind.View(ks(t, plainSpec+c.status)); i.State != c.want || i.Ready != c.ready || i.Ref.Name != "web" || i.Message == "" {
				t.Errorf("%s: a %s is %d, %s: %s", name, kind.Kind, i.State, i.Ready, i.Message)
			}
		}
	}
}

func TestWhatIsSeenOfAKustomization(t *testing.T) {
	got := viewKustomization(ks(t, `
metadata: {creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {interval: 1m, path: ./apps, suspend: true, kubeConfig: {secretRef: {name: kc}}, sourceRef: {kind: GitRepository, name: src}}
status:
  lastHandledReconcileAt: now
  lastAppliedRevision: r1
  lastAttemptedRevision: r2
  conditions: [{type: Ready, status: "True", reason: ReconciliationSucceeded, message: "Applied revision: r1; 1 object is left", observedGeneration: 2, lastTransitionTime: "2026-01-01T00:00:00Z"}]
  inventory: {entries: [{id: shop_a__ConfigMap, v: v1}]}
  history: [{digest: d1, lastReconciledStatus: ReconciliationSucceeded, metadata: {revision: r1}, firstReconciled: "2026-01-01T00:00:00Z", lastReconciled: "2026-01-01T00:01:00Z", lastReconciledDuration: 1s, totalReconciliations: 3}]
`))
	when := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC).Local() }
	want := view.Item{
		Ref: object.Ref{Group: KustomizationKind.Group, Kind: "Kustomization", Namespace: "shop", Name: "web"}, Created: when(0), Suspended: true,
		Ready: "True", Reason: "ReconciliationSucceeded", Message: "Applied revision: r1; 1 object is left", Note: "1 object is left", State: view.Done, Handled: "now",
		Revision: "r1", Attempted: "r2", Path: "./apps", Elsewhere: true,
		Source:    object.Ref{Group: GitRepositoryKind.Group, Kind: "GitRepository", Namespace: "shop", Name: "src"},
		Inventory: got.Inventory, History: []view.Run{{Revision: "r1", Result: "ReconciliationSucceeded", Digest: "d1", First: when(0), Last: when(1), Took: time.Second, Count: 3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(got.Inventory) != 1 || got.Inventory[0].Ref != configMap("a") {
		t.Errorf("its inventory is %v", got.Inventory)
	}
}

// What can't be read is left empty, and takes nothing with it that can.
func TestWhatIsSeenOfBrokenObjects(t *testing.T) {
	for name, c := range map[string]struct {
		parts string
		want  func(view.Item) bool
	}{
		"a spec of another type":          {"spec: {interval: 7}\nstatus: {lastAppliedRevision: r}", func(i view.Item) bool { return i.Revision == "r" && i.Path == "" }},
		"no spec":                         {"status: {lastAppliedRevision: r}", func(i view.Item) bool { return i.Revision == "r" && i.Source.IsZero() }},
		"a status of another type":        {"spec: {interval: 1m, path: p}\nstatus: {lastAppliedRevision: 7}", func(i view.Item) bool { return i.Revision == "" && i.Ready == "Unknown" }},
		"suspended by a word":             {"spec: {interval: 1m, suspend: 'yes'}", func(i view.Item) bool { return !i.Suspended }},
		"an inventory that names nothing": {plainSpec + "status: {lastAppliedRevision: r, inventory: {entries: [{id: x}]}}", func(i view.Item) bool { return i.Inventory == nil && i.Revision == "r" }},
		"a source elsewhere": {
			"spec: {interval: 1m, sourceRef: {kind: Bucket, name: b, namespace: infra}}", func(i view.Item) bool { return i.Source.Kind == "Bucket" && i.Source.Namespace == "infra" },
		},
		"a field of a later version": {"spec: {interval: 1m, path: p, later: 1}\nstatus: {later: 1, lastAppliedRevision: r}", func(i view.Item) bool { return i.Path == "p" && i.Revision == "r" }},
	} {
		if i := viewKustomization(ks(t, c.parts)); !c.want(i) || i.Ref.Name != "web" {
			t.Errorf("%s: %+v", name, i)
		}
	}
	g := viewSource(gitRepo(t, "metadata: {annotations: {plumb.dev/last-commits: '{'}}\nspec: 7\nstatus: {artifact: {path: p, url: u, revision: r, lastUpdateTime: \"2026-01-01T00:00:00Z\", metadata: {plumb.dev/author: Ada}}}"))
	if g.Revision != "r" || g.Attempted != "r" || g.Commit.Author != "Ada" || g.Commits != nil {
		t.Errorf("%+v", g)
	}
	if g := viewSource(gitRepo(t, "status: {artifact: 7}")); g.Revision != "" || g.Ref.Name != "src" {
		t.Errorf("%+v", g)
	}
}

// What people ask for is what the controller reads.
func TestWhatIsAskedForIsUnderstood(t *testing.T) {
	for _, k := range kinds() {
		ask, err := k.Sync(nil, "token", "")
		if err != nil {
			t.Fatal(err)
		}
		ann := ask["metadata"].(map[string]any)["annotations"].(map[string]any)
		if diff := cmp.Diff(map[string]any{requestedAt: "token"}, ann); diff != "" {
			t.Errorf("%s: %s", k.Kind, diff)
		}
		if diff := cmp.Diff(map[string]any{"spec": map[string]any{"suspend": true}}, k.Suspend(true)); diff != "" {
			t.Errorf("%s: %s", k.Kind, diff)
		}
		if !k.Called(strings.ToUpper(k.Names[0])) || !k.Called(k.Plural) || k.Called("") || k.Resource().Resource != k.Plural {
			t.Errorf("%s is called %v", k.Kind, k.Names)
		}
	}
	unit := kinds()[0]
	u := ks(t, plainSpec)
	patch, err := unit.Sync(u, "token", "main@sha1:1")
	if err != nil {
		t.Fatal(err)
	}
	u.Object["metadata"].(map[string]any)["annotations"] = patch["metadata"].(map[string]any)["annotations"]
	k, err := decodeKustomization(u)
	if err != nil {
		t.Fatal(err)
	}
	if got := (Options{}).unit(k, data{}); got.Prune.Approved != "main@sha1:1" {
		t.Errorf("approved is %q", got.Prune.Approved)
	}
	if got := newLook(t, plainSpec).kustomizations.unit(k, data{}); got.Requested != "token" {
		t.Errorf("asked for is %q", got.Requested)
	}
}

func TestWhoseAnObjectIs(t *testing.T) {
	unit := kinds()[0]
	o := parsed(t, "{kind: A, metadata: {labels: {kustomize.toolkit.fluxcd.io/name: web, kustomize.toolkit.fluxcd.io/namespace: shop}}}")
	ref, ok := unit.Owns(o)
	if want := (object.Ref{Group: KustomizationKind.Group, Kind: "Kustomization", Namespace: "shop", Name: "web"}); !ok || ref != want {
		t.Errorf("%v, %v", ref, ok)
	}
	if _, ok := unit.Owns(parsed(t, "{kind: A}")); ok {
		t.Error("nobody's is somebody's")
	}
	if s := unit.Selector(view.Item{Ref: ref}); s != "kustomize.toolkit.fluxcd.io/name=web,kustomize.toolkit.fluxcd.io/namespace=shop" {
		t.Error(s)
	}
}

// Every flag has a default that is safe, and says what is asked for.
func TestFlags(t *testing.T) {
	var o Options
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.Flags(f)
	o.ServeFlags(f)
	if diff := cmp.Diff(Options{NoRemoteBases: true, StrictSubstitution: true}, o); diff != "" {
		t.Errorf("the defaults: -want +got:\n%s", diff)
	}
	err := f.Parse([]string{
		"--no-cross-namespace-refs", "--no-remote-bases=false", "--apply-flux-components", "--strict-substitutions=false", "--override-manager=a,b",
		"--custom-apply-stage-kinds=K", "--default-service-account=d", "--insecure-kubeconfig-exec", "--insecure-kubeconfig-tls",
	})
	want := Options{
		NoCrossNamespaceRefs: true, ApplyFluxComponents: true, OverrideManagers: []string{"a", "b"}, CustomStageKinds: []string{"K"}, DefaultServiceAccount: "d",
	}
	want.Kubeconfig.AllowExec, want.Kubeconfig.AllowInsecureTLS = true, true
	if diff := cmp.Diff(want, o); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	if o.Manager() != managers(nil).Self {
		t.Error("a command looks for another manager than the controller writes as")
	}
}

// offline reads custom resources of which it has these.
type offline struct {
	data
	resources map[string]*unstructured.Unstructured
}

func (o offline) Resource(_ context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	if u := o.resources[ref.Name]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("%s not found", ref)
}

func (offline) Secrets(context.Context, string, string) ([]*corev1.Secret, error) {
	return nil, errors.New("nobody needs them")
}

func (offline) Object(context.Context, schema.GroupVersionResource, string, string) (*unstructured.Unstructured, error) {
	return nil, errors.New("nobody needs it")
}

// A command makes the unit of a Kustomization that the controller does.
func TestACommandMakesTheSameUnit(t *testing.T) {
	for name, parts := range map[string]string{
		"a plain one": plainSpec, "one that has a status": plainSpec + stoodReady, "one with checks": "spec: {interval: 1m, sourceRef: {kind: GitRepository, name: src}, healthChecks: [{kind: Deployment, name: a}]}",
	} {
		got, err := Options{}.Unit(ks(t, parts), offline{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Options{}.unit(read(t, parts), data{}), got, cmp.AllowUnexported(objects{})); diff != "" {
			t.Errorf("%s: -controller +command:\n%s", name, diff)
		}
	}
}

// With an error, there is what could be told.
func TestOfABrokenKustomizationThereIsWhatCouldBeTold(t *testing.T) {
	const had = "status: {inventory: {entries: [{id: shop_a__ConfigMap, v: v1}]}"
	for name, c := range map[string]struct {
		parts, err string
		remembers  int
	}{
		"a spec that can't be read":  {"spec: {interval: 7}\n" + had + "}", "this version of plumb can't read it: spec.interval: ", 1},
		"nor the status":             {"spec: {interval: 7}\nstatus: {inventory: x}", "this version of plumb can't read it: ", 0},
		"a field that is refused":    {"spec: {interval: 1m, decryption: {provider: sops}}\n" + had + "}", "spec.decryption: ", 1},
		"a source of another kind":   {"spec: {interval: 1m, sourceRef: {kind: ExternalArtifact, name: b}}\n" + had + "}", "spec.sourceRef.kind: ", 1},
		"a fight that can't be read": {plainSpec + had + ", conditions: [{type: Contested, status: \"True\", reason: R, message: '{', lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}", "the condition Contested can't be read: ", 1},
	} {
		u, err := Options{}.Unit(ks(t, c.parts), offline{})
		if err == nil || !strings.HasPrefix(err.Error(), c.err) || len(u.Remembers) != c.remembers || u.Name != "Kustomization/shop/web" {
			t.Errorf("%s: %v, and it remembers %v", name, err, u.Remembers)
		}
	}
}

// Before something is deleted, all are made units, or said to be unknown.
func TestOfEveryUnitItIsKnownWhatItClaims(t *testing.T) {
	all := []unstructured.Unstructured{
		*ks(t, plainSpec), *ks(t, "metadata: {name: refused}\nspec: {interval: 1m, decryption: {provider: sops}, sourceRef: {kind: GitRepository, name: src}}"),
		*ks(t, "metadata: {name: unreadable}\nspec: {interval: 7}\n"+stoodReady), *ks(t, "metadata: {name: lost}\nspec: {interval: 7}\nstatus: {inventory: x}"),
		*ks(t, "metadata: {name: broken}\n"+plainSpec+"status: {inventory: {entries: [{id: x}]}}"),
		*ks(t, "metadata: {name: other}\nspec: {interval: 1m, sourceRef: {kind: GitRepository, name: elsewhere}}"),
	}
	a := &source.Artifact{Source: "GitRepository/shop/src", Revision: "r"}
	units, unknown := Options{}.Units(all, offline{}, []*source.Artifact{{Source: "GitRepository/shop/x"}, a})
	var got []string
	for _, u := range units {
		got = append(got, fmt.Sprint(u.Name, " ", len(u.Artifacts), " ", len(u.Remembers), " ", u.Refused != nil))
		if len(u.Artifacts) == 1 && u.Artifacts[0] != a {
			t.Errorf("%s is made from another source", u.Name)
		}
	}
	want := []string{"Kustomization/shop/web 1 0 false", "Kustomization/shop/refused 0 0 true", "Kustomization/shop/unreadable 0 1 true", "Kustomization/shop/other 0 0 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Kustomization/shop/lost", "Kustomization/shop/broken"}, unknown); diff != "" {
		t.Errorf("unknown: -want +got:\n%s", diff)
	}
}

// A directory takes the place of a repository, with what that includes.
func TestADirectoryIsMadeAnArtifact(t *testing.T) {
	dir := tree.FromFiles(map[string]string{"a.yaml": "a", ".git/x": "x", "b.md": "b", "ci/.github/w.yaml": "w"})
	a, err := Options{}.Directory(object.Ref{Kind: "GitRepository", Namespace: "x", Name: "src"}, dir, "local")
	if err != nil || a.Source != "GitRepository/x/src" || a.Revision != "local" {
		t.Fatalf("%+v, %v", a, err)
	}
	if _, err := a.Tree.Lookup("a.yaml"); err != nil {
		t.Error(err)
	}
	if _, err := a.Tree.Lookup(".git/x"); err == nil {
		t.Error("what Flux leaves out of every source is in it")
	}
	if a, err = (Options{}).Artifact(t.Context(), gitRepo(t, "spec: {url: 'https://h', interval: 1m, ignore: 'a.yaml'}"), offline{}, nil, view.Want{Dir: dir, Revision: "local"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Tree.Lookup("a.yaml"); err == nil {
		t.Error("what the spec leaves out is in it")
	}
}

// Who includes whom is followed by name, and not in circles.
func TestWhatIsIncludedHasToBeThere(t *testing.T) {
	including := func(names ...string) *unstructured.Unstructured {
		var list []string
		for _, n := range names {
			list = append(list, "{repository: {name: "+n+"}}")
		}
		return gitRepo(t, "spec: {url: 'https://h', interval: 1m, include: ["+strings.Join(list, ", ")+"]}\nstatus: {artifact: {revision: main@sha1:1}}")
	}
	self, b := including("src"), including("src")
	b.SetName("b")
	for name, c := range map[string]struct {
		u    *unstructured.Unstructured
		at   map[string]*unstructured.Unstructured
		want string
		next fault.Next
	}{
		"one that is not there": {including("lib"), nil, "spec.include: source.toolkit.fluxcd.io", fault.Retry},
		"one without an artifact": {
			including("lib"), map[string]*unstructured.Unstructured{"lib": gitRepo(t, "spec: {url: 'https://h', interval: 1m}")}, "has no artifact", fault.Retry,
		},
		"one whose artifact is a word": {
			including("lib"), map[string]*unstructured.Unstructured{"lib": gitRepo(t, "status: {artifact: x}")}, "can't be read: ", fault.Retry,
		},
		"itself":             {self, map[string]*unstructured.Unstructured{"src": self}, "in a circle: x/src → x/src", fault.Stall},
		"itself, by another": {including("b"), map[string]*unstructured.Unstructured{"src": including("b"), "b": b}, "in a circle: x/src → x/b → x/src", fault.Stall},
	} {
		_, err := Options{}.Artifact(t.Context(), c.u, offline{resources: c.at}, nil, view.Want{Dir: tree.FromFiles(map[string]string{"a": "a"})})
		if err == nil || !strings.Contains(err.Error(), c.want) && name != "one that is not there" || fault.Of(err).Next != c.next {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsReadOfAnInventory(t *testing.T) {
	k := read(t, plainSpec+"status: {inventory: {entries: [{id: shop_a__ConfigMap, v: v1}, {id: shop_a__ConfigMap, v: v1beta1}, {id: _b_g_K, v: v1}]}}")
	entries, err := inventoryOf(&k.Status)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
	if entries, err := inventoryOf(&read(t, plainSpec).Status); entries != nil || err != nil {
		t.Errorf("of none: %v, %v", entries, err)
	}
	for _, id := range []string{"", "shop", "shop_a", "shop_a_g", "shop__g_K", "shop_a_g_"} {
		k := read(t, plainSpec+"status: {inventory: {entries: [{id: shop_a__ConfigMap, v: v1}, {id: '"+id+"', v: v1}]}}")
		if entries, err := inventoryOf(&k.Status); err == nil || entries != nil {
			t.Errorf("%q: %v", id, entries)
		}
	}
	if got := toInventory(entries); len(got.Entries) != 2 {
		t.Errorf("%v", got)
	}
	if got := toInventory(nil); got == nil || got.Entries == nil {
		t.Error("an inventory of nothing is none, which says that nothing was ever applied")
	}
}

// What the cache holds is not changed by who reads it, and what it can't keep is
// an error.
func TestOddObjectsInTheCache(t *testing.T) {
	if got, err := custom.Slim("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	u := ks(t, plainSpec)
	if _, err := custom.Slim(u); err != nil || u.Object["status"] != nil || custom.Whole(u) != nil {
		t.Errorf("%v", err)
	}
	u.Object["status"] = map[string]any{"x": func() {}}
	if _, err := custom.Slim(u); err == nil {
		t.Error("what can't be kept is")
	}
	u.Object["status"] = "{"
	if err := custom.Whole(u); err == nil || !strings.Contains(err.Error(), "web") {
		t.Error(err)
	}
	if _, err := get(t.Context(), newStored(t), KustomizationKind, webKey); err == nil || errors.Is(err, view.ErrOffline) {
		t.Error("what is not there is read")
	}
	var _ getter = lookup.Peek{}
}
