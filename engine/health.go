package engine

import (
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
	u, st, p, items, out := w.unit, w.st, w.place, w.items, &w.out
	st.waits = u.Health.Wait
	var refs []object.Ref
	if u.Health.Wait {
		for _, it := range items {
			if it.Policy.Mode != apply.Ignore {
				refs = append(refs, it.Ref)
			}
		}
	} else {
		for _, c := range st.checks {
			refs = append(refs, c.Ref)
		}
	}
	if err := st.unjudged(u, p); err != nil {
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
	failed, secrets := false, secretsOf(u, items)
	for _, ref := range refs {
		l, known := p.watch.Live(u.Name, ref)
		h := l.Health
		switch {
		case st.denied[ref]:
			h = health.Result{Status: health.Unknown, Message: "not allowed to read it"}
		case !known:
			h = health.Result{Status: health.Unknown, Message: "it has not been seen yet"}
		}
		if h.Status == health.Missing && expired(items, ref) {
			continue
		}
		if h.Status == health.Current {
			continue
		}
		failed = failed || h.Status == health.Failed
		if h.Message != "" {
			h.Message = secrets().Hide(h.Message) // whoever wrote the status may quote what it was given
		}
		out.Unwell = append(out.Unwell, Unwell{ref, h})
	}
	slices.SortFunc(out.Unwell, func(a, b Unwell) int { return object.Compare(a.Ref, b.Ref) })
	switch {
	case len(out.Unwell) == 0:
		out.Health = Healthy
		st.since = time.Time{}
		return nil
	case failed:
		out.Health = Ill
		return &fault.Error{Next: fault.Wait, Reason: fault.HealthCheckFailed, Err: fmt.Errorf("failed: %s", list(out.Unwell, true))}
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
func (p Unwell) String() string {
	s := fmt.Sprintf("%s is %s", p.Ref, p.Status)
	reason := strings.Join(strings.Fields(p.Message), " ")
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
