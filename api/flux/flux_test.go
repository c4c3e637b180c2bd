package flux_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api/flux"
	"plumb.dev/plumb/internal/gentest"
	"plumb.dev/plumb/internal/kubetest"
)

func TestFilesAreWhatTheGeneratorWrites(t *testing.T) { gentest.Definitions(t, "flux") }

// The generator reads the types that the product is built with.
func TestGeneratorAndProductUseTheSameTypes(t *testing.T) {
	versions := func(file string) map[string]string {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for line := range strings.Lines(string(content)) {
			f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
			if len(f) >= 2 && strings.HasPrefix(f[0], "github.com/fluxcd/") && strings.HasSuffix(f[0], "-controller/api") {
				m[f[0]] = f[1]
			}
		}
		return m
	}
	generator := versions("../gen/go.mod")
	for module, version := range versions("../../go.mod") {
		if generator[module] != version {
			t.Errorf("%s: plumb is built with %s, and the generator reads %s", module, version, generator[module])
		}
	}
}

func TestEveryVersionIsServedWithTheSameFields(t *testing.T) {
	want := map[string]string{
		"Bucket":           "v1 v1beta2 v1beta1",
		"ExternalArtifact": "v1",
		"GitRepository":    "v1 v1beta2 v1beta1",
		"HelmChart":        "v1 v1beta2 v1beta1",
		"HelmRelease":      "v2 v2beta2 v2beta1",
		"HelmRepository":   "v1 v1beta2 v1beta1",
		"Kustomization":    "v1 v1beta2 v1beta1",
		"OCIRepository":    "v1 v1beta2",
	}
	have := map[string]string{}
	for _, d := range flux.Definitions() {
		kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		var names, first []string
		for _, v := range versions {
			v := v.(map[string]any)
			names = append(names, v["name"].(string))
			root, _, _ := unstructured.NestedMap(v, "schema", "openAPIV3Schema")
			var paths []string
			fields(root, "", &paths)
			if first == nil {
				first = paths
			}
			if diff := cmp.Diff(first, paths); diff != "" {
				t.Errorf("%s: fields of %s and %s differ:\n%s", kind, names[0], v["name"], diff)
			}
		}
		have[kind] = strings.Join(names, " ")
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("versions (-want +have):\n%s", diff)
	}
}

// A field that comes with a release of Flux is honoured or refused by name,
// and docs/flux.md says which. That has a row for each.
func TestEveryFieldOfWhatIsServedIsInTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/flux.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range flux.Definitions() {
		kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
		_, section, served := strings.Cut(string(doc), "\n## "+kind+"\n")
		if !served {
			continue // nothing acts on it
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var rows strings.Builder
		for line := range strings.Lines(section) {
			if names, ok := strings.CutPrefix(line, "| `"); ok {
				names, _, _ = strings.Cut(names, " | ")
				rows.WriteString("`" + names)
			}
		}
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		spec, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
		if err != nil || len(spec) == 0 {
			t.Fatalf("%s: the definition has no spec: %v", kind, err)
		}
		for name := range spec {
			if !strings.Contains(rows.String(), "`"+name+"`") && !strings.Contains(rows.String(), "`"+name+".") {
				t.Errorf("%s: spec.%s has no row in docs/flux.md", kind, name)
			}
		}
	}
}

func fields(s map[string]any, path string, paths *[]string) {
	properties, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		*paths = append(*paths, path+"."+name)
		fields(properties[name].(map[string]any), path+"."+name, paths)
	}
	for _, inner := range []string{"items", "additionalProperties"} {
		if p, ok := s[inner].(map[string]any); ok {
			fields(p, path+"["+inner+"]", paths)
		}
	}
}

// examples are the manifests of a folder, one per document.
func examples(t *testing.T, pattern string) map[string]*unstructured.Unstructured {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s: %v", pattern, err)
	}
	all := map[string]*unstructured.Unstructured{}
	for _, p := range paths {
		content, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			u := &unstructured.Unstructured{}
			json, err := yaml.YAMLToJSON([]byte(document))
			if err == nil {
				err = u.UnmarshalJSON(json)
			}
			if err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			gvk := u.GroupVersionKind()
			all[gvk.Version+" "+gvk.Kind+" "+u.GetName()] = u
		}
	}
	return all
}

func stored(gk schema.GroupKind) schema.GroupVersionKind {
	if gk.Group == "helm.toolkit.fluxcd.io" {
		return gk.WithVersion("v2")
	}
	return gk.WithVersion("v1")
}

