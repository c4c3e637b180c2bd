package engine

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// isName refuses an object whose name or namespace could lead a request
// elsewhere. Which names a kind allows is for the API server to say.
func isName(ref object.Ref) error {
	for _, name := range []string{ref.Name, ref.Namespace} {
		if why := content.IsPathSegmentName(name); len(why) > 0 {
			return &fault.Error{
				Next: fault.Stall, Reason: fault.BuildFailed,
				Err: fmt.Errorf("%s %q is no name of an object: %s", ref.Kind, name, strings.Join(why, ", ")),
			}
		}
	}
	return nil
}
