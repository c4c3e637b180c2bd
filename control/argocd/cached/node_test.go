package cached_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/object"
)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	return u
}

func pod(spec, status string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {a: b}}\nspec: {nodeName: n1, " + spec + "}\nstatus: {" + status + "}"
}

const oneContainer = "containers: [{name: c, image: i1}]"

// What is shown of a Pod is what kubectl has in its columns.
func TestPodsAreShownAsKubectlDoes(t *testing.T) {
	for name, c := range map[string]struct{ manifest, status, ready string }{
		"one that runs":              {pod(oneContainer, "phase: Running, containerStatuses: [{name: c, ready: true, state: {running: {}}}]"), "Running", "1/1"},
		"one that is on no node yet": {pod(oneContainer, "phase: Pending"), "Pending", "0/1"},
		"one whose image is bad":     {pod(oneContainer, "phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ErrImagePull}}}]"), "ErrImagePull", "0/1"},
		"one that was killed":        {pod(oneContainer, "phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 137, signal: 9}}}]"), "Signal:9", "0/1"},
		"one that ended":             {pod(oneContainer, "phase: Failed, containerStatuses: [{name: c, state: {terminated: {exitCode: 3}}}]"), "ExitCode:3", "0/1"},
		"one of two that is done": {
			pod("containers: [{name: c, image: i1}, {name: d, image: i2}]", "phase: Running, containerStatuses: [{name: c, state: {terminated: {reason: Completed}}}, {name: d, ready: true, state: {running: {}}}]"),
			"Running", "1/2",
		},
		"one that begins":      {pod("initContainers: [{name: i, image: i0}, {name: j, image: i0}], "+oneContainer, "phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, state: {running: {}}}]"), "Init:1/2", "0/1"},
		"one that can't begin": {pod("initContainers: [{name: i, image: i0}], "+oneContainer, "phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1, reason: Error}}}]"), "Init:Error", "0/1"},
		"one with a sidecar": {
			pod("initContainers: [{name: i, image: i0, restartPolicy: Always}], "+oneContainer, "phase: Running, initContainerStatuses: [{name: i, ready: true, started: true, state: {running: {}}}], containerStatuses: [{name: c, ready: true, state: {running: {}}}]"),
			"Running", "2/2",
		},
		"one that goes":     {strings.Replace(pod(oneContainer, "phase: Running"), "{name: p,", "{deletionTimestamp: \"2026-01-02T03:04:05Z\", name: p,", 1), "Terminating", "0/1"},
		"one that is gated": {pod(oneContainer, "phase: Pending, conditions: [{type: PodScheduled, status: \"False\", reason: SchedulingGated}]"), "SchedulingGated", "0/1"},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, i := range cached.NodeOf(parse(t, c.manifest)).Info {
				got[i.Name] = i.Value
			}
			if want := (map[string]string{"Status Reason": c.status, "Node": "n1", "Containers": c.ready}); !cmp.Equal(got, want) {
				t.Error(cmp.Diff(want, got))
			}
		})
	}
}

