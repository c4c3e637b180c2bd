package rows_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// A tenant may write Kustomizations in a namespace, and a repository. Its units
// act as an account of that namespace, and learn what that may read.
func TestTenant(t *testing.T) {
	w := pt.New(t, "--no-cross-namespace-refs=false")
	for _, c := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"a health check is no way to read what the account may not", healthOracle},
		{"a health check goes on when the account gets the right", healthRightComes},
		{"an object that is there already is no way to learn of it", othersObject},
		{"a readyExpr reads what the account may read", readyExprOracle},
		{"a claim of who may not write an object does not keep it", keptByAStranger},
		{"an object moves to a unit whose account may write it", movedToTenant},
		{"a unit whose account does not exist says so, and goes on when it comes", missingAccount},
		{"rights that are withdrawn count from then on", rightsWithdrawn},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
	t.Run("no value of a Secret is in anything that plumb says", func(t *testing.T) { noCanary(t, w) })
}

// canaryValue is in Secrets that no tenant may read.
const canaryValue = "canary-5e1f7a"

// deployer gives a namespace the account deployer, which may write ConfigMaps
// and roles there and nothing else.
func deployer(t *testing.T, w *pt.World, ns string) {
	t.Helper()
	w.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: %[1]s}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: ["*"]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[1]s}]
`, ns))
}

const asDeployer = "serviceAccountName: deployer"

func victim(t *testing.T, w *pt.World, ns string) {
	t.Helper()
	w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: victim, namespace: %s}, stringData: {password: %s}}", ns, canaryValue))
}

func healthOracle(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	deployer(t, w, ns)
	victim(t, w, other)
	victim(t, w, ns)
	files := map[string]string{"app/a.yaml": pt.ConfigMap("a")}
	for _, name := range []string{"theirs", "none", "own", "own-none"} {
		for _, letter := range []string{"y", "z"} {
			files[name+"-"+letter+"/c.yaml"] = pt.ConfigMap(name + "-" + letter)
		}
	}
	unit(t, w, ns, "u", files, asDeployer)
	said := map[string]bool{}
	for name, target := range map[string]string{
		"theirs": "name: victim, namespace: " + other, "none": "name: nobody, namespace: " + other,
		"own": "name: victim", "own-none": "name: nobody",
	} {
		for _, letter := range []string{"Y", "Z"} {
			name := name + "-" + strings.ToLower(letter)
			w.Unit(t, ns, name, "u", "./"+name, asDeployer, "timeout: 1s",
				"healthChecks: [{apiVersion: v1, kind: Secret, "+target+"}]",
				fmt.Sprintf(`healthCheckExprs: [{apiVersion: v1, kind: Secret, current: 'data.password.startsWith("%[1]s")', failed: '!data.password.startsWith("%[1]s")'}]`, letter))
		}
	}
	for _, name := range []string{"theirs", "none", "own", "own-none"} {
		for _, letter := range []string{"y", "z"} {
			s := awaitAccessDenied(t, w, ns, name+"-"+letter)
			msg := s.Condition("Ready").Message
			contains(t, msg, "not allowed", "system:serviceaccount:"+ns+":deployer")
			said[strings.NewReplacer("nobody", "X", "victim", "X").Replace(msg[strings.Index(msg, "not allowed"):])] = true
		}
	}
	if len(said) != 1 {
		t.Errorf("what is there and what is not are told apart: %v", said)
	}
}

func awaitAccessDenied(t *testing.T, w *pt.World, ns, name string) pt.Status {
	t.Helper()
	w.AwaitReason(t, pt.Kustomization, ns, name, "AccessDenied")
	s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func healthRightComes(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	deployer(t, w, ns)
	victim(t, w, other)
	unit(t, w, ns, "src", three)
	w.Unit(t, ns, "src", "src", "./app", asDeployer, "retryInterval: 1h",
		"healthChecks: [{apiVersion: v1, kind: Secret, name: victim, namespace: "+other+"}]")
	awaitAccessDenied(t, w, ns, "src")
	w.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: %[1]s}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [victim], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[2]s}]
`, other, ns))
	w.AwaitReady(t, ns, "src", "")
}

func othersObject(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	deployer(t, w, ns)
	unit(t, w, other, "theirs", map[string]string{"app/c.yaml": pt.ConfigMap("canary", "phase", "secret-phase")})
	manifest := func(name string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: %s, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}}", name, other)
	}
	r := w.Git.Repo(t, ns+"-u")
	r.Commit(t, map[string]string{"there/a.yaml": manifest("canary"), "not/a.yaml": manifest("nobody"), "ok/a.yaml": pt.ConfigMap("ok")}, "start")
	w.Source(t, ns, "u", r)
	said := map[string]bool{}
	for _, name := range []string{"there", "not"} {
		w.Unit(t, ns, name, "u", "./"+name, asDeployer, "wait: true",
			`healthCheckExprs: [{apiVersion: v1, kind: ConfigMap, current: "data.phase == 'secret-phase'", failed: "data.phase != 'secret-phase'"}]`)
		msg := w.AwaitReason(t, pt.Kustomization, ns, name, "ReconciliationFailed")
		contains(t, msg, "forbidden", "system:serviceaccount:"+ns+":deployer")
		said[strings.NewReplacer("nobody", "X", "canary", "X").Replace(msg)] = true
		if s, _, _ := w.StatusOf(t.Context(), pt.Kustomization, ns, name); len(s.IDs()) > 0 {
			t.Errorf("%s: it entered the inventory: %v", name, s.IDs())
		}
	}
	if len(said) != 1 {
		t.Errorf("what is there and what is not are told apart: %v", said)
	}
	// What may be read, but not written, is not held either.
	w.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[2]s}]
