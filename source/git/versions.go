package git

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"plumb.dev/plumb/source/web"
)

// parseVersion returns the version that a tag is called, as Flux reads it: of
// three parts, with or without a v before it. A year or a lone number is none.
func parseVersion(tag string) (*semver.Version, bool) {
	if strings.Count(tag, ".") < 2 {
		return nil, false
	}
	v, err := semver.NewVersion(tag)
	return v, err == nil
}

// highest returns the tags of the highest version in the range, by name. They
// are several where they differ only in what does not order versions: build
// metadata, and the v before one.
func highest(refs []ref, in *semver.Constraints) []ref {
	var best []ref
	var version *semver.Version
	for _, r := range refs {
		tag, ok := strings.CutPrefix(r.name, "refs/tags/")
		if !ok {
			continue
		}
		v, ok := parseVersion(tag)
		if !ok || !in.Check(v) {
			continue
		}
		switch {
		case version == nil || v.GreaterThan(version):
			best, version = []ref{r}, v
		case v.Equal(version):
			best = append(best, r)
		}
	}
	slices.SortFunc(best, func(a, b ref) int { return strings.Compare(a.name, b.name) })
	return best
}

// newest picks of tags of one version the one whose commit is the newest, as
// Flux does (source-controller, pull request 172); of those that are equally
// new, the last by name.
func (s *Store) newest(ctx context.Context, r Remote, tags []ref, c *conversation, beat *web.Pulse) (ref, error) {
	commits := make(map[oid]bool)
	for _, t := range tags {
		commits[t.commit()] = true
	}
	if len(commits) == 1 {
		return tags[len(tags)-1], nil
	}
	when, err := s.times(ctx, r, tags, c, beat)
	if err != nil {
		return ref{}, err
	}
	return slices.MaxFunc(tags, func(a, b ref) int {
		if d := when[a.commit()].Compare(when[b.commit()]); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	}), nil
}

// times returns when the commits of tags were made. Those that are not known
// yet are fetched, without their files if the server can; a commit does not
// change, so each is asked for once. What is no commit has no time.
func (s *Store) times(ctx context.Context, r Remote, tags []ref, c *conversation, beat *web.Pulse) (map[oid]time.Time, error) {
	repo := s.repo(r)
	set, _ := repo.state()
	known := make(map[oid]time.Time)
	var wants []oid
	repo.mu.Lock()
	for _, t := range tags {
		id := t.commit()
		if at, ok := repo.times[id]; ok {
			known[id] = at
		} else if at, ok := committed(set, id); ok {
			known[id] = at
		} else {
			wants = append(wants, t.id) // a tag's own object, if it has one: a server of the old protocol hands out nothing else
		}
	}
	repo.mu.Unlock()
	if len(wants) > 0 {
		dir, err := os.MkdirTemp(s.dir, repo.key+".new-*")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		in, err := c.fetch(ctx, order{wants: wants, bare: true}, beat)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		p, err := receive(ctx, dir, in, nil, s.opt.limits())
		if err != nil {
			return nil, err
		}
		got := repo.newSet([]*pack{p})
		for _, t := range tags {
			if id := t.commit(); known[id].IsZero() {
				known[id], _ = committed(got, id)
			}
		}
	}
	repo.mu.Lock()
	defer repo.mu.Unlock()
	repo.times = maps.Clone(known) // of those that are tied now; others are not asked about again
	return known, nil
}

// committed returns when a commit was made, if the packs have it.
func committed(set *packSet, id oid) (time.Time, bool) {
	k, b, err := set.readUnchecked(id)
	if err != nil {
		return time.Time{}, false
	}
	if k != commitObject {
		return time.Time{}, true
	}
	c, _, _, err := parseCommit(id, b)
	return c.Committed, err == nil
}
