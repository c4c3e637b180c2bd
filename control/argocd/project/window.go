package project

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/address"
)

// A window is an entry of syncWindows.
type window struct {
	rule
	about    string // its description
	selects  selection
	deny     bool
	manual   bool
	overrun  bool
	schedule schedule
	duration time.Duration
	err      error // it is not known when it is open
}

// String says what a window is, for messages.
func (w *window) String() string {
	if w.about == "" {
		return w.rule.String()
	}
	return fmt.Sprintf("%s (%s)", w.rule, w.about)
}

// A selection is which Applications a window is about.
type selection struct {
	applications, namespaces []func(string) bool
	clusters                 []func(string) bool
	and                      bool
	err                      error // it is not known which
}

// maxDuration is how long a window may be open.
const maxDuration = 10 * 366 * 24 * time.Hour

func (q *Project) readWindows() {
	for _, part := range q.parts {
		for i, given := range part.spec.SyncWindows {
			w := &window{
				rule:   rule{part.name, fmt.Sprintf("syncWindows[%d]", i), strings.TrimSpace(given.Kind + " " + given.Schedule + " " + given.Duration + " " + given.TimeZone)},
				about:  strings.Join(strings.Fields(given.Description), " "),
				manual: given.ManualSync, overrun: given.SyncOverrun,
			}
			w.selects = selectionOf(given)
			if w.err = w.read(given); w.err == nil {
				w.err = w.selects.err
			}
			if w.err != nil {
				q.problem(w.rule, w.err)
			}
			q.windows = append(q.windows, w)
		}
	}
}

// read takes over when a window is open.
func (w *window) read(given argocd.SyncWindow) (err error) {
	if w.deny = given.Kind == "deny"; !w.deny && given.Kind != "allow" {
		return fmt.Errorf("kind %q is neither allow nor deny", given.Kind)
	}
	if w.schedule, err = parseSchedule(given.Schedule, given.TimeZone); err != nil {
		return err
	}
	w.duration, err = time.ParseDuration(given.Duration)
	switch {
	case err != nil:
		return fmt.Errorf("duration %q is none, such as 1h30m", given.Duration)
	case w.duration <= 0:
		return fmt.Errorf("duration %q: it never opens", given.Duration)
	case w.duration > maxDuration:
		return fmt.Errorf("duration %q is longer than ten years", given.Duration)
	case len(given.Applications)+len(given.Namespaces)+len(given.Clusters) == 0:
		return errors.New("it names no applications, namespaces or clusters")
	}
	return nil
}

func selectionOf(w argocd.SyncWindow) (s selection) {
	s.and = w.AndOperator
	read := func(texts []string, compile func(string) (func(string) bool, error)) (all []func(string) bool) {
		for _, text := range texts {
			match, err := compile(text)
			if err != nil {
				s.err = err
				continue
			}
			all = append(all, match)
		}
		return all
	}
	s.applications = read(w.Applications, compile)
	s.namespaces = read(w.Namespaces, compile)
	s.clusters = read(w.Clusters, clusterGlob)
	return s
}

// clusterGlob matches a name as it is, and a server in the form that servers are
// compared by.
func clusterGlob(text string) (func(string) bool, error) {
	name, err := compile(text)
	if err != nil {
		return nil, err
	}
	p, err := address.ParseServerPattern(text)
	return func(s string) bool { return name(s) || p.Matches(s) }, err
}

// An Application is what windows select by: spec.destination as it is written,
// of which Server or Name may be empty.
type Application struct {
	Name                       string
	Server, Cluster, Namespace string
}

// of reports whether a window is about an Application. Where that can't be
// told, it is.
func (s selection) of(a Application) bool {
	if s.err != nil {
		return true
	}
	server, err := address.Server(a.Server)
	if err != nil {
		server = a.Server
	}
	any := func(globs []func(string) bool, values ...string) bool {
		for _, match := range globs {
			for _, v := range values {
				if match(v) {
					return true
				}
			}
		}
		return false
	}
	var where []string
	for _, v := range []string{a.Cluster, server} {
		if v != "" {
			where = append(where, v)
		}
	}
	byName, byCluster, byNamespace := any(s.applications, a.Name), any(s.clusters, where...), any(s.namespaces, a.Namespace)
	if !s.and || s.applications == nil && s.clusters == nil && s.namespaces == nil {
		return byName || byCluster || byNamespace
	}
	return (byName || s.applications == nil) && (byCluster || s.clusters == nil) && (byNamespace || s.namespaces == nil)
}

// openAt reports whether the window is open at t.
func (w *window) openAt(t time.Time) bool {
	last, ok := w.schedule.upTo(t)
	return ok && t.Before(last.Add(w.duration))
}

// maxLinks is how many openings that overlap are looked at to find when all of
// them are over. There may be more: then it is asked again at that time.
const maxLinks = 500

// turns is when the window opens or closes next after t.
func (w *window) turns(t time.Time) (time.Time, bool) {
	if !w.openAt(t) {
		return w.schedule.after(t)
	}
	last, _ := w.schedule.upTo(t)
	end := last.Add(w.duration)
	for range maxLinks {
		last, _ = w.schedule.upTo(end)
		if next := last.Add(w.duration); next.After(end) {
			end = next
		} else {
			break
		}
	}
	return end, true
}
