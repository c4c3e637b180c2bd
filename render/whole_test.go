package render_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// awkward are values that mean something to YAML.
var awkward = []string{
	"S3cret #1!", "!qaz2wsx", "!!str x", "&amp5678", "*star", "#hash12", "null", "~", "Null", "%x", "@x", "`x", "|x", ">x", "| x", "a: b", "a:", ": b", "- x", "-", "? x", "{a: b}", "{}", "{",
	"}", "[", "]", "[a", "[{a: b}]", "[[1]]", "[a] # b", "a]", ",a", "yes", "no", "on", "off", "y", "n", "Yes", "0123456", "007", "1e10", "12e4567", "1E5", "0x1f", "0o17", "0b1", "1_000", "+5", ".5", "5.",
	"1.0", "1.10", "1.50", "-0", ".inf", ".nan", "1:30", "2001-01-01", "12345678901234567890", "9223372036854775808", "\"quoted\"", "'quoted'", "\"", "'", "''", "a\"b", "a'b", `back\slash`, `\n`, `\u0041`, `\`,
	" leading", "trailing ", "\ttab", "a\tb", "---", "...", "--- a", "<<", "=", "${nested}", "$$", "$x", "${", "a\nb", "-----BEGIN X-----\nabc\n-----END X-----", "a\u2028b", "a\u0085b", "a\rb", "é😀", "1,2", "80, 443", "a b", "a  b",
	"!!binary aGk=", "!", "&a x", "* x", "\\", "%YAML 1.2", "a # b", "http://x:80/#y", "true story", "{\"json\": [1, \"a\"]}",
}

// A value is never less than it was, nor something else, wherever its variable
// stands: in the place of a text, inside of one, in quotes or not.
func TestAValueStaysWhole(t *testing.T) {
	manifest := `
apiVersion: v1
kind: Secret
metadata:
  name: s
  labels: {l: "${v}"}
  annotations: {whole: "${v}", within: "pre-${v}-post"}
stringData:
  plain: ${v}
  quoted: "${v}"
  single: '${v}'
  within: pre-${v}-post
  start: ${v}-post
  end: pre-${v}
  spaced: "a ${v} b"
  colon: "a: ${v}"
  hash: "a #${v}"
  twice: ${v}${v}
  block: |
    x ${v}
    y
  folded: >-
    ${v}
  default: ${v:=d}
  dash: ${v:-d}
  nested: ${none:=${v}}
  forced: ${q}${v}${q}
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: t}
spec:
  plain: ${v}
  quoted: "${v}"
  list: ["${v}", "x-${v}"]
  deep: {deeper: [{value: "${v}"}]}
  url: postgres://u:${v}@db/x
  forced: ${q}${v}${q}
  kept: [0123, 1.50, "yes", "null", 2001-01-01, "# x"]
`
	for _, v := range awkward {
		o := options{Path: "apps", Substitute: &render.Substitution{Strict: true, Vars: map[string]string{"v": v, "q": `"`}}}
		r, err := objects(t.Context(), tree.FromFiles(files("apps/a.yaml", manifest)), o)
		if err != nil {
			t.Errorf("%q: %v", v, err)
			continue
		}
		set, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		secret, thing := set[0].Object, set[1].Object
		data := secret["stringData"].(map[string]any)
		meta := secret["metadata"].(map[string]any)
		spec := thing["spec"].(map[string]any)
		for where, c := range map[string]struct{ got, want any }{
			"a label":                     {meta["labels"].(map[string]any)["l"], v},
			"an annotation":               {meta["annotations"].(map[string]any)["whole"], v},
			"within an annotation":        {meta["annotations"].(map[string]any)["within"], "pre-" + v + "-post"},
			"plain":                       {data["plain"], v},
			"quoted":                      {data["quoted"], v},
			"in single quotes":            {data["single"], v},
			"within a text":               {data["within"], "pre-" + v + "-post"},
			"at the start":                {data["start"], v + "-post"},
			"at the end":                  {data["end"], "pre-" + v},
			"between spaces":              {data["spaced"], "a " + v + " b"},
			"behind a colon":              {data["colon"], "a: " + v},
			"behind a hash":               {data["hash"], "a #" + v},
			"twice":                       {data["twice"], v + v},
			"in a block":                  {data["block"], "x " + v + "\ny\n"},
			"in a folded block":           {data["folded"], v},
			"with a default":              {data["default"], v},
			"with another":                {data["dash"], v},
			"as a default":                {data["nested"], v},
			"with quotes of a variable":   {data["forced"], v},
			"in a resource":               {spec["plain"], v},
			"in quotes in a resource":     {spec["quoted"], v},
			"in a list":                   {spec["list"].([]any)[0], v},
			"in a text in a list":         {spec["list"].([]any)[1], "x-" + v},
			"deep down":                   {spec["deep"].(map[string]any)["deeper"].([]any)[0].(map[string]any)["value"], v},
			"in a URL":                    {spec["url"], "postgres://u:" + v + "@db/x"},
			"with quotes in the resource": {spec["forced"], v},
		} {
			if c.got != c.want {
				t.Errorf("%q %s is %#v", v, where, c.got)
			}
		}
		if kept, _ := json.Marshal(spec["kept"]); string(kept) != `[83,1.5,"yes","null","2001-01-01T00:00:00Z","# x"]` {
			t.Errorf("%q changed others: %s", v, kept)
		}
	}
}

