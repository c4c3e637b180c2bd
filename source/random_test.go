package source_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/sourcetest"
	"plumb.dev/plumb/tree"
)

// A story is what was put, and what the servers hold: what follows from it is
// worked out here in the plainest way.
type story struct {
	files map[string]map[string]string // by server
	specs map[string]*line
}

type line struct {
	server    string
	includes  []string
	suspended bool
	refused   bool
}

// holds returns the files of a source, or why it has none.
func (s story) holds(name string, way ...string) (map[string]string, string) {
	l := s.specs[name]
	switch {
	case l == nil:
		return nil, "missing"
	case slices.Contains(way, name):
		return nil, "circle"
	case l.refused:
		return nil, "refused"
	}
	out := maps.Clone(s.files[l.server])
	for _, inc := range l.includes {
		files, why := s.holds(inc, append(way[:len(way):len(way)], name)...)
		if why != "" {
			return nil, why
		}
		for f, c := range files {
			out[inc+"/"+f] = c
		}
	}
	return out, ""
}

func filesOf(t *testing.T, at tree.Tree, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	entries, err := at.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(dir+"/"+e.Name, "./")
		if e.Kind == tree.Dir {
			maps.Copy(out, filesOf(t, at, name))
			continue
		}
		b, err := at.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
	}
	return out
}

// Whatever happens in whatever order, what is published is a chain for each
// source, and in the end everyone has what follows from what was put last.
func TestWhateverHappensWhatFollowsIsTheSame(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			onBench(t, func(t *testing.T, b *bench) { happen(t, b, rand.New(rand.NewPCG(seed, 1))) }) //nolint:gosec // a test's
		})
	}
}

func happen(t *testing.T, b *bench, r *rand.Rand) {
	names, servers := []string{"a", "b", "c", "d", "e"}, []string{"p", "q", "r"}
	s := story{files: make(map[string]map[string]string), specs: make(map[string]*line)}
	at := make(map[string]*sourcetest.Memory)
	publish := func(server string) {
		s.files[server] = map[string]string{"f": fmt.Sprint(r.IntN(1000)), "g": server}
		at[server].Publish(t, s.files[server])
	}
	for _, server := range servers {
		at[server] = b.server("mem://"+server+"/x", nil)
		publish(server)
	}
	put := func(name string) {
		l := s.specs[name]
		b.put(name, at[l.server], every(time.Duration(1+r.IntN(90))*time.Second), func(spec *source.Spec) {
			spec.Suspended = l.suspended
			if l.refused {
				spec.Refused = errors.New("refused")
			}
			for _, inc := range l.includes {
				spec.Shape.Includes = append(spec.Shape.Includes, source.Include{Source: inc, At: inc})
			}
		})
	}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	for range 120 {
		name := pick(names)
		switch r.IntN(8) {
		case 0, 1, 2:
			l := &line{server: pick(servers), suspended: r.IntN(5) == 0, refused: r.IntN(8) == 0}
			for _, other := range names {
				if r.IntN(5) == 0 {
					l.includes = append(l.includes, other)
				}
			}
			s.specs[name] = l
			put(name)
		case 3:
			delete(s.specs, name)
			b.k.Delete(name)
		case 4:
			publish(pick(servers))
		case 5:
			at[pick(servers)].Behave(sourcetest.Fault(r.IntN(int(sourcetest.Hung) + 1)))
		case 6:
			b.k.Hint("mem://" + pick(servers) + "/x")
		case 7:
			time.Sleep(time.Duration(r.IntN(100)) * time.Second)
		}
		if r.IntN(3) == 0 {
			synctest.Wait()
		}
	}
	for _, server := range servers {
		at[server].Behave(sourcetest.Well)
	}
	for name, l := range s.specs {
		l.suspended = false
		put(name)
	}
	time.Sleep(3 * time.Minute) // two of the longest intervals
	synctest.Wait()
	places := make(map[string]bool)
	for _, name := range names {
		if b.last[name] != b.k.Get(name) {
			t.Errorf("%s: what was published last is not what is on the shelf", name)
		}
		l := s.specs[name]
		state, ok := b.k.State(name)
		if ok != (l != nil) {
			t.Errorf("%s: it is there: %v", name, ok)
		}
		if l == nil {
			continue
		}
		places["place of mem://"+l.server+"/x"] = true
		files, why := s.holds(name)
		switch {
		case state.Pending:
			t.Errorf("%s is pending", name)
		case why == "" && state.Err != nil:
			t.Errorf("%s: %v", name, state.Err)
		case why == "":
			if got := filesOf(t, state.Artifact.Tree, "."); !maps.Equal(got, files) {
				t.Errorf("%s (%+v) holds %v, want %v", name, l, got, files)
			}
		case state.Err == nil && state.Artifact == nil:
			t.Errorf("%s: no artifact and no error, want %s", name, why)
		case l.refused && state.Err == nil:
			t.Errorf("%s is not refused", name)
		}
	}
	for _, place := range b.disk.Places() {
		if !places[place] {
			t.Errorf("%s is kept and nobody needs it", place)
		}
	}
}
