package apply

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// A Phase is a part of an operation that brings a unit to its source, or of its
// removal. What is held true is of Main; the others have hooks alone.
type Phase int8

// The phases, in order.
const (
	Before    Phase = iota - 1
	Main            // of what is held true
	After           // once all of that is healthy
	OnFailure       // in place of what comes after a failure

	BeforeRemoval // before what a unit that goes has written is deleted
	AfterRemoval  // once all of that is gone
)

var phases = [...]string{"before", "main", "after", "on failure", "before removal", "after removal"}

// OfRemoval reports whether a phase is of the removal of a unit.
func (p Phase) OfRemoval() bool { return p == BeforeRemoval || p == AfterRemoval }

// String returns the phase in a word or two.
func (p Phase) String() string { return phases[p-Before] }

// An At is when the turn of an object comes: in which phase, and in which wave
// of that. Waves are passed from the lowest on.
type At struct {
	Phase Phase
	Wave  int32
}

func (a At) compare(b At) int {
	return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Wave, b.Wave))
}

// foremost is when the turn of what is needed before all else comes.
var foremost = At{Before, math.MinInt32}

// String returns the form that messages use.
func (a At) String() string {
	if a == foremost {
		return "what is needed before all else"
	}
	return fmt.Sprintf("wave %d of phase %s", a.Wave, a.Phase)
}

// A Hook is an object that each operation makes anew, and that nobody holds
// true: it is in no inventory, never surplus, and its fields may be anything.
type Hook struct {
	// Phases are those in which it is made. One of them is enough for most.
	Phases []Phase
	// GenerateName is what its name begins with, where it has none: then it has
	// another one in each try.
	GenerateName string
	// Replace deletes one that is there already, and makes another. Else that is
	// changed to what is desired.
	Replace bool
	// WhenDone and WhenFailed say when it is deleted. If neither, the next
	// operation finds it.
	WhenDone, WhenFailed bool
	// Finalizer keeps it until it is stored what it has come to: it may have a
	// time to live of no seconds.
	Finalizer string
}

// HookMark is the annotation that says in which try of which operation a hook
// was made. Another process knows by it what it need not do again.
const HookMark = "plumb.dev/operation"

// HookMade is the annotation that says, of a hook of a removal, what it was made
// from: one that has failed is made anew when that is another.
const HookMade = "plumb.dev/made-from"

// MadeFrom is what HookMade says of a hook that is made from it now.
func MadeFrom(hook *Item) (string, error) {
	text, err := hook.Object().MarshalJSON()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}

// A HookRun is what a hook has come to in a try of an operation.
type HookRun struct {
	Ref     object.Ref
	Version string
	Phase   Phase
	Ended   time.Time // zero: it runs
	Failed  bool
	Stopped bool // it did not end by itself, since its operation was terminated
	Refused bool // it was never made
	Message string
}

// A Course is how an operation brings a unit to its source: a step at a time.
// The first step in which something is not as it should be, applied and
// healthy, is the one that is worked on, and all that comes after it is held.
type Course struct {
	// Mark tells the hooks of this try from those of others.
	Mark string
	// Ran are the hooks that have run in this try, or do.
	Ran []HookRun
	// Removal is the phase of a removal that it is about, which is no operation;
	// Main: it is one.
	Removal Phase
	// Failed says that it has failed, and why: what is left to do then is what
	// hooks are for that.
	Failed string
	// Hooks are left out with NoHooks.
	NoHooks bool
	// Only, if not nil, says what is in it: all else stays as it is.
	Only Selection
	// PruneLast has what is surplus wait until all else is healthy.
	PruneLast bool
	// Strict: objects are brought to what is desired also in fields that do not count
	// in a comparison, and those that are to be replaced are, whether or not they
	// differ.
	Strict bool
	// Applied are the objects that this try has applied, or found to be as desired
	// also in the fields that do not count in a comparison.
	Applied map[object.Ref]bool
}

// RunOf returns what a hook has come to in a phase, or nil.
func RunOf(runs []HookRun, r object.Ref, p Phase) *HookRun {
	for i := range runs {
		if runs[i].Ref == r && runs[i].Phase == p {
			return &runs[i]
		}
	}
	return nil
}

// ran returns what c has come to.
func (co *Course) ran(c *Change) *HookRun { return RunOf(co.Ran, c.Ref, c.At.Phase) }

// MarkOf is how the hooks of a phase are marked, in a try with that mark.
func MarkOf(try string, p Phase) string { return try + "/" + p.String() }

// made returns a hook as it is made in a phase.
func (co *Course) made(hook Item, p Phase) *Item {
	desired := hook.Object
	hook.Object = func() *unstructured.Unstructured {
		o := desired().DeepCopy()
		marks := o.GetAnnotations()
		if marks == nil {
			marks = map[string]string{}
		}
		marks[HookMark] = MarkOf(co.Mark, p)
		o.SetAnnotations(marks)
		if f := hook.Policy.Hook.Finalizer; f != "" && !slices.Contains(o.GetFinalizers(), f) {
			o.SetFinalizers(append(o.GetFinalizers(), f))
		}
		return o
	}
	return &hook
}

