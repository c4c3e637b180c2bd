package cached

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// A State is an object as it is desired and as it is; nil: it is not. Normalized
// and Predicted are those that are compared.
type State struct {
	Target, Live, Normalized, Predicted *unstructured.Unstructured
	// Sensitive are annotations of Secrets with values that nobody is shown.
	Sensitive []string
}

// Resource returns the state of an object in the shape that is stored.
func (s State) Resource(ref object.Ref, hook bool) (r Resource, err error) {
	r = Resource{Group: ref.Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Hook: hook}
	if s.Live != nil {
		r.ResourceVersion = s.Live.GetResourceVersion()
	}
	states := []*unstructured.Unstructured{plain(s.Target), plain(s.Live), plain(s.Normalized), plain(s.Predicted)}
	if ref.Kind == "Secret" && ref.Group == "" {
		mask(states, s.Sensitive)
	}
	texts := make([]string, len(states))
	for i, o := range states {
		if texts[i], err = encode(o); err != nil {
			return r, fmt.Errorf("%s: %w", ref, err)
		}
	}
	r.TargetState, r.LiveState, r.NormalizedLiveState, r.PredictedLiveState = texts[0], texts[1], texts[2], texts[3]
	r.Modified = s.Live == nil || s.Target == nil || r.NormalizedLiveState != r.PredictedLiveState
	return r, nil
}

func encode(o *unstructured.Unstructured) (string, error) {
	if o == nil {
		return "null", nil
	}
	b, err := json.Marshal(o.Object)
	return string(b), err
}

// plain returns a copy without what nobody compares.
func plain(o *unstructured.Unstructured) *unstructured.Unstructured {
	if o == nil {
		return nil
	}
	o = o.DeepCopy()
	o.SetManagedFields(nil)
	return o
}

// lastApplied holds a copy of the whole object, with a Secret's values.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// mask hides the values of a Secret in all states of it, and those of annotations.
// Of each key, those that are equal look alike, and those that are not don't, as
// far apart as Argo CD has them.
func mask(states []*unstructured.Unstructured, annotations []string) {
	const shortest, further = 8, 4
	hidden := make(map[string]map[string]string) // by key and value
	hide := func(key, value string) string {
		if hidden[key] == nil {
			hidden[key] = make(map[string]string)
		}
		if hidden[key][value] == "" {
			hidden[key][value] = strings.Repeat("+", shortest+further*len(hidden[key]))
		}
		return hidden[key][value]
	}
	for _, o := range states {
		if o == nil {
			continue
		}
		for _, field := range []string{"data", "stringData"} {
			values, ok := o.Object[field].(map[string]any)
			if !ok {
				delete(o.Object, field)
				continue
			}
			for _, key := range slices.Sorted(maps.Keys(values)) {
				values[key] = hide(key, fmt.Sprint(values[key]))
			}
		}
		ann := o.GetAnnotations()
		if ann[lastApplied] != "" {
			ann[lastApplied] = strings.Repeat("+", shortest)
		}
		for _, key := range annotations {
			if value, ok := ann[key]; ok && key != lastApplied {
				ann[key] = hide("annotation "+key, value)
			}
		}
		o.SetAnnotations(ann)
	}
}
