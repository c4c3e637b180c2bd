package engine

import (
	"fmt"
	"slices"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/watch/health"
)

// A State says in what sense a unit is, or is not, as it should be. A unit is
// in one of them.
type State uint8

// The states.
const (
	// Unknown: it has not been looked at.
	Unknown State = iota
	// Ready: all is applied, and what has to be healthy is. Nothing is waited
	// for.
	Ready
	// Progressing: it comes to be as it should by itself: what was written is
	// not healthy yet, what was deleted is not gone.
	Progressing
	// Waiting: something that is not the unit's own has to come or to go first,
	// such as a kind, a namespace, a right or a dependency.
	Waiting
	// OutOfSync: it is not as desired, and what that takes is not permitted now.
	OutOfSync
	// Contested: all is applied, but somebody sets fields again and again.
	Contested
	// Held: a person has to decide before something is pruned, or has to do it.
	Held
	// Unhealthy: all is applied, and an object failed, or took too long.
	Unhealthy
	// Failed: something was refused or could not be asked. It is tried again.
	Failed
	// Stalled: only another revision or spec helps.
	Stalled
	// Unreachable: its API server does not answer.
	Unreachable
	// Suspended: it is not looked at.
	Suspended
	// Removing: it goes, and something of it is yet to be deleted.
	Removing
	// Removed: all of it is deleted that may be. What is in the inventory is on
	// its way out, or is left for good.
	Removed
)

var states = [...]string{
	"Unknown", "Ready", "Progressing", "Waiting", "OutOfSync", "Contested", "Held", "Unhealthy", "Failed", "Stalled", "Unreachable",
	"Suspended", "Removing", "Removed",
}

// String returns the state in a word.
func (s State) String() string { return states[s] }

// A Phase is how far the health of a unit has come.
type Phase uint8

// The phases.
const (
	Unasked Phase = iota // nothing has to be healthy, or it has not come so far
	Pending              // not yet
	Healthy
	Ill // an object failed, or it took too long
)

// An Outcome is all that a look has shown of a unit, and what was done.
type Outcome struct {
	State State
	// Reason says why, where the unit is not Ready.
	Reason fault.Reason
	// Message says it to people, and is the same while the facts are.
	Message string

	Revision string
	Commit   source.Commit
	// Digest is that of the rendered objects; empty: there is no render of
	// Revision.
	Digest string
	// Plan is what has to happen; nil: that could not be told. Record is what
	// became of it.
	Plan   *apply.Plan
	Record *apply.Record
	// Inventory is what the unit has written, or was about to.
	Inventory []apply.Entry
	// Repeated are the objects that are there more than once, in one rendering or in
	// several, sorted: the last one counts.
	// The last one counts.
	Repeated []object.Ref
	// Left are desired objects that are left as they are, sorted.
	Left []Left
	// Foreign are desired objects that another unit holds true, sorted, and what
	// speaks against taking them. It is told of units that adopt, while they may not
	// write.
	Foreign []Left
	// Doubted are those that say something of themselves that means nothing, sorted.
	Doubted []Left
	// Ignored are, in a preview, objects with fields that differ and don't count,
	// sorted.
	Ignored []Ignored
	// Fights are the fields that somebody else sets again and again, sorted.
	Fights []apply.Fight
	Health Phase
	// Unwell are the objects that aren't healthy, sorted, and why: of those that
	// have to be, or of all, if [Health].Tell.
	Unwell []Unwell
	// Unjudged is why some of them can't be judged, where a rule that somebody
	// wrote is at fault.
	Unjudged error
	// Since is when waiting for health began.
	Since time.Time
	// Next is when to run again at the latest, if that isn't zero.
	Next time.Time

	// Err is why the unit is not as it should be.
	Err error
	// Took is how long the look took, and Fetched when its source was.
	Took    time.Duration
	Fetched time.Time
	// Rested: nothing has happened since the last outcome, which this one is.
	Rested bool
	// Interim: what was changed is news; what that makes of the unit is told
	// later, by an outcome that is Deferred. Live: it is all that there was to do.
	Interim, Live, Deferred bool
	// Stands: what was said of the unit before is still so.
	Stands bool
	// Operation is how far the unit's operation has come, if it has one.
	Operation Progress
	hooks     bool // the source has some
	// RemovalHooks are the phases of its removal that the source has hooks for.
	RemovalHooks []apply.Phase
	// Rehearsed: what its record says was tried on the server, and not done.
	Rehearsed bool
	unseen    bool // after a start, its objects have not been seen yet: what was told stands
	// Handled is the request that was carried out.
	Handled string
	// Orphaned are the objects that nobody may delete any more.
	Orphaned []apply.Entry
	// Unreachable is since when the unit's server has not answered, if it does
	// not.
	Unreachable time.Time
}