func TestManifestsOfEveryVersionKeepAllFields(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	for name, u := range examples(t, "testdata/*.yaml") {
		t.Run(name, func(t *testing.T) {
			u.SetNamespace(env.Namespace(t))
			content, err := yaml.Marshal(u.Object)
			if err != nil {
				t.Fatal(err)
			}
			// kubectl refuses fields that the schema does not have.
			if _, err := env.Kubectl(t.Context(), string(content), "apply", "--server-side", "--validate=strict", "-f", "-"); err != nil {
				t.Fatal(err)
			}

			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(stored(u.GroupVersionKind().GroupKind()))
			if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(u), live); err != nil {
				t.Fatal(err)
			}
			if lost := missing(u.Object["spec"], live.Object["spec"], "spec"); len(lost) > 0 {
				t.Errorf("not there in the stored version: %s", strings.Join(lost, ", "))
			}
			// Nobody reconciles an ExternalArtifact.
			observed, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
			if observed != -1 && u.GetKind() != "ExternalArtifact" {
				t.Errorf("status.observedGeneration is %d before anyone looked; want -1", observed)
			}

			// A controller that knows the stored version only can work on it.
			if err := unstructured.SetNestedField(live.Object, live.GetGeneration(), "status", "observedGeneration"); err != nil {
				t.Fatal(err)
			}
			if err := env.Client.Status().Update(t.Context(), live); err != nil {
				t.Errorf("write the status: %v", err)
			}
			live.SetFinalizers([]string{"finalizers.fluxcd.io/test"})
			if err := env.Client.Update(t.Context(), live); err != nil {
				t.Errorf("write the finalizers: %v", err)
			}
			live.SetFinalizers(nil)
			if err := env.Client.Update(t.Context(), live); err != nil {
				t.Errorf("remove the finalizers: %v", err)
			}
		})
	}
}

// missing are the paths of what one value has and the other has not.
func missing(want, have any, path string) []string {
	var lost []string
	switch want := want.(type) {
	case map[string]any:
		have, _ := have.(map[string]any)
		for name, v := range want {
			lost = append(lost, missing(v, have[name], path+"."+name)...)
		}
	case []any:
		have, _ := have.([]any)
		if len(have) != len(want) {
			return []string{path}
		}
		for i, v := range want {
			lost = append(lost, missing(v, have[i], path+"[]")...)
		}
	default:
		if !cmp.Equal(want, have) {
			return []string{path}
		}
	}
	return lost
}

func TestInvalidManifestsAreRefusedAtTheDoor(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	ns := env.Namespace(t)
	for name, c := range map[string]struct{ manifest, want string }{
		"a Git URL of a scheme that is not supported": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a}, spec: {interval: 1m, url: "file:///etc"}}`,
			"spec.url",
		},
		"an interval that is no duration": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a}, spec: {interval: 1 minute, url: "https://example.com/a"}}`,
			"spec.interval",
		},
		"a Kustomization that does not say whether to prune": {
			`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a}, spec: {interval: 1m, sourceRef: {kind: GitRepository, name: a}}}`,
			"spec.prune",
		},
		"a way to two clusters": {
			`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: a}, kubeConfig: {secretRef: {name: a}, configMapRef: {name: a}}}}`,
			"exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef",
		},
		"an OCIRepository without a URL": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: OCIRepository, metadata: {name: a}, spec: {interval: 1m}}`,
			"spec.url is required",
		},
		"a chart from two sources": {
			`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: a}, spec: {interval: 1m, chart: {kind: OCIRepository, spec: {url: "oci://example.com/a", chart: a}}}}`,
			"chart.spec.chart cannot be set",
		},
		"a service account for a provider that has none": {
			`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a}, spec: {interval: 1m, url: "https://example.com/a", serviceAccountName: b}}`,
			"serviceAccountName can only be set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := env.Kubectl(t.Context(), c.manifest, "apply", "--server-side", "-n", ns, "-f", "-")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v; want one about %s", err, c.want)
			}
		})
	}
}

func TestKubectlKnowsTheShortNamesAndColumns(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	ns := env.Namespace(t)
	for short, columns := range map[string]string{
		"gitrepo": "NAME URL AGE READY STATUS",
		"ks":      "NAME AGE READY STATUS",
		"hr":      "NAME AGE READY STATUS",
	} {
		manifest := map[string]string{
			"gitrepo": `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: a}, spec: {interval: 1m, url: "https://example.com/a"}}`,
			"ks":      `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: a}}}`,
			"hr":      `{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: a}, spec: {interval: 1m, chartRef: {kind: OCIRepository, name: a}}}`,
		}[short]
		if _, err := env.Kubectl(t.Context(), manifest, "apply", "--server-side", "-n", ns, "-f", "-"); err != nil {
			t.Fatal(err)
		}
		kubetest.Eventually(t, 20*time.Second, func() error { // discovery may lag behind
			out, err := env.Kubectl(t.Context(), "", "get", short, "-n", ns)
			if err != nil {
				return err
			}
			head, _, _ := strings.Cut(out, "\n")
			if got := strings.Join(strings.Fields(head), " "); got != columns {
				t.Errorf("columns of %s are %q; want %q", short, got, columns)
			}
			return nil
		})
	}
}
