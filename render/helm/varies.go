package helm

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
)

// varying returns what differs between two renders of one chart, as JSON
// pointers, and warnings of objects that have no other one in the second.
func varying(a, b []entry) (all []render.Varying, warnings []string) {
	others := make(map[object.Ref]map[string]any, len(b))
	for _, e := range b {
		others[e.ref()] = e.object
	}
	for _, e := range a {
		ref := e.ref()
		other, ok := others[ref]
		if !ok {
			warnings = append(warnings, fmt.Sprintf("%s: %s %s has a name that is another one each time it is rendered", e.at, ref.Kind, ref.Name))
			continue
		}
		var pointers []string
		differing(e.object, other, "", &pointers)
		if len(pointers) > 0 {
			all = append(all, render.Varying{Ref: ref, Pointers: pointers})
		}
	}
	return all, warnings
}

// differing adds the pointers of what differs in two values. Lists of different
// lengths differ as a whole.
func differing(a, b any, at string, to *[]string) {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		for _, key := range sortedKeys(x) {
			below := at + "/" + escaper.Replace(key)
			if v, ok := y[key]; ok {
				differing(x[key], v, below, to)
			} else {
				*to = append(*to, below)
			}
		}
		for _, key := range sortedKeys(y) {
			if _, ok := x[key]; !ok {
				*to = append(*to, at+"/"+escaper.Replace(key))
			}
		}
		return
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			differing(x[i], y[i], at+"/"+strconv.Itoa(i), to)
		}
		return
	}
	if !reflect.DeepEqual(a, b) {
		*to = append(*to, at)
	}
}

// escaper writes a key as a part of a JSON pointer (RFC 6901).
var escaper = strings.NewReplacer("~", "~0", "/", "~1")
