package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	yaml3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"

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
	var vars map[string]string
	if sub != nil {
		vars = make(map[string]string, len(sub.Vars))
		for _, name := range slices.Sorted(maps.Keys(sub.Vars)) {
			if !variableName.MatchString(name) {
				return nil, stall(buildFailed, "use letters, digits and _",
					fmt.Errorf("variable name %q is not valid", name))
			}
			// As Flux does: most values come from files that end in a newline.
			vars[name] = strings.ReplaceAll(sub.Vars[name], "\n", "")
		}
	}
	all := make([]named, 0, resources.Size())
	for _, r := range resources.Resources() {
		u, err := decode(r)
		if err != nil {
			return nil, err
		}
		n := named{u, object.RefOf(u)}
		if sub != nil && !sub.exempts(u) && mentions(u.Object) {
			if n.Unstructured, err = sub.apply(n, vars, s.limits); err != nil {
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

func (sub *Substitution) exempts(u *unstructured.Unstructured) bool {
	return sub.DisabledKey != "" &&
		(u.GetLabels()[sub.DisabledKey] == exempt || u.GetAnnotations()[sub.DisabledKey] == exempt)
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

// apply replaces the variables in the YAML text of n, so that ${n} becomes a
// number where n is one. The result has to have the shape of n: a value may
// not bring keys or objects with it.
func (sub *Substitution) apply(n named, vars map[string]string, l limits) (*unstructured.Unstructured, error) {
	u, bad := n.Unstructured, n.invalid
	schemas := detachSchemas(u)
	defer attachSchemas(u, schemas)
	text, err := yaml.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	// The parser recurses once for each variable, and copies the whole text
	// for each escape.
	if found := bytes.Count(text, []byte("$")); found > l.variables {
		return nil, tooLarge("%s: more than %d variables", n.as, l.variables)
	}
	if found := bytes.Count(text, []byte("$$")) + bytes.Count(text, []byte(`\`)); int64(found)*int64(len(text)) > l.copied {
		return nil, tooLarge("%s: too many escapes for an object of %d KiB", n.as, len(text)>>10)
	}
	unset := ""
	lookup := func(name string) (string, bool) {
		v, ok := vars[name]
		if !ok {
			unset = name
		}
		return v, ok || !sub.Strict
	}
	expanded, err := envsubst.Eval(string(text), lookup)
	switch {
	case err != nil && strings.Contains(err.Error(), "variable not set"):
		return nil, bad("variable %q is not set and has no default", unset)
	case err != nil:
		return nil, bad("substitution: %w", err) // says what is wrong, quotes nothing
	}
	if int64(len(expanded)) > l.written {
		return nil, tooLarge("%s: larger than %d MiB once its variables are replaced", n.as, l.written>>20)
	}
	if _, err := check([]byte(expanded), "", l); err != nil {
		return nil, bad("is not valid YAML any more once its variables are replaced: quote the variable where it stands, or look for quotes and colons in its value")
	}
	b, err := yaml.YAMLToJSON([]byte(expanded))
	if err != nil {
		return nil, bad("is not valid YAML any more once its variables are replaced")
	}
	out := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(b, &out.Object); err != nil {
		return nil, bad("is no object any more once its variables are replaced")
	}
	plain := func(s string) (string, error) { return envsubst.Eval(s, lookup) }
	if at, ok := sameShape(u.Object, out.Object, plain); !ok {
		return nil, bad("the value of a variable at %s would add structure: a variable stands for text, a number, or a list of them", at)
	}
	attachSchemas(out, schemas)
	return out, nil
}

// sameShape reports whether after has the mappings and lists of before, or
// where it doesn't. What was text may have become any scalar, or a list of
// scalars: [80, 443] for ${ports} is what people write.
func sameShape(before, after any, eval func(string) (string, error)) (at string, ok bool) {
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		if !ok || len(a) != len(b) {
			return "its place", false
		}
		for _, k := range slices.Sorted(maps.Keys(b)) {
			name := k
			if strings.Contains(k, "$") {
				expanded, err := eval(k)
				if err != nil {
					return k, false
				}
				name = expanded
			}
			v, ok := a[name]
			if !ok {
				return k, false
			}
			if at, ok := sameShape(b[k], v, eval); !ok {
				return join(k, at), false
			}
		}
	case []any:
		a, ok := after.([]any)
		if !ok || len(a) != len(b) {
			return "its place", false
		}
		for i := range b {
			if at, ok := sameShape(b[i], a[i], eval); !ok {
				return join(fmt.Sprint(i), at), false
			}
		}
	default:
		switch a := after.(type) {
		case map[string]any:
			return "its place", false
		case []any:
			text, isText := b.(string)
			if !isText || !strings.Contains(text, "$") {
				return "its place", false
			}
			for _, v := range a {
				switch v.(type) {
				case map[string]any, []any:
					return "its place", false
				}
			}
		}
	}
	return "", true
}

func join(k, at string) string {
	if at == "its place" {
		return k
	}
	return k + "." + at
}

// detachSchemas takes the schemas out of a CustomResourceDefinition. Their
// descriptions and patterns are full of ${}, and none of it is a variable.
func detachSchemas(u *unstructured.Unstructured) map[int]any {
	if u.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	versions, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "versions")
	list, _ := versions.([]any)
	schemas := map[int]any{}
	for i, v := range list {
		if version, ok := v.(map[string]any); ok {
			if schema, ok := version["schema"]; ok {
				schemas[i] = schema
				delete(version, "schema")
			}
		}
	}
	return schemas
}

func attachSchemas(u *unstructured.Unstructured, schemas map[int]any) {
	if len(schemas) == 0 {
		return
	}
	versions, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "versions")
	list, _ := versions.([]any)
	for i, v := range list {
		if version, ok := v.(map[string]any); ok && schemas[i] != nil {
			version["schema"] = schemas[i]
		}
	}
}
