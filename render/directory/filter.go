package directory

import (
	"fmt"
	"path"
	"slices"

	"github.com/gobwas/glob"

	"plumb.dev/plumb/render"
)

// extensions are those of files that are read if nothing else is said.
var extensions = []string{".yaml", ".yml", ".json", ".jsonnet"}

// filter returns what tells whether a file is read, by its name below the
// directory.
func (o Options) filter() (func(rel string) bool, error) {
	excluded, err := compile("exclude", o.Exclude)
	if err != nil {
		return nil, err
	}
	included, err := compile("include", o.Include)
	if err != nil {
		return nil, err
	}
	return func(rel string) bool {
		switch {
		case slices.Contains(o.Except, rel):
			return false
		case !o.DisableExtensionFilter && !slices.Contains(extensions, path.Ext(rel)):
			return false
		case excluded != nil && excluded.Match(rel):
			return false
		}
		return included == nil || included.Match(rel)
	}, nil
}

// longestGlob is the longest glob, in bytes.
const longestGlob = 4 << 10

// compile returns a glob, or nil for an empty one. Argo CD's users write what
// this library takes.
func compile(field, pattern string) (*glob.Pattern, error) {
	if pattern == "" {
		return nil, nil
	}
	if len(pattern) > longestGlob {
		return nil, invalid("directory.%s is longer than %d bytes", field, longestGlob)
	}
	g, err := glob.Compile(pattern)
	if err != nil {
		return nil, render.Stall(render.BuildFailed, `write it as *.yaml or {a/*,b.yaml}; \ takes the meaning from the character after it`,
			fmt.Errorf("directory.%s: %q is no glob: %w", field, pattern, err))
	}
	return g, nil
}
