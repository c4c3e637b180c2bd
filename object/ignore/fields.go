package ignore

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// Fields are all that rules say of one object. It is safe for concurrent use.
type Fields struct {
	o   *Options
	key string
	err error // why it can't be told what they say
	// unapplied: of what is asked only what is not applied counts.
	unapplied bool
	asked
}

func (f *Fields) add(a asked) {
	f.pointers = append(f.pointers, a.pointers...)
	f.exprs = append(f.exprs, a.exprs...)
	f.managers = append(f.managers, a.managers...)
}

// seal makes the key, by which what is said is told from what is said
// otherwise.
func (f *Fields) seal() {
	h := sha256.New()
	for _, p := range f.pointers {
		fmt.Fprintf(h, "p%q %t\n", p.steps, p.apply)
	}
	for _, x := range f.exprs {
		fmt.Fprintf(h, "x%q %t\n", x.text, x.apply)
	}
	for _, m := range f.managers {
		fmt.Fprintf(h, "m%q %t\n", m.Name, m.Apply)
	}
	fmt.Fprintf(h, "e%v %q", f.err, f.o.Marks)
	f.key = string(h.Sum(nil)[:16])
}

// Same reports whether two say the same; nil says nothing.
func (f *Fields) Same(o *Fields) bool {
	return f == o || f != nil && o != nil && f.key == o.key
}

// Slow reports whether it takes time to tell what they say of an object: then
// no lock should be held meanwhile. Nil does not.
func (f *Fields) Slow() bool { return f != nil && len(f.exprs) > 0 }

// Marks are paths of fields that count whatever is said.
func (f *Fields) Marks() [][]string { return f.o.Marks }

// Applies reports whether some of the fields are not applied either, or that
// can't be told.
func (f *Fields) Applies() bool {
	if f.err != nil {
		return true
	}
	for _, p := range f.pointers {
		if p.apply {
			return true
		}
	}
	for _, x := range f.exprs {
		if x.apply {
			return true
		}
	}
	for _, m := range f.managers {
		if m.Apply {
			return true
		}
	}
	return false
}

// Applied reports whether some of the fields are applied, and only not compared.
func (f *Fields) Applied() bool {
	return !f.unapplied && (slices.ContainsFunc(f.pointers, func(p pointer) bool { return !p.apply }) ||
		slices.ContainsFunc(f.exprs, func(x expression) bool { return !x.apply }) ||
		slices.ContainsFunc(f.managers, func(m Manager) bool { return !m.Apply }))
}

// Unapplied returns what of f is not applied either. It can't be told where f can't.
func (f *Fields) Unapplied() *Fields {
	out := *f
	out.unapplied, out.key = true, "unapplied "+f.key
	return &out
}

// A Path is where a field is in an object as it is now: names of fields, and
// places in lists.
type Path struct {
	Steps []any // of type string and int
	Apply bool  // as in a [Rule]
}

// A Manager is one whose fields don't count.
type Manager struct {
	Name  string
	Apply bool // as in a [Rule]
}

// Of says which fields of an object as it is now don't count, and whose. The
// error is an [Error], or what the rules that the object has about itself were
// read with.
func (f *Fields) Of(u *unstructured.Unstructured) (paths []Path, managers []Manager, err error) {
	paths, managers, err = f.all(u)
	if f.unapplied {
		paths = slices.DeleteFunc(paths, func(p Path) bool { return !p.Apply })
		managers = slices.DeleteFunc(slices.Clone(managers), func(m Manager) bool { return !m.Apply })
	}
	return paths, managers, err
}

func (f *Fields) all(u *unstructured.Unstructured) (paths []Path, managers []Manager, err error) {
	if f.err != nil {
		return nil, nil, f.err
	}
	for _, p := range f.pointers {
		if steps, ok := p.in(u.Object); ok {
			paths = append(paths, Path{steps, p.apply})
		}
	}
	if len(f.exprs) == 0 {
		return paths, f.managers, nil
	}
	content, err := shown(u)
	if err != nil {
		return nil, nil, &Error{From: f.exprs[0].from, Err: err}
	}
	finder := f.o.Finder
	if finder == nil {
		finder = Here{}
	}
	for _, x := range f.exprs {
		found, err := finder.Find(x.text, content)
		if err != nil {
			return nil, nil, &Error{From: x.from, Rule: x.text, Err: err}
		}
		for _, steps := range found {
			paths = append(paths, Path{steps, x.apply})
		}
	}
	return paths, f.managers, nil
}

// in returns the way to the field in an object; there is none past a value or
// to a place that a list can't have.
func (p pointer) in(v any) (steps []any, ok bool) {
	for _, s := range p.steps {
		switch in := v.(type) {
		case []any:
			i, err := strconv.Atoi(s)
			if err != nil || i < 0 || i >= len(in) || strconv.Itoa(i) != s {
				return nil, false
			}
			steps, v = append(steps, i), in[i]
		case map[string]any:
			steps, v = append(steps, s), in[s]
		case nil:
			steps = append(steps, s) // it may be owned all the same
		default:
			return nil, false
		}
	}
	return steps, true
}

// hidden stands for a value of a Secret, which no expression gets to see.
const hidden = "***"

// shown is what expressions get to see of an object, as JSON.
func shown(u *unstructured.Unstructured) ([]byte, error) {
	out := make(map[string]any, len(u.Object))
	secret := object.IsSecret(u)
	for k, v := range u.Object {
		switch {
		case k == "metadata":
			v = withoutManagers(v)
		case secret && (k == "data" || k == "stringData"):
			m, _ := v.(map[string]any)
			masked := make(map[string]any, len(m))
			for name := range m {
				masked[name] = hidden
			}
			v = masked
		}
		out[k] = v
	}
	return json.Marshal(out)
}

// withoutManagers is metadata without what the server notes about fields, and
// without the copy of an object that kubectl keeps.
func withoutManagers(metadata any) any {
	m, _ := metadata.(map[string]any)
	out := make(map[string]any, len(m))
	for k, v := range m {
		if k == "managedFields" {
			continue
		}
		if a, ok := v.(map[string]any); ok && k == "annotations" {
			less := make(map[string]any, len(a))
			for name, text := range a {
				if name == "kubectl.kubernetes.io/last-applied-configuration" {
					text = hidden
				}
				less[name] = text
			}
			v = less
		}
		out[k] = v
	}
	return out
}
