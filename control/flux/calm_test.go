package flux

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Whoever asks for a look while a unit is being looked at gets another one.
func TestALookThatWasAskedForMeanwhileIsOwed(t *testing.T) {
	var c calm
	web := types.NamespacedName{Namespace: "shop", Name: "web"}
	if _, _, ok := c.look(web); ok {
		t.Error("a unit that was never looked at is at rest")
	}
	_, stirs, _ := c.look(web)
	c.settle(web, rest{stirs: stirs, version: "7"})
	if r, _, ok := c.look(web); !ok || r.version != "7" {
		t.Errorf("at rest: %v, %+v", ok, r)
	}
	c.stir(web)
	if _, _, ok := c.look(web); ok {
		t.Error("at rest although somebody asked for a look")
	}
	_, stirs, _ = c.look(web)
	c.stir(web) // meanwhile
	c.settle(web, rest{stirs: stirs, version: "7"})
	if _, _, ok := c.look(web); ok {
		t.Error("at rest although somebody asked for a look during the last one")
	}
	c.forget(web)
	if _, _, ok := c.look(web); ok {
		t.Error("at rest although it is gone")
	}
}

func TestAUnitYieldsOnceForEachCrowd(t *testing.T) {
	var c calm
	web := types.NamespacedName{Namespace: "shop", Name: "web"}
	if c.yield(web) {
		t.Error("it yields to nobody")
	}
	c.crowd([]types.NamespacedName{web})
	if !c.yield(web) || c.yield(web) {
		t.Error("it does not yield once")
	}
	c.postpone(web)
	if !c.late(web) || c.late(web) {
		t.Error("it is not late once")
	}
}

// The answer to a write may hold what somebody else wrote since the run began.
func TestARunIsNotAboutWhatWasWrittenDuringIt(t *testing.T) {
	k := &kustomization{}
	k.Generation, k.Annotations = 3, map[string]string{"a": "b"}
	for name, c := range map[string]struct {
		generation  int64
		annotations map[string]string
		want        bool
	}{
		"nothing":      {3, map[string]string{"a": "b"}, false},
		"another spec": {4, map[string]string{"a": "b"}, true},
		"a request":    {3, map[string]string{"a": "b", "reconcile.fluxcd.io/requestedAt": "now"}, true},
		"one less":     {3, nil, true},
	} {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGeneration(c.generation)
		u.SetAnnotations(c.annotations)
		if got := k.changedIn(u); got != c.want {
			t.Errorf("%s: changed: %v", name, got)
		}
	}
}
