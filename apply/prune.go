package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// Prune deletes the object of c, if it may be deleted. Every answer but a
// clear one keeps the object and its place in the inventory. leaving are the
// objects that were deleted before it, or would be: only those are no reason
// to keep what they are in.
func (a *Applier) Prune(ctx context.Context, c *Result, leaving map[object.Ref]bool) error {
	c.Err = a.prune(ctx, c, leaving)
	if c.Err != nil && c.Did == Open {
		c.Did = Refused
	}
	return c.Err
}

func (a *Applier) prune(ctx context.Context, c *Result, leaving map[object.Ref]bool) error {
	live, err := a.get(ctx, c)
	switch {
	case apierrors.IsNotFound(err):
		c.release(Gone, "it is gone")
		return nil
	case fault.Is(err, fault.UnknownKind):
		c.hold("the cluster does not have its kind now, so nothing is known of it")
		return nil
	case err != nil:
		return a.about(ctx, c, fmt.Errorf("read before pruning: %w", err))
	}
	if !a.Mine(live) {
		c.release(Left, "it does not carry the mark of this unit")
		return nil
	}
	policy := a.Policy(live)
	switch consent := policy.consent(a.Leaving); {
	case consent == Never && (policy.Keep || a.Leaving):
		c.release(Left, "it is marked to be kept")
		return nil
	case consent == Never:
		c.hold(whyKept)
		return nil
	case consent == Confirmed && !a.Confirmed:
		c.hold("somebody has to confirm that it may be deleted")
		return unconfirmed(c.Ref)
	}
	if live.GetDeletionTimestamp() != nil {
		why := "it is being deleted"
		if f := live.GetFinalizers(); len(f) > 0 {
			why += ", held by " + strings.Join(f, ", ")
		}
		c.hold(why)
		c.Did = Going
		return nil
	}
	if !policy.PruneProtected {
		why, err := a.protected(ctx, live, leaving)
		if err != nil {
			return a.about(ctx, c, fmt.Errorf("find out whether it may be pruned: %w", err))
		}
		if why != "" {
			c.hold(why)
			return &fault.Error{
				Next: fault.Stall, Reason: fault.PruneProtected, Object: c.Ref, Err: errors.New("not pruned: " + why),
				Hint: "delete it by hand, or put it back into the source",
			}
		}
	}
	if a.Dry {
		c.Did = Would
		return nil
	}
	if err := a.remove(ctx, c, live); err != nil && !apierrors.IsNotFound(err) {
		return a.about(ctx, c, fmt.Errorf("prune: %w", err))
	}
	c.Did = Deleted
	_, err = a.get(ctx, c)
	c.Absent = apierrors.IsNotFound(err)
	return nil
}

// release notes that there is nothing to delete, or nothing of ours.
func (r *Result) release(did Did, why string) {
	r.Action, r.Did, r.Absent, r.Why = Release, did, true, why
}

// protected says why an object must not be pruned, or nothing.
func (a *Applier) protected(ctx context.Context, live *unstructured.Unstructured, leaving map[object.Ref]bool) (string, error) {
	ref := object.RefOf(live)
	switch {
	case ref.Group == "" && ref.Kind == "Namespace":
		if held, ok := a.coming(func(r object.Ref) bool { return r.Namespace == ref.Name }); ok {
			return whyHolds(held), nil
		}
		if strings.HasPrefix(ref.Name, "kube-") || ref.Name == "default" {
			return "it is a namespace of the cluster itself", nil
		}
		if slices.Contains(a.Namespaces, ref.Name) {
			return "it is the namespace that this unit or plumb itself lives in", nil
		}
		return a.foreign(ctx, ref.Name, leaving)
	case ref.Group == "" && (ref.Kind == "PersistentVolumeClaim" || ref.Kind == "PersistentVolume"):
		return "it holds data", nil
	case ref.Group == "apiextensions.k8s.io" && ref.Kind == "CustomResourceDefinition":
		return a.instances(ctx, live, leaving)
	}
	return "", nil
}

