package apply_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// A scene is what is observed: a few objects by name, and facts beside them.
type scene struct {
	apply.Facts
	live map[string]apply.Live // by the name of the object
}

// item is a desired object, of the kind that its name begins with.
func item(name string) apply.Item {
	kind, _, _ := strings.Cut(name, "-")
	it := apply.Item{Ref: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: name}, Version: "v1", Digest: "now"}
	switch kind {
	case "crd":
		it.Ref = object.Ref{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: name}
	case "ns":
		it.Ref = object.Ref{Kind: "Namespace", Name: "shop"}
	case "job":
		it.Ref.Group, it.Ref.Kind = "batch", "Job"
	case "class":
		it.Ref = object.Ref{Group: "storage.k8s.io", Kind: "StorageClass", Name: name}
	}
	it.Object = func() *unstructured.Unstructured {
		switch kind {
		case "crd":
			return parse(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"crd"},
				"spec":{"group":"example.com","names":{"kind":"Widget"}}}`)
		case "job":
			return parse(`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"job"},"spec":{"ttlSecondsAfterFinished":1}}`)
		}
		return cm("git", "")
	}
	return it
}

func parse(s string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(s)); err != nil {
		panic(err)
	}
	return u
}

func observed(names ...string) *scene {
	s := &scene{live: map[string]apply.Live{}}
	s.Managers, s.Now = self, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.Pruning = apply.Pruning{Enabled: true, Path: "./app", Revision: "main@sha1:1"}
	for _, n := range names {
		s.Items = append(s.Items, item(n))
	}
	s.Live = func(r object.Ref) (apply.Live, bool) { return s.live[r.Name], true }
	s.Policy = func(o *unstructured.Unstructured) (p apply.Policy) {
		if o.GetAnnotations()["leave"] != "" {
			p.Mode = apply.Ignore
		}
		return p
	}
	return s
}

// had puts objects into the inventory, desired or not.
func (s *scene) had(names ...string) *scene {
	for _, n := range names {
		it := item(n)
		s.Inventory = append(s.Inventory, apply.Entry{Ref: it.Ref, Version: it.Version})
	}
	return s
}

// widget adds a desired object of a kind that the cluster does not have.
func (s *scene) widget(name string) *scene {
	s.Unknown = append(s.Unknown, apply.Item{Ref: object.Ref{Group: "example.com", Kind: "Widget", Namespace: "shop", Name: name}, Version: "v1"})
	return s
}

func (s *scene) is(name string, l apply.Live) *scene {
	s.live[name] = l
	return s
}

func (s *scene) with(f func(*apply.Facts)) *scene {
	f(&s.Facts)
	return s
}

// What an object may be like.
var (
	asGit      = apply.Live{Exists: true, Settled: true, Digest: "now"}
	asBefore   = apply.Live{Exists: true, Settled: true, Digest: "before"}
	changed    = apply.Live{Exists: true, Digest: "now", Object: cm("theirs", "rival")}
	unlike     = apply.Live{Exists: true, Object: cm("theirs", "rival")}
	deletedNow = apply.Live{Digest: "now"}
	going      = apply.Live{Exists: true, Deleting: true, Settled: true, Digest: "now"}
)

func none(f *apply.Facts)  { f.Admits = func(object.Ref) error { return errors.New("no") } }
func aside(f *apply.Facts) { f.Items[0].Aside = true }

func only(p apply.Permission) func(*apply.Facts) { return func(f *apply.Facts) { f.Permission = p } }

// says notes what a surplus object says of itself.
func says(name string, p apply.Policy) func(*apply.Facts) {
	return func(f *apply.Facts) {
		if f.Says == nil {
			f.Says = map[object.Ref]apply.Policy{}
		}
		f.Says[item(name).Ref] = p
	}
}

func whole(f *apply.Facts) { f.Whole = true }

// Each rule, and who has the last word where two could speak.
func TestRules(t *testing.T) {
	ignore := func(f *apply.Facts) { f.Items[0].Policy = apply.Policy{Mode: apply.Ignore, Why: "not now"} }
	once := func(f *apply.Facts) { f.Items[0].Policy.Mode = apply.IfNotPresent }
	done := func(f *apply.Facts) { f.Done = map[object.Ref]bool{f.Items[0].Ref: true} }
	claims := func(c apply.Claims) func(*apply.Facts) { return func(f *apply.Facts) { f.Claims = c } }
	pruning := func(set func(*apply.Pruning)) func(*apply.Facts) {
		return func(f *apply.Facts) { set(&f.Pruning) }
	}
	leave := cm("theirs", "rival")
	leave.SetAnnotations(map[string]string{"leave": "x"})
	for _, c := range []struct {
		what  string
		scene *scene
		want  string
		guard fault.Reason
	}{
		{"what is not there is created", observed("a"), "a create needed", ""},
		{"what changed in Git is updated", observed("a").is("a", asBefore), "a update needed", ""},
		{"what is as it should be stays", observed("a").is("a", asGit), "a nothing as-desired", ""},
		{"what is found as it should be is noted", observed("a").is("a", apply.Live{Exists: true, Object: cm("git", self.Self)}), "a settle as-desired", ""},
		{"what Git says to leave alone is, whatever it is like", observed("a").is("a", going).with(ignore), "a nothing ignored", ""},
		{"what is being deleted is waited for", observed("a").is("a", going), "a hold ending [ConfigMap/shop/a]", ""},
		{"and so is a namespace, for what is in it", observed("ns", "a").is("shop", going), "shop hold ending [Namespace/shop], a hold namespace-ends [Namespace/shop]", ""},
		{"what is only created is not updated", observed("a").is("a", unlike).with(once), "a nothing if-not-present", ""},
		{"but created", observed("a").with(once), "a create needed", ""},
		{"a live object that asks for it is left alone", observed("a").is("a", apply.Live{Exists: true, Object: leave}), "a nothing left-alone", ""},
		{"a Job that has run does not run again", observed("job").is("job", deletedNow), "job nothing expired", ""},
		{"nor after a start", observed("job").with(done), "job nothing expired", ""},
		{"but if it is new", observed("job"), "job create needed", ""},
		{"or another", observed("job").is("job", apply.Live{Digest: "before"}), "job create needed", ""},

		{"with an object of an unknown kind nothing new of its stage is written", observed("a", "b", "c").widget("w").is("a", asBefore).is("b", asGit).had("b", "old"),
			"a hold stage-order [Widget/shop/w], b nothing as-desired, c hold stage-order [Widget/shop/w], w hold unknown-kind, old hold stage-order [Widget/shop/w]", ""},
		{"what somebody changed is put back all the same", observed("a").widget("w").is("a", changed), "a update needed, w hold unknown-kind", ""},
		{"and what comes before it is written", observed("crd-other", "class", "a").widget("w").with(func(f *apply.Facts) {
			f.Items[0].Object = func() *unstructured.Unstructured { return cm("x", "") }
		}), "crd-other create needed, class create needed, a hold stage-order [Widget/shop/w], w hold unknown-kind", ""},
		{"a kind that comes with it is waited for by nobody else", observed("crd", "a").widget("w").had("old"),
			"crd create needed, a create needed, w create needed [CustomResourceDefinition/crd], old delete surplus", ""},
		{"nor does it come if that is not permitted", observed("crd").widget("w").with(only(apply.LookOnly)),
			"crd hold permission, w hold permission [CustomResourceDefinition/crd]", ""},
		{"what is left alone needs no kind", observed("a").widget("w").with(func(f *apply.Facts) { f.Unknown[0].Policy.Mode = apply.Ignore }).had("old"),
			"a create needed, w nothing ignored, old delete surplus", ""},
		{"an inventory may have it without its namespace", observed().widget("w").with(func(f *apply.Facts) {
			f.Inventory = []apply.Entry{{Ref: object.Ref{Group: "example.com", Kind: "Widget", Namespace: "elsewhere", Name: "w"}}}
		}), "w hold unknown-kind", ""},

		{"where only drift is put back, that is", observed("a", "b", "c").had("a", "b", "old").is("a", changed).is("b", asBefore).with(only(apply.CorrectDrift)),
			"a update needed, b hold permission, c hold permission, old hold permission", ""},
		{"after a start, drift is what is not as it was applied as a whole", observed("a").had("a").is("a", unlike).with(only(apply.CorrectDrift)).with(whole), "a update needed", ""},
		{"else it can't be told", observed("a").had("a").is("a", unlike).with(only(apply.CorrectDrift)), "a hold permission", ""},
		{"what was never applied is no drift", observed("a").is("a", changed).with(only(apply.CorrectDrift)), "a hold permission", ""},
		{"who may only look writes nothing", observed("a", "b").had("a", "old").is("a", changed).is("b", asGit).with(only(apply.LookOnly)), "a hold permission, b nothing as-desired, old hold permission", ""},

		{"what a unit may not have is held, also where it is as desired", observed("a", "b", "c").had("a", "b", "old").is("a", asGit).is("b", asBefore).with(none),
			"a hold not-admitted, b hold not-admitted, c hold not-admitted, old hold not-admitted", ""},
		{"what it needs before all else is not, where it is there", observed("ns").is("shop", asGit).with(none).with(aside), "shop nothing as-desired", ""},
		{"and is, where it is not", observed("ns").with(none).with(aside), "shop hold not-admitted", ""},

		{"what is surplus is deleted", observed("a").is("a", asGit).had("a", "old"), "a nothing as-desired, old delete surplus", ""},
		{"not where pruning is off", observed("a").is("a", asGit).had("old").with(pruning(func(p *apply.Pruning) { p.Enabled = false })), "a nothing as-desired, old release pruning-off", ""},
		{"but when all of the unit goes", observed().had("old").with(pruning(func(p *apply.Pruning) { p.Enabled, p.Leaving = false, true })), "old delete surplus", ""},
		{"not what another unit wants", observed("a").is("a", asGit).had("a", "b", "c").with(claims(apply.Claims{By: map[object.Ref]string{item("b").Ref: "other"}})),
			"a nothing as-desired, c delete surplus, b release claimed", ""},
		{"not where it can't be told who wants it", observed("a").is("a", asGit).had("a", "b").with(claims(apply.Claims{Unknown: []string{"other"}, By: map[object.Ref]string{item("b").Ref: "x"}})),
			"a nothing as-desired, b hold claims-unknown", fault.PruneHeld},
		{"nor where who may want it is broken", observed("a").is("a", asGit).had("a", "b").with(claims(apply.Claims{Broken: []string{"other"}})), "a nothing as-desired, b hold claims-unknown", fault.PruneHeld},
		{"nor where the server does not say", observed("a").is("a", asGit).had("a", "b").with(claims(apply.Claims{Err: errors.New("no answer")})), "a nothing as-desired, b hold claims-unknown", fault.PruneHeld},
		{"an error that says what is waited for is told as it is", observed("a").is("a", asGit).had("a", "b").with(claims(apply.Claims{Err: &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: errors.New("later")}})),
			"a nothing as-desired, b hold claims-unknown", fault.Progressing},
		{"not what says that it is not to be pruned", observed("a").is("a", asGit).had("a", "b", "c").with(says("b", apply.Policy{Prune: apply.Never})),
			"a nothing as-desired, c delete surplus, b hold kept", ""},
		{"which is no matter of permission", observed().had("b", "c").with(says("b", apply.Policy{Prune: apply.Never})).with(only(apply.LookOnly)), "c hold permission, b hold kept", ""},
		{"nor is it a loss that others are kept for", observed("a").is("a", asGit).had("a", "b", "c", "d", "e", "f").with(says("b", apply.Policy{Prune: apply.Never})),
			"a nothing as-desired, f hold most-pruned, e hold most-pruned, d hold most-pruned, c hold most-pruned, b hold kept", fault.PruneHeld},
		{"what is let go of is not kept", observed("a").is("a", asGit).had("a", "b").with(says("b", apply.Policy{Prune: apply.Never, Keep: true})), "a nothing as-desired, b delete surplus", ""},
		{"nothing at all is no reason to delete everything", observed().had("a"), "a hold empty-render", fault.EmptyRender},
		{"unless it may be", observed().had("a").with(pruning(func(p *apply.Pruning) { p.AllowEmpty = true })), "a delete surplus", ""},
		{"most of it is held", observed("a").is("a", asGit).had("a", "b", "c", "d"), "a nothing as-desired, d hold most-pruned, c hold most-pruned, b hold most-pruned", fault.PruneHeld},
		{"unless it is approved", observed("a").is("a", asGit).had("a", "b", "c", "d").with(pruning(func(p *apply.Pruning) { p.Approved = true })),
			"a nothing as-desired, d delete surplus, c delete surplus, b delete surplus", ""},
		{"what was held stays so, although it is less than half now", observed("a", "e", "f", "g").is("a", asGit).is("e", asGit).is("f", asGit).is("g", asGit).had("a", "e", "f", "g", "b", "c", "d").
			with(pruning(func(p *apply.Pruning) { p.Withheld = true })),
			"a nothing as-desired, e nothing as-desired, f nothing as-desired, g nothing as-desired, d hold most-pruned, c hold most-pruned, b hold most-pruned", fault.PruneHeld},
		{"another name for the same is no loss", observed("a-f8h2k9m4t6").is("a-f8h2k9m4t6", asGit).had("a-2456789bcd", "b", "c", "d"),
			"a-f8h2k9m4t6 nothing as-desired, d hold most-pruned, c hold most-pruned, b hold most-pruned, a-2456789bcd delete surplus", fault.PruneHeld},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, ok := apply.Make(c.scene.Facts)
			if !ok {
				t.Fatal("no plan")
			}
			if diff := cmp.Diff(sorted(c.want), sorted(said(p))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			reason := fault.Reason("")
			if p.Guard != nil {
				reason = fault.Of(p.Guard).Reason
			}
			if reason != c.guard {
				t.Errorf("pruning is guarded by %q, want %q: %v", reason, c.guard, p.Guard)
			}
			if again, _ := apply.Make(c.scene.Facts); said(again) != said(p) {
				t.Errorf("the same facts make another plan: %s", said(again))
			}
		})
	}
}

// said is a plan in a line: each object, what has to happen, by which rule, and
// what it waits for.
func said(p *apply.Plan) string {
	var parts []string
	for _, c := range p.Changes {
		s := fmt.Sprintf("%s %s %s", c.Ref.Name, c.Action, c.Rule)
		if len(c.WaitsFor) > 0 {
			s += fmt.Sprint(" ", c.WaitsFor)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// sorted takes apart what said says. The order has tests of its own.
func sorted(s string) map[string]bool {
	set := map[string]bool{}
	for _, part := range strings.Split(s, ", ") {
		set[part] = true
	}
	return set
}

// Every object has a word about it, whatever is observed: none is forgotten.
func TestEveryObjectIsInThePlan(t *testing.T) {
	s := observed("crd", "ns", "class", "a", "job").widget("w").had("a", "old", "older").is("a", going)
	p, ok := apply.Make(s.Facts)
	if !ok || len(p.Changes) != 8 {
		t.Fatalf("%d objects of 8: %s", len(p.Changes), said(p))
	}
	for _, c := range p.Changes {
		if c.Rule == "" {
			t.Errorf("no rule speaks about %s", c.Ref)
		}
	}
}

// What is as desired needs nothing, although it may not be had.
func TestWhatIsBarredNeedsSomething(t *testing.T) {
	for what, c := range map[string]struct {
		scene *scene
		want  bool
	}{
		"as desired": {observed("a").is("a", asGit).with(none), false},
		"found so":   {observed("a").is("a", apply.Live{Exists: true, Object: cm("git", self.Self)}).with(none), false},
		"another":    {observed("a").is("a", asBefore).with(none), true},
		"not there":  {observed("a").with(none), true},
		"surplus":    {observed().had("old").with(none), false},
		"all of it":  {observed("a"), false},
	} {
		if p, _ := apply.Make(c.scene.Facts); p.Bars() != c.want {
			t.Errorf("%s: %v of %s", what, p.Bars(), said(p))
		}
	}
}

// What is withheld stays so until it can be told how much it is.
func TestWhatWasWithheldIsRemembered(t *testing.T) {
	for what, c := range map[string]struct {
		scene *scene
		want  bool
	}{
		"most would go":              {observed("a").had("a", "b", "c", "d"), true},
		"little is left":             {observed("a").had("a", "b").with(func(f *apply.Facts) { f.Pruning.Withheld = true }), false},
		"nobody may prune now":       {observed("a").had("a", "b").with(func(f *apply.Facts) { f.Pruning.Withheld = true }).with(only(apply.CorrectDrift)), true},
		"a kind is missing":          {observed("a").had("a", "b").widget("w").with(func(f *apply.Facts) { f.Pruning.Withheld = true }), true},
		"it can't be told who wants": {observed("a").had("a", "b").with(func(f *apply.Facts) { f.Pruning.Withheld, f.Claims.Unknown = true, []string{"x"} }), true},
		"it was approved":            {observed("a").had("a", "b", "c", "d").with(func(f *apply.Facts) { f.Pruning.Withheld, f.Pruning.Approved = true, true }), false},
	} {
		if p, _ := apply.Make(c.scene.Facts); p.Withheld != c.want {
			t.Errorf("%s: withheld is %v", what, p.Withheld)
		}
	}
}

// What is kept of a plan holds none of the objects, and says the same.
func TestAPlanIsKeptWithoutItsObjects(t *testing.T) {
	p, _ := apply.Make(observed("a", "b").is("a", changed).had("a", "old").Facts)
	slim := apply.Begin(p).Slim().Plan()
	if said(slim) != said(p) {
		t.Errorf("%s, want %s", said(slim), said(p))
	}
	for _, c := range slim.Changes {
		if c.Live() != nil || c.Desired() != nil {
			t.Errorf("%s is kept as a whole", c.Ref)
		}
	}
	if p.Changes[0].Live() == nil {
		t.Error("the plan itself has lost them")
	}
}
