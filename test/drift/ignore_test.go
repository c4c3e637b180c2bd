package drift_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

const deployment = "apps/v1/Deployment"

// web is a Deployment, with an annotation plumb.dev/ignore-differences if one is
// given.
func web(replicas int, image, ignores string) string {
	text, err := json.Marshal(ignores)
	if err != nil {
		panic(err)
	}
	annotations := "{}"
	if ignores != "" {
		annotations = fmt.Sprintf("{plumb.dev/ignore-differences: %s}", text)
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: %s}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "%s", resources: {limits: {cpu: 100m, memory: 64Mi}}}
`, annotations, replicas, image)
}

// An ignoring is a unit with rules, on a server that all tests share.
type ignoring struct {
	*pt.World
	t  *testing.T
	ns string
	r  *gittest.Repository
	n  int
}

func (i *ignoring) start(files map[string]string, spec ...string) {
	i.t.Helper()
	i.ns = i.Namespace(i.t)
	i.r = i.Git.Repo(i.t, i.ns)
	i.r.Commit(i.t, files, "start")
	i.Source(i.t, i.ns, "u", i.r)
	i.Unit(i.t, i.ns, "u", "u", "./app", spec...)
}

func (i *ignoring) commit(files map[string]string) string {
	i.t.Helper()
	return i.Commit(i.t, i.r, files)
}

// as is the Deployment once it passes some checks.
func (i *ignoring) as(checks ...func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	i.t.Helper()
	return i.Await(i.t, deployment, i.ns, "web", func(u *unstructured.Unstructured) error {
		for _, check := range checks {
			if err := check(u); err != nil {
				return err
			}
		}
		return nil
	})
}

// is checks the Deployment as it is now.
func (i *ignoring) is(checks ...func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	i.t.Helper()
	u, err := i.Object(i.t.Context(), deployment, i.ns, "web")
	for _, check := range checks {
		err = errors.Join(err, check(u))
	}
	if err != nil {
		i.t.Error(err)
	}
	return u
}

// looks has the unit looked at, and the server asked about every object.
func (i *ignoring) looks() {
	i.t.Helper()
	i.n++
	at := fmt.Sprint("request ", i.n)
	if out, err := i.Kubectl(i.t.Context(), "", "-n", i.ns, "annotate", "--overwrite", "kustomization/u", "reconcile.fluxcd.io/requestedAt="+at); err != nil {
		i.t.Fatalf("%v: %s", err, out)
	}
	kubetest.Eventually(i.t, pt.Patience, func() error {
		s, _, err := i.StatusOf(i.t.Context(), pt.Kustomization, i.ns, "u")
		if err == nil && s.LastHandledReconcileAt != at {
			err = fmt.Errorf("the request has not been handled: %+v", s)
		}
		return err
	})
}

// by has a manager patch the Deployment; subresource may be empty.
func (i *ignoring) by(manager, subresource, patch string) {
	i.t.Helper()
	u, err := i.Object(i.t.Context(), deployment, i.ns, "web")
	if err != nil {
		i.t.Fatal(err)
	}
	p := client.RawPatch(types.StrategicMergePatchType, []byte(patch))
	if subresource == "" {
		err = i.Client.Patch(i.t.Context(), u, p, client.FieldOwner(manager))
	} else {
		err = i.Client.SubResource(subresource).Patch(i.t.Context(), u, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(manager))
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

func image(want string) func(*unstructured.Unstructured) error {
	return container("web", "image", want)
}

// container checks a field of a container; an empty want stands for no such
// container.
func container(name, field, want string) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		at := slices.IndexFunc(list, func(c any) bool { return c.(map[string]any)["name"] == name })
		switch {
		case at < 0 && want == "":
			return nil
		case at < 0:
			return fmt.Errorf("there is no container %s: %v", name, list)
		}
		got, _, _ := unstructured.NestedFieldNoCopy(list[at].(map[string]any), strings.Split(field, ".")...)
		if want == "" || fmt.Sprint(got) != want {
			return fmt.Errorf("%s of container %s is %v, want %q", field, name, got, want)
		}
		return nil
	}
}

// What differs and does not count, on a real server and with the real program.
func TestWhatDiffersAndDoesNotCount(t *testing.T) {
	w := pt.New(t)
	for _, c := range []struct {
		name string
		test func(*ignoring)
	}{
		{"the replicas of an autoscaler survive a commit", autoscaled},
		{"a rule comes and goes", ruleComesAndGoes},
		{"what a webhook injects is known by jq", injected},
		{"what a manager owns is its own", managed},
		{"a rule without end costs its own object", hostile},
		{"a rule that can't be read stalls", unreadable},
		{"a diff says what does not count", shown},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(&ignoring{World: w, t: t}) })
	}
}

const replicasOfDeployments = "ignore: [{paths: [/spec/replicas], target: {kind: Deployment}}]"

func autoscaled(i *ignoring) {
	i.start(map[string]string{"app/web.yaml": web(2, "web:1", "")}, replicasOfDeployments)
	i.AwaitReady(i.t, i.ns, "u", "")
	i.is(pt.Has("spec.replicas", 2))
	i.by("autoscaler", "scale", `{"spec": {"replicas": 5}}`)
	i.looks()
	was := i.is(pt.Has("spec.replicas", 5))
	i.looks()
	if is := i.is(); is.GetGeneration() != was.GetGeneration() {
		i.t.Errorf("looks have changed it: %v and %v", was.Object["spec"], is.Object["spec"])
	}
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(2, "web:2", "")}))
	i.is(pt.Has("spec.replicas", 5), image("web:2"))
	// Even one that says how many there should be.
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(3, "web:2", "")}))
	i.is(pt.Has("spec.replicas", 5))
	// What the rule does not name is put back, and nothing else with it.
	i.by("somebody", "", `{"spec": {"replicas": 7, "template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}}`)
	i.as(image("web:2"))
	i.is(pt.Has("spec.replicas", 7))
	// After a start as well, where nothing is known of what was.
	i.Plumb.Kill(9)
	i.by("autoscaler", "scale", `{"spec": {"replicas": 9}}`)
	i.Plumb.Start()
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(2, "web:3", "")}))
	i.is(pt.Has("spec.replicas", 9), image("web:3"))
}

