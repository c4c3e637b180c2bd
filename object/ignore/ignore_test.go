package ignore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/ignore"
)

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	b, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = u.UnmarshalJSON(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {a/b: x}, managedFields: [{manager: m}]}
spec: {replicas: 1, template: {spec: {containers: [{name: a, image: i}, {name: b, image: j}]}}}
`

// said is what rules say of an object, as text.
func said(t *testing.T, u *unstructured.Unstructured, rules ...ignore.Rule) string {
	t.Helper()
	r, err := ignore.Compile(rules, ignore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := r.For(u, "shop", nil)
	if f == nil {
		return "nothing"
	}
	paths, managers, err := f.Of(u)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, p := range paths {
		out = append(out, fmt.Sprint(p.Steps))
	}
	for _, m := range managers {
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}

func TestARuleIsAboutTheObjectsItNames(t *testing.T) {
	u := parsed(t, web)
	for _, c := range []struct {
		what string
		rule ignore.Rule
		want bool
	}{
		{"all", ignore.Rule{}, true},
		{"its kind", ignore.Rule{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "shop", Name: "web"}, true},
		{"some kinds", ignore.Rule{Kind: "Deployment|StatefulSet"}, true},
		{"a part of its name", ignore.Rule{Name: "we"}, false},
		{"another group", ignore.Rule{Group: "batch"}, false},
		{"another version", ignore.Rule{Version: "v2"}, false},
		{"another namespace", ignore.Rule{Namespace: "infra"}, false},
		{"its labels", ignore.Rule{Labels: "app in (web, api)"}, true},
		{"other labels", ignore.Rule{Labels: "app!=web"}, false},
		{"its annotations", ignore.Rule{Annotations: "a/b"}, true},
		{"no such annotation", ignore.Rule{Annotations: "!a/b"}, false},
		{"a glob", ignore.Rule{Group: ignore.Glob("*"), Kind: ignore.Glob("Deploy*")}, true},
		{"a glob of another", ignore.Rule{Kind: ignore.Glob("Stateful*")}, false},
		{"exactly", ignore.Rule{Name: ignore.Exactly("web")}, true},
		{"exactly nothing", ignore.Rule{Group: ignore.Exactly("")}, false},
		{"exactly another", ignore.Rule{Name: ignore.Exactly("w.b")}, false},
	} {
		c.rule.Pointers = []string{"/spec/replicas"}
		if got := said(t, u, c.rule) != "nothing"; got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob, text string
		want       bool
	}{
		{"*", "", true}, {"*", "apps.x", true}, {"a?", "ab", true}, {"a?", "a", false}, {"*.io", "x.io", true}, {"*.io", "xxio", false},
		{"[ab]c", "bc", true}, {"[!ab]c", "bc", false}, {"[!ab]c", "cc", true}, {"{a,b*}", "bc", true}, {"{a,b}", "c", false}, {`\*`, "*", true},
		{`\*`, "a", false}, {"", "", true}, {"", "a", false}, {"[", "[", true}, {"a{", "a{", true}, {"a(b", "a(b", true},
	} {
		u := parsed(t, "{apiVersion: v1, kind: X, metadata: {name: n}}")
		u.SetName(c.text)
		if got := said(t, u, ignore.Rule{Name: ignore.Glob(c.glob), Managers: []string{"m"}}) == "m"; got != c.want {
			t.Errorf("%q matches %q: %v", c.glob, c.text, got)
		}
	}
}

func TestWhichFieldsAreMeant(t *testing.T) {
	u := parsed(t, web)
	const containers = "spec template spec containers"
	for _, c := range []struct {
		rule ignore.Rule
		want string
	}{
		{ignore.Rule{Pointers: []string{"/spec/replicas"}}, "[spec replicas]"},
		{ignore.Rule{Pointers: []string{"/metadata/annotations/a~1b", "/metadata/labels/~0"}}, "[metadata annotations a/b] [metadata labels ~]"},
		{ignore.Rule{Pointers: []string{"/spec/template/spec/containers/1/image"}}, "[" + containers + " 1 image]"},
		{ignore.Rule{Pointers: []string{"/spec/template/spec/containers/2", "/spec/template/spec/containers/-", "/spec/template/spec/containers/01", "/spec/replicas/x"}}, ""},
		{ignore.Rule{Pointers: []string{"/spec/none/deep"}}, "[spec none deep]"},
		{ignore.Rule{JQ: []string{".spec.replicas"}}, "[spec replicas]"},
		{ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "b")`}}, "[" + containers + " 1]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.containers[-1].image"}}, "[" + containers + " 1 image]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.containers[:1]"}}, "[" + containers + " 0]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.containers[1:][].image"}}, "[" + containers + " 1 image]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.containers[1:][0:][0].image"}}, "[" + containers + " 1 image]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.containers[5]"}}, ""},
		{ignore.Rule{JQ: []string{`.spec.replicas, .metadata.labels["app"]`}}, "[spec replicas] [metadata labels app]"},
		{ignore.Rule{JQ: []string{".spec.template.spec.initContainers[] | select(.name == \"b\")"}}, ""},
		{ignore.Rule{JQ: []string{".spec.template.spec.initContainers[]?.image # all of them"}}, ""},
		{ignore.Rule{JQ: []string{`.metadata.annotations | with_entries(.)`}}, ""}, // is no path
		{ignore.Rule{JQ: []string{`.spec.replicas, error("x")`}}, ""},
		{ignore.Rule{JQ: []string{`.spec.replicas, halt`}}, "[spec replicas]"},
		{ignore.Rule{JQ: []string{".metadata.managedFields[].manager"}}, ""}, // which are not seen
		{ignore.Rule{Managers: []string{"a", "b"}}, "a b"},
	} {
		if got := said(t, u, c.rule); got != c.want {
			t.Errorf("%+v: %s, want %s", c.rule, got, c.want)
		}
	}
}

