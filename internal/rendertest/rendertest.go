// Package rendertest is what the tests of render and of its builders share:
// trees in a few words, options in one piece, results as text.
package rendertest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

// Options are those of a render by Kustomize, as Flux asks for it.
type Options struct {
	Path                    string
	TargetNamespace         string
	NamePrefix, NameSuffix  string
	Labels, Annotations     map[string]string
	Patches                 []kustomize.Patch
	Images                  []kustomize.Image
	Components              []string
	IgnoreMissingComponents bool
	BuildMetadata           []string
	Substitute              *render.Substitution
	AllowRemoteBases        bool
}

// Render returns the options as render has them.
func (o Options) Render() render.Options {
	return render.Options{
		Path: o.Path, Labels: o.Labels, Annotations: o.Annotations, Substitute: o.Substitute,
		Builder: kustomize.Options{
			Generate: true, Namespace: o.TargetNamespace, NamePrefix: o.NamePrefix, NameSuffix: o.NameSuffix, Patches: o.Patches, Images: o.Images,
			Components: o.Components, IgnoreMissingComponents: o.IgnoreMissingComponents, BuildMetadata: o.BuildMetadata, AllowRemoteBases: o.AllowRemoteBases,
		},
	}
}

// Objects renders a tree.
func Objects(ctx context.Context, t tree.Tree, o Options) (render.Result, error) {
	return render.Objects(ctx, t, o.Render())
}

// MustRender renders files.
func MustRender(t testing.TB, m map[string]string, o Options) render.Result {
	t.Helper()
	r, err := Objects(context.Background(), tree.FromFiles(m), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Refused renders m and expects a Stall of the reason, whose message holds all
// of words.
func Refused(t *testing.T, m map[string]string, o Options, reason fault.Reason, words ...string) error {
	t.Helper()
	r, err := Objects(t.Context(), tree.FromFiles(m), o)
	if err == nil {
		t.Errorf("rendered to %d objects, want %s", len(r.Items), reason)
		return nil
	}
	f := fault.Of(err)
	if f.Next != fault.Stall || f.Reason != reason {
		t.Errorf("%s %s: %v; want a stall %s", f.Next, f.Reason, err, reason)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q doesn't mention %q", err, w)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), "/plumb/") && !strings.Contains(m["apps/kustomization.yaml"], "/plumb/") {
		t.Errorf("%q is not fit for a person", err)
	}
	return err
}

// Archives are the trees in testdata of render/kustomize, as seen from a
// package next to it or from itself.
func Archives(t testing.TB) []string {
	t.Helper()
	return archives(t, "kustomize", "")
}

// archives are those in testdata of a package below render. The package that asks
// has testdata of its own, which are these if some are called so.
func archives(t testing.TB, of, called string) []string {
	t.Helper()
	for _, dir := range []string{"testdata", of + "/testdata", "../" + of + "/testdata"} {
		some, err := filepath.Glob(dir + "/" + called + "*.txtar")
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			continue
		}
		all, err := filepath.Glob(dir + "/*.txtar")
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	t.Fatal("no testdata")
	return nil
}

// Unpack returns the files of an archive, its section "options", and its
// section "want".
func Unpack(t testing.TB, a *txtar.Archive) (files map[string]string, o Options, want string) {
	t.Helper()
	return unpack[Options](t, a)
}

func unpack[O any](t testing.TB, a *txtar.Archive) (files map[string]string, o O, want string) {
	t.Helper()
	files = map[string]string{}
	for _, f := range a.Files {
		switch f.Name {
		case "options":
			if err := yaml.UnmarshalStrict(f.Data, &o); err != nil {
				t.Fatalf("options: %v", err)
			}
		case "want":
			want = string(f.Data)
		default:
			files[f.Name] = string(f.Data)
		}
	}
	return files, o, want
}

// Golden renders each archive and compares the outcome to its section "want", or
// makes it that.
func Golden(t *testing.T, names []string, update bool, render func(*testing.T, *txtar.Archive) (got, want string)) {
	t.Helper()
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, want := render(t, a)
			if update {
				setWant(a, got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// setWant sets the section "want".
func setWant(a *txtar.Archive, want string) {
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
	a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(want)})
}

// Outcome is a result as text.
func Outcome(r render.Result, err error) string {
	if err != nil {
		f := fault.Of(err)
		return fmt.Sprintf("%s %s\n%v\n", f.Next, f.Reason, err)
	}
	set, err := r.Objects()
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "# %s\n", w)
	}
	for i, u := range set {
		y, err := yaml.Marshal(u.Object)
		if err != nil {
			return err.Error()
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(y)
	}
	if len(set) == 0 {
		b.WriteString("# no objects\n")
	}
	return b.String()
}

// Files is a tree from names and contents, in pairs.
func Files(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// With is m with other files in it, in pairs.
func With(m map[string]string, pairs ...string) map[string]string {
	m = maps.Clone(m)
	maps.Copy(m, Files(pairs...))
	return m
}

// ConfigMap is a manifest.
func ConfigMap(name, data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  key: " + data + "\n"
}

// App is a base and an overlay that render to ten objects.
func App(dir string) map[string]string {
	m := map[string]string{}
	var resources string
	add := func(file, content string) {
		m[dir+"/base/"+file] = content
		resources += "- " + file + "\n"
	}
	add("serviceaccount.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n")
	add("role.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: web\nrules:\n- apiGroups: [\"\"]\n  resources: [configmaps]\n  verbs: [get, list, watch]\n")
	add("rolebinding.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: web\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: Role\n  name: web\nsubjects:\n- kind: ServiceAccount\n  name: web\n")
	add("configmap.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  app.conf: |\n    listen 8080\n    log info\n")
	add("deployment.yaml", `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/name: web}
spec:
  replicas: 1
  selector:
    matchLabels: {app.kubernetes.io/name: web}
  template:
    metadata:
      labels: {app.kubernetes.io/name: web}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: nginx:1.21.0
        ports: [{name: http, containerPort: 8080}]
        envFrom:
        - configMapRef: {name: settings}
        readinessProbe:
          httpGet: {path: /healthz, port: http}
        resources:
          requests: {cpu: 10m, memory: 32Mi}
          limits: {memory: 64Mi}
      volumes:
      - name: config
        configMap: {name: web}
`)
	add("service.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  selector: {app.kubernetes.io/name: web}\n  ports: [{name: http, port: 80, targetPort: http}]\n")
	add("hpa.yaml", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: web\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 2\n  maxReplicas: 5\n")
	add("pdb.yaml", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\nspec:\n  maxUnavailable: 1\n  selector:\n    matchLabels: {app.kubernetes.io/name: web}\n")
	add("networkpolicy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: web\nspec:\n  podSelector:\n    matchLabels: {app.kubernetes.io/name: web}\n  ingress:\n  - ports: [{port: http}]\n")
	m[dir+"/base/kustomization.yaml"] = "resources:\n" + resources + "configMapGenerator:\n- name: settings\n  literals: [COLOR=blue, SIZE=large]\n"
	m[dir+"/overlays/production/kustomization.yaml"] = "namespace: shop\nresources: [../../base]\nimages: [{name: nginx, newTag: 1.21.1}]\nreplicas: [{name: web, count: 4}]\n"
	return m
}
