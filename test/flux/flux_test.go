// Package flux_test shows on a real cluster what the fields of GitRepository
// and Kustomization do, one test for each group of them.
package flux_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

const configMap = "v1/ConfigMap"

func TestFields(t *testing.T) {
	w := pt.New(t)
	w.RequireControllers(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"wait is not over before everything is healthy", wait},
		{"a unit that takes too long is unhealthy, and becomes ready when it is", timeout},
		{"health checks and expressions decide", healthChecks},
		{"a failed Job fails the unit at once", failedJob},
		{"dependants run as soon as what they depend on is ready", dependsOn},
		{"a circle of dependencies is named", circle},
		{"a commit that touches many units is live, and then all say so", crowd},
		{"a readyExpr replaces the built-in check", readyExpr},
		{"variables come from ConfigMaps and Secrets and change at once", substitution},
		{"what the Kustomization adds is in the objects", overrides},
		{"a repository includes another", include},
		{"a circle of includes is named, and a name that is none refused", includeCircle},
		{"a source keeps what its ignore rules and sparse directories leave", ignore},
		{"tags, semver, names and commits", refs},
		{"credentials come from a Secret and never show", credentials},
		{"a source that fails keeps its last artifact", sourceFails},
		{"per-object annotations", annotations},
		{"a kubeconfig may have rights in one namespace only", narrowKubeconfig},
		{"the deletion policies", deletionPolicies},
		{"a fight over a field is named and slowed down", fight},
		{"fields that are not supported stall", unsupported},
		{"metrics, health and no secret in any of them", metrics},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

func start(t *testing.T, w *pt.World, files map[string]string) (ns string, r *gittest.Repository) {
	t.Helper()
	ns = w.Namespace(t)
	r = w.Git.Repo(t, ns)
	r.Commit(t, files, "start")
	w.Source(t, ns, "src", r)
	return ns, r
}

func kubectl(t *testing.T, w *pt.World, args ...string) string {
	t.Helper()
	out, err := w.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// awaitStatus waits until the status of a Kustomization passes a check.
func awaitStatus(t *testing.T, w *pt.World, ns, name string, check func(pt.Status) bool) pt.Status {
	t.Helper()
	var s pt.Status
	kubetest.Eventually(t, pt.Patience, func() error {
		var err error
		if s, _, err = w.StatusOf(t.Context(), pt.Kustomization, ns, name); err != nil {
			return err
		}
		if !check(s) {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
	return s
}

func deployment(name, podAnnotations string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}, annotations: {%[2]s}}
    spec: {containers: [{name: c, image: "nginx:1.21.0"}]}
`, name, podAnnotations)
}

func wait(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/d.yaml": deployment("web", `sandbox.plumb.dev/ready-after: "2s"`)})
	w.Unit(t, ns, "u", "src", "./app", "wait: true")
	s := awaitStatus(t, w, ns, "u", func(s pt.Status) bool { return s.Condition("Healthy").Status == "Unknown" })
	if s.Condition("Ready").Status != "Unknown" || s.Condition("Reconciling").Status != "True" {
		t.Errorf("while waiting: %+v", s.Conditions)
	}
	s = w.AwaitReady(t, ns, "u", "")
	if s.Condition("Healthy").Status != "True" || s.Condition("Reconciling").Status != "" {
		t.Errorf("afterwards: %+v", s.Conditions)
	}
	if err := pt.Has("status.readyReplicas", 1)(w.Await(t, "apps/v1/Deployment", ns, "web", nil)); err != nil {
		t.Errorf("ready too early: %v", err)
	}
}

func timeout(t *testing.T, w *pt.World) {
	ns, r := start(t, w, map[string]string{"app/d.yaml": deployment("web", `sandbox.plumb.dev/never-ready: "true"`), "app/c.yaml": pt.ConfigMap("c")})
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: u, namespace: %s}
spec: {interval: 10m, timeout: 2s, prune: true, wait: true, path: ./app, sourceRef: {kind: GitRepository, name: src}}
`, ns))
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "HealthCheckFailed")
	if !strings.Contains(msg, "Deployment/"+ns+"/web") || strings.Contains(msg, "ConfigMap") {
		t.Errorf("the message is %q", msg)
	}
	hash := w.Commit(t, r, map[string]string{"app/d.yaml": deployment("web", "")})
	w.AwaitReady(t, ns, "u", hash)
}

