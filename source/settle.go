package source

import (
	"slices"
	"time"

	"plumb.dev/plumb/fault"
)

// Reasons of errors of sources that include others.
const (
	ReasonIncludeUnavailable = "IncludeUnavailable" // one of them has no artifact; a Wait
	ReasonIncludeCircle      = "IncludeCircle"      // and is included by it; a Stall
)

// An IncludeError says which sources are in the way of an include.
type IncludeError struct {
	Missing string   // has no artifact
	Circle  []string // the way from a source back to itself
}

// Error names them.
func (e *IncludeError) Error() string {
	if e.Missing != "" {
		return e.Missing + " has no artifact"
	}
	text := "sources include each other in a circle:"
	for i, name := range e.Circle {
		if i > 0 {
			text += " →"
		}
		text += " " + name
	}
	return text
}

// An input is all that the state of a source follows from.
type input struct {
	spec      Spec
	have      *Artifact
	made      *Content
	with      []*Artifact // included in what we have
	unsettled bool        // Spec.Last was not tried

	awaits   bool // no answer of its server counts yet
	revision Revision
	content  *Content
	err      error

	included []*Artifact
	missing  string   // an included source that has no artifact
	unknown  bool     // whether an included source has one
	circle   []string // back to the source, if it includes itself
}

// An output is what follows.
type output struct {
	artifact *Artifact // another one than it had, or nil
	made     *Content
	restored bool // Spec.Last was tried
	pending  bool
	err      error
}

// settle has the state of e worked out anew.
func (k *Keeper) settle(e *entry) {
	switch {
	case e.gone:
	case e.busy:
		e.again = true
	default:
		e.busy = true
		go k.work(e)
	}
}

func (k *Keeper) work(e *entry) {
	for {
		k.mu.Lock()
		e.again = false
		in := k.input(e)
		k.mu.Unlock()
		if out := k.derive(in); k.keep(e, in, out) {
			return
		}
	}
}

func (k *Keeper) input(e *entry) input {
	in := input{
		spec: e.spec, have: k.shelf.get(e.spec.Name), made: e.made, with: e.state.Included,
		unsettled: !e.restored, awaits: e.awaits, circle: k.circle(e),
	}
	if o := e.origin; o != nil {
		in.revision, in.content, in.err = o.revision, o.content, o.err
	}
	for _, inc := range e.spec.Shape.Includes {
		a, other := k.shelf.get(inc.Source), k.sources[inc.Source]
		switch {
		case a != nil:
			in.included = append(in.included, a)
		case other == nil && (k.expected == nil || k.expected[inc.Source]), other != nil && other.state.Pending:
			in.unknown = true
		case in.missing == "":
			in.missing = inc.Source
		}
	}
	return in
}

// circle returns a way from e over what it includes back to it, or nil.
func (k *Keeper) circle(e *entry) []string {
	seen := make(map[string]bool)
	var walk func(at *entry, way []string) []string
	walk = func(at *entry, way []string) []string {
		for _, inc := range at.spec.Shape.Includes {
			on := append(way[:len(way):len(way)], inc.Source)
			if inc.Source == e.spec.Name {
				return on
			}
			if next := k.sources[inc.Source]; next != nil && !seen[inc.Source] {
				seen[inc.Source] = true
				if found := walk(next, on); found != nil {
					return found
				}
			}
		}
		return nil
	}
	return walk(e, []string{e.spec.Name})
}

// derive works out what follows. It reads trees.
func (k *Keeper) derive(in input) (out output) {
	if in.have == nil && in.unsettled && in.spec.Refused == nil && in.spec.Last != nil {
		out = k.restore(in)
	}
	switch {
	case in.spec.Refused != nil:
		out.err = in.spec.Refused
	case in.spec.Suspended:
	case in.circle != nil:
		out.err = &fault.Error{
			Next: fault.Stall, Reason: ReasonIncludeCircle, Err: &IncludeError{Circle: in.circle}, Hint: "take one of them out",
		}
	case in.unknown:
		out.pending = true
	case in.missing != "":
		out.err = &fault.Error{Next: fault.Wait, Reason: ReasonIncludeUnavailable, Err: &IncludeError{Missing: in.missing}}
	case in.awaits, in.content == nil && in.err == nil:
		out.pending = true
	case in.err != nil:
		out.err = in.err
	default:
		k.shape(in, &out)
	}
	return out
}

