package argocd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// What Argo CD has made goes on as it is, and back: each step builds on the one
// before.
func takeover(t *testing.T, w *world) {
	ns, r := w.start(t, nil)
	g := &giving{world: w, ns: ns, repo: r, files: map[string]string{
		"app/web.yaml": webDeployment, "app/svc.yaml": webService, "app/db.yaml": database, "app/job.yaml": finished,
		"app/settings.yaml": pt.ConfigMap("settings", "colour", "blue", "old", "field"), "app/secret.yaml": password,
		"app/scaled.yaml": scaled, "app/applied.yaml": applied, "app/going.yaml": pt.ConfigMap("going"),
		"app/crd.yaml": strings.ReplaceAll(definition, "NS", ns), "app/cr.yaml": strings.ReplaceAll(custom, "NS", ns),
		"app/quantities.yaml": quantities, "app/sealed.yaml": sealed,
	}}
	g.head = r.Commit(t, g.files, "what Argo CD has applied")
	g.remove(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"Argo CD has made a cluster", g.made},
		{"everything is as it was, and nothing is written", g.asItWas},
		{"the command says that nothing would change", g.migrates},
		{"what somebody changes is put back", g.drifts},
		{"what leaves Git goes, fields and objects", g.leaves},
		{"Argo CD finds what it left", g.given},
		{"Argo CD goes on", g.goesOn},
		{"and plumb again", g.again},
	} {
		if !t.Run(step.name, step.do) {
			return
		}
	}
}

// A giving is an Application that is called as its namespace, and is given from
// Argo CD to plumb and back.
type giving struct {
	*world
	ns, head string
	repo     *gittest.Repository
	files    map[string]string
	was      map[string]string // how the objects were
	status   api.ApplicationStatus
}

const database = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "example.com/db:v1"}]}
`

const finished = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: "example.com/m:v1", command: ["true"]}]}}}
`

const password = `apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {password: hunter2}
`

// Its replicas are others' to set.
const scaled = `apiVersion: apps/v1
kind: Deployment
metadata: {name: scaled}
spec:
  selector: {matchLabels: {app: scaled}}
  template:
    metadata: {labels: {app: scaled}}
    spec: {containers: [{name: c, image: "example.com/c:v1", ports: [{containerPort: 80}]}, {name: helper, image: "example.com/h:v1"}]}
`

// The Application has it applied on the server's side.
const applied = `apiVersion: apps/v1
kind: Deployment
metadata: {name: applied, annotations: {argocd.argoproj.io/sync-options: ServerSideApply=true}}
spec:
  replicas: 1
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec: {containers: [{name: c, image: "example.com/c:v1"}]}
`

// Somebody has scaled it to the same, so that part of it is theirs.
const quantities = `apiVersion: apps/v1
kind: Deployment
metadata: {name: quantities}
spec:
  replicas: 2
  selector: {matchLabels: {app: quantities}}
  template:
    metadata: {labels: {app: quantities}}
    spec: {containers: [{name: c, image: "example.com/c:v1", resources: {limits: {cpu: 1000m, memory: 1024Mi}}}]}
`

// It was replaced, so that it has no record.
const sealed = `apiVersion: v1
kind: Service
metadata: {name: sealed, annotations: {argocd.argoproj.io/sync-options: Replace=false}}
spec: {ports: [{port: 80}], selector: {app: sealed}}
`

const definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.NS.example.com}
spec:
  group: NS.example.com
  scope: Namespaced
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {a: {type: string}, b: {type: string, default: x}}}}}}}]
`

const custom = `apiVersion: NS.example.com/v1
kind: Widget
metadata: {name: one}
spec: {a: "1"}
`

// objects are those of Git, as Argo CD makes them.
func (g *giving) objects(t *testing.T) (all []*unstructured.Unstructured) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(g.files)) {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(g.files[name]), &u.Object); err != nil {
			t.Fatal(err)
		}
		if u.GetKind() != "CustomResourceDefinition" {
			u.SetNamespace(g.ns)
		}
		g.track(u, g.ns)
		all = append(all, u)
	}
	slices.SortStableFunc(all, func(a, b *unstructured.Unstructured) int { return len(a.GetNamespace()) - len(b.GetNamespace()) })
	return all
}

func (g *giving) track(u *unstructured.Unstructured, app string) {
	ann := u.GetAnnotations()
	if ann == nil {
		ann = map[string]string{}
	}
	ann["argocd.argoproj.io/tracking-id"] = fmt.Sprintf("%s:%s/%s:%s/%s", app, u.GroupVersionKind().Group, u.GetKind(), g.ns, u.GetName())
	u.SetAnnotations(ann)
}

const argocdManager = "argocd-controller"

// made makes the cluster as Argo CD does: objects are created with a record of
// what was applied, by its manager; some are applied on the server's side.
func (g *giving) made(t *testing.T) {
	g.create(t)
	g.scale(t, "scaled", 3)
	g.scale(t, "quantities", 3)
	g.scale(t, "quantities", 2)
	// A copy has the tracking id of what it was copied from.
	copied := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(pt.ConfigMap("copied")), &copied.Object); err != nil {
		t.Fatal(err)
	}
	copied.SetNamespace(g.ns)
	copied.SetAnnotations(map[string]string{"argocd.argoproj.io/tracking-id": fmt.Sprintf("%s:/ConfigMap:%s/settings", g.ns, g.ns)})
	if err := g.Client.Create(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"guestbook-ui", "scaled", "quantities", "applied"} {
		g.Await(t, deployment, g.ns, name, func(u *unstructured.Unstructured) error { return pt.Has("status.availableReplicas", replicas(u))(u) })
	}
	g.Await(t, "apps/v1/StatefulSet", g.ns, "db", pt.Has("status.availableReplicas", 1))
	g.Await(t, "batch/v1/Job", g.ns, "migrate", pt.Has("status.succeeded", 1))
	g.was = g.states(t)
}

func (g *giving) create(t *testing.T) {
	t.Helper()
	for _, u := range g.objects(t) {
		switch u.GetName() {
		case "applied":
			if err := g.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(argocdManager), client.ForceOwnership); err != nil {
				t.Fatal(err)
			}
			continue
		case "sealed":
		default:
			record, err := json.Marshal(u.Object)
			if err != nil {
				t.Fatal(err)
			}
			ann := u.GetAnnotations()
			ann[record0] = string(record) + "\n"
			u.SetAnnotations(ann)
		}
		kubetest.Eventually(t, pt.Patience, func() error { // a definition takes a moment
			return g.Client.Create(t.Context(), u.DeepCopy(), client.FieldOwner(argocdManager))
		})
	}
}

const record0 = "kubectl.kubernetes.io/last-applied-configuration"

func replicas(u *unstructured.Unstructured) int64 {
	n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	return n
}

// scale scales a Deployment as the autoscaler does.
func (g *giving) scale(t *testing.T, name string, n int32) {
	t.Helper()
	u, err := g.Object(t.Context(), deployment, g.ns, name)
	if err != nil {
		t.Fatal(err)
	}
	s := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: n}}
	if err := g.Client.SubResource("scale").Update(t.Context(), u, client.WithSubResourceBody(s), client.FieldOwner("kube-controller-manager")); err != nil {
		t.Fatal(err)
	}
}

// states say of each object which one it is and how often what is wanted of it
// has changed, and so of every Pod.
func (g *giving) states(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, u := range g.objects(t) {
		live, err := g.Object(t.Context(), kindOf(u), u.GetNamespace(), u.GetName())
		if err != nil {
			t.Fatal(err)
		}
		all[u.GetKind()+"/"+u.GetName()] = fmt.Sprintf("%s generation %d", live.GetUID(), live.GetGeneration())
	}
	var pods corev1.PodList
	if err := g.Client.List(t.Context(), &pods, client.InNamespace(g.ns)); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		all["Pod/"+p.Name] = string(p.UID)
	}
	return all
}

func kindOf(u *unstructured.Unstructured) string { return u.GetAPIVersion() + "/" + u.GetKind() }

// same checks that all is as it was, but for what is named.
func (g *giving) same(t *testing.T, but ...string) {
	t.Helper()
	now, was := g.states(t), maps.Clone(g.was)
	for _, name := range but {
		delete(now, name)
		delete(was, name)
	}
	if diff := cmp.Diff(was, now); diff != "" {
		t.Errorf("what was there is another (-was +is):\n%s", diff)
	}
}

// statusOf is what Argo CD says of an Application that is as it should be.
func (g *giving) statusOf(t *testing.T) string {
	var resources strings.Builder
	for _, u := range g.objects(t) {
		gvk := u.GroupVersionKind()
		fmt.Fprintf(&resources, "  - {group: %q, version: %s, kind: %s, name: %s, status: Synced", gvk.Group, gvk.Version, gvk.Kind, u.GetName())
		if u.GetNamespace() != "" {
			fmt.Fprintf(&resources, ", namespace: %s", u.GetNamespace())
		}
		resources.WriteString("}\n")
	}
	source := fmt.Sprintf("{repoURL: %q, path: app, targetRevision: main}", g.repo.URL())
	return fmt.Sprintf(`
