package flux_test

import (
	"fmt"
	"strings"
	"testing"

	pt "plumb.dev/plumb/internal/plumbtest"
)

// What is waited for, or wrong, is said at once and by its name.
func TestChecks(t *testing.T) {
	w := pt.New(t, "--no-cross-namespace-refs=false")
	w.RequireControllers(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"a health check without a namespace is about the Kustomization's", checkWithoutNamespace},
		{"a health check as flux create kustomization writes it", checkAsFluxWrites},
		{"a health check of a version that is no longer served", checkOfOldVersion},
		{"a kind that the cluster has not is said at once, and goes on when it comes", checkOfUnknownKind},
		{"what is waited for is named at once, with its state", waitingIsNamed},
		{"the judge's own words are in the message", reasonIsTold},
		{"a health check on what is no name asks for nothing", checkOfNoName},
		{"a Kustomization may check so many objects", tooManyChecks},
		{"a typo in a readyExpr stalls", readyExprTypo},
		{"a dependency that is waited for is named with its state and message", dependencyIsNamed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

func checkWithoutNamespace(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/d.yaml": deployment("web", ""), "app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "u", "src", "./app", "healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: web}, {apiVersion: v1, kind: Namespace, name: "+ns+", namespace: elsewhere}]")
	w.AwaitReady(t, ns, "u", "")
}

func checkAsFluxWrites(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "two/c.yaml": pt.ConfigMap("d")})
	other := w.Namespace(t)
	w.Apply(t, strings.ReplaceAll(deployment("hc", ""), "{name: hc}", "{name: hc, namespace: "+other+"}"))
	w.Apply(t, fmt.Sprintf("apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: hc, namespace: %s}\nspec: {interval: 1m, chart: {spec: {chart: c, sourceRef: {kind: HelmRepository, name: r}}}}\n", other))
	w.Unit(t, ns, "u", "src", "./app", fmt.Sprintf("healthChecks: [{kind: Deployment, name: hc, namespace: %s}]", other))
	w.AwaitReady(t, ns, "u", "")
	w.Unit(t, ns, "helm", "src", "./two", fmt.Sprintf("healthChecks: [{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, name: hc, namespace: %s}]", other))
	awaitWaiting(t, w, ns, "helm", "HelmRelease/"+other+"/hc is InProgress")
}

func checkOfOldVersion(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/d.yaml": deployment("web", "")})
	w.Unit(t, ns, "u", "src", "./app", "healthChecks: [{apiVersion: apps/v1beta1, kind: Deployment, name: web}]")
	w.AwaitReady(t, ns, "u", "")
}

func checkOfUnknownKind(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "u", "src", "./app", "healthChecks: [{apiVersion: apps/v1, kind: Deploymnt, name: web}]", "retryInterval: 1h")
	if msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "UnknownKind"); !strings.Contains(msg, "the cluster has no kind Deploymnt in apps/v1") {
		t.Errorf("the message is %q", msg)
	}
	w.Await(t, configMap, ns, "c", nil) // which is applied all the same

	group := strings.ReplaceAll(ns, "-", "") + ".example.com"
	w.Unit(t, ns, "u", "src", "./app", "healthChecks: [{apiVersion: "+group+"/v1, kind: Late, name: x}]", "retryInterval: 1h")
	awaitStatus(t, w, ns, "u", func(s pt.Status) bool {
		return strings.Contains(s.Condition("Ready").Message, "no kind Late in "+group)
	})
	w.Apply(t, fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lates.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: lates, singular: late, kind: Late}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, group))
	awaitWaiting(t, w, ns, "u", "Late/"+ns+"/x is NotFound")
	w.Apply(t, fmt.Sprintf("{apiVersion: %s/v1, kind: Late, metadata: {name: x, namespace: %s}}", group, ns))
	w.AwaitReady(t, ns, "u", "")
}

// awaitWaiting waits until all conditions that tell of waiting say for what.
func awaitWaiting(t *testing.T, w *pt.World, ns, name, what string) {
	t.Helper()
	s := awaitStatus(t, w, ns, name, func(s pt.Status) bool {
		return s.Condition("Ready").Status == "Unknown" && strings.Contains(s.Condition("Ready").Message, "waiting for "+what)
	})
	for _, c := range []string{"Reconciling", "Healthy"} {
		if !strings.Contains(s.Condition(c).Message, "waiting for "+what) {
			t.Errorf("%s says %q", c, s.Condition(c).Message)
		}
	}
}

func waitingIsNamed(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{
		"app/c.yaml": pt.ConfigMap("c"), "bad/d.yaml": deployment("web", `sandbox.plumb.dev/never-ready: "true"`),
	})
	w.Unit(t, ns, "missing", "src", "./app", "timeout: 1h", "healthChecks: [{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, name: x.example.com}]")
	awaitWaiting(t, w, ns, "missing", "CustomResourceDefinition/x.example.com is NotFound")
	w.Unit(t, ns, "never", "src", "./bad", "timeout: 1h", "wait: true")
	awaitWaiting(t, w, ns, "never", "Deployment/"+ns+"/web is InProgress: ")
}

