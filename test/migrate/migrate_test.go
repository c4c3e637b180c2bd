// Package migrate_test moves a cluster and a repository that were made by
// `flux bootstrap` to plumb and back, by the commands of docs/install.md.
package migrate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/flux"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

const (
	fluxSystem = "flux-system"
	deployment = "apps/v1/Deployment"
	definition = "apiextensions.k8s.io/v1/CustomResourceDefinition"
)

// The steps share a cluster, and each builds on the one before.
func TestMovingFromFluxAndBack(t *testing.T) {
	env := kubetest.Private(t)
	env.RequireControllers(t)
	w := &pt.World{Env: env, Git: gittest.New(t)}
	m := &move{World: w, repo: w.Git.Repo(t, "fleet"), docs: guide(t)}
	m.repo.Commit(t, m.files("v2.3.0"), "as flux bootstrap made it")
	m.asFluxLeftIt(t)
	before := m.status(t)

	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"plumb diff shows beforehand that nothing would change", m.looksFirst},
		{"what somebody has applied beside Flux can be taken over beforehand", m.takesOver},
		{"plumb is not installed beside controllers that run", m.isRefused},
		{"Flux is stopped and plumb is installed", m.installs},
		{"plumb starts", func(*testing.T) { m.Plumb = pt.Serve(t, m.Env) }},
		{"every unit is ready, and says what it leaves alone", m.isReady},
		{"Flux stays as it is and plumb keeps its definitions", m.staysAsItIs},
		{"what somebody changes is put back", m.drift},
		{"a commit that raises Flux's version and brings a tenant is applied but for what runs", m.raised},
		{"plumb is updated without taking anything over", m.updates},
		{"a restart says nothing again", m.restarts},
		{"the inventory has what Flux had applied", func(t *testing.T) { m.remembers(t, before) }},
		{"nothing of Flux is pruned when it leaves Git", m.leavesGit},
		{"Flux can be started again", m.goesBack},
	} {
		if !t.Run(step.name, step.do) {
			return
		}
	}
}

// A move is the cluster, the repository, and the commands of the guide.
type move struct {
	*pt.World
	repo *gittest.Repository
	docs map[string][]string
	head string
}

// guide returns the commands of docs/install.md, by the heading above them.
func guide(t *testing.T) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	heading, block := "", []string(nil)
	for line := range strings.Lines(string(b)) {
		switch {
		case line == "```sh\n":
			block = []string{}
		case line == "```\n" && block != nil:
			out[heading] = append(out[heading], strings.Join(block, ""))
			block = nil
		case block != nil:
			block = append(block, line)
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return out
}

// The commands of the guide, in its order.
const (
	look = iota
	stop
	install
	lookAgain
)

// run runs a block of commands as the guide has it.
func (m *move) run(t *testing.T, heading string, n int) (string, error) {
	t.Helper()
	if len(m.docs[heading]) <= n {
		t.Fatalf("docs/install.md has no commands %d under %q", n, heading)
	}
	return m.shell(t, m.docs[heading][n])
}

func (m *move) shell(t *testing.T, script string) (string, error) {
	t.Helper()
	return m.Shell(t, "export PATH="+filepath.Dir(pt.Binary(t))+":$PATH\n"+script)
}

func (m *move) mustRun(t *testing.T, heading string, n int) string {
	t.Helper()
	out, err := m.run(t, heading, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (m *move) looksFirst(t *testing.T) {
	out := m.mustRun(t, "Moving from Flux", look)
	if want := "0 to create, 0 to update, 0 to delete, 12 to leave"; !strings.Contains(out, want) {
		t.Errorf("plumb diff does not say %q:\n%s", want, out)
	}
	if want := "leave Deployment/flux-system/kustomize-controller"; !strings.Contains(out, want) {
		t.Errorf("plumb diff does not say %q:\n%s", want, out)
	}
}

func (m *move) takesOver(t *testing.T) {
	says := func(command, want string) {
		t.Helper()
		if out, err := m.shell(t, command); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, want %q in\n%s", command, err, want, out)
		}
	}
	says("plumb migrate flux", "2 units: 0 would change; 0 objects to take over")
	m.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {colour: blue}}")
	before, err := m.Object(t.Context(), "v1/ConfigMap", "shop", "settings")
	if err != nil {
		t.Fatal(err)
	}
	says("plumb migrate flux", "nothing would change, 1 object to take over")
	says("plumb migrate flux --apply", "2 units: 0 would change; 1 object taken over")
	says("plumb migrate flux --apply", "2 units: 0 would change; 0 objects taken over")
	after, err := m.Object(t.Context(), "v1/ConfigMap", "shop", "settings")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Object["data"], after.Object["data"]); diff != "" || before.GetUID() != after.GetUID() {
		t.Errorf("it is another:\n%s", diff)
	}
	for _, f := range after.GetManagedFields() {
		if f.Manager == "kubectl" {
			t.Errorf("fields are still of %s", f.Manager)
		}
	}
}