// renew has an operation make an object anew that is to be replaced by force, once
// in each try: it carries in which it was made.
func (d *draft) renew(c *Change, l Live) {
	if d.Course == nil || !c.item.Renewed(d.Force, d.Replace) {
		return
	}
	mark := MarkOf(d.Course.Mark, Main)
	if l.Exists && (l.Object == nil || l.Object.GetAnnotations()[HookMark] == mark) {
		return
	}
	it := *c.item
	it.Born = map[string]string{HookMark: mark}
	c.item, c.anew, c.Back, c.Cause = &it, true, false, Git
}

// strict has an operation apply also what is only not compared, and replace what is
// to be replaced, although all that the unit has applied is as desired. That is done
// once in each try: somebody may set it again right afterwards.
func (d *draft) strict(c *Change) {
	p := c.item.Policy
	more := p.Ignored != nil && p.Ignored.Applied()
	if d.Course == nil || !d.Course.Strict || d.Course.Removal != Main || !more && !c.Whole || c.item.Renewed(d.Force, d.Replace) || c.Aside ||
		p.Mode == Ignore || p.Mode == IfNotPresent || d.Course.Applied[c.Ref] || !d.Course.about(c) {
		return
	}
	if more {
		it := *c.item
		it.Policy.Ignored = p.Ignored.Unapplied()
		c.item = &it
	}
	c.Strict, c.Back, c.Cause = true, false, Git
}

// Renewed reports whether each operation makes an object anew, with what its unit
// says of those that say nothing.
func (it *Item) Renewed(force, replace bool) bool {
	return (force || it.Policy.Force) && it.Policy.Replace.Or(replace) && it.Policy.Mode != Ignore && it.Policy.Mode != IfNotPresent
}

// A Wellness is how an object fares, as far as waiting for it goes.
type Wellness uint8

// From best to worst.
const (
	Well  Wellness = iota
	Comes          // it is on its way
	Ill            // it won't get there by itself
)

// A Wait is an object that what comes later waits for, and for what of it.
type Wait struct {
	Ref  object.Ref
	For  Awaited
	Ill  bool   // it is in vain
	Says string // what the object says itself
}

// Awaited is what is waited for of an object.
type Awaited uint8

// What may be waited for.
const (
	Health     Awaited = iota // that it is healthy
	Completion                // that the hook has run
	Deletion                  // that it is gone
	Writing                   // that it is as desired
)

var awaited = [...]string{"healthy state", "completion of hook", "deletion", "write"}

// String returns it in a few words.
func (a Awaited) String() string { return awaited[a] }

// A Step is how far an operation has come.
type Step struct {
	At
	Waits []Wait
	// Holds: there is something that waits for it.
	Holds bool
}

// For reports whether something of the kind is waited for.
func (s *Step) For(what Awaited) bool {
	return slices.ContainsFunc(s.Waits, func(w Wait) bool { return w.For == what })
}

