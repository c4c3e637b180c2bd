// Package apply brings a cluster from what it holds to what is desired, by
// server-side apply.
//
// First it plans: [Make] compares desired objects with what the watch knows of
// the live ones and says for each what has to happen, and why. A plan is a
// value; the controller acts on it and the command line prints it. Then an
// [Applier] acts, a stage at a time, in the name of the unit.
//
// Nothing is deleted without proof: it was in this unit's inventory, a
// complete render of a known revision no longer holds it, it still carries
// this unit's mark when it is read just before, and nothing protects it. What
// to do about objects that other units claim is for the engine, which knows
// the others.
package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
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
	// Keep never prunes it.
	Keep bool
	// PruneProtected allows pruning even of what is protected.
	PruneProtected bool
	// Why says why it is left alone, where it does not ask for that itself.
	Why string
}

// An Item is one desired object.
type Item struct {
	Ref     object.Ref
	Version string
	Digest  string // of the object, equal if and only if it is equal
	Policy  Policy
	Object  func() *unstructured.Unstructured // may not be changed
}

// Live is what is known of a live object.
type Live struct {
	Exists, Deleting, Settled bool
	Digest                    string
	Object                    *unstructured.Unstructured // may be nil
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

// A Change is one step of a plan, and after it was made, its record.
type Change struct {
	Ref     object.Ref
	Version string
	Action  Action
	Cause   Cause
	Why     string        // for Hold and Release
	Reason  fault.Reason  // for Hold: that of the error, if it takes more than time
	Fields  []owned.Field // that are changed, whoever did; secret values are masked

	// Leave are fields that are left as they are, see [owned.Leave].
	Leave []owned.Path
	// Lost are the fields that others had taken from an object whose drift
	// was corrected, and After is the object since then.
	Lost  []owned.Loss
	After *unstructured.Unstructured

	item  *Item
	live  *unstructured.Unstructured
	trial trial
	dry   *unstructured.Unstructured // what the server would make of it, if it was asked
}

// A trial is what the server has said of a change that was not made yet.
type trial uint8

const (
	unasked trial = iota
	unanswered
	passed
	refused
)

// A Plan is what has to happen, in order.
type Plan struct {
	Stages [][]*Change // creations and updates
	Settle []*Change
	Prune  []*Change // what is in the inventory and no longer desired, in order of deletion
	Hold   []*Change
}

// Writes returns the number of objects that would be created or updated.
func (p Plan) Writes() int {
	n := 0
	for _, s := range p.Stages {
		n += len(s)
	}
	return n
}

// Make plans. live returns what is known of each object that is desired; for
// one that it knows nothing of, everything waits. policy reads what a live
// object says about itself: one that asks to be left alone is.
func Make(items []Item, inventory []Entry, m owned.Managers, order Order, live func(object.Ref) (Live, bool), policy func(*unstructured.Unstructured) Policy) (p Plan, ok bool) {
	desired := make(map[object.Ref]bool, len(items))
	ending := namespacesThatEnd(items, live)
	stages := map[int][]*Change{}
	for i := range items {
		it := &items[i]
		desired[it.Ref] = true
		if it.Policy.Mode == Ignore {
			continue
		}
		l, known := live(it.Ref)
		if !known {
			return Plan{}, false
		}
		c := &Change{Ref: it.Ref, Version: it.Version, item: it, live: l.Object}
		switch {
		case l.Digest == "":
			c.Cause = First
		case l.Digest == it.Digest:
			c.Cause = Drift
		}
		switch {
		case l.Exists && l.Deleting:
			c.Action, c.Why = Hold, "it is being deleted; it is created again once it is gone"
			p.Hold = append(p.Hold, c)
			continue
		case ending[it.Ref.Namespace]:
			c.Action, c.Reason, c.Why = Hold, fault.NamespaceTerminating, "its namespace is being deleted; it is created again once that is gone"
			p.Hold = append(p.Hold, c)
			continue
		case !l.Exists:
			c.Action = Create
		case it.Policy.Mode == IfNotPresent:
			continue
		case l.Settled && l.Digest == it.Digest:
			continue
		case l.Object != nil && owned.Same(it.Object(), l.Object, managers(m, it.Policy)):
			c.Action = Settle
			p.Settle = append(p.Settle, c)
			continue
		case l.Object != nil && policy(l.Object).Mode == Ignore:
			continue
		default:
			c.Action = Update
		}
		n := order.stage(it.Ref)
		stages[n] = append(stages[n], c)
	}
	for n := range lastStage + 1 {
		if s := stages[n]; len(s) > 0 {
			slices.SortStableFunc(s, inOrder)
			p.Stages = append(p.Stages, s)
		}
	}
	for _, e := range inventory {
		if !desired[e.Ref] {
			p.Prune = append(p.Prune, &Change{Ref: e.Ref, Version: e.Version, Action: Delete, Cause: Git})
		}
	}
	order.sort(p.Prune)
	return p, true
}

// namespacesThatEnd are those of items that are being deleted: they take
// nothing new.
func namespacesThatEnd(items []Item, live func(object.Ref) (Live, bool)) map[string]bool {
	ending := map[string]bool{}
	for _, it := range items {
		if it.Ref.Kind != "Namespace" || it.Ref.Group != "" || it.Policy.Mode == Ignore {
			continue
		}
		if l, known := live(it.Ref); known && l.Exists && l.Deleting {
			ending[it.Ref.Name] = true
		}
	}
	return ending
}

func managers(m owned.Managers, p Policy) owned.Managers {
	if p.Mode == Merge {
		m.Undo = nil
	}
	return m
}

// Managers returns whose fields count for an object under p.
func (p Policy) Managers(m owned.Managers) owned.Managers { return managers(m, p) }

// An Entry is an object in an inventory: one that a unit has written, or is
// about to.
type Entry struct {
	Ref     object.Ref
	Version string
}

// Inventory returns the entries of items, sorted.
func Inventory(items []Item) []Entry {
	out := make([]Entry, 0, len(items))
	for _, it := range items {
		if it.Policy.Mode != Ignore {
			out = append(out, Entry{it.Ref, it.Version})
		}
	}
	return sorted(out)
}

// Union returns the entries of both, sorted; where both have an object, the
// version is that of a.
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

// Desired returns what the object should be; it is nil for what is pruned.
func (c *Change) Desired() *unstructured.Unstructured {
	if c.item == nil {
		return nil
	}
	return c.item.Object()
}

// Digest returns that of the desired object.
func (c *Change) Digest() string { return c.item.Digest }

// Live returns the object as it was looked at; it may be nil, and must not be
// changed.
func (c *Change) Live() *unstructured.Unstructured { return c.live }

// Managers returns whose fields count for the object.
func (c *Change) Managers(m owned.Managers) owned.Managers { return c.item.Policy.Managers(m) }

// partial reports whether some fields are left as they are.
func (c *Change) partial() bool { return len(c.Leave) > 0 && c.Action == Update && c.live != nil }
