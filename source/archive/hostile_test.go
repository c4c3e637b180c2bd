package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/tree"
)

// The tests of this file are the rows of the list of hostile input that
// concern archives, by their numbers there.

// An entry of an archive; the name of a directory ends in a slash.
type entry struct {
	name, content string
	h             tar.Header // what else there is to it
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.h
		h.Name, h.Size = e.name, int64(len(e.content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 && strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			h = tar.Header{Typeflag: h.Typeflag, PAXRecords: h.PAXRecords}
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func untar(ctx context.Context, s *archive.Store, b io.Reader, l archive.Limits, o archive.Options) (*archive.Tree, error) {
	return s.Put(slot(s, "p", "v1", "ada"), l, func(to *archive.Builder) error { return archive.Untar(ctx, b, to, o) })
}

func TestUntarReadsWhatToolsWrite(t *testing.T) {
	s := open(t, t.TempDir())
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 200)
	plain := tarOf(t,
		entry{h: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}},
		entry{name: "./"}, entry{name: "./app/"}, entry{name: "app/a.yaml", content: "a: 1\n"}, entry{name: "app/"},
		entry{name: "app/run", content: "x", h: tar.Header{Mode: 0o6755, Uid: 1}}, entry{name: "empty/"},
		entry{name: "link", h: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "app/a.yaml"}},
		entry{name: "hard", h: tar.Header{Typeflag: tar.TypeLink, Linkname: "./app/a.yaml"}},
		entry{name: long, content: "long"}, entry{name: `unit\x2d.mount`, content: "1"}, entry{name: "…ä", content: "2"})
	want := tree.FromFiles(map[string]string{
		"app/a.yaml": "a: 1\n", "app/run": "x", "link": "-> app/a.yaml", "hard": "a: 1\n", long: "long", `unit\x2d.mount`: "1", "…ä": "2",
	})
	padded := append(zip(t, plain), make([]byte, 512)...)
	for what, b := range map[string][]byte{"tar": plain, "gzip": zip(t, plain), "gzip in two parts": append(zip(t, plain[:700]), zip(t, plain[700:])...), "with zeros behind it": padded} {
		got, err := untar(t.Context(), s, bytes.NewReader(b), archive.Limits{Depth: 60}, archive.Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		same(t, got, want, ".")
	}
	for what, b := range map[string][]byte{"nothing": nil, "text": []byte("<html>log in</html>" + strings.Repeat(" ", 600)), "gzip of text": zip(t, []byte("x")), "no entry": tarOf(t)} {
		_, err := untar(t.Context(), s, bytes.NewReader(b), archive.Limits{}, archive.Options{})
		t.Log(err)
		wantFault(t, err, fault.Retry, archive.ReasonCorrupt)
		_ = what
	}
	z := zip(t, plain)
	for n := range len(z) {
		if _, err := untar(t.Context(), s, bytes.NewReader(z[:n]), archive.Limits{}, archive.Options{}); err == nil {
			t.Fatalf("cut at %d of %d bytes it is well", n, len(z))
		}
		bad := bytes.Clone(z)
		bad[n] ^= 0x10
		if got, err := untar(t.Context(), s, bytes.NewReader(bad), archive.Limits{Depth: 60}, archive.Options{}); err == nil {
			same(t, got, want, ".") // a flag or a time that does not count
		}
	}
}

func TestTheTopDirectoryIsTakenOff(t *testing.T) {
	s := open(t, t.TempDir())
	top := archive.Options{Top: true}
	for what, entries := range map[string][]entry{
		"as helm writes it": {{name: "web/Chart.yaml", content: "x"}, {name: "web/templates/a.yaml", content: "y"}},
		"with directories":  {{name: "./"}, {name: "./web/"}, {name: "./web/Chart.yaml", content: "x"}, {name: "web/templates/"}, {name: "web/templates/a.yaml", content: "y"}},
		"from Windows":      {{name: `web\Chart.yaml`, content: "x"}, {name: `web\templates\a.yaml`, content: "y"}},
		"with a hard link":  {{name: "web/Chart.yaml", content: "x"}, {name: "web/y", content: "y"}, {name: "web/templates/a.yaml", h: tar.Header{Typeflag: tar.TypeLink, Linkname: "web/y"}}},
	} {
		want := map[string]string{"Chart.yaml": "x", "templates/a.yaml": "y"}
		if what == "with a hard link" {
			want["y"] = "y"
		}
		got, err := untar(t.Context(), s, bytes.NewReader(zip(t, tarOf(t, entries...))), archive.Limits{}, top)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		same(t, got, tree.FromFiles(want), ".")
	}
	for name, entries := range map[string][]entry{
		"other/x":    {{name: "web/Chart.yaml"}, {name: "other/x"}},
		"Chart.yaml": {{name: "Chart.yaml"}},
		"README":     {{name: "web/Chart.yaml"}, {name: "README"}},
		"web":        {{name: "web", content: "x"}},
	} {
		_, err := untar(t.Context(), s, bytes.NewReader(tarOf(t, entries...)), archive.Limits{}, top)
		if f := wantFault(t, err, fault.Stall, archive.ReasonUnsafeArchive); !strings.Contains(f.Error(), name) {
			t.Errorf("%q is not named: %v", name, f)
		}
	}
}

func TestA12UnsafeArchivesAreRefusedAndWhatWasThereStays(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"))
	at := slot(s, "p", "v1", "ada")
	put(t, s, at, some)
	typed := func(name string, flag byte, to string) entry {
		return entry{name: name, h: tar.Header{Typeflag: flag, Linkname: to}}
	}
	for what, c := range map[string]struct {
		entries []entry
		named   string
	}{
		"up":                            {[]entry{{name: "../x"}}, "../x"},
		"up from below":                 {[]entry{{name: "a/../../x"}}, "a/../../x"},
		"up and back":                   {[]entry{{name: "a/../x"}}, "a/../x"},
		"up on Windows":                 {[]entry{{name: `a\..\..\x`}}, `\..\`},
		"absolute":                      {[]entry{{name: "/etc/x"}}, "/etc/x"},
		"absolute on Windows":           {[]entry{{name: `C:\x`}}, `C:`},
		"absolute on Windows, by slash": {[]entry{{name: `c:/x`}}, `c:/x`},
		"a directory up":                {[]entry{{name: "../x/"}}, "../x/"},
		"the directory of all":          {[]entry{typed(".", tar.TypeSymlink, "x")}, `"."`},
		"a link out":                    {[]entry{typed("a/l", tar.TypeSymlink, "../../x")}, "a/l"},
		"an absolute link":              {[]entry{typed("l", tar.TypeSymlink, "/etc/passwd")}, `"l"`},
		"an empty link":                 {[]entry{typed("l", tar.TypeSymlink, "")}, `"l"`},
		"a write through a link":        {[]entry{{name: "d/x"}, typed("l", tar.TypeSymlink, "d"), {name: "l/y"}}, "l/y"},
		"a file below a file":           {[]entry{{name: "a"}, {name: "a/b"}}, "a/b"},
		"a file over a directory":       {[]entry{{name: "a/b"}, {name: "a"}}, `"a"`},
		"a directory over a file":       {[]entry{{name: "a"}, {name: "a/"}}, "a/"},
		"a directory over a link":       {[]entry{{name: "d/x"}, typed("l", tar.TypeSymlink, "d"), {name: "l/"}}, "l/"},
		"a name twice":                  {[]entry{{name: "a"}, {name: "./a"}}, `"./a"`},
		"a link over a file":            {[]entry{{name: "a"}, typed("a", tar.TypeSymlink, "b")}, `"a"`},
		"a hard link out":               {[]entry{typed("a", tar.TypeLink, "../../etc/passwd")}, `"a"`},
		"an absolute hard link":         {[]entry{typed("a", tar.TypeLink, "/etc/passwd")}, `"a"`},
		"a hard link to what comes":     {[]entry{typed("a", tar.TypeLink, "b"), {name: "b"}}, `"a"`},
		"a hard link to itself":         {[]entry{typed("a", tar.TypeLink, "a")}, `"a"`},
		"a hard link to a directory":    {[]entry{{name: "d/x"}, typed("a", tar.TypeLink, "d")}, `"a"`},
		"a hard link to a link":         {[]entry{typed("l", tar.TypeSymlink, "x"), typed("a", tar.TypeLink, "l")}, `"a"`},
		"a character device":            {[]entry{typed("dev", tar.TypeChar, "")}, "dev"},
		"a block device":                {[]entry{typed("dev", tar.TypeBlock, "")}, "dev"},
		"a pipe":                        {[]entry{typed("pipe", tar.TypeFifo, "")}, "pipe"},
		"an unknown type":               {[]entry{typed("odd", 'Z', "")}, "odd"},
		"5,000 directories":             {[]entry{{name: strings.Repeat("d/", 5000) + "x"}}, "d/d/d"},
		"101 directories":               {[]entry{{name: strings.Repeat("d/", 101) + "x"}}, "d/d/d"},
		"101 directories of nothing":    {[]entry{{name: strings.Repeat("d/", 101)}}, "d/d/d"},
		"no text":                       {[]entry{{name: "a\xff\xfe"}}, "a"},
		"a long name":                   {[]entry{{name: strings.Repeat("n", 300)}}, "nnn"},
	} {
		t.Run(what, func(t *testing.T) {
			b := tarOf(t, append(c.entries, entry{name: "good", content: "1"})...)
			_, err := untar(t.Context(), s, bytes.NewReader(zip(t, b)), archive.Limits{}, archive.Options{})
			if f := wantFault(t, err, fault.Stall, archive.ReasonUnsafeArchive); !strings.Contains(f.Err.Error(), strings.ReplaceAll(c.named, `\`, `\\`)) {
				t.Errorf("%q is not named: %v", c.named, f)
			}
			got, err := s.Open(at)
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, tree.FromFiles(some), ".")
		})
	}
	if found, _ := os.ReadDir(dir); len(found) != 1 {
		t.Errorf("there is more than the store: %v", found)
	}
	if found, _ := os.ReadDir(filepath.Join(dir, "store")); len(found) != 3 {
		t.Errorf("in the store is %v", found)
	}
}

// endless returns a reader of an archive that is made up as it is read, until
// the end of t.
func endless(t *testing.T, write func(*tar.Writer) error) io.Reader {
	r, w := io.Pipe()
	done := make(chan bool)
	t.Cleanup(func() { r.Close(); <-done })
	go func() {
		defer close(done)
		z := gzip.NewWriter(w)
		t := tar.NewWriter(z)
		var err error
		for err == nil {
			err = write(t)
		}
		w.CloseWithError(err)
	}()
	return r
}

func TestA12WhatUnfoldsIsBounded(t *testing.T) {
	s := open(t, t.TempDir())
	l := archive.Limits{FileBytes: 1 << 20, TotalBytes: 4 << 20, Entries: 1000}
	zeros := make([]byte, 1<<20)
	n := 0
	next := func(format string) string { n++; return fmt.Sprintf(format, n) }
	for what, write := range map[string]func(*tar.Writer) error{
		"one large file": func(w *tar.Writer) error {
			if err := w.WriteHeader(&tar.Header{Name: "bomb", Size: 1 << 40, Mode: 0o644}); err != nil {
				return err
			}
			for {
				if _, err := w.Write(zeros); err != nil {
					return err
				}
			}
		},
		"many files": func(w *tar.Writer) error {
			return errors.Join(w.WriteHeader(&tar.Header{Name: next("f%d"), Size: 1 << 20, Mode: 0o644}), second(w.Write(zeros)))
		},
		"a million entries": func(w *tar.Writer) error { return w.WriteHeader(&tar.Header{Name: next("f%d"), Mode: 0o644}) },
		"a million directories": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: next("d%d/"), Typeflag: tar.TypeDir, Mode: 0o755})
		},
		"one directory a million times": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755})
		},
		"deep directories": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: next("d%d/") + strings.Repeat("d/", 80), Typeflag: tar.TypeDir, Mode: 0o755})
		},
		"global headers": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": strings.Repeat("x", 100_000)}})
		},
		"headers of one entry": func(w *tar.Writer) error {
			return w.WriteHeader(&tar.Header{Name: next("f%d"), Mode: 0o644, PAXRecords: map[string]string{"PLUMB.x": strings.Repeat("x", 500_000)}})
		},
		"hard links": func(w *tar.Writer) error {
			if n = n + 1; n%1_000_000 == 1 {
				return errors.Join(w.WriteHeader(&tar.Header{Name: "first", Size: 1 << 20, Mode: 0o644}), second(w.Write(zeros)))
			}
			return w.WriteHeader(&tar.Header{Name: next("l%d"), Typeflag: tar.TypeLink, Linkname: "first"})
		},
	} {
		t.Run(what, func(t *testing.T) {
			n = 0
			_, err := untar(t.Context(), s, endless(t, write), l, archive.Options{})
			wantFault(t, err, fault.Retry, archive.ReasonTooLarge)
		})
	}
	t.Run("zeros behind the end", func(t *testing.T) {
		b := append(tarOf(t, entry{name: "a", content: "1"}), make([]byte, 20<<20)...)
		_, err := untar(t.Context(), s, bytes.NewReader(zip(t, b)), l, archive.Options{})
		wantFault(t, err, fault.Retry, archive.ReasonTooLarge)
	})
	t.Run("a sparse file", func(t *testing.T) {
		h := tar.Header{PAXRecords: map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "1099511627776"}}
		b := tarPAX(t, "s", h.PAXRecords, "1\n1099511627775\n1\n"+strings.Repeat("\x00", 512-18)+"x")
		_, err := untar(t.Context(), s, bytes.NewReader(b), l, archive.Options{})
		wantFault(t, err, fault.Retry, archive.ReasonTooLarge)
	})
	t.Run("one who does not wait", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := untar(ctx, s, bytes.NewReader(tarOf(t, entry{name: "a"})), l, archive.Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// tarPAX writes an entry with records that tar.Writer does not.
func tarPAX(t *testing.T, name string, records map[string]string, content string) []byte {
	t.Helper()
	var pax strings.Builder
	for k, v := range records {
		rec := fmt.Sprintf(" %s=%s\n", k, v)
		n := len(rec) + 2
		if len(fmt.Sprint(n)) != 2 {
			t.Fatal("the record is too long")
		}
		fmt.Fprintf(&pax, "%d%s", n, rec)
	}
	block := func(name string, flag byte, content string) []byte {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00", len(content)))
		copy(h[136:], "00000000000\x00")
		copy(h[257:], "ustar\x0000")
		h[156] = flag
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		out := append(h, content...)
		return append(out, make([]byte, (512-len(content)%512)%512)...)
	}
	out := append(block("pax", 'x', pax.String()), block(name, '0', content)...)
	return append(out, make([]byte, 1024)...)
}

func FuzzUntar(f *testing.F) {
	f.Add(tarOf(f, entry{name: "a/b", content: "x"}, entry{name: "l", h: tar.Header{Typeflag: tar.TypeSymlink, Linkname: "a"}}), false)
	f.Add(zip(f, tarOf(f, entry{name: "a/b", content: "x"})), true)
	s, err := archive.Open(f.TempDir(), archive.Limits{FileBytes: 1 << 16, TotalBytes: 1 << 18, Entries: 100})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, top bool) {
		got, err := untar(t.Context(), s, bytes.NewReader(b), archive.Limits{}, archive.Options{Top: top})
		if err != nil {
			if f := fault.Of(err); f.Reason == "" {
				t.Errorf("%v has no reason", err)
			}
			return
		}
		walk(t, got, ".")
	})
}

func walk(t *testing.T, at tree.Tree, dir string) {
	entries, err := at.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(dir+"/"+e.Name, "./")
		if e.Kind == tree.Dir {
			walk(t, at, name)
		} else if _, err := at.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
}
