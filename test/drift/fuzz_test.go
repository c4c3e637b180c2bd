package drift_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed of TestEveryEditIsUndone; 0: another one each time")
	edits = flag.Int("edits", 150, "how many edits TestEveryEditIsUndone makes")
)

// kinds are manifests as the API server keeps them, so that live objects can
// be compared with them. Each kind is there several times, so that no object
// changes so often that corrections are slowed down.
const kinds = `
apiVersion: v1
kind: ConfigMap
metadata: {name: config, labels: {team: shop}, annotations: {note: "1"}}
data: {a: "1", b: "2", c: ""}
---
apiVersion: v1
kind: Secret
metadata: {name: secret, annotations: {note: "1"}}
type: Opaque
data: {a: MQ==, b: Mg==}
---
apiVersion: v1
kind: Service
metadata: {name: service, labels: {team: shop}}
spec:
  selector: {app: web, tier: front}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tls, port: 443, targetPort: tls}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: account, annotations: {role: reader}}
automountServiceAccountToken: false
imagePullSecrets: [{name: one}, {name: two}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {}}
spec:
  revisionHistoryLimit: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {note: "1"}}
    spec:
      initContainers: [{name: first, image: busybox}, {name: second, image: busybox}]
      containers:
      - name: web
        image: nginx
        args: [serve, --verbose]
        env: [{name: A, value: "1"}, {name: B, value: $(A)}]
        ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090}]
        resources: {}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      - {name: proxy, image: proxy, resources: {requests: {cpu: 100m}}}
      tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}]
      volumes: [{name: tmp, emptyDir: {}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: 0 3 * * *
  suspend: true
  jobTemplate: {spec: {backoffLimit: 2, template: {spec: {restartPolicy: Never, containers: [{name: job, image: busybox, command: [run, all]}]}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: role}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}, {apiGroups: [apps], resources: [deployments], verbs: [get]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: policy}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: front}}}], ports: [{port: 80, protocol: TCP}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress, annotations: {class: x}}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaler}
spec:
  minReplicas: 2
  maxReplicas: 5
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: drift.example.com/v1
kind: Widget
metadata: {name: widget, labels: {team: shop}}
spec:
  port: 80
  note: x
  tags: [a, b]
  steps: [one, two]
  free: {deep: {x: "1"}}
  limits: {cpu: "1"}
  parts: [{name: one, count: 2}, {name: two, kind: fancy}]
`

const copies = 4

