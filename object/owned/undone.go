package owned

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Undone says what an object will be once it is applied after [UndoPatch]:
// want, which is what the server would make of it without that patch, less
// the fields of live that are taken back from others and that nobody else
// owns. They own nothing then.
func Undone(want, live *unstructured.Unstructured, m Managers) (*unstructured.Unstructured, error) {
	es, err := m.entriesOf(live)
	if err != nil {
		return nil, err
	}
	taken, err := union(es, m.takenBack)
	if err != nil {
		return nil, err
	}
	wanted, err := m.wanted(live)
	if err != nil {
		return nil, err
	}
	kept, err := fieldsOf(want, func(e entry) bool {
		if e.manager == m.Self {
			return e.operation == applyOperation
		}
		return e.subresource != "" || !m.undoes(e.manager) && !m.wrote(e)
	})
	if err != nil {
		return nil, err
	}
	out := want.DeepCopy()
	taken.Difference(kept).Iterate(func(p fieldpath.Path) {
		// Of what holds others, only the element of a list goes by itself:
		// an empty map or list is not what anybody wrote.
		last := p[len(p)-1]
		if last.FieldName != nil && holds(taken, p) || !wanted(p) {
			return
		}
		out.Object, _ = without(out.Object, p).(map[string]any)
	})
	var rest []any
	for _, e := range entries(out) {
		if !m.takenBack(e) {
			rest = append(rest, e.raw)
		}
	}
	if err := unstructured.SetNestedSlice(out.Object, rest, "metadata", "managedFields"); err != nil {
		return nil, err
	}
	return out, nil
}

// holds reports whether the field at p has fields of its own in s.
func holds(s *fieldpath.Set, p fieldpath.Path) bool {
	for _, e := range p {
		s = s.WithPrefix(e)
	}
	return !s.Empty()
}

// without returns v without what is at p.
func without(v any, p fieldpath.Path) any {
	e, rest := p[0], p[1:]
	switch v := v.(type) {
	case map[string]any:
		if e.FieldName == nil {
			return v
		}
		child, ok := v[*e.FieldName]
		switch {
		case !ok:
		case len(rest) == 0:
			delete(v, *e.FieldName)
		default:
			v[*e.FieldName] = without(child, rest)
		}
		return v
	case []any:
		i := find(v, e)
		switch {
		case i < 0:
		case len(rest) == 0:
			return slices.Delete(v, i, i+1)
		default:
			v[i] = without(v[i], rest)
		}
		return v
	}
	return v
}

// find returns the index of an element of a list, or -1. One that leaves out a
// field of its key is taken to have it defaulted, if there is none that has it.
func find(list []any, e fieldpath.PathElement) int {
	for _, defaults := range []bool{false, true} {
		for i, item := range list {
			if isElement(e, i, item, defaults) {
				return i
			}
		}
	}
	return -1
}

func isElement(e fieldpath.PathElement, i int, item any, defaults bool) bool {
	switch {
	case e.Index != nil:
		return *e.Index == i
	case e.Value != nil:
		return value.Equals(*e.Value, value.NewValueInterface(item))
	case e.Key != nil:
		m, ok := item.(map[string]any)
		if !ok {
			return false
		}
		for _, f := range *e.Key {
			got, ok := m[f.Name]
			if !ok && defaults {
				continue
			}
			if !ok || !value.Equals(f.Value, value.NewValueInterface(runtime.DeepCopyJSONValue(got))) {
				return false
			}
		}
		return true
	}
	return false
}
