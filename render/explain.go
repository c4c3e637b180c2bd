package render

import (
	"errors"
	"slices"
	"strings"

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
	if err == s.err && !isFault(err) {
		return err // the store or the context, not the repository
	}
	if isFault(err) {
		return err
	}
	msg := strings.ReplaceAll(oneLine(err.Error()), mount+"/", "")
	msg = strings.ReplaceAll(msg, mount, ".")
	for _, secret := range s.secrets(o) {
		msg = strings.ReplaceAll(msg, secret, "***")
	}
	if len(msg) > longest {
		msg = strings.ToValidUTF8(msg[:longest], "") + " …"
	}
	reason := buildFailed
	if strings.Contains(msg, "cycle detected") {
		reason = "RenderCycle"
	}
	return stall(reason, "", errors.New(msg))
}

func isFault(err error) bool {
	var f *fault.Error
	return errors.As(err, &f)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

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
				for _, v := range f.Content {
					if v.Kind == yaml.ScalarNode {
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

