package apply_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
)

// course has an operation bring the scene about.
func (s *scene) course() *scene {
	s.Course = &apply.Course{Mark: "op/0"}
	return s
}

func (s *scene) wave(name string, wave int32) *scene {
	for i := range s.Items {
		if s.Items[i].Ref.Name == name {
			s.Items[i].Policy.Wave = wave
		}
	}
	return s
}

func (s *scene) hook(name string, wave int32, phases ...apply.Phase) *scene {
	it := item(name)
	it.Policy = apply.Policy{Wave: wave, Hook: &apply.Hook{Phases: phases, Replace: true}}
	s.Hooks = append(s.Hooks, it)
	return s
}

func (s *scene) ran(name string, p apply.Phase, failed bool) *scene {
	s.Course.Ran = append(s.Course.Ran, apply.HookRun{Ref: item(name).Ref, Phase: p, Ended: time.Unix(1, 0), Failed: failed})
	return s
}

var (
	comes = apply.Live{Exists: true, Settled: true, Digest: "now", Fares: apply.Comes}
	ill   = apply.Live{Exists: true, Settled: true, Digest: "now", Fares: apply.Ill, Says: "no image"}
)

func strict(f *apply.Facts) {
	if f.Course != nil {
		f.Course.Strict = true
	}
}

// ignores has a rule say that data of the first object does not count.
func ignores(keep bool) func(*apply.Facts) {
	return func(f *apply.Facts) {
		r, err := ignore.Compile(nil, ignore.Options{})
		if err != nil {
			panic(err)
		}
		own := &ignore.Own{Rules: []ignore.Rule{{Pointers: []string{"/data"}, Apply: keep}}}
		f.Items[0].Policy.Ignored = r.For(f.Items[0].Object(), "shop", own)
	}
}

