package argocd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
)

// objects is how the objects of Applications are marked and read. It implements
// [engine.Objects].
type objects struct{ o *Options }

// names are those of units, by what they mark their objects with.
type names struct {
	mu sync.RWMutex
	of map[string]string
}

func (n *names) add(unit string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[string]string)
	}
	n.of[digest(unit)] = unit
}

func (n *names) drop(unit string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.of, digest(unit))
}

func (n *names) marked(label string) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.of[label]
}

// Selector implements [engine.Objects].
func (objects) Selector() string { return unitLabel }

// selectorOf selects the objects of a unit.
func selectorOf(unit string) string { return unitLabel + "=" + digest(unit) }

// Marks implements [engine.Objects].
func (s objects) Marks(u engine.Unit) func(object.Ref) engine.Marks {
	key, _ := keyOf(u.Name)
	app, namespace := s.o.trackingName(key), u.Namespace // u itself would be kept with what is returned
	labels := map[string]string{unitLabel: digest(u.Name)}
	how, installation := settings.ByAnnotation, ""
	if t := termsOf(u); t != nil {
		how, installation = t.common.Tracking, t.common.InstallationID
		if how != settings.ByAnnotation {
			labels[t.common.InstanceLabel] = labelOf(app)
		}
	}
	return func(ref object.Ref) engine.Marks {
		m := engine.Marks{Labels: labels, Annotations: map[string]string{}}
		if how != settings.ByLabel {
			m.Annotations[trackingID] = trackingOf(app, ref, namespace)
		}
		if installation != "" {
			m.Annotations[installationID] = installation
		}
		return m
	}
}

// labelOf is a name as a label holds it, which Argo CD cuts off.
func labelOf(name string) string {
	if len(name) > validation.LabelValueMaxLength {
		name = strings.TrimRight(name[:validation.LabelValueMaxLength], "-_.")
	}
	return name
}

// trackingOf is the tracking id of an object. Of one that has no namespace it
// names that of the destination, as Argo CD's does.
func trackingOf(app string, ref object.Ref, namespace string) string {
	return fmt.Sprintf("%s:%s/%s:%s/%s", app, ref.Group, ref.Kind, cmp.Or(ref.Namespace, namespace), ref.Name)
}

// Admits implements [engine.Objects]: the project and the cluster's Secret have
// to.
func (objects) Admits(u engine.Unit, r object.Ref) error { return termsOf(u).admits(r) }

// Owner implements [engine.Objects]. A tracking id counts before the label,
// since Argo CD's users know it, and plumb's own label before the one that other
// tools set, too.
func (s objects) Owner(u *unstructured.Unstructured) string {
	if key, ok := s.o.tracked(u); ok {
		return unitName(key)
	}
	labels := u.GetLabels()
	if label := labels[unitLabel]; label != "" {
		return s.o.names.marked(label)
	}
	if c := s.o.common.Load(); c != nil && c.Tracking == settings.ByLabel && labels[c.InstanceLabel] != "" {
		return s.o.names.marked(digest(unitName(s.o.called(labels[c.InstanceLabel]))))
	}
	return ""
}

// called is the Application that a tracking id or a label calls so.
func (o *Options) called(app string) types.NamespacedName {
	if ns, name, ok := strings.Cut(app, "_"); ok {
		return types.NamespacedName{Namespace: ns, Name: name}
	}
	return types.NamespacedName{Namespace: o.Namespace, Name: app}
}

// tracked returns the Application that the tracking id of an object names. One
// that is about another object was copied with the rest, and is none.
func (o *Options) tracked(u *unstructured.Unstructured) (key types.NamespacedName, ok bool) {
	ann := u.GetAnnotations()
	app, about, ok := parseTracking(ann[trackingID])
	if !ok {
		return key, false
	}
	if c := o.common.Load(); c != nil && c.InstallationID != "" && ann[installationID] != "" && ann[installationID] != c.InstallationID {
		return key, false // it is of another installation
	}
	is := object.RefOf(u)
	if about.Namespace == "" || is.Namespace == "" { // Argo CD writes the namespace of the Application for what has none
		about.Namespace = is.Namespace
	}
	if about != is {
		return key, false
	}
	return o.called(app), true
}