status:
  controllerNamespace: argocd
  health: {status: Healthy, lastTransitionTime: "2026-01-01T00:00:05Z"}
  history:
  - {id: 3, revision: "1111111111111111111111111111111111111111", deployStartedAt: "2025-12-01T00:00:00Z", deployedAt: "2025-12-01T00:00:02Z", source: %[1]s, initiatedBy: {username: ada}}
  - {id: 4, revision: %[2]q, deployStartedAt: "2026-01-01T00:00:00Z", deployedAt: "2026-01-01T00:00:02Z", source: %[1]s, initiatedBy: {automated: true}}
  operationState:
    finishedAt: "2026-01-01T00:00:02Z"
    message: successfully synced (all tasks run)
    operation: {initiatedBy: {automated: true}, retry: {limit: 5}, sync: {revision: %[2]q, prune: true}}
    phase: Succeeded
    startedAt: "2026-01-01T00:00:00Z"
    syncResult:
      revision: %[2]q
      source: %[1]s
      resources:
      - {group: "", version: v1, kind: ConfigMap, namespace: %[3]s, name: settings, status: Synced, message: configmap/settings created, hookPhase: Running, syncPhase: Sync}
  reconciledAt: "2026-01-01T00:00:03Z"
  resourceHealthSource: appTree
  sourceHydrator: {}
  sourceType: Directory
  summary: {externalURLs: ["http://example.com/"], images: ["example.com/guestbook:v5"]}
  sync:
    comparedTo: {source: %[1]s, destination: {server: "https://kubernetes.default.svc", namespace: %[3]s}}
    revision: %[2]q
    status: Synced
  resources:
%[4]s`, source, g.head, g.ns, resources.String())
}

func (g *giving) asItWas(t *testing.T) {
	versions := g.versions(t)
	g.application(t, "syncPolicy: {automated: {prune: true, selfHeal: true}}")
	g.quiet(t, g.ns)
	a := g.is(t, g.ns, "Synced Healthy", g.head)
	st := a.Status
	if s := st.OperationState; a.Operation != nil || s.FinishedAt.UTC().Format("2006-01-02") != "2026-01-01" || s.Operation.Sync.Revision != g.head || len(s.SyncResult.Resources) != 1 {
		t.Errorf("there was an operation: %+v", s)
	}
	if h := st.History; len(h) != 2 || h[0].ID != 3 || h[0].InitiatedBy.Username != "ada" || h[1].ID != 4 || h[1].Revision != g.head {
		t.Errorf("the history is %+v", h)
	}
	if len(st.Resources) != len(g.files) || st.Health.LastTransitionTime.UTC().Format("2006-01-02 05") != "2026-01-01 05" || len(st.Summary.ExternalURLs) != 1 {
		t.Errorf("%d resources, healthy since %s, %+v", len(st.Resources), st.Health.LastTransitionTime, st.Summary)
	}
	for _, x := range st.Resources {
		if x.Status != api.Synced {
			t.Errorf("%+v", x)
		}
	}
	g.same(t)
	if diff := cmp.Diff(versions, g.versions(t)); diff != "" {
		t.Errorf("objects were written (-was +is):\n%s", diff)
	}
	g.status = st
}

// application creates the Application with its status, and waits until that was
// looked at.
func (g *giving) application(t *testing.T, policy string) {
	t.Helper()
	manifest := fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd, finalizers: [resources-finalizer.argocd.argoproj.io]}
spec:
  project: default
  source: {repoURL: %[2]q, path: app, targetRevision: main}
  destination: {server: "https://kubernetes.default.svc", namespace: %[1]s}
  %[3]s
%[4]s`, g.ns, g.repo.URL(), policy, g.statusOf(t))
	if out, err := g.Kubectl(t.Context(), manifest, "create", "-f", "-", "--field-manager=argocd-application-controller"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g.await(t, g.ns, func(a *api.Application) string {
		if a.Status.ResourceHealthSource != "" {
			return "it was not looked at"
		}
		return ""
	})
}

// remove has the Application deleted in the end.
func (g *giving) remove(t *testing.T) {
	t.Cleanup(func() {
		g.Plumb.Start()
		_, err := g.Kubectl(context.WithoutCancel(t.Context()), "", "-n", "argocd", "delete", "--wait=false", "--ignore-not-found", "applications.argoproj.io/"+g.ns)
		if err != nil {
			t.Log(err)
		}
	})
}

