package helm_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/helm"
	"plumb.dev/plumb/tree"
)

const chartYAML = "apiVersion: v2\nname: shop\nversion: 1.2.3\n"

// settings is a ConfigMap that shows the values of a chart.
const settings = `apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}"}
data:
  values: {{ .Values | toJson | quote }}
`

// built renders the chart in the directory chart of files.
func built(t *testing.T, files map[string]string, o helm.Options, cluster *render.Cluster) (render.Built, error) {
	t.Helper()
	if o.Release.Name == "" {
		o.Release = helm.Release{Name: "web", Namespace: "apps"}
	}
	all := map[string]string{"chart/Chart.yaml": chartYAML}
	for name, content := range files {
		if content == "" {
			delete(all, name)
			continue
		}
		all[name] = content
	}
	return o.Build(t.Context(), render.Input{Tree: tree.FromFiles(all), Dir: "chart", Cluster: cluster, Revision: func() string { return "abc" }})
}

func mustBuild(t *testing.T, files map[string]string, o helm.Options) render.Built {
	t.Helper()
	b, err := built(t, files, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func names(b render.Built) (all []string) {
	for _, u := range b.Objects {
		all = append(all, u.GetKind()+"/"+u.GetName())
	}
	return all
}

func data(t *testing.T, u *unstructured.Unstructured, key string) string {
	t.Helper()
	text, _, err := unstructured.NestedString(u.Object, "data", key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTheVersionNamesWhatDecides(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"helm.sh/helm/v4", "github.com/Masterminds/sprig/v3", "github.com/santhosh-tekuri/jsonschema/v6", "github.com/bmatcuk/doublestar/v4"} {
		i := slices.IndexFunc(mod.Require, func(r *modfile.Require) bool { return r.Mod.Path == path })
		if i < 0 || !strings.Contains(helm.Options{}.Version(), "/"+mod.Require[i].Mod.Version) {
			t.Errorf("the version %q does not name that of %s in go.mod", helm.Options{}.Version(), path)
		}
	}
}

func TestLaterValuesWin(t *testing.T) {
	files := map[string]string{
		"chart/templates/settings.yaml": settings,
		"chart/values.yaml":             "a: chart\nb: chart\nc: chart\nd: chart\ne: {f: 1, g: 2}\nnone: 1\n",
		"envs/10.yaml":                  "b: ten\nc: ten\nd: ten\n",
		"envs/9.yaml":                   "b: nine\n",
		"envs/below/0.yaml":             "c: below\n",
		"last.yaml":                     "d: last\n",
		"text.txt":                      "a text,\nof two lines",
	}
	b := mustBuild(t, files, helm.Options{
		Values: []helm.Values{
			{File: "envs/**/*.yaml", Pattern: true, As: "all"}, {File: "last.yaml", As: "last"}, {File: "gone.yaml", As: "gone"},
			{Text: "e: {f: 3}\nnone: null", As: "text"},
		},
		IgnoreMissingFiles: true,
		Parameters: []helm.Parameter{
			{Name: "list[1].x", File: "text.txt"}, {Name: "port", Value: "080", Text: true}, {Name: "port", Value: "80"}, {Name: "hosts", Value: "{a,b}"}, {Name: "on", Value: "true"},
		},
	})
	want := `{"a":"chart","b":"nine","c":"below","d":"last","e":{"f":3,"g":2},"hosts":["a","b"],"list":[null,{"x":"a text,\nof two lines"}],"on":true,"port":"080"}`
	if diff := cmp.Diff(want, data(t, b.Objects[0], "values")); diff != "" {
		t.Error("values (-want +got):", diff)
	}
}

func TestWhatIsNamedOutrightIsWhereItIsNamed(t *testing.T) {
	b := mustBuild(t, map[string]string{"chart/templates/s.yaml": settings, "a.yaml": "x: a", "b.yaml": "x: b"}, helm.Options{
		Values: []helm.Values{{File: "*.yaml", Pattern: true, As: "all"}, {File: "a.yaml", As: "a"}},
	})
	if got := data(t, b.Objects[0], "values"); got != `{"x":"a"}` {
		t.Errorf("values are %s, where a.yaml is the last layer", got)
	}
}

func TestWhatIsWrongSaysWhereAndWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		o       helm.Options
		cluster *render.Cluster
		want    []string
	}{
		"no chart":           {map[string]string{"chart/Chart.yaml": "", "chart/x": "x"}, helm.Options{}, nil, []string{"chart: a chart has a file Chart.yaml, which does not exist"}},
		"a name that climbs": {map[string]string{"chart/Chart.yaml": "apiVersion: v2\nname: ..\nversion: 1.0.0"}, helm.Options{}, nil, []string{"chart"}},
		"null dependency":    {map[string]string{"chart/Chart.yaml": chartYAML + "dependencies: [null]"}, helm.Options{}, nil, []string{"chart"}},
		"a library":          {map[string]string{"chart/Chart.yaml": chartYAML + "type: library"}, helm.Options{}, nil, []string{"chart/Chart.yaml", "type library"}},
		"a missing dependency": {map[string]string{"chart/Chart.yaml": chartYAML + "dependencies: [{name: db, version: 1.x, repository: 'https://me:pass@charts.example/x'}]"}, helm.Options{}, nil,
			[]string{"chart/Chart.yaml", "db 1.x of https://charts.example/x", "helm dependency build chart"}},
		"a dependency outside": {map[string]string{"chart/Chart.yaml": chartYAML + "dependencies: [{name: db, version: 1.x, repository: 'file://../../db'}]"}, helm.Options{}, nil,
			[]string{"chart/Chart.yaml", "leads out of the source"}},
		"values that are none": {nil, helm.Options{Values: []helm.Values{{Text: "- a", As: "helm.values"}}}, nil, []string{"helm.values"}},
		"a file that is missing": {nil, helm.Options{Values: []helm.Values{{File: "x.yaml", As: `helm.valueFiles[0] "x.yaml"`}}}, nil,
			[]string{`helm.valueFiles[0] "x.yaml": open x.yaml: no such file or directory`}},
		"a link out":          {map[string]string{"v.yaml": "-> /etc/passwd"}, helm.Options{Values: []helm.Values{{File: "v.yaml", As: "v"}}}, nil, []string{"v.yaml", "leads out"}},
		"a link in the chart": {map[string]string{"chart/files/x": "-> ../../../x"}, helm.Options{}, nil, []string{"leads out"}},
		"a template":          {map[string]string{"chart/templates/a.yaml": "a: 1\nb: {{ .Values.x.y.z }}"}, helm.Options{}, nil, []string{"shop/templates/a.yaml:2"}},
		"fail":                {map[string]string{"chart/templates/a.yaml": `{{ fail "set host" }}`}, helm.Options{}, nil, []string{"shop/templates/a.yaml:1", "set host"}},
		"no YAML":             {map[string]string{"chart/templates/a.yaml": "a: b: c"}, helm.Options{}, nil, []string{"templates/a.yaml", "YAML"}},
		"no object":           {map[string]string{"chart/templates/a.yaml": "- a"}, helm.Options{}, nil, []string{"templates/a.yaml"}},
		"another Kubernetes":  {map[string]string{"chart/Chart.yaml": chartYAML + "kubeVersion: '>=1.99'"}, helm.Options{}, render.NewCluster("v1.34.1", nil), []string{"chart/Chart.yaml", ">=1.99", "v1.34.1"}},
		"a schema": {map[string]string{"chart/values.schema.json": `{"required": ["host"]}`}, helm.Options{}, nil,
			[]string{"chart", "host"}},
		"a schema elsewhere": {map[string]string{"chart/values.schema.json": `{"properties": {"a": {"$ref": "https://example.com/a.json#/x"}}}`}, helm.Options{}, nil,
			[]string{"chart/values.schema.json", "https://example.com/a.json", "fetches nothing"}},
		"a release":   {nil, helm.Options{Release: helm.Release{Name: strings.Repeat("a", 54)}}, nil, []string{"aaaa", "release"}},
		"a parameter": {nil, helm.Options{Parameters: []helm.Parameter{{Name: "a[x]", Value: "1"}}}, nil, []string{"the parameter a[x]"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := built(t, c.files, c.o, c.cluster)
			if err == nil {
				t.Fatal("it was rendered")
			}
			if needs := (*render.Needs)(nil); errors.As(err, &needs) {
				err = needs.Fault()
			}
			f := (*fault.Error)(nil)
			if !errors.As(err, &f) || f.Next != fault.Stall {
				t.Fatalf("%v is no stall", err)
			}
			for _, part := range c.want {
				if text := err.Error() + " " + f.Hint; !strings.Contains(text, part) {
					t.Errorf("%q does not say %q", text, part)
				}
			}
			if strings.Contains(err.Error()+f.Hint, "pass") && strings.Contains(name, "dependency") {
				t.Errorf("%v shows a password", err)
			}
		})
	}
}

func TestADependencyElsewhereInTheSource(t *testing.T) {
	b := mustBuild(t, map[string]string{
		"chart/Chart.yaml":       chartYAML + "dependencies: [{name: db, version: 1.x, repository: 'file://../lib/db', alias: main}]",
		"lib/db/Chart.yaml":      "apiVersion: v2\nname: db\nversion: 1.4.0\n",
		"lib/db/values.yaml":     "size: 1\n",
		"lib/db/templates/a.yml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {values: '{{ .Values.size }}'}",
	}, helm.Options{Values: []helm.Values{{Text: "main: {size: 5}"}}})
	if got := data(t, b.Objects[0], "values"); got != "5" {
		t.Errorf("the value of the dependency is %q", got)
	}
}

// A chart that is to be had elsewhere is asked for in the version that the lock says,
// if that is one that is wanted.
func TestADependencyElsewhereIsNeeded(t *testing.T) {
	const dependencies = "dependencies: [{name: db, version: 1.x, repository: 'https://charts.example/x', alias: main}]\n"
	for name, c := range map[string]struct{ lock, want string }{
		"no lock":       {"", "1.x"},
		"a lock":        {"dependencies: [{name: db, version: 1.2.3, repository: 'https://charts.example/x'}]", "1.2.3"},
		"an old lock":   {"dependencies: [{name: db, version: 0.9.0, repository: 'https://charts.example/x'}]", "1.x"},
		"another place": {"dependencies: [{name: db, version: 1.2.3, repository: 'https://charts.example/y'}]", "1.x"},
	} {
		files := map[string]string{"chart/Chart.yaml": chartYAML + dependencies}
		if c.lock != "" {
			files["chart/Chart.lock"] = c.lock
		}
		_, err := built(t, files, helm.Options{}, nil)
		var needs *render.Needs
		if !errors.As(err, &needs) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := []render.Need{{By: "chart/Chart.yaml", At: "chart/charts/main", Name: "db", Version: c.want, Repository: "https://charts.example/x"}}
		if diff := cmp.Diff(want, needs.All); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	b := mustBuild(t, map[string]string{
		"chart/Chart.yaml": chartYAML + dependencies, "chart/values.yaml": "main: {size: 5}", "chart/charts/main/Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.4.0\n",
		"chart/charts/main/templates/a.yml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {values: '{{ .Values.size }}'}",
	}, helm.Options{})
	if got := data(t, b.Objects[0], "values"); got != "5" {
		t.Errorf("once it is there, its value is %q", got)
	}
}

func TestOrderAndWhatIsLeftOut(t *testing.T) {
	files := map[string]string{
		"chart/crds/a.yaml":            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.example.com}\n",
		"chart/templates/1.yaml":       "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {a: x, a: y}}\n",
		"chart/templates/hook.yaml":    "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, annotations: {helm.sh/hook: pre-install}}\n",
		"chart/templates/test.yaml":    "apiVersion: v1\nkind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n",
		"chart/templates/odd.yaml":     "apiVersion: v1\nkind: Pod\nmetadata: {name: odd, annotations: {helm.sh/hook: crd-install}}\n",
		"chart/templates/NOTES.txt":    "Enjoy {{ .Release.Name }}",
		"chart/templates/_part.tpl":    "{{ define \"x\" }}{{ end }}",
		"chart/.helmignore":            "templates/ignored.yaml\n",
		"chart/templates/ignored.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: ignored}\n",
	}
	b := mustBuild(t, files, helm.Options{})
	if diff := cmp.Diff([]string{"CustomResourceDefinition/a.example.com", "ConfigMap/c", "Service/s", "Pod/t", "Job/j"}, names(b)); diff != "" {
		t.Error("objects (-want +got):", diff)
	}
	want := []string{
		"chart/templates/1.yaml: a key is set twice in ConfigMap c, and the last one counts",
		`chart/templates/odd.yaml: Pod odd is left out, since Helm knows no hook "crd-install"`,
	}
	if diff := cmp.Diff(want, b.Warnings); diff != "" {
		t.Error("warnings (-want +got):", diff)
	}
	b = mustBuild(t, files, helm.Options{SkipCRDs: true, SkipTests: true})
	if diff := cmp.Diff([]string{"ConfigMap/c", "Service/s", "Job/j"}, names(b)); diff != "" {
		t.Error("objects (-want +got):", diff)
	}
}

func TestWhatIsAskedOfTheClusterIsKnown(t *testing.T) {
	cluster := render.NewCluster("v1.34.1", []string{"apps/v1", "monitoring.coreos.com/v1/ServiceMonitor", "v1"})
	for name, c := range map[string]struct {
		template string
		o        helm.Options
		want     string
		asked    render.Asked
	}{
		"nothing":    {`x`, helm.Options{}, "x", render.Asked{}},
		"version":    {`{{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.KubeVersion.Minor }} {{ .Capabilities.KubeVersion }}`, helm.Options{}, "v1.34.1 34 v1.34.1", render.Asked{Version: true}},
		"kinds":      {`{{ .Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor" }} {{ .Capabilities.APIVersions.Has "x/v1" }}`, helm.Options{}, "true false", render.Asked{APIs: true}},
		"all kinds":  {`{{ range .Capabilities.APIVersions }}{{ . }} {{ end }}`, helm.Options{}, "apps/v1 monitoring.coreos.com/v1/ServiceMonitor v1 ", render.Asked{APIs: true}},
		"everything": {`{{ (.Capabilities | toJson | fromJson).KubeVersion.Version }}`, helm.Options{}, "v1.34.1", render.Asked{Version: true, APIs: true}},
		"said":       {`{{ .Capabilities.KubeVersion.Version }} {{ .Capabilities.APIVersions.Has "x/v1" }}`, helm.Options{KubeVersion: "1.30.0", APIVersions: []string{"x/v1"}}, "v1.30.0 true", render.Asked{}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := built(t, map[string]string{"chart/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '" + c.template + "'}"}, c.o, cluster)
			if err != nil {
				t.Fatal(err)
			}
			if got := data(t, b.Objects[0], "x"); got != c.want || b.Asked != c.asked {
				t.Errorf("it gives %q and has asked %+v, want %q and %+v", got, b.Asked, c.want, c.asked)
			}
		})
	}
}