// trackingName is what a tracking id calls an Application.
func (o *Options) trackingName(key types.NamespacedName) string {
	if key.Namespace == o.Namespace {
		return key.Name
	}
	return key.Namespace + "_" + key.Name
}

// parseTracking takes a tracking id apart: app:group/Kind:namespace/name.
func parseTracking(id string) (app string, about object.Ref, ok bool) {
	app, rest, ok1 := strings.Cut(id, ":")
	kind, name, ok2 := strings.Cut(rest, ":")
	group, kind, ok3 := strings.Cut(kind, "/")
	ns, name, ok4 := strings.Cut(name, "/")
	if !ok1 || !ok2 || !ok3 || !ok4 || app == "" || kind == "" || name == "" {
		return "", about, false
	}
	return app, object.Ref{Group: group, Kind: kind, Namespace: ns, Name: name}, true
}

// Policy implements [engine.Objects].
func (objects) Policy(unit engine.Unit, u *unstructured.Unstructured) (p apply.Policy) {
	ref := object.RefOf(u)
	if termsOf(unit).excluded(ref) {
		return apply.Policy{Mode: apply.Ignore, Keep: true, Why: settings.ExcludedWarning(ref.Group, ref.Kind, ref.Name)}
	}
	ann := u.GetAnnotations()
	p.Healthless = ann[ignoreHealth] == "true"
	p.Wave = waveOf(ann)
	p.Ignores = ignore.Annotation(ann, false, ignoreDiff)
	if u.GroupVersionKind().GroupKind() == api.ApplicationKind.GroupKind() {
		// One that is among its own objects would wait for itself, also to be gone.
		if unit.Target.Config == nil && unitName(types.NamespacedName{Namespace: u.GetNamespace(), Name: u.GetName()}) == unit.Name {
			p.Healthless, p.Keep = true, true
		}
		p.Ignores = p.Ignores.And(itsOwn)
	}
	p.Extra = slices.Contains(list(ann[compareOptions]), "IgnoreExtraneous")
	for _, option := range list(ann[syncOptions]) {
		optionOf(&p, option)
	}
	p.Doubt = strings.Join(misspelt(&p, ann), "; ")
	if a, ok := unit.Origin.(*application); ok && a.managesNamespace() && ref == (object.Ref{Kind: "Namespace", Name: a.Spec.Destination.Namespace}) {
		p.Prune, p.Extra = apply.Never, true // it stays, whatever it says
	}
	if is, hook, why := hookIn(ann); is {
		p.Hook, p.Why = hook, why
		if p.Hook == nil {
			p.Mode, p.Keep = apply.Ignore, true
		}
	}
	if p.Removal == apply.Free && ann[helmResource] == "keep" {
		p.Removal = apply.Never
	}
	return p
}

// optionOf takes in a sync option of an object. Of what plumb does anyway it says
// nothing.
func optionOf(p *apply.Policy, option string) {
	switch option {
	case "Prune=false":
		p.Prune = apply.Never
	case "Prune=confirm":
		p.Prune = apply.Confirmed
	case "Delete=false":
		p.Removal = apply.Never
	case "Delete=confirm":
		p.Removal = apply.Confirmed
	case "PruneLast=true":
		p.PruneLast = true
	case "Force=true":
		p.Force = true
	case "Replace=true":
		p.Replace = apply.Yes
	case "Replace=false":
		p.Replace = apply.No
	case "SkipDryRunOnMissingResource=true":
		p.Late = true
	}
}

