package source_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/sourcetest"
)

// A bench is a Keeper on a clock of its own, with servers in memory.
type bench struct {
	t    *testing.T
	k    *source.Keeper
	disk *sourcetest.Disk
	end  context.CancelFunc

	mu        sync.Mutex
	last      map[string]*source.Artifact // that was published
	published []string
	looks     []source.Look
	changed   map[string]int
}

// onBench runs f with a Keeper that has been told that there is nothing yet.
func onBench(t *testing.T, f func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, disk: sourcetest.NewDisk()}
		b.start()
		b.k.Expect(nil)
		f(t, b)
		b.stop()
	})
}

// start starts a Keeper as a process does.
func (b *bench) start() {
	ctx, end := context.WithCancel(context.Background())
	b.end = end
	b.last, b.changed, b.published, b.looks = make(map[string]*source.Artifact), make(map[string]int), nil, nil
	b.k = source.NewKeeper(ctx, source.Options{
		Stores: []source.Store{b.disk}, Published: b.note, Looked: b.look,
		Changed: func(name string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changed[name]++
		},
	})
}

func (b *bench) stop() {
	b.end()
	synctest.Wait()
}

func (b *bench) note(name string, before, after *source.Artifact) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last[name] != before {
		b.t.Errorf("%s: what was before is not what was published before", name)
	}
	b.last[name] = after
	b.published = append(b.published, name)
}

func (b *bench) look(l source.Look) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks = append(b.looks, l)
}

func (b *bench) server(url string, files map[string]string) *sourcetest.Memory {
	m := sourcetest.NewMemory(url, b.disk)
	if files != nil {
		m.Publish(b.t, files)
	}
	return m
}

// put puts a source with an interval of a minute.
func (b *bench) put(name string, m *sourcetest.Memory, change ...func(*source.Spec)) {
	s := source.Spec{Name: name, From: m.Fetcher("pass"), Interval: time.Minute}
	for _, c := range change {
		c(&s)
	}
	b.k.Put(s)
}

func every(d time.Duration) func(*source.Spec) { return func(s *source.Spec) { s.Interval = d } }
func suspended(s *source.Spec)                 { s.Suspended = true }
func requested(r string) func(*source.Spec)    { return func(s *source.Spec) { s.Requested = r } }
func last(a *source.Artifact) func(*source.Spec) {
	return func(s *source.Spec) {
		s.Last = &source.Last{Revision: a.Revision, Digest: source.Digest(a.Tree), Fetched: a.Fetched}
	}
}

func with(list ...source.Include) func(*source.Spec) {
	return func(s *source.Spec) { s.Shape.Includes = list }
}

// state waits until nothing goes on, and returns a source's state.
func (b *bench) state(name string) source.State {
	b.t.Helper()
	synctest.Wait()
	s, ok := b.k.State(name)
	if !ok {
		b.t.Fatalf("%s is not there", name)
	}
	return s
}

// good makes sure that a source has an artifact with this file.
func (b *bench) good(name, file, content string) *source.Artifact {
	b.t.Helper()
	s := b.state(name)
	if s.Err != nil || s.Pending || s.Artifact == nil {
		b.t.Fatalf("%s is %+v", name, s)
	}
	if b.k.Get(name) != s.Artifact {
		b.t.Errorf("%s is another on the shelf", name)
	}
	got, err := s.Artifact.Tree.ReadFile(file)
	if err != nil || string(got) != content {
		b.t.Errorf("%s of %s is %q, %v; want %q", file, name, got, err, content)
	}
	return s.Artifact
}

// bad makes sure that a source has failed for a reason.
func (b *bench) bad(name string, reason fault.Reason) source.State {
	b.t.Helper()
	s := b.state(name)
	if s.Pending || fault.Of(s.Err) == nil || fault.Of(s.Err).Reason != reason {
		b.t.Fatalf("%s is %+v, want %s", name, s, reason)
	}
	return s
}

