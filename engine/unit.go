// Package engine holds one unit true: it alone knows the order of the stages.
//
// A [Unit] is a plain value that says where desired state comes from, how to
// render it, how to apply it and what counts as healthy. A dialect turns its
// custom resources into units and [Outcome]s into status; the engine knows no
// dialect. [Engine.Run] looks at a unit once and does what can be done now. It
// never waits: what it would wait for (an object of the unit, a kind, the
// health of a Deployment) wakes the unit through the function that the engine
// was made with, and Run is called again. A run that finds nothing to do sends
// no request.
package engine

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/watch/health"
)

// A Unit is one thing to hold true, as its custom resource asks for it now. It
// is made anew when that changes, or something that it refers to.
type Unit struct {
	// Name is unique over all dialects: Kustomization/shop/web.
	Name string
	// UID tells it from others that had the name before.
	UID string
	// Namespace is where namespaced objects without a namespace go, and
	// which the unit never prunes.
	Namespace string
	// Digest changes whenever the user changes the unit.
	Digest string
	// Dialect is told what becomes of the unit, and Origin is the dialect's
	// own: what it made the unit of.
	Dialect Dialect
	Origin  any

	// Refused is why the unit can't be held true as it is asked for, where that
	// is known beforehand. It is held to what it applied last, and Stall means
	// that only another spec mends it.
	Refused error
	// Suspended: it is not looked at.
	Suspended bool
	// Sources are the names of those that it is made from, and Renders what is
	// made of them.
	Sources   []string
	Renders   []Rendering
	DependsOn []Dependency
	// Supply returns the names of sources with the charts that a rendering needs,
	// in their order; it has them fetched. Nil: nobody does.
	Supply func(rendering int, needs []render.Need) ([]string, error)
	// Requested names what a person asked for: a look that takes nothing for
	// known. Each name is carried out once.
	Requested string
	// Interval is after which time to look although nothing has happened, and
	// RetryInterval the longest pause after a failure.
	Interval, RetryInterval time.Duration

	// Artifacts are those of the sources, one for each. The engine sets them
	// when it looks at the unit; without any, nothing can be rendered.
	Artifacts []*source.Artifact
	Target    Target
	// Objects is how the unit's objects are marked and read.
	Objects Objects

	// MakesNamespace has Namespace made before all else, where it is not there; nil:
	// it has to be there.
	MakesNamespace *Metadata

	Managers owned.Managers
	// Adopts: another tool may have applied objects in the unit's name, without
	// its label. They are its own, and what counts of them is what they hold.
	Adopts bool
	// Ignores are the rules about what differs and does not count. They can be
	// read: see [ignore.Check].
	Ignores []ignore.Rule
	Force   bool // recreate objects whose change is immutable
	Replace bool // replace objects that change as a whole; with Force each operation makes them anew
	Late    bool // what has no kind yet holds up only what comes after it
	// Permission is how much of what has to happen may be done, beside what an
	// Operation is asked to do.
	Permission apply.Permission
	Operation  *Operation // nil: there is none
	// Automation begins operations that nobody asks for; nil: there are none.
	Automation Automation
	Order      apply.Order
	Prune      Prune
	Health     Health
	// Leaving: the unit is being deleted and claims nothing. Removal says what
	// becomes of its objects.
	Leaving bool
	Removal Removal

	// What was stored of the unit before this process looked at it:

	// Remembers is the inventory.
	Remembers []apply.Entry
	// Unknown: it can't be told what it has applied, or would.
	Unknown bool
	// Applied is the revision that was last applied in full, and
	// AppliedDigest that of what it rendered to, as far as that is known.
	Applied, AppliedDigest string
	// Was is how it was found to be, and Fights is what was fought over then.
	Was    Standing
	Fights []apply.Fight
	// Hooks are those that its last operation made.
	Hooks []apply.HookRun
	// Last are the artifacts that were applied last in full, where a preview
	// has them at hand: they tell what somebody has changed from what a commit
	// does.
	Last []*source.Artifact

	// Underway is the operation that runs, which the engine sets when it looks at
	// the unit; nil: none does.
	Underway *Underway
}

// A Dialect is whose unit it is: it says what becomes of units in the words of
// its users.
type Dialect interface {
	// Store stores the inventory of a unit where a crash can't reach it, and
	// returns once the entries would survive.
	Store(ctx context.Context, u Unit, entries []apply.Entry) error
	// Report is told of every outcome. If it returns an error, the outcome is
	// told again.
	Report(ctx context.Context, u Unit, out Outcome) error
}

