package migrate_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	api "plumb.dev/plumb/api/flux"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// controllers are those that flux bootstrap installs.
var controllers = []string{"source-controller", "kustomize-controller", "helm-controller", "notification-controller"}

// shared are the components that belong to no controller.
const shared = `
apiVersion: v1
kind: Namespace
metadata: {name: flux-system}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-egress, namespace: flux-system}
spec: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}], ingress: [{from: [{podSelector: {}}]}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: critical-pods-flux-system, namespace: flux-system}
spec:
  hard: {pods: "1000"}
  scopeSelector: {matchExpressions: [{operator: In, scopeName: PriorityClass, values: [system-node-critical, system-cluster-critical]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: flux-edit-flux-system, labels: {rbac.authorization.k8s.io/aggregate-to-edit: "true", rbac.authorization.k8s.io/aggregate-to-admin: "true"}}
rules: [{apiGroups: [source.toolkit.fluxcd.io, kustomize.toolkit.fluxcd.io], resources: ["*"], verbs: [create, delete, deletecollection, patch, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: cluster-reconciler-flux-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: kustomize-controller, namespace: flux-system}, {kind: ServiceAccount, name: helm-controller, namespace: flux-system}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: alerts.notification.toolkit.fluxcd.io}
spec:
  group: notification.toolkit.fluxcd.io
  names: {kind: Alert, listKind: AlertList, plural: alerts, singular: alert}
  scope: Namespaced
  versions: [{name: v1beta3, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// controller is one of controllers.
const controller = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME, namespace: flux-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: flux-system, labels: {control-plane: controller}}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      serviceAccountName: NAME
      containers: [{name: manager, image: "ghcr.io/fluxcd/NAME:VERSION", args: [--log-level=info], ports: [{containerPort: 8080, name: http-prom}]}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: flux-system, labels: {control-plane: controller}}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: http-prom}]}
`

// tenant is what a platform team brings for one team.
const tenant = `
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: team, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: team, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: ServiceAccount, name: team, namespace: team}]
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: team, namespace: team}
spec:
  interval: 10m
  path: ./team
  prune: true
  serviceAccountName: team
  targetNamespace: team
  sourceRef: {kind: GitRepository, name: flux-system, namespace: flux-system}
`

func sync(name, path string) string {
	return fmt.Sprintf(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s, namespace: flux-system}
spec: {interval: 10m0s, path: %s, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`, name, path)
}

func kustomization(resources ...string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + strings.Join(resources, ", ") + "]\n"
}

const app = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {colour: blue}
`

// files are those of a repository as flux bootstrap makes it, with one app.
func (m *move) files(version string) map[string]string {
	var components strings.Builder
	for _, o := range manifests(version) {
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			panic(err) // it was YAML before
		}
		components.WriteString("---\n" + string(b))
	}
	return map[string]string{
		"clusters/prod/flux-system/gotk-components.yaml": components.String(),
		"clusters/prod/flux-system/gotk-sync.yaml":       m.gotkSync(),
		"clusters/prod/flux-system/kustomization.yaml":   kustomization("gotk-components.yaml", "gotk-sync.yaml"),
		"clusters/prod/apps.yaml":                        sync("apps", "./apps"),
		"apps/app.yaml":                                  app,
	}
}

func (m *move) gotkSync() string {
	return fmt.Sprintf(`apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, ref: {branch: main}, url: %s}
---
`, m.repo.URL()) + sync(fluxSystem, "./clusters/prod")
}

func documents(text string) (out []*unstructured.Unstructured) {
	for d := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(d), &u.Object); err != nil {
			panic(err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
	return out
}

// manifests are the components of a version of Flux. Its definitions are ours
// without the versions that Flux has dropped since, and in other words.
func manifests(version string) []*unstructured.Unstructured {
	all := documents(shared)
	for _, d := range api.Definitions() {
		d.SetLabels(nil)
		list, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		for _, v := range list {
			if v := v.(map[string]any); v["storage"] == true {
				if err := unstructured.SetNestedField(v, "Flux "+version, "schema", "openAPIV3Schema", "properties", "spec", "description"); err != nil {
					panic(err)
				}
				list = []any{v}
			}
		}
		if err := unstructured.SetNestedSlice(d.Object, list, "spec", "versions"); err != nil {
			panic(err)
		}
		all = append(all, d)
	}
	for _, c := range controllers {
		all = append(all, documents(strings.NewReplacer("NAME", c, "VERSION", version).Replace(controller))...)
	}
	for _, o := range all {
		l := o.GetLabels()
		if l == nil {
			l = map[string]string{}
		}
		l["app.kubernetes.io/part-of"], l["app.kubernetes.io/instance"], l["app.kubernetes.io/version"] = "flux", fluxSystem, version
		o.SetLabels(l)
	}
	return all
}

// applyAsFlux applies an object as the Kustomization flux-system does.
func (m *move) applyAsFlux(t *testing.T, o *unstructured.Unstructured) { m.applyAs(t, o, fluxSystem) }

func (m *move) applyAs(t *testing.T, o *unstructured.Unstructured, unit string) {
	t.Helper()
	o = o.DeepCopy()
	l := o.GetLabels()
	if l == nil {
		l = map[string]string{}
	}
	l["kustomize.toolkit.fluxcd.io/name"], l["kustomize.toolkit.fluxcd.io/namespace"] = unit, fluxSystem
	o.SetLabels(l)
	kubetest.Eventually(t, pt.Patience, func() error { // a definition takes a moment
		return m.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()), client.FieldOwner("kustomize-controller"), client.ForceOwnership)
	})
}

