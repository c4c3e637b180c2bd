package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render/schema"
)

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// A named is an object, and what messages call it: by the name that it had
// before its variables were replaced, since no value may appear in them.
type named struct {
	*unstructured.Unstructured
	as object.Ref
}

func (n named) invalid(format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: BuildFailed, Object: n.as, Err: fmt.Errorf(format, args...)}
}

// substitute replaces the variables of objects.
func substitute(ctx context.Context, built []*unstructured.Unstructured, sub *Substitution, l limits) ([]named, error) {
	all := make([]named, len(built))
	for i, u := range built {
		all[i] = named{u, object.RefOf(u)}
	}
	if sub == nil || len(sub.Vars) == 0 && !sub.Always {
		return all, nil
	}
	x, err := sub.expander(l)
	if err != nil {
		return nil, err
	}
	release, err := schema.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	for i, n := range all {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if sub.exempts(n.Unstructured) || !mentions(n.Object) {
			continue
		}
		if all[i].Unstructured, err = x.apply(n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// expander returns what replaces the variables.
func (sub *Substitution) expander(l limits) (*expander, error) {
	x := &expander{limits: l, strict: sub.Strict, vars: make(map[string]string, len(sub.Vars))}
	for _, name := range slices.Sorted(maps.Keys(sub.Vars)) {
		if !variableName.MatchString(name) {
			return nil, Stall(BuildFailed, "use letters, digits and _",
				fmt.Errorf("variable name %q is not valid", name))
		}
		// Most values come from files that end in a newline.
		x.vars[name] = strings.Trim(sub.Vars[name], "\r\n")
	}
	return x, nil
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