// A Removal says what becomes of the objects of a unit that is being deleted.
type Removal struct {
	Deletes bool // else they are left; with Clean, so are hooks that say nothing
	Waits   bool // until they are gone
	// Phase, if not Main, has the hooks of that phase run in place of all that, or,
	// if Clean, lets go of those that have run, and deletes those that say so. A
	// dialect stores that the one is done before it asks for the other.
	Phase apply.Phase
	Clean bool
	// Asks, Confirmed and Propagation are as those of [Prune].
	Asks, Confirmed bool
	Propagation     metav1.DeletionPropagation
	// Orphaned is why nobody can delete them any more, if that is so.
	Orphaned string
}

// A Dependency is a unit, of whatever dialect, that has to be ready first.
type Dependency struct {
	Unit string // its name
	As   string // how it is called where it is referred to
	// Newest: it also has to have applied what it is made from by now, where it
	// shares no source with the dependent.
	Newest bool
	// May says whether what the other unit says of itself may be told. An
	// error means that nothing may be known of it. Nil: all may be told.
	May func(context.Context) (tell bool, err error)
	// Judge takes the place of the engine's own judgement, if there is one. It
	// says why the other is not ready, or nothing.
	Judge func(context.Context) (why string, err error)
}

// A Standing is what was found of a unit last.
type Standing struct {
	Digest  string // of the unit that it was found of
	Ready   string // True, False or Unknown; empty: nothing was found yet
	Reason  fault.Reason
	Message string
	// Attempted is the revision that it was found at.
	Attempted string
}

// Nowhere is the cluster of a unit of which it is not known where it is. That is
// not any that is known.
const Nowhere = "unknown"

// A Target is a cluster and who acts there.
type Target struct {
	Cluster string       // empty: the one that plumb runs in; else a digest of Config
	Config  *rest.Config // nil with an empty Cluster
	User    string       // whom to impersonate; empty: plumb, or Config's own
	// Invalid: it is not known where to act, or as whom, so nothing is done.
	Invalid bool
}

// Objects is how the objects of a dialect's units show whose they are, and what
// they may say about themselves. It is the same for all units of a dialect, and
// safe for concurrent use.
type Objects interface {
	// Selector is a label selector that the objects of every unit match: it is
	// what the watch asks the server for. Each dialect has another.
	Selector() string
	// Marks returns what is set on an object of u, so that it matches the
	// selector and shows whose it is: the same labels and annotations for all of
	// them, with other values perhaps. What it returns may be kept.
	Marks(u Unit) func(object.Ref) Marks
	// Owner returns the name of the unit of this dialect whose marks an object
	// carries, or nothing.
	Owner(*unstructured.Unstructured) string
	// Admits says why a unit may not have an object, by rules that its users have
	// made over it, such as an AppProject's; nil: it may. What those rules are
	// is part of the unit's Digest.
	Admits(u Unit, r object.Ref) error
	// Policy reads what an object of a unit, desired or live, says about itself.
	Policy(u Unit, o *unstructured.Unstructured) apply.Policy
}

// Metadata is what a unit's namespace is to have, whoever made it. If it is
// empty, one that is there is left as it is.
type Metadata struct{ Labels, Annotations map[string]string }

// Marks are set on an object, in its metadata alone.
type Marks struct{ Labels, Annotations map[string]string }

// policy reads what an object of u says about itself.
func (u Unit) policy(o *unstructured.Unstructured) apply.Policy { return u.Objects.Policy(u, o) }

// Prune says what happens to objects that leave the source.
type Prune struct {
	Enabled bool
	// AllowEmpty lets a render without objects prune everything.
	AllowEmpty bool
	// Tracks: what is not pruned, since that is not enabled or the object says
	// so, stays in the inventory, and is to be pruned later. Else it is let go of.
	Tracks bool
	// Asks: somebody has to confirm what is pruned, and Confirmed that this was
	// done.
	Asks, Confirmed bool
	// Propagation is what becomes of what is made from a pruned object; empty: it
	// goes afterwards.
	Propagation metav1.DeletionPropagation
	// Approved is a revision whose pruning a person has approved, however
	// much it is; [AnyRevision] is every one.
	Approved string
	// Held: pruning was held when the unit was last reported on. It stays
	// so until it is approved or there is little left to prune: what was
	// applied meanwhile must not make it look small.
	Held bool
	// Protected are namespaces that are never pruned.
	Protected []string
}

// AnyRevision approves what whatever revision prunes.
const AnyRevision = "*"

// Health says what has to be healthy before the unit is.
type Health struct {
	Wait bool // every object of the unit
	// Tell says how every object of the unit is, whatever a look has come to,
	// and waits for none.
	Tell    bool
	Checks  []Check       // these, whoever applies them
	Timeout time.Duration // how long it may take
	// Judges judge the kinds that they are for, and kstatus all others. Nil:
	// that judges all.
	Judges health.Judges
}

// A Check is an object whose health counts.
type Check struct {
	Ref     object.Ref
	Version string
}

// A Ledger stores the inventory of one unit, as [Dialect.Store] does.
type Ledger interface {
	Store(ctx context.Context, entries []apply.Entry) error
}
