package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/argocd"
	"plumb.dev/plumb/inspect"
)

// said is what a command has printed, and its exit code.
type said struct {
	code        int
	out, errOut string
}

// plumb runs a command of plumb where there is no cluster.
func plumb(t *testing.T, args ...string) said {
	t.Helper()
	return plumbWith(t, dialects(), args...)
}

func plumbWith(t *testing.T, dialects []control.Dialect, args ...string) said {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	var out, errOut bytes.Buffer
	code := Main(t.Context(), "test", dialects, args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	return said{code, out.String(), errOut.String()}
}

// unpack writes the files of an archive into a directory, which is the current
// one for the rest of the test.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func TestBuildFailsWhereTheControllerWould(t *testing.T) {
	dir := unpack(t, `
-- unit.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec: {interval: 1h, prune: true, path: ./apps/shop, sourceRef: {kind: GitRepository, name: x}}
-- typo.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec: {interval: 1h, prune: true, path: ./apps/shopp, sourceRef: {kind: GitRepository, name: x}}
-- typo-with-source.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec: {interval: 1h, prune: true, path: ./apps/shopp, sourceRef: {kind: GitRepository, name: x}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: x, namespace: default}
spec: {interval: 1m, url: "https://example.com/x"}
-- file.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec: {interval: 1h, prune: true, path: ./apps/shop/cm.yaml, sourceRef: {kind: GitRepository, name: x}}
-- out.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: default}
spec: {interval: 1h, prune: true, path: ../repo/apps/shop, sourceRef: {kind: GitRepository, name: x}}
-- root.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: all, namespace: default}
spec: {interval: 1h, prune: true, path: ./, sourceRef: {kind: GitRepository, name: x}}
-- repo/apps/shop/cm.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: shop}}
-- repo/infra/cm.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: infra}}
-- repo/.github/workflows/ci.yml --
on: push
jobs: {}
-- repo/notes/logo.jpg --
no YAML
`)
	for _, c := range []struct {
		name, file, path string
		want             string // on standard output
		errHas           string
	}{
		{"the root", "unit.yaml", "repo", "ConfigMap/default/shop\n", ""},
		{"the unit's folder", "unit.yaml", "repo/apps/shop", "ConfigMap/default/shop\n", ""},
		{"the unit's folder with a slash", "unit.yaml", "./repo/apps/shop/", "ConfigMap/default/shop\n", ""},
		{"the unit's folder by another name", "unit.yaml", "link", "ConfigMap/default/shop\n", ""},
		{"a path that is not there", "typo.yaml", "repo", "", `path "./apps/shopp" does not exist`},
		{"a path that is not there, with the source", "typo-with-source.yaml", "repo", "", `path "./apps/shopp" does not exist`},
		{"a folder that is neither", "unit.yaml", "repo/apps", "", `path "./apps/shop" does not exist`},
		{"a folder beside the unit's", "unit.yaml", "repo/infra", "", `path "./apps/shop" does not exist`},
		{"a path that is a file", "file.yaml", "repo", "", `path "./apps/shop/cm.yaml"`},
		{"a path out of the source", "out.yaml", "repo", "", `path "../repo/apps/shop"`},
		{"a directory that is not there", "unit.yaml", "none", "", "--path none does not exist; name the root of the source"},
		{"a directory that is a file", "unit.yaml", "unit.yaml", "", "--path unit.yaml is not a directory"},
		{"what Flux leaves out of every source is left out", "root.yaml", "repo", "ConfigMap/default/shop\nConfigMap/default/infra\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.path == "link" {
				if err := os.Symlink(filepath.Join(dir, "repo", "apps", "shop"), filepath.Join(dir, "link")); err != nil {
					t.Fatal(err)
				}
			}
			got := plumb(t, "build", "-f", c.file, "--path", c.path, "-o", "name")
			if got.out != c.want {
				t.Errorf("printed %q, want %q", got.out, c.want)
			}
			if c.errHas == "" {
				if got.code != 0 {
					t.Errorf("exit %d: %s", got.code, got.errOut)
				}
				return
			}
			if got.code != 1 || strings.Count(got.errOut, "\n") != 1 || !strings.Contains(got.errOut, c.errHas) {
				t.Errorf("exit %d with %q, want 1 and one line with %q", got.code, got.errOut, c.errHas)
			}
		})
	}
}

