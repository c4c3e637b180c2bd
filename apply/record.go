package apply

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// A Did is what became of a change.
type Did uint8

// What may become of a change.
const (
	Open     Did = iota // nothing was done about it
	Unneeded            // it turned out to be as desired
	Would               // the server would take it, and was only asked
	Refused             // the server, or another unit that holds it, does not let it pass
	Blocked             // it was not written, for the sake of what goes with it or before it
	Written             // it was created, updated or recreated
	Deleted             // it was, by this run
	Going               // it is being deleted
	Released            // it is left to who wants it now
	Gone                // it is not there any more
	Left                // it stays, and is no longer this unit's
	Kept                // it stays, for what was found out when it was looked at
)

var dids = [...]string{"open", "unneeded", "would", "refused", "blocked", "written", "deleted", "going", "released", "gone", "left", "kept"}

// String returns it in a word.
func (d Did) String() string { return dids[d] }

// A Result is what became of one change of a plan.
type Result struct {
	*Change // as it was planned
	// Action is what the change came to: where an object turns out to exist, to
	// be gone, or not to be changeable in place, it is another than planned.
	Action Action
	Did    Did
	Why    string
	Reason fault.Reason
	// Absent: what was deleted, or released, was seen to be gone, or is no
	// longer ours. Only then may it leave the inventory.
	Absent bool
	Err    error
	Fields []owned.Field // that are changed, whoever did; secret values are masked
	// Alike: it would hold the same but for its unit's marks, with other owners.
	Alike bool

	// Lost are the fields that others had taken from an object whose drift
	// was corrected, and After is the object since then.
	Lost  []owned.Loss
	After *unstructured.Unstructured

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

// Live returns the object as it was looked at last; it may be nil, and must not
// be changed.
func (r *Result) Live() *unstructured.Unstructured { return r.live }

// Is reports whether something was done about it, or would be.
func (r *Result) Is(what ...Did) bool { return slices.Contains(what, r.Did) }

// partial reports whether some fields are left as they are.
func (r *Result) partial() bool { return len(r.Leave) > 0 && r.Action == Update && r.live != nil }

// keeps reports whether some fields are not applied.
func (r *Result) keeps() bool {
	i := r.item.Policy.Ignored
	return i != nil && i.Applies() && r.Action == Update && r.live != nil
}

// hold notes that it is not done after all.
func (r *Result) hold(why string) { r.Action, r.Did, r.Why = Hold, Kept, why }

// Drift says what somebody did to an object whose drift was corrected, and who,
// where that is known.
func (r *Result) Drift() (what, who string) {
	if r.Action == Create {
		return "deleted by somebody", ""
	}
	var paths []string
	for _, l := range r.Lost {
		if l.Manager != "" {
			who = l.Manager
		}
		if len(paths) == 5 {
			paths = append(paths, "…")
			break
		}
		paths = append(paths, owned.Text(l.Path))
	}
	if len(paths) == 0 {
		paths = append(paths, "fields")
	}
	by := who
	if by == "" {
		by = "somebody"
	}
	return strings.Join(paths, ", ") + " changed by " + by, who
}

// A Record is what became of a plan.
type Record struct {
	plan    *Plan
	results map[*Change]*Result
}

// Begin returns an empty record of p.
func Begin(p *Plan) *Record {
	r := &Record{plan: p, results: map[*Change]*Result{}}
	for _, c := range p.Changes {
		if c.Action != Nothing {
			r.results[c] = &Result{Change: c, Action: c.Action, Why: c.Why, Reason: c.Reason, live: c.live}
		}
	}
	return r
}

// Plan returns what it is the record of.
func (r *Record) Plan() *Plan {
	if r == nil {
		return nil
	}
	return r.plan
}

// Of returns what became of some changes.
func (r *Record) Of(changes []*Change) []*Result {
	out := make([]*Result, len(changes))
	for i, c := range changes {
		out[i] = r.results[c]
	}
	return out
}

// All returns what became of all that was to be done, in the order of the plan.
func (r *Record) All() []*Result {
	if r == nil {
		return nil
	}
	out := make([]*Result, 0, len(r.results))
	for _, c := range r.plan.Changes {
		if x := r.results[c]; x != nil {
			out = append(out, x)
		}
	}
	return out
}

// That returns those of which something became, in the order of the plan.
func (r *Record) That(did ...Did) []*Result {
	return slices.DeleteFunc(r.All(), func(x *Result) bool { return !x.Is(did...) })
}

// Held returns what something speaks against, in the order of the plan.
func (r *Record) Held() []*Result {
	return slices.DeleteFunc(r.All(), func(x *Result) bool { return x.Action != Hold })
}

// Applied are the objects that were brought to what is desired in all their fields,
// or were so.
func (r *Record) Applied() (refs []object.Ref) {
	for _, x := range r.All() {
		if x.Strict && (x.Action == Settle || x.Is(Written, Unneeded)) {
			refs = append(refs, x.Ref)
		}
	}
	return refs
}

// Block notes that changes of which nothing has become are not made, and why.
func Block(changes []*Result, why string) {
	for _, x := range changes {
		if x.Did == Open && x.Action != Hold && x.Action != Settle {
			x.Action, x.Did, x.Why = Hold, Blocked, why
		}
	}
}

// Slim returns r without the objects, for who wants to keep it.
func (r *Record) Slim() *Record {
	if r == nil {
		return nil
	}
	out := &Record{plan: r.plan.Slim(), results: make(map[*Change]*Result, len(r.results))}
	for i, c := range r.plan.Changes {
		if x := r.results[c]; x != nil {
			y := *x
			y.Change, y.live, y.dry, y.After = out.plan.Changes[i], nil, nil, nil
			out.results[y.Change] = &y
		}
	}
	return out
}
