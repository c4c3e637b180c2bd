// Package drift_test shows that plumb sees every change of what it holds true,
// and nothing where there is none: the real binary beside a real API server, and a
// second client that changes what it likes.
package drift_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

// definition is a kind with defaults, sets, maps and pruning.
const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.drift.example.com}
spec:
  group: drift.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
          spec:
            type: object
            properties:
              size: {type: integer, default: 3}
              port: {x-kubernetes-int-or-string: true}
              at: {type: string, format: date-time}
              note: {type: string, nullable: true}
              tags: {type: array, items: {type: string}, x-kubernetes-list-type: set}
              steps: {type: array, items: {type: string}}
              template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              limits: {type: object, additionalProperties: {x-kubernetes-int-or-string: true}}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, count: {type: integer, default: 1}, kind: {type: string, default: plain}}
`

// rewritten are manifests that the API server does not keep as they are
// written.
const rewritten = `
# Quantities, protocols, empty values, nulls, the order of variables.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, creationTimestamp: null, labels: {}, annotations: {empty: "", number: "1"}}
spec:
  replicas: 1
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 25%}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {creationTimestamp: null, labels: {app: web}}
    spec:
      nodeSelector: {}
      tolerations: []
      affinity: null
      securityContext: {}
      initContainers:
      - {name: second, image: busybox, command: [], args: [a, ""]}
      - {name: first, image: busybox, resources: {}}
      containers:
      - name: web
        image: nginx
        env:
        - {name: Z, value: ""}
        - {name: A, value: $(Z)}
        - {name: M}
        - {name: E, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        envFrom: []
        ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP, name: ""}]
        livenessProbe: {httpGet: {port: 8080}}
        resources:
          limits: {cpu: 1000m, memory: 1024Mi}
          requests: {cpu: 1, memory: 1.5e8}
        volumeMounts: []
        securityContext: {capabilities: {drop: [ALL]}, runAsNonRoot: false}
      - {name: side, image: busybox, resources: {limits: {cpu: "1", memory: 0.5Gi}, requests: {cpu: 0.1, memory: 128974848}}}
      volumes:
      - {name: tmp, emptyDir: {sizeLimit: 1024Mi}}
      - {name: none, emptyDir: {}}
      - {name: mode, configMap: {name: c, defaultMode: 0420, optional: false, items: []}}
status: {}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: "http", name: http}, {port: 53, targetPort: 53, protocol: UDP, name: dns}, {port: 443, name: tls}]}
status: {loadBalancer: {}}
---
apiVersion: v1
kind: Secret
metadata: {name: plain}
type: ""
stringData: {password: secret, empty: ""}
---
apiVersion: v1
kind: Secret
metadata: {name: folded}
data:
  cert: |
    YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=
  both: YQ==
stringData: {both: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, annotations: null}
data: {empty: "", none: null, lines: "a\r\nb \n", number: "010"}
binaryData: {}
immutable: false
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: {requests.cpu: "2000m", limits.memory: 4096Mi, pods: 10, requests.storage: 1e12}, scopes: []}
---
apiVersion: v1
kind: LimitRange
metadata: {name: l}
spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 0.25}, max: {memory: 2048Mi}}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}, selector: null}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa}
automountServiceAccountToken: false
imagePullSecrets: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rb}
roleRef: {kind: Role, name: r}
subjects: [{kind: User, name: jane}, {kind: ServiceAccount, name: sa}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: r}
rules: [{apiGroups: [""], resources: [pods, configmaps], verbs: [watch, get, list], resourceNames: []}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}, {port: http}], from: []}], egress: []}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {rules: [{host: "", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}], tls: []}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: pdb}
spec: {minAvailable: 50%, selector: {matchLabels: {app: web}, matchExpressions: []}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: hpa}
spec:
  maxReplicas: 5
  scaleTargetRef: {kind: Deployment, name: other, apiVersion: apps/v1}
  metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1024Mi}}}, {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cj}
spec:
  schedule: "@daily"
  startingDeadlineSeconds: null
  jobTemplate: {metadata: {creationTimestamp: null}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox, env: []}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {suspend: true, template: {metadata: {}, spec: {restartPolicy: Never, containers: [{name: c, image: busybox, resources: {limits: {cpu: 1500m}}}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: ""
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: busybox, ports: [{containerPort: 1}, {containerPort: 1, protocol: UDP}]}]}}
  volumeClaimTemplates: [{metadata: {name: data, creationTimestamp: null}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}]
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: ours}
value: 1e3
globalDefault: false
description: ""
---
apiVersion: drift.example.com/v1
kind: Widget
metadata: {name: w, finalizers: []}
spec:
  port: "80"
  at: "2026-01-02T03:04:05+02:00"
  note: null
  tags: [b, a]
  steps: []
  free: {x: null, y: "", z: {}, l: [], f: 1.0, n: 1e3}
  limits: {cpu: 1000m}
  parts: [{name: b}, {name: a, count: 1}]