func (b *bench) asked(m *sourcetest.Memory, least, most int) {
	b.t.Helper()
	synctest.Wait()
	if n, _ := m.Asked(); n < least || n > most {
		b.t.Errorf("%s was asked %d times, want %d to %d", m.Fetcher("").URL(), n, least, most)
	}
}

func (b *bench) took() []string {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.published
	b.published = nil
	return list
}

func file(content string) map[string]string { return map[string]string{"f": content} }

func TestASourceIsAskedAtItsInterval(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		first := b.good("x", "f", "1")
		b.asked(m, 2, 2) // what is there, and its content
		time.Sleep(10*time.Minute + 30*time.Second)
		b.asked(m, 10, 11) // what is there
		if a := b.good("x", "f", "1"); a != first {
			t.Error("nothing is new, and the artifact is another")
		}
		if got := b.took(); !slices.Equal(got, []string{"x"}) {
			t.Errorf("published: %v", got)
		}
		m.Publish(t, file("2"))
		time.Sleep(64 * time.Second)
		b.good("x", "f", "2")
		if got := b.took(); !slices.Equal(got, []string{"x"}) {
			t.Errorf("published: %v", got)
		}
		s := b.state("x")
		if d := time.Until(s.Next); d <= 0 || d > 63*time.Second {
			t.Errorf("it is asked next in %s", d)
		}
		if len(b.looks) < 11 || b.looks[0] != (source.Look{Source: "x"}) || b.changed["x"] < 11 {
			t.Errorf("looks: %v, told %d times", b.looks, b.changed["x"])
		}
	})
}

func TestWhatFailsIsTriedEverMoreSlowlyAndKeepsItsArtifact(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m, every(10*time.Minute))
		a := b.good("x", "f", "1")
		since := b.state("x").Since
		m.Asked()
		m.Behave(sourcetest.Down)
		time.Sleep(10 * time.Minute)
		time.Sleep(time.Minute)
		s := b.bad("x", "ServerError")
		if s.Artifact != a || b.k.Get("x") != a {
			t.Error("the artifact was lost")
		}
		if !s.Since.After(since) || time.Since(s.Since) > 100*time.Second {
			t.Errorf("it fails since %s", time.Since(s.Since))
		}
		b.asked(m, 4, 7) // after 2, 4, 8, 16, 32 s
		failing := s.Since
		time.Sleep(5 * time.Hour)
		b.asked(m, 30, 40)
		if s := b.bad("x", "ServerError"); s.Since != failing {
			t.Error("it fails since another time")
		}
		if d := time.Until(b.state("x").Next); d > 11*time.Minute {
			t.Errorf("it is asked next in %s", d)
		}
		m.Behave(sourcetest.Well)
		m.Publish(t, file("2"))
		time.Sleep(11 * time.Minute)
		b.good("x", "f", "2")
		m.Asked()
		time.Sleep(time.Hour)
		b.asked(m, 5, 7) // it is as before
	})
}

func TestAServerSaysWhenToComeBack(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		m.Ask(20 * time.Minute)
		m.Behave(sourcetest.Down)
		b.put("x", m)
		b.bad("x", "ServerError")
		m.Asked()
		time.Sleep(19 * time.Minute)
		b.asked(m, 0, 0)
		time.Sleep(2 * time.Minute)
		b.asked(m, 1, 1)
	})
}