func TestTheOrderOfAnOperation(t *testing.T) {
	for _, c := range []struct {
		what  string
		scene *scene
		want  string
		step  string
	}{
		{"without waves all is written at once", observed("a", "b").course(), "a create needed, b create needed", "wave 0 of phase main: write of a, write of b"},
		{"and ends before it is healthy", observed("a").course().is("a", comes), "a nothing as-desired", "wave 0 of phase main: healthy state of a"},
		{"the first wave is written first", observed("a", "b", "c").course().wave("b", -5).wave("c", 3),
			"b create needed, a hold step-order [b], c hold step-order [b]", "wave -5 of phase main: write of b, holds"},
		{"and has to be healthy", observed("a", "b").course().wave("b", -5).is("b", comes), "b nothing as-desired, a hold step-order [b]",
			"wave -5 of phase main: healthy state of b, holds"},
		{"or it is in vain", observed("a", "b").course().wave("b", -5).is("b", ill), "b nothing as-desired, a hold step-order [b]",
			"wave -5 of phase main: healthy state of b in vain, holds"},
		{"unless it says that this does not count", observed("a", "b").course().wave("b", -5).is("b", ill).with(func(f *apply.Facts) { f.Items[1].Policy.Healthless = true }),
			"b nothing as-desired, a create needed", "wave 0 of phase main: write of a"},
		{"then comes the next", observed("a", "b").course().wave("b", -5).is("b", asGit), "b nothing as-desired, a create needed", "wave 0 of phase main: write of a"},
		{"drift in a later wave waits as well", observed("a", "b").course().wave("b", 5).is("b", changed), "a create needed, b hold step-order [a]", "wave 0 of phase main: write of a, holds"},
		{"a wave is more than a stage", observed("crd", "a").course().wave("crd", 1).is("crd", asBefore), "a create needed, crd hold step-order [a]", "wave 0 of phase main: write of a, holds"},
		{"what is only not compared is applied, too", observed("a").course().is("a", asGit).with(ignores(false)).with(strict), "a update needed", "wave 0 of phase main: write of a"},
		{"once", observed("a").course().is("a", asGit).with(ignores(false)).with(strict).with(func(f *apply.Facts) { f.Course.Applied = map[object.Ref]bool{item("a").Ref: true} }),
			"a nothing as-desired", ""},
		{"and by no operation about others", observed("a", "b").course().is("a", asGit).with(ignores(false)).with(strict).with(func(f *apply.Facts) { f.Course.Only = apply.Select([]object.Ref{item("b").Ref}) }),
			"a nothing as-desired, b create needed", "wave 0 of phase main: write of b"},
		{"nor by one that leaves alone what does not differ", observed("a").course().is("a", asGit).with(ignores(false)), "a nothing as-desired", ""},
		{"what is replaced as a whole is, whether or not it differs", observed("a").course().is("a", asGit).with(strict).with(func(f *apply.Facts) { f.Replace = true }),
			"a update needed", "wave 0 of phase main: write of a"},
		{"what is not applied either is as desired", observed("a").course().is("a", asGit).with(ignores(true)).with(strict), "a nothing as-desired", ""},
		{"and so is either without an operation", observed("a").is("a", asGit).with(ignores(false)).with(strict), "a nothing as-desired", ""},
		{"without an operation there is no order", observed("a", "b").wave("b", -5), "a create needed, b create needed", ""},
		{"nor any hook", observed("a").hook("h", 0, apply.Before), "a create needed", ""},

		{"a hook goes before", observed("a").course().hook("h", 0, apply.Before), "h create needed, a hold step-order [h]", "wave 0 of phase before: completion of hook of h, holds"},
		{"and has to have run", observed("a").course().hook("h", 0, apply.Before).with(func(f *apply.Facts) { f.Course.Ran = []apply.HookRun{{Ref: item("h").Ref, Phase: apply.Before}} }),
			"h hold hook [h], a hold step-order [h]", "wave 0 of phase before: completion of hook of h, holds"},
		{"then it is none of what is left", observed("a").course().hook("h", 0, apply.Before).ran("h", apply.Before, false).is("h", asGit),
			"h nothing hook, a create needed", "wave 0 of phase main: write of a"},
		{"one that is there from before is made anew", observed().course().hook("h", 0, apply.Before).is("h", asGit), "h update needed", "wave 0 of phase before: completion of hook of h"},
		{"a hook of two phases runs twice", observed("a").course().hook("h", 0, apply.Before, apply.After).ran("h", apply.Before, false).is("a", asGit).is("h", asGit),
			"h nothing hook, a nothing as-desired, h update needed", "wave 0 of phase after: completion of hook of h"},
		{"after is once all is healthy", observed("a").course().hook("h", 0, apply.After).is("a", comes), "a nothing as-desired, h hold step-order [a]",
			"wave 0 of phase main: healthy state of a, holds"},
		{"and what is surplus is gone", observed("a").course().hook("h", 0, apply.After).is("a", asGit).had("a", "old"), "a nothing as-desired, h hold step-order [old], old delete surplus",
			"wave 1073741824 of phase main: deletion of old, holds"},
		{"nothing is pruned before the last wave", observed("a", "b").course().wave("b", 1).is("a", comes).had("a", "old"),
			"a nothing as-desired, b hold step-order [a], old hold step-order [a]", "wave 0 of phase main: healthy state of a, holds"},
		{"with that it is", observed("a", "b").course().wave("b", 1).is("a", asGit).had("a", "old"), "a nothing as-desired, b create needed, old delete surplus",
			"wave 1 of phase main: write of b"},
		{"or after it", observed("a", "b").course().wave("b", 1).is("a", asGit).is("b", comes).had("a", "old").with(func(f *apply.Facts) { f.Course.PruneLast = true }),
			"a nothing as-desired, b nothing as-desired, old hold step-order [b]", "wave 1 of phase main: healthy state of b, holds"},
		{"what is kept is not waited for", observed("a").course().is("a", asGit).had("a", "old").hook("h", 0, apply.After).with(says("old", apply.Policy{Prune: apply.Never})),
			"a nothing as-desired, h create needed, old hold kept", "wave 0 of phase after: completion of hook of h"},
		{"a kind that is not asked for is none to wait for", observed("a").widget("w").course().with(func(f *apply.Facts) { f.Course.Only = map[object.Ref]bool{f.Items[0].Ref: true} }),
			"a create needed, w hold selection", "wave 0 of phase main: write of a"},
		{"and then it is", observed("a").course().is("a", asGit).had("a", "old").with(func(f *apply.Facts) { f.Course.PruneLast = true }),
			"a nothing as-desired, old delete surplus", "wave 1073741824 of phase main: deletion of old"},
		{"what has become a hook is not surplus", observed("a").hook("h", 0, apply.After).is("a", asGit).had("a", "h"), "a nothing as-desired", ""},

		{"after a failure only what is for that is done", observed("a").course().hook("h", 0, apply.Before).hook("sad", 0, apply.OnFailure).ran("h", apply.Before, true).had("old").
			with(func(f *apply.Facts) { f.Course.Failed = "h failed" }),
			"h nothing hook, a hold failed, sad create needed, old hold failed", "wave 0 of phase on failure: completion of hook of sad"},
		{"and that is not done without one", observed("a").course().hook("sad", 0, apply.OnFailure), "a create needed, sad nothing hook", "wave 0 of phase main: write of a"},
		{"a selection leaves the rest", observed("a", "b").course().had("old").hook("h", 0, apply.Before).with(func(f *apply.Facts) {
			f.Course.NoHooks, f.Course.Only = true, map[object.Ref]bool{item("a").Ref: true}
		}), "a create needed, b hold selection, old hold selection", "wave 0 of phase main: write of a"},
		{"one without namespace is in all of them", observed("a", "b").course().with(func(f *apply.Facts) {
			f.Course.NoHooks, f.Course.Only = true, map[object.Ref]bool{{Kind: "ConfigMap", Name: "a"}: true}
		}), "a create needed, b hold selection", "wave 0 of phase main: write of a"},
		{"what is missing of one wave does not hold those before", observed("a").course().widget("w").with(func(f *apply.Facts) { f.Unknown[0].Policy.Wave = 1 }),
			"a create needed, w hold unknown-kind", "wave 0 of phase main: write of a"},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, ok := apply.Make(c.scene.Facts)
			if !ok {
				t.Fatal("no plan")
			}
			if diff := cmp.Diff(c.want, short(said(p))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(c.step, short(stepOf(p))); diff != "" {
				t.Errorf("the step: -want +got:\n%s", diff)
			}
		})
	}
}