status: {}
---
apiVersion: drift.example.com/v1
kind: Widget
metadata: {name: bare}
spec: {template: {apiVersion: v1, kind: Pod, metadata: {name: x, labels: {}, creationTimestamp: null}}}
status: {phase: dropped}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: ours}
webhooks:
- name: w.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  objectSelector: {}
  clientConfig: {caBundle: "", service: {namespace: default, name: nobody}}
  rules: []
`

// What the API server writes in another form than Git has is not drift:
// nothing is written after the first apply, and nothing after a restart.
func TestWhatTheServerRewritesIsNoDrift(t *testing.T) {
	w := pt.On(t, kubetest.Private(t, "--audit"))
	ns := w.Namespace(t)
	w.Apply(t, definition)
	files := map[string]string{"app/canary.yaml": pt.ConfigMap("canary")}
	for i, doc := range strings.Split(rewritten, "\n---\n") {
		files[fmt.Sprintf("app/%02d.yaml", i)] = doc
	}
	r := w.Git.Repo(t, "rewritten")
	r.Commit(t, files, "start")
	start := time.Now()
	w.Source(t, ns, "u", r)
	w.Unit(t, ns, "u", "u", "./app")
	w.AwaitReady(t, ns, "u", "")
	objects := maps.Clone(files)
	delete(objects, "app/canary.yaml")
	versions := func() map[string]string {
		out := map[string]string{}
		for _, doc := range objects {
			var u unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
				t.Fatal(err)
			}
			live, err := w.Object(t.Context(), kindOf(&u), ns, u.GetName())
			if err != nil {
				t.Fatal(err)
			}
			out[u.GetKind()+"/"+u.GetName()] = live.GetResourceVersion()
		}
		return out
	}
	// Each is written once.
	before := versions()
	writes, _ := count(w.Requests(t, start))
	for _, what := range slices.Sorted(maps.Keys(writes)) {
		if writes[what] != 1 && !isBookkeeping(what) {
			t.Errorf("%d writes of %s for the first apply", writes[what], what)
		}
	}
	if n := len(writes); n < len(objects) {
		t.Errorf("%d objects of %d were written", n, len(objects))
	}
	// Another commit has plumb look at all of them again.
	silent := func(when string, since time.Time, dryRuns bool) {
		t.Helper()
		writes, tries := count(w.Requests(t, since))
		for _, what := range slices.Sorted(maps.Keys(writes)) {
			if !isBookkeeping(what) {
				t.Errorf("%s: %d writes of %s", when, writes[what], what)
			}
		}
		for _, what := range slices.Sorted(maps.Keys(tries)) {
			switch {
			case isBookkeeping(what):
			case dryRuns:
				t.Logf("%s: only the server could tell that %s is as Git has it", when, what)
			default:
				t.Errorf("%s: the server was asked about %s", when, what)
			}
		}
	}
	settled := time.Now()
	commit := func(value string) {
		t.Helper()
		hash := w.Commit(t, r, map[string]string{"app/canary.yaml": pt.ConfigMap("canary", "v", value)})
		w.AwaitReady(t, ns, "u", hash)
	}
	commit("1")
	silent("after the first apply", settled, false)

	restart := time.Now()
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	commit("2")
	silent("after a restart", restart, true)
	settled = time.Now()
	commit("3")
	silent("after a restart, settled", settled, false)
	for what, v := range versions() {
		switch kind, _, _ := strings.Cut(what, "/"); kind {
		case "Deployment", "StatefulSet", "CronJob", "Job", "PersistentVolumeClaim", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ResourceQuota", "Service", "Ingress":
			// Their controllers write their status.
		default:
			if v != before[what] {
				t.Errorf("%s was changed", what)
			}
		}
	}
}

// count returns how often what was written, and tried or read.
func count(requests []pt.Request) (writes, tries map[string]int) {
	writes, tries = map[string]int{}, map[string]int{}
	for _, r := range requests {
		switch what := r.Resource + "/" + r.Name; {
		case r.Write():
			writes[what]++
		case r.Name != "" && (r.Verb == "patch" || r.Verb == "get"):
			tries[what]++
		}
	}
	return writes, tries
}

// isBookkeeping reports whether an object is one that a commit has plumb write
// whatever the unit's objects are.
func isBookkeeping(what string) bool {
	resource, name, _ := strings.Cut(what, "/")
	return what == "configmaps/canary" || slices.Contains([]string{"kustomizations", "gitrepositories", "events", "leases"}, resource) || name == ""
}

func kindOf(u *unstructured.Unstructured) string {
	return u.GetAPIVersion() + "/" + u.GetKind()
}