// What people rely on: a number is a number, also in quotes, as Kustomize has
// taken those off before; and so are booleans and lists.
func TestANumberIsANumberExceptWhereOnlyTextCanBe(t *testing.T) {
	for v, want := range map[string]string{
		"3": "3", "-3": "-3", "0": "0", "1.5": "1.5", "true": "true", "false": "false", "[80, 443]": "[80,443]", "[a, \"5\", true, 1.50]": `["a","5",true,"1.50"]`, "[]": "[]",
	} {
		o := options{Path: "apps", Substitute: &render.Substitution{Strict: true, Vars: map[string]string{"v": v, "q": `"`}}}
		manifest := "apiVersion: v1\nkind: %s\nmetadata:\n  name: a\n  labels: {l: \"${v}\"}\n  annotations: {a: \"${v}\"}\ndata:\n  plain: ${v}\n  quoted: \"${v}\"\n  forced: ${q}${v}${q}\nspec: {template: {metadata: {labels: {l: \"${v}\"}}}}\n"
		for kind, typed := range map[string]bool{"Thing": true, "ConfigMap": false, "Secret": false} {
			manifest := manifest
			if kind == "Secret" {
				manifest = strings.Replace(manifest, "\ndata:", "\nstringData:", 1)
			}
			text := fmt.Sprintf(manifest, kind)
			if typed {
				text = strings.Replace(text, "apiVersion: v1", "apiVersion: example.com/v1", 1)
			}
			set, err := mustRender(t, files("apps/a.yaml", text), o).Objects()
			if err != nil {
				t.Fatal(err)
			}
			data, ok := set[0].Object["data"].(map[string]any)
			if !ok {
				data = set[0].Object["stringData"].(map[string]any)
			}
			for _, key := range []string{"plain", "quoted"} {
				got, _ := json.Marshal(data[key])
				if typed && string(got) != want {
					t.Errorf("%s of a %s is %s, want %s", key, kind, got, want)
				}
				if !typed && data[key] != v {
					t.Errorf("%s of a %s is %s, want the text %q", key, kind, got, v)
				}
			}
			if data["forced"] != v || set[0].GetLabels()["l"] != v || set[0].GetAnnotations()["a"] != v {
				t.Errorf("%s: %v", v, set[0].Object)
			}
			template := set[0].Object["spec"].(map[string]any)["template"].(map[string]any)["metadata"].(map[string]any)["labels"].(map[string]any)
			if template["l"] != v {
				t.Errorf("the label of a template is %#v", template["l"])
			}
		}
	}
}

