// Package examples runs every example of examples/ with the real plumb on a
// real control plane, as a person would apply it.
package examples

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/internal/tools"
)

func TestMain(m *testing.M) {
	code := m.Run()
	plumbtest.Clean()
	os.Exit(code)
}

// TestExamples holds them all true at once, by one plumb.
func TestExamples(t *testing.T) {
	w := &world{plumbtest.New(t)}
	w.Apply(t, namespaces("flux-system", "guestbook-2021", "guestbook-2022"))
	for name, test := range map[string]func(*testing.T, *world){
		"the manifests of guides, in v1 and v1beta2":            guides,
		"manifests from the time of v1beta1":                    v1beta1,
		"the staging overlays and HelmReleases of the monorepo": staging,
		"a directory without a kustomization.yaml":              plain,
		"a Deployment changed by commits and reverted":          webApp,
		"a CRD and objects of it in one commit":                 crds,
		"a migration that runs before the app":                  migration,
		"a tenant that writes outside of its namespace":         tenant,
		"an ExternalSecret without and with its CRD":            externalSecret,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

func guides(t *testing.T, w *world) {
	monorepo, infrastructure := w.repository(t, "monorepo"), w.repository(t, "overlay")
	key, identity := gittest.NewKey(t, "")
	ssh := w.Git.SSH(t, gittest.SSHOptions{Accept: key.PublicKey()})
	w.Apply(t, secret("flux-system", "git-ssh-key", map[string]string{"identity": string(identity), "known_hosts": string(ssh.KnownHosts())}))
	w.Apply(t, replaced(t, w.manifest(t, "flux.yaml"),
		"ssh://git@github.com/your-org/your-gitops-repo.git", ssh.URL(monorepo),
		"https://github.com/myorg/infrastructure", infrastructure.URL()))

	s := w.AwaitReady(t, "flux-system", "apps-production", monorepo.Head(t, "main"))
	w.deployment(t, "shop", "frontend", 3, "registry.example.com/shop/frontend:1.4.2")
	w.deployment(t, "shop", "backend", 2, "registry.example.com/shop/backend:2.1.0")
	w.has(t, "v1/Service", "shop", "frontend")
	w.has(t, "networking.k8s.io/v1/Ingress", "shop", "frontend")
	w.has(t, "v1/ConfigMap", "shop", w.configOf(t, "shop", "backend"))
	if n := len(s.IDs()); n != 8 {
		t.Errorf("the inventory has %d entries, want 8: %v", n, s.IDs())
	}
	w.AwaitReady(t, "flux-system", "apps", infrastructure.Head(t, "main"))
	w.deployment(t, "production", "web-app", 5, "myregistry/web-app:v1.2.3")

	// What was written in an old version is read in both.
	for _, version := range []string{"v1", "v1beta2"} {
		out, err := w.Kubectl(t.Context(), "", "get", "gitrepositories."+version+".source.toolkit.fluxcd.io", "my-gitops-repo",
			"--namespace", "flux-system", "--output", "jsonpath={.apiVersion} {.spec.secretRef.name} {.status.artifact.revision}")
		if want := "source.toolkit.fluxcd.io/" + version + " git-ssh-key main@sha1:" + monorepo.Head(t, "main"); err != nil || out != want {
			t.Errorf("read in %s: got %q, %v; want %q", version, out, err, want)
		}
	}
}

func v1beta1(t *testing.T, w *world) {
	r := w.repository(t, "plain", "plain-2021")
	w.Apply(t, replaced(t, w.manifest(t, "flux-v1beta1.yaml"), w.Git.URL()+"/plain.git", r.URL()))
	w.AwaitReady(t, "flux-system", "guestbook", r.Head(t, "main"))
	d := w.deployment(t, "guestbook-2021", "guestbook", 1, "registry.example.com/guestbook:v2")
	if err := plumbtest.Has("spec.template.spec.terminationGracePeriodSeconds", 5)(d); err != nil {
		t.Error(err)
	}
	w.AwaitReady(t, "flux-system", "guestbook-2022", r.Head(t, "main"))
	w.deployment(t, "guestbook-2022", "guestbook", 2, "registry.example.com/guestbook:v3")
}

func staging(t *testing.T, w *world) {
	r := w.repository(t, "monorepo", "monorepo-staging")
	ns := w.Namespace(t)
	w.Source(t, ns, "monorepo", r)
	w.Unit(t, ns, "apps", "monorepo", "./apps/overlays/staging", "wait: true")
	w.Unit(t, ns, "infrastructure", "monorepo", "./infrastructure/overlays/staging")
	w.AwaitReady(t, ns, "apps", r.Head(t, "main"))
	w.deployment(t, "shop-staging", "frontend", 1, "registry.example.com/shop/frontend:1.5.0-rc.1")
	w.deployment(t, "shop-staging", "backend", 1, "registry.example.com/shop/backend:2.2.0-rc.3")
	w.AwaitReady(t, ns, "infrastructure", r.Head(t, "main"))
	for _, name := range []string{"cert-manager", "nginx-ingress"} {
		w.has(t, "helm.toolkit.fluxcd.io/v2/HelmRelease", "flux-system", name)
		w.has(t, "v1/ConfigMap", "flux-system", name+"-values")
	}
}

func plain(t *testing.T, w *world) {
	r := w.repository(t, "plain")
	w.Apply(t, w.manifest(t, "plain.yaml"))
	s := w.AwaitReady(t, "guestbook", "plain", r.Head(t, "main"))
	w.deployment(t, "guestbook", "guestbook", 2, "registry.example.com/guestbook:v3")
	want := []string{
		"guestbook_guestbook-cleanup_batch_CronJob", "guestbook_guestbook__ConfigMap",
		"guestbook_guestbook__Service", "guestbook_guestbook_apps_Deployment",
	}
	got := s.IDs()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the inventory is %v, want %v", got, want)
	}
}

func webApp(t *testing.T, w *world) {
	r := w.repository(t, "web-app")
	w.Apply(t, w.manifest(t, "web-app.yaml"))
	original := r.Git(t, "show", "main:deployment.yaml")
	newer := replaced(t, original, "nginx:1.21.0", "nginx:1.21.1")

	uid := ""
	for _, step := range []struct {
		what     string
		commit   func() string
		replicas int
		image    string
	}{
		{"the first commit", func() string { return r.Head(t, "main") }, 3, "nginx:1.21.0"},
		{"a new image", func() string { return w.Commit(t, r, map[string]string{"deployment.yaml": newer}) }, 3, "nginx:1.21.1"},
		{"another replica", func() string {
			return w.Commit(t, r, map[string]string{"deployment.yaml": replaced(t, newer, "replicas: 3", "replicas: 4")})
		}, 4, "nginx:1.21.1"},
		{"the last commit reverted", func() string { return w.reverted(t, r) }, 3, "nginx:1.21.1"},
		{"all reverted", func() string { return w.Commit(t, r, map[string]string{"deployment.yaml": original}) }, 3, "nginx:1.21.0"},
	} {
		w.AwaitReady(t, "web", "web-app", step.commit())
		d := w.deployment(t, "web", "my-web-app", step.replicas, step.image)
		if uid == "" {
			uid = string(d.GetUID())
		}
		if string(d.GetUID()) != uid {
			t.Errorf("%s: the Deployment was made anew", step.what)
		}
	}
}

func crds(t *testing.T, w *world) {
	r := w.repository(t, "crds")
	w.Apply(t, w.manifest(t, "crds.yaml"))
	w.AwaitReady(t, "backups", "crds", r.Head(t, "main"))
	for name, keep := range map[string]int{"orders": 7, "customers": 30} {
		b, err := w.Object(t.Context(), "data.example.com/v1/Backup", "backups", name)
		if err == nil {
			err = plumbtest.Has("spec.keep", keep)(b)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func migration(t *testing.T, w *world) {
	files := content(t, "migration")
	// So that there is time to look: its pods wait until they are let go.
	files["migration/job.yaml"] = replaced(t, files["migration/job.yaml"],
		"    metadata:\n      labels:", "    metadata:\n      annotations:\n        sandbox.plumb.dev/never-ready: \"true\"\n      labels:")
	r := w.Git.Repo(t, "migration")
	r.Commit(t, files, "v1")
	w.Apply(t, w.manifest(t, "migration.yaml"))

	job := w.Await(t, "batch/v1/Job", "orders", "migrate", nil)
	w.AwaitReason(t, plumbtest.Kustomization, "orders", "orders", "DependencyNotReady")
	w.lacks(t, "apps/v1/Deployment", "orders", "orders")
	w.letGo(t, "orders", job)
	w.AwaitReady(t, "orders", "orders", r.Head(t, "main"))
	w.deployment(t, "orders", "orders", 2, "registry.example.com/orders:v1")

	for _, file := range []string{"migration/job.yaml", "app/deployment.yaml"} {
		files[file] = replaced(t, files[file], "orders:v1", "orders:v2")
	}
	w.Commit(t, r, files)
	second := w.Await(t, "batch/v1/Job", "orders", "migrate", func(u *unstructured.Unstructured) error {
		if u.GetUID() == job.GetUID() {
			return fmt.Errorf("the Job is still the first one")
		}
		return nil
	})
	w.AwaitReason(t, plumbtest.Kustomization, "orders", "orders", "DependencyNotReady")
	w.deployment(t, "orders", "orders", 2, "registry.example.com/orders:v1")
	w.letGo(t, "orders", second)
	w.AwaitReady(t, "orders", "orders", r.Head(t, "main"))
	w.deployment(t, "orders", "orders", 2, "registry.example.com/orders:v2")
}

func tenant(t *testing.T, w *world) {
	r := w.repository(t, "tenant")
	w.Apply(t, w.manifest(t, "tenant.yaml"))
	message := w.AwaitReason(t, plumbtest.Kustomization, "team-a", "tenant", "ReconciliationFailed")
	for _, part := range []string{"forbidden", "system:serviceaccount:team-a:deployer", `namespace "team-b"`, "from-team-a"} {
		if !strings.Contains(message, part) {
			t.Errorf("the message %q does not name %q", message, part)
		}
	}
	w.lacks(t, "v1/ConfigMap", "team-b", "from-team-a")
	// What was refused was never there, so nothing has to be pruned later.
	if s, _, err := w.StatusOf(t.Context(), plumbtest.Kustomization, "team-a", "tenant"); err != nil || len(s.Inventory.Entries) > 0 {
		t.Errorf("the inventory is %v, %v", s.Inventory.Entries, err)
	}
	w.lacks(t, "apps/v1/Deployment", "team-a", "blog")
	w.AwaitReady(t, "team-a", "tenant", w.Remove(t, r, "app/escape.yaml"))
	w.deployment(t, "team-a", "blog", 1, "registry.example.com/blog:v7")
}

func externalSecret(t *testing.T, w *world) {
	r := w.repository(t, "external-secret")
	w.Apply(t, namespaces("production"))
	w.Apply(t, w.manifest(t, "external-secret.yaml"))
	unit := "external-secret"
	message := w.AwaitReason(t, plumbtest.Kustomization, unit, unit, "UnknownKind")
	for _, part := range []string{"ExternalSecret", "external-secrets.io/v1beta1"} {
		if !strings.Contains(message, part) {
			t.Errorf("the message %q does not name %q", message, part)
		}
	}

	w.Apply(t, externalSecretCRD)
	w.AwaitReady(t, unit, unit, r.Head(t, "main"))
	judge := func(ready string) {
		t.Helper()
		if _, err := w.Kubectl(t.Context(), "", "patch", "externalsecret/database-credentials", "--namespace", "production",
			"--subresource", "status", "--type", "merge", "--patch",
			`{"status":{"conditions":[{"type":"Ready","status":"`+ready+`","reason":"Synced"}]}}`); err != nil {
			t.Fatal(err)
		}
	}
	// Somebody's controller says that it is not ready. A changed unit waits.
	judge("False")
	w.Apply(t, replaced(t, w.manifest(t, "external-secret.yaml"), "  wait: true", "  wait: true\n  timeout: 1m"))
	kubetest.Eventually(t, plumbtest.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), plumbtest.Kustomization, unit, unit)
		if err == nil && s.Condition("Healthy").Status != metav1.ConditionUnknown {
			err = fmt.Errorf("it does not wait: %+v", s.Conditions)
		}
		return err
	})
	judge("True")
	w.AwaitReady(t, unit, unit, r.Head(t, "main"))
}

// externalSecretCRD is as much of the definition as an object needs.
const externalSecretCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: externalsecrets.external-secrets.io}
spec:
  group: external-secrets.io
  scope: Namespaced
  names: {kind: ExternalSecret, listKind: ExternalSecretList, plural: externalsecrets, singular: externalsecret}
  versions:
  - name: v1beta1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
