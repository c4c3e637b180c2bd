// Package sourcetest holds what every [source.Fetcher] has to do, whatever its
// kind: [Run] is its tests, and [Memory] the least that passes them.
//
// Left to the tests of a kind: its own protocol and what a server can do to it,
// its references, and its ways to log in.
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// A Server is a server of one kind with one source on it, and a store of what
// is fetched from there.
type Server interface {
	// Publish makes files all that the reference stands for.
	Publish(t testing.TB, files map[string]string)
	// Withdraw makes the reference stand for nothing.
	Withdraw(t testing.TB)
	// Admit has the server serve only who shows this password.
	Admit(password string)
	// Behave has the server do what it should, or something else.
	Behave(Fault)

	// Fetcher returns the source with a password. MaxFile is the most bytes
	// that it takes for a file.
	Fetcher(password string) source.Fetcher
	MaxFile() int

	// Store is where what was fetched is kept; Restart closes it and opens it
	// again.
	Store() source.Store
	Restart(t testing.TB)
	// Damage changes every file's content on disk, and lets go of what is known
	// of it in memory.
	Damage(t testing.TB)

	// Asked returns how many requests there were since the last call, and how
	// many bytes were sent in answer.
	Asked() (requests int, sent int64)
}

// A Fault is what a server does in place of its work.
type Fault int

// The faults.
const (
	Well  Fault = iota
	Down        // it answers that it can't
	Hung        // it never answers
	Cut         // it ends answers before they are complete
	Wrong       // it sends content that is not what it is said to be
)

// password is the one that is let in unless a test says otherwise.
const password = "correct-horse-1"

// Run tests a kind of source. start returns a Server with nothing on it, which
// lets in whoever shows the password that it was told last; it ends with t.
func Run(t *testing.T, start func(t *testing.T) Server) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Server)
	}{
		{"what was published is read", published},
		{"what is here does not travel again", unchanged},
		{"what moves is followed, and what was read stays", moved},
		{"a reference that is gone leaves what was there", withdrawn},
		{"a server that fails leaves what was there", failing},
		{"an answer that is cut, or wrong, leaves what was there", broken},
		{"a password that is rotated costs no fetch", rotated},
		{"who is refused gets nothing that another has fetched", refused},
		{"what was fetched is there after a restart", restarted},
		{"what is broken on disk is found and fetched anew", damaged},
		{"who does not want to wait any more does not", cancelled},
		{"what is too large is refused and leaves what was there", tooLarge},
		{"what nobody uses is swept", swept},
		{"many at once are one fetch", together},
		{"no secret is in what it says", secrets},
		{"a key is that of a question", keys},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			s.Admit(password)
			c.test(t, s)
		})
	}
}

var small = map[string]string{"app/a.yaml": "a: 1\n", "app/b.yaml": "b: 1\n", "README.md": "hello\n"}

// large is a source of which it shows whether it travels.
func large() map[string]string {
	files := make(map[string]string)
	for i := range 50 {
		files[fmt.Sprintf("app/%02d.txt", i)] = noise(i, 4000)
	}
	return files
}

// little is what may be sent of it where nothing of it should travel: a list of
// what it holds.
const little = 20_000

// noise is text that does not compress well.
func noise(seed, n int) string {
	var b strings.Builder
	x := uint64(seed)*2862933555777941757 + 3037000493
	for b.Len() < n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		fmt.Fprintf(&b, "%016x", x)
	}
	return b.String()[:n]
}

