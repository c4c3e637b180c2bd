package kustomize

import (
	"fmt"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render/manifest"
)

// placeOf returns "file:line: " of a field of an object, or nothing where the
// object can't be found under this name.
func (s *source) placeOf(ref object.Ref, at []string) string {
	var places []string
	for file, d := range s.checked {
		for _, root := range d {
			for _, n := range manifest.Objects(root) {
				if manifest.RefOf(n) == ref {
					places = append(places, fmt.Sprintf("%s:%d: ", file, manifest.LineAt(n, at)))
				}
			}
		}
	}
	if len(places) != 1 {
		return ""
	}
	return places[0]
}
