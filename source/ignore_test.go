package source_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/sourceignore"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

func visible(t *testing.T, at tree.Tree) map[string]bool {
	t.Helper()
	out := make(map[string]bool)
	var walk func(string)
	walk = func(dir string) {
		entries, err := at.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name)
			if got, err := at.Lookup(name); err != nil || got != e {
				t.Fatalf("lookup %q: %+v, %v; listed as %+v", name, got, err, e)
			}
			if e.Kind == tree.Dir {
				walk(name)
			} else {
				out[name] = true
			}
		}
	}
	walk(".")
	return out
}

// likeFlux returns what Flux's own library keeps: every file by itself is
// matched against all patterns, and the defaults count only if there are no
// others but Git's own.
func likeFlux(t *testing.T, files map[string]string, spec *string) map[string]bool {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	ps, err := sourceignore.LoadIgnorePatterns(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if spec != nil {
		ps = append(ps, sourceignore.ReadPatterns(strings.NewReader(*spec), nil)...)
	}
	matcher := sourceignore.NewDefaultMatcher(ps, nil)
	if len(ps) > 0 {
		matcher = sourceignore.NewMatcher(append(sourceignore.VCSPatterns(nil), ps...))
	}
	out := make(map[string]bool)
	for name := range files {
		if !matcher.Match(strings.Split(name, "/"), false) {
			out[name] = true
		}
	}
	return out
}

func TestIgnoreHidesWhatFluxHides(t *testing.T) {
	spec := func(s string) *string { return &s }
	files := map[string]string{
		"README.md": "", "logo.png": "", "apps/a.yaml": "", "apps/a.png": "", "deploy/x.yaml": "", "deploy/prod/y.yaml": "",
		".github/workflows/ci.yaml": "", "apps/.github/x": "", ".gitlab-ci.yml": "", "deep/er/.sops.yaml": "", ".sops.yaml": "",
		".gitignore": "", "apps/.gitmodules": "", "x.tar.gz": "", "tests/one.yaml": "", "apps/tests/two.yaml": "",
	}
	with := func(more map[string]string) map[string]string {
		m := maps.Clone(files)
		maps.Copy(m, more)
		return m
	}
	for name, c := range map[string]struct {
		files map[string]string
		spec  *string
	}{
		"nothing said: the defaults":                  {files, nil},
		"an empty ignore keeps the defaults":          {files, spec("# nothing\n\n")},
		"an ignore takes the place of the defaults":   {files, spec("/apps/")},
		"all but one directory":                       {files, spec("/*\n!/deploy\n")},
		"all but a directory in a directory":          {files, spec("/*\n!/deploy/prod\n")},
		".sourceignore in the root":                   {with(map[string]string{".sourceignore": "tests/\n"}), nil},
		".sourceignore in a directory":                {with(map[string]string{"apps/.sourceignore": "/tests\n*.yaml\n"}), nil},
		"an ignore overrules .sourceignore":           {with(map[string]string{".sourceignore": "*.yaml\n"}), spec("!/deploy/x.yaml\n")},
		"a deeper .sourceignore overrules the root's": {with(map[string]string{".sourceignore": "*.yaml\n", "apps/.sourceignore": "!tests/*.yaml\n"}), nil},
		"a .sourceignore with nothing but comments":   {with(map[string]string{"apps/.sourceignore": "# a\n"}), nil},
		"directories only":                            {files, spec("x.yaml/\ntests/\n")},
		"double stars":                                {files, spec("**/tests/**\ndeploy/**/y.yaml\n")},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := new(source.Ignorer).Apply(tree.FromFiles(c.files), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := visible(t, at), likeFlux(t, c.files, c.spec); !maps.Equal(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
		})
	}
}

func TestIgnoreHidesWhatFluxHidesAtRandom(t *testing.T) {
	var shared source.Ignorer // what it remembers must not change an answer
	elements := []string{"a", "b", "c", "d.png", "e.yaml", ".github"}
	pick := func(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rules := func() string {
			var b strings.Builder
			for range rng.IntN(4) {
				var parts []string
				for range 1 + rng.IntN(3) {
					parts = append(parts, pick(rng, append(elements, "*", "**", "*.yaml", "?")))
				}
				fmt.Fprintf(&b, "%s%s%s%s\n", pick(rng, []string{"", "", "!"}), pick(rng, []string{"", "/"}), strings.Join(parts, "/"), pick(rng, []string{"", "/", " "}))
			}
			return b.String()
		}
		files := make(map[string]string)
		for range 2 + rng.IntN(12) {
			var parts []string
			for range 1 + rng.IntN(4) {
				parts = append(parts, pick(rng, elements))
			}
			name := strings.Join(parts, "/")
			clash := false
			for other := range files {
				clash = clash || strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/")
			}
			if !clash {
				files[name] = "x"
			}
		}
		for name := range maps.Clone(files) {
			if dir := path.Dir(name); rng.IntN(4) == 0 {
				files[path.Join(dir, ".sourceignore")] = rules()
			}
		}
		var spec *string
		if rng.IntN(2) == 0 {
			s := rules()
			spec = &s
		}
		at, err := shared.Apply(tree.FromFiles(files), spec)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := visible(t, at), likeFlux(t, files, spec); !maps.Equal(got, want) {
			t.Fatalf("seed %d: files %q, spec %v:\ngot  %v\nwant %v", seed, files, spec, got, want)
		}
	}
}

func TestIgnoredFilesDoNotExist(t *testing.T) {
	at, err := new(source.Ignorer).Apply(tree.FromFiles(map[string]string{"a.png": "", "b.yaml": ""}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := at.Lookup("a.png"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lookup: %v", err)
	}
	if _, err := at.ReadFile("a.png"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	if _, err := at.ReadDir(".github"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list: %v", err)
	}
}

func BenchmarkIgnoreLookup(b *testing.B) {
	at, err := new(source.Ignorer).Apply(tree.FromFiles(map[string]string{"apps/web/overlays/production/kustomization.yaml": ""}), nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := at.Lookup("apps/web/overlays/production/kustomization.yaml"); err != nil {
			b.Fatal(err)
		}
	}
}