// get resolves and fetches.
func get(t *testing.T, f source.Fetcher) (source.Revision, *source.Content) {
	t.Helper()
	r, c, err := try(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func try(ctx context.Context, f source.Fetcher) (r source.Revision, c *source.Content, err error) {
	if r, err = f.Resolve(ctx); err == nil {
		c, err = f.Fetch(ctx, r)
	}
	return r, c, err
}

// holds makes sure that a tree holds files, and nothing else.
func holds(t *testing.T, at tree.Tree, files map[string]string) {
	t.Helper()
	if err := compare(at, files); err != nil {
		t.Error(err)
	}
}

func compare(at tree.Tree, files map[string]string) error {
	n := 0
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := at.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := strings.TrimPrefix(dir+"/"+e.Name, "./")
			if e.Kind == tree.Dir {
				if err := walk(name); err != nil {
					return err
				}
				continue
			}
			n++
			b, err := at.ReadFile(name)
			if err != nil {
				return err
			}
			if want, ok := files[name]; !ok || string(b) != want {
				return fmt.Errorf("%s is %.40q, want %.40q", name, b, want)
			}
		}
		return nil
	}
	if err := walk("."); err != nil {
		return err
	}
	if n != len(files) {
		return fmt.Errorf("there are %d files, want %d", n, len(files))
	}
	return nil
}

// retry makes sure that an error may pass by itself.
func retry(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	} else if f := fault.Of(err); f.Next != fault.Retry {
		t.Errorf("error is a %s: %v", f.Next, err)
	}
}

// remains makes sure that a revision is still there to be opened.
func remains(t *testing.T, f source.Fetcher, r source.Revision, files map[string]string) {
	t.Helper()
	c, err := f.Open(source.Revision{Name: r.Name})
	if err != nil {
		t.Errorf("open %s: %v", r.Name, err)
		return
	}
	holds(t, c.Tree, files)
}

func published(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, c := get(t, f)
	holds(t, c.Tree, small)
	if r.Name == "" || source.Digest(c.Tree) == "" {
		t.Errorf("revision %q, digest %q", r.Name, source.Digest(c.Tree))
	}
	if _, err := c.Tree.Lookup("app/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if c.Broken != nil && c.Broken() {
		t.Error("it is broken")
	}
	for what, got := range map[string]string{"key": f.Key(), "URL": f.URL(), "server": f.Server(), "place": f.Place()} {
		if got == "" {
			t.Errorf("it has no %s", what)
		}
	}
}

func unchanged(t *testing.T, s Server) {
	s.Publish(t, large())
	f := s.Fetcher(password)
	s.Asked()
	r, first := get(t, f)
	_, whole := s.Asked()
	if whole < 100_000 {
		t.Fatalf("%d bytes travelled; the test needs more", whole)
	}
	c, err := f.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Asked(); n != 0 {
		t.Errorf("a fetch of what is here made %d requests", n)
	}
	if tree.RootID(c.Tree) != tree.RootID(first.Tree) {
		t.Error("the same content has another ID")
	}
	again, _ := get(t, f)
	if again.Name != r.Name {
		t.Errorf("revision %s is now %s", r.Name, again.Name)
	}
	if n, sent := s.Asked(); n == 0 || sent > little {
		t.Errorf("to find nothing new took %d requests and %d bytes", n, sent)
	}
}

func moved(t *testing.T, s Server) {
	s.Publish(t, large())
	f := s.Fetcher(password)
	before, was := get(t, f)
	files := large()
	files["app/00.txt"] = "changed\n"
	delete(files, "app/01.txt")
	s.Publish(t, files)
	after, is := get(t, f)
	if after.Name == before.Name {
		t.Errorf("another content has the revision %s too", after.Name)
	}
	holds(t, is.Tree, files)
	holds(t, was.Tree, large())
	a, err1 := was.Tree.Lookup("app/02.txt")
	b, err2 := is.Tree.Lookup("app/02.txt")
	if err1 != nil || err2 != nil || a.ID != b.ID || a.ID == "" {
		t.Errorf("an unchanged file has the IDs %q and %q", a.ID, b.ID)
	}
	s.Publish(t, large()) // and back
	_, c := get(t, f)
	if tree.RootID(c.Tree) != tree.RootID(was.Tree) {
		t.Error("the same content has another ID")
	}
}

