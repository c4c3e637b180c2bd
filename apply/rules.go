package apply

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// A Rule names what decides about an object of a plan.
type Rule string

// The rules, in the order in which they are asked. The first that speaks about
// an object has the last word about it.
const (
	// RuleIgnored: the source says to leave it alone.
	RuleIgnored Rule = "ignored"
	// RuleHook: it is a hook that runs, or has run, or is not to run.
	RuleHook Rule = "hook"
	// RuleUnknownKind: the cluster does not have its kind, and none of the
	// plan's objects defines it.
	RuleUnknownKind Rule = "unknown-kind"
	// RuleEnding: it is being deleted.
	RuleEnding Rule = "ending"
	// RuleNamespaceEnds: its namespace is.
	RuleNamespaceEnds Rule = "namespace-ends"
	// RuleNotAdmitted: the unit may not have it.
	RuleNotAdmitted Rule = "not-admitted"
	// RuleIfNotPresent: it is there, and is only created.
	RuleIfNotPresent Rule = "if-not-present"
	// RuleAsDesired: it is as desired.
	RuleAsDesired Rule = "as-desired"
	// RuleLeftAlone: the live object says to leave it alone.
	RuleLeftAlone Rule = "left-alone"
	// RuleExpired: it is a Job that has run, and was taken away by its time to
	// live.
	RuleExpired Rule = "expired"
	// RuleFight: somebody else sets fields of it again and again.
	RuleFight Rule = "fight"
	// RuleKept: it is no longer desired, and says that it is not to be pruned.
	RuleKept Rule = "kept"
	// RulePermission: no more may be done than the unit allows.
	RulePermission Rule = "permission"
	// RuleStageOrder: nothing new is written of the first stage that has an
	// object of an unknown kind, nor after it, and nothing is pruned.
	RuleStageOrder Rule = "stage-order"
	// RuleSelection: an operation is about other objects.
	RuleSelection Rule = "selection"
	// RuleFailed: the operation has failed, and does no more.
	RuleFailed Rule = "failed"
	// RuleStepOrder: its turn in the operation has not come.
	RuleStepOrder Rule = "step-order"
	// RuleNeeded: it is not as desired.
	RuleNeeded Rule = "needed"
	// RulePruningOff: it is no longer desired, and the unit prunes nothing.
	RulePruningOff Rule = "pruning-off"
	// RuleUnconfirmed: somebody has to confirm that it goes.
	RuleUnconfirmed Rule = "unconfirmed"
	// RuleClaimed: it is no longer desired, and another unit wants it.
	RuleClaimed Rule = "claimed"
	// RuleClaimsUnknown: it can't be told what other units want.
	RuleClaimsUnknown Rule = "claims-unknown"
	// RuleEmptyRender: nothing at all is desired, which looks like a mistake.
	RuleEmptyRender Rule = "empty-render"
	// RuleMostPruned: most objects would go, which looks like a mistake.
	RuleMostPruned Rule = "most-pruned"
	// RuleSurplus: it is no longer desired.
	RuleSurplus Rule = "surplus"
)

// Facts are what a plan is made from: all of it has been observed.
type Facts struct {
	Items     []Item // desired
	Unknown   []Item // desired, and of kinds that the cluster does not have
	Hooks     []Item // of the source; a Course makes them
	Inventory []Entry
	Managers  owned.Managers
	Order     Order
	// Force and Replace are what the unit says of objects that say nothing, and
	// Late what it says of all.
	Force, Replace, Late bool
	// Says is what those of the inventory say of themselves that are there, and
	// no longer desired, where the unit keeps track of these.
	Says map[object.Ref]Policy
	// Live returns what is known of an object that is desired.
	Live func(object.Ref) (Live, bool)
	// Admits says why the unit may not have an object; nil: it may have all.
	Admits func(object.Ref) error
	// Policy reads what a live object says about itself.
	Policy     func(*unstructured.Unstructured) Policy
	Permission Permission
	// Alike are objects that hold what is desired, although they were not applied
	// so. Who may not write is content with that.
	Alike  map[object.Ref]bool
	Course *Course // nil: no operation brings the unit to its source step by step
	// Whole: what is desired is what was applied last, as a whole.
	Whole bool
	// Done are objects of a revision that was applied in full before.
	Done    map[object.Ref]bool
	Fights  Fights
	Claims  Claims
	Pruning Pruning
	Now     time.Time
}

