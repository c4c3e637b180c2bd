package engine

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

const (
	contestWindow = 30 * time.Second // corrections further apart are separate incidents
	contestLimit  = 5                // corrections in a row before slowing down
	contestMost   = time.Minute      // the longest pause
)

// A contest is what is remembered of an object whose drift was corrected.
type contest struct {
	digest  string // of the desired object that was written last, and that object
	desired *unstructured.Unstructured
	stood   *unstructured.Unstructured // the object as it was then
	fights  map[string]*fight          // by the field's path, which is empty for the object as a whole
}

// A fight is a field that somebody else sets again and again.
type fight struct {
	path    owned.Path // none: it is about the object as a whole
	manager string
	count   int
	last    time.Time     // when it was corrected
	pause   time.Duration // from then on; 0 in the first rounds
	lost    bool          // to the other one, for now
}

// until is when the field may be corrected again.
func (f *fight) until() time.Time { return f.last.Add(f.pause) }

// over is when the field has stood for long enough, if it still does.
func (f *fight) over() time.Time { return f.last.Add(max(contestWindow, f.pause)) }

// A Fight is a field that is corrected more slowly, because somebody else sets
// it again and again.
type Fight struct {
	Ref     object.Ref
	Field   string // empty: somebody deletes the object
	Manager string // who, as far as it is known
}

// String says it in one line, without the object.
func (f Fight) String() string {
	if f.Field == "" {
		return "somebody keeps deleting it"
	}
	return cmp.Or(f.Manager, "somebody") + " keeps changing " + f.Field
}

// contested takes out of the plan what has to wait, so that two who disagree
// don't wear out the API server: a field that is fought over stays as it is
// until its pause has passed, while the rest of its object is put right.
func (st *state) contested(p *apply.Plan, m owned.Managers, now time.Time, out *Outcome) {
	for _, c := range p.Prune {
		delete(st.contests, c.Ref)
	}
	changes := map[object.Ref]*apply.Change{}
	for _, stage := range p.Stages {
		for _, c := range stage {
			changes[c.Ref] = c
		}
	}
	for ref, k := range st.contests {
		k.look(changes[ref], m, now)
		if len(k.fights) == 0 {
			delete(st.contests, ref)
		}
	}
	for i, stage := range p.Stages {
		p.Stages[i] = slices.DeleteFunc(stage, func(c *apply.Change) bool {
			k := st.contests[c.Ref]
			if k == nil || !k.holds(c, m, now) {
				return false
			}
			c.Action, c.Why = apply.Hold, "it is fought over"
			out.Held = append(out.Held, c)
			return true
		})
	}
	p.Stages = slices.DeleteFunc(p.Stages, func(s []*apply.Change) bool { return len(s) == 0 })
}

// look notes how the fights stand, where c is what the object needs, if
// anything, and forgets those that are over.
func (k *contest) look(c *apply.Change, m owned.Managers, now time.Time) {
	if c != nil && c.Cause == apply.Git && c.Digest() == k.digest {
		c.Cause = apply.Drift // it was written, but for what was fought over
	}
	lost := k.lost(c, m)
	for name, f := range k.fights {
		switch {
		case c == nil:
			f.lost = false
		case c.Cause == apply.First, c.Cause == apply.Git && (len(f.path) == 0 || !owned.SameAt(k.desired, c.Desired(), f.path)):
			delete(k.fights, name) // another value starts afresh
			continue
		case len(f.path) == 0:
			f.lost = len(lost) == 0
		default:
			f.lost = c.Live() == nil || !owned.Owns(c.Live(), f.path, c.Managers(m)) || owned.Covered(f.path, lost, c.Live())
		}
		if !f.lost && !now.Before(f.over()) {
			delete(k.fights, name)
		}
	}
}

// lost returns the fields that are not as they were last written.
func (k *contest) lost(c *apply.Change, m owned.Managers) []owned.Path {
	if c == nil || c.Action != apply.Update || c.Live() == nil {
		return nil
	}
	losses, err := owned.Lost(k.stood, c.Live(), c.Managers(m))
	if err != nil {
		return nil // who owns what can't be read, so it is about the whole
	}
	paths := make([]owned.Path, len(losses))
	for i, l := range losses {
		paths[i] = l.Path
	}
	return paths
}

// holds reports whether c has to wait. If not, it may have to leave some
// fields as they are.
func (k *contest) holds(c *apply.Change, m owned.Managers, now time.Time) bool {
	whole := false
	var paused []owned.Path
	for _, name := range slices.Sorted(maps.Keys(k.fights)) {
		switch f := k.fights[name]; {
		case !now.Before(f.until()):
		case len(f.path) == 0:
			whole = true
		default:
			paused = append(paused, f.path)
		}
	}
	lost := k.lost(c, m)
	if whole && c.Cause == apply.Drift && len(lost) == 0 {
		return true
	}
	if len(paused) == 0 || c.Action != apply.Update {
		return false
	}
	c.Leave = paused
	if c.Cause != apply.Drift || c.Live() == nil {
		return false
	}
	return !slices.ContainsFunc(lost, func(p owned.Path) bool { return !owned.Covered(p, paused, c.Live()) })
}

// corrected notes a change that was made.
func (st *state) corrected(c *apply.Change, now time.Time) {
	k := st.contests[c.Ref]
	switch {
	case k == nil && c.Cause != apply.Drift:
		return
	case k == nil:
		k = &contest{fights: make(map[string]*fight)}
		st.contests[c.Ref] = k
	}
	k.digest, k.desired, k.stood = c.Digest(), c.Desired(), c.After
	if len(c.Leave) == 0 {
		for _, f := range k.fights {
			f.lost = false
		}
	}
	if c.Cause != apply.Drift {
		return
	}
	losses := c.Lost
	if len(losses) == 0 && len(c.Leave) == 0 {
		losses = []owned.Loss{{}}
	}
	for _, l := range losses {
		k.count(l, now)
	}
}

func (k *contest) count(l owned.Loss, now time.Time) {
	name := owned.Text(l.Path)
	f := k.fights[name]
	if f == nil || now.Sub(f.until()) > contestWindow {
		f = &fight{path: l.Path}
		k.fights[name] = f
	}
	f.count++
	f.last, f.lost = now, false
	f.manager = cmp.Or(l.Manager, f.manager)
	if over := f.count - contestLimit; over >= 0 {
		f.pause = min(contestMost, 2*time.Second<<min(over, 10))
	}
}

// fought tells of the fights, and when to look at them again.
func (st *state) fought(now time.Time, out *Outcome) {
	for ref, k := range st.contests {
		for name, f := range k.fights {
			if f.pause == 0 {
				continue
			}
			out.Fights = append(out.Fights, Fight{ref, name, f.manager})
			next := f.over()
			if f.lost {
				next = f.until()
			}
			if next.After(now) {
				out.Next = sooner(out.Next, next)
			}
		}
	}
	slices.SortFunc(out.Fights, func(a, b Fight) int {
		return cmp.Or(object.Compare(a.Ref, b.Ref), cmp.Compare(a.Field, b.Field))
	})
}
