package argocd_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gentest"
	"plumb.dev/plumb/internal/kubetest"
)

func TestFilesAreWhatTheGeneratorWrites(t *testing.T) { gentest.Definitions(t, "argocd") }

// everything is an Application with every field that there is.
func everything(t *testing.T) map[string]any {
	t.Helper()
	content, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.YAMLToJSON(content)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := utiljson.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// What is written is read, and what is read is written, without a loss.
func TestTypesHaveEveryField(t *testing.T) {
	all := everything(t)
	var a api.Application
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(all, &a, true); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := utiljson.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, back); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

// Every field of the definition is in that Application, so that none is left out
// of the test above.
func TestTheExampleHasEveryField(t *testing.T) {
	all := everything(t)
	for _, d := range api.Definitions() {
		if d.GetName() != "applications.argoproj.io" {
			continue
		}
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		root, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
		for _, part := range []string{"spec", "operation", "status"} {
			schema := root["properties"].(map[string]any)[part].(map[string]any)
			for _, missing := range absent(schema, all[part], part) {
				t.Errorf("testdata/everything.yaml has no %s", missing)
			}
		}
	}
}

// absent are the fields of a schema that a value does not have.
func absent(schema map[string]any, value any, path string) (missing []string) {
	if items, ok := schema["items"].(map[string]any); ok {
		list, _ := value.([]any)
		if len(list) == 0 {
			return []string{path}
		}
		return absent(items, list[0], path+"[]")
	}
	properties, _ := schema["properties"].(map[string]any)
	m, _ := value.(map[string]any)
	for name, p := range properties {
		if _, ok := m[name]; !ok {
			missing = append(missing, path+"."+name)
			continue
		}
		missing = append(missing, absent(p.(map[string]any), m[name], path+"."+name)...)
	}
	slices.Sort(missing)
	return missing
}

// The server keeps what is beside the fields, wherever it is, for the dialect to
// name it; and it has no status subresource, since clients write both at once.
func TestNothingIsDropped(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	ns := env.Namespace(t)
	u := &unstructured.Unstructured{Object: everything(t)}
	u.SetNamespace(ns)
	for _, at := range [][]string{
		{"spec"}, {"spec", "source"}, {"spec", "source", "kustomize"}, {"spec", "syncPolicy", "automated"}, {"operation", "sync"}, {"status"}, {"status", "sync"},
		{"status", "operationState", "operation", "sync"},
	} {
		if err := unstructured.SetNestedField(u.Object, "x", append(at, "fromTheFuture")...); err != nil {
			t.Fatal(err)
		}
	}
	want := u.DeepCopy()
	if err := env.Client.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(api.ApplicationKind)
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(u), live); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"spec", "operation", "status"} {
		if diff := cmp.Diff(want.Object[part], live.Object[part]); diff != "" {
			t.Errorf("%s: -written +read:\n%s", part, diff)
		}
	}
	generation := live.GetGeneration()
	live.Object["status"].(map[string]any)["controllerNamespace"] = "elsewhere"
	if err := env.Client.Update(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if now, _, _ := unstructured.NestedString(live.Object, "status", "controllerNamespace"); now != "elsewhere" || live.GetGeneration() == generation {
		t.Errorf("the status was not written with the rest: it says %q, generation %d after %d", now, live.GetGeneration(), generation)
	}
}

func TestKubectlKnowsTheShortNamesAndColumns(t *testing.T) {
	env := kubetest.Start(t)
	env.CRDs(t)
	ns := env.Namespace(t)
	if _, err := env.Kubectl(t.Context(), `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: a}, spec: {project: p, destination: {}}}`, "apply", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"app": "NAME SYNC STATUS HEALTH STATUS a", "apps": "NAME SYNC STATUS HEALTH STATUS a",
		"applications -o wide": "NAME SYNC STATUS HEALTH STATUS REVISION PROJECT a p",
	} {
		kubetest.Eventually(t, 20*time.Second, func() error { // discovery may lag behind
			out, err := env.Kubectl(t.Context(), "", append(strings.Fields("get "+args), "-n", ns)...)
			if err != nil {
				return err
			}
			if got := strings.Join(strings.Fields(out), " "); got != want {
				t.Errorf("%s: %q; want %q", args, got, want)
			}
			return nil
		})
	}
}

// What a spec can hold is honoured or refused, and docs/argocd.md says which.
func TestEveryFieldOfTheSpecIsInTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/argocd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## Application\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, d := range api.Definitions() {
		kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
		if kind != "Application" {
			continue
		}
		versions, _, _ := unstructured.NestedSlice(d.Object, "spec", "versions")
		spec, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
		if err != nil || len(spec) == 0 {
			t.Fatalf("the definition has no spec: %v", err)
		}
		source := spec["source"].(map[string]any)["properties"].(map[string]any)
		policy := spec["syncPolicy"].(map[string]any)["properties"].(map[string]any)
		for prefix, fields := range map[string]map[string]any{"": spec, "source.": source, "syncPolicy.": policy} {
			for name := range fields {
				if !strings.Contains(section, "`"+prefix+name+"`") && !strings.Contains(section, "`"+name+"`") && (prefix != "" || name != "syncPolicy") {
					t.Errorf("spec.%s%s has no row in docs/argocd.md", prefix, name)
				}
			}
		}
	}
}
