package flux

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/report"
)

// What a status tells of fights is what a command reads.
func TestFightsAreToldToMachines(t *testing.T) {
	until := time.Date(2026, 1, 1, 0, 0, 7, 1000, time.UTC)
	fights := []apply.Fight{
		{Ref: object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Field: "spec.containers[name=web].image", Manager: "rival",
			Path: fieldpath.MakePathOrDie("spec", "containers", fieldpath.KeyByFields("name", "web"), "image"), Until: until, Value: "ab"},
		{Ref: object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, Until: until},
	}
	var list []metav1.Condition
	c := report.Conditions{List: &list, Generation: 1}
	if err := contest(c, fights); err != nil {
		t.Fatal(err)
	}
	got, err := contested(list)
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b owned.Path) bool { return a.Equals(b) })
	if diff := cmp.Diff(fights, got, same); diff != "" {
		t.Errorf("-told +read:\n%s", diff)
	}
	if err := contest(c, nil); err != nil || len(list) != 0 {
		t.Errorf("after the last: %v, %v", list, err)
	}
	if _, err := contested([]metav1.Condition{{Type: contestedType, Message: "{"}}); err == nil {
		t.Error("what can't be read is nothing")
	}
}

// A condition has room for so much. What has none is left out, one fight after
// the other: what is told can always be read.
func TestManyFightsAreToldAsFarAsThereIsRoom(t *testing.T) {
	for name, c := range map[string]struct {
		n     int
		long  string // in their names
		least int    // how many are told
	}{
		"few":                     {3, "", 3},
		"as many as are told":     {mostContested, "", mostContested},
		"more":                    {mostContested + 10, "", mostContested},
		"many with a long name":   {mostContested, strings.Repeat("n", 200), 20},
		"many with a longer name": {mostContested + 10, strings.Repeat("n", 250), 15},
	} {
		t.Run(name, func(t *testing.T) {
			var fights []apply.Fight
			for i := range c.n {
				fights = append(fights, apply.Fight{
					Ref:   object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: fmt.Sprint(i, "-", c.long)},
					Field: "spec.template.spec.containers[name=web].env[name=" + c.long + "].value", Manager: "rival",
					Path: fieldpath.MakePathOrDie("spec", "template", "spec", "containers", fieldpath.KeyByFields("name", "web"), "env", fieldpath.KeyByFields("name", c.long), "value"),
				})
			}
			var list []metav1.Condition
			if err := contest(report.Conditions{List: &list}, fights); err != nil {
				t.Fatal(err)
			}
			got, err := contested(list)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) < c.least || len(got) > min(c.n, mostContested) {
				t.Errorf("%d are told of %d", len(got), c.n)
			}
			for i, f := range got {
				if f.Ref != fights[i].Ref || !f.Path.Equals(fights[i].Path) {
					t.Errorf("the one at %d is %v", i, f.Ref)
				}
			}
		})
	}
}

// Somebody else, or another version, may have written the condition.
func TestWhatIsToldOfFightsCanBeBroken(t *testing.T) {
	for name, c := range map[string]struct {
		message, err string
	}{
		"nothing":                {"", ""},
		"an empty list":          {"[]", ""},
		"no list":                {`{"kind":"A"}`, "the condition Contested can't be read: "},
		"a name that is no name": {`[{"kind":"A","name":7}]`, "the condition Contested can't be read: "},
		"a time that is none":    {`[{"kind":"A","name":"a","until":"soon"}]`, "the condition Contested can't be read: "},
		"a path that is none":    {`[{"kind":"A","name":"a","field":"data.x","path":{"x":1}}]`, "the condition Contested: data.x: "},
		"more than is known":     {`[{"kind":"A","name":"a","until":"2026-01-01T00:00:00.000000Z","since":"then"}]`, ""},
		"words":                  {"somebody fights", "the condition Contested can't be read: "},
	} {
		_, err := contested([]metav1.Condition{{Type: contestedType, Message: c.message}})
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