func TestBuildOfAFileGoesOnWithoutWhatIsOptional(t *testing.T) {
	unpack(t, `
-- optional.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: x}
spec:
  sourceRef: {kind: GitRepository, name: src}
  interval: 10m
  prune: true
  path: ./
  kubeConfig: {secretRef: {name: remote}}
  postBuild: {substitute: {SIZE: "1"}, substituteFrom: [{kind: ConfigMap, name: none, optional: true}, {kind: Secret, name: none, optional: true}]}
-- needed.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: x}
spec:
  sourceRef: {kind: GitRepository, name: src}
  interval: 10m
  prune: true
  path: ./
  postBuild: {substituteFrom: [{kind: ConfigMap, name: none}]}
-- with.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: none}, data: {COLOR: red}}
-- repo/cm.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {color: "${COLOR:=blue}"}}
`)
	if got := plumb(t, "build", "-f", "optional.yaml", "--path", "repo"); got.code != 0 || !strings.Contains(got.out, "color: blue") {
		t.Errorf("without it: exit %d: %s%s", got.code, got.out, got.errOut)
	}
	if got := plumb(t, "build", "-f", "optional.yaml", "--path", "repo", "--with", "with.yaml"); got.code != 0 || !strings.Contains(got.out, "color: red") {
		t.Errorf("with it: exit %d: %s%s", got.code, got.out, got.errOut)
	}
	got := plumb(t, "build", "-f", "needed.yaml", "--path", "repo")
	if want := "ConfigMap/x/none is needed, and no cluster is asked; give its manifest with --with FILE"; got.code != 1 || !strings.Contains(got.errOut, want) {
		t.Errorf("one that is not optional: exit %d: %s", got.code, got.errOut)
	}
}

func TestBuildNamesADefinitionThatCannotBeRead(t *testing.T) {
	unpack(t, `
-- unit.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: x}
spec: {interval: 1h, prune: true, path: ./, sourceRef: {kind: GitRepository, name: x}}
-- repo/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec: {group: example.com, scope: [Namespaced], names: {kind: Thing, plural: things}}
`)
	got := plumb(t, "build", "-f", "unit.yaml", "--path", "repo")
	if got.code != 1 || got.out != "" || !strings.Contains(got.errOut, "CustomResourceDefinition/things.example.com: spec.scope: ") {
		t.Errorf("exit %d: %s%s", got.code, got.out, got.errOut)
	}
}

func TestATraceThatCannotSeeDriftSaysSo(t *testing.T) {
	var out bytes.Buffer
	a := &app{io: genericiooptions.IOStreams{Out: &out}, paint: newPaint(false)}
	a.printTrace(&inspect.Trace{Object: "ConfigMap/x/y", Unit: "Kustomization/x/u", Ready: "True", Listed: true, DriftUnknown: "list events: forbidden"})
	if got := out.String(); !strings.Contains(got, "Drift      not known: list events: forbidden") || strings.Contains(got, "none within") {
		t.Errorf("printed:\n%s", got)
	}
}

// An Application with a chart is built as it is in the cluster, with files of all of
// its sources.
func TestBuildOfAChart(t *testing.T) {
	unpack(t, `
-- app.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd}
spec:
  project: default
  sources:
  - {repoURL: "https://git.example.com/charts", path: shop, helm: {valueFiles: [$config/prod.yaml]}}
  - {repoURL: "https://git.example.com/config", ref: config}
  destination: {server: https://kubernetes.default.svc, namespace: shop}
-- charts/shop/Chart.yaml --
{apiVersion: v2, name: shop, version: 1.0.0}
-- charts/shop/templates/c.yaml --
{apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Values.name }}-{{ .Release.Name }}"}}
-- config/prod.yaml --
name: prod
-- empty/x --
`)
	for _, c := range []struct {
		name         string
		args         []string
		want, errHas string
	}{
		{"with all", []string{"--ref", "config=config"}, "ConfigMap/shop/prod-web\n", ""},
		{"as it is written", []string{"--ref", "$config=config"}, "ConfigMap/shop/prod-web\n", ""},
		{"without the files of another", nil, "", "add --ref config=DIR"},
		{"with files that it does not name", []string{"--ref", "config=config", "--ref", "other=config"}, "", "refers to no source of that name"},
		{"with others", []string{"--ref", "config=empty"}, "", "helm.valueFiles[0]: open $config/prod.yaml: no such file or directory"},
		{"with a name alone", []string{"--ref", "config"}, "", "write it as NAME=DIR"},
		{"with a directory that is not there", []string{"--ref", "config=none"}, "", "--ref config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plumbWith(t, []control.Dialect{&argocd.Options{}}, append([]string{"build", "-f", "app.yaml", "--path", "charts", "-o", "name"}, c.args...)...)
			if got.out != c.want || (got.code == 0) != (c.errHas == "") || !strings.Contains(got.errOut, c.errHas) {
				t.Errorf("exit %d, printed %q and %q, want %q or an error with %q", got.code, got.out, got.errOut, c.want, c.errHas)
			}
		})
	}
}
