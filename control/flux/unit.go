package flux

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	fluxkustomize "github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/watch/health"
)

// Options are the settings of the dialect, one flag of plumb serve each.
type Options struct {
	NoCrossNamespaceRefs  bool
	NoRemoteBases         bool
	DefaultServiceAccount string
	StrictSubstitution    bool
	OverrideManagers      []string
	CustomStageKinds      []string
	Kubeconfig            cluster.KubeconfigPolicy
	ApplyFluxComponents   bool
	// OwnNamespace is where plumb runs; it is never pruned.
	OwnNamespace string
}

// A getter reads a Secret or ConfigMap, such as a [lookup.Session].
type getter interface {
	Get(lookup.Ref) (data map[string][]byte, found bool, err error)
}

// unit makes the unit of a Kustomization. One that can't be held true says why.
func (o Options) unit(k *kustomization, refs getter) engine.Unit {
	u, err := o.toUnit(k, refs)
	if err == nil {
		var from string
		if from, err = o.sourceName(k); err == nil {
			u.Sources = []string{from}
		}
	}
	u.Refused = err
	return u
}

// toUnit makes the unit of a Kustomization but for its source. With an error, it
// has what could be told.
func (o Options) toUnit(k *kustomization, refs getter) (u engine.Unit, err error) {
	u = engine.Unit{
		Name: unitName(KustomizationKind.Kind, k.Namespace, k.Name), UID: string(k.UID), Namespace: k.Namespace,
		Digest: digestOfSpec(k), Suspended: k.Spec.Suspend, Was: standingOf(k),
		Interval: k.Spec.Interval.Duration, RetryInterval: k.GetRetryInterval(),
		Objects:  objects{o.ApplyFluxComponents},
		Managers: managers(o.OverrideManagers),
		Force:    k.Spec.Force,
		Order:    apply.Order{Stage: o.CustomStageKinds, Needed: sourceKinds},
		Prune: engine.Prune{
			Enabled:    k.Spec.Prune,
			AllowEmpty: strings.EqualFold(k.Annotations[allowEmpty], "true"),
			Approved:   k.Annotations[approvePrune],
			Held:       report.Find(k.Status.Conditions, report.Ready).Reason == string(fault.PruneHeld),
			Protected:  []string{o.OwnNamespace},
		},
		Health:  engine.Health{Wait: k.Spec.Wait, Timeout: k.GetTimeout()},
		Leaving: !k.DeletionTimestamp.IsZero(),
		Applied: k.Status.LastAppliedRevision, AppliedDigest: appliedDigest(&k.Status),
	}
	if u.Remembers, err = inventoryOf(&k.Status); err != nil {
		u.Unknown = true
		return u, &fault.Error{Next: fault.Stall, Reason: fault.InvalidInventory, Err: fmt.Errorf("status.inventory: %w", err), Hint: "nothing is applied or pruned until it is repaired"}
	}
	if u.Target, err = o.target(k, refs); err != nil && !errors.Is(err, view.ErrOffline) {
		u.Target.Invalid = true
		if k.Spec.KubeConfig != nil && u.Target.Cluster == "" {
			u.Target.Cluster = engine.Nowhere
		}
		return u, err
	}
	if k.Spec.Decryption != nil {
		// Without the field, what is encrypted would be refused all the same.
		return u, &fault.Error{
			Next: fault.Stall, Reason: fault.UnsupportedField, Err: errors.New("spec.decryption: this version of plumb does not decrypt"),
			Hint: "leave this Kustomization to a controller that does, or have its Secrets made in the cluster",
		}
	}
	if u.Ignores, err = ignores(k); err != nil {
		return u, err
	}
	if err := o.references(k); err != nil {
		return u, err
	}
	var judges health.Rules
	if u.Health.Checks, judges, err = o.checks(k); err != nil {
		return u, err
	}
	if len(judges) > 0 {
		u.Health.Judges = judges
	}
	options, err := o.renderOptions(k, refs)
	u.Renders = []engine.Rendering{{Options: options}}
	return u, err
}

