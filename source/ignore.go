package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/sourceignore/gitignore"

	"plumb.dev/plumb/tree"
)

// An Ignorer leaves out of a tree what Flux leaves out of an artifact. It
// remembers which directories hold ignore files, so that a new revision costs
// what changed in it. It is safe for concurrent use; the zero value is ready.
type Ignorer struct {
	mu  sync.Mutex
	has map[tree.ID]bool
}

// maxRemembered bounds what an Ignorer remembers, at some 100 bytes each.
const maxRemembered = 200_000

// Apply returns t without what is ignored. Rules are, the later the stronger:
// Git's own files; Flux's default exclusions, only if there are no other rules;
// .sourceignore of the root, and of each directory for what is below it; spec,
// which is spec.ignore of a source. As in Flux, a rule that starts with ! shows
// a file again even if its directory was excluded.
//
// A .sourceignore that is a symbolic link is not read.
func (g *Ignorer) Apply(t tree.Tree, spec *string) (tree.Tree, error) {
	var strong []gitignore.Pattern
	text := ""
	if spec != nil {
		text = *spec
		strong = sourceignore.ReadPatterns(strings.NewReader(text), nil)
	}
	weak := sourceignore.VCSPatterns(nil)
	mode := "own"
	if len(strong) == 0 {
		any, err := g.holds(t, ".")
		if err != nil {
			return nil, err
		}
		if !any {
			weak = append(weak, sourceignore.DefaultPatterns(nil)...)
			mode = "default"
		}
	}
	root := &scope{g: g, t: t, strong: strong, weak: weak, git: len(sourceignore.VCSPatterns(nil)), given: len(weak), id: digest("ignore", mode, text)}
	root.learn(text)
	if mode == "default" {
		for _, list := range []string{sourceignore.ExcludeExt, sourceignore.ExcludeCI, sourceignore.ExcludeExtra} {
			root.learn(strings.ReplaceAll(list, ",", "\n"))
		}
	}
	root.learn(strings.ReplaceAll(sourceignore.ExcludeVCS, ",", "\n"))
	in, err := root.Enter(".")
	if err != nil {
		return nil, err
	}
	return tree.Filter(t, in), nil
}

// holds reports whether dir or something below it has a rule in a
// .sourceignore.
func (g *Ignorer) holds(t tree.Tree, dir string) (bool, error) {
	e, err := t.Lookup(dir)
	if err != nil {
		return false, err
	}
	return g.below(t, dir, e.ID)
}

