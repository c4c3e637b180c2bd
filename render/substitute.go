package render

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yaml3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// A named is an object, and what messages call it: by the name that it had
// before its variables were replaced, since no value may appear in them.
type named struct {
	*unstructured.Unstructured
	as object.Ref
}

func (n named) invalid(format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: buildFailed, Object: n.as, Err: fmt.Errorf(format, args...)}
}

// substitute turns resources into objects, with their variables replaced.
func substitute(s *source, resources resmap.ResMap, sub *Substitution) ([]named, error) {
	if sub != nil && len(sub.Vars) == 0 && !sub.Always {
		sub = nil
	}
	x := expander{limits: s.limits}
	if sub != nil {
		x.strict = sub.Strict
		x.vars = make(map[string]string, len(sub.Vars))
		for _, name := range slices.Sorted(maps.Keys(sub.Vars)) {
			if !variableName.MatchString(name) {
				return nil, stall(buildFailed, "use letters, digits and _",
					fmt.Errorf("variable name %q is not valid", name))
			}
			// Most values come from files that end in a newline.
			x.vars[name] = strings.Trim(sub.Vars[name], "\r\n")
		}
	}
	if sub != nil {
		release, err := readSchema(s)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	all := make([]named, 0, resources.Size())
	for _, r := range resources.Resources() {
		u, err := decode(r)
		if err != nil {
			return nil, err
		}
		if err := s.ctx.Err(); err != nil {
			return nil, s.fail(context.Cause(s.ctx))
		}
		n := named{u, object.RefOf(u)}
		if sub != nil && !sub.exempts(u) && mentions(u.Object) {
			if n.Unstructured, err = x.apply(n); err != nil {
				return nil, err
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// decode returns what r.MarshalJSON decodes to, without the three texts that
// it takes to get there.
func decode(r *resource.Resource) (*unstructured.Unstructured, error) {
	v, err := value(r.YNode())
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a mapping", r.CurId())
	}
	return &unstructured.Unstructured{Object: m}, nil
}

func value(n *yaml3.Node) (any, error) {
	switch n.Kind {
	case yaml3.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		if 2*len(m) != len(n.Content) {
			return nil, fmt.Errorf("a mapping with keys %s has one of them twice", slices.Sorted(maps.Keys(m)))
		}
		return m, nil
	case yaml3.SequenceNode:
		l := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := value(c)
			if err != nil {
				return nil, err
			}
			l[i] = v
		}
		return l, nil
	case yaml3.ScalarNode:
		if n.ShortTag() == "!!str" {
			return n.Value, nil
		}
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	return number(v)
}

// number gives a scalar the type that it has after JSON, where 1.0 is 1 and a
// time is text.
func number(v any) (any, error) {
	switch x := v.(type) {
	case nil, string, bool:
		return x, nil
	case int:
		return int64(x), nil
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<63 {
			return int64(x), nil
		}
		return x, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, utiljson.Unmarshal(b, &out)
}

const exempt = "disabled"

// exempts reports whether an object asks to be left as it is. It looks at the
// maps themselves: one label that is no text does not take the others with it.
func (sub *Substitution) exempts(u *unstructured.Unstructured) bool {
	meta, _ := u.Object["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		if m, ok := meta[field].(map[string]any); ok && sub.DisabledKey != "" && m[sub.DisabledKey] == exempt {
			return true
		}
	}
	return false
}

// mentions reports whether any text in v would change: without a variable or
// an escape, none does.
func mentions(v any) bool {
	switch x := v.(type) {
	case string:
		return strings.Contains(x, "${") || strings.Contains(x, "$$")
	case []any:
		return slices.ContainsFunc(x, mentions)
	case map[string]any:
		for k, v := range x {
			if mentions(k) || mentions(v) {
				return true
			}
		}
	}
	return false
}

// apply replaces the variables in the texts of n.
func (x *expander) apply(n named) (*unstructured.Unstructured, error) {
	x.dollars, x.copied = 0, 0
	w := walker{x: x, version: n.GetAPIVersion(), kind: n.GetKind()}
	v, err := w.value(n.Object)
	var long outgrown
	switch {
	case errors.As(err, &long):
		return nil, tooLarge("%s: %s: %s", n.as, w.place(), long)
	case err != nil:
		return nil, n.invalid("%s: %w", w.place(), err)
	}
	return &unstructured.Unstructured{Object: v.(map[string]any)}, nil // of a map, a map
}

// A walker goes through an object. After an error, at is where it was.
type walker struct {
	x       *expander
	version string // apiVersion
	kind    string
	at      []string
}

func (w *walker) place() string { return strings.Join(w.at, ".") }

func (w *walker) value(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if !mentions(v) {
			return v, nil
		}
		return w.x.expand(v, w.textOnly())
	case map[string]any:
		if w.isSchema() {
			return v, nil
		}
		return w.mapping(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = w.below(strconv.Itoa(i), e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func (w *walker) mapping(m map[string]any) (any, error) {
	out := make(map[string]any, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		name := k
		if mentions(k) {
			expanded, err := w.x.expand(k, true)
			if err != nil {
				return nil, err
			}
			name = expanded.(string) // where only text may be, it is text
		}
		if _, ok := out[name]; ok {
			w.at = append(w.at, k)
			return nil, errors.New("the same key as another once variables are replaced")
		}
		v, err := w.below(k, m[k])
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

func (w *walker) below(name string, v any) (any, error) {
	w.at = append(w.at, name)
	if item, ok := v.(map[string]any); ok && len(w.at) == 2 && w.at[0] == "items" && strings.HasSuffix(w.kind, "List") {
		// An object of its own.
		kind, _ := item["kind"].(string)
		version, _ := item["apiVersion"].(string)
		inner := walker{x: w.x, version: version, kind: kind}
		out, err := inner.value(v)
		if err != nil {
			w.at = append(w.at, inner.at...)
			return nil, err
		}
		w.at = w.at[:len(w.at)-1]
		return out, nil
	}
	out, err := w.value(v)
	if err == nil {
		w.at = w.at[:len(w.at)-1]
	}
	return out, err
}

// isSchema reports whether w is at a schema of a CustomResourceDefinition.
// Their descriptions and patterns are full of ${}, and none of it is a
// variable.
func (w *walker) isSchema() bool {
	return w.kind == "CustomResourceDefinition" && len(w.at) == 4 && w.at[0] == "spec" && w.at[1] == "versions" && w.at[3] == "schema"
}
