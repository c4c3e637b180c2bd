package render

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"plumb.dev/plumb/fault"
)

// A shape is what a field of an object has to be, for the API server to decode
// it. Null is let through: the server takes it for nothing.
type shape struct {
	is     string // "text", "number", "boolean", "list", "map" or "base64"
	fields map[string]shape
	each   *shape // of a list or map
	plain  string // of base64: the field for what isn't
}

var (
	aText    = shape{is: "text"}
	aNumber  = shape{is: "number"}
	aBoolean = shape{is: "boolean"}
	texts    = shape{is: "map", each: &aText}
)

func bytesOr(plain string) shape {
	return shape{is: "map", each: &shape{is: "base64", plain: plain}}
}

// metadataShape is that of every object. What reads labels elsewhere gets none
// at all if one of them is not text, and must not: such an object goes no
// further.
var metadataShape = shape{is: "map", fields: map[string]shape{
	"name": aText, "namespace": aText, "generateName": aText, "labels": texts, "annotations": texts,
	"uid": aText, "resourceVersion": aText, "selfLink": aText, "creationTimestamp": aText, "deletionTimestamp": aText,
	"generation": aNumber, "deletionGracePeriodSeconds": aNumber,
	"finalizers": {is: "list", each: &aText},
	"ownerReferences": {is: "list", each: &shape{is: "map", fields: map[string]shape{
		"apiVersion": aText, "kind": aText, "name": aText, "uid": aText, "controller": aBoolean, "blockOwnerDeletion": aBoolean,
	}}},
	"managedFields": {is: "list", each: &shape{is: "map"}},
}}

var (
	objectShape    = shape{is: "map", fields: map[string]shape{"apiVersion": aText, "kind": aText, "metadata": metadataShape}}
	secretShape    = shape{is: "map", fields: map[string]shape{"data": bytesOr("stringData"), "stringData": texts, "type": aText, "immutable": aBoolean}}
	configMapShape = shape{is: "map", fields: map[string]shape{"data": texts, "binaryData": bytesOr("data"), "immutable": aBoolean}}
)

// A misfit is a field that is not what it has to be.
type misfit struct {
	at   []string
	what string
	hint string
}

// fits looks for a field of v that is not what s says. Null among texts
// becomes the empty text that the server takes it for.
func (s shape) fits(v any) *misfit {
	if v == nil {
		return nil
	}
	if is := nameOf(v); is != s.is && (s.is != "base64" || is != "text") {
		m := &misfit{what: fmt.Sprintf("is %s, not %s", article(is), article(s.is))}
		if s.is == "text" && (is == "number" || is == "boolean") {
			m.hint = "quote it"
		}
		return m
	}
	switch v := v.(type) {
	case string:
		if s.is == "base64" {
			if _, err := base64.StdEncoding.DecodeString(v); err != nil {
				return &misfit{what: "is not base64", hint: "encode it, or put the text into " + s.plain}
			}
		}
	case []any:
		for i, e := range v {
			if s.each != nil {
				if m := s.each.fits(e); m != nil {
					return m.in(strconv.Itoa(i))
				}
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			of, ok := s.fields[k]
			if s.each != nil {
				of, ok = *s.each, true
			}
			if !ok {
				continue
			}
			if v[k] == nil && s.each != nil && of.is == "text" {
				v[k] = ""
			}
			if m := of.fits(v[k]); m != nil {
				return m.in(k)
			}
		}
	}
	return nil
}

func (m *misfit) in(field string) *misfit {
	m.at = append([]string{field}, m.at...)
	return m
}

func nameOf(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case bool:
		return "boolean"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	}
	return "number"
}

func article(is string) string {
	if is == "text" || is == "base64" {
		return is
	}
	return "a " + is
}

// Encrypted reports whether SOPS has encrypted an object, or a file of
// mappings.
func Encrypted(m map[string]any) bool {
	meta, ok := m["sops"].(map[string]any)
	if !ok {
		return false
	}
	_, mac := meta["mac"]
	_, modified := meta["lastmodified"]
	return mac || modified
}

// wellFormed checks that the API server can decode what plumb and it read of
// every object.
func wellFormed(n named, built Built, o Options) error {
	if Encrypted(n.Object) && n.GetKind() != "SopsSecret" { // which an operator decrypts in the cluster
		return &fault.Error{
			Next: fault.Stall, Reason: DecryptionUnsupported, Object: n.as,
			Err: fmt.Errorf("%sis encrypted by SOPS, and this version of plumb does not decrypt", built.placeOf(n.as, nil)),
		}
	}
	shapes := []shape{objectShape}
	if n.GetAPIVersion() == "v1" {
		switch n.GetKind() {
		case "Secret":
			shapes = append(shapes, secretShape)
		case "ConfigMap":
			shapes = append(shapes, configMapShape)
		}
	}
	for _, sh := range shapes {
		if m := sh.fits(n.Object); m != nil {
			return &fault.Error{
				Next: fault.Stall, Reason: BuildFailed, Object: n.as, Hint: m.hint,
				Err: fmt.Errorf("%s%s %s", built.placeOf(n.as, m.at), o.masked(strings.Join(m.at, ".")), m.what),
			}
		}
	}
	return nil
}
