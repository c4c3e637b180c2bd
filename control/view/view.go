// Package view is what a person sees of units and sources, whichever dialect
// they are written in, and what they can ask of them.
//
// A dialect describes its kinds of custom resource as [Kind]s. The command
// line works on those and on the [Item]s that they make, so that it has no
// command that knows a dialect. An Item says what the status says; nothing
// here asks a cluster.
package view

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
)

// Annotations of events, for programs: what is in the message is for people.
const (
	EventObject  = "plumb.dev/object"  // which object of a unit it is about, as object.Ref writes it
	EventSubject = "plumb.dev/subject" // the first line of the commit message of a new revision
)

// A Kind is a kind of custom resource that stands for a unit or a source.
type Kind struct {
	schema.GroupVersionKind
	Plural string
	// Names are what people call it, in lower case, the usual one first.
	Names []string
	// IsSource: it is what units are made from, and not a unit.
	IsSource bool
	// Inline: what its units are made from is in their own spec, and is no
	// custom resource.
	Inline bool

	// View reads an object of the kind. What it can't read is left empty.
	View func(*unstructured.Unstructured) Item
	// Owns returns the item whose mark an object carries. It is nil for
	// sources.
	Owns func(*unstructured.Unstructured) (object.Ref, bool)
	// Selector returns a label selector for the objects of an item.
	Selector func(Item) string
	// Sync returns a merge patch that asks for a reconciliation of an object, and
	// by which it will be known when that was done. A revision that isn't
	// empty is one of which all pruning is approved. An error says why it can't be
	// asked for now.
	Sync func(o *unstructured.Unstructured, token, approve string) (map[string]any, error)
	// Rollback returns a merge patch that asks for a return to a run of the
	// history, by its ID, and by which it will be known when that was done; nil:
	// there is none for this kind. With prune, what is not of it is deleted.
	Rollback func(o *unstructured.Unstructured, id, token string, prune bool) (map[string]any, error)
	// Suspend returns a merge patch that stops or resumes an item.
	Suspend func(bool) map[string]any
}

// Resource returns how the API server calls the kind.
func (k Kind) Resource() schema.GroupVersionResource {
	return k.GroupVersion().WithResource(k.Plural)
}

// Called reports whether people call the kind so.
func (k Kind) Called(name string) bool {
	return slices.Contains(k.Names, strings.ToLower(name))
}

// An Item is one unit or source.
type Item struct {
	Ref       object.Ref
	Created   time.Time
	Suspended bool

	// Ready is True, False or Unknown, with reason and message.
	Ready, Reason, Message string
	// Note is what there is to know about one that is ready.
	Note string
	// State says what follows from the conditions for who waits.
	State State
	// Handled is the token of the last reconciliation that was asked for and
	// done.
	Handled string

	// Revision is the last one that was applied or stored; Attempted may be
	// newer.
	Revision, Attempted string
	// Commit is what is known of the commit of Revision, of a source.
	Commit Commit
	// Commits are the last ones of a source, where that is recorded: a unit that
	// they don't touch may say an older revision for up to half a minute.
	Commits Commits

	// What a unit has beside.
	Source    object.Ref
	Path      string
	Inventory []apply.Entry
	History   []Run
	// Corrects: what somebody changes in its objects is put back.
	Corrects bool
	// Elsewhere: its objects are on another cluster.
	Elsewhere bool
}

// A State is how far an item has come with what it was asked for.
type State uint8

// The states.
const (
	Working State = iota // something is under way, or has not begun
	Waiting              // another item has to be ready first
	Done                 // it is as it should be
	Failed               // it is not, and needs somebody or something to change
)

// A Commit says who asked for a revision.
type Commit struct {
	Author  string    `json:"author,omitempty"` // Name <address>, as the commit has it: nobody has checked it
	When    time.Time `json:"committedAt,omitzero"`
	Subject string    `json:"subject,omitempty"`
}

// Commits are the last ones of a source, the oldest first: what is touched by the
// first is not known.
type Commits []CommitTo

// A CommitTo is one, by the revision that it led to, and the units that it
// touches.
type CommitTo struct {
	Revision string   `json:"revision"`
	Touched  []string `json:"touched,omitempty"`
}

// Since returns the revision that a unit is at which was at another before: the
// newest, if none of the commits since touches it.
func (c Commits) Since(unit, revision string) string {
	at := slices.IndexFunc(c, func(one CommitTo) bool { return one.Revision == revision })
	if at < 0 {
		return revision
	}
	for _, one := range c[at+1:] {
		if slices.Contains(one.Touched, unit) {
			return revision
		}
	}
	return c[len(c)-1].Revision
}

// IsZero reports whether nothing is known.
func (c Commit) IsZero() bool { return c == Commit{} }

// A Run is one or more reconciliations with the same result.
type Run struct {
	ID          string        `json:"id,omitempty"` // where one can go back to it
	Revision    string        `json:"revision"`
	Result      string        `json:"result"`
	Digest      string        `json:"digest"`
	First, Last time.Time     `json:"-"`
	Took        time.Duration `json:"-"`
	Count       int64         `json:"count"`
	Subject     string        `json:"subject,omitempty"`
}