func (m *move) isRefused(t *testing.T) {
	if out, err := m.run(t, "Moving from Flux", install); err == nil || !strings.Contains(out, "-controller of Flux runs in namespace flux-system") {
		t.Errorf("%v\n%s", err, out)
	}
}

func (m *move) installs(t *testing.T) {
	m.mustRun(t, "Moving from Flux", stop)
	if out := m.mustRun(t, "Moving from Flux", install); !strings.Contains(out, "plumb runs") {
		t.Errorf("plumb install says\n%s", out)
	}
}

func (m *move) isReady(t *testing.T) {
	m.head = m.repo.Head(t, "main")
	kubetest.Eventually(t, pt.Patience, func() error { // it was ready before, by Flux's word
		s := m.AwaitReady(t, fluxSystem, fluxSystem, m.head)
		if have, want := s.Condition("Ready").Message, "; 12 objects of Flux itself are left alone, which plumb diff shows"; !strings.HasSuffix(have, want) {
			return fmt.Errorf("the condition says %q, want …%q", have, want)
		}
		return nil
	})
	m.AwaitReady(t, fluxSystem, "apps", m.head)
	out := m.mustRun(t, "Moving from Flux", lookAgain)
	for _, want := range []string{
		"Kustomization/flux-system/flux-system Ready main@sha1:" + m.head[:8] + ": 12 objects of Flux itself are left alone",
		"0 to create, 0 to update, 0 to delete, 12 to leave",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	m.saidOnce(t)
}

// saidOnce checks that one event names what is left alone.
func (m *move) saidOnce(t *testing.T) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		var events corev1.EventList
		if err := m.Client.List(t.Context(), &events, client.InNamespace(fluxSystem)); err != nil {
			return err
		}
		said := int32(0)
		for _, e := range events.Items {
			if e.Reason == "FluxComponents" {
				said += e.Count
				if !strings.Contains(e.Message, "flux-system/source-controller") || !strings.Contains(e.Message, "--apply-flux-components") {
					t.Errorf("the event says %q", e.Message)
				}
			}
		}
		if said != 1 {
			return fmt.Errorf("%d events say what is left alone", said)
		}
		return nil
	})
}

func (m *move) staysAsItIs(t *testing.T) {
	t.Helper()
	for _, c := range controllers {
		m.Await(t, deployment, fluxSystem, c, pt.Has("spec.replicas", 0))
	}
	m.hasPlumbsDefinitions(t)
	for _, want := range api.Definitions() {
		have, err := m.Object(t.Context(), definition, "", want.GetName())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range have.GetManagedFields() {
			if f.Manager == "kustomize-controller" && strings.Contains(f.FieldsV1.GetRawString(), `"f:versions":{`) {
				t.Errorf("versions of %s are managed by %s", want.GetName(), f.Manager)
			}
		}
	}
}

func (m *move) hasPlumbsDefinitions(t *testing.T) {
	t.Helper()
	for _, want := range api.Definitions() {
		have, err := m.Object(t.Context(), definition, "", want.GetName())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(versions(want), versions(have)); diff != "" {
			t.Errorf("%s is not plumb's (-want +have):\n%s", want.GetName(), diff)
		}
		if l := have.GetLabels()["app.kubernetes.io/part-of"]; l != "plumb" {
			t.Errorf("%s is labelled as part of %q", want.GetName(), l)
		}
	}
}

// versions returns the names of those that a definition has, and what each
// knows of a spec.
func versions(crd *unstructured.Unstructured) map[string]any {
	out := map[string]any{}
	list, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range list {
		v := v.(map[string]any)
		spec, _, _ := unstructured.NestedMap(v, "schema", "openAPIV3Schema", "properties", "spec")
		out[v["name"].(string)] = []any{spec, v["served"], v["storage"]}
	}
	return out
}

func (m *move) drift(t *testing.T) {
	if _, err := m.Kubectl(t.Context(), "", "patch", "configmap", "settings", "--namespace=shop", "--type=merge", "--patch", `{"data":{"colour":"red"}}`); err != nil {
		t.Fatal(err)
	}
	m.Await(t, "v1/ConfigMap", "shop", "settings", pt.Has("data.colour", "blue"))
	// What Flux brings and others rely on is held true, too.
	if _, err := m.Kubectl(t.Context(), "", "delete", "serviceaccount", "kustomize-controller", "--namespace", fluxSystem); err != nil {
		t.Fatal(err)
	}
	m.Await(t, "v1/ServiceAccount", fluxSystem, "kustomize-controller", nil)
}

