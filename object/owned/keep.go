package owned

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Keep returns what to apply to live instead of desired, so that fields that are
// not applied stay as they are. What m.Self does not own of them is left out:
// it is, or stays, with whoever has it. What it owns is given as it is: to leave
// that out would delete it. An element of a list that live does not have is new,
// and given as it is desired. kept says that the answer holds for live as it is,
// and no other version.
func Keep(desired, live *unstructured.Unstructured, m Managers) (out *unstructured.Unstructured, kept bool, err error) {
	d, l, err := m.ignoredIn(desired, live, live, true)
	if err != nil || d == nil && l == nil {
		return desired, false, err
	}
	k := keeper{}
	for _, e := range entries(live) {
		k.sets = append(k.sets, e.fields)
		if m.applied(e) {
			k.mine = e.fields
		}
	}
	got, _ := k.keep(place{desired.Object, true, live.Object, true, d, l}).(map[string]any)
	return (&unstructured.Unstructured{Object: got}).DeepCopy(), true, nil
}

// A keeper knows who owns what of a value: mine is what Self does, nil nothing.
type keeper struct {
	mine map[string]any
	sets []map[string]any // all
}

func (k keeper) below(element string) keeper {
	mine, owned := k.mine[element].(map[string]any)
	if owned && mine == nil {
		mine = map[string]any{}
	}
	return keeper{mine, below(k.sets, element)}
}

// atomic reports whether a list or map that is there is one value to whoever
// owns it.
func (k keeper) atomic(value any) bool {
	if isEmpty(value) {
		return false
	}
	leaf := false
	for _, s := range k.sets {
		if !isLeaf(s) {
			return false
		}
		leaf = true
	}
	return leaf
}

// A place is a value as it is desired and as it is live, if it is, and what is
// not applied of either.
type place struct {
	want  any
	has   bool
	live  any
	there bool
	d, l  *tree
}

// absent is what keep returns where nothing is to be applied.
type absent struct{}

// keep returns what to apply.
func (k keeper) keep(p place) any {
	switch {
	case p.d.whole() || p.l.whole():
		return k.asIs(p)
	case p.d == nil && p.l == nil:
		return p.asDesired()
	case k.atomic(p.live):
		return merge(p)
	}
	switch p.kind().(type) {
	case map[string]any:
		return k.keepMap(p)
	case []any:
		if slices.ContainsFunc(k.sets, func(s map[string]any) bool { return len(elements(s)) > 0 }) {
			return k.keepList(p)
		}
		return merge(p)
	}
	return p.asDesired()
}

func (p place) asDesired() any {
	if !p.has {
		return absent{}
	}
	return p.want
}

// kind is a value of the kind that p has.
func (p place) kind() any {
	if p.has {
		return p.want
	}
	return p.live
}

// field is the place of a field.
func (p place) field(name string) place {
	w, _ := p.want.(map[string]any)
	l, _ := p.live.(map[string]any)
	want, has := w[name]
	live, there := l[name]
	return place{want, has, live, there, p.d.field(name), p.l.field(name)}
}

// asIs is what Self owns, as it is.
func (k keeper) asIs(p place) any {
	if k.mine == nil || !p.there {
		return absent{}
	}
	return part(k.mine, p.live)
}