// Claims are what other units want of what is surplus.
type Claims struct {
	By      map[object.Ref]string // who takes it over
	Unknown []string              // of these it can't be told
	Broken  []string              // these were broken by the same revision
	Err     error                 // why it can't be told of some object
}

// Pruning is what a unit says about what is surplus.
type Pruning struct {
	Enabled bool
	// Leaving: the unit goes, and all that is its own with it.
	Leaving    bool
	AllowEmpty bool
	// Asks: somebody has to confirm each deletion, and Confirmed that this was done.
	Asks, Confirmed bool
	// Tracks: what is not pruned stays the unit's, also where pruning is not
	// enabled.
	Tracks bool
	// Approved: a person has approved what the revision prunes.
	Approved bool
	// Withheld: it was, when the unit was looked at last. It stays so until it is
	// approved or there is little left to prune: what was applied meanwhile
	// must not make it look small.
	Withheld bool
	Path     string
	Revision string
}

// A draft is a plan that is being made.
type draft struct {
	*Facts
	plan   *Plan
	had    map[object.Ref]bool // by the inventory
	live   map[*Change]Live
	ending map[string]bool // namespaces
}

// rules are asked in order about what nobody has spoken of.
var rules = []struct {
	name  Rule
	speak func(*draft, []*Change, func(*Change, Action, string))
}{
	{RuleIgnored, (*draft).ignored},
	{RuleHook, (*draft).hooks},
	{RuleUnknownKind, (*draft).unknownKinds},
	{RuleEnding, (*draft).deleting},
	{RuleNamespaceEnds, (*draft).namespaceEnds},
	{RuleNotAdmitted, (*draft).notAdmitted},
	{RuleIfNotPresent, (*draft).ifNotPresent},
	{RuleAsDesired, (*draft).asDesired},
	{RuleLeftAlone, (*draft).leftAlone},
	{RuleExpired, (*draft).expired},
	{RuleFight, (*draft).fought},
	{RuleKept, (*draft).kept},
	{RulePermission, (*draft).permission},
	{RuleStageOrder, (*draft).stageOrder},
	{RuleSelection, (*draft).selection},
	{RuleFailed, (*draft).failed},
	{RuleStepOrder, (*draft).stepOrder},
	{RuleNeeded, (*draft).needed},
	{RulePruningOff, (*draft).pruningOff},
	{RuleUnconfirmed, (*draft).unconfirmed},
	{RuleClaimed, (*draft).claimed},
	{RuleClaimsUnknown, (*draft).claimsUnknown},
	{RuleEmptyRender, (*draft).emptyRender},
	{RuleMostPruned, (*draft).mostPruned},
	{RuleSurplus, (*draft).surplus},
}

// Make plans. It is a function of f alone. Of an object that f.Live knows
// nothing about nothing can be said: then there is no plan, and ok is false.
func Make(f Facts) (p *Plan, ok bool) {
	d := &draft{Facts: &f, plan: &Plan{Withheld: f.Pruning.Withheld, steps: f.Course != nil}, live: make(map[*Change]Live, len(f.Items))}
	if !d.begin() {
		return nil, false
	}
	for _, r := range rules {
		open := d.plan.with(func(c *Change) bool { return c.Rule == "" })
		r.speak(d, open, func(c *Change, a Action, why string) {
			c.Rule, c.Action, c.Why = r.name, a, why
		})
	}
	return d.plan, true
}