func (o Options) target(k *kustomization, refs getter) (t engine.Target, err error) {
	account := k.Spec.ServiceAccountName
	if account == "" {
		account = o.DefaultServiceAccount
	}
	if account != "" {
		if strings.ContainsAny(account, ":/") {
			return t, noAccount(account, k.Namespace)
		}
		if err := isName("spec.serviceAccountName", "", account); err != nil {
			return t, err
		}
		t.User = cluster.User(k.Namespace, account)
	}
	kc := k.Spec.KubeConfig
	if kc == nil {
		return t, nil
	}
	if kc.ConfigMapRef != nil {
		return t, unsupported("kubeConfig.configMapRef", "this version of plumb connects only with a kubeconfig from a Secret")
	}
	if kc.SecretRef == nil {
		return t, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.kubeConfig names no Secret")}
	}
	if err := isName("spec.kubeConfig", "", kc.SecretRef.Name); err != nil {
		return t, err
	}
	ref, _ := kubeconfigSecret(k)
	data, found, err := refs.Get(ref)
	if err != nil {
		return t, err
	}
	missing := func(what string) error {
		return &fault.Error{Next: fault.Wait, Reason: fault.ReconciliationFailed, Err: fmt.Errorf("spec.kubeConfig: %s", what), Hint: "create it"}
	}
	if !found {
		return t, missing(ref.String() + " does not exist")
	}
	keys := []string{kc.SecretRef.Key}
	if kc.SecretRef.Key == "" {
		keys = []string{"value", "value.yaml"}
	}
	for _, key := range keys {
		if raw := data[key]; len(raw) > 0 {
			t.Cluster, t.Config, err = cluster.Kubeconfig(raw, o.Kubeconfig)
			if err != nil {
				return t, fmt.Errorf("spec.kubeConfig: %s: %w", ref, err)
			}
			if k.Spec.ServiceAccountName == "" {
				t.User = "" // the default account is one of the cluster that plumb runs in
			}
			return t, nil
		}
	}
	return t, missing(fmt.Sprintf("%s has no key %s", ref, strings.Join(keys, " or ")))
}

// kubeconfigSecret is the Secret that holds the way to the unit's cluster, if
// there is one.
func kubeconfigSecret(k *kustomization) (ref lookup.Ref, ok bool) {
	kc := k.Spec.KubeConfig
	if kc == nil || kc.SecretRef == nil {
		return ref, false
	}
	return lookup.Ref{Kind: lookup.Secret, Namespace: k.Namespace, Name: kc.SecretRef.Name}, true
}