// instances says whether a CRD has custom resources left.
func (a *Applier) instances(ctx context.Context, live *unstructured.Unstructured, leaving map[object.Ref]bool) (string, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, &crd); err != nil {
		return "", err
	}
	served := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
	if served < 0 {
		return "none of its versions is served, so it can't be told whether there are objects left", nil
	}
	md, err := metadata.NewForConfig(a.config())
	if err != nil {
		return "", err
	}
	group, kind, plural := crd.Spec.Group, crd.Spec.Names.Kind, crd.Spec.Names.Plural
	list, err := md.Resource(schema.GroupVersionResource{Group: group, Version: crd.Spec.Versions[served].Name, Resource: plural}).
		List(ctx, metav1.ListOptions{}) // every version shows the same objects
	if err != nil {
		return "", fmt.Errorf("list its %s: %w", plural, err)
	}
	for _, o := range list.Items {
		if ref := (object.Ref{Group: group, Kind: kind, Namespace: o.Namespace, Name: o.Name}); !leaving[ref] {
			return whyOfKind(ref), nil
		}
	}
	if ref, ok := a.coming(func(r object.Ref) bool { return r.Group == group && r.Kind == kind }); ok {
		return whyOfKind(ref), nil
	}
	return "", nil
}

// coming returns the first of those that would be there by now, with Dry.
func (a *Applier) coming(is func(object.Ref) bool) (first object.Ref, ok bool) {
	for r := range a.Coming {
		if is(r) && (!ok || object.Compare(r, first) < 0) {
			first, ok = r, true
		}
	}
	return first, ok
}

func whyOfKind(r object.Ref) string {
	return fmt.Sprintf("there are still objects of kind %s, such as %s", r.Kind, r)
}

func whyHolds(r object.Ref) string { return fmt.Sprintf("the namespace still holds %s", r) }

// config is the configuration to connect with in the name of the unit.
func (a *Applier) config() *rest.Config {
	config := a.Client.Config()
	if a.Client.User != "" {
		config.Impersonate.UserName = a.Client.User
	}
	return config
}

// foreign says what a namespace holds that neither leaves with it nor comes
// with every namespace, nor belongs to something else in it.
func (a *Applier) foreign(ctx context.Context, namespace string, leaving map[object.Ref]bool) (string, error) {
	disco, err := discovery.NewDiscoveryClientForConfig(a.config())
	if err != nil {
		return "", err
	}
	lists, err := disco.ServerPreferredNamespacedResourcesWithContext(ctx)
	if err != nil {
		return "", fmt.Errorf("list the kinds that it may hold: %w", err)
	}
	md, err := metadata.NewForConfig(a.config())
	if err != nil {
		return "", err
	}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return "", err
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || passing(gv.Group, r.Kind) {
				continue
			}
			objs, err := md.Resource(gv.WithResource(r.Name)).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return "", fmt.Errorf("list its %s: %w", r.Name, err)
			}
			for _, o := range objs.Items {
				ref := object.Ref{Group: gv.Group, Kind: r.Kind, Namespace: namespace, Name: o.Name}
				if leaving[ref] || given(ref) || o.DeletionTimestamp != nil {
					continue
				}
				if inside, err := a.ownedInside(ctx, &o); err != nil {
					return "", err
				} else if inside {
					continue
				}
				return whyHolds(ref), nil
			}
		}
	}
	return "", nil
}

// ownedInside reports whether o has a controller in its own namespace. Then it
// goes and stays with that, which is looked at by itself. One that is of the
// cluster outlives the namespace.
func (a *Applier) ownedInside(ctx context.Context, o metav1.Object) (bool, error) {
	by := metav1.GetControllerOf(o)
	if by == nil {
		return false, nil
	}
	m, err := a.Client.Mapping(ctx, schema.FromAPIVersionAndKind(by.APIVersion, by.Kind))
	if fault.Is(err, fault.UnknownKind) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.Scope.Name() == apimeta.RESTScopeNameNamespace, nil
}

// passing are kinds whose objects nobody keeps.
func passing(group, kind string) bool {
	switch kind {
	case "Event":
		return true
	case "Lease", "EndpointSlice":
		return strings.HasSuffix(group, "k8s.io")
	case "Endpoints", "PodMetrics":
		return true
	}
	return false
}

// given is what the cluster puts into every namespace.
func given(r object.Ref) bool {
	return r.Group == "" && (r.Kind == "ServiceAccount" && r.Name == "default" ||
		r.Kind == "ConfigMap" && r.Name == "kube-root-ca.crt")
}
