package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb.dev/plumb/source/keyed"
)

// A grant is the proof that somebody may read a commit: the server has named
// it, or handed it out, to who asked with that access. Repositories are shared
// by all who name their address, so nobody is given a commit without one.
type grant struct {
	access string
	commit oid
}

// maxGrants is how many are remembered for a repository. Who is forgotten is
// asked about again.
const maxGrants = 1024

// grants are those of a repository, the oldest first. Those of complete commits
// are on disk too, so that a start needs no server.
type grants struct {
	list   []grant
	stored map[grant]bool
}

// readGrants reads what [grants.write] wrote.
func readGrants(dir string) grants {
	g := grants{stored: make(map[grant]bool)}
	b, _ := os.ReadFile(filepath.Join(dir, "readers")) // without it they are asked about again
	for line := range strings.Lines(string(b)) {
		commit, access, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if id, err := parseOID(commit); ok && err == nil {
			g.add(grant{access, id})
			g.stored[grant{access, id}] = true
		}
	}
	return g
}

func (g *grants) has(is grant) bool { return slices.Contains(g.list, is) }

func (g *grants) add(is grant) {
	if g.has(is) {
		return
	}
	g.list = append(g.list, is)
	if len(g.list) > maxGrants {
		delete(g.stored, g.list[0])
		g.list = slices.Delete(g.list, 0, 1)
	}
}

// write stores the grants of these commits.
func (g *grants) write(dir string, complete []oid) error {
	var b strings.Builder
	clear(g.stored)
	for _, is := range g.list {
		if slices.Contains(complete, is.commit) {
			g.stored[is] = true
			fmt.Fprintln(&b, is.commit, is.access)
		}
	}
	return keyed.WriteFile(filepath.Join(dir, "readers"), []byte(b.String()))
}

// granted reports whether it is proven that who has that access may read the
// commit.
func (r *repo) granted(is grant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	return r.grants.has(is)
}

// grant remembers a proof, also over a restart if the commit is here.
func (r *repo) grant(is grant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	r.grants.add(is)
	if r.grants.stored[is] || !slices.Contains(r.complete, is.commit) {
		return nil
	}
	return r.grants.write(r.dir, r.complete)
}

// prove has the server hand out a commit that is here already. It is told so,
// and sends nothing of it.
func (r *repo) prove(is grant, get getter) error {
	if r.granted(is) {
		return nil
	}
	dir, err := os.MkdirTemp(r.store.dir, r.key+".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	set, _ := r.state()
	if _, err := get(order{haves: []oid{is.commit}}, set, dir); err != nil {
		return err
	}
	return r.grant(is)
}
