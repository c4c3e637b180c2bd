package manifest

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
)

// Who decodes with encoding/json takes "Files" and "PATH" for files and path. Here a field has one spelling, so that what a file seems to
// say is what it says.

// fieldsOf returns the fields that encoding/json decodes into t, by name.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			for name, inner := range fieldsOf(f.Type) {
				if _, ok := fields[name]; !ok {
					fields[name] = inner
				}
			}
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		fields[name] = f.Type
	}
	return fields
}

// A Speller checks the keys of a file against the types that it is decoded
// into.
type Speller struct {
	File   string
	Strict bool // a field that no type has is an error
}

func (s Speller) bad(n *yaml.Node, format string, args ...any) error {
	return render.Stall(render.BuildFailed, "", fmt.Errorf("%s:%d: %s", s.File, n.Line, fmt.Sprintf(format, args...)))
}

// Check checks n against all types, each of which is decoded from it.
func (s Speller) Check(n *yaml.Node, all ...reflect.Type) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var structs, elems []reflect.Type
	for _, t := range all {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Struct:
			structs = append(structs, t)
		case reflect.Slice, reflect.Map:
			elems = append(elems, t.Elem())
		}
	}
	if n.Kind == yaml.MappingNode && len(structs) > 0 {
		return s.mapping(n, structs)
	}
	if len(elems) == 0 {
		return nil
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if err := s.Check(c, elems...); err != nil {
			return err
		}
	}
	return nil
}

// mapping checks a mapping that is decoded into structs.
func (s Speller) mapping(n *yaml.Node, structs []reflect.Type) error {
	fields := map[string][]reflect.Type{}
	for _, t := range structs {
		for name, f := range fieldsOf(t) {
			fields[name] = append(fields[name], f)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == MergeKey && k.Tag != "!!merge" {
			// Some libraries merge what it names, and some don't.
			return s.bad(k, "the key %q in quotes", MergeKey)
		}
		if k.Value == MergeKey {
			if err := s.merged(v, structs); err != nil {
				return err
			}
			continue
		}
		if types, ok := fields[k.Value]; ok {
			if err := s.Check(v, types...); err != nil {
				return err
			}
			continue
		}
		for name := range fields {
			if s.Strict && k.Value == "fieldpath" {
				break // of vars; Kustomize's own documentation has it so
			}
			if strings.EqualFold(name, k.Value) {
				return s.bad(k, "the field %q is spelled %s", k.Value, name)
			}
		}
		if _, ok := fields["fieldPath"]; ok && k.Value == "fieldpath" {
			continue
		}
		if s.Strict {
			return s.bad(k, "unknown field %q", k.Value)
		}
	}
	return nil
}

// MergeKey is the key of what is merged into a mapping.
const MergeKey = "<<"

// merged checks what a merge key brings: a mapping, or several.
func (s Speller) merged(v *yaml.Node, structs []reflect.Type) error {
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	if v.Kind != yaml.SequenceNode {
		return s.Check(v, structs...)
	}
	for _, c := range v.Content {
		if err := s.Check(c, structs...); err != nil {
			return err
		}
	}
	return nil
}

// Known returns v without the fields that none of the types it is decoded into
// has.
func Known(v any, all ...reflect.Type) any {
	var elems []reflect.Type
	fields := map[string][]reflect.Type{}
	for _, t := range all {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Struct:
			for name, f := range fieldsOf(t) {
				fields[name] = append(fields[name], f)
			}
		case reflect.Slice:
			elems = append(elems, t.Elem())
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if len(fields) == 0 {
			return v
		}
		out := map[string]any{}
		for name, e := range v {
			if types, ok := fields[name]; ok {
				out[name] = Known(e, types...)
			}
		}
		return out
	case []any:
		if len(elems) == 0 {
			return v
		}
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Known(e, elems...)
		}
		return out
	}
	return v
}