func withdrawn(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, c := get(t, f)
	s.Withdraw(t)
	_, err := f.Resolve(t.Context())
	retry(t, err)
	holds(t, c.Tree, small)
	remains(t, f, r, small)
	s.Publish(t, large())
	_, c = get(t, f)
	holds(t, c.Tree, large())
}

func failing(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, c := get(t, f)
	s.Publish(t, large())
	s.Behave(Down)
	_, _, err := try(t.Context(), f)
	retry(t, err)
	holds(t, c.Tree, small)
	remains(t, f, r, small)
	if _, err := f.Fetch(t.Context(), r); err != nil {
		t.Errorf("fetch of what is here: %v", err)
	}
	s.Behave(Well)
	_, c = get(t, f)
	holds(t, c.Tree, large())
}

func broken(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, _ := get(t, f)
	s.Publish(t, large())
	for _, fault := range []Fault{Cut, Wrong} {
		s.Behave(fault)
		_, _, err := try(t.Context(), f)
		retry(t, err)
		remains(t, f, r, small)
	}
	s.Behave(Well)
	_, c := get(t, f)
	holds(t, c.Tree, large())
}

func rotated(t *testing.T, s Server) {
	s.Publish(t, large())
	first := s.Fetcher(password)
	get(t, first)
	for i := range 5 {
		next := fmt.Sprintf("rotated-%d", i)
		s.Admit(next)
		s.Asked()
		f := s.Fetcher(next)
		_, c := get(t, f)
		if _, sent := s.Asked(); sent > little {
			t.Errorf("rotation %d took %d bytes", i, sent)
		}
		holds(t, c.Tree, large())
		if f.Place() != first.Place() {
			t.Error("it is kept at another place")
		}
		if f.Key() == first.Key() {
			t.Error("two passwords are one question")
		}
	}
}

func refused(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, _ := get(t, f)
	check := func() {
		t.Helper()
		for _, other := range []source.Fetcher{s.Fetcher(""), s.Fetcher("wrong-horse-2")} {
			_, err := other.Resolve(t.Context())
			retry(t, err)
			for _, r := range []source.Revision{r, {Name: r.Name}} {
				_, err = other.Fetch(t.Context(), r)
				retry(t, err)
				if _, err = other.Open(r); !fault.Is(err, source.ReasonNotFetched) {
					t.Errorf("open: %v", err)
				}
			}
		}
		remains(t, f, r, small)
	}
	check()
	s.Restart(t)
	f = s.Fetcher(password)
	check()
}

func restarted(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, c := get(t, f)
	before := source.Digest(c.Tree)
	if _, err := f.Open(source.Revision{Name: "main@sha1:" + strings.Repeat("0", 40)}); !fault.Is(err, source.ReasonNotFetched) {
		t.Errorf("open of what never was: %v", err)
	}
	s.Behave(Down)
	s.Restart(t)
	holds(t, c.Tree, small)
	f = s.Fetcher(password)
	s.Asked()
	c, err := f.Open(source.Revision{Name: r.Name})
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := s.Asked(); n != 0 {
		t.Errorf("it took %d requests", n)
	}
	holds(t, c.Tree, small)
	if after := source.Digest(c.Tree); after != before {
		t.Errorf("the digest was %s and is %s", before, after)
	}
	s.Behave(Well)
	if again, c := get(t, f); again.Name != r.Name || source.Digest(c.Tree) != before {
		t.Errorf("the server has %s", again.Name)
	}
}

func damaged(t *testing.T, s Server) {
	s.Publish(t, large())
	f := s.Fetcher(password)
	_, c := get(t, f)
	s.Damage(t)
	if compare(c.Tree, large()) == nil {
		t.Fatal("nothing was damaged")
	}
	if c.Broken == nil || !c.Broken() {
		t.Error("it does not say so")
	}
	r, c := get(t, f)
	holds(t, c.Tree, large())
	if c.Broken() {
		t.Error("what was fetched anew is broken")
	}

	s.Damage(t)
	s.Restart(t)
	f = s.Fetcher(password)
	if c, err := f.Open(r); err == nil && compare(c.Tree, large()) == nil {
		t.Error("nothing was damaged")
	}
	_, c = get(t, f)
	if compare(c.Tree, large()) != nil { // it may be found by reading alone
		_, c = get(t, f)
	}
	holds(t, c.Tree, large())
}

