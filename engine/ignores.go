package engine

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
)

// ignores are the rules of a unit, as long as these are the same.
type ignores struct {
	rules    []ignore.Rule
	marks    [][]string
	compiled *ignore.Rules
}

// ignoresOf returns the rules of a unit.
func (e *Engine) ignoresOf(u Unit, st *state) (*ignores, error) {
	marks := marksOf(u)
	if i := st.ignores; i != nil && reflect.DeepEqual(i.rules, u.Ignores) && slices.EqualFunc(i.marks, marks, slices.Equal) {
		return i, nil
	}
	c, err := ignore.Compile(u.Ignores, ignore.Options{Finder: e.o.JQ, Marks: marks})
	if err != nil {
		return nil, &fault.Error{Next: fault.Stall, Reason: fault.IgnoreFailed, Err: err}
	}
	st.ignores = &ignores{u.Ignores, marks, c}
	return st.ignores, nil
}

// marksOf are the fields by which the objects of a unit are its own.
func marksOf(u Unit) (marks [][]string) {
	m := u.Objects.Marks(u)(object.Ref{}) // those of others differ in their values
	for name := range m.Labels {
		marks = append(marks, []string{"metadata", "labels", name})
	}
	for name := range m.Annotations {
		marks = append(marks, []string{"metadata", "annotations", name})
	}
	slices.SortFunc(marks, slices.Compare)
	return marks
}

// policy is what an object says about itself, and what does not count of it. ref
// is what it is called on the cluster, and varying what of it another render would
// have otherwise: that is kept.
func (i *ignores) policy(u Unit, o *unstructured.Unstructured, ref object.Ref, varying []string) apply.Policy {
	p := u.policy(o)
	if len(varying) > 0 {
		p.Ignores = p.Ignores.And(ignore.Rule{From: "what is random in the chart", Pointers: asStored(ref, varying), Apply: true})
	}
	if len(u.Ignores) == 0 && p.Ignores == nil {
		return p
	}
	p.Ignored = i.compiled.For(o, ref.Namespace, p.Ignores)
	return p
}

// An Ignored is an object with desired fields that differ and don't count.
type Ignored struct {
	Ref    object.Ref
	Fields []owned.Field
}

// ignored tells what differs and does not count, where rules say so, but for what
// would be written all the same.
func (w *pass) ignored(live map[object.Ref]*unstructured.Unstructured) (out []Ignored) {
	written := make(map[object.Ref][]owned.Field)
	for _, r := range w.record.That(apply.Would) {
		written[r.Ref] = r.Fields
	}
	for i := range w.items {
		it := &w.items[i]
		if it.Policy.Ignored == nil || live[it.Ref] == nil {
			continue
		}
		fields, err := w.applier.Ignores(it, live[it.Ref])
		if err != nil {
			continue // it is the error of the object, which is not written
		}
		fields = slices.DeleteFunc(fields, func(f owned.Field) bool {
			return slices.ContainsFunc(written[it.Ref], func(o owned.Field) bool { return o.Path == f.Path })
		})
		if len(fields) > 0 {
			out = append(out, Ignored{it.Ref, fields})
		}
	}
	slices.SortFunc(out, func(a, b Ignored) int { return object.Compare(a.Ref, b.Ref) })
	return out
}

// asStored are JSON pointers as the server stores what they name, see
// [encodeStringData].
func asStored(ref object.Ref, pointers []string) []string {
	if ref.Group != "" || ref.Kind != "Secret" {
		return pointers
	}
	out := make([]string, len(pointers))
	for i, p := range pointers {
		out[i] = p
		if rest, ok := strings.CutPrefix(p, "/stringData"); ok {
			out[i] = "/data" + rest
		}
	}
	return out
}
