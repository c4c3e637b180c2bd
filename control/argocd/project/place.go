package project

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/glob"

	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/fault"
)

// A Destination is a cluster as it was found, by server and name, and a
// namespace. ByName says that the Application names it by its name.
type Destination struct {
	Server, Name, Namespace string
	ByName                  bool
}

// A place is an entry of destinations.
type place struct {
	rule
	server    side
	name      side
	namespace side
	err       error
	deny      bool
}

// A side is a part of an entry: a glob, maybe with ! before it.
type side struct {
	matches func(string) bool
	deny    bool
	set     bool
}

// hit: the glob matches, and denies.
func (s side) hit(v string) bool { return s.deny && s.matches(v) }

// match: the glob matches, or denies something else.
func (s side) match(v string) bool { return s.matches(v) != s.deny }

func (q *Project) readPlaces(scoped []Cluster) {
	for _, part := range q.parts {
		for i, d := range part.spec.Destinations {
			p := place{rule: rule{part.name, fmt.Sprintf("destinations[%d]", i), ""}}
			var errs [3]error
			p.server, errs[0] = serverSide(d.Server)
			p.name, errs[1] = globSide(d.Name)
			p.namespace, errs[2] = globSide(d.Namespace)
			p.deny = p.server.deny || p.name.deny || p.namespace.deny
			for j, field := range []string{"server", "name", "namespace"} {
				if errs[j] != nil {
					p.err = fmt.Errorf("%s: %w", field, errs[j])
					q.problem(p.rule, p.err)
				}
			}
			q.places = append(q.places, p)
		}
	}
	for _, c := range scoped {
		server, err := address.Server(c.Server)
		if err != nil {
			continue // its Secret is named by whoever reads it
		}
		q.clusters = append(q.clusters, server)
		namespaces := c.Namespaces
		q.places = append(q.places, place{
			server: side{matches: func(s string) bool { return s == server }, set: true},
			name:   side{matches: func(string) bool { return false }},
			namespace: side{set: true, matches: func(s string) bool {
				return len(namespaces) == 0 || slices.Contains(namespaces, s)
			}},
		})
	}
}

func serverSide(text string) (s side, err error) {
	text, s.deny = strings.CutPrefix(text, "!")
	s.set = text != ""
	p, err := address.ParseServerPattern(text)
	s.matches = func(v string) bool { return v != "" && p.Matches(v) }
	return s, err
}

func globSide(text string) (s side, err error) {
	text, s.deny = strings.CutPrefix(text, "!")
	s.set = text != ""
	s.matches, err = compile(text)
	return s, err
}

// maxGlob is how long a glob may be.
const maxGlob = 1000

func compile(text string) (func(string) bool, error) {
	if len(text) > maxGlob {
		return nil, fmt.Errorf("it has more than %d characters", maxGlob)
	}
	g, err := glob.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no glob", text)
	}
	return g.Match, nil
}

// denies reports whether an entry refuses a destination.
func (p place) denies(d Destination) bool {
	// A name that is denied counts in all namespaces, as Argo CD has it, and for
	// a cluster of which no name is known.
	name := p.name.hit(d.Name) || p.name.deny && d.Name == ""
	server, namespace := p.server.hit(d.Server), p.namespace.hit(d.Namespace)
	return name || server && (namespace || p.namespace.match(d.Namespace)) || namespace && p.onCluster(d)
}

func (p place) onCluster(d Destination) bool {
	return p.server.set && p.server.match(d.Server) || p.name.set && d.Name != "" && p.name.match(d.Name)
}

// Destination reports why objects may not be at a destination. An empty
// namespace is matched by globs that match nothing at all, such as *.
func (q *Project) Destination(d Destination) error {
	server := d.Server
	if d.ByName {
		server = d.Name
	}
	words := fmt.Sprintf("application destination server '%s' and namespace '%s' do not match any of the allowed destinations in project '%s'",
		address.Show(server), d.Namespace, q.Name)
	why, hint := q.placed(d)
	if why == "" {
		return nil
	}
	return q.refuse(fault.InvalidSpec, words, why, hint)
}

// placed says what speaks against a destination, and what to do.
func (q *Project) placed(d Destination) (why, hint string) {
	server, err := address.Server(d.Server)
	if err != nil {
		return err.Error(), "correct the server"
	}
	d.Server = server
	allowed, unread := false, ""
	for _, p := range q.places {
		switch {
		case p.err != nil && p.deny:
			return fmt.Sprintf("%s can't be read and so denies all: %v", p.rule, p.err), "correct that entry"
		case p.err != nil:
			unread = fmt.Sprintf("; %s can't be read: %v", p.rule, p.err)
		case p.denies(d):
			return fmt.Sprintf("%s denies it", p.rule), "use another destination, or change that entry"
		default:
			allowed = allowed || p.onCluster(d) && p.namespace.match(d.Namespace)
		}
	}
	switch {
	case !allowed:
		return "no entry of the project's spec.destinations matches them" + unread, "add one, or use another destination"
	case q.scopedTo && !slices.Contains(q.clusters, d.Server):
		return "spec.permitOnlyProjectScopedClusters is set, and the cluster's Secret does not name the project", "set the Secret's key project, or use a cluster of the project"
	}
	return "", ""
}
