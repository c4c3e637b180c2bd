package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// scopes are the kinds of a cluster: whether each has namespaces.
type scopes map[string]bool

func (s scopes) Mapping(_ context.Context, gvk schema.GroupVersionKind) (*apimeta.RESTMapping, error) {
	namespaced, ok := s[gvk.Kind]
	switch {
	case !ok:
		return nil, &fault.Error{Next: fault.Wait, Reason: fault.UnknownKind, Err: fmt.Errorf("no kind %s", gvk.Kind)}
	case namespaced:
		return &apimeta.RESTMapping{Scope: apimeta.RESTScopeNamespace}, nil
	}
	return &apimeta.RESTMapping{Scope: apimeta.RESTScopeRoot}, nil
}

var usual = scopes{"ConfigMap": true, "Namespace": false}

// manifest is a ConfigMap or whatever else, with a value to tell it by.
func manifest(kind, namespace, name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata: {name: %s, namespace: %q}\ndata: {k: %q}\n", kind, name, namespace, value)
}

func artifact(name, revision string, manifests ...string) *source.Artifact {
	return &source.Artifact{Source: name, Revision: revision, Tree: tree.FromFiles(map[string]string{"all.yaml": strings.Join(manifests, "---\n")})}
}

// madeOf is a unit of some artifacts, one rendering each.
func madeOf(artifacts ...*source.Artifact) Unit {
	u := Unit{Name: "Toy/ns/u", Namespace: "ns", Objects: marked{}, Artifacts: artifacts}
	for i, a := range artifacts {
		u.Sources = append(u.Sources, a.Source)
		u.Renders = append(u.Renders, Rendering{From: i, Options: render.Options{Builder: kustomize.Options{Generate: true}}})
	}
	return u
}

// says lists objects with what tells them.
func says(set object.Set) (all []string) {
	for _, o := range set {
		value, _, _ := unstructured.NestedString(o.Object, "data", "k")
		all = append(all, object.RefOf(o).String()+"="+value)
	}
	return all
}

func TestOfAnObjectOfSeveralSourcesTheLastCounts(t *testing.T) {
	u := madeOf(
		artifact("one", "1", manifest("ConfigMap", "", "a", "one"), manifest("ConfigMap", "", "b", "one"), manifest("Namespace", "", "n", "one")),
		artifact("two", "2", manifest("ConfigMap", "ns", "b", "two"), manifest("ConfigMap", "other", "a", "two"), manifest("Namespace", "", "n", "two")),
		artifact("three", "3", manifest("ConfigMap", "", "b", "three"), manifest("Strange", "", "s", "three")),
	)
	rs, err := Render(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Desired(t.Context(), usual, u, rs)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ConfigMap/ns/a=one", "ConfigMap/other/a=two", "Namespace/n=two", "ConfigMap/ns/b=three", "Strange/s=three"}
	got := says(set)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it is %v, want %v", got, want)
	}
	_, repeated, err := locateAll(t.Context(), usual, u, rs)
	if err != nil || object.Names(repeated, 5) != "Namespace/n, ConfigMap/ns/b" && object.Names(repeated, 5) != "ConfigMap/ns/b, Namespace/n" {
		t.Errorf("repeated are %v, %v", repeated, err)
	}
	for _, o := range set {
		if o.GetLabels()[markOf] != "ns.u" {
			t.Errorf("%s is marked %v", object.RefOf(o), o.GetLabels())
		}
	}
	if u.Revision() != "1 2 3" {
		t.Errorf("its revision is %q", u.Revision())
	}
}