`, other, ns))
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "there")
		if r := s.Condition("Ready"); err == nil && r.Reason != "AccessDenied" {
			err = fmt.Errorf("it is %+v", r)
		}
		return err
	})
}

func readyExprOracle(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	deployer(t, w, ns)
	unit(t, w, ns, "u", three)
	unit(t, w, other, "theirs", map[string]string{"app/x.yaml": pt.ConfigMap("x")})
	w.Unit(t, ns, "expr", "u", "./app", asDeployer, `dependsOn: [{name: u, readyExpr: "dep.spec.path.startsWith('./a')"}]`)
	w.Unit(t, ns, "cross", "u", "./app", asDeployer, "dependsOn: [{name: theirs, namespace: "+other+"}]")
	w.Unit(t, ns, "none", "u", "./app", asDeployer, "dependsOn: [{name: nobody, namespace: "+other+"}]")
	for _, name := range []string{"expr", "cross", "none"} {
		contains(t, awaitAccessDenied(t, w, ns, name).Condition("Ready").Message, "not allowed", "deployer")
	}
	// Whether one of its own namespace is ready it may know, but not its words.
	w.Unit(t, ns, "broken", "u", "./secret-path")
	w.AwaitReason(t, pt.Kustomization, ns, "broken", "PathNotFound")
	w.Unit(t, ns, "plain", "u", "./app", asDeployer, "dependsOn: [{name: broken}]")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "plain", "DependencyNotReady")
	if !strings.Contains(msg, "is not ready") || strings.Contains(msg, "secret-path") {
		t.Errorf("the message is %q", msg)
	}
}

func keptByAStranger(t *testing.T, w *pt.World) {
	a, b := w.Namespace(t), w.Namespace(t)
	deployer(t, w, a)
	grant := fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: grant, namespace: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %s}]
`, b, a)
	_, remove := unit(t, w, b, "theirs", map[string]string{"app/grant.yaml": grant, "app/x.yaml": pt.ConfigMap("x")})
	r := w.Git.Repo(t, a+"-u")
	r.Commit(t, map[string]string{"app/grant.yaml": grant}, "start")
	w.Source(t, a, "u", r)
	w.Unit(t, a, "u", "u", "./app", asDeployer)
	w.AwaitReason(t, pt.Kustomization, a, "u", "ReconciliationFailed")
	remove("app/grant.yaml")
	w.AwaitGone(t, "rbac.authorization.k8s.io/v1/RoleBinding", b, "grant")
}

func movedToTenant(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	deployer(t, w, ns)
	_, remove := unit(t, w, ns, "from", map[string]string{"app/m.yaml": pt.ConfigMap("m"), "app/x.yaml": pt.ConfigMap("x")})
	uid := w.Await(t, configMap, ns, "m", nil).GetUID()
	r := w.Git.Repo(t, ns+"-to")
	r.Commit(t, map[string]string{"app/m.yaml": pt.ConfigMap("m")}, "start")
	w.Source(t, ns, "to", r)
	w.Unit(t, ns, "to", "to", "./app", asDeployer)
	w.AwaitReason(t, pt.Kustomization, ns, "to", "OwnedByOther")
	remove("app/m.yaml")
	w.AwaitReady(t, ns, "to", "")
	if w.Await(t, configMap, ns, "m", nil).GetUID() != uid {
		t.Error("it was deleted and created again")
	}
}

func missingAccount(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "src", map[string]string{"other/x.yaml": pt.ConfigMap("x"), "app/a.yaml": pt.ConfigMap("a")})
	w.Unit(t, ns, "u", "src", "./other", asDeployer, "retryInterval: 1h")
	msg := w.AwaitReason(t, pt.Kustomization, ns, "u", "ReconciliationFailed")
	contains(t, msg, "ServiceAccount/"+ns+"/deployer does not exist")
	if strings.Contains(msg, "forbidden") {
		t.Errorf("it blames the rights: %s", msg)
	}
	deployer(t, w, ns)
	w.AwaitReady(t, ns, "u", "")
}

func rightsWithdrawn(t *testing.T, w *pt.World) {
	ns, other := w.Namespace(t), w.Namespace(t)
	deployer(t, w, ns)
	w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: seen, namespace: %s}}", other))
	w.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: deployer, namespace: %[2]s}]
`, other, ns))
	unit(t, w, ns, "src", three, asDeployer, "healthChecks: [{apiVersion: v1, kind: ConfigMap, name: seen, namespace: "+other+"}]")
	for _, args := range [][]string{{"delete", "rolebinding/reader"}, {"annotate", "configmap/seen", "a=b"}, {"delete", "configmap/seen"}} {
		if out, err := w.Kubectl(t.Context(), "", append([]string{"-n", other}, args...)...); err != nil {
			t.Fatal(out, err)
		}
	}
	awaitAccessDenied(t, w, ns, "src")
}

// noCanary looks for what no tenant may read in all that plumb has said.
func noCanary(t *testing.T, w *pt.World) {
	said := map[string]string{"the log": w.Plumb.Log()}
	said["the metrics"], _ = pt.Get(t, w.Plumb.Metric)
	for _, what := range []string{"kustomizations.kustomize.toolkit.fluxcd.io", "gitrepositories.source.toolkit.fluxcd.io", "events"} {
		out, err := w.Kubectl(t.Context(), "", "get", what, "-A", "-o", "yaml")
		if err != nil {
			t.Fatal(out, err)
		}
		said[what] = out
	}
	for where, text := range said {
		for _, value := range []string{canaryValue, base64.StdEncoding.EncodeToString([]byte(canaryValue))} {
			if strings.Contains(text, value) {
				t.Errorf("%s hold %q", where, value)
			}
		}
	}
}
