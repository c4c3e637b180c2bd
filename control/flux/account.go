package flux

import (
	"fmt"

	"plumb.dev/plumb/fault"
)

// noAccount is the error for an account that no flag lets a unit act as.
func noAccount(name, namespace string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: fault.AccessDenied,
		Err:  fmt.Errorf("CrossNamespaceDenied: spec.serviceAccountName %q is not the name of a service account in namespace %s", name, namespace),
		Hint: "name one, without its namespace",
	}
}
