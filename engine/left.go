package engine

import (
	"cmp"
	"slices"
	"strings"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
)

// A Left is a desired object that is left as it is on the cluster, although it
// does not ask for that itself.
type Left struct {
	Ref object.Ref
	Why string
}

// doubted returns what objects and hooks say of themselves that means nothing,
// sorted.
func doubted(items, hooks []apply.Item) (out []Left) {
	for _, it := range slices.Concat(items, hooks) {
		if it.Policy.Doubt != "" {
			out = append(out, Left{it.Ref, it.Policy.Doubt})
		}
	}
	slices.SortFunc(out, func(a, b Left) int { return object.Compare(a.Ref, b.Ref) })
	return out
}

// left returns which of items are left alone, sorted by why and name.
func left(items []apply.Item) (out []Left) {
	for _, it := range items {
		if it.Policy.Mode == apply.Ignore && it.Policy.Why != "" {
			out = append(out, Left{it.Ref, it.Policy.Why})
		}
	}
	slices.SortFunc(out, func(a, b Left) int {
		return cmp.Or(strings.Compare(a.Why, b.Why), object.Compare(a.Ref, b.Ref))
	})
	return out
}
