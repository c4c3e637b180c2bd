package owned

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// Masked stands for a value that may not be shown. Whether two values of a
// Secret differ is told by a [Field] being there at all.
const Masked = "***"

// A Field is one difference between two states of an object. A value that is
// not there is nil.
type Field struct {
	Path string // spec.template.spec.containers[name=web].image
	Want any
	Got  any
	// Manager wrote Got, at When, as far as managedFields say so; both are
	// zero for a field that is gone.
	Manager string
	When    time.Time
}

// String returns the difference in one line.
func (f Field) String() string {
	return fmt.Sprintf("%s: %s → %s", f.Path, show(f.Got), show(f.Want))
}

func show(v any) string {
	if v == nil {
		return "(none)"
	}
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if len(b) > 120 {
		return string(b[:117]) + "..."
	}
	return string(b)
}

// Diff returns the fields in which want and got differ, sorted by path. Both
// are objects as the server returns them; what the server keeps for itself
// (managedFields, resourceVersion, generation, status) is left out, and values
// of Secrets are [Masked].
func Diff(want, got *unstructured.Unstructured) []Field {
	d := differ{secret: object.IsSecret(want) || object.IsSecret(got)}
	if got != nil {
		d.writers = entries(got)
	}
	var a, b map[string]any
	if want != nil {
		a = want.Object
	}
	if got != nil {
		b = got.Object
	}
	d.compare(nil, nil, strip(a), strip(b))
	slices.SortFunc(d.fields, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return d.fields
}

// Alike reports whether two states of an object are alike in all that counts:
// one as the server would make it, and live.
func Alike(want, live *unstructured.Unstructured, m Managers) bool {
	inWant, inLive, err := m.ignoredIn(want, live, live, false)
	if err != nil || m.print(want, entries(want), inWant) != m.print(live, entries(live), inLive) {
		return false
	}
	if inWant != nil || inLive != nil {
		want = &unstructured.Unstructured{Object: inWant.counting(want.Object).(map[string]any)}
		live = &unstructured.Unstructured{Object: inLive.counting(live.Object).(map[string]any)}
	}
	return len(Diff(want, live)) == 0
}

// Counting returns two states of an object without what does not count of either:
// one as the server would make it, and live.
func Counting(want, live *unstructured.Unstructured, m Managers) (a, b *unstructured.Unstructured, err error) {
	inWant, inLive, err := m.ignoredIn(want, live, live, false)
	if err != nil || inWant == nil && inLive == nil {
		return want, live, err
	}
	return &unstructured.Unstructured{Object: inWant.counting(want.Object).(map[string]any)},
		&unstructured.Unstructured{Object: inLive.counting(live.Object).(map[string]any)}, nil
}

// IgnoredDiff returns the desired fields that differ from live and don't count,
// as [Diff] does.
func IgnoredDiff(desired, live *unstructured.Unstructured, m Managers) ([]Field, error) {
	d, l, err := m.ignoredIn(desired, live, live, false)
	if err != nil || d == nil && l == nil {
		return nil, err
	}
	all := Diff(desired, live)
	count := Diff(
		&unstructured.Unstructured{Object: d.counting(desired.Object).(map[string]any)},
		&unstructured.Unstructured{Object: l.counting(live.Object).(map[string]any)},
	)
	return slices.DeleteFunc(all, func(f Field) bool {
		return f.Want == nil || slices.ContainsFunc(count, func(o Field) bool { return o.Path == f.Path })
	}), nil
}

// lastApplied holds a copy of the whole object, with a Secret's values.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func strip(o map[string]any) map[string]any {
	if o == nil {
		return nil
	}
	out := maps.Clone(o)
	delete(out, "status")
	if md, ok := o["metadata"].(map[string]any); ok {
		md = maps.Clone(md)
		for _, k := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
			delete(md, k)
		}
		out["metadata"] = md
	}
	return out
}

type differ struct {
	secret  bool
	writers []entry
	fields  []Field
}

// compare walks both values. steps are the elements of the path as fieldsV1
// spells them, as far as they are known; path is the path as people read it.
func (d *differ) compare(path, steps []string, want, got any) {
	wm, wok := want.(map[string]any)
	gm, gok := got.(map[string]any)
	if wok && gok {
		keys := map[string]bool{}
		for k := range wm {
			keys[k] = true
		}
		for k := range gm {
			keys[k] = true
		}
		for k := range keys {
			wv, gv := wm[k], gm[k]
			d.compare(append(slices.Clip(path), k), append(slices.Clip(steps), "f:"+k), wv, gv)
		}
		return
	}
	wl, wok := want.([]any)
	gl, gok := got.([]any)
	if wok && gok {
		if key := listKey(wl, gl); key != "" {
			d.compareKeyed(path, steps, key, wl, gl)
			return
		}
		for i := range max(len(wl), len(gl)) {
			var wv, gv any
			if i < len(wl) {
				wv = wl[i]
			}
			if i < len(gl) {
				gv = gl[i]
			}
			// The whole list is the unit of ownership here.
			d.compare(append(slices.Clip(path), "["+strconv.Itoa(i)+"]"), steps, wv, gv)
		}
		return
	}
	if sameValue(want, got) && sameValue(got, want) {
		return
	}
	f := Field{Path: join(path), Want: want, Got: got}
	if f.Path == "metadata.annotations."+lastApplied && want != nil && got != nil {
		return // which says what the rest says
	}
	if d.secret && len(path) > 0 && (path[0] == "data" || path[0] == "stringData") || f.Path == "metadata.annotations."+lastApplied {
		f.Want, f.Got = mask(f.Want), mask(f.Got)
	} else if f.Path == "metadata" || f.Path == "metadata.annotations" {
		f.Want, f.Got = maskLastApplied(f.Want), maskLastApplied(f.Got)
	}
	if got != nil {
		f.Manager, f.When = d.writer(steps)
	}
	d.fields = append(d.fields, f)
}

