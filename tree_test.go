// Package plumb is the root of the repository; it holds no code, only the
// test of the house rules.
package plumb

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "plumb.dev/plumb"

// layers are the folders from bottom to top. A package imports from folders
// below its own and, but for the stages, from its own layer.
var layers = [][]string{
	{"object"},
	{"fault"},
	{"tree", "cluster", "api"},
	stages,
	{"engine"},
	{"control"},
	{"inspect"},
	{"cli", "web"},
	{"cmd"},
}

// stages meet in plain values and don't import each other.
var stages = []string{"source", "render", "gate", "apply", "watch", "report"}

// dialectic are the folders that may know the projects whose API plumb reads.
var dialectic = []string{"control", "api", "cli"}

// neutral are libraries of those projects that say nothing of their API.
var neutral = []string{
	"github.com/fluxcd/pkg/envsubst",
	"github.com/fluxcd/pkg/sourceignore",
	"github.com/fluxcd/cli-utils",
}

// A listed package is what go list prints of one.
type listed struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

// folder is the first part of a package's path within the module, or "" if
// the package is another module's.
func folder(importPath string) string {
	rel, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(rel, "/")
	return first
}

func layer(folder string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, folder) })
}

func TestImportsRunOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := folder(p.ImportPath)
		if layer(from) < 0 {
			continue // internal, bench, demo, test: owned by no stage
		}
		for _, imported := range p.Imports {
			to := folder(imported)
			if to == "" || layer(to) < 0 {
				continue
			}
			if err := mayImport(from, to); err != nil {
				t.Errorf("%s imports %s: %v", p.ImportPath, imported, err)
			}
		}
	}
}

func mayImport(from, to string) error {
	switch {
	case layer(to) > layer(from):
		return fmt.Errorf("%s/ is above %s/", to, from)
	case from != to && slices.Contains(stages, from) && slices.Contains(stages, to):
		return errors.New("stages don't import each other; let them meet in a plain value")
	}
	return nil
}

// A package of the product imports from internal/ only what no test needs.
func TestProductDoesNotImportTestHelpers(t *testing.T) {
	for _, p := range packages(t) {
		if layer(folder(p.ImportPath)) < 0 {
			continue
		}
		for _, imported := range p.Imports {
			if name, ok := strings.CutPrefix(imported, module+"/internal/"); ok && (strings.Contains(name, "test") || strings.HasPrefix(name, "tools")) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imported)
			}
		}
	}
}

func TestOnlyDialectsKnowFluxAndArgo(t *testing.T) {
	for _, p := range packages(t) {
		from := folder(p.ImportPath)
		if layer(from) < 0 || slices.Contains(dialectic, from) {
			continue
		}
		for _, imported := range p.Imports {
			foreign := strings.HasPrefix(imported, "github.com/fluxcd/") || strings.HasPrefix(imported, "github.com/argoproj/")
			if foreign && !slices.ContainsFunc(neutral, func(n string) bool { return imported == n || strings.HasPrefix(imported, n+"/") }) {
				t.Errorf("%s imports %s; only %s may", p.ImportPath, imported, strings.Join(dialectic, "/, ")+"/")
			}
			if to := folder(imported); to == "api" {
				t.Errorf("%s imports %s; only %s may", p.ImportPath, imported, strings.Join(dialectic, "/, ")+"/")
			}
		}
	}
}

// Which dialects there are only cmd/plumb says. Commands and the UI are given
// a list, and work on what all of them have. What is in a dialect's folder is
// its own.
func TestOnlyTheProgramNamesDialects(t *testing.T) {
	shared := []string{module + "/control", module + "/control/view", module + "/control/lookup", module + "/control/custom", module + "/control/argocd/address"}
	for _, p := range packages(t) {
		from := folder(p.ImportPath)
		if layer(from) < 0 || from == "cmd" {
			continue
		}
		for _, imported := range p.Imports {
			if folder(imported) == "control" && !slices.Contains(shared, imported) && dialect(imported) != dialect(p.ImportPath) {
				t.Errorf("%s imports %s; let cmd/plumb hand it in as a control.Dialect", p.ImportPath, imported)
			}
		}
	}
}

// dialect is the folder of control/ that a package is in, or "".
func dialect(importPath string) string {
	rel, _ := strings.CutPrefix(importPath, module+"/control/")
	if rel == importPath {
		return ""
	}
	first, _, _ := strings.Cut(rel, "/")
	return first
}

