package argocd

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/render/detect"
)

// Every field of a section is one that the renderer has, and it gets all of them.
func TestSectionsAreHandedOverAsAWhole(t *testing.T) {
	for name, text := range map[string]string{
		"kustomize": `{"namePrefix":"a","nameSuffix":"b","images":["i"],"commonLabels":{"a":"b"},"version":"v","commonAnnotations":{"a":"b"},"forceCommonLabels":true,` +
			`"forceCommonAnnotations":true,"namespace":"n","commonAnnotationsEnvsubst":true,"replicas":[{"name":"a","count":"3"}],"patches":[{"path":"p","patch":"q","target":` +
			`{"group":"g","version":"v","kind":"k","name":"n","namespace":"s","annotationSelector":"a","labelSelector":"l"},"options":{"a":true}}],"components":["c"],` +
			`"ignoreMissingComponents":true,"labelWithoutSelector":true,"kubeVersion":"1","apiVersions":["v1"],"labelIncludeTemplates":true}`,
		"helm": `{"valueFiles":["a"],"ignoreMissingValueFiles":true,"values":"v","valuesObject":{"a":{"b":1}},"parameters":[{"name":"a","value":"b","forceString":true}],` +
			`"fileParameters":[{"name":"a","path":"b"}],"releaseName":"r","namespace":"n","skipCrds":true,"skipTests":true,"skipSchemaValidation":true,"kubeVersion":"1",` +
			`"apiVersions":["v1"],"version":"v3","passCredentials":true}`,
		"directory": `{"recurse":true,"jsonnet":{"extVars":[{"name":"a","value":"b","code":true}],"tlas":[{"name":"a","value":"b","code":true}],"libs":["l"]},` +
			`"exclude":"a","include":"b","disableExtensionFilter":true}`,
	} {
		var s api.Source
		if err := json.Unmarshal([]byte(`{"`+name+`":`+text+`}`), &s); err != nil {
			t.Fatal(err)
		}
		b, err := dialect.builder(read(app(t, spec(""))), s, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(b.(detect.Options).Sections)
		if err != nil {
			t.Fatal(err)
		}
		var have, want map[string]any
		if err := json.Unmarshal(got, &have); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(`{"`+name+`":`+text+`}`), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: -written +handed over\n%s", name, diff)
		}
	}
}

func TestWhatASourceIsBuiltWith(t *testing.T) {
	a := read(app(t, spec("")+"\nmetadata: {name: web, namespace: team}"))
	b, err := dialect.builder(a, a.sources()[0], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := b.(detect.Options)
	want := map[string]string{
		"ARGOCD_APP_NAME": "web", "ARGOCD_APP_NAMESPACE": "shop", "ARGOCD_APP_PROJECT_NAME": "default", "ARGOCD_APP_SOURCE_PATH": "web",
		"ARGOCD_APP_SOURCE_REPO_URL": "https://git.example.com/shop.git", "ARGOCD_APP_SOURCE_TARGET_REVISION": "",
	}
	if !maps.Equal(d.Env.Vars, want) || len(d.Env.Revision) != 3 || d.Overrides[1] != ".argocd-source-team_web.yaml" || d.Directory != nil || d.Kustomize != nil {
		t.Errorf("%+v", d)
	}
}
