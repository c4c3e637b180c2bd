package jq

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/object/ignore"
)

const workerArg = "worker-of-the-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		if err := worker.Serve(map[string]worker.Func{Kind: Job}, os.Stdin, os.Stdout, func() {}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func finder(t testing.TB) *Finder {
	t.Helper()
	p := worker.New(worker.Options{
		Command: []string{os.Args[0], workerArg}, Workers: 2, Slow: Time, Memory: Memory, Together: Together, Time: Time, Idle: time.Minute, Keep: Memory / 4 * 3,
	})
	t.Cleanup(p.Close)
	return NewFinder(p)
}

const object = `{"spec": {"replicas": 1, "containers": [{"name": "a"}, {"name": "sidecar"}]}}`

func TestAWorkerFindsWhatThisProcessFinds(t *testing.T) {
	f := finder(t)
	for _, x := range []string{
		".spec.replicas", `.spec.containers[] | select(.name == "sidecar")`, ".spec.containers[-1].name", ".spec.none[]", ".spec.none", ".", "..",
		".spec.containers[0:2]",
	} {
		want, err := ignore.Here{}.Find(x, []byte(object))
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Find(x, []byte(object))
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", x, err, diff)
		}
		for _, p := range got {
			for _, step := range p {
				switch step.(type) {
				case int, string:
				default:
					t.Errorf("%s: a step is a %T", x, step)
				}
			}
		}
	}
}

// Whatever an expression does, it comes to an end, with an error that says what
// it did; it never has more memory than it may, and the next one has an answer.
func TestHostileExpressionsCostTheirOwnAnswer(t *testing.T) {
	f := finder(t)
	stop := make(chan struct{})
	most, done := int64(0), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				most = max(most, resident(f.pool.Processes()))
			}
		}
	}()
	for x, want := range map[string]string{
		"def f: f; f":                                    "takes longer than",
		"range(1e12) | empty":                            "takes longer than",
		"path(range(1e12)) | empty":                      "",
		"[limit(1e9; repeat(1))]":                        "takes", // more time, or more memory
		"[limit(1e9; repeat({a: [1, 2, 3]}))]":           "takes",
		"reduce range(1e9) as $i (\"x\"; . + .) | empty": "takes",
		"def f: 1 + f; f":                                "takes",
		"def f: [f, f]; f":                               "takes",
		`[range(1e9) | tostring] | join("")`:             "takes",
		`("x" * 400000000) | test("y")`:                  "takes",
		"[range(300000000)]":                             "takes",
		"repeat(.)":                                      "selects more than",
		"..|..|..|..|..|..|..|..":                        "",
	} {
		_, err := f.Find(x, []byte(object))
		switch {
		case want == "" && err != nil && !strings.Contains(err.Error(), "selects more"):
			t.Errorf("%s: %v", x, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", x, err, want)
		}
		if got, err := f.Find(".spec.replicas", []byte(object+strings.Repeat(" ", len(x)))); err != nil || len(got) != 1 {
			t.Errorf("after %s: %v, %v", x, got, err)
		}
	}
	close(stop)
	<-done
	if most > Together+Memory/2 {
		t.Errorf("they had %d MiB in memory", most>>20)
	}
	t.Logf("at most %d MiB", most>>20)
}

// resident is how much memory processes have, in bytes.
func resident(pids []int) (sum int64) {
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		var size, pages int64
		if err == nil {
			if _, err := fmt.Sscan(string(b), &size, &pages); err == nil {
				sum += pages * int64(os.Getpagesize())
			}
		}
	}
	return sum
}

// What was found of a version of an object is asked for once, and an expression
// that had no answer not again for a while.
func TestWhatWasFoundIsNotAskedForAgain(t *testing.T) {
	f := finder(t)
	now := time.Now()
	f.now = func() time.Time { return now }
	want, err := f.Find(".spec.replicas", []byte(object))
	if err != nil {
		t.Fatal(err)
	}
	_, failed := f.Find("repeat(.)", []byte(object))
	f.pool.Close() // nobody is there to be asked
	if got, err := f.Find(".spec.replicas", []byte(object)); err != nil || !cmp.Equal(want, got) {
		t.Errorf("again it is %v, %v", got, err)
	}
	if _, err := f.Find("repeat(.)", []byte(object+" ")); failed == nil || !errors.Is(err, failed) {
		t.Errorf("again it is %v, and was %v", err, failed)
	}
	now = now.Add(pause)
	for _, x := range []string{"repeat(.)", ".spec.none"} {
		if _, err := f.Find(x, []byte(object)); err == nil || errors.Is(err, failed) {
			t.Errorf("%s: after a while it is %v", x, err)
		}
	}
	// That nobody could be asked says nothing of the expression.
	if _, ok := f.failed.Get(".spec.none"); ok {
		t.Error("the expression counts as hopeless")
	}
}

func TestManyAskAtOnce(t *testing.T) {
	f := finder(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			got, err := f.Find(".a", fmt.Appendf(nil, `{"a": %d}`, i%7))
			if err != nil || fmt.Sprint(got) != "[[a]]" {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	all.Wait()
}

// BenchmarkFind is what a version of an object costs, in a worker.
func BenchmarkFind(b *testing.B) {
	f := finder(b)
	n := 0
	for b.Loop() {
		n++
		if _, err := f.Find(".spec.replicas", fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, n)); err != nil {
			b.Fatal(err)
		}
	}
}
