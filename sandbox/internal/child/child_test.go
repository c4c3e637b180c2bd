package child

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary a child too, when its first argument is one
// of these.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "obedient":
			follow()
			term := make(chan os.Signal, 1)
			signal.Notify(term, syscall.SIGTERM)
			fmt.Println("began")
			<-term
			fmt.Println("ended", time.Now().UnixNano())
			os.Exit(0)
		case "stubborn":
			follow()
			signal.Ignore(syscall.SIGTERM)
			fmt.Println("began")
			select {}
		case "hopeless":
			fmt.Println("began")
			os.Exit(3)
		}
	}
	os.Exit(m.Run())
}

func follow() {
	if err := FollowParent(); err != nil {
		panic(err)
	}
}

func newGroup(t *testing.T) *Group {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &Group{Exe: exe, RunDir: t.TempDir(), LogDir: t.TempDir(), Log: t.Logf}
}

func startChild(t *testing.T, g *Group, name, kind string) *Child {
	t.Helper()
	c, err := g.Start(Spec{Name: name, Args: []string{kind}, Grace: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	waitFor(t, name+" has begun", func() bool { return strings.Contains(output(t, c), "began") })
	return c
}

func output(t *testing.T, c *Child) string {
	t.Helper()
	text, err := os.ReadFile(c.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestStopEndsTheLastStartedFirst(t *testing.T) {
	g := newGroup(t)
	first := startChild(t, g, "first", "obedient")
	second := startChild(t, g, "second", "obedient")
	g.Stop()
	// An obedient child's last word is when it ended.
	ended := func(c *Child) (at int64) {
		if _, err := fmt.Sscanf(strings.TrimPrefix(output(t, c), "began\n"), "ended %d", &at); err != nil {
			t.Errorf("%s: %v", c.spec.Name, err)
		}
		return at
	}
	if ended(first) < ended(second) {
		t.Error("the first one ended first")
	}
	if left, _ := filepath.Glob(filepath.Join(g.RunDir, "*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	g := newGroup(t)
	stubborn := startChild(t, g, "stubborn", "stubborn")
	stubborn.Stop()
	stubborn.Stop() // a second call is no error
	if n := stubborn.Exits(); n != 0 {
		t.Errorf("counted %d deaths, want none", n)
	}
}

func TestDeadChildIsStartedAgain(t *testing.T) {
	g := newGroup(t)
	hopeless := startChild(t, g, "hopeless", "hopeless")
	waitFor(t, "it died three times", func() bool { return hopeless.Exits() >= 3 })
	g.Stop()
	if n := strings.Count(output(t, hopeless), "began"); n < 3 {
		t.Errorf("began %d times, want 3", n)
	}
}