func TestAReferenceThatCanBeNoneIsAskedForAtTheInterval(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		n := 0
		f := stalled{b.server("mem://a/r", nil).Fetcher(""), &n}
		b.k.Put(source.Spec{Name: "x", From: f, Interval: time.Minute})
		b.bad("x", "InvalidReference")
		time.Sleep(10*time.Minute + 30*time.Second)
		if synctest.Wait(); n < 10 || n > 12 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

// stalled can't be asked what it is asked.
type stalled struct {
	source.Fetcher
	n *int
}

func (s stalled) Resolve(context.Context) (source.Revision, error) {
	*s.n++
	return source.Revision{}, &fault.Error{Next: fault.Stall, Reason: "InvalidReference", Err: errors.New("no name")}
}

func TestAHintHasItAskedNow(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m, other := b.server("mem://Host/Team/App.git", file("1")), b.server("mem://host/other", file("1"))
		b.put("x", m, every(time.Hour))
		b.put("y", other, every(time.Hour))
		b.put("z", m, every(time.Hour), suspended)
		b.good("x", "f", "1")
		m.Asked()
		other.Asked()
		for _, url := range []string{"mem://host/team/app", "mem://user:pass@host/team/app.git/", "MEM://host/Team/App?x=1"} {
			if n := b.k.Hint(url); n != 1 {
				t.Errorf("%s hints at %d sources", url, n)
			}
			b.asked(m, 1, 1)
		}
		b.asked(other, 0, 0)
		if n := b.k.Hint("mem://host/nobody"); n != 0 {
			t.Errorf("a hint at nobody hints at %d", n)
		}
		if n := b.k.Hint(""); n != 2 {
			t.Errorf("a hint at all hints at %d", n)
		}
		b.asked(other, 1, 1)

		// One that comes while the server is being asked is about what it did
		// not say yet.
		m.Behave(sourcetest.Hung)
		b.k.Hint("mem://host/team/app")
		synctest.Wait()
		for range 5 {
			b.k.Hint("mem://host/team/app")
		}
		m.Publish(t, file("2"))
		m.Asked()
		m.Behave(sourcetest.Well)
		b.good("x", "f", "2")
		b.asked(m, 2, 3) // the content, and again what is there
	})
}

func TestOneQuestionIsAskedOnce(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		for i := range 20 {
			b.put(fmt.Sprintf("x%d", i), m, every(time.Hour))
		}
		synctest.Wait()
		_, sent := m.Asked()
		if sent != 1 {
			t.Errorf("%d bytes travelled", sent)
		}
		b.put("x0", m, every(time.Minute)) // the shortest counts
		m.Publish(t, file("2"))
		time.Sleep(64 * time.Second)
		for i := range 20 {
			b.good(fmt.Sprintf("x%d", i), "f", "2")
		}
		b.asked(m, 2, 2)
		time.Sleep(10*time.Minute + 30*time.Second)
		b.asked(m, 10, 11)
		b.k.Delete("x0")
		time.Sleep(2 * time.Minute)
		m.Asked()
		time.Sleep(3 * time.Hour)
		b.asked(m, 2, 4)

		// Another way to select is no other question.
		b.put("x1", m, every(time.Hour), func(s *source.Spec) { s.Shape.Ignore = new("f\n") })
		s := b.state("x1")
		b.asked(m, 0, 0)
		if _, err := s.Artifact.Tree.ReadFile("f"); err == nil || s.Err != nil {
			t.Errorf("%+v, %v", s, err)
		}
		b.good("x2", "f", "2")

		// With other credentials it is.
		b.k.Put(source.Spec{Name: "y", From: m.Fetcher("other"), Interval: time.Hour})
		b.good("y", "f", "2")
		if n, sent := m.Asked(); n == 0 || sent != 0 {
			t.Errorf("for another, it took %d requests and %d bytes", n, sent)
		}
	})
}

func TestAServerThatHangsHoldsUpNobodyElse(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://good/r", file("1"))
		b.put("good", m, every(10*time.Second))
		b.good("good", "f", "1")
		var hung []*sourcetest.Memory
		for i := range 300 {
			h := b.server(fmt.Sprintf("mem://hung-%d/r%d", i%30, i), file("1"))
			h.Behave(sourcetest.Hung)
			hung = append(hung, h)
			b.put(fmt.Sprintf("h%d", i), h, every(30*time.Second))
		}
		synctest.Wait()
		m.Asked()
		time.Sleep(20 * time.Minute) // each of a server has its turn, one after the other
		b.asked(m, 110, 130)
		for _, name := range []string{"h0", "h299"} {
			b.bad(name, source.ReasonTimeout)
		}
		for _, h := range hung {
			h.Behave(sourcetest.Well)
		}
		time.Sleep(time.Minute)
		for i := range 300 {
			b.good(fmt.Sprintf("h%d", i), "f", "1")
		}
	})
}

