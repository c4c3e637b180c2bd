package apply

import (
	"fmt"
	"regexp"
	"slices"

	"plumb.dev/plumb/object"
)

// generatedName is a name that ends in a hash of the content, in the digits that
// Kustomize's generators use, and what is before that.
var generatedName = regexp.MustCompile(`^(.+)-[24-9bcdfghkmt]{10}$`)

// losses are the objects of prune that nothing replaces: one whose name holds
// a hash of its content has another name with other content, and is the same
// to who wrote it.
func losses(prune []*Change, desired []Item) []*Change {
	base := func(r object.Ref) (object.Ref, bool) {
		m := generatedName.FindStringSubmatch(r.Name)
		if m == nil {
			return r, false
		}
		r.Name = m[1]
		return r, true
	}
	successors := map[object.Ref]int{}
	for _, it := range desired {
		if b, ok := base(it.Ref); ok {
			successors[b]++
		}
	}
	return slices.DeleteFunc(slices.Clone(prune), func(c *Change) bool {
		b, ok := base(c.Ref)
		if !ok || successors[b] == 0 {
			return false
		}
		successors[b]--
		return true
	})
}

func count(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

func changeNames(changes []*Change, most int) string {
	refs := make([]object.Ref, len(changes))
	for i, c := range changes {
		refs[i] = c.Ref
	}
	return object.Names(refs, most)
}