`

// A world serves the examples.
type world struct{ *plumbtest.World }

// repository serves an example, by its own name or another.
func (w *world) repository(t *testing.T, example string, name ...string) *gittest.Repository {
	t.Helper()
	r := w.Git.Repo(t, append(name, example)[0])
	r.Commit(t, content(t, example), "first commit")
	return r
}

// manifest reads what to apply, with the addresses of this world.
func (w *world) manifest(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return w.here(string(b))
}

// here is a text with the addresses of this world.
func (w *world) here(text string) string {
	return strings.ReplaceAll(text, "http://127.0.0.1:8418", w.Git.URL())
}

// deployment waits for a Deployment's pods, and checks how many they are and
// what they run.
func (w *world) deployment(t *testing.T, ns, name string, replicas int, image string) *unstructured.Unstructured {
	t.Helper()
	u, err := w.Object(t.Context(), "apps/v1/Deployment", ns, name)
	if err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if got := containers[0].(map[string]any)["image"]; got != image {
		t.Errorf("%s/%s runs %v, want %s", ns, name, got, image)
	}
	if err := plumbtest.Has("spec.replicas", replicas)(u); err != nil {
		t.Error(err)
	}
	return w.Await(t, "apps/v1/Deployment", ns, name, plumbtest.Has("status.availableReplicas", replicas))
}

// configOf is the name of the ConfigMap that a Deployment's first container
// has its environment from.
func (w *world) configOf(t *testing.T, ns, name string) string {
	t.Helper()
	u, err := w.Object(t.Context(), "apps/v1/Deployment", ns, name)
	if err != nil {
		t.Fatal(err)
	}
	containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	from, _, _ := unstructured.NestedSlice(containers[0].(map[string]any), "envFrom")
	if len(from) != 1 {
		t.Fatalf("%s/%s has its environment from %v", ns, name, from)
	}
	config, _, _ := unstructured.NestedString(from[0].(map[string]any), "configMapRef", "name")
	if config == name+"-config" {
		t.Errorf("the generated ConfigMap %s has no hash in its name", config)
	}
	return config
}

func (w *world) has(t *testing.T, kind, ns, name string) {
	t.Helper()
	if _, err := w.Object(t.Context(), kind, ns, name); err != nil {
		t.Error(err)
	}
}

func (w *world) lacks(t *testing.T, kind, ns, name string) {
	t.Helper()
	if _, err := w.Object(t.Context(), kind, ns, name); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	} else if err == nil {
		t.Errorf("%s %s/%s is there", kind, ns, name)
	}
}

func (w *world) reverted(t *testing.T, r *gittest.Repository) string {
	t.Helper()
	hash := r.Revert(t)
	w.Poke(t, r)
	return hash
}

// letGo has the pods of a Job run.
func (w *world) letGo(t *testing.T, ns string, job *unstructured.Unstructured) {
	t.Helper()
	kubetest.Eventually(t, plumbtest.Patience, func() error {
		out, err := w.Kubectl(t.Context(), "", "annotate", "pods", "--namespace", ns, "--overwrite",
			"--selector", "batch.kubernetes.io/controller-uid="+string(job.GetUID()), "sandbox.plumb.dev/never-ready-")
		if err == nil && strings.TrimSpace(out) == "" {
			err = fmt.Errorf("Job %s has no pods yet", job.GetName())
		}
		return err
	})
}

// content reads an example's files.
func content(t *testing.T, example string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := filepath.Join(folder(t), example)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files[filepath.ToSlash(rel)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func folder(t *testing.T) string {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "examples")
}

// replaced replaces each first string by the second, which have to be there.
func replaced(t *testing.T, s string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("%q is not in:\n%s", pairs[i], s)
		}
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	return s
}

func namespaces(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name)
	}
	return b.String()
}

func secret(ns, name string, data map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData:\n", name, ns)
	for k, v := range data {
		fmt.Fprintf(&b, "  %s: %q\n", k, v)
	}
	return b.String()
}
