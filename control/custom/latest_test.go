package custom

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

var webKey = types.NamespacedName{Namespace: "shop", Name: "web"}

// at is a custom resource as some reader has it.
func at(t *testing.T, version, said string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"namespace": "shop", "name": "web", "resourceVersion": version}, "status": map[string]any{"said": said},
	}}
	if _, err := Slim(u); err != nil {
		t.Fatal(err)
	}
	return u
}

func wrote(t *testing.T, l *Latest, u *unstructured.Unstructured) {
	t.Helper()
	if err := l.Wrote(u); err != nil {
		t.Fatal(err)
	}
}

func saidOf(t *testing.T, u *unstructured.Unstructured) string {
	t.Helper()
	u = &unstructured.Unstructured{Object: u.Object}
	if err := Whole(u); err != nil {
		t.Fatal(err)
	}
	s, _, err := unstructured.NestedString(u.Object, "status", "said")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was written counts until the cache has it, or something newer.
func TestTheNewestOfWhatWasWrittenAndRead(t *testing.T) {
	for name, c := range map[string]struct{ written, cached, want string }{
		"the cache is behind":             {"1005", "1004", "written"},
		"the cache has it":                {"1005", "1005", "cached"},
		"the cache has something newer":   {"1005", "1006", "cached"},
		"a digit more is newer":           {"999", "1000", "cached"},
		"a digit less is older":           {"1000", "999", "written"},
		"a version that is no number":     {"1005", "abc", "cached"},
		"a write without a version":       {"", "1004", "cached"},
		"a server that counts by letters": {"abd", "abc", "cached"},
	} {
		t.Run(name, func(t *testing.T) {
			var s Latest
			wrote(t, &s, at(t, c.written, "written"))
			if got := saidOf(t, s.Of(at(t, c.cached, "cached"))); got != c.want {
				t.Errorf("it is what was %s, want %s", got, c.want)
			}
			if kept := s.Knows(webKey); kept != (c.want == "written") {
				t.Errorf("what was written is kept: %v", kept)
			}
		})
	}
}

// A server that was set back counts from where it was once.
func TestWhatWasWrittenCountsOnlyForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Latest
		wrote(t, &s, at(t, "1005", "written"))
		time.Sleep(longestLag - time.Second)
		if got := saidOf(t, s.Of(at(t, "7", "cached"))); got != "written" {
			t.Errorf("just before it is over it is what was %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := saidOf(t, s.Of(at(t, "7", "cached"))); got != "cached" {
			t.Errorf("then it is what was %s", got)
		}
		if s.Knows(webKey) {
			t.Error("what was written is kept for good")
		}
	})
}

func TestAnEventOfOnesOwn(t *testing.T) {
	var s Latest
	if s.Heard(at(t, "1005", "x")) {
		t.Error("nothing was written")
	}
	wrote(t, &s, at(t, "1005", "x"))
	if s.Heard(at(t, "1006", "x")) || s.Heard(at(t, "1004", "x")) {
		t.Error("what others have written is taken for one's own")
	}
	if !s.Knows(webKey) {
		t.Error("what was written is let go of before the cache has it")
	}
	if !s.Heard(at(t, "1005", "x")) {
		t.Error("what was written is not told from what was not")
	}
	if s.Knows(webKey) {
		t.Error("what the cache has is kept")
	}
}

func TestWhatWasWrittenIsOfOneObject(t *testing.T) {
	var s Latest
	wrote(t, &s, at(t, "1005", "written"))
	other := at(t, "7", "cached")
	other.SetName("other")
	if got := saidOf(t, s.Of(other)); got != "cached" {
		t.Error("another has its status")
	}
	s.Forget(webKey)
	if got := saidOf(t, s.Of(at(t, "7", "cached"))); got != "cached" {
		t.Error("it is not forgotten")
	}
}