func (m *move) raised(t *testing.T) {
	files := m.files("v2.4.0")
	files["clusters/prod/tenants.yaml"] = sync("tenants", "./tenants")
	files["tenants/team.yaml"] = tenant
	files["team/app.yaml"] = pt.ConfigMap("app")
	m.head = m.Commit(t, m.repo, files)
	s := m.AwaitReady(t, fluxSystem, fluxSystem, m.head)
	if !slices.Contains(s.IDs(), "_alerts.notification.toolkit.fluxcd.io_apiextensions.k8s.io_CustomResourceDefinition") {
		t.Errorf("a definition that plumb has none of is not in the inventory: %v", s.IDs())
	}
	version := func(want string) func(*unstructured.Unstructured) error {
		return func(u *unstructured.Unstructured) error {
			if have := u.GetLabels()["app.kubernetes.io/version"]; have != want {
				return fmt.Errorf("%s %s has version %s, want %s", u.GetKind(), u.GetName(), have, want)
			}
			return nil
		}
	}
	m.Await(t, definition, "", "alerts.notification.toolkit.fluxcd.io", version("v2.4.0"))
	m.Await(t, deployment, fluxSystem, "source-controller", version("v2.3.0"))
	m.staysAsItIs(t)
	// The tenant's source is in another namespace, and its account in its own.
	m.AwaitReady(t, "team", "team", m.head)
	m.Await(t, "v1/ConfigMap", "team", "app", nil)
}

func (m *move) updates(t *testing.T) {
	out, err := m.shell(t, "plumb install --image registry.example.com/plumb:v0.2.0")
	if err != nil || !strings.Contains(out, "plumb runs") {
		t.Errorf("%v\n%s", err, out)
	}
}

func (m *move) restarts(t *testing.T) {
	m.Plumb.Kill(syscall.SIGTERM)
	m.Plumb.Start()
	m.head = m.Commit(t, m.repo, map[string]string{"team/app.yaml": pt.ConfigMap("app", "a", "b")})
	m.AwaitReady(t, fluxSystem, fluxSystem, m.head)
	m.AwaitReady(t, "team", "team", m.head)
	m.saidOnce(t)
}

func (m *move) leavesGit(t *testing.T) {
	m.repo.Commit(t, map[string]string{"clusters/prod/flux-system/kustomization.yaml": kustomization("gotk-sync.yaml")}, "without Flux itself")
	m.head = m.Remove(t, m.repo, "clusters/prod/flux-system/gotk-components.yaml")
	m.AwaitReason(t, pt.Kustomization, fluxSystem, fluxSystem, "PruneHeld")
	m.mustRun(t, "To stay", 0)
	s := m.AwaitReady(t, fluxSystem, fluxSystem, m.head)
	if have := s.Condition("Ready").Message; strings.Contains(have, "left alone") {
		t.Errorf("the condition still says %q", have)
	}
	m.staysAsItIs(t)
	for _, o := range manifests("v2.4.0") {
		if _, err := m.Object(t.Context(), kindOf(o), o.GetNamespace(), o.GetName()); err != nil {
			t.Errorf("of Flux: %v", err)
		}
	}
}

func (m *move) goesBack(t *testing.T) {
	m.Plumb.Kill(syscall.SIGTERM)
	m.mustRun(t, "Back to Flux", 0)
	for _, c := range controllers {
		m.Await(t, deployment, fluxSystem, c, pt.Has("status.availableReplicas", 1))
	}
	// What kustomize-controller does first: it applies its definitions again.
	for _, o := range manifests("v2.4.0") {
		if o.GetKind() == "CustomResourceDefinition" {
			m.applyAsFlux(t, o)
		}
	}
	for name, ns := range map[string]string{fluxSystem: fluxSystem, "apps": fluxSystem, "team": "team"} {
		u, err := m.Object(t.Context(), pt.Kustomization, ns, name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"finalizers.fluxcd.io"}, u.GetFinalizers()); diff != "" {
			t.Errorf("finalizers of %s (-want +have):\n%s", name, diff)
		}
	}
}

// remembers checks that the inventory has what Flux had applied, but for what
// is left alone.
func (m *move) remembers(t *testing.T, before pt.Status) {
	now := m.status(t).IDs()
	for _, id := range before.IDs() {
		left := strings.HasSuffix(id, "_apps_Deployment") ||
			strings.HasSuffix(id, "_CustomResourceDefinition") && !strings.HasPrefix(id, "_alerts.")
		if has := slices.Contains(now, id); left == has {
			t.Errorf("%s is left alone: %t, and in the inventory: %t", id, left, has)
		}
	}
}

func (m *move) status(t *testing.T) pt.Status {
	t.Helper()
	s, _, err := m.StatusOf(t.Context(), pt.Kustomization, fluxSystem, fluxSystem)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
