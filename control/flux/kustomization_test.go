package flux

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"plumb.dev/plumb/fault"
)

// within waits until there is nothing to say against it.
func within(t *testing.T, done func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = done(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func (l *look) reconciles() error {
	_, err := l.Reconcile(l.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(l.like)})
	return err
}

// A Kustomization can't go before its objects, from the first look on; a
// suspended one is not touched.
func TestAKustomizationIsFinalized(t *testing.T) {
	for name, c := range map[string]struct {
		parts string
		want  []string
	}{
		"a new one":              {plainSpec, []string{finalizer}},
		"one of somebody's":      {"metadata: {finalizers: [theirs]}\n" + plainSpec, []string{"theirs", finalizer}},
		"one that is known":      {"metadata: {finalizers: [finalizers.fluxcd.io]}\n" + plainSpec, []string{finalizer}},
		"a suspended one":        {"spec: {interval: 1m, suspend: true, sourceRef: {kind: GitRepository, name: src}}", nil},
		"one that is refused":    {"spec: {interval: 1m, sourceRef: {kind: ExternalArtifact, name: src}}", []string{finalizer}},
		"one that can't be read": {"spec: {interval: 1m, odd: 1}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, c.parts)
			for range 2 {
				if err := l.reconciles(); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.now(t, l.like).GetFinalizers(); !slices.Equal(got, c.want) {
				t.Errorf("its finalizers are %v, want %v", got, c.want)
			}
			if w := l.written(); len(w) > 1 {
				t.Errorf("it is written twice: %s", w)
			}
		})
	}
}

// A unit whose finalizer can't be stored does nothing, and is tried again.
func TestWithoutAFinalizerNothingIsApplied(t *testing.T) {
	l := newLook(t, plainSpec)
	l.refuse = func(what string) error {
		if what == "patch" {
			return errors.New("no")
		}
		return nil
	}
	if err := l.reconciles(); err == nil || err.Error() != "add the finalizer: no" {
		t.Error(err)
	}
	l.engine.Start(t.Context())
	within(t, func() error {
		if s := l.status(); !strings.Contains(s, "Ready=False ReconciliationFailed @2: add the finalizer: no") {
			return errors.New(s)
		}
		return nil
	})
}

// From the custom resource to its status, by the real engine, as far as that
// needs no cluster.
func TestWhatIsWrongWithASpecIsInItsStatus(t *testing.T) {
	for name, c := range map[string]struct {
		parts, want string
	}{
		"a field that there is not": {
			"spec: {interval: 1m, intervall: 2m}", `Stalled=True InvalidSpec @2: this version of plumb can't read it: spec.intervall: strict decoding error: unknown field "spec.intervall"`,
		},
		"a field of another type": {"spec: {interval: 1m, prune: 'yes'}", "Stalled=True InvalidSpec @2: this version of plumb can't read it: spec.prune: "},
		"a spec that is a list":   {"spec: [1]", "Stalled=True InvalidSpec @2: this version of plumb can't read it: spec: "},
		"patches that are none":   {"spec: {interval: 1m, patchesJson6902: {x: 1}}", "Stalled=True InvalidSpec @2: spec.patchesJson6902: "},
		"strategic ones that are none": {
			"spec: {interval: 1m, patchesStrategicMerge: x}", "Stalled=True InvalidSpec @2: spec.patchesStrategicMerge: ",
		},
		"a field that is not supported": {"spec: {interval: 1m, decryption: {provider: sops}}", "Stalled=True UnsupportedField @2: spec.decryption: "},
		"a source of another kind":      {"spec: {interval: 1m, sourceRef: {kind: ExternalArtifact, name: b}}", "Stalled=True UnsupportedField @2: spec.sourceRef.kind: "},
		"an inventory that is broken": {
			plainSpec + "status: {inventory: {entries: [{id: x}]}}", "Stalled=True InvalidInventory @2: status.inventory: inventory id \"x\" is not <namespace>_<name>_<group>_<kind> (nothing is applied or pruned until it is repaired)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLook(t, c.parts)
			l.engine.Start(t.Context())
			if err := l.reconciles(); err != nil {
				t.Fatal(err)
			}
			within(t, func() error {
				if s := l.status(); !strings.Contains(s, c.want) {
					return fmt.Errorf("want %s in\n%s", c.want, s)
				}
				return nil
			})
		})
	}
}

