package control

import (
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"

	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// DependsOn is the annotation by which a unit depends on others, of whatever
// dialect: their names, with commas between them. Each is KIND/NAMESPACE/NAME;
// without a namespace it is one of the unit's own, and without a kind likewise.
const DependsOn = "plumb.dev/depends-on"

// mostDependencies is how many units one may depend on by annotation.
const mostDependencies = 100

// Dependencies reads the annotation of a unit of that kind and namespace.
func Dependencies(text, kind, namespace string) (all []engine.Dependency, err error) {
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, err := dependency(part, kind, namespace)
		if err == nil && len(all) == mostDependencies {
			err = fmt.Errorf("it names more than %d units", mostDependencies)
		}
		if err != nil {
			return nil, &fault.Error{
				Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("annotation %s: %w", DependsOn, err),
				Hint: "write names such as Application/argocd/db, with commas between them",
			}
		}
		if !seen[name] {
			seen[name] = true
			all = append(all, engine.Dependency{Unit: name, As: name, Newest: true})
		}
	}
	return all, nil
}

// dependency is the name of the unit that a part of the annotation stands for.
func dependency(part, kind, namespace string) (string, error) {
	names := strings.Split(part, "/")
	if first := []rune(names[0]); len(names) > 1 && len(first) > 0 && unicode.IsUpper(first[0]) {
		kind, names = names[0], names[1:]
	} else if len(names) > 2 {
		return "", fmt.Errorf("%q: %q is no kind", part, names[0])
	}
	switch len(names) {
	case 1:
		names = []string{namespace, names[0]}
	case 2:
	default:
		return "", fmt.Errorf("%q has too many parts", part)
	}
	if len(validation.IsDNS1123Label(names[0])) > 0 || len(validation.IsDNS1123Subdomain(names[1])) > 0 || strings.ContainsFunc(kind, notLetter) {
		return "", fmt.Errorf("%q is no name of a unit", part)
	}
	return kind + "/" + names[0] + "/" + names[1], nil
}

func notLetter(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9')
}

// Within reports whether a dependency is on a unit of that namespace. What one of
// another says of itself is not for everybody.
func Within(d engine.Dependency, namespace string) bool {
	parts := strings.SplitN(d.Unit, "/", 3)
	return len(parts) == 3 && parts[1] == namespace
}
