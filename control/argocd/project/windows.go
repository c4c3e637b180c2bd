package project

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"plumb.dev/plumb/fault"
)

// Windows are the sync windows that are about one Application. None allow
// everything at any time.
type Windows struct {
	project string
	all     []*window
}

// Windows returns those of the project, and of its global projects, that are
// about an Application.
func (q *Project) Windows(a Application) Windows {
	w := Windows{project: q.Name}
	for _, one := range q.windows {
		if one.selects.of(a) {
			w.all = append(w.all, one)
		}
	}
	return w
}

// An Opening is what windows allow at a time, and for how long that is so.
type Opening struct {
	Auto   bool // it may be synchronised by itself
	Manual bool // a person may have it synchronised
	// Overrun: what was begun while it was allowed may go on though it is not
	// any more.
	Overrun bool
	// Why says what stands against Auto, and when it is over. It is the same
	// for as long as the answer is, and goes on from Argo CD's words "Sync
	// operation".
	Why string
	// Until is when the answer is another, or has to be asked for again. Zero:
	// it stays as it is.
	Until time.Time
	// Err says that there are windows of which it is not known when they are
	// open. Then nothing is allowed.
	Err error
}

const blocked = "blocked by sync window: "

const (
	// ahead is how far openings are looked for.
	ahead = 400 * 24 * time.Hour
	// maxTurns is how many openings and closings are looked at for that, and
	// maxLooks how many windows in all.
	maxTurns = 500
	maxLooks = 20000
)

// At returns what is allowed at a time.
func (w Windows) At(now time.Time) Opening {
	if err := w.unread(); err != nil {
		return Opening{Err: err, Why: blocked + err.Error()}
	}
	is := w.state(now)
	o := Opening{Auto: is.auto, Manual: is.manual, Overrun: is.overrun}
	opens := time.Time{}
	t := now
	for range min(maxTurns, 1+maxLooks/max(1, len(w.all))) {
		next, ok := w.turn(t)
		if !ok {
			break
		}
		t = next
		was := w.state(t)
		if o.Until.IsZero() && !was.same(is) {
			o.Until = t
		}
		if was.auto {
			opens = t
		}
		if !o.Until.IsZero() && (is.auto || was.auto) {
			break
		}
		if t.Sub(now) > ahead {
			break
		}
	}
	if o.Until.IsZero() && !t.Equal(now) {
		o.Until = t
	}
	if !is.auto {
		o.Why = w.why(is, opens)
	}
	return o
}

// unread is the error of windows of which it is not known when they are open.
func (w Windows) unread() error {
	var unread []string
	for _, one := range w.all {
		if one.err != nil {
			unread = append(unread, fmt.Sprintf("%s of project '%s': %v", one, w.project, one.err))
		}
	}
	if len(unread) == 0 {
		return nil
	}
	return &fault.Error{
		Next: fault.Stall, Reason: fault.NotPermitted, Err: errors.New("invalid sync windows: " + listed(unread)),
		Hint: "nothing is synchronised until they are corrected",
	}
}

// turn is when a window opens or closes next after t.
func (w Windows) turn(t time.Time) (first time.Time, any bool) {
	for _, one := range w.all {
		if next, ok := one.turns(t); ok && (!any || next.Before(first)) {
			first, any = next, true
		}
	}
	return first, any
}

// A state is what windows allow at one time, and those that stand against it.
type state struct {
	auto, manual, overrun bool
	against               []*window
}

func (s state) same(t state) bool {
	return s.auto == t.auto && s.manual == t.manual && s.overrun == t.overrun && slices.Equal(s.against, t.against)
}

// state follows Argo CD's rules: a window that denies wins; where there are
// windows that allow, one of them has to be open; people may where all that
// stand against it say so.
func (w Windows) state(t time.Time) state {
	var denies, closed []*window
	open := false
	for _, one := range w.all {
		switch is := one.openAt(t); {
		case one.deny && is:
			denies = append(denies, one)
		case !one.deny && is:
			open = true
		case !one.deny:
			closed = append(closed, one)
		}
	}
	against := denies
	if len(denies) == 0 && !open {
		against = closed
	}
	if len(against) == 0 {
		return state{auto: true, manual: true, overrun: true}
	}
	s := state{manual: true, overrun: true, against: against}
	for _, one := range against {
		s.manual, s.overrun = s.manual && one.manual, s.overrun && one.overrun
	}
	return s
}

// maxNamed is how many windows a message names.
const maxNamed = 5

// listed puts some of names into one line.
func listed(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		names = append(slices.Clone(names[:maxNamed]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// why says what stands against a synchronisation, and until when.
func (w Windows) why(s state, opens time.Time) string {
	names := make([]string, len(s.against))
	for i, one := range s.against {
		names[i] = one.String()
	}
	what := "is open"
	if !s.against[0].deny {
		what = "is closed"
	}
	if len(names) > 1 {
		what = strings.Replace(what, "is", "are", 1)
	}
	next := "no opening was found"
	if !opens.IsZero() {
		next = "it opens at " + opens.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf(blocked+"%s of project '%s' %s; %s", listed(names), w.project, what, next)
}

// Continues reports whether a synchronisation that was begun at a time may go on
// at another, and if not, why.
func (w Windows) Continues(began, now time.Time, manual bool) (ok bool, why string) {
	o := w.At(now)
	switch {
	case o.Err != nil:
		return false, o.Why
	case o.Auto, manual && o.Manual:
		return true, ""
	}
	then := w.state(began)
	if o.Overrun && (then.auto || manual && then.manual) {
		return true, ""
	}
	return false, o.Why
}