// itsOwn are the fields of an Application that are about what it does. What a file
// says of them, such as one that was copied from a cluster, is not wanted.
var itsOwn = ignore.Rule{From: "what an Application does", Pointers: []string{"/operation", "/status"}, Apply: true}

// phaseOf are the phases that hooks name.
var phaseOf = map[string]apply.Phase{
	"PreSync": apply.Before, "Sync": apply.Main, "PostSync": apply.After, "SyncFail": apply.OnFailure,
	"PreDelete": apply.BeforeRemoval, "PostDelete": apply.AfterRemoval,
}

// waveOf is when the turn of an object comes. What Helm calls the weight of a hook
// counts where there is no wave.
func waveOf(annotations map[string]string) int32 {
	for _, key := range []string{syncWave, helmWeight} {
		if wave, err := strconv.ParseInt(annotations[key], 10, 32); err == nil {
			return int32(wave)
		}
	}
	return 0
}

// hookIn reads of which operations an object is a hook, if it is any, and when it is
// deleted. What Helm says of its hooks counts where nothing else is said. Of what
// is none now it says why not, where that was not to be expected.
func hookIn(annotations map[string]string) (is bool, h *apply.Hook, why string) {
	deletes := annotations[hookDelete]
	for _, text := range list(annotations[helmDelete]) {
		if policy, ok := helmPolicies[text]; ok && annotations[hookDelete] == "" {
			deletes += "," + policy
		}
	}
	if types := annotations[hookKey]; types != "" {
		h, why = hookOf(types, deletes)
		return true, h, why
	}
	events := annotations[helmHook]
	if events == "" || events == "crd-install" {
		return false, nil, ""
	}
	var types []string
	for _, event := range list(events) {
		if t := helmHooks[strings.ToLower(event)]; t != "" && !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	if len(types) == 0 {
		return true, nil, "" // a test, or one for a rollback
	}
	h, why = hookOf(strings.Join(types, ","), deletes)
	return true, h, why
}

// Annotations of Helm's charts.
const (
	helmHook     = "helm.sh/hook"
	helmDelete   = "helm.sh/hook-delete-policy"
	helmWeight   = "helm.sh/hook-weight"
	helmResource = "helm.sh/resource-policy"
)

// helmHooks are Helm's hooks in words of Argo CD. Nobody can tell an installation
// from an upgrade there.
var helmHooks = map[string]string{
	"pre-install": "PreSync", "pre-upgrade": "PreSync", "post-install": "PostSync", "post-upgrade": "PostSync",
	"pre-delete": "PreDelete", "post-delete": "PostDelete",
}

// helmPolicies are Helm's words for when a hook is deleted.
var helmPolicies = map[string]string{
	"before-hook-creation": "BeforeHookCreation", "hook-succeeded": "HookSucceeded", "hook-failed": "HookFailed",
}

// hookOf reads of which operations an object is a hook, and when it is deleted. Of
// what is none now, it says why not.
func hookOf(types, deletes string) (h *apply.Hook, why string) {
	h = &apply.Hook{Finalizer: hookFinalizer}
	for _, t := range list(types) {
		phase, ok := phaseOf[t]
		switch {
		case t == "Skip":
			return nil, whySkip
		case !ok:
			why = fmt.Sprintf("%q is no type of a hook%s", t, orMeant(nearest(t, maps.Keys(phaseOf))))
		default:
			h.Phases = append(h.Phases, phase)
		}
	}
	if len(h.Phases) == 0 || why != "" {
		return nil, why
	}
	policies := list(deletes)
	h.WhenDone, h.WhenFailed = slices.Contains(policies, "HookSucceeded"), slices.Contains(policies, "HookFailed")
	h.Replace = slices.Contains(policies, "BeforeHookCreation") || !h.WhenDone && !h.WhenFailed
	return h, ""
}

const whySkip = "it says to be skipped"

// list splits an annotation that holds several values.
func list(text string) (values []string) {
	for v := range strings.SplitSeq(text, ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}