func ruleComesAndGoes(i *ignoring) {
	i.start(map[string]string{"app/web.yaml": web(2, "web:1", "")})
	i.AwaitReady(i.t, i.ns, "u", "")
	i.by("autoscaler", "scale", `{"spec": {"replicas": 5}}`)
	i.as(pt.Has("spec.replicas", 2)) // which is drift
	i.Unit(i.t, i.ns, "u", "u", "./app", replicasOfDeployments)
	i.AwaitReady(i.t, i.ns, "u", "")
	// The field is plumb's own now, and must not go with it.
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(4, "web:2", "")}))
	i.is(pt.Has("spec.replicas", 2), image("web:2"))
	i.by("autoscaler", "scale", `{"spec": {"replicas": 6}}`)
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(4, "web:3", "")}))
	i.is(pt.Has("spec.replicas", 6), image("web:3"))
	i.Unit(i.t, i.ns, "u", "u", "./app", "ignore: []")
	i.as(pt.Has("spec.replicas", 4))
	i.by("autoscaler", "scale", `{"spec": {"replicas": 8}}`)
	i.as(pt.Has("spec.replicas", 4))
}

// mesh serves a webhook that adds a sidecar to Deployments.
func mesh(t *testing.T) (url, ca string) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var review struct {
			Request struct {
				UID    string
				Object map[string]any
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		response := map[string]any{"uid": review.Request.UID, "allowed": true}
		list, _, _ := unstructured.NestedSlice(review.Request.Object, "spec", "template", "spec", "containers")
		if !slices.ContainsFunc(list, func(c any) bool { return c.(map[string]any)["name"] == "sidecar" }) {
			patch := `[{"op": "add", "path": "/spec/template/spec/containers/0", "value": {"name": "sidecar", "image": "mesh"}}]`
			response["patchType"], response["patch"] = "JSONPatch", base64.StdEncoding.EncodeToString([]byte(patch))
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

const sidecars = `jqPathExpressions: ['.spec.template.spec.containers[] | select(.name == "sidecar")']`

func injected(i *ignoring) {
	url, ca := mesh(i.t)
	i.ns = i.Namespace(i.t)
	i.Apply(i.t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: mesh.drift.example.com
  clientConfig: {url: %[2]q, caBundle: %[3]s}
  rules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  namespaceSelector: {matchLabels: {mesh: "true"}}
  sideEffects: None
  admissionReviewVersions: [v1]
`, i.ns, url, ca))
	i.t.Cleanup(func() { _, _ = i.Kubectl(i.t.Context(), "", "delete", "mutatingwebhookconfiguration", i.ns) })
	meshed := i.ns
	i.start(map[string]string{"app/web.yaml": web(1, "web:1", sidecars)})
	i.AwaitReady(i.t, i.ns, "u", "")
	i.is(container("sidecar", "image", ""))
	if out, err := i.Kubectl(i.t.Context(), "", "label", "namespace", i.ns, "mesh=true"); err != nil {
		i.t.Fatalf("%v: %s, beside %s", err, out, meshed)
	}
	i.by("kubectl-edit", "", `{"metadata": {"labels": {"touched": "x"}}}`) // which is put back, past the webhook
	i.as(container("sidecar", "image", "mesh"), func(u *unstructured.Unstructured) error {
		if u.GetLabels()["touched"] != "" {
			return errors.New("what kubectl wrote is still there")
		}
		return nil
	})
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(1, "web:2", sidecars)}))
	i.as(image("web:2"), container("sidecar", "image", "mesh"))
	i.looks()
	was := i.is(container("sidecar", "image", "mesh"))
	// Somebody else's hand in it is nobody's affair either.
	i.by("kubectl-edit", "", `{"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "mesh:2"}]}}}}`)
	i.looks()
	i.looks()
	is := i.is(image("web:2"), container("sidecar", "image", "mesh:2"))
	if is.GetGeneration() != was.GetGeneration()+1 {
		i.t.Errorf("it was written: generation %d after %d", is.GetGeneration(), was.GetGeneration())
	}
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(1, "web:3", sidecars)}))
	i.as(image("web:3"), container("sidecar", "image", "mesh:2"))
}

func managed(i *ignoring) {
	rule := "managedFieldsManagers: [vpa]"
	i.start(map[string]string{"app/web.yaml": web(1, "web:1", rule)})
	i.AwaitReady(i.t, i.ns, "u", "")
	i.by("vpa", "", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "2"}}}]}}}}`)
	i.looks()
	i.is(container("web", "resources.limits.cpu", "2"), container("web", "resources.limits.memory", "64Mi"))
	i.by("somebody", "", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"memory": "1Gi"}}}]}}}}`)
	i.as(container("web", "resources.limits.memory", "64Mi"))
	i.is(container("web", "resources.limits.cpu", "2"))
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(1, "web:2", rule)}))
	i.is(image("web:2"), container("web", "resources.limits.cpu", "2"))
}

