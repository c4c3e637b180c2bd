package detect

import (
	"os"

	"plumb.dev/plumb/render/directory"
)

// An expander replaces variables in texts.
type expander struct {
	env      Env
	revision func() string // who calls it depends on the revision
}

// expand is a text with its variables replaced.
func (e expander) expand(text string) string {
	return os.Expand(text, func(name string) string {
		if name == "$" {
			return name
		}
		n, ok := e.env.Revision[name]
		if !ok {
			return e.env.Vars[name]
		}
		r := e.revision()
		if n > 0 {
			r = r[:min(n, len(r))]
		}
		return r
	})
}

// variables are those of Jsonnet, with values replaced.
func (e expander) variables(all []directory.Variable) []directory.Variable {
	out := make([]directory.Variable, len(all))
	for i, v := range all {
		v.Value = e.expand(v.Value)
		out[i] = v
	}
	return out
}

// values are a map with its values replaced.
func (e expander) values(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = e.expand(v)
	}
	return out
}