func TestNoExpressionSeesTheValuesOfASecret(t *testing.T) {
	u := parsed(t, "{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: secret}}, data: {a: c2VjcmV0}, stringData: {b: secret}}")
	if got := said(t, u, ignore.Rule{JQ: []string{`(.data, .stringData, .metadata.annotations)[] | select(. != "***")`}}); got != "" {
		t.Errorf("it sees %s", got)
	}
	if got := said(t, u, ignore.Rule{JQ: []string{`.data.a`}}); got != "[data a]" {
		t.Errorf("it does not see the fields: %s", got)
	}
}

func TestARuleThatCantBeReadIsNamed(t *testing.T) {
	for _, c := range []struct {
		rule ignore.Rule
		want string
	}{
		{ignore.Rule{Pointers: []string{"spec/replicas"}}, `spec.ignore[1]: "spec/replicas": a JSON pointer begins with /, as in /spec/replicas`},
		{ignore.Rule{Pointers: []string{""}}, "spec.ignore[1]: a JSON pointer that is empty stands for the whole object"},
		{ignore.Rule{Pointers: []string{"/a~2"}}, `in a JSON pointer ~ is written ~0`},
		{ignore.Rule{Pointers: []string{"/" + strings.Repeat("a", 20000)}}, " …\": it is longer than 10000 bytes"},
		{ignore.Rule{JQ: []string{".spec["}}, `spec.ignore[1]: ".spec[": it is no expression of jq: unexpected EOF`},
		{ignore.Rule{JQ: []string{".spec | nothing"}}, `it is no expression of jq: function not defined: nothing/0`},
		{ignore.Rule{JQ: []string{""}}, `it is no expression of jq`},
		{ignore.Rule{JQ: []string{".a) | (.b"}}, `it is no expression of jq`},
		{ignore.Rule{JQ: []string{`import "a" as a; .x`}}, `it is no expression of jq`},
		{ignore.Rule{Kind: "("}, `spec.ignore[1]: "(": the kind: error parsing regexp`},
		{ignore.Rule{Name: strings.Repeat("a", 20000)}, "the name is longer than 10000 bytes"},
		{ignore.Rule{Labels: "a in"}, `spec.ignore[1]: "a in": the label selector: `},
		{ignore.Rule{Annotations: "=a"}, `the annotation selector: `},
		{ignore.Rule{Managers: []string{""}}, "a field manager has no name"},
		{ignore.Rule{Pointers: make([]string, 2000)}, "these are more than 1000 rules"},
	} {
		c.rule.From = "spec.ignore[1]"
		err := ignore.Check([]ignore.Rule{c.rule})
		var e *ignore.Error
		if !errors.As(err, &e) || !e.Unreadable || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// An expression that loops comes to an end; that its memory is bounded too is
// shown where it has a process of its own.
func TestAnExpressionThatLoopsHasNoAnswer(t *testing.T) {
	for x, want := range map[string]error{
		"def f: f; f":          ignore.ErrTime,
		"repeat(.)":            ignore.ErrMany,
		"until(false; .)":      ignore.ErrTime,
		".[range(1000000000)]": ignore.ErrMany,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if errors.Is(want, ignore.ErrTime) {
			cancel() // as when the time is over
		}
		_, err := ignore.Evaluate(ctx, x, []byte("[]"))
		cancel()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", x, err, want)
		}
	}
}

func TestWhatIsSaidInTheSameWordsIsOne(t *testing.T) {
	r, err := ignore.Compile([]ignore.Rule{{Kind: "Deployment", Pointers: []string{"/a"}}, {Name: "b", Pointers: []string{"/b"}}}, ignore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) *unstructured.Unstructured {
		u := parsed(t, web)
		u.SetName(name)
		return u
	}
	a, b, c := r.For(named("a"), "", nil), r.For(named("c"), "", nil), r.For(named("b"), "", nil)
	if a != b || !a.Same(b) || a.Same(c) || a.Same(nil) || (*ignore.Fields)(nil).Same(a) || !(*ignore.Fields)(nil).Same(nil) {
		t.Error("what is said is told apart otherwise")
	}
	own := r.For(named("a"), "", ignore.Annotation(map[string]string{ignore.AnnotationKey: "jsonPointers: [/x]"}, true))
	if own.Same(a) || !own.Applies() || a.Applies() || own.Slow() {
		t.Errorf("what an object says of itself: %v", own)
	}
	other, err := ignore.Compile([]ignore.Rule{{Kind: "D.*", Pointers: []string{"/a"}}}, ignore.Options{})
	if err != nil || !other.For(named("z"), "", nil).Same(a) {
		t.Errorf("the same words of others are others: %v", err)
	}
}

func TestAnnotations(t *testing.T) {
	for _, c := range []struct {
		value string
		want  *ignore.Own
		err   string
	}{
		{"jsonPointers: [/spec/replicas]", &ignore.Own{Rules: []ignore.Rule{{Pointers: []string{"/spec/replicas"}}}}, ""},
		{"jqPathExpressions: ['.a']\nmanagedFieldsManagers: [m]", &ignore.Own{Rules: []ignore.Rule{{JQ: []string{".a"}, Managers: []string{"m"}}}}, ""},
		{"", &ignore.Own{Rules: []ignore.Rule{{}}}, ""},
		{"/spec/replicas", nil, "it has to be YAML with lists jsonPointers"},
		{"pointers: [/a]", nil, `unknown field "pointers"`},
		{"jsonPointers: [a]", nil, "a JSON pointer begins with /"},
		{"jqPathExpressions: ['.[']", nil, "it is no expression of jq"},
		{strings.Repeat("#", 20000), nil, "it is longer than"},
	} {
		got := ignore.Annotation(map[string]string{ignore.AnnotationKey: c.value}, false)
		if c.err != "" {
			if got.Err == nil || !strings.Contains(got.Err.Error(), "annotation plumb.dev/ignore-differences: ") || !strings.Contains(got.Err.Error(), c.err) {
				t.Errorf("%q: %v, want %s", c.value, got.Err, c.err)
			}
			continue
		}
		for i := range c.want.Rules {
			c.want.Rules[i].From = "annotation plumb.dev/ignore-differences"
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", c.value, diff)
		}
	}
	if ignore.Annotation(map[string]string{"other": "x"}, true) != nil {
		t.Error("an object that says nothing does")
	}
	both := ignore.Annotation(map[string]string{"other": "jsonPointers: [/b]", ignore.AnnotationKey: "jsonPointers: [/a]"}, true, "other")
	want := &ignore.Own{Rules: []ignore.Rule{
		{From: "annotation plumb.dev/ignore-differences", Pointers: []string{"/a"}, Apply: true}, {From: "annotation other", Pointers: []string{"/b"}, Apply: true},
	}}
	if diff := cmp.Diff(want, both); diff != "" {
		t.Errorf("two keys: -want +got:\n%s", diff)
	}
	if wrong := ignore.Annotation(map[string]string{"other": "[", ignore.AnnotationKey: ""}, true, "other"); wrong.Err == nil || !strings.Contains(wrong.Err.Error(), "annotation other: ") {
		t.Errorf("one of two is wrong: %v", wrong.Err)
	}
}
