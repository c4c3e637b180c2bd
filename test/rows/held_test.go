package rows_test

import (
	"fmt"
	"syscall"
	"testing"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// What keeps a unit from going forward is no reason to let go of what it has
// applied.
func TestHeld(t *testing.T) {
	w := pt.New(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pt.World)
	}{
		{"a unit whose dependency is suspended is held true to what it applied", suspendedDependency},
		{"a unit whose dependency fails is held true to what it applied", failingDependency},
		{"a unit whose source is gone is held true to what it applied", sourceGone},
		{"a unit whose next revision can't be built is held true to the last", brokenBuild},
		{"a unit whose spec can't be honoured is held true to what it applied", brokenSpec},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, w) })
	}
}

// drift changes one object of a unit, deletes another, and waits until both
// are as they were.
func drift(t *testing.T, w *pt.World, ns string) {
	t.Helper()
	for _, args := range [][]string{
		{"patch", "configmap/a", "--type=merge", "-p", `{"data":{"k":"by hand"}}`},
		{"delete", "configmap/b"},
	} {
		if out, err := w.Kubectl(t.Context(), "", append([]string{"-n", ns}, args...)...); err != nil {
			t.Fatal(out, err)
		}
	}
	w.Await(t, configMap, ns, "a", pt.Has("data.k", "git"))
	w.Await(t, configMap, ns, "b", nil)
}

var driftable = map[string]string{
	"app/a.yaml": pt.ConfigMap("a", "k", "git"), "app/b.yaml": pt.ConfigMap("b"), "first/c.yaml": pt.ConfigMap("first"),
}

func suspend(t *testing.T, w *pt.World, ns, name string, yes bool) {
	t.Helper()
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "patch", "kustomizations.kustomize.toolkit.fluxcd.io/"+name,
		"--type=merge", "-p", fmt.Sprintf(`{"spec":{"suspend":%t}}`, yes)); err != nil {
		t.Fatal(out, err)
	}
}

func awaitMessage(t *testing.T, w *pt.World, ns, name, reason string, parts ...string) {
	t.Helper()
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, name, reason), parts...)
}

func suspendedDependency(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, remove := unit(t, w, ns, "src", driftable)
	w.Unit(t, ns, "first", "src", "./first")
	w.AwaitReady(t, ns, "first", "")
	w.Unit(t, ns, "src", "src", "./app", "dependsOn: [{name: first}]")
	w.AwaitReady(t, ns, "src", "")
	suspend(t, w, ns, "first", true)
	drift(t, w, ns)
	awaitMessage(t, w, ns, "src", "DependencyNotReady", "'"+ns+"/first' is suspended")

	// Nothing new comes meanwhile, and what is new does not replace the old.
	push(map[string]string{"app/a.yaml": pt.ConfigMap("a", "k", "new"), "app/n.yaml": pt.ConfigMap("n")})
	drift(t, w, ns)
	if _, err := w.Object(t.Context(), configMap, ns, "n"); err == nil {
		t.Error("what is new was applied although the dependency is not ready")
	}
	// Also after a start, where what was applied last can be made again.
	push(map[string]string{"app/a.yaml": pt.ConfigMap("a", "k", "git")})
	remove("app/n.yaml")
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	suspend(t, w, ns, "first", false)
	w.AwaitReady(t, ns, "src", "")
	suspend(t, w, ns, "first", true)
	w.Plumb.Kill(syscall.SIGTERM)
	w.Plumb.Start()
	drift(t, w, ns)
	suspend(t, w, ns, "first", false)
	w.AwaitReady(t, ns, "src", "")
}

func failingDependency(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "src", driftable)
	w.Unit(t, ns, "first", "src", "./first")
	w.AwaitReady(t, ns, "first", "")
	w.Unit(t, ns, "src", "src", "./app", "dependsOn: [{name: first}]")
	w.AwaitReady(t, ns, "src", "")
	push(map[string]string{"first/c.yaml": "no: [yaml"})
	awaitMessage(t, w, ns, "src", "DependencyNotReady", "'"+ns+"/first' is not ready: BuildFailed: ")
	drift(t, w, ns)
}

func sourceGone(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", driftable)
	if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "gitrepositories.source.toolkit.fluxcd.io/u"); err != nil {
		t.Fatal(out, err)
	}
	awaitMessage(t, w, ns, "u", "ArtifactFailed", "not found")
	drift(t, w, ns)
}

func brokenBuild(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	push, _ := unit(t, w, ns, "u", driftable)
	push(map[string]string{"app/x.yaml": "kind: ConfigMap\n  bad: [yaml"})
	w.AwaitReason(t, pt.Kustomization, ns, "u", "BuildFailed")
	drift(t, w, ns)
	push(map[string]string{"app/x.yaml": pt.ConfigMap("x")})
	w.AwaitReady(t, ns, "u", "")
}

func brokenSpec(t *testing.T, w *pt.World) {
	ns := w.Namespace(t)
	unit(t, w, ns, "u", driftable)
	w.Unit(t, ns, "u", "u", "./app", "decryption: {provider: sops}")
	w.AwaitReason(t, pt.Kustomization, ns, "u", "UnsupportedField")
	drift(t, w, ns)
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "u")
		if err == nil && (s.Condition("Stalled").Status != "True" || len(s.IDs()) != 2) {
			err = fmt.Errorf("it is not stalled with its inventory: %+v", s)
		}
		return err
	})
}
