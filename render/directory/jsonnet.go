package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/google/go-jsonnet"
	"github.com/google/go-jsonnet/ast"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// programs runs the Jsonnet programs of a render. What they import is parsed
// once.
//
// A program can loop and fill memory, which nothing in the library bounds: it
// has to run where it can be ended, see [render.Workers].
type programs struct {
	r    *reader
	vm   *jsonnet.VM
	from *importer
	said traces
}

// run returns what a program gives: an object, or a list of objects and nulls.
func (p *programs) run(f found, b []byte) ([]entry, error) {
	at := p.r.at(f)
	if err := p.start(); err != nil {
		return nil, err
	}
	if _, ok := p.from.kept[f.name]; !ok {
		p.from.kept[f.name] = jsonnet.MakeContentsRaw(b)
	}
	node, _, err := p.vm.ImportAST("", f.name)
	if err != nil {
		return nil, explain(err, at)
	}
	p.said = traces{}
	text, err := p.vm.Evaluate(node)
	for _, line := range p.said.lines {
		p.r.warn("%s: %s", at, line)
	}
	if err != nil {
		return nil, explain(err, at)
	}
	var v any
	if err := utiljson.Unmarshal([]byte(text), &v); err != nil {
		return nil, invalid("%s: it gives what is no JSON", at)
	}
	switch v := v.(type) {
	case map[string]any:
		return []entry{{object: v, at: at}}, nil
	case []any:
		var all []entry
		for i, item := range v {
			m, ok := item.(map[string]any)
			if !ok && item != nil {
				return nil, invalid("%s: item %d of what it gives is not a Kubernetes object", at, i)
			}
			if ok {
				all = append(all, entry{object: m, at: at})
			}
		}
		return all, nil
	}
	return nil, invalid("%s: it gives neither an object nor a list of objects", at)
}

// start makes what runs the programs.
func (p *programs) start() error {
	if p.vm != nil {
		return nil
	}
	p.from = &importer{r: p.r, kept: map[string]jsonnet.Contents{}, dirs: []string{p.r.dir}}
	for _, lib := range p.r.o.Jsonnet.Libs {
		dir, err := tree.Clean(lib)
		if err != nil {
			return err
		}
		p.from.dirs = append(p.from.dirs, dir)
	}
	p.vm = jsonnet.MakeVM()
	p.vm.Importer(p.from)
	p.vm.SetTraceOut(&p.said)
	for _, v := range p.r.o.Jsonnet.ExtVars {
		if v.Code {
			p.vm.ExtCode(v.Name, v.Value)
		} else {
			p.vm.ExtVar(v.Name, v.Value)
		}
	}
	for _, v := range p.r.o.Jsonnet.TLAs {
		if v.Code {
			p.vm.TLACode(v.Name, v.Value)
		} else {
			p.vm.TLAVar(v.Name, v.Value)
		}
	}
	return nil
}

// An importer finds what programs import, in the tree and nowhere else: beside
// the file that imports, then in the directories, the last one first. It
// implements [jsonnet.Importer].
type importer struct {
	r    *reader
	dirs []string
	kept map[string]jsonnet.Contents // by resolved name
}

// Import implements [jsonnet.Importer].
func (i *importer) Import(from, p string) (c jsonnet.Contents, at string, err error) {
	if path.IsAbs(p) || strings.ContainsRune(p, 0) {
		return c, "", i.r.fail(escapes(p, from))
	}
	dirs := []string{path.Dir(from)}
	for n := len(i.dirs) - 1; n >= 0; n-- {
		dirs = append(dirs, i.dirs[n])
	}
	left := false
	var excluded error
	for _, dir := range dirs {
		name := path.Join(dir, p)
		if !fs.ValidPath(name) {
			left = true
			continue
		}
		c, at, err = i.open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, at, err
		}
		if why := (*tree.Excluded)(nil); errors.As(err, &why) {
			excluded = err
		}
	}
	switch {
	case left:
		return c, "", i.r.fail(escapes(p, from))
	case excluded != nil:
		return c, "", i.r.fail(render.Missing(excluded, render.BuildFailed, "%s: the import %q", from, p))
	}
	return c, "", fmt.Errorf("the import %q is neither beside the file nor in a directory of libs", p)
}

// open returns the content of a file.
func (i *importer) open(name string) (c jsonnet.Contents, at string, err error) {
	if at, err = tree.Resolve(i.r.tree, name); err != nil {
		return c, "", i.r.fail(err)
	}
	if c, ok := i.kept[at]; ok {
		return c, at, nil
	}
	e, err := i.r.tree.Lookup(at)
	if err != nil {
		return c, "", i.r.fail(err)
	}
	if e.Kind != tree.File {
		return c, "", fmt.Errorf("%s is a %s, not a file", at, e.Kind)
	}
	b, err := i.r.content(at)
	if err != nil {
		return c, "", err
	}
	c = jsonnet.MakeContentsRaw(b)
	i.kept[at] = c
	return c, at, nil
}

// explain says where a program went wrong, and how it got there.
func explain(err error, at string) error {
	var (
		failed jsonnet.RuntimeError
		wrong  interface{ Loc() ast.LocationRange } // as it was parsed
	)
	switch {
	case errors.As(err, &failed):
		return render.Stall(render.BuildFailed, "", render.Quote(fmt.Sprintf("%s: %s", within(failed.StackTrace, at), failed.Msg)))
	case errors.As(err, &wrong):
		loc := wrong.Loc()
		place := within([]jsonnet.TraceFrame{{Loc: loc}}, at)
		return render.Stall(render.BuildFailed, "", render.Quote(fmt.Sprintf("%s: %s", place, strings.TrimPrefix(err.Error(), loc.String()+" "))))
	}
	return invalid("%s: Jsonnet gave up (%T)", at, err)
}

// within returns the place of the innermost of the frames that are in a file,
// and the file that was run.
func within(frames []jsonnet.TraceFrame, at string) string {
	for n := len(frames) - 1; n >= 0; n-- {
		loc := frames[n].Loc
		if !loc.IsSet() || loc.FileName == "" || strings.HasPrefix(loc.FileName, "<") {
			continue
		}
		place := fmt.Sprintf("%s:%d", loc.FileName, loc.Begin.Line)
		if loc.FileName != at {
			return place + " (of " + at + ")"
		}
		return place
	}
	return at
}

// traces are the first lines that programs write by std.trace.
type traces struct{ lines []string }

// Bounds of what is kept of them.
const (
	mostTraces   = 20
	longestTrace = 200
)

// Write implements [io.Writer]. Each line comes whole.
func (t *traces) Write(b []byte) (int, error) {
	if len(t.lines) < mostTraces {
		t.lines = append(t.lines, strings.ToValidUTF8(strings.TrimSpace(string(b[:min(len(b), longestTrace)])), ""))
	}
	return len(b), nil
}
