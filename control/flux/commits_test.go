package flux

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

func TestTheLastCommitsAreRecorded(t *testing.T) {
	key, now := types.NamespacedName{Namespace: "a", Name: "src"}, time.Now()
	var c commits
	says := func(want string) {
		t.Helper()
		if got, err := c.record(key); err != nil || got != want {
			t.Errorf("it says %s, %v; want %s", got, err, want)
		}
	}
	says("")
	if !c.add(key, "1", "2", []string{"y", "x"}, now) || !c.add(key, "2", "3", nil, now.Add(time.Minute)) {
		t.Error("they could not be recorded")
	}
	says(`[{"revision":"1"},{"revision":"2","touched":["x","y"]},{"revision":"3"}]`)
	u := &unstructured.Unstructured{Object: map[string]any{}}
	record, _ := c.record(key)
	u.SetAnnotations(map[string]string{lastCommits: record})
	if all := commitsOf(u); len(all) != 3 || !slices.Equal(all[1].Touched, []string{"x", "y"}) {
		t.Errorf("it is read as %+v", all)
	}

	c.add(key, "3", "4", []string{"z"}, now.Add(commitsFor+time.Second)) // when the first is too old
	says(`[{"revision":"2"},{"revision":"3"},{"revision":"4","touched":["z"]}]`)

	c.add(key, "another", "5", nil, now.Add(commitsFor+time.Second)) // something is missing in between
	says(`[{"revision":"another"},{"revision":"5"}]`)

	var many []string
	for i := range mostTouched + 1 {
		many = append(many, fmt.Sprint(i))
	}
	if c.add(key, "5", "6", many, now) {
		t.Error("too many units are recorded")
	}
	says("")
	for i := range mostCommits + 10 {
		if ok := c.add(key, fmt.Sprint(i), fmt.Sprint(i+1), nil, now); ok != (i%mostCommits != mostCommits-1) {
			t.Fatalf("commit %d: %v", i, ok)
		}
	}
	c.forget(key)
	says("")
}

func TestARecordThatCannotBeReadSaysNothing(t *testing.T) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	for _, record := range []string{"", "{", `{"revision":"1"}`, `[1]`} {
		u.SetAnnotations(map[string]string{lastCommits: record})
		if all := commitsOf(u); all != nil {
			t.Errorf("%q: %v", record, all)
		}
	}
}
