package project

import (
	"fmt"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// An Object is one that somebody wants to write.
type Object struct {
	schema.GroupKind
	Namespace, Name string
	Namespaced      bool // its kind has a namespace
}

// ObjectOf is the object that a reference names. One that has a namespace is of
// a kind that has them.
func ObjectOf(r object.Ref) Object {
	return Object{GroupKind: schema.GroupKind{Group: r.Group, Kind: r.Kind}, Namespace: r.Namespace, Name: r.Name, Namespaced: r.Namespace != ""}
}

func (o Object) words(project string) string {
	return fmt.Sprintf("resource %s:%s is not permitted in project %s", o.Group, o.Kind, project)
}

// Object reports why an object may not be written: its kind, or its namespace on
// the cluster d.
func (q *Project) Object(o Object, d Destination) error {
	if err := q.Kind(o); err != nil || !o.Namespaced {
		return err
	}
	d.Namespace = o.Namespace
	why, hint := q.placed(d)
	if why == "" {
		return nil
	}
	return q.refuse(fault.NotAdmitted, fmt.Sprintf("namespace %s is not permitted in project '%s'", o.Namespace, q.Name), why, hint)
}

// Kind reports why an object may not be written for what it is, wherever it is.
func (q *Project) Kind(o Object) error {
	if o.Namespaced {
		return q.namespacedKind(o)
	}
	allowed := false
	for _, p := range q.parts {
		for i, k := range p.spec.ClusterResourceBlacklist {
			if denied, err := named(k, o); denied || err != nil {
				return q.denied(o, rule{p.name, fmt.Sprintf("clusterResourceBlacklist[%d]", i), ""}, err)
			}
		}
		for _, k := range p.spec.ClusterResourceWhitelist {
			ok, err := named(k, o)
			allowed = allowed || ok && err == nil
		}
	}
	if allowed {
		return nil
	}
	return q.refuse(fault.NotAdmitted, o.words(q.Name),
		fmt.Sprintf("no entry of the project's spec.clusterResourceWhitelist matches %s %s, which has no namespace", o.Kind, o.Name), "add one")
}

func (q *Project) namespacedKind(o Object) error {
	allowed, listed := false, false
	for _, p := range q.parts {
		for i, k := range p.spec.NamespaceResourceBlacklist {
			if denied, err := kind(k.Group, k.Kind, o); denied || err != nil {
				return q.denied(o, rule{p.name, fmt.Sprintf("namespaceResourceBlacklist[%d]", i), ""}, err)
			}
		}
		// An empty list is one: it allows nothing. That holds for the project's
		// own, as Argo CD merges lists.
		listed = listed || p.name == "" && p.spec.NamespaceResourceWhitelist != nil || len(p.spec.NamespaceResourceWhitelist) > 0
		for _, k := range p.spec.NamespaceResourceWhitelist {
			ok, err := kind(k.Group, k.Kind, o)
			allowed = allowed || ok && err == nil
		}
	}
	if allowed || !listed {
		return nil
	}
	return q.refuse(fault.NotAdmitted, o.words(q.Name), "no entry of the project's spec.namespaceResourceWhitelist matches it", "add one")
}

func (q *Project) denied(o Object, by rule, err error) error {
	if err != nil {
		return q.refuse(fault.NotAdmitted, o.words(q.Name), fmt.Sprintf("%s can't be read and so denies all: %v", by, err), "correct that entry")
	}
	return q.refuse(fault.NotAdmitted, o.words(q.Name), by.String()+" denies it", "take the object out of the source, or change that entry")
}

// named is kind for an entry that may have a name, too.
func named(k argocd.NamedKind, o Object) (bool, error) {
	ok, err := kind(k.Group, k.Kind, o)
	if k.Name == "" {
		return ok, err
	}
	byName, bad := path.Match(k.Name, o.Name)
	if err == nil && bad != nil {
		err = fmt.Errorf("name %q is no glob", k.Name)
	}
	return ok && byName, err
}

// kind reports whether globs match an object's group and kind. Argo CD has them
// as a path's: * does not cross a slash, and there is no {a,b}.
func kind(group, kind string, o Object) (bool, error) {
	if _, err := path.Match(kind, ""); err != nil {
		return false, fmt.Errorf("kind %q is no glob", kind)
	}
	if _, err := path.Match(group, ""); err != nil {
		return false, fmt.Errorf("group %q is no glob", group)
	}
	byKind, _ := path.Match(kind, o.Kind)
	byGroup, _ := path.Match(group, o.Group)
	return byKind && byGroup, nil
}

// readKinds finds entries that can't be read.
func (q *Project) readKinds() {
	namedKinds := func(p part, field string, list []argocd.NamedKind) {
		for i, k := range list {
			if _, err := named(k, Object{}); err != nil {
				q.problem(rule{p.name, fmt.Sprintf("%s[%d]", field, i), ""}, err)
			}
		}
	}
	kinds := func(p part, field string, list []metav1.GroupKind) {
		for i, k := range list {
			if _, err := kind(k.Group, k.Kind, Object{}); err != nil {
				q.problem(rule{p.name, fmt.Sprintf("%s[%d]", field, i), ""}, err)
			}
		}
	}
	for _, p := range q.parts {
		namedKinds(p, "clusterResourceWhitelist", p.spec.ClusterResourceWhitelist)
		namedKinds(p, "clusterResourceBlacklist", p.spec.ClusterResourceBlacklist)
		kinds(p, "namespaceResourceWhitelist", p.spec.NamespaceResourceWhitelist)
		kinds(p, "namespaceResourceBlacklist", p.spec.NamespaceResourceBlacklist)
	}
}
