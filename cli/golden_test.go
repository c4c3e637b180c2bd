package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata")

// Each archive holds what a command has found out, as YAML, in a section named
// for the command, and a section "want": what people see of it. A command in
// capitals is with colour. The comment says what the archive shows.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got, want := "", ""
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				got += show(t, f.Name, f.Data)
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
				archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// show prints what a command would of data. Escapes of colours are spelt out.
func show(t *testing.T, command string, data []byte) string {
	t.Helper()
	var out, errOut bytes.Buffer
	a := &app{io: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}, paint: newPaint(command == strings.ToUpper(command))}
	command, output, _ := strings.Cut(strings.ToLower(command), " ")
	decode := func(into any) {
		t.Helper()
		if err := yaml.UnmarshalStrict(data, into); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	var err error
	switch command {
	case "diff":
		var d inspect.Difference
		decode(&d)
		if output == "json" {
			err = a.data(d, output)
		} else {
			a.printDiff(&d, output == "brief")
		}
	case "tree":
		var n inspect.Node
		decode(&n)
		a.printf("%s", a.drawTree(&n))
	case "trace":
		var tr inspect.Trace
		decode(&tr)
		a.printTrace(&tr)
	case "get":
		err = getOptions{output: output}.print(a, items(t, data), false)
	case "history":
		err = a.printHistory(items(t, data)[0], output)
	default:
		t.Fatalf("no command %q", command)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String()+errOut.String(), "\x1b", "ESC")
}

// dialects are those of the program.
func dialects() []control.Dialect {
	return []control.Dialect{&flux.Options{OwnNamespace: "plumb-system"}}
}

// items reads custom resources.
func items(t *testing.T, data []byte) []*inspect.Found {
	t.Helper()
	var list []map[string]any
	if err := yaml.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	s := (&app{dialects: dialects()}).offline()
	var out []*inspect.Found
	for _, o := range list {
		u := &unstructured.Unstructured{Object: o}
		k, ok := s.KindOf(object.RefOf(u))
		if !ok {
			t.Fatalf("kind of %s is not known", object.RefOf(u))
		}
		out = append(out, s.Found(k, u))
	}
	return out
}
