// Package owned reads managedFields: which fields of a live object a manager
// owns, and whether they still say what it wants.
//
// The API server moves the ownership of a field to whoever changes it, so an
// object is as a manager left it as long as the fields it owns, and their
// values, are the same ([Print]). Whether it is also as that manager wants it
// follows from comparing the wanted object with those fields ([Same]), without
// a request and without knowing the kind's schema.
//
// The format of fieldsV1 is that of structured-merge-diff, KEP-555.
package owned

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object/ignore"
)

// Managers says whose fields count.
type Managers struct {
	// Self is the field manager that plumb applies as.
	Self string
	// Undo are prefixes of the names of managers that may not own any field
	// of an object that Self owns; what they wrote is taken back.
	Undo []string
	// Former are the names of managers by which the same was written that Self
	// applies now, in another way. What they wrote is taken over as far as it is
	// known to have been wanted, by the record of client-side apply.
	Former []string
	// Ignored are fields that don't count, whoever has them; nil: none. Where it
	// can't be told which these are, nothing is known to be as desired.
	Ignored *ignore.Fields
}

// undoes reports whether fields of the named manager are taken back.
func (m Managers) undoes(manager string) bool {
	return slices.ContainsFunc(m.Undo, func(p string) bool { return strings.HasPrefix(manager, p) })
}

var seed = maphash.MakeSeed()

// Print returns a fingerprint of the fields of u that count for m, of their
// values, and of the order in which list elements stand. It is comparable only
// within this process, and 0 only if it can't be told what counts.
func Print(u *unstructured.Unstructured, m Managers) uint64 {
	es := entries(u)
	t, err := m.ignored(u, es, false)
	if err != nil {
		return 0
	}
	return m.print(u, es, t)
}

// print is Print, where it is known what does not count.
func (m Managers) print(u *unstructured.Unstructured, es []entry, t *tree) uint64 {
	p := printer{entries: es}
	p.SetSeed(seed)
	value := t.counting(u.Object)
	es = m.counted(es, t, u, nil)
	if e, ok := m.self(es); ok {
		p.fields(e.fields, value)
	} else if len(m.Former) > 0 { // of what is wanted, others may own any part
		o, _ := value.(map[string]any)
		b, _ := json.Marshal(strip(o))
		p.Write(b)
	}
	for _, e := range m.toUndo(es) {
		p.WriteString(e.manager)
		p.fields(e.fields, value)
	}
	if s := p.Sum64(); s != 0 {
		return s
	}
	return 1
}

// A printer hashes the fields of one of the entries.
type printer struct {
	maphash.Hash
	entries []entry
	path    []string
}

func (p *printer) fields(set map[string]any, value any) {
	for _, key := range inOrder(set, value) {
		p.WriteString(key)
		p.WriteByte(0)
		if key == "." {
			continue
		}
		child, _ := step(value, key)
		sub, _ := set[key].(map[string]any)
		p.path = append(p.path, key)
		if isLeaf(sub) {
			b, _ := json.Marshal(p.own(child))
			p.Write(b)
			p.WriteByte(0)
		} else {
			p.fields(sub, child)
		}
		p.path = p.path[:len(p.path)-1]
	}
	p.WriteByte(1)
}

// inOrder returns the keys of a set, those of list elements as they stand in
// the list: who reorders variables or init containers changes what they do,
// and managedFields don't tell.
func inOrder(set map[string]any, value any) []string {
	keys := slices.Sorted(maps.Keys(set))
	list, ok := value.([]any)
	if !ok || !slices.ContainsFunc(keys, isElementKey) {
		return keys
	}
	at := make(map[string]int, len(keys))
	for _, k := range keys {
		if isElementKey(k) {
			at[k] = findElement(list, k)
		}
	}
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Compare(at[a], at[b]) })
	return keys
}

func isElementKey(element string) bool { return strings.HasPrefix(element, "k:") }

