package tree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

// contents returns all that can be read of t, and checks on the way that its
// methods agree with each other.
func contents(t *testing.T, at tree.Tree) map[string]string {
	t.Helper()
	out := make(map[string]string)
	var walk func(dir string) tree.ID
	walk = func(dir string) tree.ID {
		entries, err := at.ReadDir(dir)
		if err != nil {
			t.Fatalf("list %q: %v", dir, err)
		}
		if !slices.IsSortedFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("%q is not sorted: %v", dir, entries)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			if got, err := at.Lookup(name); err != nil || got != e {
				t.Fatalf("lookup %q: %+v, %v; listed as %+v", name, got, err, e)
			}
			if e.Kind == tree.Dir {
				walk(name)
				if _, err := at.ReadFile(name); err == nil {
					t.Fatalf("directory %q reads as a file", name)
				}
				continue
			}
			b, err := at.ReadFile(name)
			if err != nil {
				t.Fatalf("read %q: %v", name, err)
			}
			if _, err := at.Lookup(name + "/x"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("lookup below file %q: %v", name, err)
			}
			out[name] = string(b)
		}
		return ""
	}
	walk(".")
	return out
}

// randomFiles makes up a small tree in which names collide often.
func randomFiles(rng *rand.Rand) map[string]string {
	m := make(map[string]string)
	for range 1 + rng.IntN(12) {
		var parts []string
		for range 1 + rng.IntN(4) {
			parts = append(parts, string(rune('a'+rng.IntN(4))))
		}
		name := strings.Join(parts, "/")
		clash := false
		for other := range m {
			clash = clash || strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/")
		}
		if !clash {
			m[name] = fmt.Sprint(rng.IntN(5))
		}
	}
	return m
}

// put writes a file the way a copy does: what is in the way goes.
func put(m map[string]string, name, content string) {
	for other := range m {
		if strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/") {
			delete(m, other)
		}
	}
	m[name] = content
}

func TestOverlayIsWhatCopyingWouldGive(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		base := randomFiles(rng)
		want := maps.Clone(base)
		var mounts []tree.Mount
		for range 1 + rng.IntN(3) {
			at := []string{".", "a", "b/c", "a/b", "x/y"}[rng.IntN(5)]
			from := randomFiles(rng)
			mounts = append(mounts, tree.Mount{At: at, Tree: tree.FromFiles(from)})
			for name, content := range from {
				put(want, path.Join(at, name), content)
			}
		}
		o, err := tree.Overlay(tree.FromFiles(base), mounts)
		if err != nil {
			t.Fatal(err)
		}
		if got := contents(t, o); !maps.Equal(got, want) {
			t.Fatalf("seed %d: base %v, mounts %v: got %v, want %v", seed, base, mounts, got, want)
		}
	}
}