// begin lists every object with what it needs, in order.
func (d *draft) begin() bool {
	all := make([]Change, len(d.Items)+len(d.Unknown)+d.turns())
	next := func(r object.Ref, version string) *Change {
		c := &all[0]
		all = all[1:]
		c.Ref, c.Version = r, version
		d.plan.Changes = append(d.plan.Changes, c)
		return c
	}
	d.had = make(map[object.Ref]bool, len(d.Inventory))
	for _, e := range d.Inventory {
		d.had[e.Ref] = true
	}
	for i := range d.Items {
		it := &d.Items[i]
		c := next(it.Ref, it.Version)
		c.item, c.At.Wave, c.Stage, c.Aside, c.Whole = it, it.Policy.Wave, d.Order.stage(it.Ref), it.Aside, it.Policy.Replace.Or(d.Replace)
		c.Healthless = it.Policy.Healthless
		if c.Aside {
			c.At = foremost
		}
		if it.Policy.Mode == Ignore {
			continue
		}
		l, known := d.Live(it.Ref)
		if !known {
			return false
		}
		d.live[c], c.live = l, l.Object
		c.Needs, c.Cause = needs(it, l)
		c.Back = c.Cause == Drift || c.Cause == First && d.Whole && d.had[it.Ref]
		d.renew(c, l)
		d.strict(c)
	}
	for i := range d.Unknown {
		it := &d.Unknown[i]
		c := next(it.Ref, it.Version)
		c.item, c.unknown, c.At.Wave, c.Stage, c.Needs, c.Cause = it, true, it.Policy.Wave, d.Order.stage(it.Ref), Create, First
	}
	if !d.listHooks(next) {
		return false
	}
	slices.SortStableFunc(d.plan.Changes, func(a, b *Change) int {
		return cmp.Or(d.plan.turn(a).compare(d.plan.turn(b)), inOrder(a.Ref, b.Ref))
	})
	var surplus []*Change
	for _, e := range d.Surplus() {
		surplus = append(surplus, &Change{
			Ref: e.Ref, Version: e.Version, Surplus: true, At: At{Wave: e.Wave}, Stage: d.Order.leaves(e.Ref), Needs: Delete, Cause: Git,
			Extra: d.Says[e.Ref].Extra, last: d.Says[e.Ref].PruneLast && d.Course != nil && d.Pruning.Enabled,
		})
		if c := surplus[len(surplus)-1]; c.last {
			c.At.Wave = math.MinInt32 // the last wave goes first
		}
	}
	d.Order.sort(surplus)
	d.plan.Changes = append(d.plan.Changes, surplus...)
	d.ending = namespacesThatEnd(d.Items, d.Live)
	return true
}

// needs says what has to happen to an object if nothing speaks against it.
func needs(it *Item, l Live) (a Action, because Cause) {
	switch l.Digest {
	case "":
		because = First
	case it.Digest:
		because = Drift
	}
	if !l.Exists {
		return Create, because
	}
	return Update, because
}

// Surplus returns what is in the inventory and no longer desired.
func (f *Facts) Surplus() (out []Entry) {
	desired := make(map[object.Ref]bool, len(f.Items)+len(f.Hooks))
	for i := range f.Items {
		desired[f.Items[i].Ref] = true
	}
	for i := range f.Hooks {
		desired[f.Hooks[i].Ref] = true // it is, and nobody's to prune
	}
	for _, e := range f.Inventory {
		if !desired[e.Ref] && !f.mayBeUnknown(e.Ref) {
			out = append(out, e)
		}
	}
	return out
}