func TestANodeSaysWhereItsTrafficGoes(t *testing.T) {
	for name, c := range map[string]struct{ manifest, want string }{
		"a Service": {
			"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer, selector: {app: web}}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}",
			`{"targetLabels":{"app":"web"},"ingress":[{"ip":"1.2.3.4"}]}`,
		},
		"an Ingress": {
			`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i, namespace: shop, annotations: {link.argocd.argoproj.io/docs: "Docs|https://docs.example.com", link.argocd.argoproj.io/bad: "javascript:alert(1)"}}
spec:
  tls: [{hosts: [a.example.com]}]
  defaultBackend: {service: {name: z, port: {number: 80}}}
  rules:
  - {host: a.example.com, http: {paths: [{path: /x*, backend: {service: {name: web}}}]}}
  - {host: b.example.com, http: {paths: [{path: /, backend: {service: {name: web}}}]}}
  - {http: {paths: [{backend: {service: {name: web}}}]}}
`,
			`{"targetRefs":[{"kind":"Service","namespace":"shop","name":"web"},{"kind":"Service","namespace":"shop","name":"z"}],` +
				`"externalURLs":["Docs|https://docs.example.com","http://b.example.com/","https://a.example.com/x"]}`,
		},
		"an Ingress whose links nobody wants": {
			"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i, annotations: {argocd.argoproj.io/ignore-default-links: \"true\"}}\nspec: {rules: [{host: a, http: {paths: [{path: /}]}}]}",
			`{}`,
		},
		"a route": {
			"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: {parentRefs: [{name: g}, {name: h, namespace: edge}, {}]}",
			`{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","namespace":"shop","name":"g"},{"group":"gateway.networking.k8s.io","kind":"Gateway","namespace":"edge","name":"h"}]}`,
		},
		"one of another kind":       {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}", `null`},
		"one that is of no shape":   {"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {rules: 7, tls: [8]}", `{}`},
		"a Service of no shape too": {"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: [1]", `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(cached.NodeOf(parse(t, c.manifest)).Networking)
			if err != nil || string(got) != c.want {
				t.Errorf("%v: %s, want %s", err, got, c.want)
			}
		})
	}
}

func TestANodeNamesItsParents(t *testing.T) {
	n := cached.NodeOf(parse(t, `apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: r
  namespace: shop
  uid: u2
  resourceVersion: "7"
  creationTimestamp: "2026-01-02T03:04:05Z"
  annotations: {deployment.kubernetes.io/revision: "3"}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: d, uid: u1}]
`))
	got, err := json.Marshal(n)
	want := `{"group":"apps","version":"v1","kind":"ReplicaSet","namespace":"shop","name":"r","uid":"u2",` +
		`"parentRefs":[{"group":"apps","version":"v1","kind":"Deployment","namespace":"shop","name":"d","uid":"u1"}],` +
		`"info":[{"name":"Revision","value":"Rev:3"}],"resourceVersion":"7","createdAt":"2026-01-02T03:04:05Z"}`
	if err != nil || string(got) != want {
		t.Errorf("%v: %s\nwant %s", err, got, want)
	}
}

func TestAHostSaysWhoUsesIt(t *testing.T) {
	q := resource.MustParse
	node := &corev1.Node{}
	node.Name = "n1"
	node.Status.Capacity = corev1.ResourceList{"cpu": q("4"), "memory": q("1Ki"), "pods": q("110")}
	of := func(uid string, phase corev1.PodPhase, cpu ...string) (p corev1.Pod) {
		p.UID, p.Status.Phase = types.UID(uid), phase
		for _, c := range cpu {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": q(c)}}})
		}
		return p
	}
	begins := of("other", corev1.PodPending, "100m")
	begins.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": q("1")}}}}
	h := cached.HostOf(node, []corev1.Pod{
		of("own", corev1.PodRunning, "100m", "200m"), of("own2", corev1.PodSucceeded, "2"), begins,
	}, map[string]bool{"own": true, "own2": true})
	want := []cached.HostResource{{Name: "cpu", ByApp: 300, ByOthers: 1000, Available: 4000}, {Name: "memory", Available: 1024_000}}
	if !cmp.Equal(h.Resources, want) || h.Name != "n1" {
		t.Error(cmp.Diff(want, h.Resources))
	}
}

// What the server is given of a Secret tells equal values from others, and no
// more.
func TestNoValueOfASecretIsStored(t *testing.T) {
	secret := func(password, other string) *unstructured.Unstructured {
		return parse(t, `apiVersion: v1
kind: Secret
metadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: "hunter2", token: "s3same", app: web}}
data: {password: `+password+`, other: `+other+`}
`)
	}
	want, live := secret("aHVudGVyMg==", "c2FtZQ=="), secret("aHVudGVyMw==", "c2FtZQ==")
	r, err := cached.State{Target: want, Live: live, Normalized: live, Predicted: want, Sensitive: []string{"token"}}.Resource(object.RefOf(live), false)
	if err != nil {
		t.Fatal(err)
	}
	all := r.TargetState + r.LiveState + r.NormalizedLiveState + r.PredictedLiveState
	for _, value := range []string{"aHVudGVy", "c2FtZQ", "hunter2", "s3same"} {
		if strings.Contains(all, value) {
			t.Errorf("%s is stored: %s", value, all)
		}
	}
	if r.TargetState != r.PredictedLiveState || r.LiveState != r.NormalizedLiveState || r.NormalizedLiveState == r.PredictedLiveState || !r.Modified {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.LiveState, `"other":"++++++++"`) || !strings.Contains(r.TargetState, `"other":"++++++++"`) {
		t.Errorf("what is equal looks otherwise: %s, %s", r.LiveState, r.TargetState)
	}
	for _, want := range []string{`"token":"++++++++"`, `"app":"web"`, `"password":"++++++++++++"`} { // which is how Argo CD tells another value
		if !strings.Contains(r.LiveState, want) {
			t.Errorf("%s lacks %s", r.LiveState, want)
		}
	}
	if live.Object["data"].(map[string]any)["password"] != "aHVudGVyMw==" {
		t.Error("the object itself was changed")
	}
}

func TestWhatIsNotThereIsNull(t *testing.T) {
	o := parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, resourceVersion: \"5\", managedFields: [{manager: m}]}\ndata: {a: b}")
	text := `{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"name":"c","resourceVersion":"5"}}`
	for name, c := range map[string]struct {
		state cached.State
		want  cached.Resource
	}{
		"it is to come": {cached.State{Target: o, Predicted: o}, cached.Resource{TargetState: text, LiveState: "null", NormalizedLiveState: "null", PredictedLiveState: text, Modified: true}},
		"it is to go":   {cached.State{Live: o, Normalized: o}, cached.Resource{TargetState: "null", LiveState: text, NormalizedLiveState: text, PredictedLiveState: "null", ResourceVersion: "5", Modified: true}},
		"it is as it should be": {
			cached.State{Target: o, Live: o, Normalized: o, Predicted: o},
			cached.Resource{TargetState: text, LiveState: text, NormalizedLiveState: text, PredictedLiveState: text, ResourceVersion: "5"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.state.Resource(object.RefOf(o), false)
			c.want.Kind, c.want.Name = "ConfigMap", "c"
			if err != nil || got != c.want {
				t.Error(err, cmp.Diff(c.want, got))
			}
		})
	}
}
