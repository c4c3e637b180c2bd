package owned

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// LetFill returns desired without those empty lists and maps that others have
// filled in live. Many of them are not even stored, so that Self does not own
// them; to apply one again would empty for a moment what others fill again.
// Neither object is changed.
func LetFill(desired, live *unstructured.Unstructured, m Managers) *unstructured.Unstructured {
	self, ok := m.self(entries(live))
	if !ok {
		return desired
	}
	filled, _ := letFill(desired.Object, live.Object, self.fields)
	return &unstructured.Unstructured{Object: filled}
}

// letFill returns want itself if nothing is left out.
func letFill(want, live, set map[string]any) (filled map[string]any, less bool) {
	filled = make(map[string]any, len(want))
	for k, v := range want {
		sub, owns := set["f:"+k].(map[string]any)
		there, ok := live[k]
		if ok && there != nil && !owns && isEmpty(v) && !isEmpty(there) {
			less = true
			continue
		}
		filled[k] = v
		inner, ok1 := v.(map[string]any)
		outer, ok2 := there.(map[string]any)
		if !ok1 || !ok2 {
			continue
		}
		if part, shorter := letFill(inner, outer, sub); shorter {
			filled[k], less = part, true
		}
	}
	if !less {
		return want, false
	}
	return filled, true
}
