package tree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

var files = map[string]string{
	"a/one.yaml":  "one",
	"a/two.yaml":  "two",
	"b/x/y.yaml":  "y",
	"inside":      "-> a/one.yaml",
	"dirlink":     "-> b/x",
	"chain":       "-> dirlink/y.yaml",
	"b/up":        "-> ../a",
	"out":         "-> ../etc/passwd",
	"b/out":       "-> ../../etc",
	"b/and-back":  "-> ../../repo/a",
	"abs":         "-> /etc/passwd",
	"loop":        "-> pool",
	"pool":        "-> loop",
	"via/out":     "-> ../b/out/passwd",
	"dangling":    "-> nowhere",
	"via/inside2": "-> ../b/up/two.yaml",
}

func onDisk(t *testing.T) tree.Tree {
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if len(content) > 3 && content[:3] == "-> " {
			err = os.Symlink(content[3:], at)
		} else {
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tr, err := tree.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestLinksStayInside(t *testing.T) {
	for name, tr := range map[string]tree.Tree{"memory": tree.FromFiles(files), "disk": onDisk(t)} {
		for path, want := range map[string]string{
			"inside": "one", "chain": "y", "dirlink/y.yaml": "y", "b/up/two.yaml": "two", "via/inside2": "two",
		} {
			got, err := tree.Read(tr, path)
			if err != nil || string(got) != want {
				t.Errorf("%s: read %s = %q, %v; want %q", name, path, got, err, want)
			}
		}
		for _, path := range []string{"out", "b/out/passwd", "b/and-back/one.yaml", "abs", "loop", "via/out"} {
			if got, err := tree.Read(tr, path); !fault.Is(err, "PathEscapesSource") {
				t.Errorf("%s: read %s = %q, %v; want PathEscapesSource", name, path, got, err)
			}
		}
		for _, path := range []string{"dangling", "nope/x", "inside/x", "a/one.yaml/x"} {
			if _, err := tree.Read(tr, path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: read %s: %v; want not exist", name, path, err)
			}
		}
	}
}

func with(change map[string]string) tree.Tree {
	all := map[string]string{}
	for k, v := range files {
		all[k] = v
	}
	for k, v := range change {
		if v == "" {
			delete(all, k)
		} else {
			all[k] = v
		}
	}
	return tree.FromFiles(all)
}

func TestTraceHoldsUntilSomethingReadChanges(t *testing.T) {
	tr := tree.NewTracer(tree.FromFiles(files))
	if _, err := tree.Read(tr, "inside"); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.List(tr, "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Stat(tr, "a/kustomization.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	trace, ok := tr.Trace()
	if !ok {
		t.Fatal("trace is not complete")
	}
	for name, c := range map[string]struct {
		change map[string]string
		holds  bool
	}{
		"nothing":                          {nil, true},
		"a file that was not read":         {map[string]string{"a/two.yaml": "2"}, true},
		"a file below a listed directory":  {map[string]string{"b/x/y.yaml": "z"}, true},
		"the file that was read":           {map[string]string{"a/one.yaml": "1"}, false},
		"the link that was passed":         {map[string]string{"inside": "-> a/two.yaml"}, false},
		"a name new in a listed directory": {map[string]string{"b/new": "x"}, false},
		"a name gone from one":             {map[string]string{"b/up": ""}, false},
		"a file that was missing":          {map[string]string{"a/kustomization.yaml": "x"}, false},
		"a file where the directory was":   {map[string]string{"b/x/y.yaml": "", "b/x": "file"}, false},
		"a new file somewhere else":        {map[string]string{"c/new": "x"}, true},
	} {
		if changed, holds := trace.Holds(with(c.change)); holds != c.holds {
			t.Errorf("after a change of %s: holds = %v (%s), want %v", name, holds, changed, c.holds)
		}
	}
}
