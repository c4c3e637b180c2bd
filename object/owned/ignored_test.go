package owned

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object/ignore"
)

var deployments = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// A server is what of the API server applies and notes who owns what: its own
// code, with the schema of its own kinds.
type server struct {
	t    *testing.T
	fm   *managedfields.FieldManager
	live *unstructured.Unstructured
}

func newServer(t *testing.T) *server {
	c := applyconfigurations.NewTypeConverter(clientgoscheme.Scheme)
	s := &server{t: t, fm: managedfieldstest.NewFakeFieldManager(c, deployments), live: &unstructured.Unstructured{}}
	s.live.SetGroupVersionKind(deployments)
	return s
}

func (s *server) take(o runtime.Object, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.live = o.(*unstructured.Unstructured)
}

func (s *server) apply(u *unstructured.Unstructured, manager string) {
	s.t.Helper()
	s.take(s.fm.Apply(s.live.DeepCopy(), u.DeepCopy(), manager, true))
}

func (s *server) update(manager string, change func(map[string]any)) {
	s.t.Helper()
	u := s.live.DeepCopy()
	change(u.Object)
	s.take(s.fm.Update(s.live.DeepCopy(), u, manager))
}

func deploy(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	b, err := yaml.YAMLToJSON([]byte("apiVersion: apps/v1\nkind: Deployment\n" + text))
	if err == nil {
		err = u.UnmarshalJSON(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// under are the managers of tests, under some rules about everything.
func under(t *testing.T, rules ...ignore.Rule) Managers {
	t.Helper()
	r, err := ignore.Compile(rules, ignore.Options{Marks: [][]string{{"metadata", "labels", "mark"}}})
	if err != nil {
		t.Fatal(err)
	}
	m := writers
	m.Ignored = r.For(&unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{}}}, "", nil)
	return m
}

func pointers(p ...string) ignore.Rule { return ignore.Rule{Pointers: p} }

// kept are pointers that are not applied either.
func kept(p ...string) ignore.Rule { return ignore.Rule{Pointers: p, Apply: true} }

const inGit = `
metadata: {name: web, labels: {mark: u, app: web}, annotations: {note: git}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    spec:
      tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}]
      containers:
      - {name: web, image: git, args: [one, two], env: [{name: ONE, value: "1"}, {name: TWO, value: "2"}]}
      - {name: log, image: git, resources: {limits: {cpu: 1}}}
`

// in changes what is at a path of names and places.
func in(o map[string]any, value any, path ...any) {
	var v any = o
	for _, e := range path[:len(path)-1] {
		switch e := e.(type) {
		case string:
			m := v.(map[string]any)
			if m[e] == nil {
				m[e] = map[string]any{}
			}
			v = m[e]
		case int:
			v = v.([]any)[e]
		}
	}
	switch last := path[len(path)-1].(type) {
	case string:
		if v.(map[string]any)[last] = value; value == nil {
			delete(v.(map[string]any), last)
		}
	case int:
		v.([]any)[last] = value
	}
}

func sets(value any, path ...any) func(map[string]any) {
	return func(o map[string]any) { in(o, value, path...) }
}

func containerAt(i int, path ...any) []any {
	return append([]any{"spec", "template", "spec", "containers", i}, path...)
}

func joins(o map[string]any, item any, path ...any) {
	var v any = o
	for _, e := range path {
		if s, ok := e.(string); ok {
			v = v.(map[string]any)[s]
		} else {
			v = v.([]any)[e.(int)]
		}
	}
	in(o, append(slices.Clone(v.([]any)), item), path...)
}

// Each case is what somebody else does to what is applied, and a rule: with it,
// nothing has happened. Without, something has, unless it is nobody's affair.
func TestWhatARuleSaysDoesNotCount(t *testing.T) {
	sidecar := map[string]any{"name": "sidecar", "image": "mesh"}
	for _, c := range []struct {
		what   string
		who    string
		edit   func(map[string]any)
		rule   ignore.Rule
		always bool // it does not count without the rule either
	}{
		{"a field is set", "autoscaler", sets(int64(5), "spec", "replicas"), pointers("/spec/replicas"), false},
		{"a field is set, and all around it is ignored", "autoscaler", sets(int64(5), "spec", "replicas"), pointers("/spec"), false},
		{"a field is taken away", "somebody", sets(nil, "metadata", "annotations"), pointers("/metadata/annotations/note"), false},
		{"a label is set, beside one that always counts", "somebody", sets("x", "metadata", "labels", "app"), pointers("/metadata/labels"), false},
		{"all labels", "somebody", sets("x", "metadata", "labels", "app"), pointers("/metadata"), false},
		{"a field of an element is set", "vpa", sets("2", containerAt(1, "resources", "limits", "cpu")...), pointers("/spec/template/spec/containers/1/resources"), false},
		{"a field of an element is set, as jq knows it", "vpa", sets("2", containerAt(1, "resources", "limits", "cpu")...), ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "log").resources`}}, false},
		{"a list that is one value is set", "somebody", sets([]any{"x"}, containerAt(0, "args")...), pointers("/spec/template/spec/containers/0/args"), false},
		{"a part of a list that is one value is set", "somebody", sets("x", "spec", "template", "spec", "tolerations", 1, "key"), pointers("/spec/template/spec/tolerations/1/key"), false},
		{"an element of a list that is one value is added", "somebody", func(o map[string]any) {
			joins(o, map[string]any{"key": "node"}, "spec", "template", "spec", "tolerations")
		}, ignore.Rule{JQ: []string{`.spec.template.spec.tolerations[] | select(.key == "node")`}}, false},
		{"an element is added by whom nothing is taken back from", "mesh", func(o map[string]any) { joins(o, sidecar, containerAt(0)[:4]...) }, ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "sidecar")`}}, true},
		{"an element is added by kubectl", "kubectl-edit", func(o map[string]any) { joins(o, sidecar, containerAt(0)[:4]...) }, ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "sidecar")`}}, false},
		{"an annotation is added by kubectl", "kubectl-edit", sets("x", "metadata", "annotations", "other"), pointers("/metadata/annotations/other"), false},
		{"an element of a list is taken away", "somebody", func(o map[string]any) {
			in(o, []any{map[string]any{"name": "ONE", "value": "1"}}, containerAt(0, "env")...)
		}, ignore.Rule{JQ: []string{`.spec.template.spec.containers[].env[]? | select(.name == "TWO")`}}, false},
		{"a manager that is let do as it likes", "autoscaler", func(o map[string]any) {
			in(o, int64(5), "spec", "replicas")
			in(o, "2", containerAt(1, "resources", "limits", "cpu")...)
			in(o, "x", "metadata", "annotations", "note")
		}, ignore.Rule{Managers: []string{"autoscaler"}}, false},
		{"the last element, and a part of a list", "somebody", func(o map[string]any) {
			in(o, "x", containerAt(1, "image")...)
			in(o, "y", containerAt(0, "env", 1, "value")...)
		}, ignore.Rule{JQ: []string{".spec.template.spec.containers[-1].image", ".spec.template.spec.containers[0].env[1:][].value"}}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			s, desired := newServer(t), deploy(t, inGit)
			s.apply(desired, writers.Self)
			before, m := s.live, under(t, c.rule)
			s.update(c.who, c.edit)
			if same := Print(before, writers) == Print(s.live, writers); same != c.always {
				t.Errorf("without the rule the prints are equal: %v", same)
			}
			if same := Same(desired, s.live, writers); same != c.always {
				t.Errorf("without the rule it is as desired: %v", same)
			}
			// Which fields are a manager's is known once it has them.
			if Print(before, m) != Print(s.live, m) && len(c.rule.Managers) == 0 {
				t.Error("it has another print")
			}
			if !Same(desired, s.live, m) {
				t.Error("it is not as desired")
			}
			if lost, err := Lost(before, s.live, m); err != nil || len(lost) > 0 {
				t.Errorf("lost %v, %v", lost, err)
			}
			if NeedsUndo(s.live, m) || !Alike(before, s.live, m) {
				t.Error("something is to be undone, or not alike")
			}
			if fields, err := IgnoredDiff(desired, s.live, m); !c.always && c.who != "kubectl-edit" && (err != nil || len(fields) == 0) && !strings.Contains(c.what, "added") {
				t.Errorf("what differs is not told: %v", err)
			}
			// What the rule does not name counts as it did.
			s.update("somebody", sets("changed", containerAt(0, "image")...))
			if strings.HasPrefix(c.what, "a field is set, and all") {
				return
			}
			if Print(before, m) == Print(s.live, m) || Same(desired, s.live, m) {
				t.Error("nothing counts any more")
			}
		})
	}
}

// A rule may name what makes an object the one it is: that counts all the same.
func TestTheMarksOfAUnitAlwaysCount(t *testing.T) {
	s, desired := newServer(t), deploy(t, inGit)
	s.apply(desired, writers.Self)
	for name, rule := range map[string]ignore.Rule{
		"by name": pointers("/metadata/labels/mark"), "with others": pointers("/metadata/labels"), "all": {JQ: []string{"."}},
	} {
		m := under(t, rule)
		other := *s
		other.update("somebody", sets("theirs", "metadata", "labels", "mark"))
		if Same(desired, other.live, m) || Print(s.live, m) == Print(other.live, m) {
			t.Errorf("%s: a mark does not count", name)
		}
	}
	for _, rule := range []ignore.Rule{kept("/metadata"), {JQ: []string{"."}, Apply: true}} {
		bare := *s
		bare.live = &unstructured.Unstructured{}
		bare.live.SetGroupVersionKind(deployments)
		bare.update("somebody", sets("web", "metadata", "name"))
		out, _, err := Keep(desired, bare.live, under(t, rule))
		if err != nil || out.GetName() != "web" || out.GetLabels()["mark"] != "u" || out.GetKind() != "Deployment" || out.GetLabels()["app"] != "" {
			t.Errorf("%v: applied %v, %v", rule, out, err)
		}
	}
}

func TestWhereARuleCantBeReadNothingIsAsDesired(t *testing.T) {
	s, desired := newServer(t), deploy(t, inGit)
	s.apply(desired, writers.Self)
	r, err := ignore.Compile(nil, ignore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := writers
	m.Ignored = r.For(desired, "", &ignore.Own{Err: &ignore.Error{From: "here", Unreadable: true, Err: fmt.Errorf("no rule")}})
	if Same(desired, s.live, m) || Print(s.live, m) != 0 || Alike(s.live, s.live, m) {
		t.Error("something is told all the same")
	}
	_, _, keep := Keep(desired, s.live, m)
	_, lost := Lost(s.live, s.live, m)
	s.update("kubectl", sets("x", "metadata", "annotations", "note"))
	_, undo := UndoPatch(s.live, m, "apps/v1", nil)
	_, undone := Undone(s.live, s.live, m)
	_, diff := IgnoredDiff(s.live, s.live, m)
	for _, err := range []error{keep, lost, undo, undone, diff, m.Readable(desired)} {
		if err == nil || err.Error() != "here: no rule" {
			t.Errorf("the error is %v", err)
		}
	}
	if !MustUndo(desired, s.live, nil, m) || len(UndoNames(s.live, m)) != 1 {
		t.Error("what is to be undone is not told")
	}
}

// Each case is how an object comes to be, and what is desired then: what the
// rule names stays as it is, and the rest is as desired.
func TestWhatIsNotAppliedStaysAsItIs(t *testing.T) {
	for _, c := range []struct {
		what  string
		rule  ignore.Rule
		lived func(*server)
		git   func(map[string]any)
		want  func(map[string]any) // of the live object, as desired but for this
	}{
		{"a field of ours that nobody has changed", kept("/spec/replicas"), nil, sets(int64(3), "spec", "replicas"), sets(int64(2), "spec", "replicas")},
		{
			"a field that another has set", kept("/spec/replicas"), func(s *server) { s.update("autoscaler", sets(int64(5), "spec", "replicas")) },
			sets("new", containerAt(0, "image")...), sets(int64(5), "spec", "replicas"),
		},
		{
			"a field of ours and of another who has applied the same", kept("/spec/replicas"), func(s *server) {
				s.apply(deploy(s.t, "metadata: {name: web}\nspec: {replicas: 2}"), "autoscaler")
			}, sets(int64(3), "spec", "replicas"), sets(int64(2), "spec", "replicas"),
		},
		{"a field that Git no longer has", kept("/metadata/annotations/note"), nil, sets(nil, "metadata", "annotations"), sets("git", "metadata", "annotations", "note")},
		{"a field that Git has brought", kept("/spec/paused"), nil, sets(true, "spec", "paused"), sets(nil, "spec", "paused")},
		{
			"a field that somebody has taken away", kept("/metadata/annotations/note"), func(s *server) { s.update("somebody", sets(nil, "metadata", "annotations")) },
			sets("new", containerAt(0, "image")...), func(o map[string]any) { in(o, nil, "metadata", "annotations") },
		},
		{
			"a field of an element", kept("/spec/template/spec/containers/1/resources"), func(s *server) { s.update("vpa", sets("2", containerAt(1, "resources", "limits", "cpu")...)) },
			sets("new", containerAt(1, "image")...), sets("2", containerAt(1, "resources", "limits", "cpu")...),
		},
		{
			"a field of an element that is now elsewhere in the list", ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "log").resources`}, Apply: true},
			func(s *server) { s.update("vpa", sets("2", containerAt(1, "resources", "limits", "cpu")...)) },
			func(o map[string]any) {
				l := o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)
				l[0], l[1] = l[1], l[0]
			}, sets("2", containerAt(0, "resources", "limits", "cpu")...),
		},
		{
			"an element that is new has all of it", ignore.Rule{JQ: []string{".spec.template.spec.containers[].image"}, Apply: true}, nil, func(o map[string]any) {
				joins(o, map[string]any{"name": "new", "image": "new"}, containerAt(0)[:4]...)
			}, nil,
		},
		{
			"an element of ours that Git no longer has", ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "log")`}, Apply: true}, nil, func(o map[string]any) {
				l := o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)
				in(o, l[:1], containerAt(0)[:4]...)
			}, func(o map[string]any) {
				joins(o, map[string]any{"name": "log", "image": "git", "resources": map[string]any{"limits": map[string]any{"cpu": int64(1)}}}, containerAt(0)[:4]...)
			},
		},
		{
			"an element of somebody else", ignore.Rule{JQ: []string{`.spec.template.spec.containers[] | select(.name == "sidecar")`}, Apply: true}, func(s *server) {
				s.update("mesh", func(o map[string]any) {
					joins(o, map[string]any{"name": "sidecar", "image": "mesh"}, containerAt(0)[:4]...)
				})
			}, sets("new", containerAt(0, "image")...), func(o map[string]any) {
				joins(o, map[string]any{"name": "sidecar", "image": "mesh"}, containerAt(0)[:4]...)
			},
		},
		{
			"a part of a list that is one value", ignore.Rule{JQ: []string{`.spec.template.spec.tolerations[] | select(.key == "b").operator`}, Apply: true}, func(s *server) {
				s.update("somebody", sets("Equal", "spec", "template", "spec", "tolerations", 1, "operator"))
			}, sets("c", "spec", "template", "spec", "tolerations", 0, "key"), sets("Equal", "spec", "template", "spec", "tolerations", 1, "operator"),
		},
		{
			"an element of a list that is one value", ignore.Rule{JQ: []string{`.spec.template.spec.tolerations[] | select(.key == "node")`}, Apply: true}, func(s *server) {
				s.update("somebody", func(o map[string]any) {
					in(o, []any{map[string]any{"key": "node"}, map[string]any{"key": "a", "operator": "Exists"}, map[string]any{"key": "b", "operator": "Exists"}}, "spec", "template", "spec", "tolerations")
				})
			}, sets("c", "spec", "template", "spec", "tolerations", 0, "key"), func(o map[string]any) {
				in(o, []any{map[string]any{"key": "node"}, map[string]any{"key": "c", "operator": "Exists"}, map[string]any{"key": "b", "operator": "Exists"}}, "spec", "template", "spec", "tolerations")
			},
		},
		{"an element of a list that is one value, and ours", kept("/spec/template/spec/containers/0/args/1"), nil, sets([]any{"new", "three"}, containerAt(0, "args")...), sets([]any{"new", "two"}, containerAt(0, "args")...)},
		{
			"what a manager has", ignore.Rule{Managers: []string{"autoscaler"}, Apply: true}, func(s *server) {
				s.update("autoscaler", func(o map[string]any) {
					in(o, int64(5), "spec", "replicas")
					in(o, "x", "metadata", "annotations", "note")
				})
			}, sets("new", containerAt(0, "image")...), func(o map[string]any) {
				in(o, int64(5), "spec", "replicas")
				in(o, "x", "metadata", "annotations", "note")
			},
		},
		{
			"the object is somebody else's up to now", kept("/spec/replicas"), func(s *server) {
				s.live = &unstructured.Unstructured{}
				s.live.SetGroupVersionKind(deployments)
				s.apply(deploy(s.t, "metadata: {name: web}\nspec: {replicas: 7}"), "helm")
			}, sets("new", containerAt(0, "image")...), sets(int64(7), "spec", "replicas"),
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newServer(t)
			s.apply(deploy(t, inGit), writers.Self)
			if c.lived != nil {
				c.lived(s)
			}
			desired, want := deploy(t, inGit), deploy(t, inGit)
			if c.git != nil {
				c.git(desired.Object)
				c.git(want.Object)
			}
			if c.want != nil {
				c.want(want.Object)
			}
			m := under(t, c.rule)
			for round := range 3 { // what has been kept is kept on
				out, only, err := Keep(desired, s.live, m)
				if err != nil || !only {
					t.Fatalf("holds for any version: %v, %v", !only, err)
				}
				out.SetResourceVersion("7")
				if desired.GetResourceVersion() != "" {
					t.Fatal("what is desired was changed")
				}
				out.SetResourceVersion("")
				s.apply(out, writers.Self)
				if diff := Diff(want, s.live); len(diff) > 0 {
					t.Fatalf("round %d: %v\nafter applying %v", round, diff, out.Object)
				}
				if !Same(desired, s.live, m) {
					t.Fatalf("round %d: it is not as desired: %v", round, s.live.Object)
				}
			}
			// A rule that is gone has it all as desired.
			s.apply(desired, writers.Self)
			if c.what != "an element of somebody else" && !Same(desired, s.live, writers) {
				t.Errorf("without the rule it is not as desired: %v", Diff(desired, s.live))
			}
		})
	}
}

// What is to be taken back of others is less by what does not count.
func TestWhatDoesNotCountIsNotTakenBack(t *testing.T) {
	s, desired := newServer(t), deploy(t, inGit)
	s.apply(desired, writers.Self)
	s.update("kubectl-edit", func(o map[string]any) {
		in(o, "mine", "metadata", "annotations", "theirs")
		in(o, int64(9), "spec", "minReadySeconds")
	})
	m := under(t, kept("/metadata/annotations/theirs"))
	if !NeedsUndo(s.live, m) || !MustUndo(desired, s.live, nil, m) {
		t.Fatal("nothing is to be undone")
	}
	gone, err := Undone(s.live, s.live, m)
	if err != nil || gone.GetAnnotations()["theirs"] != "mine" || strings.Contains(fmt.Sprint(gone.Object["spec"]), "minReadySeconds") {
		t.Errorf("it would be %v, %v", gone, err)
	}
	b, err := UndoPatch(s.live, m, "apps/v1", nil)
	if err != nil || !strings.Contains(string(b), `"manager":"kubectl-edit"`) || !strings.Contains(string(b), "f:theirs") {
		t.Errorf("the patch is %s, %v", b, err)
	}
	if b, err := UndoPatch(s.live, under(t, pointers("/metadata/annotations/theirs", "/spec/minReadySeconds")), "apps/v1", nil); b != nil || err != nil {
		t.Errorf("the patch is %s, %v", b, err)
	}
}

// A field is one of a random object, by its path.
type field struct {
	path  []any
	value any
}

// fieldsIn are all fields in a value, with those within them.
func fieldsIn(v any, at []any) (all []field) {
	if len(at) > 0 {
		all = append(all, field{at, v})
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, fieldsIn(v[k], append(at[:len(at):len(at)], k))...)
		}
	case []any:
		for i, item := range v {
			all = append(all, fieldsIn(item, append(at[:len(at):len(at)], i))...)
		}
	}
	return all
}

func pointerTo(path []any) string {
	var b strings.Builder
	for _, e := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(fmt.Sprint(e)))
	}
	return b.String()
}

// random returns a Deployment. Its lists have the same elements, but for the
// variables, so that a place in one is the same place in another.
func random(t *testing.T, r *rand.Rand) *unstructured.Unstructured {
	u := deploy(t, inGit)
	word := func() string { return string(rune('a' + r.IntN(4))) }
	some := func(change func()) {
		if r.IntN(2) == 0 {
			change()
		}
	}
	set := func(value any, path ...any) { some(func() { in(u.Object, value, path...) }) }
	set(int64(r.IntN(4)), "spec", "replicas")
	set(nil, "spec", "replicas")
	set(word(), "metadata", "annotations", "note")
	set(word(), "metadata", "annotations", "a/b~c")
	set(word(), "metadata", "labels", "app")
	set(int64(r.IntN(3)), "spec", "minReadySeconds")
	set("Recreate", "spec", "strategy", "type")
	set(word(), "spec", "selector", "matchLabels", "app")
	set(word(), "spec", "template", "spec", "nodeSelector", word())
	set(word(), "spec", "template", "spec", "tolerations", r.IntN(2), "key")
	set(word(), containerAt(0, "args", r.IntN(2))...)
	set(word(), containerAt(0, "env", r.IntN(2), "value")...)
	for i := range 2 {
		set(word(), containerAt(i, "image")...)
		set(word(), containerAt(i, "resources", "limits", "cpu")...)
		set(word(), containerAt(i, "workingDir")...)
	}
	return u
}

// shuffled changes some values of an object, as somebody else may, at places that
// pick says.
func shuffled(o map[string]any, r *rand.Rand, pick func(path []any) bool) (changed [][]any) {
	for _, f := range fieldsIn(o, nil) {
		text, isText := f.value.(string)
		if !isText || f.path[0] != "spec" && (len(f.path) < 3 || f.path[1] == "managedFields") || !pick(f.path) || f.path[len(f.path)-1] == "name" {
			continue
		}
		in(o, text+"x", f.path...)
		changed = append(changed, f.path)
	}
	return changed
}

// Of random objects, and random rules: what others do to fields that don't count
// never makes a difference, what they do to the others always does; and what is
// not applied stays as it is while the rest becomes as desired.
func TestRandomFieldsThatDontCount(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	ignoredChanges, others := 0, 0
	for n := range 150 {
		s, desired := newServer(t), random(t, r)
		s.apply(desired, writers.Self)
		all := slices.DeleteFunc(fieldsIn(desired.Object, nil), func(f field) bool { return len(f.path) < 2 })
		rule := ignore.Rule{Apply: r.IntN(2) == 0}
		for range 1 + r.IntN(4) {
			p := pointerTo(all[r.IntN(len(all))].path)
			if r.IntN(4) == 0 {
				rule.JQ = append(rule.JQ, "getpath("+jqPath(p)+")")
			} else {
				rule.Pointers = append(rule.Pointers, p)
			}
		}
		m := under(t, rule)
		l, err := m.ignored(s.live, entries(s.live), false)
		if err != nil {
			t.Fatal(err)
		}
		told := func() string {
			return fmt.Sprintf("round %d: %+v\ndesired %v\nlive %v", n, rule, desired.Object, s.live.Object)
		}
		ignored := func(path []any) bool { return l.covers(path) }
		before := s.live

		s.update("somebody", func(o map[string]any) {
			ignoredChanges += len(shuffled(o, r, func(p []any) bool { return ignored(p) && r.IntN(3) > 0 }))
		})
		if Print(before, m) != Print(s.live, m) || !Same(desired, s.live, m) {
			t.Fatalf("what does not count makes a difference: %s", told())
		}
		after := random(t, r)
		if rule.Apply {
			keepsWhatIsIgnored(t, s, after, m, told)
		}
		stands := s.live
		var changed [][]any
		s.update("somebody", func(o map[string]any) {
			changed = shuffled(o, r, func(p []any) bool { return !ignored(p) && r.IntN(8) == 0 })
		})
		others += len(changed)
		if len(changed) > 0 && Print(stands, m) == Print(s.live, m) {
			t.Fatalf("what was done to %v makes no difference: %s", changed, told())
		}
	}
	if ignoredChanges < 50 || others < 50 {
		t.Errorf("only %d and %d fields were changed", ignoredChanges, others)
	}
}

func jqPath(pointer string) string {
	var steps []string
	for _, s := range strings.Split(pointer[1:], "/") {
		s = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
		if len(s) == 1 && s[0] >= '0' && s[0] <= '9' {
			steps = append(steps, s)
		} else {
			steps = append(steps, fmt.Sprintf("%q", s))
		}
	}
	return "[" + strings.Join(steps, ",") + "]"
}

// covers reports whether all of what is at a path does not count.
func (t *tree) covers(path []any) bool {
	for _, s := range path {
		switch s := s.(type) {
		case string:
			t = t.field(s)
		case int:
			t = t.item(s)
		}
		if t == nil {
			return false
		}
	}
	return t.whole()
}

// keepsWhatIsIgnored applies what is desired, and compares.
func keepsWhatIsIgnored(t *testing.T, s *server, desired *unstructured.Unstructured, m Managers, told func() string) {
	t.Helper()
	before := s.live
	_, l, err := m.ignoredIn(desired, before, before, true)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := Keep(desired, before, m)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(out, writers.Self)
	for _, f := range fieldsIn(before.Object, nil) {
		if !l.covers(f.path) || f.path[0] == "metadata" && len(f.path) > 1 && f.path[1] == "managedFields" {
			continue
		}
		var is any = s.live.Object
		for _, e := range f.path {
			switch e := e.(type) {
			case string:
				m, _ := is.(map[string]any)
				is = m[e]
			case int:
				if list, _ := is.([]any); e < len(list) {
					is = list[e]
				} else {
					is = nil
				}
			}
		}
		if diff := cmp.Diff(f.value, is); diff != "" {
			t.Fatalf("%v was changed: %s\napplied %v\n%s", f.path, diff, out.Object, told())
		}
	}
	if !Same(desired, s.live, m) {
		t.Fatalf("the rest is not as desired: %v\napplied %v\ndesired %v\nrules %+v", s.live.Object, out.Object, desired.Object, told())
	}
}