// mayBeUnknown reports whether an object of the inventory is one of those
// whose kind is gone. Whether that has namespaces can't be told.
func (f *Facts) mayBeUnknown(r object.Ref) bool {
	return slices.ContainsFunc(f.Unknown, func(u Item) bool { return u.Ref.GroupKind() == r.GroupKind() && u.Ref.Name == r.Name })
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

func (d *draft) unknownKinds(open []*Change, say func(*Change, Action, string)) {
	if len(d.Unknown) == 0 {
		return
	}
	by := Definitions(d.Items)
	for _, c := range open {
		if !c.unknown || !d.Course.about(c) {
			continue
		}
		c.late = d.Late || c.item.Policy.Late
		if definition, ok := by[c.Ref.GroupKind()]; ok {
			c.WaitsFor = []object.Ref{definition.Ref}
			continue
		}
		say(c, Hold, "the cluster does not have its kind; nothing is pruned before it does")
		c.Reason = fault.UnknownKind
	}
}

// A Definition is what an item says of a kind.
type Definition struct {
	Ref        object.Ref // of the item
	Namespaced bool
}

// Definitions are the kinds that items define.
func Definitions(items []Item) map[schema.GroupKind]Definition {
	defined := map[schema.GroupKind]Definition{}
	for _, it := range items {
		if it.Ref.Kind != "CustomResourceDefinition" || it.Policy.Mode == Ignore {
			continue
		}
		o := it.Object().Object
		group, _, _ := unstructured.NestedString(o, "spec", "group")
		kind, _, _ := unstructured.NestedString(o, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(o, "spec", "scope")
		defined[schema.GroupKind{Group: group, Kind: kind}] = Definition{Ref: it.Ref, Namespaced: scope == "Namespaced"}
	}
	return defined
}

func (d *draft) ignored(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if c.item != nil && c.item.Policy.Mode == Ignore {
			say(c, Nothing, c.item.Policy.Why)
		}
	}
}

const whyEnding = "it is being deleted; it is created again once it is gone"

func (d *draft) deleting(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if l := d.live[c]; l.Exists && l.Deleting {
			say(c, Hold, whyEnding)
			c.WaitsFor = []object.Ref{c.Ref}
		}
	}
}

func (d *draft) namespaceEnds(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if !c.Surplus && d.ending[c.Ref.Namespace] {
			say(c, Hold, "its namespace is being deleted; it is created again once that is gone")
			c.Reason, c.WaitsFor = fault.NamespaceTerminating, []object.Ref{{Kind: "Namespace", Name: c.Ref.Namespace}}
		}
	}
}

func (d *draft) ifNotPresent(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if c.item != nil && c.item.Policy.Mode == IfNotPresent && d.live[c].Exists {
			say(c, Nothing, "")
		}
	}
}

func (d *draft) asDesired(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if a, ok := d.isAsDesired(c); ok && !c.anew {
			say(c, a, "")
		}
	}
}

// isAsDesired reports whether an object is as desired, and whether that was known.
func (d *draft) isAsDesired(c *Change) (Action, bool) {
	switch l := d.live[c]; {
	case c.item == nil || c.Hook != nil || !l.Exists:
		return 0, false
	case l.Settled && l.Digest == c.item.Digest && !c.Strict:
		return Nothing, true
	case l.Object != nil && !(c.Strict && c.Whole) && (d.Alike[c.Ref] || owned.Same(c.item.Object(), l.Object, c.Managers(d.Managers))):
		return Settle, true
	}
	return 0, false
}

func (d *draft) leftAlone(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if !c.Surplus && c.live != nil && d.Policy(c.live).Mode == Ignore {
			say(c, Nothing, "")
		}
	}
}

func (d *draft) notAdmitted(open []*Change, say func(*Change, Action, string)) {
	if d.Admits == nil {
		return
	}
	for _, c := range open {
		err := d.Admits(c.Ref)
		if err == nil {
			continue
		}
		if _, ok := d.isAsDesired(c); ok {
			if c.Aside {
				continue // it is not the unit's, and nothing is to be done to it
			}
			c.Needs = Nothing
		}
		say(c, Hold, err.Error())
		c.Reason = fault.NotAdmitted
	}
}

// expired: such a Job is not missing, it is done. A change of it runs it again.
func (d *draft) expired(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if c.Needs == Create && c.item != nil && c.item.EndsItself() && (c.Cause == Drift || c.Cause == First && d.Done[c.Ref]) {
			say(c, Nothing, "")
		}
	}
}

// EndsItself reports whether an object goes away by itself when it is done.
func (it *Item) EndsItself() bool {
	if it.Ref.Group != "batch" || it.Ref.Kind != "Job" {
		return false
	}
	_, ok, _ := unstructured.NestedFieldNoCopy(it.Object().Object, "spec", "ttlSecondsAfterFinished")
	return ok
}