// versions are the resource versions of what nobody else writes.
func (g *giving) versions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, u := range g.objects(t) {
		switch u.GetKind() {
		case "ConfigMap", "Secret", "Service", "Widget":
			live, err := g.Object(t.Context(), kindOf(u), u.GetNamespace(), u.GetName())
			if err != nil {
				t.Fatal(err)
			}
			all[u.GetKind()+"/"+u.GetName()] = live.GetResourceVersion()
		}
	}
	return all
}

func (g *giving) migrates(t *testing.T) {
	out := g.plumb(t, 0, "migrate", "argocd")
	g.says(t, out, "Application/argocd/"+g.ns+" at sha1:"+g.head+": nothing would change, 13 objects to take over", "plumb migrate argocd --apply")
	g.says(t, g.plumb(t, 0, "migrate", "flux"), "0 units: 0 would change; 0 objects to take over")
	g.same(t)
}

func (g *giving) drifts(t *testing.T) {
	g.kubectl(t, "-n", g.ns, "patch", "configmap", "settings", "--type=merge", "-p", `{"data":{"colour":"red"}}`)
	g.Await(t, configMap, g.ns, "settings", pt.Has("data.colour", "blue"))
	g.kubectl(t, "-n", g.ns, "delete", "service", "sealed")
	g.Await(t, "v1/Service", g.ns, "sealed", nil)
	// What is not in Git is not plumb's affair.
	g.kubectl(t, "-n", g.ns, "label", "deployment", "guestbook-ui", "somebody=else")
	g.kubectl(t, "-n", g.ns, "annotate", "configmap", "settings", "somebody=else")
	g.is(t, g.ns, "Synced Healthy", g.head)
	g.same(t, "Service/sealed")
	g.was = g.states(t)
}

func (g *giving) leaves(t *testing.T) {
	g.files["app/settings.yaml"] = pt.ConfigMap("settings", "colour", "green")
	g.files["app/secret.yaml"] = strings.Replace(password, "{password: hunter2}", "{other: hunter3}", 1)
	g.files["app/scaled.yaml"] = strings.Replace(scaled, `, {name: helper, image: "example.com/h:v1"}`, "", 1)
	delete(g.files, "app/going.yaml")
	g.repo.Commit(t, g.files, "less")
	g.head = g.Remove(t, g.repo, "app/going.yaml")
	a := g.is(t, g.ns, "Synced Healthy", g.head)
	if h := a.Status.History; h[len(h)-1].Revision != g.head || h[0].ID != 3 {
		t.Errorf("the history is %+v", h)
	}
	g.AwaitGone(t, configMap, g.ns, "going")
	has := func(kind, name, path string, want any) {
		t.Helper()
		u, err := g.Object(t.Context(), kind, g.ns, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := pt.Has(path, want)(u); err != nil {
			t.Error(err)
		}
	}
	has(configMap, "settings", "data", map[string]any{"colour": "green"})
	has(configMap, "settings", "metadata.annotations.somebody", "else")
	has("v1/Secret", "password", "data", map[string]any{"other": "aHVudGVyMw=="})
	has(deployment, "scaled", "spec.replicas", 3)
	has(deployment, "quantities", "spec.replicas", 2)
	u, err := g.Object(t.Context(), deployment, g.ns, "scaled")
	if err != nil {
		t.Fatal(err)
	}
	if list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); len(list) != 1 {
		t.Errorf("it has the containers %v", list)
	}
	if _, err := g.Object(t.Context(), configMap, g.ns, "copied"); err != nil {
		t.Errorf("what has another's tracking id was deleted: %v", err)
	}
	// All others were written to, and are the same.
	now := g.states(t)
	for name := range g.was {
		if strings.HasPrefix(name, "Pod/scaled") || name == "ConfigMap/going" || name == "Deployment/scaled" {
			delete(g.was, name)
		}
	}
	for name := range now {
		if strings.HasPrefix(name, "Pod/scaled") || name == "Deployment/scaled" {
			g.was[name] = now[name]
		}
	}
	g.same(t)
}

