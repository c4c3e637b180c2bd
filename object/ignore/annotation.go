package ignore

import (
	"fmt"

	"sigs.k8s.io/yaml"
)

// AnnotationKey is the annotation by which an object says in which of its own
// fields a difference does not count. Its value is YAML with the keys
// jsonPointers, jqPathExpressions and managedFieldsManagers, each a list, as
// Argo CD has them for kinds in resource.customizations.ignoreDifferences.
const AnnotationKey = "plumb.dev/ignore-differences"

// Annotation reads what annotations say, and nil if that is nothing. apply is
// that of the [Rule]. Other keys are read like [AnnotationKey].
func Annotation(annotations map[string]string, apply bool, others ...string) (own *Own) {
	for _, key := range append([]string{AnnotationKey}, others...) {
		value, ok := annotations[key]
		switch rule, err := annotated(key, value); {
		case !ok:
		case err != nil:
			return &Own{Err: err}
		default:
			rule.Apply = apply
			own = own.And(rule)
		}
	}
	return own
}

func annotated(key, value string) (r Rule, err error) {
	var said struct {
		JSONPointers          []string `json:"jsonPointers"`
		JQPathExpressions     []string `json:"jqPathExpressions"`
		ManagedFieldsManagers []string `json:"managedFieldsManagers"`
	}
	from := "annotation " + key
	if len(value) > maxText {
		return r, &Error{From: from, Unreadable: true, Err: fmt.Errorf("it is longer than %d bytes", maxText)}
	}
	if err := yaml.UnmarshalStrict([]byte(value), &said); err != nil {
		return r, &Error{
			From: from, Unreadable: true,
			Err: fmt.Errorf("it has to be YAML with lists jsonPointers, jqPathExpressions or managedFieldsManagers: %w", err),
		}
	}
	r = Rule{From: from, Pointers: said.JSONPointers, JQ: said.JQPathExpressions, Managers: said.ManagedFieldsManagers}
	return r, Check([]Rule{r})
}