func healthChecks(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{
		"app/c.yaml": pt.ConfigMap("c"),
		"app/x.yaml": pt.ConfigMap("judged", "phase", "Starting"),
	})
	w.Apply(t, fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: foreign, namespace: %s}\nspec: {replicas: 1, selector: {matchLabels: {app: f}}, template: {metadata: {labels: {app: f}, annotations: {sandbox.plumb.dev/never-ready: \"true\"}}, spec: {containers: [{name: c, image: nginx}]}}}\n", ns))
	w.Unit(t, ns, "u", "src", "./app", fmt.Sprintf("healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: foreign, namespace: %s}]", ns))
	awaitStatus(t, w, ns, "u", func(s pt.Status) bool { return s.Condition("Healthy").Status == "Unknown" })
	kubectl(t, w, "-n", ns, "patch", "deployment/foreign", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/metadata/annotations"}]`)
	w.AwaitReady(t, ns, "u", "")

	w.Unit(t, ns, "expr", "src", "./app", `wait: true
targetNamespace: `+w.Namespace(t)+`
healthCheckExprs:
- apiVersion: v1
  kind: ConfigMap
  current: "!has(data.phase) || data.phase == 'Done'"
  failed: "has(data.phase) && data.phase == 'Broken'"`)
	s := awaitStatus(t, w, ns, "expr", func(s pt.Status) bool { return s.Condition("Healthy").Status == "Unknown" })
	_ = s
	w.Unit(t, ns, "bad", "src", "./app", "healthCheckExprs: [{apiVersion: v1, kind: ConfigMap, current: \"data.(\"}]")
	w.AwaitReason(t, pt.Kustomization, ns, "bad", "InvalidCELExpression")
	if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, "bad"); s.Condition("Stalled").Status != "True" {
		t.Errorf("a bad expression does not stall: %+v", s.Conditions)
	}
}

func failedJob(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/j.yaml": `apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  backoffLimit: 0
  template:
    metadata: {annotations: {sandbox.plumb.dev/fail: "true"}}
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}
`})
	w.Unit(t, ns, "u", "src", "./app", "wait: true")
	if msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "HealthCheckFailed"); !strings.Contains(msg, "Job/"+ns+"/migrate") {
		t.Errorf("the message is %q", msg)
	}
}

func dependsOn(t *testing.T, w *pt.World) {
	ns, r := start(t, w, map[string]string{
		"one/d.yaml": deployment("one", `sandbox.plumb.dev/ready-after: "2s"`), "two/c.yaml": pt.ConfigMap("two"), "three/c.yaml": pt.ConfigMap("three"),
	})
	// In the wrong order, the last first.
	w.Unit(t, ns, "three", "src", "./three", "dependsOn: [{name: two}]")
	w.Unit(t, ns, "two", "src", "./two", "dependsOn: [{name: one}]")
	w.AwaitReason(t, pt.Kustomization, ns, "two", "DependencyNotReady")
	w.Unit(t, ns, "one", "src", "./one", "wait: true")
	w.AwaitReady(t, ns, "three", "")
	one := w.Await(t, "apps/v1/Deployment", ns, "one", pt.Has("status.readyReplicas", 1))
	two := w.Await(t, configMap, ns, "two", nil)
	if two.GetCreationTimestamp().Time.Before(one.GetCreationTimestamp().Add(time.Second)) {
		t.Error("two did not wait for one")
	}
	// Far sooner than any interval: it was an event that woke them.
	hash := w.Commit(t, r, map[string]string{"three/c.yaml": pt.ConfigMap("three", "a", "b"), "one/e.yaml": pt.ConfigMap("e")})
	w.AwaitReady(t, ns, "three", hash)
}

func circle(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "a", "src", "./app", "dependsOn: [{name: b}]")
	w.Unit(t, ns, "b", "src", "./app", "dependsOn: [{name: c}]")
	w.Unit(t, ns, "c", "src", "./app", "dependsOn: [{name: a}]")
	want := fmt.Sprintf("%[1]s/c → %[1]s/a → %[1]s/b → %[1]s/c", ns)
	awaitStatus(t, w, ns, "c", func(s pt.Status) bool {
		return s.Condition("Stalled").Status == "True" && strings.Contains(s.Condition("Ready").Message, want)
	})
	w.Unit(t, ns, "c", "src", "./app")
	w.Apply(t, fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: c, namespace: %s}\nspec: {interval: 10m, prune: true, path: ./app, dependsOn: [], sourceRef: {kind: GitRepository, name: src}}\n", ns))
	w.AwaitReady(t, ns, "c", "")
}

func readyExpr(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "dep/c.yaml": pt.ConfigMap("d")})
	w.Unit(t, ns, "dep", "src", "./dep")
	w.AwaitReady(t, ns, "dep", "")
	w.Unit(t, ns, "u", "src", "./app", `dependsOn: [{name: dep, readyExpr: "dep.metadata.?annotations['go'].orValue('') == self.metadata.name"}]`)
	w.AwaitReason(t, pt.Kustomization, ns, "u", "DependencyNotReady")
	kubectl(t, w, "-n", ns, "annotate", "kustomizations.kustomize.toolkit.fluxcd.io/dep", "go=u")
	w.AwaitReady(t, ns, "u", "")
}

func substitution(t *testing.T, w *pt.World) {
	ns, r := start(t, w, map[string]string{"app/c.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  a: "${first:=default}"
  b: "${second}"
  c: "$${kept}"
  d: "${third}"
`})
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: vars, namespace: %[1]s}
data: {second: from-config, third: from-config}
---
apiVersion: v1
kind: Secret
metadata: {name: vars, namespace: %[1]s}
stringData: {third: canary-9f2c}
`, ns))
	w.Unit(t, ns, "u", "src", "./app", `postBuild:
  substitute: {unused: x}
  substituteFrom: [{kind: ConfigMap, name: vars}, {kind: Secret, name: vars}, {kind: Secret, name: nope, optional: true}]`)
	w.AwaitReady(t, ns, "u", "")
	w.Await(t, configMap, ns, "c", pt.Has("data", map[string]any{"a": "default", "b": "from-config", "c": "${kept}", "d": "canary-9f2c"}))
	kubectl(t, w, "-n", ns, "patch", "configmap/vars", "--type=merge", "-p", `{"data":{"second":"changed"}}`)
	w.Await(t, configMap, ns, "c", pt.Has("data.b", "changed"))

	hash := w.Commit(t, r, map[string]string{"app/bad.yaml": pt.ConfigMap("bad", "x", "${missing}")})
	_ = hash
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "BuildFailed")
	if !strings.Contains(msg, "missing") || strings.Contains(msg, "canary") {
		t.Errorf("the message is %q", msg)
	}
}

func overrides(t *testing.T, w *pt.World) {
	target := w.Namespace(t)
	ns, _ := start(t, w, map[string]string{
		"app/d.yaml":                      deployment("web", ""),
		"extra/kustomization.yaml":        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [c.yaml]\n",
		"extra/c.yaml":                    pt.ConfigMap("extra"),
		"app/nested/kustomization.yaml":   "resources: [x.yaml]\nnamePrefix: n-\n",
		"app/nested/x.yaml":               pt.ConfigMap("x"),
		"app/not-applied/readme.markdown": "hello",
	})
	w.Unit(t, ns, "u", "src", "./app", `targetNamespace: `+target+`