// own returns what is at the path without what others own in it. Whoever
// applies an empty map or list owns it as a whole, and still others may own
// what they add. Empty is the same as not there: not every empty value is
// stored.
func (p *printer) own(value any) any {
	switch v := value.(type) {
	case map[string]any:
		v = maps.Clone(v)
		for _, set := range p.within() {
			for k := range set {
				delete(v, strings.TrimPrefix(k, "f:"))
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		if len(v) == 0 || len(p.within()) > 0 {
			return nil
		}
	}
	return value
}

// within returns what anybody owns below the path.
func (p *printer) within() (sets []map[string]any) {
	for _, e := range p.entries {
		set := e.fields
		for _, key := range p.path {
			set, _ = set[key].(map[string]any)
		}
		if !isLeaf(set) {
			sets = append(sets, set)
		}
	}
	return sets
}

func isLeaf(set map[string]any) bool { return len(set) == 0 }

// step follows one path element of fieldsV1.
func step(value any, element string) (any, bool) {
	kind, rest, ok := strings.Cut(element, ":")
	if !ok {
		return nil, false
	}
	switch kind {
	case "f":
		m, _ := value.(map[string]any)
		v, ok := m[rest]
		return v, ok
	case "k":
		list, _ := value.([]any)
		if i := findElement(list, element); i >= 0 {
			return list[i], true
		}
	case "v":
		list, _ := value.([]any)
		var want any
		if json.Unmarshal([]byte(rest), &want) != nil {
			return nil, false
		}
		for _, item := range list {
			if sameScalar(item, want) {
				return item, true
			}
		}
	case "i":
		list, _ := value.([]any)
		var i int
		if json.Unmarshal([]byte(rest), &i) == nil && i >= 0 && i < len(list) {
			return list[i], true
		}
	}
	return nil, false
}

// findElement returns where in a list the element of a key is, or -1.
func findElement(list []any, element string) int {
	key := parseKey(strings.TrimPrefix(element, "k:"))
	return slices.IndexFunc(list, func(item any) bool {
		m, ok := item.(map[string]any)
		return ok && keyMatches(key, m, false)
	})
}

func parseKey(s string) map[string]any {
	var key map[string]any
	_ = json.Unmarshal([]byte(s), &key) // an unreadable key matches nothing
	return key
}

// keyMatches reports whether item has the values of key. With defaults, a
// field that item leaves out is taken to have been defaulted to the key's.
func keyMatches(key map[string]any, item map[string]any, defaults bool) bool {
	if len(key) == 0 {
		return false
	}
	for k, want := range key {
		got, ok := item[k]
		if !ok && defaults {
			continue
		}
		if !ok || !sameScalar(got, want) {
			return false
		}
	}
	return true
}

// Same reports whether live is known to be as desired: every field of desired
// is owned by m.Self and has its value, m.Self owns nothing else, and nobody's
// fields have to be taken back. False means that only the server can tell:
// values may differ in form only, such as 1000m and 1.
func Same(desired, live *unstructured.Unstructured, m Managers) bool {
	es := entries(live)
	d, l, err := m.ignoredIn(desired, live, live, false)
	if err != nil {
		return false
	}
	if es = m.counted(es, l, live, desired); d != nil || l != nil {
		desired = &unstructured.Unstructured{Object: d.counting(desired.Object).(map[string]any)}
	}
	self, ok := m.self(es)
	if !ok || len(m.toUndo(es)) > 0 || live.GetDeletionTimestamp() != nil {
		return false
	}
	if desired.GetAPIVersion() != live.GetAPIVersion() || desired.GetKind() != live.GetKind() {
		return false
	}
	if len(m.Former) > 0 {
		self.fields = withoutRecord(self.fields)
	}
	want := make(map[string]any, len(desired.Object))
	for k, v := range desired.Object {
		switch k {
		case "apiVersion", "kind":
		case "status":
			// Applied only where status is no subresource.
			if _, ok := self.fields["f:status"]; ok {
				want[k] = v
			}
		case "metadata":
			md, _ := v.(map[string]any)
			keep := make(map[string]any, len(md))
			for k, v := range md {
				switch k {
				case "name", "namespace", "creationTimestamp", "managedFields", "uid", "resourceVersion", "generation":
				default:
					keep[k] = v
				}
			}
			if len(keep) > 0 {
				want[k] = keep
			}
		default:
			want[k] = v
		}
	}
	return same(want, l.counting(live.Object), self.fields, false, builtIn(desired.GroupVersionKind().Group))
}

// amounts are the fields whose values the server may write in another form,
// 1000m as 1, because they are quantities.
var amounts = map[string]bool{
	"limits": true, "requests": true, "hard": true, "capacity": true, "overhead": true, "sizeLimit": true,
	"max": true, "min": true, "default": true, "defaultRequest": true, "maxLimitRequestRatio": true,
}

func sameAmount(a, b any) bool {
	x, err1 := resource.ParseQuantity(fmt.Sprint(a))
	y, err2 := resource.ParseQuantity(fmt.Sprint(b))
	return err1 == nil && err2 == nil && x.Cmp(y) == 0
}

// same compares what is wanted with what is live and owned. amount says that
// the values are quantities, defaulted that the server may have added fields
// inside of them.
func same(want, live any, set map[string]any, amount, defaulted bool) bool {
	if isLeaf(set) {
		return sameButDefaults(want, live, defaulted) || amount && sameAmount(want, live)
	}
	switch want := want.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		n := 0
		for k, v := range want {
			if v == nil {
				continue // an applied null owns nothing
			}
			sub, owned := set["f:"+k].(map[string]any)
			if !owned {
				if isEmpty(v) {
					continue
				}
				return false
			}
			n++
			got, ok := live[k]
			if !ok && isEmpty(v) {
				continue // owned, and nothing to store
			}
			if !ok || !same(v, got, sub, amount || amounts[k], defaulted) {
				return false
			}
		}
		return n == fieldCount(set)
	case []any:
		live, _ := live.([]any)
		used := make(map[string]bool, len(want))
		last := -1
		for _, item := range want {
			key := elementKey(item, set, used)
			if key == "" {
				return false
			}
			used[key] = true
			if isElementKey(key) {
				at := findElement(live, key)
				if at < last {
					return false
				}
				last = at
			}
			got, ok := step(live, key)
			sub, _ := set[key].(map[string]any)
			if !ok || !same(item, got, onlyOwned(sub, item), amount, defaulted) {
				return false
			}
		}
		return len(want) == fieldCount(set)
	}
	return false
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// onlyOwned drops from the fields of a list element those of the key that the
// element leaves out: the server owns them in the name of whoever applied.
func onlyOwned(set map[string]any, item any) map[string]any {
	m, ok := item.(map[string]any)
	if !ok {
		return nil // an element of a set: the key is the value
	}
	out := make(map[string]any, len(set))
	for k, v := range set {
		if name, isField := strings.CutPrefix(k, "f:"); isField {
			if _, there := m[name]; !there && isLeaf(v.(map[string]any)) {
				continue
			}
		}
		out[k] = v
	}
	if len(out) == 0 {
		return map[string]any{".": map[string]any{}}
	}
	return out
}

func fieldCount(set map[string]any) int {
	n := len(set)
	if _, ok := set["."]; ok {
		n--
	}
	return n
}

func elementKey(item any, set map[string]any, used map[string]bool) string {
	m, isMap := item.(map[string]any)
	for key := range set {
		if used[key] {
			continue
		}
		kind, rest, _ := strings.Cut(key, ":")
		switch {
		case kind == "k" && isMap && keyMatches(parseKey(rest), m, true):
			return key
		case kind == "v" && !isMap:
			var v any
			if json.Unmarshal([]byte(rest), &v) == nil && sameScalar(item, v) {
				return key
			}
		}
	}
	return ""
}

func sameValue(want, live any) bool { return sameButDefaults(want, live, false) }

// sameButDefaults lets live have more, if defaulted is true: what the server
// adds.
func sameButDefaults(want, live any, defaulted bool) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		if len(w) == 0 {
			return true
		}
		for k, v := range w {
			if g, ok := l[k]; !ok || !sameButDefaults(v, g, defaulted) {
				return false
			}
		}
		for k, v := range l {
			if _, ok := w[k]; !ok && !(defaulted && isDefault(k, v)) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(w) != len(l) {
			return false
		}
		for i := range w {
			if !sameButDefaults(w[i], l[i], defaulted) {
				return false
			}
		}
		return true
	}
	return sameScalar(want, live)
}

func sameScalar(a, b any) bool {
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			return x == y
		}
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	return equality.Semantic.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}
