package render

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// finish makes a set of what was built: lists taken apart, Kustomize's own
// kinds left out, metadata added, every object named, and each once.
func finish(all object.Set, o Options) (object.Set, error) {
	set := make(object.Set, 0, len(all))
	for _, u := range all {
		items, err := flatten(u)
		if err != nil {
			return nil, err
		}
		for _, u := range items {
			if len(u.Object) == 0 || strings.HasPrefix(u.GetAPIVersion(), "kustomize.config.k8s.io/") {
				continue
			}
			if err := complete(u); err != nil {
				return nil, err
			}
			if err := mark(u, o); err != nil {
				return nil, err
			}
			set = append(set, u)
		}
	}
	return set, once(set)
}

// flatten returns the items of a list, or the object.
func flatten(u *unstructured.Unstructured) (object.Set, error) {
	items, ok := u.Object["items"].([]any)
	if !ok || !strings.HasSuffix(u.GetKind(), "List") {
		return object.Set{u}, nil
	}
	set := make(object.Set, 0, len(items))
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, invalid(u, "item %d is not an object", i)
		}
		set = append(set, &unstructured.Unstructured{Object: m})
	}
	return set, nil
}

func invalid(u *unstructured.Unstructured, format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: buildFailed, Object: object.RefOf(u), Err: fmt.Errorf(format, args...)}
}

// complete checks that u says what it is.
func complete(u *unstructured.Unstructured) error {
	switch {
	case u.GetKind() == "":
		return invalid(u, "an object without kind")
	case u.GetAPIVersion() == "":
		return invalid(u, "has no apiVersion")
	case u.GetName() == "" && u.GetGenerateName() != "":
		return invalid(u, "has a generateName, which gives a new object each time: give it a name")
	case u.GetName() == "":
		return invalid(u, "has no metadata.name")
	}
	return nil
}

// mark sets the labels and annotations of the options on the metadata of u.
func mark(u *unstructured.Unstructured, o Options) error {
	for field, values := range map[string]map[string]string{"labels": o.Labels, "annotations": o.Annotations} {
		if len(values) == 0 {
			continue
		}
		meta := u.Object["metadata"].(map[string]any) // it has a name
		at, ok := meta[field].(map[string]any)
		if !ok {
			if meta[field] != nil {
				return invalid(u, "metadata.%s is not a map", field)
			}
			at = map[string]any{}
			meta[field] = at
		}
		for k, v := range values {
			at[k] = v
		}
	}
	return nil
}

// once checks that no two objects are the same one.
func once(set object.Set) error {
	seen := make(map[object.Ref]*unstructured.Unstructured, len(set))
	for _, u := range set {
		ref := object.RefOf(u)
		if other, ok := seen[ref]; ok {
			return invalid(u, "is there twice, as %s and as %s", other.GetAPIVersion(), u.GetAPIVersion())
		}
		seen[ref] = u
	}
	return nil
}
