package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// objectsPerApp is how many objects an app renders to.
const objectsPerApp = 10

// unitName names the i-th unit and its app.
func unitName(i int) string { return fmt.Sprintf("app-%04d", i) }

// appFiles are a base and an overlay for production that render to ten objects
// of ten kinds but one. version becomes the tag of the Deployment's image.
func appFiles(unit, version string) map[string]string {
	dir := "apps/" + unit + "/"
	files := map[string]string{
		baseFile(unit):    base(unit),
		overlayFile(unit): overlay(unit, version),
	}
	for name, text := range baseFiles {
		files[dir+"base/"+name] = strings.ReplaceAll(text, "APP", unit)
	}
	return files
}

func baseFile(unit string) string { return "apps/" + unit + "/base/kustomization.yaml" }

// base is the kustomization of a base, and baseWithout one that makes an object
// less.
func base(unit string) string {
	return baseWithout + `configMapGenerator:
- {name: ` + unit + `-env, literals: [LOG_LEVEL=info, LISTEN=:8080]}
`
}

const baseWithout = `resources: [rbac.yaml, config.yaml, deployment.yaml, service.yaml, scaling.yaml, network.yaml]
`

// appPath is what a unit renders.
func appPath(unit string) string { return "./apps/" + unit + "/production" }

func overlayFile(unit string) string { return "apps/" + unit + "/production/kustomization.yaml" }

// moreFile is a file beside the overlay.
func moreFile(unit, name string) string { return "apps/" + unit + "/production/" + name + ".yaml" }

const hangingHook = `apiVersion: batch/v1
kind: Job
metadata: {name: APP-hook, annotations: {argocd.argoproj.io/hook: PreSync}}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: migrate, image: registry.example.com/web}]}
`

const lateObject = `apiVersion: v1
kind: ConfigMap
metadata: {name: APP-late, annotations: {argocd.argoproj.io/sync-wave: "1"}}
`

func overlay(unit, version string) string {
	return fmt.Sprintf(`resources: [../base]
namespace: %s
labels:
- {pairs: {app.kubernetes.io/part-of: shop, env: production}}
replicas:
- {name: %s, count: 3}
images:
- {name: web, newName: registry.example.com/web, newTag: %s}
patches:
- target: {kind: Deployment}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/resources, value: {requests: {cpu: 100m, memory: 128Mi}}}
`, appSpace, unit, version)
}

var baseFiles = map[string]string{
	"rbac.yaml": `apiVersion: v1
kind: ServiceAccount
metadata: {name: APP}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: APP}
rules:
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [get, list, watch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: APP}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: APP}
subjects:
- {kind: ServiceAccount, name: APP}
`,
	"config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: APP}
data:
  app.conf: |
    listen 8080
    log info
    workers 4
`,
	"deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: APP, labels: {app: APP}}
spec:
  selector: {matchLabels: {app: APP}}
  template:
    metadata: {labels: {app: APP}}
    spec:
      serviceAccountName: APP
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: web
        ports: [{name: http, containerPort: 8080}]
        envFrom: [{configMapRef: {name: APP-env}}]
        readinessProbe: {httpGet: {path: /ready, port: http}}
        volumeMounts: [{name: conf, mountPath: /etc/app}]
      volumes:
      - {name: conf, configMap: {name: APP}}
`,
	"service.yaml": `apiVersion: v1
kind: Service
metadata: {name: APP}
spec:
  selector: {app: APP}
  ports: [{name: http, port: 80, targetPort: http}]
`,
	"scaling.yaml": `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: APP}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: APP}
  minReplicas: 3
  maxReplicas: 10
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: APP}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: APP}}
`,
	"network.yaml": `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: APP}
spec:
  podSelector: {matchLabels: {app: APP}}
  policyTypes: [Ingress]
  ingress:
  - ports: [{port: http}]
`,
}

// importCommit commits files to a bare repository, on top of what is there.
func importCommit(ctx context.Context, dir string, files map[string]string, message string) error {
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter bench <bench@example.com> %d +0000\ndata %d\n%s\n", time.Now().Unix(), len(message), message)
	if _, err := git(ctx, dir, nil, "rev-parse", "--verify", "--quiet", "main"); err == nil {
		in.WriteString("from refs/heads/main^0\n")
	}
	for name, content := range files {
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(content), content)
	}
	_, err := git(ctx, dir, &in, "fast-import", "--quiet")
	return err
}

func git(ctx context.Context, dir string, in *bytes.Buffer, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	if in != nil {
		cmd.Stdin = in
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// inMemory is all apps as Kustomize reads them fastest.
func inMemory(units int) (filesys.FileSystem, error) {
	fs := filesys.MakeFsInMemory()
	for i := range units {
		for name, content := range appFiles(unitName(i), "1.0.0") {
			if err := fs.WriteFile("/"+name, []byte(content)); err != nil {
				return nil, err
			}
		}
	}
	return fs, nil
}

// renderApp renders an app with Kustomize itself, for a namespace.
func renderApp(fs filesys.FileSystem, unit, namespace string) ([]*unstructured.Unstructured, error) {
	o := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	m, err := krusty.MakeKustomizer(o).Run(fs, "/apps/"+unit+"/production")
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, r := range m.Resources() {
		o, err := r.Map()
		if err != nil {
			return nil, err
		}
		u := &unstructured.Unstructured{Object: o}
		u.SetNamespace(namespace)
		all = append(all, u)
	}
	if len(all) != objectsPerApp {
		return nil, fmt.Errorf("%s renders to %d objects, not %d", unit, len(all), objectsPerApp)
	}
	return all, nil
}