func TestAKustomizationThatIsGoneIsForgotten(t *testing.T) {
	l := newLook(t, plainSpec)
	if err := l.statuses.Wrote(at(t, "1", "x")); err != nil {
		t.Fatal(err)
	}
	l.told.leaves(webKey, "something")
	if err := l.Delete(t.Context(), l.now(t, l.like)); err != nil {
		t.Fatal(err)
	}
	if err := l.reconciles(); err != nil {
		t.Fatal(err)
	}
	if l.statuses.Knows(webKey) || l.told.leaves(webKey, "") != "" {
		t.Error("it is not forgotten")
	}
}

// What becomes of the objects is for the deletion policy to say, and for prune
// where that says nothing. Doubt means to keep them.
func TestWhatBecomesOfTheObjectsOfOneThatIsDeleted(t *testing.T) {
	const (
		goes  = "it goes and leaves them"
		stays = "it stays until they are deleted" // for which there is no cluster
	)
	for name, c := range map[string]struct {
		spec   string
		status string // instead of one with an inventory
		crd    string // of which state the definition is
		want   string
		events string
	}{
		"it prunes":                             {spec: "prune: true", want: stays},
		"it does not":                           {spec: "prune: false", want: goes},
		"it mirrors that":                       {spec: "prune: true, deletionPolicy: MirrorPrune", want: stays},
		"it mirrors that, the other way":        {spec: "prune: false, deletionPolicy: MirrorPrune", want: goes},
		"delete":                                {spec: "prune: false, deletionPolicy: Delete", want: stays},
		"delete, and wait":                      {spec: "prune: false, deletionPolicy: WaitForTermination", want: stays},
		"orphan":                                {spec: "prune: true, deletionPolicy: Orphan", want: goes},
		"it is suspended":                       {spec: "prune: true, suspend: true", want: goes},
		"it is suspended, whatever it asks for": {spec: "prune: true, suspend: true, deletionPolicy: Delete", want: goes},
		"another policy is another version's":   {spec: "prune: false, deletionPolicy: Else", want: goes},
		"the definition goes, too":              {spec: "prune: true", crd: "going", want: goes, events: "Warning PruneHeld the CustomResourceDefinition of Kustomizations is being deleted; the objects were kept"},
		"the definition is gone":                {spec: "prune: true", crd: "gone", want: goes, events: "Warning PruneHeld the CustomResourceDefinition of Kustomizations is being deleted; the objects were kept"},
		"the definition goes, and it would have kept them": {spec: "prune: false", crd: "going", want: goes},
		"it could not be applied":                          {spec: "prune: true, decryption: {provider: sops}", want: stays},
		"its account may not be":                           {spec: "prune: true, serviceAccountName: a/b", want: stays},
		"its inventory is broken":                          {spec: "prune: true", status: "status: {inventory: {entries: [{id: x}]}}", want: stays},
		"its inventory is broken, and left":                {spec: "prune: true, deletionPolicy: Orphan", status: "status: {inventory: {entries: [{id: x}]}}", want: goes},
	} {
		t.Run(name, func(t *testing.T) {
			if c.status == "" {
				c.status = stoodReady
			}
			l := newLook(t, "metadata: {deletionTimestamp: \"2026-01-02T00:00:00Z\", finalizers: [finalizers.fluxcd.io, theirs]}\n"+
				"spec: {interval: 1m, sourceRef: {kind: GitRepository, name: src}, "+c.spec+"}\n"+c.status)
			crd := parsed(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: kustomizations.kustomize.toolkit.fluxcd.io}}")
			if c.crd == "going" {
				crd = parsed(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: kustomizations.kustomize.toolkit.fluxcd.io, deletionTimestamp: \"2026-01-02T00:00:00Z\", finalizers: [x]}}")
			}
			if c.crd != "gone" {
				l.live = newStored(t, crd)
			}
			l.engine.Start(t.Context())
			if err := l.reconciles(); err != nil {
				t.Fatal(err)
			}
			var got string
			within(t, func() error {
				switch {
				case !slices.Contains(l.now(t, l.like).GetFinalizers(), finalizer):
					got = goes
				case strings.Contains(l.status(), "ProgressingWithRetry"):
					got = stays
				default:
					return errors.New("nothing becomes of it")
				}
				return nil
			})
			if got != c.want {
				t.Errorf("%s, want: %s\n%s", got, c.want, l.status())
			}
			if c.want == goes {
				var want []string
				if c.events != "" {
					want = []string{c.events}
				}
				l.wantEvents(want...)
			}
		})
	}
}

