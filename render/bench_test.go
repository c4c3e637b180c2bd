package render_test

import (
	"context"
	"fmt"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// app is a base and an overlay that render to ten objects.
func app(dir string) map[string]string {
	m := map[string]string{}
	var resources string
	add := func(file, content string) {
		m[dir+"/base/"+file] = content
		resources += "- " + file + "\n"
	}
	add("serviceaccount.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n")
	add("role.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: web\nrules:\n- apiGroups: [\"\"]\n  resources: [configmaps]\n  verbs: [get, list, watch]\n")
	add("rolebinding.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: web\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: web\nsubjects:\n- kind: ServiceAccount\n  name: web\n")
	add("configmap.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  app.conf: |\n    listen 8080\n    log info\n")
	add("deployment.yaml", `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/name: web}
spec:
  replicas: 1
  selector:
    matchLabels: {app.kubernetes.io/name: web}
  template:
    metadata:
      labels: {app.kubernetes.io/name: web}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: nginx:1.21.0
        ports: [{name: http, containerPort: 8080}]
        envFrom:
        - configMapRef: {name: settings}
        readinessProbe:
          httpGet: {path: /healthz, port: http}
        resources:
          requests: {cpu: 10m, memory: 32Mi}
          limits: {memory: 64Mi}
      volumes:
      - name: config
        configMap: {name: web}
`)
	add("service.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector: {app.kubernetes.io/name: web}\n  ports: [{name: http, port: 80, targetPort: http}]\n")
	add("hpa.yaml", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: web\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 2\n  maxReplicas: 5\n")
	add("pdb.yaml", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\nspec:\n  maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: web}\n")
	add("networkpolicy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  podSelector:\n    matchLabels: {app.kubernetes.io/name: web}\n  ingress:\n  - ports: [{port: http}]\n")
	m[dir+"/base/kustomization.yaml"] = "resources:\n" + resources + "configMapGenerator:\n- name: settings\n  literals: [COLOR=blue, SIZE=large]\n"
	m[dir+"/overlays/production/kustomization.yaml"] = "namespace: shop\nresources: [../../base]\nimages: [{name: nginx, newTag: 1.21.1}]\nreplicas: [{name: web, count: 4}]\n"
	return m
}

// The floor: Kustomize on files in memory, and the objects as JSON.
func BenchmarkKrustyAlone(b *testing.B) {
	fs := filesys.MakeFsInMemory()
	for name, content := range app("app") {
		if err := fs.WriteFile("/"+name, []byte(content)); err != nil {
			b.Fatal(err)
		}
	}
	o := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	b.ReportAllocs()
	for b.Loop() {
		m, err := krusty.MakeKustomizer(o).Run(fs, "/app/overlays/production")
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range m.Resources() {
			if _, err := r.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkCold(b *testing.B) {
	t := tree.FromFiles(app("app"))
	b.ReportAllocs()
	for b.Loop() {
		r, err := render.Objects(context.Background(), t, render.Options{Path: "app/overlays/production"})
		if err != nil || len(r.Items) != 10 {
			b.Fatal(len(r.Items), err)
		}
	}
}

func BenchmarkColdSubstituted(b *testing.B) {
	t := tree.FromFiles(app("app"))
	o := render.Options{Path: "app/overlays/production", Substitute: &render.Substitution{Vars: map[string]string{"a": "b"}, Strict: true}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := render.Objects(context.Background(), t, o); err != nil {
			b.Fatal(err)
		}
	}
}

// A commit touches one of a thousand units, and each asks for its objects.
func BenchmarkCommitOverAThousandUnits(b *testing.B) {
	const n = 1000
	before := map[string]string{}
	for i := range n {
		for name, content := range app(fmt.Sprintf("apps/app-%03d", i)) {
			before[name] = content
		}
	}
	after := with(before, "apps/app-500/overlays/production/kustomization.yaml",
		"namespace: shop\nresources: [../../base]\nimages: [{name: nginx, newTag: 1.21.2}]\n")
	trees := []tree.Tree{tree.FromFiles(before), tree.FromFiles(after)}
	c := render.NewCache(64 << 20)
	round := func(t tree.Tree) (hits int) {
		for i := range n {
			dir := fmt.Sprintf("apps/app-%03d", i)
			_, hit, err := c.Objects(context.Background(), dir, t, render.Options{Path: dir + "/overlays/production"})
			if err != nil {
				b.Fatal(err)
			}
			if hit {
				hits++
			}
		}
		return hits
	}
	round(trees[0])
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if hits := round(trees[i%2]); hits != n-1 {
			b.Fatalf("%d hits", hits)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/unit")
	b.ReportMetric(float64(c.Bytes())/n, "bytes/unit")
}

// A commit touched nothing that the unit reads.
func BenchmarkHit(b *testing.B) {
	t := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Objects(context.Background(), "unit", t, render.Options{Path: "app/overlays/production"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeOfAHit(b *testing.B) {
	t := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	ask := func() render.Result {
		r, _, err := c.Objects(context.Background(), "unit", t, render.Options{Path: "app/overlays/production"})
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	ask()
	r := ask()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Objects(); err != nil {
			b.Fatal(err)
		}
	}
}
