package report

import (
	"strings"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// said is what a list of conditions says, in one line.
func said(list []metav1.Condition) string {
	var all []string
	for _, t := range []string{Ready, Reconciling, Stalled} {
		if c := Find(list, t); c.Type != "" {
			all = append(all, c.Type+"="+string(c.Status)+" "+c.Reason+": "+c.Message)
		}
	}
	return strings.Join(all, ", ")
}

// Whoever waits by kstatus is never told two things at once.
func TestConditionsFollowEachOther(t *testing.T) {
	var list []metav1.Condition
	c := Conditions{List: &list, Generation: 3}
	steps := []struct {
		name string
		do   func()
		want string
	}{
		{"progress", func() { c.Progress("a") }, "Ready=Unknown Progressing: a, Reconciling=True Progressing: a"},
		{"stall", func() { c.Stall("BuildFailed", "b") }, "Ready=False BuildFailed: b, Stalled=True BuildFailed: b"},
		{"retry", func() { c.Retry("PruneFailed", "c") }, "Ready=False PruneFailed: c, Reconciling=True ProgressingWithRetry: c"},
		{"ready", func() { c.Ready("Done", "d") }, "Ready=True Done: d"},
	}
	for i := range steps {
		for _, s := range []int{i, (i + 2) % len(steps), (i + 1) % len(steps), i} {
			steps[s].do()
			if got := said(list); got != steps[s].want {
				t.Errorf("%s: %s\nwant %s", steps[s].name, got, steps[s].want)
			}
			if at := Find(list, Ready).ObservedGeneration; at != 3 {
				t.Errorf("%s: of generation %d", steps[s].name, at)
			}
		}
	}
}

func TestWhatStaysTheSameKeepsItsTime(t *testing.T) {
	var list []metav1.Condition
	c := Conditions{List: &list}
	c.Ready("Done", "a")
	long := metav1.Unix(1, 0)
	list[0].LastTransitionTime = long
	c.Ready("Done", "b")
	if got := Find(list, Ready); !got.LastTransitionTime.Equal(&long) || got.Message != "b" {
		t.Errorf("%+v", got)
	}
	c.Retry("Failed", "c")
	if got := Find(list, Ready); got.LastTransitionTime.Equal(&long) {
		t.Errorf("%+v", got)
	}
}

// A message that is too long is cut, and not within a character.
func TestAMessageIsBounded(t *testing.T) {
	for _, pad := range []string{"", "x", "xx"} {
		var list []metav1.Condition
		Conditions{List: &list}.Ready("Done", pad+strings.Repeat("€", MaxMessage))
		m := Find(list, Ready).Message
		if len(m) > MaxMessage || len(m) < MaxMessage-6 || !utf8.ValidString(m) || !strings.HasSuffix(m, "€...") {
			t.Errorf("%d bytes, ending in %q", len(m), m[len(m)-8:])
		}
	}
}
