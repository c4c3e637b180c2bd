package examples

import (
	"strings"
	"testing"

	"plumb.dev/plumb/api/argocd"
)

// fromGuides are manifests as guides print them, with the Role as the only rights
// of what is synced to the namespace production.
func fromGuides(t *testing.T, w *world) {
	infrastructure, mine := w.repository(t, "overlay", "infrastructure"), w.repository(t, "my-app")
	w.Apply(t, namespaces("production", "elsewhere"))
	w.Apply(t, w.manifest(t, "rbac.yaml"))
	w.Apply(t, replaced(t, w.manifest(t, "argo.yaml"),
		"https://github.com/myorg/infrastructure", infrastructure.URL(), "https://github.com/myorg/my-app", mine.URL()))
	w.synced(t, "web-app-production", infrastructure.Head(t, "main"))
	w.deployment(t, "production", "web-app", 5, "myregistry/web-app:v1.2.3")
	w.synced(t, "my-app", mine.Head(t, "main"))
	w.deployment(t, "my-app", "my-app", 1, "registry.example.com/my-app:v1")

	// A write outside of the namespace is refused by the API server.
	w.Commit(t, mine, map[string]string{"escape/config.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-production, namespace: elsewhere}\n"})
	w.Apply(t, replaced(t, w.manifest(t, "argo.yaml"), "https://github.com/myorg/infrastructure", mine.URL(),
		"https://github.com/myorg/my-app", mine.URL(), "name: web-app-production", "name: escape", "apps/web-app/overlays/production", "escape"))
	w.application(t, "escape", func(a *argocd.Application) string {
		s := a.Status.OperationState
		if s == nil {
			return "no operation has begun"
		}
		for _, part := range []string{"forbidden", "system:serviceaccount:argocd:argocd-application-controller", "from-production"} {
			if !strings.Contains(s.Message, part) {
				return "it does not name " + part
			}
		}
		return ""
	})
	w.lacks(t, "v1/ConfigMap", "elsewhere", "from-production")
}

// accounts has what is synced to production done as the account of the Role, and
// the rest as one that may do everything.
const accounts = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: argocd-application-controller, namespace: argocd}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: everything, namespace: argocd}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: everything, namespace: argocd}
---
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  sourceRepos: ["*"]
  destinations:
  - {server: "*", namespace: "*"}
  clusterResourceWhitelist:
  - {group: "*", kind: "*"}
  destinationServiceAccounts:
  - {server: https://kubernetes.default.svc, namespace: production, defaultServiceAccount: "argocd:argocd-application-controller"}
  - {server: https://kubernetes.default.svc, namespace: "*", defaultServiceAccount: "argocd:everything"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}
data: {application.sync.impersonation.enabled: "true", application.sync.impersonation.enforced: "false"}
`