// restore makes the artifact that an earlier process has told of, if its
// content is still on disk: units can be held true to it while the server does
// not answer, or while the source is suspended.
func (k *Keeper) restore(in input) (out output) {
	if in.unknown || in.missing != "" {
		return out // to be tried when that is there
	}
	out.restored = true
	last := in.spec.Last
	c, err := in.spec.From.Open(Revision{Name: last.Revision})
	if err != nil {
		if !fault.Is(err, ReasonNotFetched) && k.o.Log != nil {
			k.o.Log.Info("the last artifact can't be made again", "source", in.spec.Name, "revision", last.Revision, "err", err)
		}
		return out // it is fetched, as if it had never been there
	}
	if t, err := in.spec.Shape.Apply(c.Tree, &k.ignore, in.included); err == nil && Digest(t) == last.Digest {
		out.made = c
		out.artifact = &Artifact{Source: in.spec.Name, Revision: last.Revision, Commit: c.Commit, Tree: t, Fetched: last.Fetched}
	}
	return out
}

// shape makes the artifact of what was fetched.
func (k *Keeper) shape(in input, out *output) {
	t, err := in.spec.Shape.Apply(in.content.Tree, &k.ignore, in.included)
	if err != nil {
		out.err = err
		return
	}
	have, made, with := in.have, in.made, in.with
	if out.artifact != nil {
		have, made, with = out.artifact, out.made, in.included
	}
	a := &Artifact{Source: in.spec.Name, Revision: in.revision.Name, Commit: in.content.Commit, Tree: t, Fetched: time.Now()}
	if a.Same(have) {
		a.Fetched = have.Fetched
		if sound(made) && slices.Equal(with, in.included) {
			return // what it has can be read as well
		}
	}
	out.artifact, out.made = a, in.content
}

func sound(c *Content) bool { return c == nil || c.Broken == nil || !c.Broken() }

// keep makes out the state of e. It reports whether that is all: what it was
// worked out from may have changed meanwhile.
func (k *Keeper) keep(e *entry, in input, out output) bool {
	done, gone, look := k.publish(e, in, out)
	if !done || gone {
		return done
	}
	if look != nil && k.o.Looked != nil {
		k.o.Looked(*look)
	}
	k.changed(in.spec.Name)
	return true
}

// publish is set, and tells of an artifact in order.
func (k *Keeper) publish(e *entry, in input, out output) (done, gone bool, look *Look) {
	if out.artifact == nil {
		return k.set(e, in, out)
	}
	k.publishing.Lock()
	defer k.publishing.Unlock()
	if done, gone, look = k.set(e, in, out); done && !gone {
		k.published(in.spec.Name, in.have, out.artifact)
	}
	return done, gone, look
}

// set makes out the state of e, unless it is gone, or something changed that out
// follows from.
func (k *Keeper) set(e *entry, in input, out output) (done, gone bool, look *Look) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case e.gone:
		return true, true, nil
	case e.again:
		return false, false, nil
	}
	e.busy = false
	e.restored = e.restored || out.restored
	s := &e.state
	before := *s
	if out.artifact != nil {
		k.shelf.put(out.artifact)
		s.Artifact, s.Included, e.made = out.artifact, in.included, out.made
	}
	s.Pending = out.pending
	if !out.pending {
		s.fail(out.err)
		s.Requested = e.answered
		if look = e.look; look != nil {
			look.Err = out.err
			e.look = nil
		}
		k.retry(e, in, out.err)
	}
	if out.artifact != nil || before.Pending != s.Pending {
		for user := range k.users[e.spec.Name] {
			k.settle(user)
		}
	}
	if !e.settled {
		e.settled = true
		if e.origin != nil {
			k.plan(e.origin)
			k.ask(e.origin)
		}
	}
	return true, false, look
}

// retry has the server asked again soon, if what it has given can't be read.
func (k *Keeper) retry(e *entry, in input, err error) {
	o := e.origin
	if err == nil || o == nil || in.err != nil || e.spec.Suspended || fault.Of(err).Next != fault.Retry {
		e.failures = 0
		return
	}
	e.failures++
	if at := time.Now().Add(pause(err, e.failures, o.interval)); at.Before(o.due) {
		k.schedule(o, at)
	}
}
