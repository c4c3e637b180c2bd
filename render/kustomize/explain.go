package kustomize

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
)

// explain gives an error the words that people know: names as they are in the
// repository, and nothing out of a Secret, where Kustomize quotes whole objects.
func (s *source) explain(err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case s.err != nil && errors.Is(err, s.err):
		return err // about the store or the context
	}
	if twice := s.twice(err); twice != nil {
		return twice
	}
	msg := strings.Join(strings.Fields(err.Error()), " ")
	msg = strings.ReplaceAll(msg, mount+"/", "")
	msg = strings.ReplaceAll(msg, mount, ".")
	msg = render.Mask(msg, s.secrets())
	reason := fault.Reason(render.BuildFailed)
	if cyclic(msg) {
		reason = "RenderCycle"
	}
	return render.Stall(reason, "", render.Quote(msg))
}

// twice names the places of an object that is there twice.
func (s *source) twice(err error) error {
	ref, ok := registeredTwice(err.Error())
	if !ok {
		return nil
	}
	var places []string
	for file, d := range s.checked {
		for _, root := range d {
			meta := manifest.Field(root, "metadata")
			if manifest.Text(root, "kind") == ref.Kind && manifest.Text(meta, "name") == ref.Name && manifest.Text(meta, "namespace") == ref.Namespace {
				places = append(places, fmt.Sprintf("%s:%d", file, root.Line))
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	slices.Sort(places)
	if len(places) == 1 {
		return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %s is built more than once", places[0], ref))
	}
	return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %s is there more than once: %s", places[1], ref, strings.Join(places, ", ")))
}

// secrets returns the texts of the repository that no message may quote.
func (s *source) secrets() []string {
	var found []string
	add := func(text string) { found = append(found, render.Lines(text)...) }
	for name, d := range s.checked {
		for _, root := range d {
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
	return found
}

func (s *source) secretsIn(n *yaml.Node, add func(string)) {
	if manifest.Text(n, "kind") == "Secret" {
		for _, key := range []string{"data", "stringData"} {
			if f := manifest.Field(n, key); f != nil {
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
