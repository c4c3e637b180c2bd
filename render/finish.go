package render

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// finish makes a set of what was built: variables replaced, lists taken apart,
// the builder's own kinds left out, metadata added, every object named, and
// each once unless they may be repeated.
func finish(ctx context.Context, built Built, o Options, l limits) (object.Set, error) {
	all, err := substitute(ctx, built.Objects, o.Substitute, l)
	if err != nil {
		return nil, err
	}
	set := make(object.Set, 0, len(all))
	seen := make(map[object.Ref]named, len(all))
	for _, one := range all {
		items, err := flatten(one)
		if err != nil {
			return nil, err
		}
		for _, n := range items {
			if len(n.Object) == 0 || built.Own != "" && strings.HasPrefix(n.GetAPIVersion(), built.Own+"/") {
				continue
			}
			if err := wellFormed(n, built, o); err != nil {
				return nil, err
			}
			if err := complete(n, built, o); err != nil {
				return nil, err
			}
			mark(n, o)
			ref := object.RefOf(n.Unstructured)
			if other, ok := seen[ref]; ok && ref.Name != "" && !o.Repeats {
				return nil, n.invalid("%sis there twice, as %s %s and as %s %s", built.placeOf(n.as, nil), other.GetAPIVersion(), other.as, n.GetAPIVersion(), n.as)
			}
			seen[ref] = n
			set = append(set, n.Unstructured)
		}
	}
	return set, nil
}

// flatten returns the items of a list, or the object.
func flatten(n named) ([]named, error) {
	items, ok := n.Object["items"].([]any)
	if !ok || !strings.HasSuffix(n.GetKind(), "List") {
		return []named{n}, nil
	}
	all := make([]named, 0, len(items))
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, n.invalid("item %d is not an object", i)
		}
		all = append(all, named{&unstructured.Unstructured{Object: m}, n.as})
	}
	return all, nil
}

// complete checks that n says what it is.
func complete(n named, built Built, o Options) error {
	switch {
	case n.GetKind() == "":
		return n.invalid("an object without kind")
	case n.GetAPIVersion() == "":
		return n.invalid("has no apiVersion")
	case n.GetName() == "" && o.GenerateNames:
	case n.GetName() == "" && n.GetGenerateName() != "":
		return n.invalid("%shas a generateName, which gives a new object each time: give it a name", built.placeOf(n.as, nil))
	case n.GetName() == "":
		return n.invalid("%s%s has no metadata.name", built.placeOf(n.as, nil), n.GetKind())
	}
	for _, name := range []struct{ field, is string }{
		{"kind", n.GetKind()}, {"apiVersion", n.GetAPIVersion()}, {"metadata.name", n.GetName()}, {"metadata.namespace", n.GetNamespace()},
	} {
		if len(name.is) > longestName || strings.ContainsFunc(name.is, notInNames) {
			return n.invalid("its %s is longer than %d bytes, or has characters that no name has", name.field, longestName)
		}
	}
	return nil
}

const longestName = 253

func notInNames(r rune) bool {
	return unicode.IsControl(r) || unicode.IsSpace(r) || r == utf8.RuneError
}

// mark sets the labels and annotations of the options on the metadata of n.
func mark(n named, o Options) {
	meta, ok := n.Object["metadata"].(map[string]any)
	if !ok { // it has no name, and needs none
		meta = map[string]any{}
		n.Object["metadata"] = meta
	}
	for _, add := range []struct {
		field  string
		values map[string]string
	}{{"labels", o.Labels}, {"annotations", o.Annotations}} {
		if len(add.values) == 0 {
			continue
		}
		at, ok := meta[add.field].(map[string]any)
		if !ok {
			at = map[string]any{}
			meta[add.field] = at
		}
		for k, v := range add.values {
			at[k] = v
		}
	}
}