// short leaves out what is the same of all.
func short(s string) string {
	return strings.NewReplacer("ConfigMap/shop/", "", "CustomResourceDefinition/", "", "Widget/shop/", "").Replace(s)
}

func stepOf(p *apply.Plan) string {
	if p.Step == nil {
		return ""
	}
	var waits []string
	for _, w := range p.Step.Waits {
		s := fmt.Sprintf("%s of %s", w.For, w.Ref)
		if w.Ill {
			s += " in vain"
		}
		waits = append(waits, s)
	}
	if p.Step.Holds {
		waits = append(waits, "holds")
	}
	return p.Step.String() + ": " + strings.Join(waits, ", ")
}

// A world is what operations on random objects, waves and hooks make of it.
type world struct {
	*scene
	made []string // hooks, with their phase
	log  []string
}

// do makes the changes of a plan, and checks that what comes before each of them
// is as it should be.
func (w *world) do(t *testing.T, p *apply.Plan) (did bool) {
	for _, c := range p.Changes {
		if !c.Writes() && c.Action != apply.Delete {
			continue
		}
		did = true
		for _, b := range p.Changes {
			before := b.At.Phase < c.At.Phase || b.At.Phase == c.At.Phase && b.At.Wave < c.At.Wave
			if c.Surplus {
				before = b.At.Phase < apply.Main
			}
			if b.Surplus || !before || c.At.Phase == apply.OnFailure {
				continue
			}
			l := w.live[b.Ref.Name]
			ended := slices.ContainsFunc(w.Course.Ran, func(r apply.HookRun) bool { return r.Ref == b.Ref && r.Phase == b.At.Phase && !r.Failed })
			if b.Hook == nil && (!l.Exists || !l.Settled || l.Digest != "now" || l.Fares != apply.Well) || b.Hook != nil && !ended {
				t.Fatalf("%s of %s is written while %s of %s is %+v\n%s", c.Ref.Name, c.At, b.Ref.Name, b.At, l, strings.Join(w.log, "\n"))
			}
		}
		switch {
		case c.Surplus:
			w.Inventory = apply.Without(w.Inventory, map[object.Ref]bool{c.Ref: true})
		case c.Hook != nil:
			w.made = append(w.made, c.Ref.Name+" "+c.At.Phase.String())
			w.Course.Ran = append(w.Course.Ran, apply.HookRun{Ref: c.Ref, Phase: c.At.Phase})
		default:
			w.is(c.Ref.Name, comes)
		}
	}
	return did
}

