package view

import "testing"

func TestWhatTheLastCommitsDoNotTouchIsAtTheNewest(t *testing.T) {
	c := Commits{{Revision: "1", Touched: []string{"b"}}, {Revision: "2", Touched: []string{"a"}}, {Revision: "3", Touched: []string{"b", "c"}}, {Revision: "4"}}
	for _, x := range []struct{ unit, at, want string }{
		{"z", "1", "4"},
		{"z", "3", "4"},
		{"z", "4", "4"},
		{"z", "0", "0"}, // longer ago than is known
		{"z", "", ""},
		{"a", "1", "1"}, // it has yet to say what became of it
		{"a", "2", "4"},
		{"b", "1", "1"},
		{"b", "2", "2"},
		{"b", "3", "4"},
	} {
		if got := c.Since(x.unit, x.at); got != x.want {
			t.Errorf("%s, which says %q, is at %q, want %q", x.unit, x.at, got, x.want)
		}
	}
	if got := (Commits)(nil).Since("a", "1"); got != "1" {
		t.Errorf("without a record: %q", got)
	}
}