func (d *draft) fought(open []*Change, say func(*Change, Action, string)) {
	writes := map[object.Ref]*Change{}
	gone := map[object.Ref]bool{}
	for _, c := range open {
		switch {
		case c.Hook != nil, c.Strict:
		case c.Surplus:
			gone[c.Ref] = true
		default:
			writes[c.Ref] = c
		}
	}
	d.plan.fights = d.Fights.stand(writes, gone, d.Managers, d.Now)
	for ref, k := range d.plan.fights {
		if c := writes[ref]; c != nil && k.holds(c, d.Managers, d.Now) {
			say(c, Hold, "it is fought over")
			c.Reason = fault.FieldConflict
		}
	}
}

// kept: it stays the unit's, which has it pruned once it says nothing any more.
func (d *draft) kept(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if p := d.Says[c.Ref]; c.Surplus && p.Prune == Never && !p.Keep {
			say(c, Hold, whyKept)
		}
	}
}

const whyKept = "it says that it is not to be pruned"

func (d *draft) permission(open []*Change, say func(*Change, Action, string)) {
	if d.Permission == Everything {
		return
	}
	why := "nothing may be written"
	if d.Permission == CorrectDrift {
		why = "nothing may be done but to put back what somebody changes"
	}
	for _, c := range open {
		if d.Permission != CorrectDrift || !c.Back || !d.had[c.Ref] && !c.Aside {
			say(c, Hold, why)
		}
	}
}

// stageOrder: part of a stage can't be written, so none of it is, and nothing
// that comes after it; but what was applied before is put right.
func (d *draft) stageOrder(open []*Change, say func(*Change, Action, string)) {
	var missing []object.Ref
	var first turn
	alone := false // the rest of its turn does not wait for it
	for _, c := range d.plan.Changes {
		if c.Rule != RuleUnknownKind || c.Action != Hold {
			continue
		}
		if t := d.plan.turn(c); len(missing) == 0 || t.compare(first) < 0 {
			first, alone = t, c.late
		} else if t.compare(first) == 0 {
			alone = alone && c.late
		}
		missing = append(missing, c.Ref)
	}
	if len(missing) == 0 {
		return
	}
	waits := func(c *Change) bool {
		order := d.plan.turn(c).compare(first)
		return order > 0 || order == 0 && !alone
	}
	why := fmt.Sprintf("the cluster does not have the kind of %s, which comes with it", object.Names(missing, 3))
	for _, c := range open {
		if c.Surplus || waits(c) && !c.Back {
			say(c, Hold, why)
			c.WaitsFor = missing
		}
	}
}

func (d *draft) needed(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		switch {
		case c.unknown:
			say(c, Create, "not tried on the server, because its kind comes with it")
		case !c.Surplus:
			say(c, c.Needs, "")
		}
	}
}

func (d *draft) pruningOff(open []*Change, say func(*Change, Action, string)) {
	if d.Pruning.Enabled || d.Pruning.Leaving {
		return
	}
	action := Release
	if d.Pruning.Tracks {
		action = Hold
	}
	for _, c := range open {
		say(c, action, "pruning is off")
	}
}

// unconfirmed: nothing goes before somebody has confirmed it, where one of them
// asks for that.
func (d *draft) unconfirmed(open []*Change, say func(*Change, Action, string)) {
	p := d.Pruning
	if p.Confirmed || len(open) == 0 {
		return
	}
	asks := make(map[object.Ref]bool)
	for _, e := range d.Inventory {
		asks[e.Ref] = p.Asks || p.Leaving && e.Asks
	}
	i := slices.IndexFunc(open, func(c *Change) bool { return asks[c.Ref] })
	if i < 0 {
		return
	}
	d.guard(open, unconfirmed(open[i].Ref), say)
}

// unconfirmed is the error for an object whose deletion has to be confirmed.
func unconfirmed(ref object.Ref) *fault.Error {
	return &fault.Error{Next: fault.Wait, Reason: fault.Unconfirmed, Object: ref, Err: errors.New("waiting for confirmation that it may be deleted")}
}

