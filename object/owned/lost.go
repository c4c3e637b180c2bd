package owned

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// A Path is where a field is, as fieldsV1 tells the elements of lists apart.
type Path = fieldpath.Path

// Text returns p as people read it: spec.containers[name=web].image.
func Text(p Path) string {
	var b strings.Builder
	for i, e := range p {
		switch {
		case e.FieldName != nil:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(*e.FieldName)
		case e.Key != nil:
			var parts []string
			for _, f := range *e.Key {
				parts = append(parts, fmt.Sprintf("%s=%v", f.Name, f.Value.Unstructured()))
			}
			b.WriteString("[" + strings.Join(parts, ",") + "]")
		case e.Value != nil:
			fmt.Fprintf(&b, "[%v]", (*e.Value).Unstructured())
		case e.Index != nil:
			fmt.Fprintf(&b, "[%d]", *e.Index)
		}
	}
	return b.String()
}

// Encode returns p in a form that [Decode] reads.
func Encode(p Path) (string, error) {
	b, err := fieldpath.NewSet(p).ToJSON()
	return string(b), err
}

// Decode returns the path that was encoded.
func Decode(s string) (p Path, err error) {
	set := fieldpath.NewSet()
	if err := set.FromJSON(strings.NewReader(s)); err != nil {
		return nil, err
	}
	if set.Size() != 1 {
		return nil, fmt.Errorf("%d fields where one is told of", set.Size())
	}
	set.Iterate(func(only Path) { p = only.Copy() })
	return p, nil
}

// At returns the value at p in u, if there is one.
func At(u *unstructured.Unstructured, p Path) (value any, ok bool) { return at(u.Object, p) }

// A Loss is a field that is no longer as it was written.
type Loss struct {
	Path    Path
	Manager string // who has it now, if anybody
}

// Lost returns the fields that others took between two states of an object:
// want, as the server returned it when m.Self had applied it, and live. These
// are the fields that m.Self no longer owns, or that have another value, and
// those that it would take away. An element of a list that is gone is one
// field. They are sorted.
func Lost(want, live *unstructured.Unstructured, m Managers) ([]Loss, error) {
	inWant, inLive, err := m.ignoredIn(want, live, live, false)
	if err != nil {
		return nil, err
	}
	was, is := m.counted(entries(want), inWant, want, nil), m.counted(entries(live), inLive, live, want)
	var sets [4]*fieldpath.Set
	for i, of := range []struct {
		es    []entry
		count func(entry) bool
	}{{was, m.applied}, {is, m.applied}, {was, m.takenBack}, {is, m.takenBack}} {
		if sets[i], err = union(of.es, of.count); err != nil {
			return nil, err
		}
	}
	mine, still, before, taken := sets[0], sets[1], sets[2], sets[3]
	lost := mine.Difference(still).Union(still.Difference(mine)).Union(taken.Difference(before))
	stood, stands := inWant.counting(want.Object), inLive.counting(live.Object)
	mine.Intersection(still).Iterate(func(p Path) {
		a, _ := at(stood, p)
		b, _ := at(stands, p)
		if !holds(mine, p) && !sameValue(a, b) {
			lost.Insert(p.Copy())
		}
	})
	var out []Loss
	for _, p := range outermost(lost) {
		by := holder(live, p, m)
		if by == "" && still.Has(p) {
			by = m.Self // another of that name
		}
		out = append(out, Loss{p, by})
	}
	return out, nil
}

// outermost returns the fields of s without those within others. A map does
// not count where some of its fields do.
func outermost(s *fieldpath.Set) []Path {
	counts := func(p Path) bool {
		return s.Has(p) && (p[len(p)-1].FieldName == nil || !holds(s, p))
	}
	var out []Path
	s.Iterate(func(p Path) {
		if !counts(p) {
			return
		}
		for i := 1; i < len(p); i++ {
			if counts(p[:i]) {
				return
			}
		}
		out = append(out, p.Copy())
	})
	slices.SortFunc(out, Path.Compare)
	return out
}

// holder returns the manager other than m.Self that last wrote the field.
func holder(u *unstructured.Unstructured, p Path, m Managers) string {
	var name string
	var when time.Time
	for _, e := range entries(u) {
		if e.manager == m.Self || e.subresource != "" {
			continue
		}
		if set, err := e.set(); err != nil || !set.Has(p) && !holds(set, p) {
			continue
		}
		if at, err := time.Parse(time.RFC3339, e.time); name == "" || err == nil && at.After(when) {
			name, when = e.manager, at
		}
	}
	return name
}

