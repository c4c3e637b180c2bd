// Package apply brings a cluster from what it holds to what is desired, by
// server-side apply.
//
// First it plans: [Make] makes a [Plan] of [Facts], which somebody has observed,
// by a list of named rules. It says for each object what has to happen, and
// why, and nobody changes it afterwards. Then an [Applier] acts, a stage at a
// time, in the name of the unit, and what became of the plan is in a [Record]
// beside it. The controller and the command line take the same way; the
// latter has the server try what the former writes.
//
// Nothing is deleted without proof: it was in this unit's inventory, a
// complete render of a known revision no longer holds it, it still carries
// this unit's mark when it is read just before, and nothing protects it. What
// to do about objects that other units claim is for the engine, which knows
// the others.
package apply

import (
	"cmp"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
)

// A Mode is how an object is written.
type Mode uint8

// The modes.
const (
	Override     Mode = iota // take fields back from those whose fields are undone
	Merge                    // leave the fields that others added
	IfNotPresent             // create it, and then never again
	Ignore                   // leave it alone
)

// A Policy is what an object says about how to treat it.
type Policy struct {
	Mode Mode
	// Force recreates the object where a change is immutable.
	Force bool
	// Replace has a change of it made by replacing all of it; with Force it is made
	// anew by each operation, whether or not it changes.
	Replace Choice
	// Late: its kind may come after the rest of its step.
	Late bool
	// Keep never prunes it: it is let go of.
	Keep bool
	// Prune says whether it may be pruned, and Removal whether it may go with its
	// unit, where it is not kept anyway. What may never be pruned stays the unit's.
	Prune, Removal Consent
	// Extra: that it is there although it is no longer desired does not count.
	Extra bool
	// PruneLast: it is pruned after all else, and once the rest is healthy.
	PruneLast bool
	// PruneProtected allows pruning even of what is protected.
	PruneProtected bool
	// Why says why it is left alone, where it does not ask for that itself.
	Why string
	// Doubt names what it says of itself that means nothing.
	Doubt string
	// Wave is when its turn comes in a [Course].
	Wave int32
	// Healthless: how healthy it is does not count, and nobody waits for that.
	Healthless bool
	// Hook: it is no object that is held true.
	Hook *Hook
	// Ignores are the object's own rules about fields of it that don't count,
	// and Ignored is what all rules say of it; nil: nothing.
	Ignores *ignore.Own
	Ignored *ignore.Fields
}

// A Choice is what an object may say in place of its unit.
type Choice uint8

// The choices.
const (
	Unsaid Choice = iota
	Yes
	No
)

// Or returns the choice, or otherwise where there is none.
func (c Choice) Or(otherwise bool) bool { return c == Yes || c == Unsaid && otherwise }

// A Consent says whether an object may be deleted.
type Consent uint8

// From the least restriction to the most.
const (
	Free      Consent = iota
	Confirmed         // once somebody has confirmed it
	Never
)

// consent says whether an object may be deleted, since it is no longer desired or
// since its unit goes.
func (p Policy) consent(leaving bool) Consent {
	switch {
	case p.Keep:
		return Never
	case leaving:
		return p.Removal
	}
	return p.Prune
}

// An Item is one desired object.
type Item struct {
	Ref     object.Ref
	Version string
	Digest  string // of the object, equal if and only if it is equal
	Policy  Policy
	Object  func() *unstructured.Unstructured // may not be changed
	// Unknown, of a hook: the cluster does not have its kind.
	Unknown bool
	// Aside: the unit needs it before all else, and does not have it: it is in no
	// inventory, and never surplus.
	Aside bool
	// Born are annotations that it gets if it is made, and that no later write
	// touches: they prove by whom, and for what.
	Born map[string]string
}

// Live is what is known of a live object.
type Live struct {
	Exists, Deleting, Settled bool
	Digest                    string
	Object                    *unstructured.Unstructured // may be nil
	// Fares is how it fares, and Says what it says of that.
	Fares Wellness
	Says  string
}

// An Action is what has to happen to an object.
type Action uint8

// The actions.
const (
	Nothing  Action = iota
	Settle          // it is as desired, which was not known before
	Create          // it is not there
	Update          // it is not, or perhaps not, as desired
	Recreate        // delete and create, for a change that is immutable
	Delete          // it is no longer desired
	Release         // it is no longer ours; leave it
	Hold            // something has to be decided, or to happen, first
)

var actions = [...]string{"nothing", "settle", "create", "update", "recreate", "delete", "release", "hold"}

