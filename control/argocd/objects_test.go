package argocd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
)

func objectWith(labels, annotations map[string]string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment"}}
	u.SetNamespace("shop")
	u.SetName("web")
	u.SetLabels(labels)
	u.SetAnnotations(annotations)
	return u
}

// An object is whose it says to be, unless it was copied with what it says.
func TestWhoseAnObjectIs(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	o.names.add("Application/team/app")
	label := map[string]string{unitLabel: digest("Application/team/app")}
	track := func(id string) map[string]string { return map[string]string{trackingID: id} }
	for name, c := range map[string]struct {
		labels, annotations map[string]string
		want                string
	}{
		"nobody's":                    {nil, nil, ""},
		"by its tracking id":          {nil, track("app:apps/Deployment:shop/web"), "Application/argocd/app"},
		"of another namespace":        {nil, track("team_app:apps/Deployment:shop/web"), "Application/team/app"},
		"a copy of another":           {nil, track("app:apps/Deployment:shop/other"), ""},
		"of another kind":             {nil, track("app:apps/StatefulSet:shop/web"), ""},
		"of another group":            {nil, track("app:extensions/Deployment:shop/web"), ""},
		"an id that is none":          {nil, track("app"), ""},
		"by its label":                {label, nil, "Application/team/app"},
		"a label of nobody":           {map[string]string{unitLabel: "x"}, nil, ""},
		"the id counts more":          {label, track("app:apps/Deployment:shop/web"), "Application/argocd/app"},
		"a copied id counts for none": {label, track("app:apps/Deployment:shop/other"), "Application/team/app"},
	} {
		if got := o.objects().Owner(objectWith(c.labels, c.annotations)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	o.names.drop("Application/team/app")
	if got := o.objects().Owner(objectWith(label, nil)); got != "" {
		t.Errorf("it is of %s, which is no more", got)
	}
}

func TestWhatATrackingIDCallsAnApplication(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	for key, want := range map[types.NamespacedName]string{
		{Namespace: "argocd", Name: "web"}: "web", {Namespace: "team", Name: "web"}: "team_web",
	} {
		if got := o.trackingName(key); got != want {
			t.Errorf("%s: %s", key, got)
		}
		u := objectWith(nil, map[string]string{trackingID: want + ":apps/Deployment:shop/web"})
		if back, ok := o.tracked(u); !ok || back != key {
			t.Errorf("%s is %s", want, back)
		}
	}
}

// All objects of a unit are found by the label that they get, and it fits.
func TestObjectsAreMarked(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	u := engine.Unit{Name: "Application/team/web", Namespace: "shop"}
	for ref, want := range map[object.Ref]string{
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}: "team_web:apps/Deployment:shop/web",
		{Kind: "ConfigMap", Namespace: "other", Name: "c"}:                  "team_web:/ConfigMap:other/c",
		{Kind: "Namespace", Name: "shop"}:                                   "team_web:/Namespace:shop/shop",
	} {
		m := o.objects().Marks(u)(ref)
		if v := m.Labels[o.objects().Selector()]; len(m.Labels) != 1 || v == "" || len(v) > 63 || m.Annotations[trackingID] != want {
			t.Errorf("%s: %+v", ref, m)
		}
		x := &unstructured.Unstructured{Object: map[string]any{"kind": ref.Kind, "apiVersion": strings.TrimPrefix(ref.Group+"/v1", "/")}}
		x.SetName(ref.Name)
		x.SetNamespace(ref.Namespace)
		x.SetAnnotations(m.Annotations)
		if owner := o.objects().Owner(x); owner != u.Name {
			t.Errorf("%s is of %q", ref, owner)
		}
	}
}

func TestWhatAnObjectSaysOfItself(t *testing.T) {
	hook := func(replace, done, failed bool, phases ...apply.Phase) *apply.Hook {
		return &apply.Hook{Phases: phases, Replace: replace, WhenDone: done, WhenFailed: failed, Finalizer: hookFinalizer}
	}
	ignored := func(why string) apply.Policy { return apply.Policy{Mode: apply.Ignore, Keep: true, Why: why} }
	for name, c := range map[string]struct {
		annotations map[string]string
		want        apply.Policy
	}{
		"nothing":           {nil, apply.Policy{}},
		"not pruned":        {map[string]string{syncOptions: "Validate=false, Prune=false"}, apply.Policy{Prune: apply.Never}},
		"confirmed":         {map[string]string{syncOptions: "Prune=confirm,Delete=confirm"}, apply.Policy{Prune: apply.Confirmed, Removal: apply.Confirmed}},
		"kept":              {map[string]string{syncOptions: "Delete=false, PruneLast=true"}, apply.Policy{Removal: apply.Never, PruneLast: true}},
		"replaced":          {map[string]string{syncOptions: "Replace=true,Force=true,SkipDryRunOnMissingResource=true"}, apply.Policy{Replace: apply.Yes, Force: true, Late: true}},
		"not replaced":      {map[string]string{syncOptions: "Replace=false"}, apply.Policy{Replace: apply.No}},
		"forced":            {map[string]string{syncOptions: "Force=true"}, apply.Policy{Force: true}},
		"a wave":            {map[string]string{syncWave: "-5"}, apply.Policy{Wave: -5}},
		"a wave of nothing": {map[string]string{syncWave: "soon"}, apply.Policy{Doubt: `argocd.argoproj.io/sync-wave: "soon" is no whole number; it counts as 0`}},
		"a hook":            {map[string]string{hookKey: "PreSync", syncWave: "2"}, apply.Policy{Wave: 2, Hook: hook(true, false, false, apply.Before)}},
		"of several types":  {map[string]string{hookKey: "Sync, PostSync,SyncFail"}, apply.Policy{Hook: hook(true, false, false, apply.Main, apply.After, apply.OnFailure)}},
		"deleted when done": {map[string]string{hookKey: "Sync", hookDelete: "HookSucceeded"}, apply.Policy{Hook: hook(false, true, false, apply.Main)}},
		"deleted before":    {map[string]string{hookKey: "Sync", hookDelete: "BeforeHookCreation,HookFailed"}, apply.Policy{Hook: hook(true, false, true, apply.Main)}},
		"a hook of Helm": {map[string]string{helmHook: "pre-install,pre-upgrade", helmWeight: "-3", helmDelete: "before-hook-creation,hook-succeeded"},
			apply.Policy{Wave: -3, Hook: hook(true, true, false, apply.Before)}},
		"of several of Helm's": {map[string]string{helmHook: "post-install, Pre-Delete"}, apply.Policy{Hook: hook(true, false, false, apply.After, apply.BeforeRemoval)}},
		"of both":              {map[string]string{helmHook: "post-install", hookKey: "PreSync", syncWave: "1", helmWeight: "2", helmDelete: "hook-failed"}, apply.Policy{Wave: 1, Hook: hook(false, false, true, apply.Before)}},
		"a test of Helm's":     {map[string]string{helmHook: "test"}, ignored("")},
		"a definition, once":   {map[string]string{helmHook: "crd-install"}, apply.Policy{}},
		"kept by Helm":         {map[string]string{helmResource: "keep"}, apply.Policy{Removal: apply.Never}},
		"to be skipped":        {map[string]string{hookKey: "Skip"}, ignored("it says to be skipped")},
		"of a deletion":        {map[string]string{hookKey: "PostDelete"}, apply.Policy{Hook: hook(true, false, false, apply.AfterRemoval)}},
		"of nothing":           {map[string]string{hookKey: "Sometime"}, ignored(`"Sometime" is no type of a hook`)},
	} {
		if diff := cmp.Diff(c.want, (objects{}).Policy(engine.Unit{}, objectWith(nil, c.annotations))); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// The namespace that an Application manages the metadata of stays, whatever it says
// of itself.
func TestAManagedNamespaceIsNotPruned(t *testing.T) {
	u, _ := dialect.toUnit(read(app(t, spec(", syncPolicy: {managedNamespaceMetadata: {labels: {a: b}}}"))), plain)
	for _, options := range []string{"", "Prune=confirm", "Prune=true"} {
		ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
		ns.SetName(u.Namespace)
		ns.SetAnnotations(map[string]string{syncOptions: options})
		if p := u.Objects.Policy(u, ns); p.Prune != apply.Never || !p.Extra {
			t.Errorf("with %q: %+v", options, p)
		}
		ns.SetName("another")
		if p := u.Objects.Policy(u, ns); p.Prune == apply.Never || p.Extra {
			t.Errorf("another, with %q: %+v", options, p)
		}
	}
}