func hostile(i *ignoring) {
	endless := "jqPathExpressions: ['def f: f; f']"
	i.start(map[string]string{"app/web.yaml": web(1, "web:1", ""), "app/old.yaml": pt.ConfigMap("old"), "app/c.yaml": pt.ConfigMap("c", "v", "1")})
	i.AwaitReady(i.t, i.ns, "u", "")
	i.Remove(i.t, i.r, "app/old.yaml")
	i.AwaitGone(i.t, "v1/ConfigMap", i.ns, "old")
	for _, rule := range []string{endless, "jqPathExpressions: ['[limit(1e9; repeat(1))]']", "jqPathExpressions: ['[range(1e9) | tostring]']"} {
		i.commit(map[string]string{"app/web.yaml": web(1, "web:2", rule), "app/old.yaml": pt.ConfigMap("old")})
		kubetest.Eventually(i.t, pt.Patience, func() error {
			message := i.AwaitReason(i.t, pt.Kustomization, i.ns, "u", "IgnoreRuleFailed")
			for _, want := range []string{"Deployment/" + i.ns + "/web", "annotation plumb.dev/ignore-differences", strings.Split(rule, "'")[1]} {
				if !strings.Contains(message, want) {
					return fmt.Errorf("the message does not say %q: %s", want, message)
				}
			}
			return nil
		})
		i.is(image("web:1"))
	}
	// Others go on, and so does this one once it is repaired.
	other := &ignoring{World: i.World, t: i.t}
	other.start(map[string]string{"app/web.yaml": web(1, "web:1", "jqPathExpressions: [.spec.replicas]")})
	other.AwaitReady(i.t, other.ns, "u", "")
	i.AwaitReady(i.t, i.ns, "u", i.commit(map[string]string{"app/web.yaml": web(1, "web:3", "jqPathExpressions: [.spec.replicas]")}))
	i.is(image("web:3"))
}

