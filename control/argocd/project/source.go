package project

import (
	"fmt"
	"strings"

	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/fault"
)

// A source is an entry of sourceRepos.
type source struct {
	rule
	deny    bool
	pattern address.Pattern
	scoped  *address.Address // a repository of the project's own, in place of a pattern
	err     error
}

func (q *Project) readSources(scoped []string) {
	for _, p := range q.parts {
		for _, text := range p.spec.SourceRepos {
			s := source{rule: rule{p.name, "sourceRepos", address.Show(text)}}
			text, s.deny = strings.CutPrefix(strings.TrimSpace(text), "!")
			if s.pattern, s.err = address.ParsePattern(text); s.err != nil {
				q.problem(s.rule, s.err)
			}
			q.sources = append(q.sources, s)
		}
	}
	for _, text := range scoped {
		// The Secret of one that is no address is named by whoever reads it.
		if a, err := address.Parse(text); err == nil {
			q.sources = append(q.sources, source{scoped: &a})
		}
	}
}

// Source reports why a repository may not be used.
func (q *Project) Source(repoURL string) error {
	words := fmt.Sprintf("application repo %s is not permitted in project '%s'", address.Show(repoURL), q.Name)
	a, err := address.Parse(repoURL)
	if err != nil {
		return fmt.Errorf("%s: %w", words, err)
	}
	allowed, unread := false, ""
	for _, s := range q.sources {
		switch {
		case s.deny && s.err != nil:
			return q.refuse(fault.InvalidSpec, words, fmt.Sprintf("%s can't be read and so denies all: %v", s.rule, s.err), "correct that entry")
		case s.err != nil:
			unread = fmt.Sprintf("; %s can't be read: %v", s.rule, s.err)
		case s.deny && s.pattern.Touches(a):
			return q.refuse(fault.InvalidSpec, words, fmt.Sprintf("%s denies it", s.rule), "use another repository, or take that entry out")
		case s.scoped != nil:
			allowed = allowed || s.scoped.Same(a)
		case s.deny:
			allowed = true // as Argo CD has it: what an entry does not deny, it allows
		default:
			allowed = allowed || s.pattern.Matches(a)
		}
	}
	if allowed {
		return nil
	}
	return q.refuse(fault.InvalidSpec, words, "no entry of the project's spec.sourceRepos matches it"+unread, "add it there, or use another repository")
}