func TestNewlinesAroundAValueAreNotPartOfIt(t *testing.T) {
	o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"v": "\naz-1a\r\n", "n": "5\n", "empty": "", "list": "[a,\n  b]\n"}}}
	set, err := mustRender(t, files("apps/a.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a, labels: {zone: \"${v}\", none: \"${empty}\"}}\nspec: {n: \"${n}\", empty: \"${empty}\", list: \"${list}\", default: \"${x:=\\\"5\\\"}\", none: \"${x:=null}\"}\n"), o).Objects()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(set[0].Object)
	if want := `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"labels":{"none":"","zone":"az-1a"},"name":"a"},"spec":{"default":"5","empty":null,"list":["a","b"],"n":5,"none":null}}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestKeysStayWholeToo(t *testing.T) {
	for _, v := range awkward {
		o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"v": v}}}
		r, err := objects(t.Context(), tree.FromFiles(files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x-${v}: whole\n  ${v}: part\n")), o)
		if err != nil {
			t.Errorf("%q: %v", v, err)
			continue
		}
		set, err := r.Objects()
		if err != nil {
			t.Fatal(err)
		}
		data := set[0].Object["data"].(map[string]any)
		if data["x-"+v] != "whole" || data[v] != "part" || len(data) != 2 {
			t.Errorf("%q: %v", v, data)
		}
	}
	// Two keys that become one.
	o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"v": "canary", "w": "canary"}}}
	err := refused(t, files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {\"${v}\": a, \"${w}\": b}\n"), o, "BuildFailed", "ConfigMap/a", "data.${w}")
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("%v gives a value away", err)
	}
}

func TestWhatASubstitutionWouldWriteIsCountedBefore(t *testing.T) {
	big := strings.Repeat("x", 900_000)
	o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"A": big, "B": big + "y"}}}
	thing := func(text string) map[string]string {
		return files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: \""+text+"\"\n")
	}
	refused(t, thing(strings.Repeat("${A}", 13_000)), o, "ManifestTooLarge", "ConfigMap/a")
	refused(t, thing("${A//x/${B}}"), o, "ManifestTooLarge", "ConfigMap/a")
	refused(t, thing("${A##*y}"), o, "ManifestTooLarge", "ConfigMap/a")
	refused(t, thing("${none:="+strings.Repeat("${A}", 13_000)+"}"), o, "ManifestTooLarge", "ConfigMap/a")
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a%d}\ndata: {k: \"${A}${A}\"}\n", i)
	}
	refused(t, files("apps/a.yaml", many), o, "ManifestTooLarge")
}

func TestABadDefaultSaysWhatWorks(t *testing.T) {
	o := options{Path: "apps", Substitute: &render.Substitution{Vars: map[string]string{"v": "x"}}}
	_, err := objects(t.Context(), tree.FromFiles(files("apps/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: \"${none:=*x}\"}\n")), o)
	if f := fault.Of(err); err == nil || f.Next != fault.Stall || !strings.Contains(err.Error(), `ConfigMap/a`) || !strings.Contains(err.Error(), `${name:="text"}`) {
		t.Errorf("%v", err)
	}
}

// Where the schema of a kind of Kubernetes takes text and nothing else, a
// number is text; where it takes a number, or either, it is one.
func TestASchemaSaysWhereANumberIsText(t *testing.T) {
	o := options{Path: "apps", Substitute: &render.Substitution{Strict: true, Vars: map[string]string{"n": "8080", "b": "true", "list": "[\"5\", x]"}}}
	set, err := mustRender(t, files("apps/a.yaml", `apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  replicas: ${n}
  paused: ${b}
  template:
    spec:
      nodeSelector: {n: "${n}"}
      hostNetwork: ${b}
      containers:
      - name: c
        image: ${n}
        args: ["${n}", "${b}"]
        command: ${list}
        env: [{name: N, value: "${n}"}, {name: B, value: "${b}"}]
        ports: [{containerPort: "${n}"}]
        resources: {limits: {cpu: "${n}"}}
        livenessProbe: {httpGet: {port: "${n}", path: "${n}"}}
---
apiVersion: example.com/v1
kind: Deployment
metadata: {name: b}
spec: {value: "${n}"}
`), o).Objects()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(set[0].Object["spec"])
	want := `{"paused":true,"replicas":8080,"template":{"spec":{"containers":[{"args":["8080","true"],"command":["5","x"],` +
		`"env":[{"name":"N","value":"8080"},{"name":"B","value":"true"}],"image":"8080","livenessProbe":{"httpGet":{"path":"8080","port":8080}},` +
		`"name":"c","ports":[{"containerPort":8080}],"resources":{"limits":{"cpu":"8080"}}}],"hostNetwork":true,"nodeSelector":{"n":"8080"}}}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, _ := json.Marshal(set[1].Object["spec"]); string(got) != `{"value":8080}` {
		t.Errorf("of a kind that nobody knows: %s", got)
	}
}
