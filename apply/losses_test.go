package apply

import (
	"slices"
	"testing"

	"plumb.dev/plumb/object"
)

// A generated object that comes back under another name is no loss; what only
// looks like it is.
func TestLosses(t *testing.T) {
	for _, c := range []struct {
		what            string
		before, desired []string
		lost            []string
	}{
		{"another hash", []string{"a-2456789bcd"}, []string{"a-f8h2k9m4t6"}, nil},
		{"no successor", []string{"a-2456789bcd"}, nil, []string{"a-2456789bcd"}},
		{"a successor stands for one", []string{"a-2456789bcd", "a-ffffffffff"}, []string{"a-f8h2k9m4t6"}, []string{"a-ffffffffff"}},
		{"of another base", []string{"a-2456789bcd"}, []string{"b-f8h2k9m4t6"}, []string{"a-2456789bcd"}},
		{"a name without a hash", []string{"a"}, []string{"a-f8h2k9m4t6"}, []string{"a"}},
		{"digits that no hash has", []string{"a-0000000001"}, []string{"a-0000000003"}, []string{"a-0000000001"}},
		{"a word of ten letters", []string{"a-production"}, []string{"a-developing"}, []string{"a-production"}},
	} {
		var prune []*Change
		for _, n := range c.before {
			prune = append(prune, &Change{Ref: object.Ref{Kind: "ConfigMap", Name: n}})
		}
		var desired []Item
		for _, n := range c.desired {
			desired = append(desired, Item{Ref: object.Ref{Kind: "ConfigMap", Name: n}})
		}
		var lost []string
		for _, l := range losses(prune, desired) {
			lost = append(lost, l.Ref.Name)
		}
		if !slices.Equal(lost, c.lost) {
			t.Errorf("%s: lost %v, want %v", c.what, lost, c.lost)
		}
	}
}
