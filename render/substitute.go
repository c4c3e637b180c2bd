package render

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

// substitute turns resources into objects, with their variables replaced.
func substitute(s *source, resources resmap.ResMap, sub *Substitution) (object.Set, error) {
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
	set := make(object.Set, 0, resources.Size())
	for _, r := range resources.Resources() {
		u, err := decode(r)
		if err != nil {
			return nil, err
		}
		if sub != nil && !sub.exempts(u) {
			if u, err = sub.apply(u, vars, s.limits); err != nil {
				return nil, err
			}
		}
		set = append(set, u)
	}
	return set, nil
}

func decode(r *resource.Resource) (*unstructured.Unstructured, error) {
	b, err := r.MarshalJSON()
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(b, &u.Object); err != nil {
		return nil, err
	}
	return u, nil
}

const exempt = "disabled"

func (sub *Substitution) exempts(u *unstructured.Unstructured) bool {
	return sub.DisabledKey != "" &&
		(u.GetLabels()[sub.DisabledKey] == exempt || u.GetAnnotations()[sub.DisabledKey] == exempt)
}

// apply replaces the variables in the YAML text of u, so that ${n} becomes a
// number where n is one. The text of the result has to have the shape of u:
// a value may not bring keys or objects with it. Messages name u as it was
// before, since no value may appear in them.
func (sub *Substitution) apply(u *unstructured.Unstructured, vars map[string]string, l limits) (*unstructured.Unstructured, error) {
	ref := object.RefOf(u)
	bad := func(format string, args ...any) error {
		return &fault.Error{Next: fault.Stall, Reason: buildFailed, Object: ref, Err: fmt.Errorf(format, args...)}
	}
	schemas := detachSchemas(u)
	defer attachSchemas(u, schemas)
	text, err := yaml.Marshal(u.Object)
	if err != nil {
		return nil, err
	}
	// The parser recurses once for each.
	if n := strings.Count(string(text), "$"); n > l.variables {
		return nil, tooLarge("%s: more than %d variables", ref, l.variables)
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
		return nil, tooLarge("%s: larger than %d MiB once its variables are replaced", ref, l.written>>20)
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
