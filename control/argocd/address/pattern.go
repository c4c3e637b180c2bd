package address

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/glob"
)

// A Pattern stands for addresses of repositories.
type Pattern struct {
	text  string
	all   bool
	globs []matcher
}

// A matcher is one of the alternatives that a pattern has.
type matcher struct {
	form func(string) bool
	bare func(string) bool // of SSH, without a user; nil: it is not of SSH
}

// ParsePattern reads a pattern. An error says why it can't stand for anything;
// whoever has one decides what that means.
func ParsePattern(s string) (Pattern, error) {
	p := Pattern{text: strings.Trim(s, " \t\r\n")}
	if p.text == "*" {
		p.all = true
		return p, nil
	}
	alternatives, err := expand(p.text)
	if err != nil {
		return p, err
	}
	for _, text := range alternatives {
		m, err := compile(text)
		if err != nil {
			return p, err
		}
		p.globs = append(p.globs, m)
	}
	return p, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Matches reports whether p stands for a. What is of SSH is compared without its
// scheme, as Argo CD has it: git@host/path.
func (p Pattern) Matches(a Address) bool {
	form := withoutSSH(a.String())
	return p.all || slices.ContainsFunc(p.globs, func(m matcher) bool { return m.form(form) })
}

func withoutSSH(form string) string { return strings.TrimPrefix(form, "ssh://") }

// Touches is Matches for a pattern that denies. Whoever an SSH server is asked
// as, the repository is the same; and a glob may stand for the scheme ssh too.
func (p Pattern) Touches(a Address) bool {
	if p.Matches(a) {
		return true
	}
	if a.scheme != "ssh" {
		return false
	}
	bare := a.form("")
	return slices.ContainsFunc(p.globs, func(m matcher) bool {
		return m.form(a.String()) || m.form(bare) || m.bare != nil && m.bare(withoutSSH(bare))
	})
}

func compile(text string) (m matcher, err error) {
	form, bare, err := canonical(text)
	if err != nil {
		return m, err
	}
	if m.form, err = match(form, '/'); err == nil && bare != "" {
		m.bare, err = match(bare, '/')
	}
	return m, err
}

// match makes a function of a glob, whose * stops at the separators.
func match(text string, separators ...rune) (func(string) bool, error) {
	g, err := glob.Compile(text, separators...)
	if err != nil {
		return nil, errors.New("it is no glob")
	}
	return g.Match, nil
}

// canonical brings a pattern without alternatives to the form of addresses, as
// far as what it says is no glob. bare is the same without a user, of SSH.
func canonical(text string) (form, bare string, err error) {
	if text == "" || len(text) > maxLength || strings.ContainsFunc(text, unfit) {
		return "", "", errors.New("it is empty, too long, or has a space or an invisible character in it")
	}
	scheme, authority, path := split(text)
	if scheme == "" && strings.ContainsAny(authority, "*?[") || scheme != "ssh" && strings.Contains(authority, "**") {
		// What its first part stands for, the server or more, can't be told.
		scheme, rest, has := strings.Cut(text, "://")
		if !has {
			scheme, rest = "", text
		}
		if rest, err = patternPath(rest); has {
			rest = lower(scheme) + "://" + rest
		}
		return rest, "", err
	}
	user, host := cutLast(authority, "@")
	user, _, _ = strings.Cut(user, ":")
	if host, err = patternHost(scheme, host); err != nil {
		return "", "", err
	}
	if path, err = patternPath(path); err != nil {
		return "", "", err
	}
	form = host + path
	switch {
	case scheme == "ssh" && user == "":
		return "git@" + form, form, nil
	case scheme == "ssh":
		return lower(user) + "@" + form, form, nil
	case strings.Contains(text, "://"):
		return scheme + "://" + form, "", nil
	}
	return form, "", nil
}

// patternHost is a host and port with globs in them.
func patternHost(scheme, s string) (string, error) {
	if !strings.ContainsAny(s, "*?{") && (!strings.Contains(s, "[") || strings.HasPrefix(s, "[") && strings.Contains(s, ":")) {
		host, port, err := hostPort(scheme, s)
		if host = glob.QuoteMeta(host); port != "" {
			host += ":" + port
		}
		return host, err
	}
	s = lower(s)
	if strings.ContainsFunc(s, func(c rune) bool { return c > 0x7f }) {
		return "", errors.New("its host has letters of another script beside a glob: write them as xn--…")
	}
	if port := ports[scheme]; port != "" {
		s = strings.TrimSuffix(s, ":"+port)
	}
	return s, nil
}

// patternPath is a path with globs in it.
func patternPath(s string) (string, error) {
	s, err := unescape(s)
	if err != nil {
		return "", err
	}
	s = lower(s)
	for part := range strings.SplitSeq(s, "/") {
		if part == "." || part == ".." {
			return "", fmt.Errorf("its path has %s in it, which no address has", part)
		}
	}
	for strings.Contains(s, "//") {
		s = strings.ReplaceAll(s, "//", "/")
	}
	s = strings.TrimSuffix(strings.TrimRight(s, "/"), ".git")
	return strings.TrimRight(s, "/"), nil
}

// maxAlternatives is how many patterns one may stand for.
const maxAlternatives = 1000

// expand writes {a,b} out.
func expand(s string) ([]string, error) {
	open, depth := -1, 0
	var commas []int
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '{':
			if depth++; depth == 1 {
				open = i
			}
		case c == ',' && depth == 1:
			commas = append(commas, i)
		case c == '}' && depth == 0:
			return nil, errors.New("it is no glob: a } closes nothing")
		case c == '}':
			if depth--; depth > 0 {
				continue
			}
			return alternatives(s, open, append(commas, i))
		}
	}
	if depth > 0 {
		return nil, errors.New("it is no glob: a { is not closed")
	}
	return []string{s}, nil
}

// alternatives writes out what is between open and the ends.
func alternatives(s string, open int, ends []int) (all []string, err error) {
	from := open + 1
	for _, end := range ends {
		more, err := expand(s[:open] + s[from:end] + s[ends[len(ends)-1]+1:])
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > maxAlternatives {
			return nil, fmt.Errorf("it has more than %d alternatives", maxAlternatives)
		}
		from = end + 1
	}
	return all, nil
}
