package owned

// defaults are what the API server adds to what is applied, by the name of the
// field, inside of lists and maps that are owned as a whole: a container's
// fieldRef, the ports of a NetworkPolicy, the templates of a StatefulSet's
// claims. Elsewhere what is added is owned by nobody, and does not count.
//
// That one is there proves nothing, but changes nothing either: where it was
// applied before and no longer is, the server would add it again. So only the
// server's own kinds, whose defaults these are, are compared with them.
var defaults = map[string][]any{
	"protocol":          {"TCP"},
	"apiVersion":        {"v1"},
	"apiGroup":          {"rbac.authorization.k8s.io"},
	"kind":              {"PersistentVolumeClaim"},
	"divisor":           {"0"},
	"expirationSeconds": {int64(3600)},
	"volumeMode":        {"Filesystem"},
	"status":            {map[string]any{"phase": "Pending"}},
}

// isDefault reports whether the server may have added a field of that name.
func isDefault(name string, value any) bool {
	for _, d := range defaults[name] {
		if sameValue(d, value) {
			return true
		}
	}
	return false
}

// builtIn reports whether the kinds of a group are the API server's own, among
// those that have such fields. A suffix does not tell: there are CRDs in
// gateway.networking.k8s.io.
func builtIn(group string) bool {
	switch group {
	case "", "apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io":
		return true
	}
	return false
}