// The parts of Argo CD's dialect are called by it, and know neither it nor how
// its custom resources are kept.
func TestPartsOfADialectDontKnowIt(t *testing.T) {
	parts := map[string][]string{"address": nil, "project": {"address"}, "settings": {"address", "project"}, "cached": nil, "shown": {"address", "cached"}}
	base := module + "/control/argocd"
	for _, p := range packages(t) {
		part, ok := strings.CutPrefix(p.ImportPath, base+"/")
		below, listed := parts[part]
		if !ok || !listed {
			continue
		}
		for _, imported := range p.Imports {
			name, own := strings.CutPrefix(imported, base+"/")
			if folder(imported) == "control" && !(own && slices.Contains(below, name)) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryPackageSaysItsJob(t *testing.T) {
	for _, p := range packages(t) {
		if strings.TrimSpace(p.Doc) == "" {
			t.Errorf("%s has no package doc", p.ImportPath)
		}
	}
}

// Names that say nothing hide a missing package, or belong to their callers.
func TestNoPackageIsADrawer(t *testing.T) {
	drawers := []string{"util", "utils", "common", "helper", "helpers", "misc", "base", "types"}
	for _, p := range packages(t) {
		if slices.Contains(drawers, filepath.Base(p.ImportPath)) {
			t.Errorf("%s: its name does not say what it holds", p.ImportPath)
		}
	}
}

// reasoned are the packages whose reasons are all constants of package fault.
var reasoned = []string{"engine", "apply", "cluster", "control"}

// A reason is a constant that is documented in one place, so that nobody
// compares with a word that another has spelt.
func TestReasonsAreConstants(t *testing.T) {
	for _, dir := range reasoned {
		for _, p := range parsed(t, dir) {
			ast.Inspect(p.file, func(n ast.Node) bool {
				for _, at := range spelt(n) {
					t.Errorf("%s: a reason that is spelt out; name a constant of package fault", p.set.Position(at.Pos()))
				}
				return true
			})
		}
	}
}

// spelt are the literals that n has in the place of a reason.
func spelt(n ast.Node) (at []ast.Expr) {
	literal := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Value != `""` {
			at = append(at, l)
		}
	}
	isReason := func(e ast.Expr) bool {
		s, ok := e.(*ast.SelectorExpr)
		return ok && s.Sel.Name == "Reason"
	}
	switch n := n.(type) {
	case *ast.CompositeLit:
		if !names(n.Type, "fault", "Error") {
			return nil
		}
		for _, e := range n.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "Reason" {
				literal(kv.Value)
			}
		}
	case *ast.CallExpr:
		if names(n.Fun, "fault", "Is") {
			literal(n.Args[1])
		}
	case *ast.BinaryExpr:
		if isReason(n.X) {
			literal(n.Y)
		}
	case *ast.AssignStmt:
		for i, l := range n.Lhs {
			if isReason(l) && len(n.Rhs) == len(n.Lhs) {
				literal(n.Rhs[i])
			}
		}
	}
	return at
}

// names reports whether e is pkg.name.
func names(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// A source file of a package, without its tests.
type sourceFile struct {
	set  *token.FileSet
	file *ast.File
}

// parsed are the source files of a folder and of those in it.
func parsed(t *testing.T, dir string) (files []sourceFile) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		files = append(files, sourceFile{set, f})
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	return files
}

func TestSpeltReasonsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		`&fault.Error{Reason: "X"}`:           1,
		`&fault.Error{Reason: fault.X}`:       0,
		`&other.Error{Reason: "X"}`:           0,
		`fault.Is(err, "X")`:                  1,
		`fault.Is(err, fault.X)`:              0,
		`func() { e.Reason = "X" }`:           1,
		`func() { e.Reason, a = x, "X" }`:     0,
		`c.Reason == "X" || c.Reason == ""`:   1,
		`[]any{fault.Is(a, "X"), e.Y == "X"}`: 1,
	} {
		e, err := parser.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		ast.Inspect(e, func(n2 ast.Node) bool { n += len(spelt(n2)); return true })
		if n != want {
			t.Errorf("%s: %d, want %d", text, n, want)
		}
	}
}

// Every reason is another word, and its comment says what it means.
func TestReasonsAreDocumented(t *testing.T) {
	seen := map[string]string{}
	for _, p := range parsed(t, "fault") {
		ast.Inspect(p.file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || v.Type == nil {
				return true
			}
			if id, ok := v.Type.(*ast.Ident); !ok || id.Name != "Reason" {
				return true
			}
			name, value := v.Names[0].Name, v.Values[0].(*ast.BasicLit).Value
			if !strings.HasPrefix(v.Doc.Text(), name+": ") {
				t.Errorf("%s: %s says nothing of what it means", p.set.Position(v.Pos()), name)
			}
			if other, ok := seen[value]; ok {
				t.Errorf("%s and %s are the same word", name, other)
			}
			seen[value] = name
			return true
		})
	}
	if len(seen) < 20 {
		t.Errorf("only %d reasons were found", len(seen))
	}
}