// goOn has something get on that is on its way.
func (w *world) goOn(r *rand.Rand, fails bool) (did bool) {
	for i := range w.Course.Ran {
		run := &w.Course.Ran[i]
		if run.Ended.IsZero() && r.IntN(2) == 0 {
			run.Ended, run.Failed, did = time.Unix(1, 0), fails && r.IntN(4) == 0, true
			if run.Failed {
				w.Course.Failed = "a hook failed"
			}
		}
	}
	for name, l := range w.live {
		if l.Fares == apply.Comes && r.IntN(2) == 0 {
			w.is(name, asGit)
			did = true
		}
	}
	return did
}

// However objects and hooks are spread over waves and phases, an operation comes
// to its end, in order, and makes each hook once.
func TestAnOperationOfAnyShapeEndsInOrder(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &world{scene: observed().course()}
		for i := range r.IntN(6) {
			name := fmt.Sprint("o", i)
			w.Items = append(w.Items, item(name))
			w.wave(name, int32(r.IntN(3)-1))
			w.is(name, []apply.Live{{}, asBefore, asGit, changed, comes}[r.IntN(5)])
		}
		for i := range r.IntN(5) {
			phases := []apply.Phase{apply.Before, apply.Main, apply.After, apply.OnFailure}
			r.Shuffle(len(phases), func(i, j int) { phases[i], phases[j] = phases[j], phases[i] })
			w.hook(fmt.Sprint("h", i), int32(r.IntN(3)-1), phases[:1+r.IntN(2)]...)
			if r.IntN(3) == 0 {
				w.is(fmt.Sprint("h", i), asGit)
			}
		}
		if len(w.Items) > 0 && r.IntN(2) == 0 {
			w.had("old").with(func(f *apply.Facts) { f.Pruning.Approved, f.Course.PruneLast = true, r.IntN(2) == 0 })
		}
		var last *apply.Plan
		for range 200 {
			p, ok := apply.Make(w.Facts)
			if !ok {
				t.Fatal("no plan")
			}
			last = p
			w.log = append(w.log, said(p))
			if !w.do(t, p) && !w.goOn(r, seed%2 == 0) && (p.Step == nil || !p.Step.Holds && len(p.Step.Waits) == 0) {
				break
			}
		}
		for _, c := range last.Changes {
			if c.Action != apply.Nothing && c.Rule != apply.RuleFailed {
				t.Fatalf("seed %d: %s of %s is left: %s %s\n%s", seed, c.Ref.Name, c.At, c.Action, c.Rule, strings.Join(w.log, "\n"))
			}
		}
		slices.Sort(w.made)
		if twice := len(w.made) - len(slices.Compact(slices.Clone(w.made))); twice > 0 {
			t.Fatalf("seed %d: made more than once: %v", seed, w.made)
		}
		if w.Course.Failed == "" {
			want := 0
			for _, h := range w.Hooks {
				for _, p := range h.Policy.Hook.Phases {
					if p != apply.OnFailure {
						want++
					}
				}
			}
			if len(w.made) != want {
				t.Fatalf("seed %d: %d of %d hooks were made: %v", seed, len(w.made), want, w.made)
			}
		}
	}
}
