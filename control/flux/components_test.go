package flux

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
)

func parsed(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhatFluxIsMadeOf(t *testing.T) {
	const (
		labels  = `labels: {app.kubernetes.io/part-of: flux, app.kubernetes.io/instance: flux-system, app.kubernetes.io/component: source-controller}`
		live    = `managedFields: [{manager: kustomize-controller}]`
		crd     = `apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition`
		served  = `name: kustomizations.kustomize.toolkit.fluxcd.io`
		another = `name: alerts.notification.toolkit.fluxcd.io`
	)
	left, applied := apply.Policy{Mode: apply.Ignore, Keep: true}, apply.Policy{}
	kept := apply.Policy{Keep: true}
	for _, c := range []struct {
		name, manifest string
		by             Options
		want           apply.Policy
	}{
		{"a controller is left alone", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: source-controller, ` + labels + `}}`, Options{}, left},
		{"unless a flag says otherwise", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: source-controller, ` + labels + `}}`, Options{ApplyFluxComponents: true}, applied},
		{"a live controller is not pruned", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, ` + labels + `, ` + live + `}}`, Options{}, kept},
		{"unless a flag says otherwise, too", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, ` + labels + `, ` + live + `}}`, Options{ApplyFluxComponents: true}, applied},
		{"an account of it is applied and not pruned", `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, ` + labels + `}}`, Options{}, kept},
		{"a role of it is applied and not pruned", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a, ` + labels + `}}`, Options{}, kept},
		{"a definition that plumb has none of is applied and not pruned", `{` + crd + `, metadata: {` + another + `, ` + labels + `}}`, Options{}, kept},
		{"a definition that plumb has is left alone", `{` + crd + `, metadata: {` + served + `, ` + labels + `}}`, Options{}, left},
		{"whatever its labels", `{` + crd + `, metadata: {` + served + `, labels: {app.kubernetes.io/part-of: platform}}}`, Options{}, left},
		{"and without any", `{` + crd + `, metadata: {` + served + `}}`, Options{}, left},
		{"whatever a flag says", `{` + crd + `, metadata: {` + served + `, ` + labels + `}}`, Options{ApplyFluxComponents: true}, left},
		{"plumb's own may come from Git", `{` + crd + `, metadata: {` + served + `, labels: {app.kubernetes.io/part-of: plumb}}}`, Options{}, kept},
		{"one that serves is never pruned", `{` + crd + `, metadata: {` + served + `, ` + live + `}}`, Options{ApplyFluxComponents: true}, kept},
		{"a custom resource is an object like any other", `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, ` + labels + `}}`, Options{}, applied},
		{"a Deployment that is part of something else", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, labels: {app.kubernetes.io/part-of: shop, app.kubernetes.io/instance: a}}}`, Options{}, applied},
		{"a Deployment that serves Flux and was not installed with it", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, labels: {app.kubernetes.io/part-of: flux}}}`, Options{}, applied},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := objects{c.by.ApplyFluxComponents}.Policy(engine.Unit{}, parsed(t, c.manifest))
			if (p.Why != "") != (p.Mode == apply.Ignore) {
				t.Errorf("why is %q", p.Why)
			}
			if p.Why = ""; p != c.want {
				t.Errorf("policy is %+v, want %+v", p, c.want)
			}
		})
	}
	t.Run("on another cluster Flux is an application like any other", func(t *testing.T) {
		elsewhere := engine.Unit{Target: engine.Target{Cluster: "another"}}
		for _, manifest := range []string{
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: source-controller, ` + labels + `}}`,
			`{` + crd + `, metadata: {` + served + `, ` + labels + `}}`,
		} {
			if p := (objects{}).Policy(elsewhere, parsed(t, manifest)); p != applied {
				t.Errorf("policy is %+v", p)
			}
		}
	})
}

func TestWhatIsLeftAloneIsSaidOfAUnitThatIsReady(t *testing.T) {
	left := []engine.Left{
		{Ref: object.Ref{Kind: "A", Name: "a"}, Why: "this"}, {Ref: object.Ref{Kind: "A", Name: "b"}, Why: "this"}, {Ref: object.Ref{Kind: "A", Name: "c"}, Why: "that"},
	}
	const revision = "feature;x@sha1:0123"
	if note := noteOf(applied(revision, nil)); note != "" {
		t.Errorf("without any there is a note: %q", note)
	}
	for n, want := range map[int]string{1: "1 object ", 3: "3 objects "} {
		if note := noteOf(applied(revision, left[:n])); !strings.HasPrefix(note, want) {
			t.Errorf("the note on %d is %q", n, note)
		}
	}
	if have, want := leftAlone(left), "left alone: A/a, A/b: this; A/c: that"; have != want {
		t.Errorf("the event says %q, want %q", have, want)
	}
}