// If it can't be told whether the definition goes, nothing is decided.
func TestADefinitionThatCannotBeReadDecidesNothing(t *testing.T) {
	l := newLook(t, leaving+stoodReady)
	l.live = unreadableClient{l.stored}
	l.engine.Start(t.Context())
	if err := l.reconciles(); err == nil || err.Error() != "no answer" {
		t.Error(err)
	}
	if f := l.now(t, l.like).GetFinalizers(); !slices.Contains(f, finalizer) {
		t.Errorf("its finalizers are %v", f)
	}
	l.wantWrites(0)
}

// unreadableClient is a server that does not answer.
type unreadableClient struct{ client.Reader }

func (unreadableClient) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("no answer")
}

// What another controller still has to see off is not ours any more.
func TestWhatIsDeletedWithoutOurFinalizerIsLeft(t *testing.T) {
	l := newLook(t, "metadata: {deletionTimestamp: \"2026-01-02T00:00:00Z\", finalizers: [theirs]}\n"+plainSpec)
	if err := l.reconciles(); err != nil {
		t.Fatal(err)
	}
	l.wantWrites(0)
	l.wantEvents()
}

// All that there are are put before the engine begins, and one that can't be is
// tried again and keeps no other from it.
func TestAllAreLoaded(t *testing.T) {
	good, bad := ks(t, plainSpec), ks(t, "metadata: {name: bad}\n"+plainSpec)
	s := newStored(t, good, bad)
	r := newKustomizations(t, s)
	s.refuse = func(what string) error {
		if strings.Contains(strings.Join(s.writes[len(s.writes)-1:], ""), "patch") && len(s.writes) == 1 {
			return errors.New("no")
		}
		return nil
	}
	if err := r.putAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	finalized := 0
	for _, u := range []*unstructured.Unstructured{good, bad} {
		finalized += len(s.now(t, u).GetFinalizers())
	}
	if finalized != 1 {
		t.Errorf("%d are finalized, want the other one", finalized)
	}
}

