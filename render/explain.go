package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/fault"
)

// longest is how much of a message of Kustomize's is passed on.
const longest = 600

// explain gives an error the form that people read: one line, names as they
// are in the repository, and nothing out of a Secret, where Kustomize quotes
// whole objects.
func (s *source) explain(err error, o Options) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		// File and object names may hold anything, too.
		if text := err.Error(); printable(text) != text {
			return &fault.Error{Next: known.Next, Reason: known.Reason, Err: errors.New(printable(text))}
		}
		return err
	case s.err != nil && errors.Is(err, s.err):
		return err // about the store or the context
	}
	if twice := s.twice(err); twice != nil {
		return twice
	}
	msg := strings.ReplaceAll(printable(err.Error()), mount+"/", "")
	msg = strings.ReplaceAll(msg, mount, ".")
	for _, secret := range s.secrets(o) {
		msg = strings.ReplaceAll(msg, secret, "***")
	}
	if len(msg) > longest {
		msg = strings.ToValidUTF8(msg[:longest], "") + " …"
	}
	reason := buildFailed
	if cyclic(msg) {
		reason = "RenderCycle"
	}
	return stall(reason, "", errors.New(msg))
}

// twice names the places of an object that is there twice.
func (s *source) twice(err error) error {
	ref, ok := registeredTwice(err.Error())
	if !ok {
		return nil
	}
	var places []string
	for file, d := range s.checked {
		for _, root := range d.roots {
			meta := field(root, "metadata")
			if scalar(root, "kind") == ref.Kind && scalar(meta, "name") == ref.Name && scalar(meta, "namespace") == ref.Namespace {
				places = append(places, fmt.Sprintf("%s:%d", file, root.Line))
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	slices.Sort(places)
	if len(places) == 1 {
		return stall(buildFailed, "", fmt.Errorf("%s: %s is built more than once", places[0], ref))
	}
	return stall(buildFailed, "", fmt.Errorf("%s: %s is there more than once: %s", places[1], ref, strings.Join(places, ", ")))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// printable is s on one line, without what a terminal might act on.
func printable(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		s = oneLine(s)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// secrets returns the texts that no message may quote, the longest first.
func (s *source) secrets(o Options) []string {
	var found []string
	add := func(text string) {
		for line := range strings.Lines(text) {
			// Shorter ones are in every second word.
			if line = oneLine(line); len(line) > 3 {
				found = append(found, line)
			}
		}
	}
	if o.Substitute != nil {
		for _, v := range o.Substitute.Vars {
			add(v)
		}
	}
	for name, d := range s.checked {
		for _, root := range d.roots {
			s.secretsIn(root, add)
			if k := (types.Kustomization{}); k.Unmarshal(s.files[name]) == nil {
				for _, g := range k.SecretGenerator {
					for _, l := range g.LiteralSources {
						_, v, _ := strings.Cut(l, "=")
						add(strings.Trim(v, `"'`))
					}
				}
			}
		}
	}
	for name := range s.data {
		for line := range strings.Lines(string(s.files[name])) {
			_, v, ok := strings.Cut(line, "=")
			if !ok {
				v = line
			}
			add(v)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(found)
}

func (s *source) secretsIn(n *yaml.Node, add func(string)) {
	if scalar(n, "kind") == "Secret" {
		for _, key := range []string{"data", "stringData"} {
			if f := field(n, key); f != nil {
				for i := 1; i < len(f.Content); i += 2 {
					if v := f.Content[i]; v.Kind == yaml.ScalarNode {
						add(v.Value)
					}
				}
			}
		}
	}
	for _, c := range n.Content {
		s.secretsIn(c, add)
	}
}
