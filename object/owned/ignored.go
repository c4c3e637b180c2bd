package owned

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A tree is what does not count of one object, or of a value in it. Nil is
// nothing.
type tree struct {
	all   bool // everything, but for what is spared
	spare *tree
	names map[string]*tree
	items map[int]*tree
}

var everything = &tree{all: true}

// whole reports whether nothing of the value counts.
func (t *tree) whole() bool { return t != nil && t.all && t.spare == nil }

// field is what does not count of a field.
func (t *tree) field(name string) *tree {
	switch {
	case t == nil:
		return nil
	case !t.all:
		return t.names[name]
	case t.spare == nil || t.spare.names[name] == nil:
		return everything
	case t.spare.names[name].all:
		return nil
	}
	return &tree{all: true, spare: t.spare.names[name]}
}

// item is what does not count of an element of a list.
func (t *tree) item(i int) *tree {
	switch {
	case t == nil:
		return nil
	case t.all:
		return everything
	}
	return t.items[i]
}

// under is what does not count of what fieldsV1 calls element in a value.
func (t *tree) under(element string, value any) *tree {
	if t == nil {
		return nil
	}
	kind, rest, _ := strings.Cut(element, ":")
	if kind == "f" {
		return t.field(rest)
	}
	list, _ := value.([]any)
	return t.item(indexOf(list, element))
}

// indexOf returns where in a list the element is that fieldsV1 calls so, or -1.
func indexOf(list []any, element string) int {
	if isElementKey(element) {
		return findElement(list, element)
	}
	item, ok := step(list, element)
	if !ok {
		return -1
	}
	return slices.IndexFunc(list, func(other any) bool { return sameScalar(other, item) })
}

// add adds the field at a path.
func (t *tree) add(steps []any, spare *tree) {
	for _, s := range steps {
		if t.all {
			return
		}
		var next *tree
		switch s := s.(type) {
		case string:
			if t.names == nil {
				t.names = map[string]*tree{}
			}
			if next = t.names[s]; next == nil {
				next = &tree{}
				t.names[s] = next
			}
			if spare != nil {
				spare = spare.names[s]
			}
		case int:
			if t.items == nil {
				t.items = map[int]*tree{}
			}
			if next = t.items[s]; next == nil {
				next = &tree{}
				t.items[s] = next
			}
			spare = nil
		}
		t = next
		if spare != nil && spare.all {
			return // all of it counts
		}
	}
	*t = tree{all: true, spare: spare}
}

// prune lets go of what holds nothing.
func (t *tree) prune() *tree {
	if t == nil || t.all {
		return t
	}
	for name, sub := range t.names {
		if sub.prune() == nil {
			delete(t.names, name)
		}
	}
	for i, sub := range t.items {
		if sub.prune() == nil {
			delete(t.items, i)
		}
	}
	if len(t.names)+len(t.items) == 0 {
		return nil
	}
	return t
}

// spared are the fields that always count: what makes an object the one it is,
// and the marks of its unit.
func spared(marks [][]string) *tree {
	t := &tree{}
	for _, path := range append([][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}}, marks...) {
		steps := make([]any, len(path))
		for i, s := range path {
			steps[i] = s
		}
		t.add(steps, nil)
	}
	return t
}

// ignored returns what does not count of an object; with apply, only what is not
// applied either. The fields of managers are those that they own in by.
func (m Managers) ignored(u *unstructured.Unstructured, by []entry, apply bool) (*tree, error) {
	if m.Ignored == nil || apply && !m.Ignored.Applies() {
		return nil, nil
	}
	paths, managers, err := m.Ignored.Of(u)
	if err != nil {
		return nil, err
	}
	t, spare := &tree{}, spared(m.Ignored.Marks())
	for _, p := range paths {
		if p.Apply || !apply {
			t.add(p.Steps, spare)
		}
	}
	for _, who := range managers {
		if apply && !who.Apply {
			continue
		}
		for _, e := range by {
			if e.manager == who.Name {
				leaves(e.fields, u.Object, nil, func(steps []any) { t.add(steps, spare) })
			}
		}
	}
	return t.prune(), nil
}

// Readable reports whether it can be told which fields of an object don't count.
func (m Managers) Readable(u *unstructured.Unstructured) error {
	_, err := m.ignored(u, nil, false)
	return err
}