// part returns what a set has of a value.
func part(set map[string]any, value any) any {
	if isLeaf(set) {
		return runtime.DeepCopyJSONValue(value)
	}
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for element, sub := range set {
			if child, ok := step(v, element); ok {
				out[strings.TrimPrefix(element, "f:")] = part(asSet(sub), child)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, element := range inOrder(set, v) {
			if item, ok := step(v, element); ok && element != "." {
				out = append(out, ownsElement(element, asSet(set[element]), item))
			}
		}
		return out
	}
	return value
}

// ownsElement is part for an element of a list, which keeps its key.
func ownsElement(element string, set map[string]any, item any) any {
	if isLeaf(set) && isElementKey(element) {
		set = map[string]any{".": map[string]any{}}
	}
	out := part(set, item)
	if m, ok := out.(map[string]any); ok {
		maps.Copy(m, parseKey(strings.TrimPrefix(element, "k:")))
	}
	return out
}

func (k keeper) keepMap(p place) any {
	want, _ := p.want.(map[string]any)
	out := make(map[string]any, len(want))
	names := map[string]bool{}
	for name := range want {
		names[name] = true
	}
	for element := range k.mine {
		if name, ok := strings.CutPrefix(element, "f:"); ok {
			names[name] = true
		}
	}
	for name := range names {
		sub := k.below("f:" + name)
		if v := sub.keep(p.field(name)); v != (absent{}) {
			out[name] = v
		}
	}
	return unlessEmpty(out, len(out), p)
}

// elements are the keys in a set by which elements of a list are told apart.
func elements(set map[string]any) (keys []string) {
	for key := range set {
		if isElementKey(key) || strings.HasPrefix(key, "v:") {
			keys = append(keys, key)
		}
	}
	return keys
}

// keepList keeps a list whose elements have owners of their own.
func (k keeper) keepList(p place) any {
	want, _ := p.want.([]any)
	live, _ := p.live.([]any)
	out := make([]any, 0, len(want))
	at := make([]int, 0, len(want)) // where in live
	for i, item := range want {
		if p.d.item(i).whole() {
			continue
		}
		key := keyIn(item, k.sets)
		j := -1
		if key != "" {
			j = findElement(live, key)
		}
		if j >= 0 {
			item = k.below(key).keep(place{item, true, live[j], true, p.d.item(i), p.l.item(j)})
		}
		out, at = append(out, item), append(at, j)
	}
	for _, key := range elements(k.mine) {
		j := indexOf(live, key)
		if j < 0 || slices.Contains(at, j) || !p.l.item(j).whole() {
			continue
		}
		before := slices.IndexFunc(at, func(other int) bool { return other > j })
		if before < 0 {
			before = len(out)
		}
		out = slices.Insert(out, before, ownsElement(key, asSet(k.mine[key]), live[j]))
		at = slices.Insert(at, before, j)
	}
	return unlessEmpty(out, len(out), p)
}

// merge returns a value that is applied as a whole: as desired, with what is not
// applied as it is.
func merge(p place) any {
	switch {
	case p.d.whole() || p.l.whole():
		if !p.there {
			return absent{}
		}
		return runtime.DeepCopyJSONValue(p.live)
	case p.d == nil && p.l == nil:
		return p.asDesired()
	}
	switch p.kind().(type) {
	case map[string]any:
		return mergeMaps(p)
	case []any:
		return mergeLists(p)
	}
	return p.asDesired()
}

func mergeMaps(p place) any {
	want, _ := p.want.(map[string]any)
	live, _ := p.live.(map[string]any)
	out := map[string]any{}
	for name := range want {
		if v := merge(p.field(name)); v != (absent{}) {
			out[name] = v
		}
	}
	for name := range live {
		if f := p.field(name); !f.has && (f.d != nil || f.l != nil) {
			if v := merge(f); v != (absent{}) {
				out[name] = v
			}
		}
	}
	return unlessEmpty(out, len(out), p)
}

// unlessEmpty returns a list or map of n, unless it has become empty.
func unlessEmpty(v any, n int, p place) any {
	if n == 0 && (!p.has || !isEmpty(p.want)) {
		return absent{}
	}
	return v
}

// mergeLists goes through two lists side by side, past the elements that are not
// applied; those of the live one are put back in their places.
func mergeLists(p place) any {
	want, _ := p.want.([]any)
	live, _ := p.live.([]any)
	var rest []int // of live
	for j := range live {
		if !p.l.item(j).whole() {
			rest = append(rest, j)
		}
	}
	out := []any{}
	for i, item := range want {
		if p.d.item(i).whole() {
			continue
		}
		if len(rest) == 0 {
			out = append(out, item)
			continue
		}
		j := rest[0]
		rest = rest[1:]
		out = append(out, merge(place{item, true, live[j], true, p.d.item(i), p.l.item(j)}))
	}
	for j, item := range live {
		if p.l.item(j).whole() {
			out = slices.Insert(out, min(j, len(out)), runtime.DeepCopyJSONValue(item))
		}
	}
	return unlessEmpty(out, len(out), p)
}
