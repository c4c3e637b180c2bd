package kustomize

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/render"
)

// Kustomize decodes with encoding/json, which takes "Files" and "PATH" for
// files and path. Here a field has one spelling, so that what a file seems to
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

// A speller checks the keys of a file against the types that it is decoded
// into.
type speller struct {
	file   string
	strict bool // a field that no type has is an error
}

func (s speller) bad(n *yaml.Node, format string, args ...any) error {
	return stall(render.BuildFailed, "", fmt.Errorf("%s:%d: %s", s.file, n.Line, fmt.Sprintf(format, args...)))
}

// check checks n against all types, each of which is decoded from it.
func (s speller) check(n *yaml.Node, all ...reflect.Type) error {
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
		if err := s.check(c, elems...); err != nil {
			return err
		}
	}
	return nil
}

// mapping checks a mapping that is decoded into structs.
func (s speller) mapping(n *yaml.Node, structs []reflect.Type) error {
	fields := map[string][]reflect.Type{}
	for _, t := range structs {
		for name, f := range fieldsOf(t) {
			fields[name] = append(fields[name], f)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == mergeKey && k.Tag != "!!merge" {
			// Some libraries merge what it names, and some don't.
			return s.bad(k, "the key %q in quotes", mergeKey)
		}
		if k.Value == mergeKey {
			if err := s.merged(v, structs); err != nil {
				return err
			}
			continue
		}
		if types, ok := fields[k.Value]; ok {
			if err := s.check(v, types...); err != nil {
				return err
			}
			continue
		}
		for name := range fields {
			if s.strict && k.Value == "fieldpath" {
				break // of vars; Kustomize's own documentation has it so
			}
			if strings.EqualFold(name, k.Value) {
				return s.bad(k, "the field %q is spelled %s", k.Value, name)
			}
		}
		if _, ok := fields["fieldPath"]; ok && k.Value == "fieldpath" {
			continue
		}
		if s.strict {
			return s.bad(k, "unknown field %q", k.Value)
		}
	}
	return nil
}

const mergeKey = "<<"

// merged checks what a merge key brings: a mapping, or several.
func (s speller) merged(v *yaml.Node, structs []reflect.Type) error {
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	if v.Kind != yaml.SequenceNode {
		return s.check(v, structs...)
	}
	for _, c := range v.Content {
		if err := s.check(c, structs...); err != nil {
			return err
		}
	}
	return nil
}

// known returns v without the fields that none of the types it is decoded into
// has.
func known(v any, all ...reflect.Type) any {
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
				out[name] = known(e, types...)
			}
		}
		return out
	case []any:
		if len(elems) == 0 {
			return v
		}
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = known(e, elems...)
		}
		return out
	}
	return v
}

// plugins are the plugins that are built into Kustomize, and the types that it
// decodes their configurations into. HelmChartInflationGenerator is one too,
// and not here: it starts a program.
var plugins = map[string][]reflect.Type{
	"AnnotationsTransformer":         {reflect.TypeFor[builtins.AnnotationsTransformerPlugin]()},
	"ConfigMapGenerator":             {reflect.TypeFor[builtins.ConfigMapGeneratorPlugin]()},
	"HashTransformer":                {reflect.TypeFor[builtins.HashTransformerPlugin]()},
	"IAMPolicyGenerator":             {reflect.TypeFor[builtins.IAMPolicyGeneratorPlugin]()},
	"ImageTagTransformer":            {reflect.TypeFor[builtins.ImageTagTransformerPlugin]()},
	"LabelTransformer":               {reflect.TypeFor[builtins.LabelTransformerPlugin]()},
	"NamespaceTransformer":           {reflect.TypeFor[builtins.NamespaceTransformerPlugin]()},
	"PatchJson6902Transformer":       {reflect.TypeFor[builtins.PatchJson6902TransformerPlugin]()},
	"PatchStrategicMergeTransformer": {reflect.TypeFor[builtins.PatchStrategicMergeTransformerPlugin]()},
	"PatchTransformer":               {reflect.TypeFor[builtins.PatchTransformerPlugin]()},
	"PrefixSuffixTransformer":        {reflect.TypeFor[builtins.PrefixTransformerPlugin](), reflect.TypeFor[builtins.SuffixTransformerPlugin]()},
	"PrefixTransformer":              {reflect.TypeFor[builtins.PrefixTransformerPlugin]()},
	"ReplacementTransformer":         {reflect.TypeFor[builtins.ReplacementTransformerPlugin]()},
	"ReplicaCountTransformer":        {reflect.TypeFor[builtins.ReplicaCountTransformerPlugin]()},
	"SecretGenerator":                {reflect.TypeFor[builtins.SecretGeneratorPlugin]()},
	"SuffixTransformer":              {reflect.TypeFor[builtins.SuffixTransformerPlugin]()},
	"ValueAddTransformer":            {reflect.TypeFor[builtins.ValueAddTransformerPlugin]()},
}

// pluginHead is what a configuration has beside the fields of its plugin.
var pluginHead = reflect.TypeFor[struct {
	types.TypeMeta `json:",inline"`
	Metadata       types.ObjectMeta `json:"metadata"`
}]()