// leaves calls f for every field of a set that has none within it, with its
// path in value.
func leaves(set map[string]any, value any, at []any, f func([]any)) {
	for element, sub := range set {
		kind, rest, ok := strings.Cut(element, ":")
		if !ok {
			continue
		}
		var s any = rest
		if kind != "f" {
			list, _ := value.([]any)
			i := indexOf(list, element)
			if i < 0 {
				continue
			}
			s = i
		}
		next, below := append(at[:len(at):len(at)], s), asSet(sub)
		if isLeaf(below) {
			f(next)
			continue
		}
		child, _ := step(value, element)
		leaves(below, child, next, f)
	}
}

func asSet(v any) map[string]any {
	s, _ := v.(map[string]any)
	return s
}

// ignoredIn returns what does not count of two states of an object: what does
// not in one, does not in the other. managed is the one of them of which it is
// known who owns what.
func (m Managers) ignoredIn(a, b, managed *unstructured.Unstructured, apply bool) (inA, inB *tree, err error) {
	if m.Ignored == nil {
		return nil, nil, nil
	}
	es := entries(managed)
	if inA, err = m.ignored(a, es, apply); err != nil {
		return nil, nil, err
	}
	if inB, err = m.ignored(b, es, apply); err != nil {
		return nil, nil, err
	}
	sets := make([]map[string]any, len(es))
	for i, e := range es {
		sets[i] = e.fields
	}
	inA, inB = joined(inA, inB, a.Object, b.Object, sets)
	return inA, inB, nil
}

// joined gives each of two values what does not count of the other. sets are what
// is owned of them, which tells how the elements of a list are told apart. Where
// nothing does, each list has its own.
func joined(a, b *tree, av, bv any, sets []map[string]any) (*tree, *tree) {
	switch {
	case a == nil && b == nil:
		return nil, nil
	case a != nil && a.all:
		return a, a
	case b != nil && b.all:
		return b, b
	}
	x, y := &tree{names: map[string]*tree{}, items: map[int]*tree{}}, &tree{names: map[string]*tree{}, items: map[int]*tree{}}
	am, _ := av.(map[string]any)
	bm, _ := bv.(map[string]any)
	for _, t := range []*tree{a, b} {
		if t == nil {
			continue
		}
		for name := range t.names {
			x.names[name], y.names[name] = joined(a.field(name), b.field(name), am[name], bm[name], below(sets, "f:"+name))
		}
	}
	al, _ := av.([]any)
	bl, _ := bv.([]any)
	joinItems(x, y, a, b, al, bl, sets)
	joinItems(y, x, b, a, bl, al, sets)
	return x.prune(), y.prune()
}

// joinItems joins the elements of a list with those of another.
func joinItems(x, y, a, b *tree, al, bl []any, sets []map[string]any) {
	if a == nil {
		return
	}
	for i, t := range a.items {
		if x.items[i] != nil || i >= len(al) {
			continue
		}
		key := keyIn(al[i], sets)
		if key == "" {
			x.items[i] = t
			continue
		}
		j, other, item := findLike(bl, key), (*tree)(nil), any(nil)
		if j >= 0 {
			other, item = b.item(j), bl[j]
		}
		one, two := joined(t, other, al[i], item, below(sets, key))
		x.items[i] = one.without(key)
		if j >= 0 {
			y.items[j] = two.without(key)
		}
	}
}

// without returns t less the fields of a key: without them an element is no
// longer the one it is.
func (t *tree) without(key string) *tree {
	if t == nil || t.all {
		return t
	}
	out := &tree{names: maps.Clone(t.names), items: t.items}
	for name := range parseKey(strings.TrimPrefix(key, "k:")) {
		delete(out.names, name)
	}
	return out.prune()
}

// below are the parts of sets that are about an element.
func below(sets []map[string]any, element string) (out []map[string]any) {
	for _, s := range sets {
		if sub, ok := s[element].(map[string]any); ok {
			out = append(out, sub)
		}
	}
	return out
}

// keyIn returns by which key sets know an element of a list, or nothing.
func keyIn(item any, sets []map[string]any) string {
	m, ok := item.(map[string]any)
	if !ok {
		return ""
	}
	for _, defaults := range []bool{false, true} {
		for _, s := range sets {
			for element := range s {
				if isElementKey(element) && keyMatches(parseKey(strings.TrimPrefix(element, "k:")), m, defaults) {
					return element
				}
			}
		}
	}
	return ""
}

// findLike is findElement, for a list that may leave out what is defaulted.
func findLike(list []any, element string) int {
	if i := findElement(list, element); i >= 0 {
		return i
	}
	key := parseKey(strings.TrimPrefix(element, "k:"))
	return slices.IndexFunc(list, func(item any) bool {
		m, ok := item.(map[string]any)
		return ok && keyMatches(key, m, true)
	})
}