// Owns reports whether m.Self has applied the field or one within it.
func Owns(u *unstructured.Unstructured, p Path, m Managers) bool {
	mine, err := fieldsOf(u, m.applied)
	return err == nil && (mine.Has(p) || holds(mine, p))
}

// SameAt reports whether two objects have the same value at p, or both none.
func SameAt(a, b *unstructured.Unstructured, p Path) bool {
	x, _ := at(a.Object, p)
	y, _ := at(b.Object, p)
	return sameValue(x, y) && sameValue(y, x)
}

// Covered reports whether p is left as it is when fields are: see [Leave].
func Covered(p Path, fields []Path, live *unstructured.Unstructured) bool {
	return slices.ContainsFunc(fields, func(f Path) bool { return within(p, there(f, live)) })
}

func within(p, of Path) bool { return len(p) >= len(of) && p[:len(of)].Equals(of) }

// there returns p, or the element of a list that p is in and that live does
// not have: it is not to come back as a part of itself.
func there(p Path, live *unstructured.Unstructured) Path {
	for i, e := range p {
		if e.FieldName == nil {
			if _, ok := at(live.Object, p[:i+1]); !ok {
				return p[:i+1]
			}
		}
	}
	return p
}

// Leave returns what to apply instead of desired in order to leave some fields
// as they are in live. A field that others own is left out: it stays theirs,
// and what m.Self does not own can't be deleted by leaving it out. One that
// m.Self owns is given as it is. This holds for live as it is; apply it to no
// other version.
func Leave(desired, live *unstructured.Unstructured, fields []Path, m Managers) (*unstructured.Unstructured, error) {
	mine, err := fieldsOf(live, m.applied)
	if err != nil {
		return nil, err
	}
	out := desired.DeepCopy()
	for _, p := range fields {
		p = there(p, live)
		switch {
		case mine.Has(p) && !holds(mine, p):
			want, _ := at(out.Object, p)
			if got, ok := at(live.Object, p); ok && !sameValue(want, got) {
				put(out.Object, p, runtime.DeepCopyJSONValue(got))
			}
		case mine.Has(p), holds(mine, p), ownsAround(mine, p):
			// Part of what is ours; it is as good as desired.
		default:
			leaveOut(out.Object, p)
		}
	}
	return out, nil
}

// ownsAround reports whether p is part of a value that is owned as a whole.
func ownsAround(s *fieldpath.Set, p Path) bool {
	for i := 1; i < len(p); i++ {
		if s.Has(p[:i]) && !holds(s, p[:i]) {
			return true
		}
	}
	return false
}

// leaveOut takes p out of o, and what is empty without it.
func leaveOut(o map[string]any, p Path) {
	for ; len(p) > 0; p = p[:len(p)-1] {
		if _, ok := at(o, p); !ok {
			return
		}
		without(o, p)
		if parent, ok := at(o, p[:len(p)-1]); !ok || !isEmpty(parent) {
			return
		}
	}
}

// at returns the value at p.
func at(v any, p Path) (any, bool) {
	for _, e := range p {
		ok := false
		switch in := v.(type) {
		case map[string]any:
			if e.FieldName != nil {
				v, ok = in[*e.FieldName]
			}
		case []any:
			if i := find(in, e); i >= 0 {
				v, ok = in[i], true
			}
		}
		if !ok {
			return nil, false
		}
	}
	return v, true
}

// put sets the value at p, if there is a place for it.
func put(v any, p Path, value any) {
	last := p[len(p)-1]
	for i := 1; i < len(p); i++ {
		in, ok := at(v, p[:i])
		if ok && in != nil {
			continue
		}
		parent, _ := at(v, p[:i-1])
		m, isMap := parent.(map[string]any)
		if !isMap || p[i-1].FieldName == nil || p[i].FieldName == nil {
			return
		}
		m[*p[i-1].FieldName] = map[string]any{}
	}
	parent, _ := at(v, p[:len(p)-1])
	switch in := parent.(type) {
	case map[string]any:
		if last.FieldName != nil {
			in[*last.FieldName] = value
		}
	case []any:
		if i := find(in, last); i >= 0 {
			in[i] = value
		}
	}
}
