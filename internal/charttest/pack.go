package charttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/tree"
)

// A Chart is a packed one.
type Chart struct {
	Name, Version string
	Metadata      map[string]any // what Chart.yaml says
	Archive       []byte
}

// Pack packs the chart in a directory of a tree, with the charts that it depends
// on by file:// unless they are under its charts. Equal files give equal
// archives; a .helmignore is not read.
func Pack(t testing.TB, at tree.Tree, dir string) Chart {
	t.Helper()
	c := Chart{Metadata: metadata(t, at, dir)}
	c.Name, _ = c.Metadata["name"].(string)
	c.Version, _ = c.Metadata["version"].(string)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	add(t, w, at, dir, c.Name)
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	c.Archive = b.Bytes()
	return c
}

// Folder is a tree of the files of a folder.
func Folder(t testing.TB, dir string) tree.Tree {
	t.Helper()
	at, err := tree.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// Unpack writes the files of an archive to a folder.
func (c Chart) Unpack(t testing.TB, dir string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(c.Archive))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, content := range files(t, tar.NewReader(z)) {
		if err := errors.Join(root.MkdirAll(path.Dir(name), 0o755), root.WriteFile(name, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func metadata(t testing.TB, at tree.Tree, dir string) (m map[string]any) {
	t.Helper()
	b, err := at.ReadFile(path.Join(dir, "Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return m
}

// add adds the chart in dir as the folder to.
func add(t testing.TB, w *tar.Writer, at tree.Tree, dir, to string) {
	t.Helper()
	entries, err := at.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	addAll(t, w, at, dir, to, entries)
	dependencies, _ := metadata(t, at, dir)["dependencies"].([]any)
	for _, d := range dependencies {
		d, _ := d.(map[string]any)
		name, _ := d["name"].(string)
		repository, _ := d["repository"].(string)
		from, local := strings.CutPrefix(repository, "file://")
		if _, err := at.Lookup(path.Join(dir, "charts", name)); local && errors.Is(err, fs.ErrNotExist) {
			add(t, w, at, path.Join(dir, from), path.Join(to, "charts", name))
		}
	}
}

func addAll(t testing.TB, w *tar.Writer, at tree.Tree, dir, to string, entries []tree.Entry) {
	t.Helper()
	for _, e := range entries {
		from, name := path.Join(dir, e.Name), path.Join(to, e.Name)
		switch e.Kind {
		case tree.Dir:
			below, err := at.ReadDir(from)
			if err != nil {
				t.Fatal(err)
			}
			addAll(t, w, at, from, name, below)
		case tree.File:
			content, err := at.ReadFile(from)
			if err == nil {
				err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
			}
			if err == nil {
				_, err = w.Write(content)
			}
			if err != nil {
				t.Fatalf("%s: %v", from, err)
			}
		default:
			t.Fatalf("%s: a %s is not packed", from, e.Kind)
		}
	}
}

// files are those of an archive, by name.
func files(t testing.TB, r *tar.Reader) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
