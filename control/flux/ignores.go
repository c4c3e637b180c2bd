package flux

import (
	"fmt"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object/ignore"
)

// ignores reads spec.ignore. What it names is not applied either: as in Flux, it
// stays as it is once the object is there.
func ignores(k *kustomization) (rules []ignore.Rule, err error) {
	for i, r := range k.Spec.Ignore {
		rule := ignore.Rule{From: fmt.Sprintf("spec.ignore[%d]", i), Pointers: r.Paths, Apply: true}
		if t := r.Target; t != nil {
			rule.Group, rule.Version, rule.Kind, rule.Namespace, rule.Name = t.Group, t.Version, t.Kind, t.Namespace, t.Name
			rule.Labels, rule.Annotations = t.LabelSelector, t.AnnotationSelector
		}
		rules = append(rules, rule)
	}
	if err := ignore.Check(rules); err != nil {
		return nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: err}
	}
	return rules, nil
}