func mask(v any) any {
	if v == nil {
		return nil
	}
	if m, ok := v.(map[string]any); ok {
		out := make(map[string]any, len(m))
		for k := range m {
			out[k] = Masked
		}
		return out
	}
	return Masked
}

// maskLastApplied masks it in annotations, or in metadata that holds them.
func maskLastApplied(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	m = maps.Clone(m)
	if ann, ok := m["annotations"].(map[string]any); ok {
		m["annotations"] = maskLastApplied(ann)
	}
	if _, ok := m[lastApplied]; ok {
		m[lastApplied] = Masked
	}
	return m
}

// Mask returns a copy of u without what [Diff] would not show of it.
func Mask(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = u.DeepCopy()
	if object.IsSecret(u) {
		for _, k := range []string{"data", "stringData"} {
			if v, ok := u.Object[k]; ok {
				u.Object[k] = mask(v)
			}
		}
	}
	if ann := u.GetAnnotations(); ann[lastApplied] != "" {
		ann[lastApplied] = Masked
		u.SetAnnotations(ann)
	}
	return u
}

func (d *differ) compareKeyed(path, steps []string, key string, wl, gl []any) {
	got := map[string]any{}
	for _, it := range gl {
		got[fmt.Sprint(it.(map[string]any)[key])] = it
	}
	at := func(v string) ([]string, []string) {
		s := slices.Clip(steps)
		if b, err := json.Marshal(map[string]any{key: v}); err == nil {
			s = append(s, "k:"+string(b))
		}
		return append(slices.Clip(path), "["+key+"="+v+"]"), s
	}
	wanted := map[string]any{}
	for _, it := range wl {
		v := fmt.Sprint(it.(map[string]any)[key])
		wanted[v] = it
		p, s := at(v)
		d.compare(p, s, it, got[v])
	}
	for v, it := range got {
		if wanted[v] == nil {
			p, s := at(v)
			d.compare(p, s, nil, it)
		}
	}
	// Only elements of both lists can have changed places.
	order := func(l []any, in map[string]any) (keys []any) {
		for _, it := range l {
			if v := fmt.Sprint(it.(map[string]any)[key]); in[v] != nil {
				keys = append(keys, v)
			}
		}
		return keys
	}
	if w, g := order(wl, got), order(gl, wanted); !slices.Equal(w, g) {
		d.fields = append(d.fields, Field{Path: join(path), Want: w, Got: g}) // whose order it is, nothing tells
	}
}

// listKey returns the field by which the elements of both lists are told
// apart, where there is one that is unique in each.
func listKey(lists ...[]any) string {
	for _, key := range []string{"name", "mountPath", "containerPort", "port", "key", "type"} {
		ok := true
		for _, l := range lists {
			seen := map[string]bool{}
			for _, it := range l {
				m, isMap := it.(map[string]any)
				v, there := m[key]
				s := fmt.Sprint(v)
				if !isMap || !there || seen[s] {
					ok = false
				}
				seen[s] = true
			}
		}
		if ok {
			return key
		}
	}
	return ""
}

func join(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

// writer returns the manager that owns the field at steps, the latest if there
// are several. Where a list's real key is not the one it was shown by, the
// owner of the list counts.
func (d *differ) writer(steps []string) (string, time.Time) {
	var name string
	var when time.Time
	for _, e := range d.writers {
		if e.subresource == "status" || !owns(e.fields, steps) {
			continue
		}
		t, _ := time.Parse(time.RFC3339, e.time)
		if name == "" || t.After(when) {
			name, when = e.manager, t
		}
	}
	return name, when
}

func owns(set map[string]any, steps []string) bool {
	for i, s := range steps {
		if isLeaf(set) {
			return i > 0 // owned as a whole; an empty set owns nothing
		}
		sub, ok := set[s].(map[string]any)
		if !ok && strings.HasPrefix(s, "k:") {
			want := parseKey(s[2:])
			for k, v := range set {
				if rest, isKey := strings.CutPrefix(k, "k:"); isKey && overlaps(want, parseKey(rest)) {
					sub, ok = v.(map[string]any)
					break
				}
			}
		}
		if !ok {
			return false
		}
		set = sub
	}
	return true
}

// overlaps reports whether full has the values of part, as text: a key that is
// shown by one of its fields stands for the whole key.
func overlaps(part, full map[string]any) bool {
	for k, v := range part {
		if fmt.Sprint(full[k]) != fmt.Sprint(v) {
			return false
		}
	}
	return true
}