// counting returns a value without what does not count, nor what is empty without
// that. value is not changed.
func (t *tree) counting(value any) any {
	if t == nil {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, child := range v {
			n := t.field(name)
			if n.whole() {
				continue
			}
			if less := n.counting(child); isEmpty(child) || !isEmpty(less) {
				out[name] = less
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for i, child := range v {
			if n := t.item(i); !n.whole() {
				out = append(out, n.counting(child))
			}
		}
		return out
	}
	return value
}

// countingSet returns what is owned of a value without what does not count, and
// nil if that is nothing. own says that it is Self's. Of a list or map that is
// one value to its owner a part may not count; then the rest counts whoever owns
// it, see adopt, and nobody has to give it back.
func (t *tree) countingSet(set map[string]any, value any, own, element bool) map[string]any {
	if t == nil {
		return set
	}
	out := make(map[string]any, len(set))
	for key, sub := range set {
		n := t.under(key, value)
		if n == nil || key == "." {
			out[key] = sub
			continue
		}
		child, _ := step(value, key)
		switch s := asSet(sub); {
		case n.whole():
		case !isLeaf(s):
			if s = n.countingSet(s, child, own, isElementKey(key)); s != nil {
				out[key] = s
			}
		case own && !isEmpty(n.counting(child)), !holdsMore(child):
			out[key] = sub
		}
	}
	if _, only := out["."]; len(out) == 0 || only && len(out) == 1 && len(set) > 1 && !element {
		return nil // a map by itself is not what anybody wrote
	}
	return out
}

// holdsMore reports whether a value is a list or map with something in it.
func holdsMore(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return !isEmpty(v)
	}
	return false
}

// adopt returns what Self owns of a value, and those lists and maps that are one
// value to whoever owns them and of which a part does not count: who changes that
// part owns all of it. want, if there is one, is what is desired: what that does
// not have is nobody's affair.
func (t *tree) adopt(mine map[string]any, sets []map[string]any, value, want any, wanted bool) map[string]any {
	if t == nil || t.all {
		return mine
	}
	out := maps.Clone(mine)
	take := func(n *tree, element string) {
		sub, child := below(sets, element), any(nil)
		child, _ = step(value, element)
		wants, has := stepLike(want, element)
		if n.whole() || len(sub) == 0 || wanted && !has {
			return
		}
		adopted := asSet(mine[element])
		if (keeper{sets: sub}).atomic(child) && holdsMore(child) {
			if isEmpty(n.counting(child)) {
				return
			}
			adopted = map[string]any{}
		} else if adopted = n.adopt(adopted, sub, child, wants, wanted); len(adopted) == 0 {
			return
		}
		if out == nil {
			out = map[string]any{}
		}
		out[element] = adopted
	}
	for name, n := range t.names {
		take(n, "f:"+name)
	}
	list, _ := value.([]any)
	for i, n := range t.items {
		if i < len(list) {
			if key := keyIn(list[i], sets); key != "" {
				take(n, key)
			}
		}
	}
	return out
}

// stepLike is step, for a value that may leave out what is defaulted.
func stepLike(value any, element string) (any, bool) {
	if list, ok := value.([]any); ok && isElementKey(element) {
		if i := findLike(list, element); i >= 0 {
			return list[i], true
		}
		return nil, false
	}
	return step(value, element)
}

// counted returns entries with those fields only that count, without those of
// which none does but what Self has applied. want is what is desired, if
// anything.
func (m Managers) counted(es []entry, t *tree, u, want *unstructured.Unstructured) []entry {
	all := es
	if es = m.formerly(es, u); t == nil {
		return es
	}
	var sets []map[string]any
	for _, e := range all {
		sets = append(sets, e.fields)
	}
	out := make([]entry, 0, len(es))
	for _, e := range es {
		own := m.applied(e)
		e.fields = t.countingSet(e.fields, u.Object, own, false)
		if own && want != nil {
			e.fields = t.adopt(e.fields, sets, u.Object, want.Object, true)
		} else if own {
			e.fields = t.adopt(e.fields, sets, u.Object, nil, false)
		}
		if e.fields != nil || !m.takenBack(e) {
			out = append(out, e)
		}
	}
	return out
}

// entriesOf returns the managedFields of u with those fields only that count.
func (m Managers) entriesOf(u *unstructured.Unstructured) ([]entry, error) {
	es := entries(u)
	t, err := m.ignored(u, es, false)
	if err != nil {
		return nil, err
	}
	return m.counted(es, t, u, nil), nil
}
