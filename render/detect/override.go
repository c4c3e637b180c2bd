package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"go.yaml.in/yaml/v3"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	k8syaml "sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
	"plumb.dev/plumb/tree"
)

// An overrideFile has the fields that a file may have.
type overrideFile struct {
	Sections

	// Which source it is, a file in it does not say.
	RepoURL        any `json:"repoURL"`
	Path           any `json:"path"`
	TargetRevision any `json:"targetRevision"`
	Chart          any `json:"chart"`
	Ref            any `json:"ref"`
	Name           any `json:"name"`
	TagPrefix      any `json:"tagPrefix"`
}

// without are those of them that change nothing.
var without = []string{"repoURL", "path", "targetRevision", "chart", "ref", "name", "tagPrefix"}

// ofOverrides bound a file.
var ofOverrides = manifest.Limits{Depth: 100, Expanded: 50_000, Documents: 2}

// largestOverride is the largest file, in bytes.
const largestOverride = 1 << 20

// override merges a file over the sections, if it is there.
func (s *Sections) override(t tree.Tree, file string) (warnings []string, err error) {
	b, err := content(t, file)
	if err != nil || b == nil {
		return nil, err
	}
	root, err := document(b, file)
	if err != nil || root == nil {
		return nil, err
	}
	for _, name := range without {
		if manifest.Field(root, name) != nil {
			warnings = append(warnings, fmt.Sprintf("%s:%d: %s changes nothing here", file, manifest.LineAt(root, []string{name}), name))
		}
	}
	patch, err := k8syaml.YAMLToJSON(b)
	if err != nil {
		return nil, bad("%s: not what JSON can say", file)
	}
	was, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	is, err := jsonpatch.MergePatch(was, patch)
	if err != nil {
		return nil, bad("%s: it can't be merged", file)
	}
	var merged Sections // what s points to is not its own
	if err := json.Unmarshal(is, &merged); err != nil {
		if wrong := manifest.Mistyped(err, root, file); wrong != nil {
			return nil, wrong
		}
		return nil, bad("%s: it can't be decoded", file)
	}
	*s = merged
	return warnings, nil
}

// content returns what a file holds, or nil if there is none.
func content(t tree.Tree, file string) ([]byte, error) {
	name, err := tree.Resolve(t, file)
	if err != nil {
		return nil, err
	}
	e, err := t.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && e.Kind != tree.File {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := t.ReadFile(name)
	if err == nil && len(b) > largestOverride {
		return nil, &fault.Error{Next: fault.Stall, Reason: render.TooLarge, Err: fmt.Errorf("%s is larger than %d MiB", file, largestOverride>>20)}
	}
	return b, err
}

// document returns the sections of a file, checked, or nil if it is empty.
func document(b []byte, file string) (*yaml.Node, error) {
	roots, err := manifest.Parse(b, file, ofOverrides)
	if err != nil || len(roots) == 0 {
		return nil, err
	}
	if len(roots) > 1 || roots[0].Kind != yaml.MappingNode {
		return nil, bad("%s:%d: it holds one document, with sections: directory, kustomize", file, roots[len(roots)-1].Line)
	}
	return roots[0], manifest.Speller{File: file, Strict: true}.Check(roots[0], reflect.TypeFor[overrideFile]())
}

func bad(format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: render.BuildFailed, Err: fmt.Errorf(format, args...)}
}
