package flux

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/fault"
)

// isName refuses what is no name of an object before it becomes part of a
// request. Which names a kind allows is for the API server to say; what could
// lead elsewhere is none of any kind.
func isName(field, namespace, name string) error {
	invalid := func(what, value string, why []string) error {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec,
			Err: fmt.Errorf("%s: %q is no name of %s: %s", field, clip(value), what, strings.Join(why, ", ")),
		}
	}
	if name == "" {
		return invalid("an object", name, []string{"it is empty"})
	}
	if why := content.IsPathSegmentName(name); len(why) > 0 {
		return invalid("an object", name, why)
	}
	if len(name) > validation.DNS1123SubdomainMaxLength {
		return invalid("an object", name, []string{"it is too long"})
	}
	if namespace == "" {
		return nil
	}
	if why := validation.IsDNS1123Label(namespace); len(why) > 0 {
		return invalid("a namespace", namespace, why)
	}
	return nil
}

// references refuses what is no name in the references of a Kustomization to
// objects that plumb reads for it.
func (o Options) references(k *kustomization) error {
	for _, d := range k.Spec.DependsOn {
		if err := isName("spec.dependsOn", d.Namespace, d.Name); err != nil {
			return err
		}
		if d.Namespace != "" && d.Namespace != k.Namespace && o.NoCrossNamespaceRefs {
			return accessDenied("spec.dependsOn: can't access Kustomization/%s/%s from namespace %s", d.Namespace, d.Name, k.Namespace)
		}
	}
	named, err := control.Dependencies(k.Annotations[control.DependsOn], KustomizationKind.Kind, k.Namespace)
	if err != nil {
		return err
	}
	for _, d := range named {
		if o.NoCrossNamespaceRefs && !control.Within(d, k.Namespace) {
			return accessDenied("annotation %s: can't access %s from namespace %s", control.DependsOn, d.As, k.Namespace)
		}
	}
	if p := k.Spec.PostBuild; p != nil {
		for _, f := range p.SubstituteFrom {
			if err := isName("spec.postBuild.substituteFrom", "", f.Name); err != nil {
				return err
			}
		}
	}
	return nil
}
