package migrate_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"

	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestARepositoryOfFluxOnAClusterThatNeverHadIt(t *testing.T) {
	w := pt.New(t)
	m := &move{World: w, repo: w.Git.Repo(t, "fleet")}
	files := m.files("v2.4.0")
	files["clusters/prod/alert.yaml"] = "{apiVersion: notification.toolkit.fluxcd.io/v1beta3, kind: Alert, metadata: {name: a, namespace: flux-system}, spec: {}}"
	var only []string
	for _, o := range manifests("v2.4.0") {
		if o.GetKind() == "Deployment" || o.GetKind() == "CustomResourceDefinition" && !strings.HasPrefix(o.GetName(), "alerts.") {
			b, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			only = append(only, string(b))
		}
	}
	files["only/components.yaml"] = strings.Join(only, "---\n")
	head := m.repo.Commit(t, files, "as flux bootstrap made it")
	w.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: flux-system}}")
	w.Apply(t, m.gotkSync())
	w.Unit(t, fluxSystem, "only", fluxSystem, "./only", "wait: true")

	t.Run("it is applied but for what runs", func(t *testing.T) {
		s := w.AwaitReady(t, fluxSystem, fluxSystem, head)
		w.Await(t, "notification.toolkit.fluxcd.io/v1beta3/Alert", fluxSystem, "a", nil)
		w.Await(t, "v1/ServiceAccount", fluxSystem, "kustomize-controller", nil)
		for _, c := range controllers {
			if _, err := w.Object(t.Context(), deployment, fluxSystem, c); !errors.IsNotFound(err) {
				t.Errorf("%s: %v", c, err)
			}
			if slices.Contains(s.IDs(), fluxSystem+"_"+c+"_apps_Deployment") {
				t.Errorf("%s is in the inventory", c)
			}
		}
		m.hasPlumbsDefinitions(t)
	})
	t.Run("a unit of nothing else is ready", func(t *testing.T) {
		s := w.AwaitReady(t, fluxSystem, "only", head)
		if len(s.IDs()) != 0 || !strings.Contains(s.Condition("Ready").Message, "left alone") {
			t.Errorf("its status is %+v", s)
		}
	})
	t.Run("with a flag what runs is applied too, and the definitions stay plumb's", func(t *testing.T) {
		w.Plumb.Kill(syscall.SIGTERM)
		w.Plumb = pt.Serve(t, w.Env, "--apply-flux-components")
		for _, c := range controllers {
			w.Await(t, deployment, fluxSystem, c, nil)
		}
		m.hasPlumbsDefinitions(t)
	})
}

// A platform team's units act as the account that Flux brings, which a cluster
// that never had Flux is given first; what names no account has no rights.
func TestTheAccountOfFluxInMultiTenantMode(t *testing.T) {
	w := pt.New(t, "--default-service-account=default", "--no-cross-namespace-refs=true")
	m := &move{World: w, repo: w.Git.Repo(t, "fleet"), docs: guide(t)}
	m.mustRun(t, "The account kustomize-controller", 0)
	files := m.files("v2.4.0")
	files["clusters/prod/flux-system/kustomization.yaml"] += `patches:
- target: {kind: Kustomization, name: flux-system}
  patch: |
    - {op: add, path: /spec/serviceAccountName, value: kustomize-controller}
`
	head := m.repo.Commit(t, files, "as flux bootstrap made it, locked down")
	w.Apply(t, strings.Replace(m.gotkSync(), "{interval: 10m0s,", "{interval: 10m0s, serviceAccountName: kustomize-controller,", 1))

	w.AwaitReady(t, fluxSystem, fluxSystem, head)
	m.hasPlumbsDefinitions(t)
	if message := w.AwaitReason(t, pt.Kustomization, fluxSystem, "apps", "ReconciliationFailed"); !strings.Contains(message, "system:serviceaccount:flux-system:default") {
		t.Errorf("what names no account says %q", message)
	}
}
