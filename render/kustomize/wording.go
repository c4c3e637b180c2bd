package kustomize

import (
	"regexp"
	"strings"

	"plumb.dev/plumb/object"
)

// Here is all that is read from the text of a library's error, where the
// library gives nothing else. A test holds it to what the library says, so that
// another version of it that says something else is found out. Where nothing
// matches, an error is passed on as it is.

// cyclic reports whether Kustomize came back to where it was. What is in the
// source, the survey has found before; this is about what was fetched.
func cyclic(msg string) bool { return strings.Contains(msg, "cycle detected") }

var registered = regexp.MustCompile(`already registered id: ([^.\s]+)\.\S*/([^\s/]+)\.(?:\[noNs\]|([a-z0-9-]+))(?:'|:|$)`)

// registeredTwice returns the object that Kustomize has found twice. It knows
// no group.
func registeredTwice(msg string) (object.Ref, bool) {
	m := registered.FindStringSubmatch(msg)
	if m == nil {
		return object.Ref{}, false
	}
	return object.Ref{Kind: m[1], Name: m[2], Namespace: m[3]}, true
}
