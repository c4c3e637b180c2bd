package argocd_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/charttest"
	pt "plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/tree"
)

// chart is one whose templates use what charts use: a random password, a hook, a
// test, and a question to the cluster.
func chart(ns string) map[string]string {
	return map[string]string{
		"app/Chart.yaml":       "apiVersion: v2\nname: shop\nversion: 1.2.3\n",
		"app/values.yaml":      "message: chart\nuser: admin\n",
		"app/values-prod.yaml": "message: prod\n",
		"app/templates/c.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-c", labels: {chart: "{{ .Chart.Name }}-{{ .Chart.Version }}"}}
data: {message: "{{ .Values.message }}", namespace: "{{ .Release.Namespace }}", kubernetes: "{{ .Capabilities.KubeVersion.Major }}"}
`,
		"app/templates/secret.yaml": `apiVersion: v1
kind: Secret
metadata: {name: "{{ .Release.Name }}-s"}
stringData: {user: "{{ .Values.user }}", password: "{{ randAlphaNum 20 }}"}
`,
		"app/templates/hook.yaml": `apiVersion: v1
kind: ConfigMap
metadata:
  name: "{{ .Release.Name }}-hook"
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "-5"}
`,
		"app/templates/test.yaml": `apiVersion: v1
kind: Pod
metadata: {name: "{{ .Release.Name }}-test", annotations: {helm.sh/hook: test}}
spec: {containers: [{name: a, image: a}]}
`,
		"app/templates/crd.yaml": fmt.Sprintf(`{{ if .Capabilities.APIVersions.Has "%s.example.com/v1/Thing" }}
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-has"}
{{ end }}`, ns),
	}
}

// A chart of a repository is rendered, with values of its own and of elsewhere, and
// its hooks are hooks.
func helmChart(t *testing.T, w *world) {
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, chart(ns), "start")
	app := w.app(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}")
	a := w.is(t, app, "Synced Healthy", "")
	if a.Status.SourceType != "Helm" {
		t.Errorf("it is of type %q", a.Status.SourceType)
	}
	w.hookResult(t, app, app+"-hook", api.PhaseSucceeded)
	for field, want := range map[string]string{"data.message": "chart", "data.namespace": ns, "data.kubernetes": "1", "metadata.labels.chart": "shop-1.2.3"} {
		w.Await(t, configMap, ns, app+"-c", pt.Has(field, want))
	}
	w.absent(t, "v1/Pod", ns, app+"-test")
	w.absent(t, configMap, ns, app+"-has")
	if slices.ContainsFunc(a.Status.Resources, func(r api.ResourceStatus) bool { return r.Name == app+"-test" }) {
		t.Errorf("a test is among the resources: %+v", a.Status.Resources)
	}
	password := w.password(t, ns, app+"-s")

	w.patch(t, app, `{"spec":{"source":{"helm":{"releaseName":"`+app+`","valueFiles":["values-prod.yaml"],"parameters":[{"name":"user","value":"ada"}]}}}}`)
	w.Await(t, configMap, ns, app+"-c", pt.Has("data.message", "prod"))
	w.Await(t, "v1/Secret", ns, app+"-s", pt.Has("data.user", "YWRh"))
	w.Commit(t, r, map[string]string{"app/values-prod.yaml": "message: new\n"})
	w.Await(t, configMap, ns, app+"-c", pt.Has("data.message", "new"))
	w.is(t, app, "Synced Healthy", "")
	if now := w.password(t, ns, app+"-s"); now != password {
		t.Errorf("the password %s has become %s", password, now)
	}

	w.leaves(t, "crd/things."+ns+".example.com")
	w.Apply(t, strings.ReplaceAll(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.NS.example.com}
spec:
  group: NS.example.com
  names: {kind: Thing, plural: things}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`, "NS", ns))
	w.Await(t, configMap, ns, app+"-has", nil)
}

// password is that of a Secret that was made.
func (w *world) password(t *testing.T, ns, name string) string {
	t.Helper()
	u, err := w.Object(t.Context(), "v1/Secret", ns, name)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(u.Object, "data", "password")
	if err != nil || text == "" {
		t.Fatalf("the password is %q: %v", text, err)
	}
	return text
}