// given checks what is left without plumb.
func (g *giving) given(t *testing.T) {
	g.Plumb.Kill(syscall.SIGTERM)
	g.was = g.states(t)
	a, err := g.read(t, g.ns)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"resources-finalizer.argocd.argoproj.io"}, a.Finalizers); diff != "" {
		t.Errorf("finalizers (-want +have):\n%s", diff)
	}
	if a.Operation != nil || len(a.Annotations) > 0 {
		t.Errorf("%+v, annotations %v", a.Operation, a.Annotations)
	}
	for _, u := range g.objects(t) {
		live, err := g.Object(t.Context(), kindOf(u), u.GetNamespace(), u.GetName())
		if err != nil {
			t.Fatal(err)
		}
		const id = "argocd.argoproj.io/tracking-id"
		if live.GetAnnotations()[id] != u.GetAnnotations()[id] || len(live.GetFinalizers()) > 0 && u.GetKind() != "CustomResourceDefinition" {
			t.Errorf("%s %s: %v, finalizers %v", u.GetKind(), u.GetName(), live.GetAnnotations(), live.GetFinalizers())
		}
		for _, f := range live.GetManagedFields() {
			if f.Manager == "plumb" {
				t.Errorf("%s %s is managed by %s", u.GetKind(), u.GetName(), f.Manager)
			}
		}
	}
}

// goesOn applies as Argo CD does: on the client's side, and what says so on the
// server's.
func (g *giving) goesOn(t *testing.T) {
	g.applies(t)
	g.same(t)
	g.files["app/settings.yaml"] = pt.ConfigMap("settings", "size", "large")
	g.applies(t)
	g.Await(t, configMap, g.ns, "settings", pt.Has("data", map[string]any{"size": "large"}))
	g.head = g.repo.Commit(t, g.files, "while Argo CD was back")
}

func (g *giving) applies(t *testing.T) {
	t.Helper()
	for _, u := range g.objects(t) {
		text, err := json.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"apply", "--field-manager=" + argocdManager, "-f", "-"}
		if u.GetName() == "applied" {
			args = append(args, "--server-side", "--force-conflicts")
		}
		if out, err := g.Kubectl(t.Context(), string(text), args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

func (g *giving) again(t *testing.T) {
	g.Plumb.Start()
	g.is(t, g.ns, "Synced Healthy", g.head)
	g.quiet(t, g.ns)
	g.same(t)
}

// What is not as Git has it is shown, and left to a sync; the rest is taken over,
// once, by who asks for it.
func migrate(t *testing.T, w *world) {
	ns, r := w.start(t, nil)
	g := &giving{world: w, ns: ns, repo: r, files: map[string]string{
		"app/a.yaml": pt.ConfigMap("a", "one", "1", "two", "2"), "app/b.yaml": pt.ConfigMap("b", "one", "1"), "app/web.yaml": webDeployment,
	}}
	g.head = r.Commit(t, g.files, "what Argo CD has applied")
	g.create(t)
	w.kubectl(t, "-n", ns, "patch", "configmap", "b", "--type=merge", "-p", `{"data":{"one":"somebody's"}}`)
	g.was = g.states(t)
	g.remove(t)
	g.application(t, "syncPolicy: {}")
	w.is(t, ns, "OutOfSync Healthy", g.head)
	w.quiet(t, ns)
	version := func(name string) string {
		return w.kubectl(t, "-n", ns, "get", "configmap", name, "-o", "jsonpath={.metadata.resourceVersion}")
	}
	a, b := version("a"), version("b")

	out := w.plumb(t, 1, "migrate", "argocd")
	w.says(t, out, "~ update ConfigMap/"+ns+"/b", "data.one: somebody's → 1", "2 objects to take over", "1 would change")
	if version("a") != a {
		t.Error("to look has written")
	}
	w.says(t, w.plumb(t, 1, "migrate", "argocd", "--apply"), "2 objects taken over")
	if version("b") != b {
		t.Error("what differs was written")
	}
	live, err := w.Object(t.Context(), configMap, ns, "a")
	if err != nil {
		t.Fatal(err)
	}
	applies := slices.ContainsFunc(live.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == argocdManager && f.Operation == metav1.ManagedFieldsOperationApply && strings.Contains(f.FieldsV1.GetRawString(), "f:two")
	})
	if _, recorded := live.GetAnnotations()[record0]; !recorded || !applies || live.GetLabels()["plumb.dev/unit"] == "" {
		t.Errorf("it is\n%v", live.Object)
	}
	g.same(t)
	w.says(t, w.plumb(t, 1, "migrate", "argocd", "--apply"), "0 objects taken over")

	g.files["app/a.yaml"] = pt.ConfigMap("a", "one", "1")
	g.head = w.Commit(t, r, g.files)
	w.is(t, ns, "OutOfSync Healthy", g.head)
	w.patch(t, ns, syncNow)
	w.done(t, ns, api.PhaseSucceeded)
	w.Await(t, configMap, ns, "a", pt.Has("data", map[string]any{"one": "1"}))
	g.same(t)
}