// Who waits for room and does not want it any more leaves it to the next.
func TestRoomThatIsNotWantedGoesToTheNext(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		b.stop()
		ctx, end := context.WithCancel(context.Background())
		b.end = end
		b.k = source.NewKeeper(ctx, source.Options{Open: 1})
		b.k.Expect(nil)
		hung := b.server("mem://a/hung", file("1"))
		hung.Behave(sourcetest.Hung)
		b.put("hung", hung, every(time.Hour))
		synctest.Wait()
		for _, name := range []string{"asleep", "gone", "moved", "next"} {
			b.put(name, b.server("mem://a/"+name, file("1")), every(time.Hour))
			synctest.Wait()
		}
		b.put("asleep", b.server("mem://a/asleep", file("1")), suspended)
		b.k.Delete("gone")
		b.put("moved", b.server("mem://a/moved", file("1")), func(s *source.Spec) { s.Refused = errors.New("no") })
		hung.Behave(sourcetest.Well)
		b.good("next", "f", "1")
	})
}

// An answer is to who asked, and not to who meanwhile asks another.
func TestAnAnswerIsNotForWhoHasMoved(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m, other := b.server("mem://a/r", file("1")), b.server("mem://b/r", file("2"))
		b.put("z", other)
		b.good("z", "f", "2")
		m.Behave(sourcetest.Hung)
		other.Behave(sourcetest.Hung)
		other.Publish(t, file("3"))
		b.put("x", m)
		synctest.Wait() // it is x that asks
		b.put("y", m)
		synctest.Wait()
		b.put("x", other, requested("one"))
		m.Behave(sourcetest.Well)
		b.good("y", "f", "1")
		b.put("x", other, requested("one"), func(s *source.Spec) { s.Shape.Sparse = []string{"."} })
		if s := b.state("x"); !s.Pending || s.Requested != "" {
			t.Errorf("it was answered: %+v", s)
		}
		other.Behave(sourcetest.Well)
		b.good("x", "f", "3")
	})
}

func TestTheEndIsNoFailure(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		b.good("x", "f", "1")
		m.Behave(sourcetest.Hung)
		b.k.Hint("")
		synctest.Wait()
		b.stop()
		b.good("x", "f", "1")
		time.Sleep(time.Hour)
		b.asked(m, 0, 4)
	})
}

func TestRotatedCredentialsAreAnotherQuestionAboutTheSame(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		m.Admit("pass")
		b.put("x", m)
		a := b.good("x", "f", "1")
		m.Asked()
		m.Admit("next")
		b.put("x", m, func(s *source.Spec) { s.From = m.Fetcher("next") })
		if s, _ := b.k.State("x"); !s.Pending || s.Artifact != a {
			t.Errorf("right after: %+v", s)
		}
		if b.good("x", "f", "1") != a {
			t.Error("the artifact is another")
		}
		if n, sent := m.Asked(); n != 1 || sent != 0 {
			t.Errorf("it took %d requests and %d bytes", n, sent)
		}
		// Wrong ones give nothing new, and take nothing away.
		m.Publish(t, file("2"))
		b.put("x", m, func(s *source.Spec) { s.From = m.Fetcher("wrong") })
		if s := b.bad("x", "AuthenticationFailed"); s.Artifact != a {
			t.Error("the artifact was lost")
		}
		b.put("x", m, func(s *source.Spec) { s.From = m.Fetcher("next") })
		b.good("x", "f", "2")
		if got := b.disk.Places(); len(got) != 1 {
			t.Errorf("kept are %v", got)
		}
	})
}