func (d *draft) claimed(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if by := d.Claims.By[c.Ref]; by != "" && len(d.Claims.Unknown) == 0 && d.Claims.Err == nil {
			say(c, Release, "it is now of "+by)
			c.By = by
		}
	}
}

func (d *draft) claimsUnknown(open []*Change, say func(*Change, Action, string)) {
	if len(open) == 0 {
		return
	}
	var e *fault.Error
	switch n := count(len(open)); {
	case len(d.Claims.Unknown) > 0:
		e = &fault.Error{Err: fmt.Errorf("%s not pruned: it can't be told what these claim: %s", n, strings.Join(d.Claims.Unknown, ", "))}
	case fault.Of(d.Claims.Err) != nil && fault.Of(d.Claims.Err).Reason != "":
		d.guard(open, fault.Of(d.Claims.Err), say)
		return
	case d.Claims.Err != nil:
		e = &fault.Error{Object: fault.Of(d.Claims.Err).Object, Err: fmt.Errorf("not pruned: %w", d.Claims.Err)}
	case len(d.Claims.Broken) > 0:
		e = &fault.Error{
			Err:  fmt.Errorf("%s not pruned, because the same revision broke %s, which may want them", n, strings.Join(d.Claims.Broken, ", ")),
			Hint: "repair it, and the pruning goes on",
		}
	default:
		return
	}
	e.Next, e.Reason = fault.Retry, fault.PruneHeld
	d.guard(open, e, say)
}

// guard holds pruning for what an error says.
func (d *draft) guard(held []*Change, e *fault.Error, say func(*Change, Action, string)) {
	d.plan.Guard = e
	for _, c := range held {
		say(c, Hold, string(e.Reason)+": "+e.Err.Error()) // the hint is for who has pushed it
		c.Reason = e.Reason
	}
}

// desires reports whether anything is desired.
func (f *Facts) desires() bool {
	return len(f.Unknown) > 0 || slices.ContainsFunc(f.Items, func(it Item) bool { return !it.Aside })
}

func (d *draft) emptyRender(open []*Change, say func(*Change, Action, string)) {
	lost := losses(open, d.Items)
	if len(lost) == 0 || d.desires() || d.Pruning.AllowEmpty || d.Pruning.Leaving {
		return
	}
	d.guard(lost, &fault.Error{
		Next: fault.Stall, Reason: fault.EmptyRender,
		Err:  fmt.Errorf("path %q at %s holds no objects; the %s that are there were kept", d.Pruning.Path, d.Pruning.Revision, count(len(lost))),
		Hint: "restore the files, or allow it with the annotation plumb.dev/allow-empty: \"true\"",
	}, say)
}

// Pruning that would take more than half of what a unit has, and at least this
// many objects, is held until a person approves it.
const manyPruned = 3

func (d *draft) mostPruned(open []*Change, say func(*Change, Action, string)) {
	if slices.ContainsFunc(d.plan.Surplus(), func(c *Change) bool { return c.Action == Hold && c.Rule != RuleKept }) {
		return // how much it would be can't be told now
	}
	lost := losses(open, d.Items)
	most := 2*len(lost) > len(d.Inventory)
	d.plan.Withheld = len(lost) >= manyPruned && (d.Pruning.Withheld || most) && !d.Pruning.Approved && !d.Pruning.Leaving
	if !d.plan.Withheld {
		return
	}
	why := "which is more than half"
	if !most {
		why = "the rest of what was more than half when it was first held"
	}
	d.guard(lost, &fault.Error{
		Next: fault.Stall, Reason: fault.PruneHeld,
		Err: fmt.Errorf("%s would prune %d of %d objects, %s; they were kept: %s",
			d.Pruning.Revision, len(lost), len(d.Inventory), why, changeNames(lost, 20)),
		Hint: "restore them, or approve it with the annotation plumb.dev/approve-prune: " + d.Pruning.Revision +
			", as plumb sync --approve-prune does",
	}, say)
}

func (d *draft) surplus(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		say(c, Delete, "")
	}
}
