// Package fault says what happens after an error: what has to change first.
//
// An [Error] is made once, by the package that knows the cause. Callers add
// context with %w. Code decides on [Of] and on the class, never on text; each
// dialect translates class and reason into the words its users rely on.
//
// An error without a class is a [Retry]: doubt means to try again and to
// delete nothing.
package fault

import (
	"errors"
	"strings"
	"time"

	"plumb.dev/plumb/object"
)

// A Next is what has to change before another try can succeed.
type Next uint8

const (
	// Retry: time. A timeout, a 503, a conflict.
	Retry Next = iota
	// Wait: another object. A source that isn't ready, a CRD that isn't
	// established. Whoever returns it makes sure that the change wakes the
	// unit.
	Wait
	// Stall: the spec or the revision. A template error, a denied object.
	Stall
)

// String returns the class in a word.
func (n Next) String() string {
	switch n {
	case Wait:
		return "wait"
	case Stall:
		return "stall"
	default:
		return "retry"
	}
}

// An Error is an error whose cause is known.
type Error struct {
	Next   Next
	Reason Reason        // for conditions and metrics
	Object object.Ref    // what it is about; may be zero
	Hint   string        // what to do next; may be empty
	After  time.Duration // with Retry: not before this has passed, as a server asked
	Err    error
}

// Error returns one line: the object, the cause, the hint.
func (e *Error) Error() string {
	var b strings.Builder
	if !e.Object.IsZero() {
		b.WriteString(e.Object.String())
		b.WriteString(": ")
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(string(e.Reason))
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the fault in err's chain, or a Retry without a reason that wraps
// err. Of a joined error it is the one that needs most: Stall before Wait
// before Retry.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var worst *Error
	walk(err, func(e *Error) {
		if worst == nil || e.Next > worst.Next {
			worst = e
		}
	})
	if worst == nil {
		return &Error{Next: Retry, Err: err}
	}
	return worst
}

// Is reports whether err has a fault of the given reason in its chain.
func Is(err error, reason Reason) bool {
	found := false
	walk(err, func(e *Error) { found = found || e.Reason == reason })
	return found
}

func walk(err error, visit func(*Error)) {
	switch x := err.(type) { //nolint:errorlint // this is the walk along the chain
	case nil:
	case *Error:
		visit(x) // the outermost fault of a chain speaks for it
	case interface{ Unwrap() []error }:
		for _, err := range x.Unwrap() {
			walk(err, visit)
		}
	default:
		walk(errors.Unwrap(err), visit)
	}
}