// kustomizeOptions are what a Kustomization adds to the kustomization of its
// path. Where there is none, it is made.
func (o Options) kustomizeOptions(k *kustomization) kustomize.Options {
	b := kustomize.Options{
		Generate: true, Namespace: k.Spec.TargetNamespace,
		NamePrefix: k.Spec.NamePrefix, NameSuffix: k.Spec.NameSuffix,
		Components: k.Spec.Components, IgnoreMissingComponents: k.Spec.IgnoreMissingComponents,
		AllowRemoteBases: !o.NoRemoteBases,
	}
	for _, p := range k.Spec.Patches {
		b.Patches = append(b.Patches, kustomize.Patch{Patch: p.Patch, Target: selector(p.Target)})
	}
	for _, i := range k.Spec.Images {
		b.Images = append(b.Images, kustomize.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
	}
	for _, m := range k.Spec.BuildMetadata {
		b.BuildMetadata = append(b.BuildMetadata, string(m))
	}
	return b
}

func (o Options) renderOptions(k *kustomization, refs getter) (r render.Options, err error) {
	r = render.Options{Path: k.Spec.Path, Builder: o.kustomizeOptions(k)}
	if m := k.Spec.CommonMetadata; m != nil {
		r.Labels, r.Annotations = m.Labels, m.Annotations
	}
	p := k.Spec.PostBuild
	if p == nil {
		return r, nil
	}
	vars := make(map[string]string)
	secret := make(map[string]bool)
	for _, f := range p.SubstituteFrom {
		ref := lookup.Ref{Kind: lookup.Kind(f.Kind), Namespace: k.Namespace, Name: f.Name}
		data, found, err := refs.Get(ref)
		if err != nil && (!f.Optional || !errors.Is(err, view.ErrOffline)) {
			return r, err
		}
		if !found && !f.Optional {
			return r, &fault.Error{
				Next: fault.Wait, Reason: fault.BuildFailed, Err: fmt.Errorf("spec.postBuild.substituteFrom: %s does not exist", ref),
				Hint: "create it, or mark it optional",
			}
		}
		for key, v := range data {
			secret[key] = ref.Kind == lookup.Secret
			vars[key] = string(v)
		}
	}
	for key, v := range p.Substitute {
		delete(secret, key)
		vars[key] = v
	}
	r.Substitute = &render.Substitution{
		Vars: vars, Secret: namesOf(secret), Always: p.SubstituteStrategy == "Always", Strict: o.StrictSubstitution, DisabledKey: substituteKey,
	}
	return r, nil
}

// namesOf returns the names for which a set says yes, sorted.
func namesOf(set map[string]bool) (names []string) {
	for name, yes := range set {
		if yes {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func selector(s *fluxkustomize.Selector) *kustomize.Selector {
	if s == nil {
		return nil
	}
	return &kustomize.Selector{
		Group: s.Group, Version: s.Version, Kind: s.Kind, Name: s.Name, Namespace: s.Namespace,
		LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector,
	}
}

// objects is how the objects of Kustomizations are marked and read. It
// implements [engine.Objects].
type objects struct{ applyComponents bool }

// Selector implements [engine.Objects].
func (objects) Selector() string { return nameLabel }

// Marks implements [engine.Objects].
func (objects) Marks(u engine.Unit) func(object.Ref) engine.Marks {
	_, key := keyOf(u.Name)
	m := engine.Marks{Labels: map[string]string{nameLabel: key.Name, namespaceLabel: key.Namespace}}
	return func(object.Ref) engine.Marks { return m }
}

// Admits implements [engine.Objects].
func (objects) Admits(engine.Unit, object.Ref) error { return nil }

// Owner implements [engine.Objects].
func (objects) Owner(o *unstructured.Unstructured) string {
	l := o.GetLabels()
	if l[nameLabel] == "" {
		return ""
	}
	return unitName(KustomizationKind.Kind, l[namespaceLabel], l[nameLabel])
}

// policyOf reads the annotations, or labels, by which an object says how it is
// to be treated.
func policyOf(o *unstructured.Unstructured) (p apply.Policy) {
	ann, lab := o.GetAnnotations(), o.GetLabels()
	is := func(key, value string) bool {
		return strings.EqualFold(ann[prefix+key], value) || strings.EqualFold(lab[prefix+key], value)
	}
	switch {
	case is("reconcile", "disabled"):
		p.Mode, p.Keep = apply.Ignore, true
	case is("ssa", "Ignore"):
		p.Mode, p.Keep = apply.Ignore, true
	case is("ssa", "IfNotPresent"):
		p.Mode = apply.IfNotPresent
	case is("ssa", "Merge"):
		p.Mode = apply.Merge
	}
	p.Force = is("force", "enabled")
	p.Keep = p.Keep || is("prune", "disabled")
	p.PruneProtected = strings.EqualFold(ann[pruneProtected], "allowed")
	p.Ignores = ignore.Annotation(ann, true)
	return p
}

// sourceKinds are what units are made from, and need as long as they are there.
var sourceKinds = []string{
	"source.toolkit.fluxcd.io/GitRepository", "source.toolkit.fluxcd.io/OCIRepository", "source.toolkit.fluxcd.io/Bucket",
	"source.toolkit.fluxcd.io/HelmRepository", "source.toolkit.fluxcd.io/HelmChart", "source.toolkit.fluxcd.io/ExternalArtifact",
	"argoproj.io/AppProject",
}

// sourceName is the name of the artifact that a Kustomization is made from.
func (o Options) sourceName(k *kustomization) (string, error) {
	ref := k.Spec.SourceRef
	if sourceType(ref.Kind) == nil {
		return "", unsupported("sourceRef.kind", fmt.Sprintf("this version of plumb has no sources of kind %s", ref.Kind))
	}
	if err := isName("spec.sourceRef", ref.Namespace, ref.Name); err != nil {
		return "", err
	}
	ns := ref.Namespace
	if ns == "" {
		ns = k.Namespace
	}
	if ns != k.Namespace && o.NoCrossNamespaceRefs {
		return "", accessDenied("spec.sourceRef: can't access %s/%s/%s from namespace %s", ref.Kind, ns, ref.Name, k.Namespace)
	}
	return unitName(ref.Kind, ns, ref.Name), nil
}
