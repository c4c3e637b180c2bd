package owned

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// An entry is one element of managedFields.
type entry struct {
	manager, operation, subresource, time, apiVersion string

	fields map[string]any // fieldsV1
	raw    map[string]any // all of it
}

// entries reads the managedFields of u. What is not as the API server writes it
// counts as not being there.
func entries(u *unstructured.Unstructured) []entry {
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "metadata", "managedFields")
	items, _ := list.([]any)
	out := make([]entry, 0, len(items))
	for _, it := range items {
		m, ok := it.(map[string]any)
		if !ok {
			continue
		}
		e := entry{raw: m}
		e.manager, _ = m["manager"].(string)
		e.operation, _ = m["operation"].(string)
		e.subresource, _ = m["subresource"].(string)
		e.time, _ = m["time"].(string)
		e.apiVersion, _ = m["apiVersion"].(string)
		e.fields, _ = m["fieldsV1"].(map[string]any)
		out = append(out, e)
	}
	return out
}

// set returns the fields of e in the form that can be calculated with.
func (e entry) set() (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e.fields == nil {
		return set, nil
	}
	b, err := json.Marshal(e.fields)
	if err == nil {
		err = set.FromJSON(bytes.NewReader(b))
	}
	if err != nil {
		return nil, fmt.Errorf("read the fields of manager %q: %w", e.manager, err)
	}
	return set, nil
}

// fieldsOf returns the fields of all entries of u that count.
func fieldsOf(u *unstructured.Unstructured, count func(entry) bool) (*fieldpath.Set, error) {
	return union(entries(u), count)
}

// union returns the fields of all entries that count.
func union(es []entry, count func(entry) bool) (*fieldpath.Set, error) {
	all := fieldpath.NewSet()
	for _, e := range es {
		if !count(e) {
			continue
		}
		set, err := e.set()
		if err != nil {
			return nil, err
		}
		all = all.Union(set)
	}
	return all, nil
}

const applyOperation = "Apply"

// applied reports whether m.Self has applied the fields of e.
func (m Managers) applied(e entry) bool {
	return e.subresource == "" && e.manager == m.Self && e.operation == applyOperation
}

// takenBack reports whether the fields of e have to be taken back: those of the
// managers in Undo, and what Self wrote by another way than applying.
func (m Managers) takenBack(e entry) bool {
	return e.subresource == "" && (m.undoes(e.manager) || e.manager == m.Self && e.operation != applyOperation) || m.wrote(e)
}

// self returns what Self has applied.
func (m Managers) self(es []entry) (entry, bool) {
	i := slices.IndexFunc(es, m.applied)
	if i < 0 {
		return entry{}, false
	}
	return es[i], true
}

// toUndo returns the entries whose fields have to be taken back.
func (m Managers) toUndo(es []entry) (undo []entry) {
	for _, e := range es {
		if m.takenBack(e) {
			undo = append(undo, e)
		}
	}
	return undo
}

// NeedsUndo reports whether somebody whose fields are taken back owns any.
func NeedsUndo(u *unstructured.Unstructured, m Managers) bool {
	return slices.ContainsFunc(m.surely(u), m.takenBack)
}

// surely returns what counts of managedFields, or all of it where that can't be
// told: nothing is written then.
func (m Managers) surely(u *unstructured.Unstructured) []entry {
	if es, err := m.entriesOf(u); err == nil {
		return es
	}
	return entries(u)
}

// UndoNames returns the managers whose fields have to be taken back, sorted.
func UndoNames(u *unstructured.Unstructured, m Managers) []string {
	var out []string
	for _, e := range m.toUndo(m.surely(u)) {
		out = append(out, e.manager)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