// String returns the action in a word.
func (a Action) String() string { return actions[a] }

// A Cause is why.
type Cause uint8

// The causes.
const (
	Git   Cause = iota // what is desired has changed
	Drift              // somebody changed the live object
	First              // it was not compared before: a new unit, or a restart
)

var causes = [...]string{"git", "drift", "first"}

// String returns the cause in a word.
func (c Cause) String() string { return causes[c] }

// A Permission is how much of what has to happen may be done.
type Permission uint8

// The permissions.
const (
	Everything   Permission = iota
	CorrectDrift            // what somebody changed in what was applied, and nothing new
	LookOnly                // nothing; what would be done is in the plan
	Suspended               // not even to look
)

var permissions = [...]string{"everything", "correct drift", "look only", "suspended"}

// String returns the permission in a few words.
func (p Permission) String() string { return permissions[p] }

// A Change is what a [Plan] says of one object.
type Change struct {
	Ref     object.Ref
	Version string
	Action  Action
	// Needs is what has to happen to the object, where Action is Hold: Nothing, if
	// it is as desired and may not even be that.
	Needs Action
	Cause Cause
	// Rule has had the last word about it.
	Rule Rule
	// Why is for people, where that it is not as desired does not say it.
	Why string
	// Reason is that of the error, for a Hold that takes more than time.
	Reason fault.Reason
	// WaitsFor are the objects that have to be there, or to be gone, first.
	WaitsFor []object.Ref
	// Back: it puts back what was applied before, and brings nothing new.
	Back bool
	// Surplus: it is in the inventory and no longer desired. Extra: that does not
	// count.
	Surplus, Extra bool
	// At is when its turn comes, and Stage its place among those whose turn it
	// is, in the order of writing or in that of deletion.
	At    At
	Stage int
	// Hook: it is made for one operation alone.
	Hook *Hook
	// Aside: it is needed before all else, and in no inventory.
	Aside bool
	// Healthless: how healthy it is does not count.
	Healthless bool
	// By is who wants it now, of what is released for that.
	By string
	// Whole: a change of it is made by replacing all of it.
	Whole bool
	// Strict: an operation brings it to what is desired also in fields that do not
	// count in a comparison.
	Strict bool
	// Leave are fields that are left as they are, see [owned.Leave].
	Leave []owned.Path

	item    *Item
	live    *unstructured.Unstructured
	unknown bool // the cluster does not have its kind
	late    bool // which may come after the rest of its step
	anew    bool // this try of the operation has not made it yet
	last    bool // it is pruned last
}

// Entry is what an inventory says of it.
func (c *Change) Entry() Entry {
	e := Entry{Ref: c.Ref, Version: c.Version, Wave: c.At.Wave}
	if c.item != nil {
		e.Asks = c.item.Policy.Prune == Confirmed || c.item.Policy.Removal == Confirmed
	}
	return e
}

// Writes reports whether it is to be created or updated.
func (c *Change) Writes() bool { return c.Action == Create || c.Action == Update }

// KindComes reports whether it is of a kind that the cluster does not have,
// and that one of the plan's objects defines.
func (c *Change) KindComes() bool { return c.unknown && c.Action == Create }

// Desired returns what the object should be; it is nil for what is surplus.
func (c *Change) Desired() *unstructured.Unstructured {
	if c.item == nil {
		return nil
	}
	return c.item.Object()
}

// Digest returns that of the desired object.
func (c *Change) Digest() string { return c.item.Digest }

// Live returns the object as it was observed; it may be nil, and must not be
// changed.
func (c *Change) Live() *unstructured.Unstructured { return c.live }

// Managers returns whose fields count for the object.
func (c *Change) Managers(m owned.Managers) owned.Managers { return c.item.Policy.Managers(m) }

// A Plan says of every object of a unit what has to happen. It is not changed
// once it is made.
type Plan struct {
	// Changes are those of the desired objects in the order of writing, and
	// then those of the surplus ones in the order of deletion.
	Changes []*Change
	// Guard is what speaks against pruning as a whole; nil: nothing.
	Guard error
	// Withheld says that pruning waits for somebody to approve it.
	Withheld bool
	// Step is how far the operation has come that brings the unit to its source;
	// nil: there is none, or all of it is done.
	Step *Step

	fights Fights
	steps  bool // they are written step by step
}

// A turn is when a change is written.
type turn struct {
	At
	stage int
}

func (t turn) compare(u turn) int { return cmp.Or(t.At.compare(u.At), cmp.Compare(t.stage, u.stage)) }

