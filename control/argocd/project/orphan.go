package project

import (
	"fmt"

	"plumb.dev/plumb/api/argocd"
)

// orphans are which objects count as orphaned.
type orphans struct {
	warn   bool
	ignore []ignored
}

// An ignored is an entry of orphanedResources.ignore.
type ignored struct {
	group, kind, name func(string) bool
}

func (q *Project) readOrphans(o *argocd.OrphanedResources) {
	if o == nil {
		return
	}
	q.orphans = &orphans{warn: o.Warn != nil && *o.Warn}
	for i, entry := range o.Ignore {
		var in ignored
		var errs [3]error
		in.group, errs[0] = orAll(entry.Group, false)
		in.kind, errs[1] = orAll(entry.Kind, true)
		in.name, errs[2] = orAll(entry.Name, true)
		read := true
		for _, err := range errs {
			if err != nil {
				q.problem(rule{field: fmt.Sprintf("orphanedResources.ignore[%d]", i)}, err)
				read = false
			}
		}
		if read {
			q.orphans.ignore = append(q.orphans.ignore, in)
		}
	}
}

// orAll is a glob, of which an empty one may stand for all.
func orAll(text string, empty bool) (func(string) bool, error) {
	if text == "" && empty {
		return func(string) bool { return true }, nil
	}
	return compile(text)
}

// SeeksOrphans reports whether objects that no Application has are of interest,
// and whether their Applications are to warn of them.
func (q *Project) SeeksOrphans() (seek, warn bool) {
	return q.orphans != nil, q.orphans != nil && q.orphans.warn
}

// Orphan reports whether an object that no Application has, and no other object
// owns, counts as orphaned. What every namespace has does not, nor what the
// project denies.
func (q *Project) Orphan(o Object) bool {
	if q.orphans == nil || o.Namespace == "" {
		return false
	}
	core := o.Group == ""
	switch {
	case core && o.Kind == "Service" && o.Name == "kubernetes" && o.Namespace == "default",
		core && o.Kind == "ServiceAccount" && o.Name == "default",
		core && o.Kind == "ConfigMap" && o.Name == "kube-root-ca.crt":
		return false
	}
	for _, in := range q.orphans.ignore {
		if in.kind(o.Kind) && in.group(o.Group) && in.name(o.Name) {
			return false
		}
	}
	o.Namespaced = true
	return q.Kind(o) == nil
}

// OrphansWarning is what a condition says of n orphaned objects.
func OrphansWarning(n int) string { return fmt.Sprintf("Application has %d orphaned resources", n) }