// Changes returns what was changed, or would be: written, deleted, or left to
// another unit.
func (o Outcome) Changes() []*apply.Result {
	return o.Record.That(apply.Written, apply.Would, apply.Deleted, apply.Released)
}

// Held returns what would have been changed, but something speaks against it.
func (o Outcome) Held() []*apply.Result { return o.Record.Held() }

// ChangedByGit reports whether something was changed that is not the correction
// of drift.
func (o Outcome) ChangedByGit() bool {
	return slices.ContainsFunc(o.Changes(), func(c *apply.Result) bool { return c.Cause != apply.Drift })
}

// AtRest reports whether all was done that there was to do, and no time is waited
// for: whatever changes that wakes the unit. Its objects may be unhealthy where
// that is told and nothing more.
func (o Outcome) AtRest() bool {
	switch o.State {
	case Ready, Progressing, Unhealthy:
		return o.Err == nil && o.Next.IsZero()
	}
	return false
}

// Kept is what an outcome is between two looks. Of a unit at rest it holds no
// plan, since that is nothing for each object of its inventory, and of another
// none of the objects themselves.
func (o Outcome) Kept() Outcome {
	if o.AtRest() {
		o.Plan, o.Record = nil, nil
		return o
	}
	o.Record = o.Record.Slim()
	o.Plan = o.Record.Plan()
	return o
}

// An Unwell is an object that is not healthy.
type Unwell struct {
	Ref object.Ref
	health.Result
}

// same reports whether nothing else would be said of x.
func (x Unwell) same(y Unwell) bool {
	return x.Ref == y.Ref && x.Status == y.Status && x.Message == y.Message
}

// applied reports whether all that is desired is applied.
func (o *Outcome) applied() bool {
	return o.State == Ready || o.State == Progressing || o.State == Contested || o.State == Unhealthy && o.Err == nil
}

// conclude says in what state an error leaves a unit.
func (o *Outcome) conclude(err error) {
	withheld := o.withheld()
	switch {
	case err != nil:
		f := fault.Of(err)
		o.State, o.Reason, o.Message = stateOf(f), f.Reason, err.Error()
	case o.Rehearsed && len(o.Changes()) > 0:
		o.State, o.Reason, o.Message = OutOfSync, fault.NotPermitted, "what it would take was tried, and not done"
	case withheld != nil:
		o.State, o.Reason, o.Message = OutOfSync, fault.NotPermitted, fmt.Sprintf("not as desired: %s", object.Names(withheld, maxListed))
	case len(o.Fights) > 0:
		first := o.Fights[0]
		o.State, o.Reason, o.Message = Contested, fault.FieldConflict, first.Ref.String()+": "+first.String()
	case o.Health == Pending:
		o.State, o.Reason, o.Message = Progressing, fault.Progressing, "waiting for "+o.Waiting()
	case o.Health == Ill && o.Unjudged != nil:
		o.State, o.Reason, o.Message = Unhealthy, fault.HealthRuleFailed, o.Unjudged.Error()
	case o.Health == Ill:
		o.State, o.Reason, o.Message = Unhealthy, fault.HealthCheckFailed, "failed: "+list(o.Unwell, true)
	default:
		o.State, o.Reason, o.Message = Ready, "", ""
	}
}

// withheld are the objects about which something is not done for lack of
// permission alone, or since it was not asked for.
func (o *Outcome) withheld() (refs []object.Ref) {
	if o.Plan == nil {
		return nil
	}
	for _, c := range o.Plan.Held() {
		if c.Rule == apply.RulePermission || c.Rule == apply.RuleSelection {
			refs = append(refs, c.Ref)
		}
	}
	return refs
}

// stateOf says in what state a unit is that something is wrong with.
func stateOf(f *fault.Error) State {
	switch f.Reason {
	case fault.NotAnswering:
		return Unreachable
	case fault.EmptyRender, fault.PruneHeld, fault.PruneProtected:
		if f.Next == fault.Stall {
			return Held
		}
	case fault.HealthCheckFailed, fault.HealthRuleFailed:
		return Unhealthy
	}
	switch {
	case f.Next == fault.Stall:
		return Stalled
	case f.Next == fault.Retry:
		return Failed
	case f.Reason == fault.Progressing:
		return Progressing
	}
	return Waiting
}
