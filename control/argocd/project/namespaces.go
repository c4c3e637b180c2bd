package project

import (
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// Namespaces are patterns of namespaces: globs, or regular expressions between
// slashes, which may look ahead: /^((?!kube-).)*$/.
type Namespaces struct {
	match []func(string) bool
}

// expressionTime is how long a regular expression may take. One that takes
// longer does not match.
const expressionTime = 100 * time.Millisecond

// NewNamespaces reads patterns, and returns an error for each that can't be
// read. Such a one matches nothing.
func NewNamespaces(patterns []string) (n Namespaces, bad []error) {
	for _, p := range patterns {
		match, err := namespacePattern(p)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		n.match = append(n.match, match)
	}
	return n, bad
}

func namespacePattern(p string) (func(string) bool, error) {
	inner, opened := strings.CutPrefix(p, "/")
	inner, closed := strings.CutSuffix(inner, "/")
	if !opened || !closed {
		return compile(p)
	}
	if len(inner) > maxGlob {
		return nil, fmt.Errorf("it has more than %d characters", maxGlob)
	}
	re, err := regexp2.Compile(inner)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression", p)
	}
	re.MatchTimeout = expressionTime
	return func(s string) bool {
		ok, err := re.MatchString(s)
		return ok && err == nil
	}, nil
}

// Match reports whether a pattern matches a namespace.
func (n Namespaces) Match(namespace string) bool {
	for _, match := range n.match {
		if match(namespace) {
			return true
		}
	}
	return false
}