namePrefix: pre-
nameSuffix: -suf
commonMetadata: {labels: {team: a}, annotations: {note: b}}
components: [../extra, ../missing]
ignoreMissingComponents: true
images: [{name: nginx, newName: example.com/nginx, newTag: "1.25"}]
patches:
- target: {kind: Deployment}
  patch: |
    - {op: replace, path: /spec/replicas, value: 2}
buildMetadata: [originAnnotations]`)
	w.AwaitReady(t, ns, "u", "")
	d := w.Await(t, "apps/v1/Deployment", target, "pre-web-suf", pt.Has("spec.replicas", 2))
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	if image := containers[0].(map[string]any)["image"]; image != "example.com/nginx:1.25" {
		t.Errorf("the image is %v", image)
	}
	if d.GetLabels()["team"] != "a" || d.GetAnnotations()["note"] != "b" || d.GetAnnotations()["config.kubernetes.io/origin"] == "" {
		t.Errorf("labels %v, annotations %v", d.GetLabels(), d.GetAnnotations())
	}
	w.Await(t, configMap, target, "pre-extra-suf", nil)
	w.Await(t, configMap, target, "pre-n-x-suf", nil)
}

func include(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("own")})
	other := w.Git.Repo(t, ns+"-other")
	other.Commit(t, map[string]string{"shared/s.yaml": pt.ConfigMap("shared", "v", "1")}, "start")
	w.Source(t, ns, "src", w.Git.Repo(t, ns+"-main"), "include: [{repository: {name: other}, fromPath: shared, toPath: app/included}]")
	main := w.Git.Repo(t, ns+"-main")
	main.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("own")}, "start")
	w.Poke(t, main)
	w.Unit(t, ns, "u", "src", "./app")
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.GitRepository, ns, "src")
		if err == nil && s.Condition("IncludeUnavailable").Status != "True" {
			err = fmt.Errorf("conditions: %+v", s.Conditions)
		}
		return err
	})
	w.Source(t, ns, "other", other)
	w.Await(t, configMap, ns, "shared", pt.Has("data.v", "1"))
	w.Commit(t, other, map[string]string{"shared/s.yaml": pt.ConfigMap("shared", "v", "2")})
	w.Await(t, configMap, ns, "shared", pt.Has("data.v", "2"))
	w.AwaitReady(t, ns, "u", "")
}

func includeCircle(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	repos := map[string]*gittest.Repository{}
	for _, name := range []string{"a", "b", "c", "self"} {
		repos[name] = w.Git.Repo(t, ns+"-"+name)
		repos[name].Commit(t, map[string]string{name + ".yaml": pt.ConfigMap(name)}, "start")
		w.Source(t, ns, name, repos[name]) // each has an artifact before it includes another
		awaitSource(t, w, ns, name, "Ready", "stored artifact")
	}
	includes := func(name, other string) {
		w.Source(t, ns, name, repos[name], fmt.Sprintf("include: [{repository: {name: %q}, toPath: in}]", other))
	}
	includes("a", "b")
	includes("b", "c")
	includes("c", "a")
	includes("self", "self")
	awaitSource(t, w, ns, "a", "Stalled", fmt.Sprintf("%[1]s/a → %[1]s/b → %[1]s/c → %[1]s/a", ns))
	awaitSource(t, w, ns, "c", "Stalled", fmt.Sprintf("%[1]s/c → %[1]s/a → %[1]s/b → %[1]s/c", ns))
	awaitSource(t, w, ns, "self", "Stalled", fmt.Sprintf("%[1]s/self → %[1]s/self", ns))
	w.Source(t, ns, "c", repos["c"], "include: []")
	for _, name := range []string{"a", "b", "c"} {
		awaitSource(t, w, ns, name, "Ready", "stored artifact")
	}

	w.Source(t, ns, "self", repos["self"], "include: []", `secretRef: {name: "../../../namespaces/kube-system/secrets/victim"}`)
	awaitSource(t, w, ns, "self", "Stalled", "spec.secretRef.name: \"../../../namespaces/kube-system/secrets/victim\" is no name")
	w.Source(t, ns, "self", repos["self"], "secretRef: {name: x}", `include: [{repository: {name: "../a"}}]`)
	awaitSource(t, w, ns, "self", "Stalled", "spec.include[0].repository.name: \"../a\" is no name")
}

// awaitSource waits until a condition of a GitRepository is true, with a
// message like this.
func awaitSource(t *testing.T, w *pt.World, ns, name, condition, message string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		s, generation, err := w.StatusOf(t.Context(), pt.GitRepository, ns, name)
		c := s.Condition(condition)
		if err == nil && (c.Status != "True" || c.ObservedGeneration != generation || !strings.Contains(c.Message, message)) {
			err = fmt.Errorf("conditions of %s: %+v", name, s.Conditions)
		}
		return err
	})
}

func ignore(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("a"), "app/b.yaml": pt.ConfigMap("b"), "app/.sourceignore": "b.yaml\n",
		"other/c.yaml": pt.ConfigMap("c"),
	}, "start")
	w.Source(t, ns, "src", r, "ignore: |\n  /app/a.yaml\n  !/app/b.yaml")
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	w.Await(t, configMap, ns, "b", nil)
	if _, err := w.Object(t.Context(), configMap, ns, "a"); !apierrors.IsNotFound(err) {
		t.Errorf("a was not ignored: %v", err)
	}
	w.Source(t, ns, "sparse", r, "sparseCheckout: [other]")
	w.Unit(t, ns, "outside", "sparse", "./app")
	w.AwaitReason(t, pt.Kustomization, ns, "outside", "PathNotFound")
	w.Unit(t, ns, "inside", "sparse", "./other")
	w.AwaitReady(t, ns, "inside", "")
}

func refs(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	one := r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "1")}, "one")
	r.Tag(t, "v1.0.0", one)
	two := r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")}, "two")
	r.Tag(t, "v1.1.0", two)
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "3")}, "three")
	for name, c := range map[string]struct{ ref, revision string }{
		"tag":    {"{tag: v1.0.0}", "v1.0.0@sha1:" + one},
		"semver": {"{semver: 1.x}", "v1.1.0@sha1:" + two},
		"name":   {"{name: refs/tags/v1.0.0}", "refs/tags/v1.0.0@sha1:" + one},
		"commit": {"{branch: main, commit: " + two + "}", "main@sha1:" + two},
		"bare":   {"{commit: " + one + "}", "sha1:" + one},
	} {
		w.Apply(t, fmt.Sprintf("apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: %s, namespace: %s}\nspec: {interval: 10m, url: %s, ref: %s}\n", name, ns, r.URL(), c.ref))
		kubetest.Eventually(t, pt.Patience, func() error {
			s, _, err := w.StatusOf(t.Context(), pt.GitRepository, ns, name)
			if err == nil && s.Artifact.Revision != c.revision {
				err = fmt.Errorf("%s: revision %q, want %q: %+v", name, s.Artifact.Revision, c.revision, s.Conditions)
			}
			return err
		})
	}
}

func credentials(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	server := gittest.New(t)
	server.RequireBasic("ada", "canary-pass-1234")
	r := server.Repo(t, "private")
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")}, "start")
	w.Source(t, ns, "src", r, "secretRef: {name: auth}")
	w.AwaitReason(t, pt.GitRepository, ns, "src", "AuthenticationFailed")
	w.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: auth, namespace: %s}\nstringData: {username: ada, password: canary-wrong-9}\n", ns))
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.GitRepository, ns, "src")
		if err == nil && !strings.Contains(s.Condition("Ready").Message, r.URL()[:20]) {
			err = fmt.Errorf("%+v", s.Conditions)
		}
		return err
	})
	kubectl(t, w, "-n", ns, "patch", "secret/auth", "--type=merge", "-p", `{"stringData":{"password":"canary-pass-1234"}}`)
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "") // the change of the Secret wakes it

	everything := w.Plumb.Log() + kubectl(t, w, "-n", ns, "get", "gitrepositories,kustomizations.kustomize.toolkit.fluxcd.io,events", "-o", "yaml")
	if strings.Contains(everything, "canary") {
		i := strings.Index(everything, "canary")
		t.Errorf("a credential shows: …%s…", everything[max(0, i-200):min(len(everything), i+50)])
	}
}

func sourceFails(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	server := gittest.New(t)
	r := server.Repo(t, "r")
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")}, "start")
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "u", "src", "./app")
	s := w.AwaitReady(t, ns, "u", "")
	server.Fail(gittest.Status(503))
	w.Poke(t, r)
	kubetest.Eventually(t, pt.Patience, func() error {
		g, _, err := w.StatusOf(t.Context(), pt.GitRepository, ns, "src")
		switch {
		case err != nil:
			return err
		case g.Condition("Ready").Status != "False" || g.Condition("FetchFailed").Status != "True":
			return fmt.Errorf("not reported: %+v", g.Conditions)
		case g.Artifact.Revision != s.LastAppliedRevision || g.Condition("ArtifactInStorage").Status != "True":
			t.Fatalf("the artifact was lost: %+v", g)
		}
		return nil
	})
	// Drift is still corrected, from the last good artifact.
	kubectl(t, w, "-n", ns, "delete", "configmap/c")
	w.Await(t, configMap, ns, "c", nil)
	server.Fail(nil)
	hash := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2")})
	w.AwaitReady(t, ns, "u", hash)
}

func annotated(name, annotation, value string) string {
	return strings.Replace(pt.ConfigMap(name, "v", value), "metadata:\n", "metadata:\n  annotations: {"+annotation+"}\n", 1)
}

func annotations(t *testing.T, w *pt.World) {
	const p = "kustomize.toolkit.fluxcd.io/"
	files := func(v string) map[string]string {
		return map[string]string{
			"app/plain.yaml":    pt.ConfigMap("plain", "v", v),
			"app/paused.yaml":   pt.ConfigMap("paused", "v", v),
			"app/once.yaml":     annotated("once", p+"ssa: IfNotPresent", v),
			"app/ignored.yaml":  annotated("ignored", p+"ssa: Ignore", v),
			"app/merged.yaml":   annotated("merged", p+"ssa: Merge", v),
			"app/disabled.yaml": annotated("disabled", p+"reconcile: Disabled", v),
		}
	}
	ns, r := start(t, w, files("1"))
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	w.Await(t, configMap, ns, "once", pt.Has("data.v", "1"))
	for _, n := range []string{"ignored", "disabled"} {
		if _, err := w.Object(t.Context(), configMap, ns, n); !apierrors.IsNotFound(err) {
			t.Errorf("%s was applied: %v", n, err)
		}
	}
	kubectl(t, w, "-n", ns, "annotate", "configmap/merged", "configmap/plain", "mine=kept")
	w.Await(t, configMap, ns, "plain", func(u *unstructured.Unstructured) error {
		if u.GetAnnotations()["mine"] != "" {
			return fmt.Errorf("the annotation is still there")
		}
		return nil
	})
	// A live object may ask to be left alone, too.
	kubectl(t, w, "-n", ns, "annotate", "configmap/plain", p+"reconcile=disabled")
	kubectl(t, w, "-n", ns, "patch", "configmap/plain", "--type=merge", "-p", `{"data":{"v":"by hand"}}`)
	// Also where that is no drift, because it is not kubectl that says so.
	paused := w.Await(t, configMap, ns, "paused", nil)
	before := client.MergeFrom(paused.DeepCopy())
	paused.SetAnnotations(map[string]string{p + "reconcile": "disabled"})
	if err := w.Client.Patch(t.Context(), paused, before, client.FieldOwner("console")); err != nil {
		t.Fatal(err)
	}
	hash := w.Commit(t, r, files("2"))
	w.AwaitReady(t, ns, "u", hash)
	for n, want := range map[string]string{"paused": "1", "once": "1", "merged": "2", "plain": "by hand"} {
		if err := pt.Has("data.v", want)(w.Await(t, configMap, ns, n, nil)); err != nil {
			t.Error(err)
		}
	}
	if w.Await(t, configMap, ns, "merged", nil).GetAnnotations()["mine"] != "kept" {
		t.Error("what kubectl added to a merged object is gone")
	}
}

func narrowKubeconfig(t *testing.T, w *pt.World) {
	target := w.Namespace(t)
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "git")})
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: remote, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: remote, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: remote, namespace: %[1]s}]
`, target))
	token := strings.TrimSpace(kubectl(t, w, "-n", target, "create", "token", "remote"))
	w.Apply(t, fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: remote, namespace: %s}