// Whatever a second client does to objects, what Git says of them is true
// again soon after; and what Git does not say costs no request.
func TestEveryEditIsUndone(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("go test ./test/drift -run %s -seed %d", t.Name(), *seed)
	w := pt.On(t, kubetest.Private(t, "--audit"))
	ns := w.Namespace(t)
	w.Apply(t, definition)
	r := w.Git.Repo(t, "fuzz")
	var objects, quiet []*unstructured.Unstructured // with what Git says
	for n := range copies + 1 {
		files := map[string]string{}
		for _, doc := range strings.Split(kinds, "\n---\n") {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
				t.Fatal(err)
			}
			u.SetName(fmt.Sprintf("%s-%d", u.GetName(), n))
			b, err := json.Marshal(u.Object)
			if err != nil {
				t.Fatal(err)
			}
			files[fmt.Sprintf("app-%d/%s.yaml", n%2, u.GetName())] = string(b)
			if err := u.UnmarshalJSON(b); err != nil {
				t.Fatal(err)
			}
			u.SetNamespace(ns)
			u.SetLabels(merged(u.GetLabels(), map[string]string{"kustomize.toolkit.fluxcd.io/name": fmt.Sprintf("app-%d", n%2), "kustomize.toolkit.fluxcd.io/namespace": ns}))
			if n == copies {
				quiet = append(quiet, u)
			} else {
				objects = append(objects, u)
			}
		}
		r.Commit(t, files, "start")
	}
	w.Source(t, ns, "src", r)
	for n := range 2 {
		w.Unit(t, ns, fmt.Sprintf("app-%d", n), "src", fmt.Sprintf("./app-%d", n))
	}
	for n := range 2 {
		w.AwaitReady(t, ns, fmt.Sprintf("app-%d", n), "")
	}
	asInGit(t, w, "the first apply", slices.Concat(objects, quiet)...)

	e := &editor{Rand: rand.New(rand.NewPCG(*seed, 0)), w: w}
	random := func(n int) (out []*unstructured.Unstructured) {
		for _, i := range e.Perm(len(objects))[:n] {
			out = append(out, objects[i])
		}
		return out
	}
	round := func(n int) {
		t.Helper()
		chosen := random(n)
		var how []string
		for _, o := range chosen {
			did, err := e.edit(t.Context(), o)
			if err != nil {
				t.Fatalf("seed %d: %v", *seed, err)
			}
			how = append(how, fmt.Sprintf("%s %s: %s", o.GetKind(), o.GetName(), did))
		}
		if !w.Plumb.Runs() {
			w.Plumb.Start()
		}
		asInGit(t, w, strings.Join(how, "\n"), chosen...)
	}

	others := time.Now()
	for _, o := range quiet {
		disturb(t, w, o)
	}
	const atOnce = 6
	made := 0
	for ; made < *edits*4/5; made += atOnce {
		round(atOnce)
	}
	// The watches that brought the edits of each kind have brought what
	// others did before them.
	for _, o := range objects[:len(quiet)] {
		if err := w.Client.Delete(t.Context(), o.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	asInGit(t, w, "delete one of each kind", objects[:len(quiet)]...)
	for _, req := range w.Requests(t, others) {
		if slices.ContainsFunc(quiet, func(o *unstructured.Unstructured) bool { return o.GetName() == req.Name }) {
			t.Errorf("what others did to what is theirs cost a request: %s %s", req.Verb, req.URI)
		}
	}
	asInGit(t, w, "what others did to what is theirs", quiet...)

	// And what is edited while plumb does not run.
	for ; made < *edits; made += 2 * atOnce {
		w.Plumb.Kill(syscall.SIGKILL)
		round(2 * atOnce)
	}
	t.Logf("%d edits of %d objects", made, len(objects))
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

// disturb changes what Git does not say of an object: it adds a label and an
// annotation, writes a status, and what else is commonly done to its kind.
func disturb(t *testing.T, w *pt.World, git *unstructured.Unstructured) {
	t.Helper()
	patch := func(by, kind, body string, o ...client.SubResourcePatchOption) {
		t.Helper()
		live := git.DeepCopy()
		err := error(nil)
		if kind == "" {
			err = w.Client.Patch(t.Context(), live, client.RawPatch("application/strategic-merge-patch+json", []byte(body)), client.FieldOwner(by))
			if git.GetKind() == "Widget" {
				err = w.Client.Patch(t.Context(), live, client.RawPatch("application/merge-patch+json", []byte(body)), client.FieldOwner(by))
			}
		} else {
			err = w.Client.SubResource(kind).Patch(t.Context(), live, client.RawPatch("application/merge-patch+json", []byte(body)), o...)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", git.GetKind(), body, err)
		}
	}
	patch("rival", "", `{"metadata":{"labels":{"theirs":"1"},"annotations":{"theirs":"1"}}}`)
	patch("rival", "", `{"metadata":{"labels":{"theirs":"2"},"annotations":{"theirs":null}}}`)
	switch git.GetKind() {
	case "ConfigMap", "Secret":
		patch("rival", "", `{"data":{"theirs":"MQ=="}}`)
	case "Service":
		patch("rival", "", `{"spec":{"sessionAffinity":"ClientIP"}}`)
	case "Ingress":
		patch("rival", "status", `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`)
	case "Deployment":
		patch("injector", "", `{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"sidecar"}],"initContainers":[{"name":"zeroth","image":"busybox"}]}}}}`)
		patch("sizer", "", `{"spec":{"template":{"spec":{"containers":[{"name":"web","resources":{"limits":{"cpu":"1"}}}]}}}}`)
		patch("scaler", "scale", `{"spec":{"replicas":2}}`)
	case "ServiceAccount":
		patch("rival", "", `{"secrets":[{"name":"token"}]}`)
	case "HorizontalPodAutoscaler":
		patch("rival", "", `{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":60}}}}`)
	case "Widget":
		patch("rival", "", `{"spec":{"at":"2026-01-02T03:04:05Z","free":{"theirs":{"x":1}}}}`)
		patch("rival", "status", `{"status":{"phase":"Ready"}}`)
	}
}

// asInGit waits until live objects say what Git says of them.
func asInGit(t *testing.T, w *pt.World, after string, objects ...*unstructured.Unstructured) {
	t.Helper()
	deadline := time.Now().Add(pt.Patience)
	for _, git := range objects {
		kubetest.Eventually(t, time.Until(deadline), func() error {
			live, err := w.Object(t.Context(), kindOf(git), git.GetNamespace(), git.GetName())
			if err == nil && live.GetDeletionTimestamp() != nil {
				err = fmt.Errorf("it is being deleted")
			}
			if err != nil {
				return fmt.Errorf("seed %d: %s %s after\n%s\n%w", *seed, git.GetKind(), git.GetName(), after, err)
			}
			if diff := cmp.Diff(git.Object, project(git.Object, live.Object)); diff != "" {
				return fmt.Errorf("seed %d: %s %s after\n%s\n-git +live:\n%s", *seed, git.GetKind(), git.GetName(), after, diff)
			}
			return nil
		})
	}
}

// project returns what is in live of what Git says: of a map the keys that Git
// has, and of a list of named elements those that Git has, in the order in
// which they are live. Tags are a set. Where Git is empty, what others add is
// theirs.
func project(git, live any) any {
	switch git := git.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok && len(git) > 0 {
			return nil
		}
		out := map[string]any{}
		for k, v := range git {
			if got, ok := live[k]; ok && k == "tags" {
				set, _ := got.([]any)
				out[k] = slices.DeleteFunc(slices.Clone(v.([]any)), func(tag any) bool { return !slices.Contains(set, tag) })
			} else if ok {
				out[k] = project(v, got)
			} else if m, ok := v.(map[string]any); ok && len(m) == 0 {
				out[k] = v // an empty map need not be stored
			}
		}
		return out
	case []any:
		list, ok := live.([]any)
		if !ok {
			return live
		}
		var out []any
		for i, item := range list {
			switch m, ok := item.(map[string]any); {
			case ok && m["name"] != nil:
				at := slices.IndexFunc(git, func(g any) bool { return g.(map[string]any)["name"] == m["name"] })
				if at >= 0 {
					out = append(out, project(git[at], item))
				}
			case i < len(git):
				out = append(out, project(git[i], item))
			default:
				out = append(out, item)
			}
		}
		return out
	}
	return live
}
