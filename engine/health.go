package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// judge says how healthy u is. It waits for nothing: the events of the objects
// wake the unit, and out.Next is when its time is up.
func (e *Engine) judge(u Unit, st *state, p *place, items []apply.Item, out *Outcome) error {
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
		out.Health = Unhealthy
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
	for _, c := range out.Changes {
		if c.Action != apply.Release {
			st.since = time.Now() // drift was corrected: that takes its time again
		}
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
		out.Pending = append(out.Pending, Pending{ref, h})
	}
	slices.SortFunc(out.Pending, func(a, b Pending) int { return object.Compare(a.Ref, b.Ref) })
	switch {
	case len(out.Pending) == 0:
		out.Health = Healthy
		st.since = time.Time{}
		return nil
	case failed:
		out.Health = Unhealthy
		return &fault.Error{Next: fault.Wait, Reason: fault.HealthCheckFailed, Err: fmt.Errorf("failed: %s", list(out.Pending, true))}
	}
	if st.since.IsZero() {
		st.since = time.Now() // it was healthy, and no longer is
		out.Since = st.since
	}
	if deadline := st.since.Add(u.Health.Timeout); time.Now().Before(deadline) {
		out.Health = Progressing
		out.Next = sooner(out.Next, deadline)
		return nil
	}
	out.Health = Unhealthy
	return &fault.Error{
		Next: fault.Wait, Reason: fault.HealthCheckFailed,
		Err: fmt.Errorf("not healthy after %s: %s", u.Health.Timeout, list(out.Pending, false)),
	}
}

// Waiting names what is waited for, each with its state and why, in one line.
// It is the same while these are.
func (o Outcome) Waiting() string { return list(o.Pending, false) }

// list names at most so many objects, and of what each says so much.
const (
	maxListed = 10
	maxReason = 300 // bytes
)

func list(pending []Pending, failedOnly bool) string {
	var parts []string
	for _, p := range pending {
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
func (p Pending) String() string {
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

// dropExpired takes from the plan the creation of Jobs that have run, and were
// taken away by their time to live: they are not missing, they are done. A
// change of the Job runs it again.
func dropExpired(u Unit, p *apply.Plan) {
	for i, stage := range p.Stages {
		p.Stages[i] = slices.DeleteFunc(stage, func(c *apply.Change) bool {
			return c.Action == apply.Create && c.Ref.Group == "batch" && c.Ref.Kind == "Job" &&
				hasTTL(c.Desired()) && (c.Cause == apply.Drift || (c.Cause == apply.First && remembered(u, c.Ref) && u.Applied == u.Source.Revision))
		})
	}
	p.Stages = slices.DeleteFunc(p.Stages, func(s []*apply.Change) bool { return len(s) == 0 })
}

func hasTTL(job *unstructured.Unstructured) bool {
	_, ok, _ := unstructured.NestedFieldNoCopy(job.Object, "spec", "ttlSecondsAfterFinished")
	return ok
}

func remembered(u Unit, ref object.Ref) bool {
	return slices.ContainsFunc(u.Remembers, func(e apply.Entry) bool { return e.Ref == ref })
}

// expired reports whether a missing object is a Job of the unit that goes away
// by itself.
func expired(items []apply.Item, ref object.Ref) bool {
	i := slices.IndexFunc(items, func(it apply.Item) bool { return it.Ref == ref })
	return i >= 0 && ref.Group == "batch" && ref.Kind == "Job" && hasTTL(items[i].Object())
}