stringData:
  value: |
    apiVersion: v1
    kind: Config
    clusters: [{name: c, cluster: {server: "%s", certificate-authority-data: %s}}]
    users: [{name: u, user: {token: %s}}]
    contexts: [{name: x, context: {cluster: c, user: u}}]
    current-context: x
`, ns, w.Config.Host, base64.StdEncoding.EncodeToString(w.Config.CAData), token))
	w.Unit(t, ns, "u", "src", "./app", "targetNamespace: "+target, "kubeConfig: {secretRef: {name: remote}}")
	w.AwaitReady(t, ns, "u", "")
	kubectl(t, w, "-n", target, "patch", "configmap/c", "--type=merge", "-p", `{"data":{"v":"drift"}}`)
	w.Await(t, configMap, target, "c", pt.Has("data.v", "git"))
	if strings.Contains(w.Plumb.Log(), token) {
		t.Error("the token is in the log")
	}
}

func deletionPolicies(t *testing.T, w *pt.World) {
	for policy, gone := range map[string]bool{"MirrorPrune": true, "Delete": true, "WaitForTermination": true, "Orphan": false} {
		ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
		w.Unit(t, ns, "u", "src", "./app", "deletionPolicy: "+policy)
		w.AwaitReady(t, ns, "u", "")
		kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--timeout=30s")
		_, err := w.Object(t.Context(), configMap, ns, "c")
		if gone != apierrors.IsNotFound(err) {
			t.Errorf("%s: the object: %v", policy, err)
		}
	}
	// A suspended one deletes nothing.
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	kubectl(t, w, "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--type=merge", "-p", `{"spec":{"suspend":true}}`)
	kubectl(t, w, "-n", ns, "delete", "kustomizations.kustomize.toolkit.fluxcd.io/u", "--timeout=30s")
	if _, err := w.Object(t.Context(), configMap, ns, "c"); err != nil {
		t.Errorf("a suspended unit deleted its object: %v", err)
	}
}

func fight(t *testing.T, w *pt.World) {
	ns, r := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "git")})
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	var s pt.Status
	kubetest.Eventually(t, pt.Patience, func() error {
		if out, err := w.Kubectl(t.Context(), "", "-n", ns, "patch", "configmap/c", "--type=merge", "--field-manager=rival", "-p", `{"data":{"v":"rival"}}`); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		var err error
		s, _, err = w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if err == nil && s.Condition("Ready").Reason != "FieldConflict" {
			err = fmt.Errorf("%+v", s.Conditions)
		}
		return err
	})
	if m := s.Condition("Ready").Message; !strings.Contains(m, "rival") || !strings.Contains(m, "data.v") {
		t.Errorf("the message is %q", m)
	}
	// A commit that changes the field starts afresh.
	hash := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "new")})
	w.AwaitReady(t, ns, "u", hash)
	w.Await(t, configMap, ns, "c", pt.Has("data.v", "new"))
}

func unsupported(t *testing.T, w *pt.World) {
	ns, r := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	for field, spec := range map[string]string{
		"decryption":     "decryption: {provider: sops}",
		"sourceRef.kind": "sourceRef: {kind: ExternalArtifact, name: x}",
	} {
		name := strings.ToLower(strings.ReplaceAll(field, ".", "-"))
		w.Unit(t, ns, name, "src", "./app", spec)
		if msg := w.AwaitReason(t, pt.Kustomization, ns, name, "UnsupportedField"); !strings.Contains(msg, "spec."+field) {
			t.Errorf("%s is not named: %q", field, msg)
		}
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, name); s.Condition("Stalled").Status != "True" {
			t.Errorf("%s does not stall", field)
		}
	}
	for field, spec := range map[string]string{
		"verify":   "verify: {mode: HEAD, secretRef: {name: keys}}",
		"provider": "provider: github",
	} {
		w.Source(t, ns, field, r, spec)
		if msg := w.AwaitReason(t, pt.GitRepository, ns, field, "UnsupportedField"); !strings.Contains(msg, "spec."+field) {
			t.Errorf("%s is not named: %q", field, msg)
		}
	}
	if _, err := w.Object(t.Context(), configMap, ns, "c"); !apierrors.IsNotFound(err) {
		t.Errorf("a stalled unit applied its objects: %v", err)
	}
}

// crowd has more units than are worked on at once, one of which another depends
// on.
func crowd(t *testing.T, w *pt.World) {
	const units = 24
	files := func(value string) map[string]string {
		m := map[string]string{}
		for i := range units {
			m[fmt.Sprintf("app-%d/c.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%d}\ndata: {key: %s}\n", i, value)
		}
		return m
	}
	ns, r := start(t, w, files("one"))
	for i := range units {
		var spec []string
		if i == 1 {
			spec = append(spec, "dependsOn: [{name: u-0}]")
		}
		w.Unit(t, ns, fmt.Sprintf("u-%d", i), "src", fmt.Sprintf("./app-%d", i), spec...)
	}
	for i := range units {
		w.AwaitReady(t, ns, fmt.Sprintf("u-%d", i), "")
	}
	commit := w.Commit(t, r, files("two"))
	for i := range units {
		name := fmt.Sprintf("u-%d", i)
		s := w.AwaitReady(t, ns, name, commit)
		if len(s.Inventory.Entries) != 1 {
			t.Errorf("%s: inventory %+v", name, s.Inventory)
		}
		c, err := w.Object(t.Context(), configMap, ns, fmt.Sprintf("c-%d", i))
		if value, _, _ := unstructured.NestedString(c.Object, "data", "key"); err != nil || value != "two" {
			t.Errorf("%s says that it has applied %s, and key is %q, %v", name, commit, value, err)
		}
		for _, want := range []string{"configured", "Reconciliation finished"} {
			kubetest.Eventually(t, pt.Patience, func() error {
				out := kubectl(t, w, "-n", ns, "get", "events", "--field-selector", "involvedObject.kind=Kustomization,involvedObject.name="+name,
					"-o", `jsonpath={range .items[*]}{.metadata.annotations.kustomize\.toolkit\.fluxcd\.io/revision} {.message}{"\n"}{end}`)
				if !slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool { return strings.Contains(l, commit) && strings.Contains(l, want) }) {
					return fmt.Errorf("no event of %s at %s says %q:\n%s", name, commit, want, out)
				}
				return nil
			})
		}
	}
	kubetest.Eventually(t, pt.Patience, func() error {
		body, _ := pt.Get(t, w.Plumb.Metric)
		want := fmt.Sprintf(`plumb_commit_to_live_seconds_count{kind="Kustomization",namespace="%s"} `, ns)
		for line := range strings.Lines(body) {
			if count, ok := strings.CutPrefix(line, want); ok && strings.TrimSpace(count) != fmt.Sprint(2*units) {
				return fmt.Errorf("%s commits went live, not %d", strings.TrimSpace(count), 2*units)
			} else if ok {
				return nil
			}
		}
		return fmt.Errorf("no line %s in the metrics", want)
	})
}

func metrics(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "u", "src", "./app")
	w.AwaitReady(t, ns, "u", "")
	kubectl(t, w, "-n", ns, "delete", "configmap/c")
	w.Await(t, configMap, ns, "c", nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if body, code := pt.Get(t, w.Plumb.Health+path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	kubetest.Eventually(t, pt.Patience, func() error {
		body, _ := pt.Get(t, w.Plumb.Metric)
		lines := strings.Split(body, "\n")
		for _, want := range []string{"gotk_reconcile_duration_seconds_count", "plumb_drift_corrections_total", "plumb_commit_to_live_seconds_count", "plumb_last_success_timestamp_seconds"} {
			if !slices.ContainsFunc(lines, func(l string) bool {
				return strings.HasPrefix(l, want+"{") && strings.Contains(l, `namespace="`+ns+`"`) && strings.Contains(l, `kind="Kustomization"`)
			}) {
				return fmt.Errorf("no %s of the unit", want)
			}
		}
		if strings.Contains(body, "canary") {
			t.Fatal("a secret is in the metrics")
		}
		return nil
	})
}