func cancelled(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, _ := get(t, f)
	s.Publish(t, large())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Resolve(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("before it began: %v", err)
	}
	s.Behave(Hung)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, _, err := try(ctx, f)
			done <- err
		}()
		time.AfterFunc(100*time.Millisecond, cancel)
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("it ended with %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it goes on")
		}
	}
	remains(t, f, r, small)
	s.Behave(Well)
	_, c := get(t, f)
	holds(t, c.Tree, large())
}

func tooLarge(t *testing.T, s Server) {
	s.Publish(t, small)
	f := s.Fetcher(password)
	r, _ := get(t, f)
	files := large()
	files["bomb"] = string(bytes.Repeat([]byte{0}, s.MaxFile()+1)) // compresses well
	s.Publish(t, files)
	_, _, err := try(t.Context(), f)
	retry(t, err)
	remains(t, f, r, small)
	s.Publish(t, large())
	_, c := get(t, f)
	holds(t, c.Tree, large())
}

func swept(t *testing.T, s Server) {
	s.Publish(t, large())
	f := s.Fetcher(password)
	r, c := get(t, f)
	if err := s.Store().Sweep(func(place string) bool { return place == f.Place() }); err != nil {
		t.Fatal(err)
	}
	remains(t, f, r, large())
	if err := s.Store().Sweep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(r); !fault.Is(err, source.ReasonNotFetched) {
		t.Errorf("open of what was swept: %v", err)
	}
	holds(t, c.Tree, large()) // who has it goes on reading
	s.Restart(t)
	f = s.Fetcher(password)
	if _, err := f.Open(r); !fault.Is(err, source.ReasonNotFetched) {
		t.Errorf("open of what was swept, after a restart: %v", err)
	}
	_, c = get(t, f)
	holds(t, c.Tree, large())
}

func together(t *testing.T, s Server) {
	s.Publish(t, large())
	f := s.Fetcher(password)
	r, err := f.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Asked()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			c, err := f.Fetch(t.Context(), r)
			if err == nil {
				err = compare(c.Tree, large())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, sent := s.Asked()
	s.Restart(t)
	if err := s.Store().Sweep(func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	get(t, s.Fetcher(password))
	if _, once := s.Asked(); sent > once+little {
		t.Errorf("%d bytes travelled; once would have been %d", sent, once)
	}
}

func secrets(t *testing.T, s Server) {
	const secret = "canary-pass-7"
	s.Publish(t, small)
	f := s.Fetcher(secret)
	_, _, err := try(t.Context(), f)
	retry(t, err)
	s.Behave(Down)
	_, _, down := try(t.Context(), f)
	_, notFetched := f.Open(source.Revision{Name: "none"})
	for what, said := range map[string]string{
		"key": f.Key(), "URL": f.URL(), "server": f.Server(), "place": f.Place(),
		"refusal": fmt.Sprint(err), "failure": fmt.Sprint(down), "open": fmt.Sprint(notFetched),
		"fetcher": fmt.Sprintf("%v %+v %#v", f, f, f),
	} {
		if strings.Contains(said, secret) {
			t.Errorf("the password is in its %s: %s", what, said)
		}
	}
}

func keys(t *testing.T, s Server) {
	if a, b := s.Fetcher(password), s.Fetcher(password); a.Key() != b.Key() || a.Place() != b.Place() {
		t.Error("one question has two keys")
	}
	if s.Fetcher(password).Key() == s.Fetcher("another").Key() {
		t.Error("two passwords have one key")
	}
}