func TestOverlayKeepsTheIDsOfWhatItDoesNotTouch(t *testing.T) {
	base := tree.FromFiles(map[string]string{"apps/a/x": "1", "infra/b/y": "2"})
	extra := tree.FromFiles(map[string]string{"deep/er/z": "3"})
	o, err := tree.Overlay(base, []tree.Mount{{At: "infra/lib", Tree: extra, Sub: "deep"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apps", "infra/b"} {
		was, _ := base.Lookup(name)
		if is, err := o.Lookup(name); err != nil || is != was {
			t.Errorf("%s: %+v, %v; was %+v", name, is, err, was)
		}
	}
	from, _ := extra.Lookup("deep")
	if at, err := o.Lookup("infra/lib"); err != nil || at.ID != from.ID || at.Name != "lib" {
		t.Errorf("mounted directory: %+v, %v", at, err)
	}
	was, _ := base.Lookup("infra")
	if is, _ := o.Lookup("infra"); is.ID == was.ID {
		t.Error("infra has more in it than before, and the same ID")
	}
}

func TestPathsOutOfASourceAreRefused(t *testing.T) {
	base := tree.FromFiles(map[string]string{"a/x": "1", "out": "-> ../../etc"})
	for _, p := range []string{"../x", "a/../../x", "/etc", "a\x00b", ".."} {
		if _, err := tree.Overlay(base, []tree.Mount{{At: p, Tree: base}}); !fault.Is(err, "InvalidPath") {
			t.Errorf("mount at %q: %v", p, err)
		}
		if _, err := tree.Overlay(base, []tree.Mount{{At: "a", Tree: base, Sub: p}}); !fault.Is(err, "InvalidPath") {
			t.Errorf("mount of %q: %v", p, err)
		}
		if _, err := tree.Sparse(base, []string{p}); !fault.Is(err, "InvalidPath") {
			t.Errorf("sparse %q: %v", p, err)
		}
	}
	if _, err := tree.Overlay(base, []tree.Mount{{At: "b", Tree: base, Sub: "out"}}); !fault.Is(err, "PathEscapesSource") {
		t.Errorf("mount through a link that leads out: %v", err)
	}
	for _, p := range []string{"nowhere", "a/x"} {
		if _, err := tree.Overlay(base, []tree.Mount{{At: "b", Tree: base, Sub: p}}); !fault.Is(err, "PathNotFound") {
			t.Errorf("mount of %q: %v", p, err)
		}
	}
	if _, err := tree.Sparse(base, []string{"nowhere"}); !fault.Is(err, "PathNotFound") {
		t.Errorf("sparse: %v", err)
	}
}

func TestSparseKeepsOnlyTheGivenDirectories(t *testing.T) {
	base := tree.FromFiles(map[string]string{
		"README": "r", "apps/a/x": "1", "apps/b/y": "2", "apps-old/z": "3", "infra/w": "4", "infra/base/v": "5",
	})
	s, err := tree.Sparse(base, []string{"./apps/", "infra/base"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"apps/a/x": "1", "apps/b/y": "2", "infra/base/v": "5"}
	if got := contents(t, s); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	was, _ := base.Lookup("apps")
	if is, _ := s.Lookup("apps"); is != was {
		t.Errorf("a kept directory is %+v, was %+v", is, was)
	}
	was, _ = base.Lookup("infra")
	if is, _ := s.Lookup("infra"); is.ID == was.ID {
		t.Error("infra has less in it than before, and the same ID")
	}
}

// hide hides some names, and shows some again.
type hide struct{ rules string }

func (h hide) Hides(name string, _ bool) bool {
	shown := strings.Contains(name, "d")
	return strings.ContainsAny(name, h.rules) && !shown
}
func (h hide) Reincludes(string, tree.ID) (bool, error) { return true, nil }
func (h hide) Excludes(string, bool) *tree.Excluded     { return &tree.Excluded{By: "a test"} }
func (h hide) Enter(string) (tree.Scope, error)         { return h, nil }
func (h hide) ID() tree.ID                              { return tree.ID(h.rules) }

func TestFilterShowsWhatIsNotHidden(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		all := randomFiles(rng)
		rules := hide{"c"}
		want := maps.Clone(all)
		maps.DeleteFunc(want, func(name, _ string) bool { return rules.Hides(name, false) })
		got := contents(t, tree.Filter(tree.FromFiles(all), rules))
		if !maps.Equal(got, want) {
			t.Fatalf("of %v: got %v, want %v", all, got, want)
		}
	}
}

// Equal IDs mean equal content, in any two trees. Here they are views of many
// small trees under different rules.
func TestEqualIDsOfViewsMeanEqualContent(t *testing.T) {
	seen := make(map[tree.ID]string)
	check := func(at tree.Tree, dir string) {
		e, err := at.Lookup(dir)
		if err != nil {
			return
		}
		content := ""
		all := contents(t, at)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if rest, ok := strings.CutPrefix(name, dir+"/"); ok || dir == "." {
				if dir == "." {
					rest = name
				}
				content += rest + "=" + all[name] + "\n"
			}
		}
		if was, ok := seen[e.ID]; ok && was != content {
			t.Fatalf("ID %s is of\n%sand of\n%s", e.ID, was, content)
		}
		seen[e.ID] = content
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		base := tree.FromFiles(randomFiles(rng))
		over, err := tree.Overlay(base, []tree.Mount{{At: "a", Tree: tree.FromFiles(randomFiles(rng))}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []tree.Tree{base, over, tree.Filter(base, hide{"c"}), tree.Filter(over, hide{"b"})} {
			for _, dir := range []string{".", "a", "b", "a/b", "c"} {
				if e, err := v.Lookup(dir); err == nil && e.Kind == tree.Dir {
					check(v, dir)
				}
			}
		}
	}
}
