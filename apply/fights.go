package apply

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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
	// Path is where the field is, and until Until it stays as it is.
	Path  owned.Path
	Until time.Time
	// Value tells the value that is desired there from others. It is empty for
	// a Secret's.
	Value string
}

// String says it in one line, without the object.
func (f Fight) String() string {
	if f.Field == "" {
		return "somebody keeps deleting it"
	}
	return cmp.Or(f.Manager, "somebody") + " keeps changing " + f.Field
}

// Fights are what is remembered of the objects whose drift was corrected, so
// that two who disagree don't wear out the API server: a field that is fought
// over stays as it is until its pause has passed, while the rest of its object
// is put right.
type Fights map[object.Ref]*contest

func (f Fights) clone() Fights {
	out := make(Fights, len(f))
	for ref, k := range f {
		out[ref] = k.clone()
	}
	return out
}

func (k *contest) clone() *contest {
	out := *k
	out.fights = make(map[string]*fight, len(k.fights))
	for name, f := range k.fights {
		g := *f
		out.fights[name] = &g
	}
	return &out
}

// stand returns how the fights stand, where writes are what objects need, and
// gone are those that are no longer desired.
func (f Fights) stand(writes map[object.Ref]*Change, gone map[object.Ref]bool, m owned.Managers, now time.Time) Fights {
	out := make(Fights, len(f))
	for ref, k := range f {
		if gone[ref] {
			continue
		}
		k = k.clone()
		if k.look(writes[ref], m, now); len(k.fights) > 0 {
			out[ref] = k
		}
	}
	return out
}

// look notes how the fights stand, where c is what the object needs, if
// anything, and forgets those that are over.
func (k *contest) look(c *Change, m owned.Managers, now time.Time) {
	if c != nil && c.Cause == Git && c.Digest() == k.digest {
		c.Cause, c.Back = Drift, true // it was written, but for what was fought over
	}
	lost := k.lost(c, m)
	for name, f := range k.fights {
		switch {
		case c == nil:
			f.lost = false
		case c.Cause == First, c.Cause == Git && (len(f.path) == 0 || !owned.SameAt(k.desired, c.Desired(), f.path)):
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
func (k *contest) lost(c *Change, m owned.Managers) []owned.Path {
	if c == nil || c.Needs != Update || c.Live() == nil {
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
func (k *contest) holds(c *Change, m owned.Managers, now time.Time) bool {
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
	if whole && c.Cause == Drift && len(lost) == 0 {
		return true
	}
	if len(paused) == 0 || c.Needs != Update {
		return false
	}
	c.Leave = paused
	if c.Cause != Drift || c.Live() == nil {
		return false
	}
	return !slices.ContainsFunc(lost, func(p owned.Path) bool { return !owned.Covered(p, paused, c.Live()) })
}

// Note notes a change that was made.
func (f Fights) Note(r *Result, now time.Time) {
	k := f[r.Ref]
	switch {
	case k == nil && r.Cause != Drift:
		return
	case k == nil:
		k = &contest{fights: make(map[string]*fight)}
		f[r.Ref] = k
	}
	k.digest, k.desired, k.stood = r.Digest(), r.Desired(), r.After
	if len(r.Leave) == 0 {
		for _, f := range k.fights {
			f.lost = false
		}
	}
	if r.Cause != Drift {
		return
	}
	losses := r.Lost
	if len(losses) == 0 && len(r.Leave) == 0 {
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

// Told returns the fights that are slowed down, sorted, and when to look at one
// of them again; zero: at no time.
func (f Fights) Told(now time.Time) (told []Fight, next time.Time) {
	for ref, k := range f {
		for name, f := range k.fights {
			if f.pause == 0 {
				continue
			}
			told = append(told, Fight{
				Ref: ref, Field: name, Manager: f.manager, Path: f.path, Until: f.until(), Value: valueAt(k.desired, k.digest, f.path),
			})
			at := f.over()
			if f.lost {
				at = f.until()
			}
			if at.After(now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	slices.SortFunc(told, func(a, b Fight) int {
		return cmp.Or(object.Compare(a.Ref, b.Ref), cmp.Compare(a.Field, b.Field))
	})
	return told, next
}

// valueAt tells the value at p of an object from others; an empty path stands
// for the object as a whole, which digest tells from others. Of a Secret it
// says nothing, since a short value can be guessed.
func valueAt(o *unstructured.Unstructured, digest string, p owned.Path) string {
	if o == nil || object.IsSecret(o) {
		return ""
	}
	var value any = digest
	if len(p) > 0 {
		value, _ = owned.At(o, p)
	}
	b, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Recall makes fights of what was told of them, for who has not seen them. item
// returns the object as it is desired now, or nil, and stood what the server
// would make of it.
func Recall(told []Fight, now time.Time, item func(object.Ref) *Item, stood func(*Item) (*unstructured.Unstructured, error)) (Fights, error) {
	out := Fights{}
	for _, f := range told {
		it := item(f.Ref)
		if it == nil || !now.Before(f.Until) {
			continue
		}
		desired := it.Object()
		if is := valueAt(desired, it.Digest, f.Path); f.Value != "" && is != f.Value {
			continue // another value starts afresh
		}
		k := out[f.Ref]
		if k == nil {
			as, err := stood(it)
			if err != nil {
				return nil, err
			}
			k = &contest{digest: it.Digest, desired: desired, stood: as, fights: make(map[string]*fight)}
			out[f.Ref] = k
		}
		k.fights[f.Field] = &fight{path: f.Path, manager: f.Manager, count: contestLimit, last: f.Until, lost: true}
	}
	return out, nil
}

// Has reports whether an object is fought over.
func (f Fights) Has(r object.Ref) bool { return f[r] != nil }