func reasonIsTold(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{
		"job/j.yaml": `{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}}`,
		"cel/c.yaml": pt.ConfigMap("c1", "foo", "x"),
	})
	// The shortest timeout there is takes half a minute.
	w.Unit(t, ns, "job", "src", "./job", "wait: true", "timeout: 2s")
	w.Unit(t, ns, "cel", "src", "./cel", "wait: true", "timeout: 2s", `healthCheckExprs: [{apiVersion: v1, kind: ConfigMap, current: "data.foo.bar == 'x'"}]`)
	for name, want := range map[string]string{
		"job": "Job/" + ns + "/j is InProgress: it is suspended",
		"cel": "ConfigMap/" + ns + "/c1 is InProgress: no such key: bar",
	} {
		if msg := w.AwaitReason(t, pt.Kustomization, ns, name, "HealthCheckFailed"); !strings.Contains(msg, want) {
			t.Errorf("%s: %q, want %q", name, msg, want)
		}
	}
}

func checkOfNoName(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{
		"app/c.yaml": pt.ConfigMap("c"), "bad/c.yaml": pt.ConfigMap("../../../namespaces/kube-system/configmaps/victim"),
	})
	for name, spec := range map[string]string{
		"check":     `healthChecks: [{apiVersion: v1, kind: Secret, name: "../../../namespaces/kube-system/secrets/victim"}]`,
		"namespace": `healthChecks: [{apiVersion: v1, kind: Secret, name: victim, namespace: "../kube-system"}]`,
		"depends":   `dependsOn: [{name: "a/b"}]`,
		"from":      `postBuild: {substituteFrom: [{kind: Secret, name: ".."}]}`,
		"account":   `serviceAccountName: "%2e%2e"`,
	} {
		w.Unit(t, ns, name, "src", "./app", spec)
		msg := w.AwaitReason(t, pt.Kustomization, ns, name, "InvalidSpec")
		if !strings.Contains(msg, "is no name of") {
			t.Errorf("%s: %q", name, msg)
		}
	}
	w.Unit(t, ns, "object", "src", "./bad")
	if msg := w.AwaitReason(t, pt.Kustomization, ns, "object", "BuildFailed"); !strings.Contains(msg, "is no name") {
		t.Errorf("an object of that name: %q", msg)
	}
}

func tooManyChecks(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	var checks strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&checks, "- {apiVersion: v1, kind: ConfigMap, name: c-%d}\n", i)
	}
	w.Unit(t, ns, "u", "src", "./app", "healthChecks:\n"+checks.String())
	if msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "InvalidSpec"); !strings.Contains(msg, "1000 objects") {
		t.Errorf("the message is %q", msg)
	}
}

func readyExprTypo(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{"app/c.yaml": pt.ConfigMap("c")})
	w.Unit(t, ns, "dep", "src", "./app")
	w.AwaitReady(t, ns, "dep", "")
	for name, c := range map[string][2]string{
		"typo":   {"deps.metadata.generation == 1", "undeclared reference to 'deps'"},
		"nobool": {"dep.metadata.name", "not a bool"},
	} {
		w.Unit(t, ns, name, "src", "./app", fmt.Sprintf("dependsOn: [{name: dep, readyExpr: %q}]", c[0]))
		msg := w.AwaitReason(t, pt.Kustomization, ns, name, "InvalidCELExpression")
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, name); !strings.Contains(msg, c[1]) || s.Condition("Stalled").Status != "True" {
			t.Errorf("%s: %+v", name, s.Conditions)
		}
	}
}

func dependencyIsNamed(t *testing.T, w *pt.World) {
	ns, _ := start(t, w, map[string]string{
		"app/c.yaml": pt.ConfigMap("c"), "broken/kustomization.yaml": "resources: [nope.yaml]",
		"slow/d.yaml": deployment("web", `sandbox.plumb.dev/never-ready: "true"`),
	})
	w.Unit(t, ns, "broken", "src", "./broken")
	w.Unit(t, ns, "slow", "src", "./slow", "wait: true", "timeout: 1h")
	w.Unit(t, ns, "u", "src", "./app", "dependsOn: [{name: broken}, {name: slow}, {name: nobody}]")
	awaitStatus(t, w, ns, "u", func(s pt.Status) bool {
		m := s.Condition("Ready").Message
		return strings.Contains(m, "'"+ns+"/broken' is not ready: BuildFailed: ") && strings.Contains(m, "nope.yaml") &&
			strings.Contains(m, "'"+ns+"/slow' is being reconciled: ") && strings.Contains(m, "Deployment/"+ns+"/web is InProgress") &&
			strings.Contains(m, "'"+ns+"/nobody' does not exist")
	})
}