func TestASourceThatCannotBeAskedSaysWhy(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		a := b.good("x", "f", "1")
		refuse := func(s *source.Spec) { s.Refused = &fault.Error{Reason: "NoSecret", Err: errors.New("no Secret")} }
		b.put("x", m, refuse)
		if s := b.bad("x", "NoSecret"); s.Artifact != a || !s.Next.IsZero() {
			t.Errorf("%+v", s)
		}
		m.Asked()
		time.Sleep(time.Hour)
		b.asked(m, 0, 0)
		if n := b.k.Hint(""); n != 0 {
			t.Errorf("a hint asks %d", n)
		}
		b.put("x", m)
		b.good("x", "f", "1")
		b.asked(m, 1, 1)
	})
}

func TestASuspendedSourceIsNotAsked(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		b.good("x", "f", "1")
		b.put("x", m, suspended)
		m.Publish(t, file("2"))
		m.Asked()
		time.Sleep(time.Hour)
		b.asked(m, 0, 0)
		b.put("x", m)
		if s, _ := b.k.State("x"); !s.Pending {
			t.Error("it is told of before it was asked")
		}
		b.good("x", "f", "2")

		b.put("x", m, suspended)
		m.Behave(sourcetest.Hung)
		b.put("x", m)
		if s := b.state("x"); !s.Pending {
			t.Error("it is told of before it was answered")
		}
		m.Behave(sourcetest.Well)
		b.good("x", "f", "2")

		b.put("y", m, suspended)
		if s := b.state("y"); s.Artifact != nil || s.Err != nil {
			t.Errorf("one that was never asked: %+v", s)
		}
	})
}

func TestARequestIsAnsweredByWhatWasAskedAfterIt(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m, every(time.Hour))
		b.good("x", "f", "1")
		m.Behave(sourcetest.Hung)
		b.k.Hint("")
		synctest.Wait()
		m.Asked()
		b.put("x", m, every(time.Hour), requested("one"))
		b.put("x", m, every(time.Hour), requested("one"), func(s *source.Spec) { s.Shape.Sparse = []string{"."} })
		if s := b.state("x"); s.Requested != "" || s.Pending {
			t.Errorf("before it was answered: %+v", s)
		}
		b.put("x", m, every(time.Hour), requested("one"))
		m.Publish(t, file("2"))
		m.Behave(sourcetest.Well)
		b.good("x", "f", "2")
		if s := b.state("x"); s.Requested != "one" {
			t.Errorf("after it was answered: %+v", s)
		}
		m.Asked()
		b.put("x", m, every(time.Hour), requested("one"))
		b.put("x", m, every(time.Hour))
		b.asked(m, 0, 0) // it is the same, or none
		m.Behave(sourcetest.Down)
		b.put("x", m, every(time.Hour), requested("two"))
		if s := b.bad("x", "ServerError"); s.Requested != "two" {
			t.Errorf("after it failed: %+v", s)
		}
	})
}

