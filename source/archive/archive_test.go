package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/tree"
)

func open(t *testing.T, dir string) *archive.Store {
	t.Helper()
	s, err := archive.Open(dir, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func slot(s *archive.Store, place, name, access string) archive.Slot {
	return archive.Slot{Place: s.Key(place), Name: name, Access: s.Key(access)}
}

// fill adds files as [tree.FromFiles] reads them.
func fill(files map[string]string) func(*archive.Builder) error {
	return func(b *archive.Builder) error {
		for name, content := range files {
			var err error
			if to, ok := strings.CutPrefix(content, "-> "); ok {
				err = b.Link(name, to)
			} else {
				err = b.File(name, strings.NewReader(content))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func put(t *testing.T, s *archive.Store, at archive.Slot, files map[string]string) *archive.Tree {
	t.Helper()
	got, err := s.Put(at, archive.Limits{}, fill(files))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantFault(t *testing.T, err error, next fault.Next, reason fault.Reason) *fault.Error {
	t.Helper()
	f := fault.Of(err)
	if err == nil || f.Next != next || f.Reason != reason {
		t.Fatalf("error is %v (%+v), want a %s %s", err, f, next, reason)
	}
	return f
}

var some = map[string]string{
	"app/a.yaml": "a: 1\n", "app/b.yaml": "b: 1\n", "app/sub/c.yaml": "a: 1\n", "empty": "", "also/empty": "",
	"app/link": "-> sub/c.yaml", "app.txt": "x", "app-2/x": "y",
}

// same makes sure that two trees are alike, entry by entry.
func same(t *testing.T, got, want tree.Tree, dir string) {
	t.Helper()
	a, err1 := got.ReadDir(dir)
	b, err2 := want.ReadDir(dir)
	if err1 != nil || err2 != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("%s holds %v, %v, want %v", dir, a, err1, b)
	}
	for _, e := range b {
		name := strings.TrimPrefix(dir+"/"+e.Name, "./")
		if l, err := got.Lookup(name); err != nil || l != e {
			t.Errorf("%s is %v, %v, want %v", name, l, err, e)
		}
		if e.Kind == tree.Dir {
			same(t, got, want, name)
			continue
		}
		x, err1 := got.ReadFile(name)
		y, err2 := want.ReadFile(name)
		if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
			t.Errorf("%s is %q, %v, want %q", name, x, err1, y)
		}
	}
}

func TestATreeIsTheOneOfItsFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := slot(s, "p", "v1", "ada")
	got := put(t, s, at, some)
	want := tree.FromFiles(some)
	same(t, got, want, ".")
	if tree.RootID(got) != tree.RootID(want) {
		t.Error("its ID is another")
	}
	for _, name := range []string{"none", "app/none", "empty/x", "app/link/x", "app/", "/app", "a/../b", ""} {
		for _, err := range []error{second(got.Lookup(name)), second(got.ReadDir(name)), second(got.ReadFile(name))} {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if _, err := got.ReadDir("empty"); err == nil {
		t.Error("a file is listed")
	}
	if _, err := got.ReadFile("app"); err == nil {
		t.Error("a directory is read")
	}
	s.Close()
	again, err := open(t, dir).Open(at)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, want, ".")
	same(t, got, want, ".") // of a store that is closed
	if empty := put(t, open(t, t.TempDir()), at, nil); tree.RootID(empty) != tree.RootID(tree.FromFiles(nil)) {
		t.Error("of no files it has another ID")
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhatIsAddedTwiceIsStoredOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	big := strings.Repeat("0123456789abcdef", 10_000)
	got, err := s.Put(slot(s, "p", "v1", "ada"), archive.Limits{}, func(b *archive.Builder) error {
		return errors.Join(b.File("x", strings.NewReader("x")), b.File("a", strings.NewReader(big)), b.File("b", strings.NewReader(big)),
			b.File("y", strings.NewReader("y")), b.Hardlink("c", "a"), b.File("z", strings.NewReader(big)), b.Note([]byte("note")))
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, tree.FromFiles(map[string]string{"x": "x", "a": big, "b": big, "y": "y", "c": big, "z": big}), ".")
	if string(got.Note()) != "note" {
		t.Errorf("the note is %q", got.Note())
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "*.files"))
	if info, err := os.Stat(kept[0]); err != nil || len(kept) != 1 || info.Size() > int64(len(big))+1000 {
		t.Errorf("%d files, of %d bytes: %v", len(kept), info.Size(), err)
	}
}

func TestNobodyIsGivenWhatWasNotHandedOutToHim(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ada, bob := slot(s, "p", "v1", "ada"), slot(s, "p", "v1", "bob")
	put(t, s, ada, some)
	_, err := s.Open(bob)
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	_, err = s.Open(slot(s, "q", "v1", "ada"))
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)

	refused := errors.New("401")
	if _, err := s.Fetch(t.Context(), bob, archive.Order{}, func(context.Context, *archive.Builder) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("without proof: %v", err)
	}
	if _, err := s.Open(ada); err != nil {
		t.Errorf("after somebody was refused: %v", err)
	}
	// The server names another content to him.
	if err := s.Grant(bob, func(note []byte) bool { return string(note) == "other" }); err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(bob)
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	if err := s.Grant(bob, func(note []byte) bool { return len(note) == 0 }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir)
	for _, at := range []archive.Slot{ada, bob} {
		if _, err := s.Open(at); err != nil {
			t.Errorf("open: %v", err)
		}
	}
	// Another content under the name: who has seen the one has not seen the other.
	put(t, s, ada, map[string]string{"x": "1"})
	_, err = s.Open(bob)
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	s.Close()
	_, err = open(t, dir).Open(bob)
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	disk := ""
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, _ error) error {
		disk += name + "\n"
		if strings.HasSuffix(name, "readers") {
			b, _ := os.ReadFile(name)
			disk += string(b)
		}
		return nil
	})
	if strings.Contains(disk, "ada") || strings.Contains(disk, "app") {
		t.Errorf("on disk is %s", disk)
	}
}

func TestManyThatWantOneContentFillItOnce(t *testing.T) {
	s := open(t, t.TempDir())
	var fills atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			at := slot(s, "p", "v1", fmt.Sprint("reader", i%2))
			got, err := s.Fetch(t.Context(), at, archive.Order{Proven: true}, func(_ context.Context, b *archive.Builder) error {
				fills.Add(1)
				time.Sleep(50 * time.Millisecond)
				return fill(some)(b)
			})
			if err != nil {
				t.Error(err)
				return
			}
			same(t, got, tree.FromFiles(some), ".")
		})
	}
	wg.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("it was filled %d times", n)
	}
	// One who does not want to wait any more does not.
	began, end := make(chan bool), make(chan bool)
	go s.Fetch(t.Context(), slot(s, "p", "v2", "a"), archive.Order{}, func(context.Context, *archive.Builder) error {
		close(began)
		<-end
		return errors.New("no")
	})
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Fetch(ctx, slot(s, "p", "v2", "a"), archive.Order{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	close(end)
}

func TestWhatIsBrokenOnDiskIsNotRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := slot(s, "p", "v1", "ada")
	put(t, s, at, some)
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "*.files"))
	good, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		s.Close()
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if err := os.WriteFile(kept[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		got, err := s.Open(at)
		if err != nil {
			wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
			continue
		}
		failed := false
		for name := range some {
			if _, err := got.ReadFile(name); err != nil {
				wantFault(t, err, fault.Retry, archive.ReasonCorrupt)
				failed = true
			}
		}
		if !failed || !got.Broken() {
			t.Fatalf("a change of byte %d is not seen", i)
		}
		filled := false
		got = nil
		runtime.GC() // nobody holds what was found to be broken
		got, err = s.Fetch(t.Context(), at, archive.Order{}, func(_ context.Context, b *archive.Builder) error {
			filled = true
			return fill(some)(b)
		})
		if err != nil || !filled || got.Broken() {
			t.Fatalf("fetch of what is broken: filled %v, %v", filled, err)
		}
		same(t, got, tree.FromFiles(some), ".")
	}
	for _, n := range []int{0, 1, len(good) / 2, len(good) - 1} {
		s.Close()
		if err := os.WriteFile(kept[0], good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		_, err := s.Open(at)
		wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	}
}

func TestWhatNobodyUsesGoes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := archive.Open(dir, archive.Limits{}); err == nil {
		t.Error("it is opened twice")
	}
	held := put(t, s, slot(s, "p", "held", "ada"), some)
	for i := range 20 {
		put(t, s, slot(s, "p", fmt.Sprint(i), "ada"), map[string]string{"x": fmt.Sprint(i)})
		runtime.GC()
		time.Sleep(2 * time.Millisecond)
	}
	kept, _ := filepath.Glob(filepath.Join(dir, "*", "*.files"))
	if len(kept) > 12 {
		t.Errorf("%d contents are kept", len(kept))
	}
	for _, name := range []string{"held", "19", "15"} {
		if _, err := s.Open(slot(s, "p", name, "ada")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, s, slot(s, "q", "v1", "ada"), some)
	if err := s.Sweep(func(place string) bool { return place == s.Key("q") }); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(slot(s, "p", "held", "ada"))
	wantFault(t, err, fault.Retry, archive.ReasonNotFetched)
	if _, err := s.Open(slot(s, "q", "v1", "ada")); err != nil {
		t.Error(err)
	}
	same(t, held, tree.FromFiles(some), ".")
	for _, left := range []string{"content.new-1", "spool.new-1", s.Key("x") + ".old-swept"} {
		os.WriteFile(filepath.Join(dir, left), nil, 0o600)
	}
	s.Close()
	open(t, dir)
	found, _ := os.ReadDir(dir)
	if len(found) != 3 { // the lock, the salt, and q
		t.Errorf("on disk is %v", found)
	}
}

func TestAPlaceIsNoPath(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"))
	for _, place := range []string{"", "..", "../x", "/tmp", strings.Repeat("../", 13) + "x", strings.Repeat("z", 40)} {
		at := archive.Slot{Place: place, Name: "../../../x", Access: "a"}
		if _, err := s.Put(at, archive.Limits{}, fill(some)); err == nil {
			t.Errorf("put at %q", place)
		}
		if _, err := s.Open(at); err == nil {
			t.Errorf("open of %q", place)
		}
	}
	put(t, s, archive.Slot{Place: s.Key("p"), Name: "../../../x"}, some)
	if found, _ := os.ReadDir(dir); len(found) != 1 {
		t.Errorf("there is more than the store: %v", found)
	}
}

func TestASpoolIsWhatWasReceived(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	sp, err := s.Spool(strings.NewReader("hello"))
	if err != nil || sp.Size != 5 || sp.SHA256 != sha256.Sum256([]byte("hello")) {
		t.Fatalf("%+v, %v", sp, err)
	}
	for range 2 {
		var b bytes.Buffer
		if b.ReadFrom(sp.Reader()); b.String() != "hello" {
			t.Errorf("it is %q", b.String())
		}
	}
	if found, _ := os.ReadDir(dir); len(found) != 2 {
		t.Errorf("on disk is %v", found)
	}
	sp.Close()
	broken := errors.New("broken")
	if _, err := s.Spool(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What is in memory of a tree is its names, and little for each.
func TestATreeOfManyFilesIsSmallInMemory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := slot(s, "p", "v1", "ada")
	const n = 10_000
	if _, err := s.Put(at, archive.Limits{}, func(b *archive.Builder) error {
		for i := range n {
			if err := b.File(fmt.Sprintf("apps/%03d/base/file-%05d.yaml", i%100, i), strings.NewReader(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir)
	before := heap()
	got, err := s.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	took := heap() - before
	t.Logf("%d files take %d KiB", n, took>>10)
	if took > n*120 {
		t.Errorf("%d files take %d bytes", n, took)
	}
	if _, err := got.ReadFile("apps/042/base/file-00042.yaml"); err != nil {
		t.Error(err)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
