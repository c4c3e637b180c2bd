package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
)

// Mistyped returns the error for a file with a field of another type than what
// it is decoded into, with file and line; nil if err is about something else.
func Mistyped(err error, root *yaml.Node, file string) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return nil
	}
	at := file
	if n := lookUp(root, strings.Split(wrong.Field, ".")); n != nil {
		at = fmt.Sprintf("%s:%d", file, n.Line)
	}
	return render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %s", at, Wrong(wrong)))
}

// Wrong says which field is of another type than what it is decoded into.
func Wrong(wrong *json.UnmarshalTypeError) string {
	is, _, _ := strings.Cut(wrong.Value, " ") // what follows is the value
	words := map[string]string{"string": "text", "bool": "a boolean", "array": "a list", "object": "a map", "number": "a number"}
	return fmt.Sprintf("%s is %s, not %s", wrong.Field, words[is], typeName(wrong.Type))
}

// lookUp returns the value of the last of nested fields that is there, or the
// list on the way to it whose item is not known.
func lookUp(n *yaml.Node, fields []string) *yaml.Node {
	for _, name := range fields {
		if i, err := strconv.Atoi(name); err == nil && n != nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
			continue
		}
		for n != nil && n.Kind == yaml.SequenceNode {
			if len(n.Content) != 1 {
				return n
			}
			n = n.Content[0]
		}
		next := Field(n, name)
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// typeName names a Go type in words of YAML.
func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "text"
	}
	return "a number"
}
