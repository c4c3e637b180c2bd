package engine

import (
	"fmt"
	"slices"
	"time"

	"plumb.dev/plumb/apply"
)

// A contest is a field that somebody else sets again and again.
type contest struct {
	count   int
	last    time.Time
	until   time.Time // no correction before then
	manager string
	field   string
}

const (
	contestWindow = 30 * time.Second // corrections further apart are separate incidents
	contestLimit  = 5                // corrections in a row before slowing down
	contestMost   = 5 * time.Minute  // the longest pause
)

// corrected notes a change that was made.
func (st *state) corrected(c *apply.Change) {
	if c.Cause != apply.Drift {
		delete(st.contests, c.Ref)
		return
	}
	now := time.Now()
	k := st.contests[c.Ref]
	if k == nil || now.Sub(k.last) > contestWindow && now.Sub(k.until) > contestWindow {
		k = &contest{}
		st.contests[c.Ref] = k
	}
	k.count++
	k.last = now
	for _, f := range c.Fields {
		k.manager, k.field = f.Manager, f.Path
	}
	if over := k.count - contestLimit; over > 0 {
		k.until = now.Add(min(contestMost, time.Second<<min(over, 10)))
	}
}

// contested takes from the plan the corrections that have to wait, so that two
// who disagree don't wear out the API server. It returns when to look again.
func (st *state) contested(p *apply.Plan, out *Outcome) (next time.Time) {
	now := time.Now()
	for i, stage := range p.Stages {
		p.Stages[i] = slices.DeleteFunc(stage, func(c *apply.Change) bool {
			k := st.contests[c.Ref]
			if k == nil || c.Cause != apply.Drift || !now.Before(k.until) {
				return false
			}
			who := k.manager
			if who == "" {
				who = "somebody"
			}
			c.Action, c.Why = apply.Hold, fmt.Sprintf("FieldConflict: %s keeps setting %s; corrections are slowed down", who, k.field)
			out.Held = append(out.Held, c)
			next = sooner(next, k.until)
			return true
		})
	}
	p.Stages = slices.DeleteFunc(p.Stages, func(s []*apply.Change) bool { return len(s) == 0 })
	return next
}

// Contested returns the held change that is fought over, if there is one.
func (o Outcome) Contested() *apply.Change {
	for _, c := range o.Held {
		if c.Cause == apply.Drift && c.Action == apply.Hold {
			return c
		}
	}
	return nil
}