// Waiting says what is waited for, in one line.
func (s *Step) Waiting() string {
	first := s.Waits[0]
	text := fmt.Sprintf("waiting for %s of %s", first.For, first.Ref)
	if n := len(s.Waits) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// Why says what is the matter with what is waited for in vain.
func (w Wait) Why() string {
	text := "it has failed"
	if w.Says != "" {
		text += ": " + w.Says
	}
	return text
}

// InVain returns the first wait that nothing comes of.
func (s *Step) InVain() *Wait {
	if i := slices.IndexFunc(s.Waits, func(w Wait) bool { return w.Ill }); i >= 0 {
		return &s.Waits[i]
	}
	return nil
}

// has reports whether a phase is one of those that it goes through.
func (co *Course) has(p Phase) bool {
	if co.Removal != Main {
		return p == co.Removal
	}
	return !p.OfRemoval()
}

// turns is how often the turn of a hook comes.
func (d *draft) turns() (n int) {
	if d.Course == nil || d.Course.NoHooks {
		return 0
	}
	for _, it := range d.Hooks {
		for _, p := range it.Policy.Hook.Phases {
			if d.Course.has(p) {
				n++
			}
		}
	}
	return n
}

// listHooks adds the hooks of an operation to the changes.
func (d *draft) listHooks(next func(object.Ref, string) *Change) bool {
	if d.Course == nil || d.Course.NoHooks {
		return true
	}
	for i := range d.Hooks {
		for _, p := range d.Hooks[i].Policy.Hook.Phases {
			if !d.Course.has(p) {
				continue
			}
			it := d.Course.made(d.Hooks[i], p)
			c := next(it.Ref, it.Version)
			c.item, c.Hook, c.At, c.Stage, c.Needs, c.Cause = it, it.Policy.Hook, At{p, it.Policy.Wave}, d.Order.stage(it.Ref), Create, Git
			if it.Unknown {
				c.unknown = true
				continue
			}
			l, known := d.Live(it.Ref)
			if !known {
				return false
			}
			d.live[c], c.live = l, l.Object
			if l.Exists {
				c.Needs = Update
			}
		}
	}
	return true
}

// hooks says what hooks have run, or do, in this try, and which must not.
func (d *draft) hooks(open []*Change, say func(*Change, Action, string)) {
	for _, c := range open {
		if c.Hook == nil {
			continue
		}
		switch run := d.Course.ran(c); {
		case run != nil && !run.Ended.IsZero():
			say(c, Nothing, "it has run")
		case run != nil:
			say(c, Hold, "it runs")
			c.WaitsFor = []object.Ref{c.Ref}
		case d.Course.Failed == "" && c.At.Phase == OnFailure:
			say(c, Nothing, "it is for a failure")
		case d.Course.Failed != "" && c.At.Phase != OnFailure:
			say(c, Nothing, "the operation has failed before")
		}
	}
}

// failed: an operation that has failed does no more but what is for that.
func (d *draft) failed(open []*Change, say func(*Change, Action, string)) {
	if d.Course == nil || d.Course.Failed == "" {
		return
	}
	for _, c := range open {
		if c.At.Phase != OnFailure {
			say(c, Hold, d.Course.Failed)
		}
	}
}

// A Selection is of objects. A Ref without namespace stands for all that have its
// name.
type Selection map[object.Ref]bool

// Select returns the selection of some objects.
func Select(refs []object.Ref) Selection {
	s := make(Selection, len(refs))
	for _, r := range refs {
		s[r] = true
	}
	return s
}

// Has reports whether an object is in it.
func (s Selection) Has(r object.Ref) bool {
	anywhere := r
	anywhere.Namespace = ""
	return s[r] || s[anywhere]
}

func (d *draft) selection(open []*Change, say func(*Change, Action, string)) {
	if d.Course == nil || d.Course.Only == nil {
		return
	}
	for _, c := range open {
		if !d.Course.about(c) {
			say(c, Hold, "it is not among what was asked for")
		}
	}
}

// about reports whether an operation is about an object.
func (co *Course) about(c *Change) bool {
	return co == nil || co.Only == nil || c.Aside || co.Only.Has(c.Ref)
}

// stepOrder: what comes after the first step that is not as it should be waits
// for that. Pruning is the last step of Main.
func (d *draft) stepOrder(open []*Change, say func(*Change, Action, string)) {
	if d.Course == nil {
		return
	}
	step := d.step()
	d.plan.Step = step
	if step == nil {
		return
	}
	why := "it comes after " + step.String()
	var refs []object.Ref
	for _, w := range step.Waits {
		refs = append(refs, w.Ref)
	}
	for _, c := range open {
		if c.Surplus && d.prunes(c, step.At) || !c.Surplus && c.At.compare(step.At) <= 0 {
			continue
		}
		step.Holds = true
		say(c, Hold, why)
		c.WaitsFor = refs
	}
}

// prunes reports whether what is surplus is pruned with the step that is worked
// on: it is the last one of Main, or that is over.
func (d *draft) prunes(c *Change, now At) bool {
	last := d.lastOfMain().compare(now)
	return last < 0 || last == 0 && !d.Course.PruneLast && !c.last
}

func (d *draft) lastOfMain() (last At) {
	for _, c := range d.plan.Changes { // which are in order
		if !c.Surplus && c.At.Phase == Main {
			last = c.At
		}
	}
	return last
}

// step returns the first one in which something is not as it should be, or nil.
func (d *draft) step() (first *Step) {
	see := func(at At, w Wait) {
		if first == nil || at.compare(first.At) < 0 {
			first = &Step{At: at}
		}
		if at == first.At {
			first.Waits = append(first.Waits, w)
		}
	}
	for _, c := range d.plan.Changes {
		switch w, over := d.over(c); {
		case over:
		case c.Surplus:
			see(At{Main, lastWave}, w)
		default:
			see(c.At, w)
		}
	}
	return first
}

// lastWave is that of what is surplus, which no object of a source has.
const lastWave = 1 << 30

// over reports whether an object is as an operation wants it before it goes on,
// or says what is missing.
func (d *draft) over(c *Change) (w Wait, over bool) {
	w = Wait{Ref: c.Ref}
	l := d.live[c]
	runs := c.Rule == RuleHook && c.Action == Hold
	switch {
	case runs || d.Course.Failed != "" && c.At.Phase != OnFailure:
		w.For = Completion
		return w, !runs // what runs when something fails may end
	case c.Surplus:
		w.For = Deletion
		return w, !d.Pruning.Enabled || c.Rule == RuleSelection || c.Rule == RuleKept
	case c.Rule == RuleHook:
		w.For = Completion
		run := d.Course.ran(c)
		if w.Ill = run != nil && run.Failed && c.At.Phase != OnFailure; w.Ill {
			w.Says = run.Message
		}
		return w, !w.Ill
	case c.Rule == RuleSelection:
		return w, true
	case c.Rule == RuleEnding:
		w.For = Deletion
		return w, false
	case c.Rule == "" || c.Action == Hold:
		w.For = Writing
		if c.Hook != nil {
			w.For = Completion
		}
		return w, false
	}
	if c.Healthless {
		return w, true
	}
	w.Ill, w.Says = l.Fares == Ill, l.Says
	return w, l.Fares == Well || !l.Exists
}