func unreadable(i *ignoring) {
	i.start(map[string]string{"app/web.yaml": web(1, "web:1", ""), "app/c.yaml": pt.ConfigMap("c")}, "ignore: [{paths: [spec.replicas]}]")
	message := i.AwaitReason(i.t, pt.Kustomization, i.ns, "u", "InvalidSpec")
	if !strings.Contains(message, `spec.ignore[0]: "spec.replicas": a JSON pointer begins with /`) {
		i.t.Errorf("the message is %q", message)
	}
	if s, _, _ := i.StatusOf(i.t.Context(), pt.Kustomization, i.ns, "u"); s.Condition("Stalled").Status != "True" {
		i.t.Error("it is not stalled")
	}
	if _, err := i.Object(i.t.Context(), deployment, i.ns, "web"); !apierrors.IsNotFound(err) {
		i.t.Errorf("it was applied: %v", err)
	}
	i.Unit(i.t, i.ns, "u", "u", "./app", replicasOfDeployments)
	i.AwaitReady(i.t, i.ns, "u", "")
	i.commit(map[string]string{"app/web.yaml": web(1, "web:2", "jsonPointers: {")})
	message = i.AwaitReason(i.t, pt.Kustomization, i.ns, "u", "IgnoreRuleFailed")
	if !strings.Contains(message, "Deployment/"+i.ns+"/web") || !strings.Contains(message, "annotation plumb.dev/ignore-differences: it has to be YAML") {
		i.t.Errorf("the message is %q", message)
	}
	i.is(image("web:1"))
	// Taking the other object away has nothing to do with it, but what is
	// pruned is known for sure only when all is applied.
	i.Remove(i.t, i.r, "app/c.yaml")
	i.looks()
	if _, err := i.Object(i.t.Context(), "v1/ConfigMap", i.ns, "c"); err != nil {
		i.t.Errorf("it was pruned: %v", err)
	}
}

func shown(i *ignoring) {
	i.start(map[string]string{"app/web.yaml": web(2, "web:1", "")}, replicasOfDeployments)
	i.AwaitReady(i.t, i.ns, "u", "")
	i.by("autoscaler", "scale", `{"spec": {"replicas": 5}}`)
	out, err := exec.CommandContext(i.t.Context(), pt.Binary(i.t), "--kubeconfig", i.Kubeconfig, "-n", i.ns, "diff", "u").CombinedOutput()
	want := "· ignore Deployment/" + i.ns + "/web: a rule says that these differ and don't count\n    spec.replicas: 5, in the source 2\n"
	if err != nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "0 to update") {
		i.t.Errorf("%v: it says\n%s\nand should\n%s", err, out, want)
	}
}
