package owned

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"plumb.dev/plumb/object"
)

// A record is what an object says of itself to have been applied on the client's
// side: the annotation last-applied-configuration, as kubectl writes it.

// record returns that of u, if one of Former wrote it: somebody else's says
// nothing about what these wanted.
func (m Managers) record(u *unstructured.Unstructured, es []entry) map[string]any {
	if !slices.ContainsFunc(es, func(e entry) bool { return m.wrote(e) && e.recorded() }) {
		return nil
	}
	return readRecord(u)
}

// readRecord reads the record of u; nil: it has none that is as kubectl writes it.
func readRecord(u *unstructured.Unstructured) map[string]any {
	was := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(u.GetAnnotations()[lastApplied]), &was.Object); err != nil || len(was.Object) == 0 {
		return nil
	}
	encode(was)
	return was.Object
}

// recorded reports whether the record is one of the fields of e.
func (e entry) recorded() bool {
	_, owns := asSet(asSet(e.fields["f:metadata"])["f:annotations"])["f:"+lastApplied]
	return owns
}

// encode writes what a record of a Secret has in stringData as the server did.
func encode(was *unstructured.Unstructured) {
	plain, ok := was.Object["stringData"].(map[string]any)
	if !ok || !object.IsSecret(was) {
		return
	}
	data := maps.Clone(asSet(was.Object["data"]))
	if data == nil {
		data = make(map[string]any, len(plain))
	}
	for k, v := range plain {
		text, _ := v.(string)
		data[k] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	was.Object["data"] = data
	delete(was.Object, "stringData")
}

// formerly leaves of what Former wrote what is known to have been wanted, by the
// record and by what Self has applied since. The rest of it are defaults, and what
// admission has added: it is theirs because it came with the same request, and
// stays.
func (m Managers) formerly(es []entry, u *unstructured.Unstructured) []entry {
	if !slices.ContainsFunc(es, m.wrote) {
		return es
	}
	out := make([]entry, 0, len(es))
	for i, e := range es {
		if m.wrote(e) {
			e.fields = m.wished(u, es, i)
		}
		if e.fields != nil || !m.wrote(e) {
			out = append(out, e)
		}
	}
	return out
}

// wrote reports whether one of Former wrote the fields of e.
func (m Managers) wrote(e entry) bool {
	return e.subresource == "" && e.operation != applyOperation && slices.Contains(m.Former, e.manager)
}

// applies are the fields that Self has applied.
func (m Managers) applies(es []entry) map[string]any {
	self, _ := m.self(es)
	return self.fields
}

// wished are those fields of one of some entries that the record has, or that
// Self has applied.
func (m Managers) wished(u *unstructured.Unstructured, es []entry, i int) map[string]any {
	w := wisher{was: m.record(u, es), applied: m.applies(es)}
	for j, e := range es {
		if j != i {
			w.others = append(w.others, e.fields)
		}
	}
	return w.wished(withoutRecord(es[i].fields))
}

// A wisher knows what was wanted of a value, and what others own of it.
type wisher struct {
	was     any
	applied map[string]any
	others  []map[string]any
}

// wished are those fields of a set that were wanted. An element of a list is one
// thing: without what was defaulted in it, it would stay when it should go. A map
// by itself is not what anybody wrote.
func (w wisher) wished(set map[string]any) map[string]any {
	out := make(map[string]any, len(set))
	for key, sub := range set {
		child, has := stepLike(w.was, key)
		_, owns := w.applied[key]
		in := wisher{child, asSet(w.applied[key]), below(w.others, key)}
		s := asSet(sub)
		switch {
		case key == ".", !has && !owns, isLeaf(s) && slices.ContainsFunc(in.others, func(o map[string]any) bool { return !isLeaf(o) }):
		case isLeaf(s), isElementKey(key):
			out[key] = sub
		default:
			if s = in.wished(s); s != nil {
				out[key] = s
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// withoutRecord returns a set without the record, which is about the others.
func withoutRecord(set map[string]any) map[string]any {
	meta := asSet(set["f:metadata"])
	annotations := asSet(meta["f:annotations"])
	if _, ok := annotations["f:"+lastApplied]; !ok {
		return set
	}
	less := func(set map[string]any, key string, sub map[string]any) map[string]any {
		set = maps.Clone(set)
		if _, only := sub["."]; len(sub) == 0 || only && len(sub) == 1 {
			delete(set, key)
		} else {
			set[key] = sub
		}
		return set
	}
	annotations = maps.Clone(annotations)
	delete(annotations, "f:"+lastApplied)
	return less(set, "f:metadata", less(meta, "f:annotations", annotations))
}

// WithRecord returns what is to be applied with the record that live has, as it
// will be: whoever goes on with client-side apply takes away what is in the record
// and no longer wanted, and must not take away more. desired is all of what is
// wanted, and marks are labels and annotations of which a record may know nothing.
func WithRecord(apply, desired, live *unstructured.Unstructured, m Managers, marks ...map[string]string) (*unstructured.Unstructured, error) {
	text, ok := live.GetAnnotations()[lastApplied]
	if !ok || !slices.ContainsFunc(entries(live), func(e entry) bool { return e.recorded() && (m.wrote(e) || len(m.Former) > 0 && m.applied(e)) }) {
		return apply, nil
	}
	was, now := &unstructured.Unstructured{Object: readRecord(live)}, desired.DeepCopy()
	now.SetLabels(known(now.GetLabels(), was.GetLabels(), marks))
	now.SetAnnotations(known(now.GetAnnotations(), was.GetAnnotations(), marks))
	if !sameValue(wish(now.Object), wish(was.Object)) {
		b, err := now.MarshalJSON()
		if err != nil {
			return nil, err
		}
		if text = string(b); len(text) > mostRecord {
			text = "{}" // which takes nothing away
		}
	}
	out := apply.DeepCopy()
	ann := out.GetAnnotations()
	if ann == nil {
		ann = make(map[string]string, 1)
	}
	ann[lastApplied] = text
	out.SetAnnotations(ann)
	return out, nil
}

// mostRecord is how many bytes a record may have: an API server takes annotations
// of 256 KiB, and there are others.
const mostRecord = 200 << 10

// known returns what an object has without those marks that were not there.
func known(has, was map[string]string, marks []map[string]string) map[string]string {
	for _, m := range marks {
		for name := range m {
			if _, ok := was[name]; !ok {
				delete(has, name)
			}
		}
	}
	if len(has) == 0 {
		return nil
	}
	return has
}

// AsRecorded reports whether live is known to be as desired although m.Self has
// applied nothing of it: one of m.Former wrote it, its record says what is
// desired, and nobody has changed any of that since. False means that only the
// server can tell.
func AsRecorded(desired, live *unstructured.Unstructured, m Managers) bool {
	es := entries(live)
	was := m.record(live, es)
	if _, applied := m.self(es); was == nil || applied || live.GetDeletionTimestamp() != nil {
		return false
	}
	recorded := &unstructured.Unstructured{Object: was}
	d, r, err := m.ignoredIn(desired, recorded, live, false)
	if err != nil {
		return false
	}
	_, l, err := m.ignoredIn(desired, live, live, false)
	if err != nil {
		return false
	}
	if !sameValue(wish(d.counting(desired.Object)), wish(r.counting(was))) {
		return false
	}
	of := writer{builtIn: builtIn(desired.GroupVersionKind().Group)}
	for _, e := range es {
		if m.wrote(e) && e.recorded() {
			of.set = e.fields
		} else {
			of.others = append(of.others, e.fields)
		}
	}
	return of.stands(wish(r.counting(was)), l.counting(live.Object))
}

// wish is an object without what is no wish: its name, and what the server writes.
func wish(o any) map[string]any {
	m := maps.Clone(asSet(o))
	delete(m, "status")
	md := maps.Clone(asSet(m["metadata"]))
	for _, k := range []string{"name", "namespace", "creationTimestamp"} {
		delete(md, k)
	}
	for _, k := range []string{"labels", "annotations"} {
		if isEmpty(md[k]) || md[k] == nil {
			delete(md, k)
		}
	}
	if m["metadata"] = md; len(md) == 0 {
		delete(m, "metadata")
	}
	return m
}

// A writer is who wrote a value: what it owns of it, and what others do.
type writer struct {
	set     map[string]any
	others  []map[string]any
	builtIn bool
}

func (w writer) below(element string) writer {
	return writer{asSet(w.set[element]), below(w.others, element), w.builtIn}
}

// whole reports whether a value is one thing to w, and nobody owns a part of it.
func (w writer) whole(value any) bool {
	return isLeaf(w.set) && (!holdsMore(value) || !slices.ContainsFunc(w.others, func(s map[string]any) bool { return !isLeaf(s) }))
}

// stands reports whether what was written is still there: whoever changes a field
// takes it from its writer, and what is another's has the same value.
func (w writer) stands(was, live any) bool {
	switch was := was.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		for k, v := range was {
			_, owned := w.set["f:"+k]
			got, there := live[k]
			switch in := w.below("f:" + k); {
			case v == nil || !there && isEmpty(v):
			case !there:
				return false
			case owned && in.whole(v):
			case owned && !isLeaf(in.set):
				if !in.stands(v, got) {
					return false
				}
			case !sameButDefaults(v, got, w.builtIn):
				return false
			}
		}
		return true
	case []any:
		return w.standAll(was, live)
	}
	return false // a set has fields of what has none
}

// standAll is stands for the elements of a list, which are in the same order.
func (w writer) standAll(was []any, live any) bool {
	list, _ := live.([]any)
	used, last := make(map[string]bool, len(was)), -1
	for _, item := range was {
		key := elementKey(item, w.set, used)
		got, there := step(live, key)
		if key == "" || !there {
			return false
		}
		used[key] = true
		if isElementKey(key) {
			at := findElement(list, key)
			if at < last {
				return false // who reorders changes what they do
			}
			last = at
		}
		if in := w.below(key); !in.whole(item) && !in.stands(item, got) {
			return false
		}
	}
	return true
}

// wanted returns whether a field that is taken back was wanted by anybody. What
// was only defaulted in the element of a list is so again.
func (m Managers) wanted(live *unstructured.Unstructured) (func(fieldpath.Path) bool, error) {
	if len(m.Former) == 0 {
		return func(fieldpath.Path) bool { return true }, nil
	}
	es := entries(live)
	was := m.record(live, es)
	others, err := union(es, func(e entry) bool { return m.applied(e) || e.subresource == "" && m.undoes(e.manager) })
	if err != nil {
		return nil, err
	}
	return func(p fieldpath.Path) bool {
		_, ok := at(was, p)
		return ok || others.Has(p)
	}, nil
}

// Holds reports whether two states of an object hold the same in all that counts
// but labels and annotations that one of them lacks, whoever owns it. Where both have
// another value of one they are not the same: it may be another's.
func Holds(want, live *unstructured.Unstructured, m Managers, labels, annotations map[string]string) (bool, error) {
	w, l, err := m.ignoredIn(want, live, live, false)
	if err != nil {
		return false, err
	}
	bare := func(o any, other *unstructured.Unstructured) *unstructured.Unstructured {
		u := (&unstructured.Unstructured{Object: asSet(o)}).DeepCopy()
		less := func(has, there, marks map[string]string) map[string]string {
			for name := range marks {
				if _, ok := there[name]; !ok {
					delete(has, name)
				}
			}
			if len(has) == 0 {
				return nil
			}
			return has
		}
		u.SetLabels(less(u.GetLabels(), other.GetLabels(), labels))
		u.SetAnnotations(less(less(u.GetAnnotations(), other.GetAnnotations(), annotations), nil, map[string]string{lastApplied: ""}))
		return u
	}
	return len(Diff(bare(w.counting(want.Object), live), bare(l.counting(live.Object), want))) == 0, nil
}
