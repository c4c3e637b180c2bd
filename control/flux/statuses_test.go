package flux

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/fault"
)

// at is a Kustomization as some reader has it.
func at(t *testing.T, version, handled string) *unstructured.Unstructured {
	t.Helper()
	u := ks(t, plainSpec+"status: {lastHandledReconcileAt: \""+handled+"\"}")
	u.SetResourceVersion(version)
	return u
}

func handledOf(t *testing.T, u *unstructured.Unstructured) string {
	t.Helper()
	u = &unstructured.Unstructured{Object: u.Object}
	if err := custom.Whole(u); err != nil {
		t.Fatal(err)
	}
	s, _, err := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Two writes in a row, of which the cache has seen none, are two differences.
func TestAStatusIsWrittenAsItsDifferenceToTheNewest(t *testing.T) {
	u := ks(t, plainSpec)
	s := newStored(t, u)
	st := newStatuses(s, statusManager)
	cached := s.now(t, u) // and stays so
	write := func(handled string) {
		t.Helper()
		now := st.Of(cached.DeepCopy())
		if err := custom.Whole(now); err != nil {
			t.Fatal(err)
		}
		if err := st.write(t.Context(), now, statusOf(handled)); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	write("b")
	write("") // by the cache it was so
	want := []string{
		`patch status {"status":{"lastHandledReconcileAt":"a"}}`, `patch status {"status":{"lastHandledReconcileAt":"b"}}`,
		`patch status {"status":{"lastHandledReconcileAt":null}}`,
	}
	if diff := cmp.Diff(want, s.written()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	write("")
	if w := s.written(); len(w) != 0 {
		t.Errorf("what is the same is written: %s", w)
	}
	if got := handledOf(t, s.now(t, u)); got != "" {
		t.Errorf("stored is %q", got)
	}
}

// statusOf is a status with one field, or none.
func statusOf(handled string) *struct {
	Handled string `json:"lastHandledReconcileAt,omitempty"`
} {
	return &struct {
		Handled string `json:"lastHandledReconcileAt,omitempty"`
	}{handled}
}

// What was not written is not remembered, and the object that was given stays as
// it is.
func TestAWriteThatFailsLeavesAllAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		told bool
	}{
		"the server refuses": {errors.New("no"), true},
		"it is gone":         {apierrors.NewNotFound(schema.GroupResource{}, "web"), false},
	} {
		t.Run(name, func(t *testing.T) {
			u := ks(t, plainSpec+"status: {lastHandledReconcileAt: before}")
			s := newStored(t, u)
			s.refuse = func(string) error { return c.err }
			st := newStatuses(s, statusManager)
			given := s.now(t, u)
			if err := st.write(t.Context(), given, statusOf("after")); (err != nil) != c.told {
				t.Errorf("it says %v", err)
			}
			if got := handledOf(t, given); got != "before" || st.Knows(webKey) {
				t.Errorf("it is taken for %q, and that it was written: %v", got, st.Knows(webKey))
			}
		})
	}
}

// After a write the object that was given is what is stored then, and what is
// remembered is none of it that somebody may change.
func TestAWriteMakesTheObjectWhatIsStored(t *testing.T) {
	u := ks(t, plainSpec)
	s := newStored(t, u)
	st := newStatuses(s, statusManager)
	given := s.now(t, u)
	before := given.GetResourceVersion()
	if err := st.write(t.Context(), given, statusOf("a")); err != nil {
		t.Fatal(err)
	}
	if now := s.now(t, u); given.GetResourceVersion() != now.GetResourceVersion() || given.GetResourceVersion() == before {
		t.Errorf("it is of version %s, and %s is stored", given.GetResourceVersion(), now.GetResourceVersion())
	}
	given.Object["status"].(map[string]any)["lastHandledReconcileAt"] = "changed"
	stale := s.now(t, u)
	stale.SetResourceVersion(before)
	if got := handledOf(t, st.Of(stale)); got != "a" {
		t.Errorf("what is remembered is %q", got)
	}
}

// What can't be read is stalled, whatever its status looks like, and that keeps
// what is not about it.
func TestWhateverCannotBeReadCanBeStalled(t *testing.T) {
	cause := &fault.Error{Next: fault.Stall, Reason: fault.UnsupportedField, Err: errors.New("no")}
	for name, c := range map[string]struct {
		status string
		kept   map[string]any // beside conditions and observedGeneration
		types  string
	}{
		"no status":             {"", map[string]any{}, "Stalled Ready"},
		"an empty one":          {"status: {}", map[string]any{}, "Stalled Ready"},
		"fields of any type":    {"status: {inventory: 7, x: [1]}", map[string]any{"inventory": int64(7), "x": []any{int64(1)}}, "Stalled Ready"},
		"conditions of others":  {"status: {conditions: [{type: A, status: \"True\", reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}", map[string]any{}, "A Stalled Ready"},
		"it was reconciling":    {"status: {conditions: [{type: Reconciling, status: \"True\", reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}", map[string]any{}, "Stalled Ready"},
		"conditions of no type": {"status: {conditions: x}", map[string]any{}, "Stalled Ready"},
		"a condition of a broken type": {
			"status: {conditions: [{type: A, status: true}]}", map[string]any{}, "Stalled Ready",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := ks(t, "spec: {interval: 7}\n"+c.status)
			s := newStored(t, u)
			st := newStatuses(s, statusManager)
			if err := st.stall(t.Context(), s.now(t, u), cause); err != nil {
				t.Fatal(err)
			}
			status := s.now(t, u).Object["status"].(map[string]any)
			var types []string
			for _, one := range status["conditions"].([]any) {
				one := one.(map[string]any)
				types = append(types, one["type"].(string))
				if one["type"] == "Ready" && (one["status"] != "False" || one["reason"] != "UnsupportedField" || one["message"] != "no" || one["observedGeneration"] != int64(2)) {
					t.Errorf("it says %v", one)
				}
			}
			if got := strings.Join(types, " "); got != c.types || status["observedGeneration"] != int64(2) {
				t.Errorf("the conditions are %s at generation %v", got, status["observedGeneration"])
			}
			delete(status, "conditions")
			delete(status, "observedGeneration")
			if diff := cmp.Diff(c.kept, status); diff != "" {
				t.Errorf("the rest: -want +got:\n%s", diff)
			}
			s.written()
			if err := st.stall(t.Context(), s.now(t, u), cause); err != nil || len(s.written()) != 0 {
				t.Errorf("once more it is written again, %v", err)
			}
		})
	}
}

func TestAStatusIsDecodedOrAnError(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		err    bool
	}{
		"none":                   {"", false},
		"empty":                  {"status: {}", false},
		"a word":                 {"status: x", true},
		"a list":                 {"status: []", true},
		"a field that is new":    {"status: {of: a later version}", false},
		"a number for a word":    {"status: {lastAppliedRevision: 7}", true},
		"a word for a number":    {"status: {observedGeneration: x}", true},
		"conditions of no list":  {"status: {conditions: {}}", true},
		"a time that is no time": {"status: {history: [{digest: d, firstReconciled: soon}]}", true},
		"a condition of numbers": {"status: {conditions: [{type: 1}]}", true},
	} {
		var into kustomization
		if err := decodeStatus(ks(t, plainSpec+c.status), &into.Status); (err != nil) != c.err {
			t.Errorf("%s: %v", name, err)
		}
	}
}