func (g *Ignorer) below(t tree.Tree, dir string, id tree.ID) (bool, error) {
	g.mu.Lock()
	got, ok := g.has[id]
	g.mu.Unlock()
	if ok && id != "" {
		return got, nil
	}
	entries, err := t.ReadDir(dir)
	if err != nil {
		return false, err
	}
	found := false
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		switch {
		case e.Kind == tree.File && e.Name == sourceignore.IgnoreFile:
			b, err := t.ReadFile(name)
			if err != nil {
				return false, err
			}
			found = len(sourceignore.ReadPatterns(strings.NewReader(string(b)), nil)) > 0
		case e.Kind == tree.Dir:
			if found, err = g.below(t, name, e.ID); err != nil {
				return false, err
			}
		}
		if found {
			break
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.has == nil || len(g.has) >= maxRemembered {
		g.has = make(map[tree.ID]bool)
	}
	g.has[id] = found
	return found, nil
}

// A scope is the rules of one directory.
type scope struct {
	g            *Ignorer
	t            tree.Tree
	weak, strong []gitignore.Pattern
	git, given   int // of weak, how many are Git's own files, and how many come from no file
	id           tree.ID

	hints  hints
	negate bool
}

var _ tree.Scope = (*scope)(nil)

func digest(parts ...string) tree.ID {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return tree.ID("rules:" + hex.EncodeToString(h.Sum(nil)))
}

// Enter implements tree.Scope.
func (s *scope) Enter(dir string) (tree.Scope, error) {
	name := path.Join(dir, sourceignore.IgnoreFile)
	e, err := s.t.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && e.Kind != tree.File {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := s.t.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	found := sourceignore.ReadPatterns(strings.NewReader(string(b)), domain)
	if len(found) == 0 {
		return s, nil
	}
	in := *s
	in.weak = append(append([]gitignore.Pattern(nil), s.weak...), found...)
	in.id = digest(string(s.id), dir, string(b))
	in.hints = s.hints.clone()
	in.learn(string(b))
	return &in, nil
}

// Hides implements tree.Scope.
func (s *scope) Hides(name string, dir bool) bool {
	hides, _, _ := s.rule(name, dir)
	return hides
}

// rule returns what the strongest rule about a name says, and which of strong
// or weak that is.
func (s *scope) rule(name string, dir bool) (hides, strong bool, at int) {
	if !s.hints.mayMatch(name) {
		return false, false, 0
	}
	parts := strings.Split(name, "/")
	for _, rules := range [][]gitignore.Pattern{s.strong, s.weak} {
		strong = !strong
		for i := len(rules) - 1; i >= 0; i-- {
			switch rules[i].Match(parts, dir) {
			case gitignore.Exclude:
				return true, strong, i
			case gitignore.Include:
				return false, strong, i
			}
		}
	}
	return false, false, 0
}

// Excludes implements tree.Scope.
func (s *scope) Excludes(name string, dir bool) *tree.Excluded {
	_, strong, i := s.rule(name, dir)
	pattern := "!/" + name
	if ext := path.Ext(name); ext != "" && !dir {
		pattern = "!*" + ext
	}
	shown := "spec.ignore: '" + pattern + "'"
	switch {
	case strong:
		return &tree.Excluded{By: "spec.ignore", Shown: "the rule '" + pattern + "' at its end"}
	case i < s.git:
		return &tree.Excluded{By: "the rule for Git's own files", Shown: shown}
	case i < s.given:
		return &tree.Excluded{By: "default exclusions", Shown: shown}
	}
	return &tree.Excluded{By: sourceignore.IgnoreFile, Shown: shown}
}

// Reincludes implements tree.Scope. A hidden directory can hold a
// .sourceignore that shows some of it.
func (s *scope) Reincludes(name string, id tree.ID) (bool, error) {
	if s.negate {
		return true, nil
	}
	return s.g.below(s.t, name, id)
}

// ID implements tree.Scope.
func (s *scope) ID() tree.ID { return s.id }

// learn notes what rules are about.
func (s *scope) learn(text string) {
	for line := range strings.Lines(text) {
		rule := strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(rule, "#") || strings.TrimSpace(rule) == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(rule, "!"); ok {
			s.negate = true
			rule = rest
		}
		s.hints.add(rule)
	}
}

// hints tell in a few comparisons that no rule can match a name, which is so
// for nearly all of them; asking each rule takes a hundred times as long. Every
// rule needs some element of a name to match the last of its own.
type hints struct {
	names    map[string]bool
	suffixes []string
	any      bool // some rule is more than a name or *suffix
}

func (h *hints) add(rule string) {
	rule = strings.TrimRight(rule, "/ ")
	last := rule[strings.LastIndexByte(rule, '/')+1:]
	switch {
	case last == "":
		h.any = true
	case !strings.ContainsAny(last, `*?[\ `):
		if h.names == nil {
			h.names = make(map[string]bool)
		}
		h.names[last] = true
	case last[0] == '*' && len(last) > 1 && !strings.ContainsAny(last[1:], `*?[\ `):
		h.suffixes = append(h.suffixes, last[1:])
	default:
		h.any = true
	}
}

func (h hints) clone() hints {
	out := hints{names: make(map[string]bool, len(h.names)), suffixes: append([]string(nil), h.suffixes...), any: h.any}
	for n := range h.names {
		out.names[n] = true
	}
	return out
}

func (h hints) mayMatch(name string) bool {
	if h.any {
		return true
	}
	for rest, more := name, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if h.names[part] {
			return true
		}
		for _, s := range h.suffixes {
			if strings.HasSuffix(part, s) {
				return true
			}
		}
	}
	return false
}
