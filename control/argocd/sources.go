package argocd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"

	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/helm"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/stores"
)

// A want is what an Application wants of a repository.
type want struct {
	settings.Repository
	chart  string // empty: none
	target string // a branch, a tag, a range, a commit, or HEAD; of a chart a version or range
	// access names the Secrets that remote is from: what they say may change, and
	// who goes by others is not given what they show.
	access   string
	interval time.Duration // at which it is asked; 0: only when somebody hints
}

// name is what the keeper calls it: the same for all who want the same, and may
// have it.
func (w want) name() string {
	texts := []string{w.Address(), w.target}
	if w.chart != "" {
		texts = append(texts, w.chart)
	}
	if w.access != "" {
		texts = append(texts, w.access)
	}
	return sourceName + "/" + digest(texts...)
}

// from is where it is had, with the submodules of a repository, as Argo CD has
// them.
func (w want) from(s *stores.Stores) source.Fetcher {
	switch {
	case w.Registry != nil && w.chart != "":
		at := *w.Registry
		at.URL += "/" + w.chart
		return oci.Source{Store: s.Archives, Clients: s.Registries, Remote: at, Ref: oci.Ref{SemVer: strings.TrimSpace(w.target)}, Layer: oci.Layer{Kind: oci.Chart}}
	case w.Registry != nil:
		return oci.Source{Store: s.Archives, Clients: s.Registries, Remote: *w.Registry, Ref: oci.Ref{Short: strings.TrimSpace(w.target)}, Layer: oci.Layer{Kind: oci.Only}}
	case w.chart != "":
		return helm.Chart{Store: s.Charts, Repo: *w.Charts, Name: w.chart, Version: strings.TrimSpace(w.target)}
	}
	return git.Source{Store: s.Git, Remote: *w.Git, Ref: refOf(w.target), FetchOptions: git.FetchOptions{RecurseSubmodules: true}}
}

// refOf is what a target stands for.
func refOf(target string) git.Ref {
	target = strings.TrimSpace(target)
	switch {
	case target == "":
		return git.Ref{Short: "HEAD"}
	case isRange(target):
		return git.Ref{SemVer: target}
	}
	return git.Ref{Short: target}
}

// isRange reports whether a target is a range of versions, and no version.
func isRange(target string) bool {
	if _, err := semver.NewVersion(target); err == nil {
		return false
	}
	_, err := semver.NewConstraint(target)
	return err == nil
}

// shared are the sources that Applications want, each once whoever wants it.
type shared struct {
	keeper *source.Keeper
	stores *stores.Stores

	mu     sync.Mutex
	byName map[string]*wanted
	of     map[string]map[string]bool // names, by unit
	asked  uint64                     // requests
	last   map[string]string          // of each unit, also of what it has come to want since
}

// A wanted is a source, and the units that want it.
type wanted struct {
	spec  source.Spec
	users map[string]bool
}

func newShared(k *source.Keeper, s *stores.Stores) *shared {
	return &shared{
		keeper: k, stores: s, byName: make(map[string]*wanted), of: make(map[string]map[string]bool),
		asked: uint64(time.Now().UnixNano()), last: make(map[string]string),
	}
}

// needs is between a unit and the number of a rendering, in the name of who wants
// what that needs.
const needs = "\x00"

// need makes wants all that a rendering of a unit needs beside what the unit wants,
// and returns their names.
func (s *shared) need(unit string, rendering int, wants []want) (names []string) {
	for _, w := range wants {
		names = append(names, w.name())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(unit+needs+strconv.Itoa(rendering), wants)
	return names
}

// all are a unit and its renderings that need something.
func (s *shared) all(unit string) (who []string) {
	who = append(who, unit)
	for name := range s.of {
		if strings.HasPrefix(name, unit+needs) {
			who = append(who, name)
		}
	}
	return who
}

// put makes wants all that a unit wants.
func (s *shared) put(unit string, wants []want) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(unit, wants)
}