func (p *Plan) turn(c *Change) turn {
	if !p.steps {
		return turn{stage: c.Stage}
	}
	return turn{c.At, c.Stage}
}

// Stages returns what is to be written, stage by stage.
func (p *Plan) Stages() [][]*Change {
	return split(p.with(func(c *Change) bool { return !c.Surplus && c.Writes() }), p.turn)
}

// Surplus returns what is in the inventory and no longer desired.
func (p *Plan) Surplus() []*Change { return p.with(func(c *Change) bool { return c.Surplus }) }

// Held returns what something speaks against.
func (p *Plan) Held() []*Change { return p.with(func(c *Change) bool { return c.Action == Hold }) }

// Holds reports whether a rule speaks against something.
func (p *Plan) Holds(by Rule) bool {
	return slices.ContainsFunc(p.Changes, func(c *Change) bool { return c.Action == Hold && c.Rule == by })
}

// Forbids reports whether nothing but permission keeps something from being
// done. With prune, what is surplus counts, too, unless it is extra.
func (p *Plan) Forbids(prune bool) bool {
	return slices.ContainsFunc(p.Changes, func(c *Change) bool {
		return c.Action == Hold && c.Rule == RulePermission && (!c.Surplus || prune && !c.Extra)
	})
}

// Bars reports whether something that is desired is not as desired, and not
// admitted.
func (p *Plan) Bars() bool {
	return slices.ContainsFunc(p.Changes, func(c *Change) bool {
		return c.Action == Hold && c.Rule == RuleNotAdmitted && !c.Surplus && c.Needs != Nothing
	})
}

// NotAdmitted says what is desired and not admitted, if there is something.
func (p *Plan) NotAdmitted() error {
	var errs []error
	for _, c := range p.Held() {
		if c.Rule == RuleNotAdmitted && !c.Surplus {
			errs = append(errs, &fault.Error{Next: fault.Stall, Reason: fault.NotAdmitted, Object: c.Ref, Err: errors.New(c.Why)})
		}
	}
	return errors.Join(errs...)
}

// Missing is what is held since the cluster does not have its kind, unless that may
// come after the rest.
func (p *Plan) Missing() []*Change {
	return p.with(func(c *Change) bool { return c.Action == Hold && c.Rule == RuleUnknownKind && !c.late })
}

// Fights returns how fights stand at the time of the plan.
func (p *Plan) Fights() Fights { return p.fights.clone() }

// Slim returns p without the objects, for who wants to keep it. What it says of
// them stays.
func (p *Plan) Slim() *Plan {
	if p == nil {
		return nil
	}
	out := &Plan{Changes: make([]*Change, len(p.Changes)), Guard: p.Guard, Withheld: p.Withheld, Step: p.Step, steps: p.steps}
	for i, c := range p.Changes {
		slim := *c
		slim.item, slim.live = nil, nil
		out.Changes[i] = &slim
	}
	return out
}

func (p *Plan) with(f func(*Change) bool) (out []*Change) {
	for _, c := range p.Changes {
		if f(c) {
			out = append(out, c)
		}
	}
	return out
}

func managers(m owned.Managers, p Policy) owned.Managers {
	if p.Mode == Merge {
		m.Undo = nil
	}
	m.Ignored = p.Ignored
	return m
}

// Managers returns whose fields count for an object under p, and which don't.
func (p Policy) Managers(m owned.Managers) owned.Managers { return managers(m, p) }

// An Entry is an object in an inventory: one that a unit has written, or is
// about to.
type Entry struct {
	Ref     object.Ref
	Version string
	Wave    int32 `json:",omitempty"` // that it came in; the last goes first
	// Asks: somebody has to confirm before it goes.
	Asks bool `json:",omitempty"`
}

// Union returns the entries of both, sorted; where both have an object, the
// version and the wave are those of a.
func Union(a, b []Entry) []Entry {
	out := slices.Clone(a)
	have := make(map[object.Ref]bool, len(a))
	for _, e := range a {
		have[e.Ref] = true
	}
	for _, e := range b {
		if !have[e.Ref] {
			out = append(out, e)
		}
	}
	return sorted(out)
}

// Without returns the entries that are not of the given objects.
func Without(entries []Entry, gone map[object.Ref]bool) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return gone[e.Ref] })
}

func sorted(e []Entry) []Entry {
	slices.SortFunc(e, func(a, b Entry) int { return object.Compare(a.Ref, b.Ref) })
	return e
}