func TestTwiceInOneSourceIsAnErrorUnlessItMayBe(t *testing.T) {
	u := madeOf(artifact("one", "1", manifest("ConfigMap", "", "a", "x"), manifest("ConfigMap", "ns", "a", "y")), artifact("two", "2"))
	rs, err := Render(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Desired(t.Context(), usual, u, rs); !fault.Is(err, fault.BuildFailed) || fault.Of(err).Next != fault.Stall {
		t.Errorf("%v", err)
	}
	u.Renders[0].Repeats = true
	set, err := Desired(t.Context(), usual, u, rs)
	if err != nil || !slices.Equal(says(set), []string{"ConfigMap/ns/a=y"}) {
		t.Errorf("where it may be, it is %v, %v", says(set), err)
	}
}

func TestWhatCannotBeRenderedIsNamed(t *testing.T) {
	u := madeOf(artifact("one", "1", manifest("ConfigMap", "", "a", "x")), artifact("two", "2"))
	u.Renders[1].Path = "none"
	_, err := Render(t.Context(), u)
	if err == nil || !strings.Contains(err.Error(), `render "none" at 2`) {
		t.Errorf("%v", err)
	}
	u.Renders = nil
	if _, err := Render(t.Context(), u); fault.Of(err).Next != fault.Stall || !(Outcome{Err: err}).SpecIsWrong() {
		t.Errorf("nothing to render, which would prune all: %v", err)
	}
}

func TestTheDigestIsOfAllAndTheirOrder(t *testing.T) {
	one, two := artifact("one", "1", manifest("ConfigMap", "", "a", "x")), artifact("two", "2", manifest("ConfigMap", "", "b", "x"))
	digest := func(artifacts ...*source.Artifact) string {
		t.Helper()
		rs, err := Render(t.Context(), madeOf(artifacts...))
		if err != nil {
			t.Fatal(err)
		}
		return rs.Digest()
	}
	alone, err := render.Objects(t.Context(), one.Tree, madeOf(one).Renders[0].Options)
	if err != nil {
		t.Fatal(err)
	}
	if digest(one) != alone.Digest {
		t.Error("that of one source is not what it was before there could be several")
	}
	first, again := digest(one, two), digest(one, two)
	if first == digest(two, one) || first != again || first == digest(one) {
		t.Error("it tells too little, or too much")
	}
}

// What has the revision in it is rendered anew for each, and nothing else is.
func TestARevisionIsLookedAtOrNot(t *testing.T) {
	named := directory.Files{Jsonnet: directory.Jsonnet{ExtVars: []directory.Variable{{Name: "name", Value: "c-$NAME"}}}}
	at := func(revision string) *source.Artifact {
		return &source.Artifact{Source: "one", Revision: revision, Tree: tree.FromFiles(map[string]string{
			"a.jsonnet": "{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: std.extVar('name'), namespace: 'ns' } }",
		})}
	}
	for what, c := range map[string]struct {
		env    detect.Env
		stands bool
		names  []string
	}{
		"the revision":   {detect.Env{Revision: map[string]int{"NAME": 0}}, false, []string{"c-9f2c", "c-0000"}},
		"something else": {detect.Env{Vars: map[string]string{"NAME": "fixed"}}, true, []string{"c-fixed", "c-fixed"}},
	} {
		u := Unit{Name: "Toy/ns/u", Namespace: "ns", Objects: marked{}, Sources: []string{"one"}}
		u.Renders = []Rendering{{Options: render.Options{Builder: detect.Options{Sections: detect.Sections{Directory: &named}, Env: c.env}}}}
		e := units(nil, u)
		for i, revision := range []string{"main@sha1:9f2c", "main@sha1:0000"} {
			a := at(revision)
			if stands := e.stands(u, "one", a, nil); stands != (c.stands && i > 0) {
				t.Errorf("%s, %s: it stands is %v", what, revision, stands)
			}
			u.Artifacts = []*source.Artifact{a}
			rs, err := e.renders(t.Context(), u, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := rs[0].Items[0].Ref.Name; got != c.names[i] || rs[0].Kind != directory.Kind {
				t.Errorf("%s, %s: %s, a %s", what, revision, got, rs[0].Kind)
			}
		}
	}
}

// A commit to one source renders none of the others, and a source that is an
// operation's is never taken for one that changes nothing.
func TestEachRenderingStandsForItself(t *testing.T) {
	one, two := artifact("one", "1", manifest("ConfigMap", "", "a", "x")), artifact("two", "2", manifest("ConfigMap", "", "b", "x"))
	u := madeOf(one, two)
	e := units(nil, u)
	if e.stands(u, "one", one, nil) {
		t.Error("nothing was rendered yet")
	}
	if _, err := e.renders(t.Context(), u, ""); err != nil {
		t.Fatal(err)
	}
	changed := artifact("one", "3", manifest("ConfigMap", "", "a", "y"))
	for _, c := range []struct {
		source string
		a      *source.Artifact
		want   bool
	}{
		{"one", one, true},
		{"two", two, true},
		{"one", changed, false},
		{"two", changed, false}, // it has another file of that name
		{"one at 3", one, false},
	} {
		if got := e.stands(u, c.source, c.a, nil); got != c.want {
			t.Errorf("%s: %v", c.source, got)
		}
	}
	st := e.state(u)
	if _, err := e.render(t.Context(), u, st); err != nil {
		t.Fatal(err)
	}
	e.Forget(u.Name)
	if e.cache.Bytes() != 0 {
		t.Errorf("%d bytes of renders are kept of a unit that is no more", e.cache.Bytes())
	}
}

// other is a second dialect.
type other struct{ marked }

func (other) Selector() string { return "other" }

func (other) Marks(u Unit) func(object.Ref) Marks {
	return func(object.Ref) Marks {
		return Marks{Labels: map[string]string{"other": strings.ReplaceAll(u.Name, "/", ".")}}
	}
}

func (other) Owner(o *unstructured.Unstructured) string {
	return strings.ReplaceAll(o.GetLabels()["other"], ".", "/")
}

func TestAnObjectOfAnotherDialectsUnitIsNotTaken(t *testing.T) {
	object := func(labels map[string]string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
		o.SetName("a")
		o.SetNamespace("ns")
		o.SetLabels(labels)
		return o
	}
	mine := Unit{Name: "Toy/ns/mine", Objects: marked{}}
	theirs := Unit{Name: "Other/ns/theirs", Objects: other{}, Remembers: []apply.Entry{{Ref: refOf("a")}}}
	e := units(nil, mine, theirs, Unit{Name: "Other/ns/dark", Objects: other{}, Unknown: true})
	for name, c := range map[string]struct {
		labels map[string]string
		owner  string
	}{
		"nobody's":         {nil, ""},
		"its own":          {map[string]string{markOf: "ns.mine"}, "Toy/ns/mine"},
		"another's":        {map[string]string{"other": "Other/ns/theirs"}, "Other/ns/theirs"},
		"marked by both":   {map[string]string{markOf: "ns.mine", "other": "Other/ns/theirs"}, "Toy/ns/mine"},
		"of one not known": {map[string]string{"other": "Other/ns/dark"}, "Other/ns/dark"},
	} {
		if got := e.owner(mine, object(c.labels)); got != c.owner {
			t.Errorf("%s: %q, want %q", name, got, c.owner)
		}
	}
	take := e.mayTake(t.Context(), mine)
	for _, owner := range []string{"Other/ns/theirs", "Other/ns/dark"} {
		if err := take(object(map[string]string{"other": owner})); !fault.Is(err, fault.OwnedByOther) || !strings.Contains(err.Error(), owner) {
			t.Errorf("%s: %v", owner, err)
		}
	}
	for _, labels := range []map[string]string{nil, {markOf: "ns.mine"}, {"other": "Other/ns/gone"}} {
		if err := take(object(labels)); err != nil {
			t.Errorf("%v: %v", labels, err)
		}
	}
}

func refOf(name string) object.Ref {
	return object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: name}
}