// set is put, and the same of a rendering.
func (s *shared) set(unit string, wants []want) {
	now := make(map[string]bool, len(wants))
	for _, w := range wants {
		name := w.name()
		now[name] = true
		have := s.byName[name]
		if have == nil {
			have = &wanted{users: make(map[string]bool)}
			s.byName[name] = have
		}
		have.users[unit] = true
		from := w.from(s.stores)
		requested := have.spec.Requested
		if !s.of[unit][name] {
			requested = max(requested, s.last[unit])
		}
		if have.spec.From == nil || have.spec.From.Key() != from.Key() || have.spec.Interval != w.interval || have.spec.Requested != requested {
			have.spec = source.Spec{Name: name, From: from, Interval: w.interval, Requested: requested}
			s.keeper.Put(have.spec)
		}
	}
	for name := range s.of[unit] {
		if !now[name] {
			s.part(name, unit)
		}
	}
	if s.of[unit] = now; len(now) == 0 {
		delete(s.of, unit)
	}
}

// forget drops a unit that is no more.
func (s *shared) forget(unit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, who := range s.all(unit) {
		s.set(who, nil)
	}
	delete(s.last, unit)
}

// part ends a unit's use of a source, and the source with the last.
func (s *shared) part(name, unit string) {
	have := s.byName[name]
	if delete(have.users, unit); len(have.users) == 0 {
		delete(s.byName, name)
		s.keeper.Delete(name)
	}
}

// users are the units that want a source, and those of which a rendering needs it.
func (s *shared) users(name string) (want, need []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.byName[name]
	if have == nil {
		return nil, nil
	}
	for who := range have.users {
		if unit, _, ok := strings.Cut(who, needs); ok {
			need = append(need, unit)
		} else {
			want = append(want, unit)
		}
	}
	return want, need
}

// ask has all that a unit wants asked for now, and returns by which it is known
// that it was.
func (s *shared) ask(unit string) (request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	request = fmt.Sprintf("%020d", s.asked)
	s.last[unit] = request
	for _, who := range s.all(unit) {
		for name := range s.of[who] {
			have := s.byName[name]
			have.spec.Requested = request
			s.keeper.Put(have.spec)
		}
	}
	return request
}

// answered reports whether all that a unit wants was asked for, since it
// requested that or later.
func (s *shared) answered(unit, request string) bool {
	s.mu.Lock()
	names := slices.Collect(maps.Keys(s.of[unit]))
	s.mu.Unlock()
	for _, name := range names {
		if st, ok := s.keeper.State(name); ok && st.Requested < request {
			return false
		}
	}
	return true
}

// grace is how long a repository that can't be asked leaves an Application at
// what is known of it: a server that is restarted is no news.
const grace = 3 * time.Minute

// failing returns what is wrong with one of some sources, and when to ask about
// that again, if something may come to be. Now says that there is no grace.
func (s *shared) failing(names []string, now bool) (again time.Duration, err error) {
	for _, name := range names {
		st, ok := s.keeper.State(name)
		if !ok || st.Err == nil || st.Pending && st.Artifact == nil {
			continue
		}
		if left := time.Until(st.Since.Add(grace)); left > 0 && st.Artifact != nil && !now && fault.Of(st.Err).Next != fault.Stall {
			again = max(left, time.Second)
			continue
		}
		return 0, st.Err
	}
	return again, nil
}

// ill reports whether something is wrong with a source, or nothing known of it.
func (s *shared) ill(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		st, ok := s.keeper.State(name)
		return !ok || st.Err != nil || st.Artifact == nil
	})
}

// missing says what is known of the sources of a unit that have no artifact: their
// news wakes nobody else.
func (s *shared) missing(u engine.Unit) (text string) {
	for _, name := range u.AllSources() {
		if st, ok := s.keeper.State(name); ok && st.Artifact == nil && st.Err != nil && !st.Pending {
			text += "\n" + st.Err.Error()
		}
	}
	return text
}

// hashOf is what a revision stands for whatever it is called: the commit of
// main@sha1:…, and the digest of v1@sha256:….
func hashOf(revision string) string {
	if i := strings.LastIndex(revision, "sha1:"); i >= 0 {
		return revision[i+len("sha1:"):]
	}
	if i := strings.LastIndex(revision, "@sha256:"); i >= 0 {
		return revision[i+1:]
	}
	return revision
}