// asFluxLeftIt makes the cluster what Flux has made of the repository.
func (m *move) asFluxLeftIt(t *testing.T) {
	t.Helper()
	own := append(manifests("v2.3.0"), documents(m.gotkSync()+"\n---\n"+sync("apps", "./apps"))...)
	for _, o := range own {
		m.applyAsFlux(t, o)
	}
	apps := documents(app)
	for _, o := range apps {
		m.applyAs(t, o, "apps")
	}
	m.inventory(t, fluxSystem, own)
	m.inventory(t, "apps", apps)
	for _, c := range controllers {
		m.Await(t, deployment, fluxSystem, c, pt.Has("status.availableReplicas", 1))
	}
}

// inventory stores what a Kustomization has applied, as kustomize-controller
// does.
func (m *move) inventory(t *testing.T, name string, objects []*unstructured.Unstructured) {
	t.Helper()
	var entries []any
	for _, o := range objects {
		entries = append(entries, map[string]any{"id": id(o), "v": o.GroupVersionKind().Version})
	}
	revision := "main@sha1:" + m.repo.Head(t, "main")
	kubetest.Eventually(t, pt.Patience, func() error {
		u, err := m.Object(t.Context(), pt.Kustomization, fluxSystem, name)
		if err != nil {
			return err
		}
		u.SetFinalizers([]string{"finalizers.fluxcd.io"})
		if err := m.Client.Update(t.Context(), u); err != nil {
			return err
		}
		u.Object["status"] = map[string]any{
			"inventory":           map[string]any{"entries": entries},
			"lastAppliedRevision": revision, "lastAttemptedRevision": revision, "observedGeneration": u.GetGeneration(),
			"conditions": []any{map[string]any{
				"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "Applied revision: " + revision,
				"observedGeneration": u.GetGeneration(), "lastTransitionTime": "2024-05-01T10:00:00Z",
			}},
		}
		return m.Client.Status().Update(t.Context(), u)
	})
}

// id is what an inventory calls an object.
func id(o *unstructured.Unstructured) string {
	return strings.Join([]string{o.GetNamespace(), o.GetName(), o.GroupVersionKind().Group, o.GetKind()}, "_")
}

func kindOf(o *unstructured.Unstructured) string { return o.GetAPIVersion() + "/" + o.GetKind() }