// Values may be in another repository than the chart, and a commit to either is one
// to both.
func helmValues(t *testing.T, w *world) {
	ns := w.Namespace(t)
	r, values := w.Git.Repo(t, ns), w.Git.Repo(t, ns+"-values")
	r.Commit(t, chart(ns), "start")
	values.Commit(t, map[string]string{"envs/prod.yaml": "message: elsewhere\n"}, "start")
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd}
spec:
  project: default
  sources:
  - {repoURL: %[2]q, path: app, targetRevision: main, helm: {valueFiles: [$values/envs/*.yaml]}}
  - {repoURL: %[3]q, ref: values, targetRevision: main}
  destination: {name: in-cluster, namespace: %[1]s}
  syncPolicy: {automated: {}}
`, ns, r.URL(), values.URL()))
	w.removeLater(t, ns)
	w.is(t, ns, "Synced Healthy", "")
	w.Await(t, configMap, ns, ns+"-c", pt.Has("data.message", "elsewhere"))
	w.Commit(t, values, map[string]string{"envs/prod.yaml": "message: changed\n"})
	w.Await(t, configMap, ns, ns+"-c", pt.Has("data.message", "changed"))
	w.Commit(t, values, map[string]string{"envs/staging.yaml": "message: last\n"})
	w.Await(t, configMap, ns, ns+"-c", pt.Has("data.message", "last"))
	w.Commit(t, values, map[string]string{"envs/staging.yaml": "- not values\n"})
	w.condition(t, ns, api.ConditionComparisonError, "$values/envs/staging.yaml")
	w.Await(t, configMap, ns, ns+"-c", pt.Has("data.message", "last"))
}

// released is a version of a chart that a server has.
func released(t *testing.T, s *charttest.Server, ns, version string) {
	t.Helper()
	files := chart(ns)
	files["app/Chart.yaml"] = "apiVersion: v2\nname: shop\nversion: " + version + "\n"
	s.Serve(s.Add(t, tree.FromFiles(files), "app"))
}

// Charts come from Helm repositories and from registries, with what a Secret holds,
// and a range is its newest version.
func helmRepositories(t *testing.T, w *world) {
	for what, c := range map[string]struct {
		url    func(*charttest.Server) string
		secret map[string]string
	}{
		"repository": {(*charttest.Server).URL, map[string]string{"type": "helm", "name": "charts"}},
		"registry": {
			func(s *charttest.Server) string { return strings.TrimPrefix(s.OCI(), "oci://") },
			map[string]string{"type": "helm", "name": "charts", "enableOCI": "true", "insecureOCIForceHttp": "true"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			ns := w.Namespace(t)
			s := charttest.New(t)
			released(t, s, ns, "1.2.3")
			released(t, s, ns, "2.0.0-rc.1")
			s.RequireBasic("ada", "correct-horse")
			c.secret["url"], c.secret["username"], c.secret["password"] = c.url(s), "ada", "wrong-donkey"
			w.secret(t, "repository", ns, c.secret)
			w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: %[1]s, namespace: argocd}
spec:
  project: default
  source: {repoURL: %[2]q, chart: shop, targetRevision: "1.x", helm: {releaseName: web, valuesObject: {message: "from far"}}}
  destination: {name: in-cluster, namespace: %[1]s}
  syncPolicy: {automated: {}}
`, ns, c.url(s)))
			w.removeLater(t, ns)
			if m := w.condition(t, ns, api.ConditionComparisonError, "401"); strings.Contains(m, "donkey") {
				t.Errorf("it shows the password: %s", m)
			}
			c.secret["password"] = "correct-horse"
			w.secret(t, "repository", ns, c.secret)
			w.is(t, ns, "Synced Healthy", "1.2.3")
			w.await(t, ns, func(a *api.Application) string {
				if a.Status.SourceType != "Helm" || len(a.Status.History) != 1 || a.Status.History[0].Revision != "1.2.3" {
					return "it is of another type, or has another history"
				}
				return ""
			})
			w.Await(t, configMap, ns, "web-c", pt.Has("data.message", "from far"))
			released(t, s, ns, "1.10.0")
			w.kubectl(t, "-n", "argocd", "annotate", "app", ns, "argocd.argoproj.io/refresh=hard")
			w.is(t, ns, "Synced Healthy", "1.10.0")
			w.Await(t, configMap, ns, "web-c", pt.Has("metadata.labels.chart", "shop-1.10.0"))
			w.patch(t, ns, `{"spec":{"source":{"chart":"nothing"}}}`)
			w.condition(t, ns, api.ConditionComparisonError, "nothing")
			w.Await(t, configMap, ns, "web-c", nil)
		})
	}
}

// A chart in Git may depend on charts of a repository, in the versions of its lock;
// they are fetched, with the credentials that the project allows.
func helmDependencies(t *testing.T, w *world) {
	ns := w.Namespace(t)
	s := charttest.New(t)
	released(t, s, ns, "1.2.3")
	released(t, s, ns, "1.10.0")
	s.RequireBasic("ada", "correct-horse")
	dependency := func(version string) string {
		return fmt.Sprintf("dependencies: [{name: shop, version: %q, repository: %q}]\n", version, s.URL())
	}
	const umbrella = "apiVersion: v2\nname: umbrella\nversion: 0.1.0\n"
	r := w.Git.Repo(t, ns)
	r.Commit(t, map[string]string{"app/Chart.yaml": umbrella + dependency("1.x"), "app/Chart.lock": dependency("1.2.3"), "app/values.yaml": "shop: {message: umbrella}\n"}, "start")
	app := w.app(t, ns, r, automated)
	if m := w.condition(t, app, api.ConditionComparisonError, "401"); !strings.Contains(m, "app/Chart.yaml") || !strings.Contains(m, "shop 1.2.3") {
		t.Errorf("it says %s", m)
	}
	w.secret(t, "repository", ns, map[string]string{"type": "helm", "name": ns, "url": s.URL(), "username": "ada", "password": "correct-horse"})
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
	w.Await(t, configMap, ns, app+"-c", pt.Has("data.message", "umbrella"))
	w.Await(t, configMap, ns, app+"-c", pt.Has("metadata.labels.chart", "shop-1.2.3"))
	w.Commit(t, r, map[string]string{"app/Chart.lock": dependency("1.10.0")})
	w.Await(t, configMap, ns, app+"-c", pt.Has("metadata.labels.chart", "shop-1.10.0"))
	w.Commit(t, r, map[string]string{"app/Chart.yaml": umbrella + dependency("2.x")})
	w.condition(t, app, api.ConditionComparisonError, "shop 2.x")
	w.Await(t, configMap, ns, app+"-c", nil)
	w.Commit(t, r, map[string]string{"app/Chart.yaml": umbrella + dependency(">=1.0.0 <1.5.0")})
	w.Await(t, configMap, ns, app+"-c", pt.Has("metadata.labels.chart", "shop-1.2.3"))
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
}
