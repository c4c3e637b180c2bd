package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// judge says how healthy the unit is. It waits for nothing: the events of the
// objects wake it, and out.Next is when its time is up.
func (w *pass) judge() error {
	u, st, items, out := w.unit, w.st, w.items, &w.out
	st.waits = u.Health.Wait
	var refs []object.Ref
	if st.waits || u.Health.Tell {
		w.judged, refs = true, own(items, w.told())
	} else {
		for _, c := range st.checks {
			refs = append(refs, c.Ref)
		}
	}
	if err := st.unjudged(u, w.place); err != nil {
		out.Health = Ill
		return err
	}
	if len(refs) == 0 {
		out.Health = Unasked
		return nil
	}
	// What waiting began for: another commit or another spec begins anew.
	if key := fmt.Sprintf("%s %s", out.Digest, u.Digest); st.sinceFor != key {
		st.sinceFor, st.since = key, time.Now()
	}
	if len(w.record.That(apply.Written, apply.Deleted)) > 0 {
		st.since = time.Now() // drift was corrected: that takes its time again
	}
	out.Since = st.since
	out.Unwell, out.Unjudged = w.unwell(refs)
	failed := slices.ContainsFunc(out.Unwell, func(x Unwell) bool { return x.Status == health.Failed })
	switch {
	case len(out.Unwell) == 0:
		out.Health = Healthy
		st.since = time.Time{}
		return nil
	case !u.Health.Wait && u.Health.Tell:
		if out.Health = Pending; failed || out.Unjudged != nil {
			out.Health = Ill
		}
		return nil
	case failed:
		out.Health = Ill
		return &fault.Error{Next: fault.Wait, Reason: fault.HealthCheckFailed, Err: fmt.Errorf("failed: %s", list(out.Unwell, true))}
	case out.Unjudged != nil:
		out.Health = Ill
		return out.Unjudged
	}
	if st.since.IsZero() {
		st.since = time.Now() // it was healthy, and no longer is
		out.Since = st.since
	}
	if deadline := st.since.Add(u.Health.Timeout); time.Now().Before(deadline) {
		out.Health = Pending
		out.Next = sooner(out.Next, deadline)
		return nil
	}
	out.Health = Ill
	return &fault.Error{
		Next: fault.Wait, Reason: fault.HealthCheckFailed,
		Err: fmt.Errorf("not healthy after %s: %s", u.Health.Timeout, list(out.Unwell, false)),
	}
}

// tellHealth notes how healthy each object of the unit is, whatever the look
// has come to.
func (w *pass) tellHealth() {
	if w.unit.Health.Tell && !w.judged && w.place != nil && w.place.watch != nil {
		w.out.Unwell, w.out.Unjudged = w.unwell(own(w.items, w.told()))
	}
	if w.out.Unjudged != nil && fault.Of(w.out.Unjudged).Next == fault.Retry {
		w.out.Next = sooner(w.out.Next, time.Now().Add(judgedAgain))
	}
}

// judgedAgain is when to look again at what could not be judged for now.
const judgedAgain = 15 * time.Second

// told is what the unit has written, where that counts too.
func (w *pass) told() []apply.Entry {
	if w.unit.Health.Tell {
		return w.st.inventory
	}
	return nil
}

// own are the objects of a unit whose health counts: those that it wants, and
// what it has written and no longer wants.
func own(items []apply.Item, inventory []apply.Entry) []object.Ref {
	refs := make([]object.Ref, 0, len(items))
	var healthless map[object.Ref]bool
	for _, it := range items {
		switch {
		case it.Policy.Healthless:
			if healthless == nil {
				healthless = make(map[object.Ref]bool)
			}
			healthless[it.Ref] = true
		case it.Policy.Mode != apply.Ignore && !it.Aside:
			refs = append(refs, it.Ref)
		}
	}
	for _, e := range inventory {
		if !healthless[e.Ref] {
			refs = append(refs, e.Ref)
		}
	}
	slices.SortFunc(refs, object.Compare)
	return slices.Compact(refs)
}

// unwell says which of some objects are not healthy, sorted, and which rules of
// users can't judge theirs.
func (w *pass) unwell(refs []object.Ref) (all []Unwell, err error) {
	secrets := secretsOf(w.unit, w.items)
	var errs []error
	for _, ref := range refs {
		l, known := w.place.watch.Live(w.unit.Name, ref)
		h := l.Health
		switch {
		case w.st.denied[ref]:
			h = health.Result{Status: health.Unknown, Message: "not allowed to read it"}
		case !known:
			h = health.Result{Status: health.Unknown, Message: "it has not been seen yet"}
		}
		if h.Status == health.Current || h.Status == health.Missing && expired(w.items, ref) {
			continue
		}
		if h.Err != nil {
			errs = append(errs, h.Err)
			h.Message = h.Err.Error()
		}
		if h.Message != "" {
			h.Message = secrets().Hide(h.Message) // whoever wrote the status may quote what it was given
		}
		all = append(all, Unwell{ref, h})
	}
	slices.SortFunc(all, func(a, b Unwell) int { return object.Compare(a.Ref, b.Ref) })
	return all, errors.Join(sameOnce(errs)...)
}

// sameOnce leaves out errors that say what another has said: a rule is at fault
// once, however many objects it is for.
func sameOnce(errs []error) (once []error) {
	said := map[string]bool{}
	for _, err := range errs {
		if s := err.Error(); !said[s] {
			said[s] = true
			once = append(once, err)
		}
	}
	return once
}

// Worst is the health of the object that is worst off; Current: all are healthy.
func (o Outcome) Worst() (worst health.Status) {
	for _, x := range o.Unwell {
		if x.Status.Worse(worst) {
			worst = x.Status
		}
	}
	return worst
}

// Waiting names what is waited for, each with its state and why, in one line.
// It is the same while these are.
func (o Outcome) Waiting() string { return list(o.Unwell, false) }

// list names at most so many objects, and of what each says so much.
const (
	maxListed = 10
	maxReason = 300 // bytes
)

func list(unwell []Unwell, failedOnly bool) string {
	var parts []string
	for _, p := range unwell {
		if failedOnly && p.Status != health.Failed {
			continue
		}
		if len(parts) == maxListed {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ", ")
}

// String returns the form that messages use: Job/shop/migrate is InProgress:
// Job is suspended.
func (x Unwell) String() string {
	s := fmt.Sprintf("%s is %s", x.Ref, x.Status)
	reason := strings.Join(strings.Fields(x.Message), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + " …"
	}
	if reason != "" {
		s += ": " + reason
	}
	return s
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// expired reports whether a missing object is a Job of the unit that goes away
// by itself.
func expired(items []apply.Item, ref object.Ref) bool {
	i := slices.IndexFunc(items, func(it apply.Item) bool { return it.Ref == ref })
	return i >= 0 && items[i].EndsItself()
}