func TestAStartRestoresWhatWasThere(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		a := b.good("x", "f", "1")
		b.stop()
		m.Behave(sourcetest.Down)
		time.Sleep(time.Hour)

		b.start()
		b.k.Expect([]string{"x", "asleep"})
		b.put("x", m, last(a))
		b.put("asleep", m, last(a), suspended)
		s := b.bad("x", "ServerError")
		if !s.Artifact.Same(a) || s.Artifact.Fetched != a.Fetched || s.Artifact.Commit != a.Commit {
			t.Errorf("restored is %+v", s.Artifact)
		}
		if got := b.took(); !slices.Contains(got, "x") || !slices.Contains(got, "asleep") || len(got) != 2 {
			t.Errorf("published: %v", got)
		}
		m.Behave(sourcetest.Well)
		time.Sleep(10 * time.Second)
		if b.good("x", "f", "1") != s.Artifact {
			t.Error("the artifact is another, and nothing is new")
		}
		b.stop()

		// What is on disk, and what can't be shown to be his, is not it.
		for name, change := range map[string]func(*source.Spec){
			"another selection":    func(s *source.Spec) { s.Shape.Ignore = new("f\n") },
			"another revision":     func(s *source.Spec) { s.Last = &source.Last{Revision: "sha256:0", Digest: s.Last.Digest} },
			"another digest":       func(s *source.Spec) { s.Last = &source.Last{Revision: s.Last.Revision, Digest: "sha256:0"} },
			"another's password":   func(s *source.Spec) { s.From = m.Fetcher("other") },
			"one without a Secret": func(s *source.Spec) { s.Refused = errors.New("no Secret") },
		} {
			m.Behave(sourcetest.Down)
			b.start()
			b.k.Expect([]string{"x"})
			b.put("x", m, last(a), change)
			if s := b.state("x"); s.Artifact != nil || s.Err == nil {
				t.Errorf("%s: restored %+v", name, s)
			}
			b.stop()
		}
		b.start()
	})
}

func TestWhatIsIncludedIsMounted(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		lib, app := b.server("mem://a/lib", map[string]string{"sub/l": "1"}), b.server("mem://a/app", file("1"))
		inc := with(source.Include{Source: "lib", At: "vendor", Sub: "sub"})
		b.put("app", app, inc)
		s := b.bad("app", source.ReasonIncludeUnavailable)
		if fault.Of(s.Err).Next != fault.Wait || !strings.Contains(s.Err.Error(), "lib") {
			t.Errorf("error is %v", s.Err)
		}
		b.put("lib", lib)
		a := b.good("app", "vendor/l", "1")
		b.good("app", "f", "1")
		if got := b.state("app").Included; len(got) != 1 || got[0] != b.k.Get("lib") {
			t.Errorf("included are %v", got)
		}
		b.took()
		app.Asked()
		lib.Publish(t, map[string]string{"sub/l": "2"})
		b.k.Hint("mem://a/lib")
		if b.good("app", "vendor/l", "2").Revision != a.Revision {
			t.Error("its own revision is another")
		}
		b.asked(app, 0, 0)
		if got := b.took(); !slices.Equal(got, []string{"lib", "app"}) {
			t.Errorf("published: %v", got)
		}
		// A directory that is not there stalls it, and the next commit mends it.
		lib.Publish(t, map[string]string{"other/l": "3"})
		b.k.Hint("")
		s = b.bad("app", "PathNotFound")
		var part *source.ShapeError
		if !errors.As(s.Err, &part) || part.Part != source.PartInclude || s.Artifact == nil {
			t.Errorf("%+v", s)
		}
		lib.Publish(t, map[string]string{"sub/l": "4"})
		b.k.Hint("mem://a/lib")
		b.good("app", "vendor/l", "4")
		// Whoever includes keeps what he has when the other is gone.
		b.k.Delete("lib")
		if s := b.bad("app", source.ReasonIncludeUnavailable); s.Artifact == nil {
			t.Error("the artifact was lost")
		}
		b.put("app", app)
		if _, err := b.good("app", "f", "1").Tree.ReadFile("vendor/l"); err == nil {
			t.Error("it is still included")
		}
	})
}

