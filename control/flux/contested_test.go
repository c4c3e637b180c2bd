package flux

import (
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