func TestWhatIsRandomVaries(t *testing.T) {
	b := mustBuild(t, map[string]string{
		"chart/templates/a.yaml": `apiVersion: v1
kind: Secret
metadata: {name: a}
stringData: {user: admin, "pass/word": "{{ randAlphaNum 20 }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "job-{{ randAlphaNum 8 | lower }}"}
`,
	}, helm.Options{})
	want := []render.Varying{{Ref: object.Ref{Kind: "Secret", Name: "a"}, Pointers: []string{"/stringData/pass~1word"}}}
	if diff := cmp.Diff(want, b.Varies); diff != "" {
		t.Error("what varies (-want +got):", diff)
	}
	if len(b.Warnings) != 1 || !strings.Contains(b.Warnings[0], "another one each time") {
		t.Errorf("warnings are %q", b.Warnings)
	}
}

func TestNothingIsLookedUp(t *testing.T) {
	b := mustBuild(t, map[string]string{
		"chart/templates/a.yaml": `{{ if lookup "v1" "Secret" "apps" "x" }}{{ fail "found" }}{{ end }}apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {x: '{{ getHostByName "localhost" }}'}`,
	}, helm.Options{})
	if got := data(t, b.Objects[0], "x"); got != "" {
		t.Errorf("a name was looked up: %q", got)
	}
}

func TestARenderThatIsNotWantedEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("not wanted")
	cancel(gone)
	_, err := helm.Options{Release: helm.Release{Name: "a"}}.Build(ctx, render.Input{Tree: tree.FromFiles(map[string]string{"chart/Chart.yaml": chartYAML}), Dir: "chart"})
	if !errors.Is(err, gone) {
		t.Errorf("it says %v", err)
	}
}