func TestSourcesThatIncludeEachOtherAreNamed(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := make(map[string]*sourcetest.Memory)
		for _, name := range []string{"a", "b", "c", "d"} {
			m[name] = b.server("mem://a/"+name, file(name))
		}
		b.put("a", m["a"], with(source.Include{Source: "b", At: "b"}))
		b.put("b", m["b"], with(source.Include{Source: "c", At: "c"}))
		b.put("c", m["c"])
		b.put("d", m["d"], with(source.Include{Source: "a", At: "a"}))
		b.good("d", "a/b/c/f", "c")
		b.put("c", m["c"], with(source.Include{Source: "a", At: "a"}))
		for name, want := range map[string][]string{"a": {"a", "b", "c", "a"}, "b": {"b", "c", "a", "b"}, "c": {"c", "a", "b", "c"}} {
			s := b.bad(name, source.ReasonIncludeCircle)
			var inc *source.IncludeError
			if !errors.As(s.Err, &inc) || !slices.Equal(inc.Circle, want) || fault.Of(s.Err).Next != fault.Stall || s.Artifact == nil {
				t.Errorf("%s: %+v", name, s)
			}
		}
		b.good("d", "a/b/c/f", "c") // which is not in it
		for range 3 {
			b.k.Hint("")
			time.Sleep(time.Hour)
		}
		if got := b.took(); len(got) > 4 {
			t.Errorf("they make each other grow: %v", got)
		}
		b.put("b", m["b"])
		m["c"].Publish(t, file("new"))
		b.k.Hint("")
		b.good("a", "b/f", "b")
		b.good("c", "a/b/f", "b")
		b.good("c", "f", "new")
		b.put("b", m["b"], with(source.Include{Source: "b", At: "x"}))
		b.bad("b", source.ReasonIncludeCircle)
		b.k.Delete("b")
		b.bad("a", source.ReasonIncludeUnavailable)
	})
}

// After a start, sources come in any order: one that comes before what it
// includes is not told that it is missing.
func TestAfterAStartWhatHasNotComeYetIsNotMissing(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		lib, app := b.server("mem://a/lib", file("lib")), b.server("mem://a/app", file("app"))
		inc := with(source.Include{Source: "lib", At: "lib"}, source.Include{Source: "gone", At: "gone"})
		b.put("lib", lib)
		b.put("gone", lib)
		b.put("app", app, inc)
		a, l := b.good("app", "lib/f", "lib"), b.k.Get("lib")
		b.stop()
		lib.Behave(sourcetest.Down)
		app.Behave(sourcetest.Down)

		b.start()
		b.put("app", app, inc, last(a)) // before it is known what there is
		if s := b.state("app"); !s.Pending || s.Err != nil {
			t.Errorf("before it is known what there is: %+v", s)
		}
		b.k.Expect([]string{"app", "lib", "gone"})
		b.put("gone", lib, last(&source.Artifact{Source: "gone", Revision: l.Revision, Tree: l.Tree}))
		time.Sleep(time.Hour)
		if s := b.state("app"); !s.Pending || s.Err != nil {
			t.Errorf("before it has come: %+v", s)
		}
		b.put("lib", lib, last(l))
		s := b.bad("app", "ServerError")
		if !s.Artifact.Same(a) {
			t.Errorf("restored is %+v", s.Artifact)
		}
		b.stop()

		b.start()
		b.put("app", app, inc, last(a))
		b.put("lib", lib, last(l))
		b.k.Expect([]string{"app", "lib", "gone"})
		b.k.Delete("gone") // while plumb was down
		b.bad("app", source.ReasonIncludeUnavailable)
		b.stop()

		b.start()
		b.put("app", app, inc, last(a))
		b.put("lib", lib, last(l))
		b.state("app") // it waits for what it is not known of whether it is there
		b.k.Expect([]string{"app", "lib"})
		b.bad("app", source.ReasonIncludeUnavailable)
	})
}

