package owned

import (
	"encoding/json"
	"maps"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// UndoPatchType is the type of the patch that [UndoPatch] returns.
const UndoPatchType = types.JSONPatchType

// UndoPatch returns a patch of u's managedFields that gives m.Self, as one who
// applies, the fields of those whose fields are taken back. What m.Self does
// not want of them goes with its next apply, as KEP-2155 describes it for
// client-side apply. Fields to leave stay whose they are; if those are all,
// there is no patch. The patch fails if u has changed.
func UndoPatch(u *unstructured.Unstructured, m Managers, apiVersion string, leave []Path) ([]byte, error) {
	var kept []any
	took := false
	all := fieldpath.NewSet()
	es := entries(u)
	ignored, err := m.ignored(u, es, false)
	if err != nil {
		return nil, err
	}
	for i, e := range es {
		mine := m.applied(e)
		if !mine && !m.takenBack(e) {
			kept = append(kept, e.raw)
			continue
		}
		set, err := e.set()
		if err != nil {
			return nil, err
		}
		if mine {
			apiVersion = e.apiVersion
			all = all.Union(set)
			continue
		}
		if m.wrote(e) {
			e.fields = m.wished(u, es, i)
		}
		e.fields = ignored.countingSet(e.fields, u.Object, false, false)
		counts, err := e.set()
		if err != nil {
			return nil, err
		}
		rest := set.Difference(counts)
		counts.Iterate(func(p Path) {
			if Covered(p, leave, u) {
				rest.Insert(p.Copy())
			}
		})
		take := set.Difference(rest)
		took = took || !take.Empty()
		all = all.Union(take)
		if !rest.Empty() {
			less := maps.Clone(e.raw)
			if less["fieldsV1"], err = fieldsV1(rest); err != nil {
				return nil, err
			}
			kept = append(kept, less)
		}
	}
	if !took && (len(leave) > 0 || ignored != nil) {
		return nil, nil
	}
	fields, err := fieldsV1(all)
	if err != nil {
		return nil, err
	}
	self := metav1.ManagedFieldsEntry{Manager: m.Self, Operation: applyOperation, APIVersion: apiVersion, FieldsType: "FieldsV1", Time: new(metav1.Now())}
	self.FieldsV1 = metav1.NewFieldsV1(string(fields))
	return managedFieldsPatch(u, append(kept, self))
}

// BirthPatch returns a patch of u's managedFields, of the type of [UndoPatch], where
// m.Self has created u otherwise than by applying, with some annotations that say how
// it came to be: of all that it owns as the one who created it, these remain, as
// those of a manager of another name. The rest is what it applies, and defaults, which
// are nobody's. There is no patch where it did not. The patch fails if u has changed.
func BirthPatch(u *unstructured.Unstructured, m Managers, annotations map[string]string) ([]byte, error) {
	names := make(map[string]any, len(annotations))
	for name := range annotations {
		names["f:"+name] = map[string]any{}
	}
	var all []any
	created := false
	for _, e := range entries(u) {
		if e.manager != m.Self || e.operation == applyOperation || e.subresource != "" {
			all = append(all, e.raw)
			continue
		}
		created = true
		birth := maps.Clone(e.raw)
		birth["manager"] = birthManager
		birth["fieldsV1"] = map[string]any{"f:metadata": map[string]any{"f:annotations": names}}
		all = append(all, birth)
	}
	if !created {
		return nil, nil
	}
	return managedFieldsPatch(u, all)
}

// birthManager owns how objects came to be.
const birthManager = "plumb"

func managedFieldsPatch(u *unstructured.Unstructured, all []any) ([]byte, error) {
	return json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": all},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": u.GetResourceVersion()},
	})
}

// fieldsV1 returns a set as managedFields have it.
func fieldsV1(set *fieldpath.Set) (json.RawMessage, error) { return set.ToJSON() }

// MustUndo reports whether [UndoPatch] is needed before desired is applied to
// live: applying takes a field from whoever owns it only by changing it.
func MustUndo(desired, live *unstructured.Unstructured, leave []Path, m Managers) bool {
	if !NeedsUndo(live, m) {
		return false
	}
	es, err := m.entriesOf(live)
	if err != nil {
		return true // the patch says what is wrong
	}
	taken, err := union(es, m.takenBack)
	if err != nil {
		return true // as above
	}
	must := false
	taken.Iterate(func(p Path) {
		want, ok := at(desired.Object, p)
		got, _ := at(live.Object, p)
		overwritten := ok && !holds(taken, p) && !sameValue(want, got)
		must = must || !overwritten && !Covered(p, leave, live)
	})
	return must
}
