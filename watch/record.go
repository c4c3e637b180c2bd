package watch

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/watch/health"
)

// A record is what a stream has shown of an object that is followed. There is
// one for each, so it is small.
type record struct {
	by       []follower                 // hardly ever more than one
	object   *unstructured.Unstructured // nil once every follower has settled and judged it
	unwell   *health.Result             // nil: it is Current
	version  uint64                     // resourceVersion, which orders events (KEP-5504)
	exists   bool
	deleting bool
	// unseen: there has been something of that name, or still is, and what it
	// is like has to be asked for.
	unseen bool
}

// A follower is one unit's view of a record.
type follower struct {
	f        *following
	print    uint64 // of the fields that count, now
	baseline uint64 // and when it was settled; 0: never
	digest   string
	health   *health.Result // by its own judge, which is asked at once if it is quick; nil: it has not been
}

// of returns a following's view of the record, or nil. It stands until the
// record is joined or left.
func (r *record) of(f *following) *follower {
	if r == nil {
		return nil
	}
	for i := range r.by {
		if r.by[i].f == f {
			return &r.by[i]
		}
	}
	return nil
}

func (r *record) health() health.Result {
	switch {
	case !r.exists:
		return health.Result{Status: health.Missing}
	case r.unwell != nil:
		return *r.unwell
	}
	return health.Result{Status: health.Current}
}

// take makes obj what the record is about.
func (r *record) take(obj *unstructured.Unstructured, version uint64) {
	r.exists, r.unseen, r.version = true, false, version
	r.deleting = obj.GetDeletionTimestamp() != nil
	r.unwell = nil
	if h := health.Of(obj); h.Status != health.Current {
		r.unwell = &h
	}
	r.object = obj
	for i := range r.by {
		r.by[i].look(obj)
	}
}

// lose makes the record one of an object that is not there.
func (r *record) lose(version uint64) {
	*r = record{by: r.by, version: max(r.version, version)}
	for i := range r.by {
		r.by[i].health, r.by[i].print = nil, 0
	}
}

// look takes in what an object is like now. Where that takes time, somebody has
// to look later, see [stream.later].
func (fo *follower) look(obj *unstructured.Unstructured) {
	fo.health = nil
	if health.IsQuick(fo.f.Judge) {
		fo.judged(fo.f.Judge.Of(obj))
	}
	if !fo.f.Managers.Ignored.Slow() {
		fo.print = owned.Print(obj, fo.f.Managers)
	}
}

// judged notes what the judge says. Most objects are well, and share the word.
func (fo *follower) judged(h health.Result) {
	for _, usual := range []*health.Result{&well, &unruled} {
		if h.Err == nil && h == *usual {
			fo.health = usual
			return
		}
	}
	fo.health = &h
}

var well, unruled = health.Result{}, health.Result{Unruled: true}

// unjudged reports whether there is a judge that has not been asked about the
// object as it is now, or could not be.
func (fo *follower) unjudged() bool {
	return fo.f.Judge != nil && (fo.health == nil || fo.health.Err != nil && fault.Of(fo.health.Err).Next == fault.Retry)
}

func (fo *follower) settled() bool { return fo.baseline != 0 && fo.print == fo.baseline }

// slim lets go of the object if nobody will ask for it.
func (r *record) slim() {
	if !slices.ContainsFunc(r.by, func(fo follower) bool { return fo.f.Keep || !fo.settled() || fo.unjudged() }) {
		r.object = nil
	}
}

// live is what a follower may know of the object. known is false if that is
// nothing.
func (r *record) live(fo *follower, synced bool) (l Live, known bool) {
	if r.unseen || !synced && !r.exists {
		return Live{}, false
	}
	l = Live{
		Exists: r.exists, Deleting: r.deleting, Health: r.health(),
		Digest: fo.digest, Settled: r.exists && fo.settled(), Object: r.object,
	}
	switch {
	case !r.exists:
	case fo.health != nil:
		l.Health = *fo.health
	case fo.unjudged():
		l.Health = health.Result{Status: health.Unknown, Message: "it has not been judged yet"}
	}
	return l, true
}

// A face is what followers are notified of changes in.
type face struct {
	exists, deleting, unseen, settled bool
	health                            health.Status
	print                             uint64
	version                           uint64 // where only the unit itself can tell whether its health is another
	words                             string // about its health, where they count
}

func (r *record) face(fo *follower) face {
	h := r.health()
	a := face{exists: r.exists, deleting: r.deleting, unseen: r.unseen, settled: fo.settled()}
	if !a.settled {
		a.print = fo.print // drift on top of drift
	}
	switch {
	case fo.f.Judge == nil || !r.exists:
	case health.IsQuick(fo.f.Judge) && fo.health != nil:
		h = *fo.health
	default:
		h, a.version = health.Result{Status: health.Unknown}, r.version
	}
	if a.health = h.Status; fo.f.Words {
		a.words = h.Message
	}
	return a
}

// change runs f on the record and returns whom it made a difference for.
func (r *record) change(f func()) (told []*following) {
	before := make([]face, len(r.by))
	for i := range r.by {
		before[i] = r.face(&r.by[i])
	}
	f()
	for i := range r.by {
		if before[i] != r.face(&r.by[i]) {
			told = append(told, r.by[i].f)
		}
	}
	return told
}