func TestWhatNoSourceNeedsIsTakenOffTheDisk(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		places := func(want ...string) {
			t.Helper()
			synctest.Wait()
			for i, url := range want {
				want[i] = "place of " + url
			}
			if got := b.disk.Places(); !slices.Equal(got, want) {
				t.Errorf("kept are %v, want %v", got, want)
			}
		}
		x, y, z := b.server("mem://x", file("1")), b.server("mem://y", file("1")), b.server("mem://z", file("1"))
		b.put("x", x)
		b.put("x2", x)
		b.put("y", y)
		b.put("z", z)
		places("mem://x", "mem://y", "mem://z")
		b.k.Delete("x2")
		places("mem://x", "mem://y", "mem://z")
		b.k.Delete("x")
		places("mem://y", "mem://z")
		b.put("y", x) // it has moved
		places("mem://x", "mem://z")
		unknown := source.Spec{Name: "unknown", Refused: errors.New("it can't be read")}
		b.k.Put(unknown)
		b.k.Delete("z")
		places("mem://x", "mem://z") // it may be that one's
		unknown.From = y.Fetcher("pass")
		b.k.Put(unknown)
		places("mem://x")
		b.k.Delete("unknown")
		b.put("y", z)
		places("mem://z")
		a := b.k.Get("y")
		b.stop()

		b.start()
		b.put("x", x)
		places("mem://x", "mem://z") // it is not known yet who else there is
		b.k.Expect([]string{"x", "y", "suspended"})
		places("mem://x", "mem://z")
		b.k.Delete("y")
		places("mem://x", "mem://z")
		b.put("suspended", z, suspended, last(a))
		b.good("x", "f", "1")
		places("mem://x", "mem://z")
		b.stop()

		b.start()
		b.k.Expect([]string{"x"})
		b.put("x", x)
		places("mem://x")
		b.stop()
		b.start()
		b.k.Expect(nil)
		places()
	})
}

func TestWhatIsGoneIsNotPublishedAnyMore(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", file("1"))
		b.put("x", m)
		b.good("x", "f", "1")
		m.Behave(sourcetest.Hung)
		m.Publish(t, file("2"))
		b.k.Hint("")
		synctest.Wait()
		b.took()
		b.k.Delete("x")
		m.Behave(sourcetest.Well)
		time.Sleep(time.Hour)
		if got := b.took(); !slices.Equal(got, []string{"x"}) || b.last["x"] != nil || b.k.Get("x") != nil {
			t.Errorf("published: %v, the last is %v", got, b.last["x"])
		}
		if _, ok := b.k.State("x"); ok {
			t.Error("it still has a state")
		}
		m.Asked()
		time.Sleep(time.Hour)
		b.asked(m, 0, 0)
		b.k.Delete("never") // whoever waits for it is told
		if got := b.took(); !slices.Equal(got, []string{"never"}) {
			t.Errorf("published: %v", got)
		}
	})
}

func TestWhatIsFoundBrokenIsReplaced(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m, user := b.server("mem://a/r", file("1")), b.server("mem://b/user", file("u"))
		b.put("x", m)
		b.put("user", user, with(source.Include{Source: "x", At: "x"}))
		a := b.good("x", "f", "1")
		b.good("user", "x/f", "1")
		m.Damage(t)
		if _, err := a.Tree.ReadFile("f"); err == nil {
			t.Fatal("nothing was damaged")
		}
		time.Sleep(2 * time.Minute)
		if is := b.good("x", "f", "1"); is == a || !is.Same(a) || is.Fetched != a.Fetched {
			t.Errorf("it is %+v", is)
		}
		b.good("user", "x/f", "1")
	})
}

// What can't be read while the artifact is made is fetched again soon, not at
// the interval.
func TestWhatCannotBeReadIsAskedForAgainSoon(t *testing.T) {
	onBench(t, func(t *testing.T, b *bench) {
		m := b.server("mem://a/r", map[string]string{"f": "1", ".sourceignore": "x\n"})
		b.put("x", m, every(time.Hour))
		b.good("x", "f", "1")
		m.Damage(t)
		b.put("x", m, every(time.Hour), func(s *source.Spec) { s.Shape.Sparse = []string{"."} })
		s := b.bad("x", "SourceCorrupt")
		if d := time.Until(s.Next); d > 4*time.Second {
			t.Errorf("it is asked next in %s", d)
		}
		time.Sleep(5 * time.Second)
		b.good("x", "f", "1")
	})
}
