package flux

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "plumb.dev/plumb/api/flux"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
)

// A repository that `flux bootstrap` has made holds Flux itself. Two things of
// it must not reach a cluster that plumb runs on: controllers, which would act
// on the same custom resources, and definitions of kinds that plumb serves,
// which would take versions and fields from under it. These are left as they
// are. The rest of Flux is applied, since others rely on it: accounts that a
// Kustomization names, roles that add to admin and edit, the namespace, and
// definitions of kinds that plumb has none of. None of it is ever pruned, so
// that Flux can be started again.

// Labels by which Flux's own components are known.
const (
	partOf     = "app.kubernetes.io/part-of"
	instanceOf = "app.kubernetes.io/instance"
)

// componentKinds are those that Flux is made of. Its custom resources are not
// among them, whatever their labels: they are what plumb is there for.
var componentKinds = map[string][]string{
	"":                          {"Namespace", "ResourceQuota", "ServiceAccount", "Service"},
	"apps":                      {"Deployment", "StatefulSet"},
	"networking.k8s.io":         {"NetworkPolicy"},
	"rbac.authorization.k8s.io": {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"apiextensions.k8s.io":      {"CustomResourceDefinition"},
}

// isComponent reports whether an object is one of those that Flux is made of.
func isComponent(u *unstructured.Unstructured) bool {
	gvk, l := u.GroupVersionKind(), u.GetLabels()
	return slices.Contains(componentKinds[gvk.Group], gvk.Kind) && l[partOf] == "flux" && l[instanceOf] != ""
}

// isController reports whether a component of Flux runs.
func isController(u *unstructured.Unstructured) bool {
	return u.GroupVersionKind().Group == "apps" && isComponent(u)
}

// isServed reports whether an object defines a kind that plumb serves.
func isServed(u *unstructured.Unstructured) bool {
	ref := object.RefOf(u)
	return ref.Group == "apiextensions.k8s.io" && ref.Kind == "CustomResourceDefinition" && api.Defines(ref.Name)
}

// isPlumbs reports whether an object is of an installation of plumb, which may
// keep its own manifests in Git.
func isPlumbs(u *unstructured.Unstructured) bool { return u.GetLabels()[partOf] == "plumb" }

// Why an object of Flux is left alone.
const (
	whyController = "a controller of Flux would act on the same objects; plumb serve --apply-flux-components applies it"
	whyDefinition = "plumb serves this kind and keeps its own definition"
)

// Policy implements [engine.Objects]. On another cluster plumb is not at home,
// and Flux is an application like any other.
func (s objects) Policy(u engine.Unit, o *unstructured.Unstructured) apply.Policy {
	if u.Target.Cluster != "" {
		return policyOf(o)
	}
	return s.sparing(o, policyOf(o))
}

// sparing is policy p for u, but for what Flux is made of. Whether something is
// applied is decided by what Git says, and whether it may be deleted by what
// the cluster says: nobody gets an object out of plumb's hands by a label.
func (s objects) sparing(u *unstructured.Unstructured, p apply.Policy) apply.Policy {
	ordinary := s.applyComponents || !isComponent(u)
	if isServed(u) || !ordinary {
		p.Keep = true
	}
	switch {
	case isLive(u):
	case isServed(u) && !isPlumbs(u):
		p.Mode, p.Why = apply.Ignore, whyDefinition
	case isController(u) && !ordinary:
		p.Mode, p.Why = apply.Ignore, whyController
	}
	return p
}

// isLive tells an object of the cluster from one that is desired: the API
// server takes none that says who manages it.
func isLive(u *unstructured.Unstructured) bool {
	m, _ := u.Object["metadata"].(map[string]any)
	return m["managedFields"] != nil
}

// applied is the message of a unit that is ready. What was left alone stays to
// be seen there, for as long as it is.
func applied(revision string, left []engine.Left) string {
	m := "Applied revision: " + revision
	switch len(left) {
	case 0:
		return m
	case 1:
		return m + noteMark + "1 object of Flux itself is left alone, which plumb diff shows"
	}
	return fmt.Sprintf("%s%s%d objects of Flux itself are left alone, which plumb diff shows", m, noteMark, len(left))
}

// noteMark is between the revision and what else there is to say. No revision
// has it: a branch has no spaces.
const noteMark = "; "

// noteOf returns what [applied] says beside the revision.
func noteOf(message string) string {
	if !strings.HasPrefix(message, "Applied revision: ") {
		return ""
	}
	_, note, _ := strings.Cut(message, noteMark)
	return note
}

// leftAlone lists objects for an event, those with the same reason together.
func leftAlone(left []engine.Left) string {
	names := map[string][]string{}
	var whys []string
	for _, l := range left {
		if names[l.Why] == nil {
			whys = append(whys, l.Why)
		}
		names[l.Why] = append(names[l.Why], l.Ref.String())
	}
	parts := make([]string, len(whys))
	for i, why := range whys {
		parts[i] = strings.Join(names[why], ", ") + ": " + why
	}
	return "left alone: " + strings.Join(parts, "; ")
}

// tellSpared says once which objects of Flux itself were left alone: not again
// when a unit recovers, and not after a restart.
func (r *kustomizations) tellSpared(k *kustomization, was metav1.Condition, out engine.Outcome) {
	if len(out.Left) == 0 {
		return
	}
	message := leftAlone(out.Left)
	before := r.told.leaves(k.key(), message)
	known := noteOf(was.Message) == noteOf(applied(out.Revision, out.Left))
	if before == message || before == "" && known {
		return
	}
	r.event(k, out.Revision, corev1.EventTypeNormal, "FluxComponents", message)
}
