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
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/watch/health"
)

// A Unit is one thing to hold true.
type Unit struct {
	// Name is unique: Kustomization/shop/web.
	Name string
	// Namespace is where namespaced objects without a namespace go, and
	// which the unit never prunes.
	Namespace string
	// Generation changes whenever the user changes the unit.
	Generation int64

	Source *source.Artifact
	Render render.Options
	Target Target
	Marks  Marks

	// Policy reads what an object, desired or live, says about itself.
	Policy func(*unstructured.Unstructured) apply.Policy

	Managers owned.Managers
	Force    bool // recreate objects whose change is immutable
	Order    apply.Order
	Prune    Prune
	Health   Health
	// Leaving: the unit is being deleted and claims nothing.
	Leaving bool
	// Remembers is the inventory as it was last stored for the unit.
	Remembers []apply.Entry
	// Applied is the revision that was last applied in full, and
	// AppliedDigest that of what it rendered to, as far as that is known.
	Applied, AppliedDigest string
}

// A Target is a cluster and who acts there.
type Target struct {
	Cluster string       // empty: the one that plumb runs in; else a digest of Config
	Config  *rest.Config // nil with an empty Cluster
	User    string       // whom to impersonate; empty: plumb, or Config's own
}

// Marks are how an object shows whose it is.
type Marks struct {
	// Labels are set on every object.
	Labels map[string]string
	// Selector is a label selector that the objects of every unit with such
	// marks match: it is what the watch asks the server for.
	Selector string
	// Owner returns the name of the unit whose marks an object carries, or
	// nothing.
	Owner func(*unstructured.Unstructured) string
}

// Prune says what happens to objects that leave the source.
type Prune struct {
	Enabled bool
	// AllowEmpty lets a render without objects prune everything.
	AllowEmpty bool
	// Approved is a revision whose pruning a person has approved, however
	// much it is.
	Approved string
	// Held: pruning was held when the unit was last reported on. It stays
	// so until it is approved or there is little left to prune: what was
	// applied meanwhile must not make it look small.
	Held bool
	// Protected are namespaces that are never pruned.
	Protected []string
}

// Health says what has to be healthy before the unit is.
type Health struct {
	Wait    bool          // every object of the unit
	Checks  []Check       // these, whoever applies them
	Exprs   []Expr        // how to judge kinds that kstatus can't
	Timeout time.Duration // how long it may take
}

// A Check is an object whose health counts.
type Check struct {
	Ref     object.Ref
	Version string
}

// An Expr judges the kinds of a group.
type Expr struct {
	Group, Kind string // an empty Kind stands for every kind
	health.Exprs
}

// A Ledger stores a unit's inventory where a crash can't reach it.
type Ledger interface {
	// Store returns once the entries would survive.
	Store(ctx context.Context, entries []apply.Entry) error
}

// A Phase is how far the health of a unit has come.
type Phase uint8

// The phases.
const (
	Unasked Phase = iota // nothing has to be healthy
	Progressing
	Healthy
	Unhealthy // an object failed, or it took too long
)

// An Outcome is all that was learned of a unit in one run.
type Outcome struct {
	Revision string
	Commit   source.Commit
	// Rendered says that a render of Revision gave the objects.
	Rendered bool
	// Digest is that of the rendered objects.
	Digest string
	// Planned says that it was found out what has to change, and begun with.
	Planned bool
	// Inventory is what the unit has written, or was about to.
	Inventory []apply.Entry
	// Changes were made in this run.
	Changes []*apply.Change
	// Held would have been made, but something has to happen first.
	Held []*apply.Change
	// Unfinished says that something is yet to be deleted that nothing speaks
	// against.
	Unfinished bool
	// Left are desired objects that are left as they are, sorted.
	Left []Left
	// Fights are the fields that somebody else sets again and again, sorted.
	Fights []Fight
	// Applied says that everything desired is applied.
	Applied bool
	Health  Phase
	// Pending are the objects that aren't healthy, sorted, and why.
	Pending []Pending
	// Since is when waiting for health began.
	Since time.Time
	// Next is when to run again at the latest, if that isn't zero.
	Next time.Time
}

// ChangedByGit reports whether something was changed that is not the correction
// of drift.
func (o Outcome) ChangedByGit() bool {
	return slices.ContainsFunc(o.Changes, func(c *apply.Change) bool { return c.Cause != apply.Drift })
}

// AtRest reports whether all was done that there was to do, and nothing is
// waited for.
func (o Outcome) AtRest() bool {
	return o.Applied && len(o.Held) == 0 && len(o.Fights) == 0 && o.Next.IsZero() &&
		(o.Health == Unasked || o.Health == Healthy)
}

// A Pending is an object that is not healthy.
type Pending struct {
	Ref object.Ref
	health.Result
}
