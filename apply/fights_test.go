package apply

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

var (
	self = owned.Managers{Self: "plumb", Undo: []string{"kubectl"}}
	ref  = object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}
)

// data are the values of a ConfigMap, and by whose manager each was written.
type data map[string][2]string

func (d data) object() *unstructured.Unstructured {
	values, fields := map[string]any{}, map[string]map[string]any{}
	for k, v := range d {
		values[k] = v[0]
		if fields[v[1]] == nil {
			fields[v[1]] = map[string]any{}
		}
		fields[v[1]]["f:"+k] = map[string]any{}
	}
	entries := []any{}
	for _, manager := range slices.Sorted(maps.Keys(fields)) {
		operation := "Update"
		if manager == self.Self {
			operation = "Apply"
		}
		entries = append(entries, map[string]any{
			"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:data": fields[manager]},
		})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": values,
		"metadata": map[string]any{"name": ref.Name, "namespace": ref.Namespace, "managedFields": entries},
	}}
}

func (d data) with(key, value, by string) data {
	d = maps.Clone(d)
	d[key] = [2]string{value, by}
	return d
}

// A game is a fight over one ConfigMap.
type game struct {
	t       *testing.T
	fights  Fights
	now     time.Time
	digest  string // of what is desired
	desired data
	live    data // nil: deleted
	known   string
	writes  []time.Duration // since the start
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newGame(t *testing.T) *game {
	d := data{"x": {"git", "plumb"}, "y": {"git", "plumb"}}
	return &game{t: t, fights: Fights{}, now: start, digest: "1", known: "1", desired: d, live: d}
}

// A round is what a look has shown.
type round struct {
	Changes, Held []*Result
	Fights        []Fight
	Next          time.Time
}

// run looks at the object once, as the engine does, and writes what the plan
// says.
func (g *game) run() (out round) {
	g.t.Helper()
	item := Item{Ref: ref, Version: "v1", Digest: g.digest, Object: g.desired.object}
	p, ok := Make(Facts{
		Items: []Item{item}, Managers: self, Fights: g.fights, Now: g.now,
		Live: func(object.Ref) (Live, bool) {
			if g.live == nil {
				return Live{Digest: g.known}, true
			}
			return Live{Exists: true, Digest: g.known, Object: g.live.object()}, true
		},
		Policy: func(*unstructured.Unstructured) Policy { return Policy{} },
	})
	if !ok {
		g.t.Fatal("no plan")
	}
	g.fights = p.Fights()
	record := Begin(p)
	out.Held = record.Held()
	for _, stage := range p.Stages() {
		for _, c := range record.Of(stage) {
			g.write(c)
			out.Changes = append(out.Changes, c)
		}
	}
	out.Fights, out.Next = g.fights.Told(g.now)
	g.recalls(out.Fights, out.Held)
	for i := range out.Fights { // which recalls is about
		out.Fights[i].Path, out.Fights[i].Until, out.Fights[i].Value = nil, time.Time{}, ""
	}
	return out
}

// recalls compares what one who was only told of the fights would hold, with what
// is held.
func (g *game) recalls(told []Fight, held []*Result) {
	g.t.Helper()
	if len(g.fights) == 0 || len(held) == 0 {
		return
	}
	item := Item{Ref: ref, Version: "v1", Digest: g.digest, Object: g.desired.object}
	fights, err := Recall(told, g.now, func(object.Ref) *Item { return &item }, func(*Item) (*unstructured.Unstructured, error) { return g.desired.object(), nil })
	if err != nil {
		g.t.Fatal(err)
	}
	l := Live{Digest: g.digest}
	if g.live != nil {
		l.Exists, l.Object = true, g.live.object()
	}
	p, _ := Make(Facts{
		Items: []Item{item}, Managers: self, Fights: fights, Now: g.now,
		Live:   func(object.Ref) (Live, bool) { return l, true },
		Policy: func(*unstructured.Unstructured) Policy { return Policy{} },
	})
	if len(p.Held()) != len(held) {
		g.t.Errorf("after %s, %d are held, and %d by who was told: %+v", g.now.Sub(start), len(held), len(p.Held()), told)
	}
}

func (g *game) write(c *Result) {
	before, after := g.live, maps.Clone(g.desired)
	for _, p := range c.Leave {
		key := *p[1].FieldName
		delete(after, key)
		if v, ok := before[key]; ok {
			after[key] = v
		}
	}
	g.live, c.After = after, after.object()
	if before != nil && c.Cause == Drift {
		var err error
		if c.Lost, err = owned.Lost(c.After, before.object(), self); err != nil {
			g.t.Fatal(err)
		}
	}
	if len(c.Leave) == 0 {
		g.known = g.digest
	}
	g.fights.Note(c, g.now)
	g.writes = append(g.writes, g.now.Sub(start))
}

func (g *game) take(key, by string)    { g.live = g.live.with(key, by, by) }
func (g *game) passes(d time.Duration) { g.now = g.now.Add(d) }
func (g *game) has(key, want string)   { g.t.Helper(); g.is(key, g.live[key][0], want) }
func (g *game) is(what string, a, b any) {
	g.t.Helper()
	if d := cmp.Diff(b, a); d != "" {
		g.t.Fatalf("after %s, %s: -want +got:\n%s", g.now.Sub(start), what, d)
	}
}

// slowed fights until corrections are slowed down.
func (g *game) slowed(by string) round {
	g.t.Helper()
	for range contestLimit {
		g.take("x", by)
		g.run()
	}
	g.take("x", by)
	out := g.run()
	g.is("fights", out.Fights, []Fight{{Ref: ref, Field: "data.x", Manager: by}})
	return out
}

func TestTenMinutesOfFightingAreAtMostTwentyWrites(t *testing.T) {
	const (
		tick = 250 * time.Millisecond
		few  = 10 // rounds, by the end of which a minute passes between two
	)
	for _, c := range []struct {
		by   string
		pace time.Duration
	}{
		{"rival", tick}, {"kubectl-patch", time.Second}, {"rival", 10 * time.Second},
		{"rival", 29 * time.Second}, {"rival", 31 * time.Second}, {"rival", 50 * time.Second},
	} {
		t.Run(c.by+" every "+c.pace.String(), func(t *testing.T) {
			g := newGame(t)
			told := false
			for at := time.Duration(0); at < 10*time.Minute; at += tick {
				if at%c.pace == 0 {
					g.take("x", c.by)
				}
				out := g.run()
				if told && len(out.Fights) == 0 {
					t.Fatalf("after %s the fight was forgotten", at)
				}
				told = len(out.Fights) > 0
				g.passes(tick)
			}
			t.Logf("%d writes: %v", len(g.writes), g.writes)
			if len(g.writes) > 20 {
				t.Errorf("%d writes", len(g.writes))
			}
			for i, w := range g.writes {
				if i > few && told && w-g.writes[i-1] < time.Minute {
					t.Errorf("a write after %s, and the next %s later", g.writes[i-1], w-g.writes[i-1])
				}
			}
		})
	}
}

func TestTheRestOfTheObjectIsPutRightMeanwhile(t *testing.T) {
	for _, by := range []string{"rival", "kubectl-patch"} {
		g := newGame(t)
		g.slowed(by)
		n := len(g.writes)
		g.is("changes", len(g.run().Changes), 0)
		g.take("y", "other")
		g.run()
		g.has("y", "git")
		g.has("x", by)
		g.is("writes", len(g.writes), n+1)
		g.is("changes", len(g.run().Changes), 0)

		g.passes(2 * time.Second)
		g.is("fights", g.run().Fights, []Fight{{Ref: ref, Field: "data.x", Manager: by}})
		g.has("x", "git")
	}
}

func TestAFightIsForgottenOnceTheFieldHasStood(t *testing.T) {
	g := newGame(t)
	out := g.slowed("rival")
	g.is("next", out.Next.Sub(g.now), 2*time.Second)
	g.passes(2 * time.Second)
	out = g.run()
	g.has("x", "git")
	g.is("next", out.Next.Sub(g.now), contestWindow)
	g.passes(contestWindow - time.Second)
	g.is("fights", len(g.run().Fights), 1)
	g.passes(time.Second)
	out = g.run()
	g.is("fights", len(out.Fights), 0)
	g.is("contests", len(g.fights), 0)
	g.take("x", "rival")
	g.run()
	g.has("x", "git")
}

func TestACommitStartsAfreshOnlyWhatItChanges(t *testing.T) {
	g := newGame(t)
	g.slowed("rival")
	g.digest, g.desired = "2", g.desired.with("y", "new", "plumb")
	g.is("fights", len(g.run().Fights), 1)
	g.has("y", "new")
	g.has("x", "rival")
	g.is("changes", len(g.run().Changes), 0)

	g.digest, g.desired = "3", g.desired.with("x", "new", "plumb")
	g.is("fights", len(g.run().Fights), 0)
	g.has("x", "new")
	g.is("known", g.known, "3")
}

func TestWhoeverDeletesTheObjectIsFoughtTheSameWay(t *testing.T) {
	g := newGame(t)
	for range 20 {
		g.live = nil
		g.run()
	}
	g.is("writes", len(g.writes), contestLimit)
	out := g.run()
	g.is("held", len(out.Held), 1)
	g.is("fight", out.Fights[0].String(), "somebody keeps deleting it")
	g.passes(2 * time.Second)
	g.run()
	g.has("x", "git")
	g.passes(contestWindow)
	g.is("fights", len(g.run().Fights), 0)
}

// A field that the other one adds, and one that it removes.
func TestFieldsThatComeAndGoAreFoughtOver(t *testing.T) {
	g := newGame(t)
	for range 10 {
		g.take("z", "kubectl-edit")
		delete(g.live, "x")
		g.run()
	}
	out := g.run()
	g.is("fights", out.Fights, []Fight{{Ref: ref, Field: "data.x"}, {Ref: ref, Field: "data.z", Manager: "kubectl-edit"}})
	g.is("writes", len(g.writes), contestLimit)
}