// Who is asked for by name is answered by name, once.
func TestWhatAPersonAskedForIsKnown(t *testing.T) {
	for name, c := range map[string]struct{ annotation, handled, want string }{
		"nothing":            {"", "", ""},
		"something":          {"now", "", "now"},
		"something else":     {"now", "then", "now"},
		"what was done":      {"now", "now", ""},
		"nothing any longer": {"", "then", ""},
	} {
		parts := "metadata: {annotations: {other: x}}\n"
		if c.annotation != "" {
			parts = "metadata: {annotations: {reconcile.fluxcd.io/requestedAt: " + c.annotation + "}}\n"
		}
		l := newLook(t, parts+plainSpec+"status: {lastHandledReconcileAt: \""+c.handled+"\"}")
		if got := l.unit().Requested; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What the engine keeps of a Kustomization is not what is in the cache, and the
// copies that are made of it have no status in common.
func TestTheOriginOfAUnitHasNoStatus(t *testing.T) {
	l := newLook(t, plainSpec+stoodReady)
	u := l.unit()
	a, b := originOf(u), originOf(u)
	if a.Status.ObservedGeneration != 0 || len(a.Status.Conditions) != 0 || a.Status.Inventory != nil {
		t.Errorf("it has the status %s", says(&a.Status))
	}
	conclude(a, outcome(failed(fault.Retry, "", "no")))
	if len(b.Status.Conditions) != 0 || len(originOf(u).Status.Conditions) != 0 {
		t.Error("a status was written into all of them")
	}
}

// While what a unit refers to was not read, it is not known whether there is
// something wrong.
func TestWhatWasNotReadYetIsNoNews(t *testing.T) {
	l := newLook(t, plainSpec)
	k := read(t, "spec: {interval: 1m, kubeConfig: {secretRef: {name: kc}}, sourceRef: {kind: GitRepository, name: src}}")
	if u := l.kustomizations.unit(k, data{"Secret/shop/kc": {"error": "unread"}}); !fault.Is(u.Refused, fault.NotYetRead) || fault.Of(u.Refused).Next != fault.Wait {
		t.Error(u.Refused)
	}
	if u := l.kustomizations.unit(k, data{"Secret/shop/kc": {"error": "refused"}}); u.Refused == nil || fault.Is(u.Refused, fault.NotYetRead) {
		t.Error(u.Refused)
	}
}

// What a unit depends on is named from its own namespace, and judged in the name
// of its account, if it has one.
func TestDependenciesAreUnits(t *testing.T) {
	spec := "dependsOn: [{name: db}, {name: net, namespace: infra}, {name: x, readyExpr: 'dep.status.ok'}]"
	l := newLook(t, plainSpec)
	plain := l.dependencies(read(t, "spec: {interval: 1m, "+spec+"}"))
	as := l.dependencies(read(t, "spec: {interval: 1m, serviceAccountName: a, "+spec+"}"))
	l.o.DefaultServiceAccount = "d"
	byDefault := l.dependencies(read(t, "spec: {interval: 1m, "+spec+"}"))
	var got []string
	for i, d := range plain {
		got = append(got, fmt.Sprint(d.Unit, " ", d.As, " ", d.Judge != nil))
		if d.May != nil || as[i].May == nil || byDefault[i].May == nil {
			t.Errorf("%s is asked for in the wrong name", d.Unit)
		}
	}
	want := []string{"Kustomization/shop/db shop/db false", "Kustomization/infra/net infra/net false", "Kustomization/shop/x shop/x true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if d := l.dependencies(read(t, plainSpec)); d != nil {
		t.Errorf("it depends on %v", d)
	}
}

func TestADependencyIsJudgedByAnExpression(t *testing.T) {
	self := ks(t, "metadata: {labels: {tier: two}}\n"+plainSpec)
	for name, c := range map[string]struct {
		expr, want string
		err        string // part of it
	}{
		"it is ready":               {`dep.status.lastAppliedRevision == "r"`, "", ""},
		"it is not":                 {`dep.status.lastAppliedRevision == "s"`, "is not ready by its readyExpr", ""},
		"it is compared":            {`dep.metadata.labels.tier == self.metadata.labels.tier`, "", ""},
		"a field that is not there": {`dep.status.nothing == "s"`, "can't be judged by its readyExpr: ", ""},
		"a number is a number":      {`dep.metadata.generation == 2`, "", ""},
		"no expression":             {`dep.(`, "", "readyExpr: "},
		"no truth":                  {`dep.metadata.name`, "", "readyExpr: "},
		"a word":                    {`"yes"`, "", "readyExpr: "},
		"another's variable":        {`other.x`, "", "readyExpr: "},
	} {
		t.Run(name, func(t *testing.T) {
			dep := ks(t, "metadata: {name: db, labels: {tier: two}}\n"+plainSpec+"status: {lastAppliedRevision: r}")
			r := newKustomizations(t, newStored(t, self, dep))
			k := read(t, plainSpec)
			why, err := r.byExpr(t.Context(), k, types.NamespacedName{Namespace: "shop", Name: "db"}, c.expr)
			if c.err != "" {
				if f := fault.Of(err); err == nil || !strings.HasPrefix(err.Error(), c.err) || f.Next != fault.Stall {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || !strings.HasPrefix(why, c.want) || c.want == "" && why != "" {
				t.Errorf("%q, %v", why, err)
			}
		})
	}
	r := newKustomizations(t, newStored(t, self))
	if why, err := r.byExpr(t.Context(), read(t, plainSpec), types.NamespacedName{Namespace: "shop", Name: "db"}, "true"); why != "does not exist" || err != nil {
		t.Errorf("one that is not there: %q, %v", why, err)
	}
}

func TestNamesOfUnits(t *testing.T) {
	if kind, key := keyOf(unitName("Kustomization", "shop", "web")); kind != "Kustomization" || key != webKey {
		t.Errorf("%s %s", kind, key)
	}
	for _, name := range []string{"", "a", "a/b", "Kustomization"} {
		if kind, key := keyOf(name); kind != "" || key != (types.NamespacedName{}) {
			t.Errorf("%q is %s %s", name, kind, key)
		}
	}
}

// An error of a controller says which object it is about.
func TestErrorsOfAControllerNameTheObject(t *testing.T) {
	why := errors.New("no")
	r := named("Kustomization", reconcile.Func(func(_ context.Context, req ctrl.Request) (ctrl.Result, error) {
		if req.Name == "web" {
			return ctrl.Result{RequeueAfter: 1}, why
		}
		return ctrl.Result{RequeueAfter: 2}, nil
	}))
	if res, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: webKey}); err == nil || err.Error() != "Kustomization/shop/web: no" || !errors.Is(err, why) || res.RequeueAfter != 1 {
		t.Errorf("%v, %v", res, err)
	}
	if res, err := r.Reconcile(t.Context(), ctrl.Request{}); err != nil || res.RequeueAfter != 2 {
		t.Errorf("%v, %v", res, err)
	}
}
