package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
)

// An Event is one of a unit or source.
type Event struct {
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	Reason   string    `json:"reason"`
	Object   string    `json:"object"`
	Message  string    `json:"message"`
	Count    int32     `json:"count,omitempty"`
	Revision string    `json:"revision,omitempty"`
	// About is the object of a unit that it is about, and Subject the first
	// line of a revision's commit message, where they are known.
	About   string `json:"about,omitempty"`
	Subject string `json:"subject,omitempty"`

	Ref object.Ref `json:"-"`
}

// NewEvent reads an event.
func NewEvent(e *corev1.Event) Event {
	out := Event{
		Time: e.LastTimestamp.Time, Type: e.Type, Reason: e.Reason, Message: strings.ReplaceAll(strings.TrimSpace(e.Message), "\n", "; "), Count: e.Count,
		Ref: object.Ref{Kind: e.InvolvedObject.Kind, Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name},
	}
	out.Ref.Group, _, _ = strings.Cut(e.InvolvedObject.APIVersion, "/")
	out.Object = out.Ref.String()
	out.About, out.Subject = e.Annotations[view.EventObject], e.Annotations[view.EventSubject]
	if e.Series != nil {
		out.Time, out.Count = e.Series.LastObservedTime.Time, e.Series.Count
	}
	if out.Time.IsZero() {
		out.Time = e.EventTime.Time
	}
	for k, v := range e.Annotations {
		if strings.HasSuffix(k, "/revision") {
			out.Revision = v
		}
	}
	return out
}

// Events lists the events of some objects, the oldest first, and the version
// to watch from.
func (c *Cluster) Events(ctx context.Context, namespace string, selector fields.Selector, mine func(Event) bool) ([]Event, string, error) {
	l, err := c.Clientset.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: selector.String()})
	if err != nil {
		return nil, "", fmt.Errorf("list events: %w", err)
	}
	var out []Event
	for i := range l.Items {
		if e := NewEvent(&l.Items[i]); mine(e) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return out, l.ResourceVersion, nil
}

// About returns a selector for the events of one object.
func About(ref object.Ref) fields.Selector {
	return fields.Set{"involvedObject.kind": ref.Kind, "involvedObject.name": ref.Name}.AsSelector()
}

// Subjects are the first lines of commit messages, by revision, as far as the
// source's status and its events know them. What can't be read is not known.
func (c *Cluster) Subjects(ctx context.Context, f *Found) map[string]string {
	out := map[string]string{}
	if f.Source.IsZero() {
		return out
	}
	events, _, err := c.Events(ctx, f.Source.Namespace, About(f.Source), func(e Event) bool {
		return e.Ref == f.Source && e.Subject != "" && e.Revision != ""
	})
	if err == nil {
		for _, e := range events {
			out[e.Revision] = e.Subject
		}
	}
	if src, err := c.Get(ctx, f.Source); err == nil && src.Commit.Subject != "" {
		out[src.Revision] = src.Commit.Subject
	}
	return out
}
