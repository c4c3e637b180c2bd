package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
	"plumb.dev/plumb/tree"
)

// limits bound what a repository can make a render cost. They are far above
// what people write and far below what hurts.
type limits struct {
	read    int64 // bytes of all files
	marks   int   // characters in all YAML files that can begin a value
	objects int   // of one render
	steps   int   // through the tree in search of files
	file    manifest.Limits
}

var defaultLimits = limits{
	read:    64 << 20,
	marks:   3_000_000,
	objects: 10_000,
	steps:   1_000_000,
	file:    manifest.Limits{Depth: 500, Expanded: 250_000, Documents: 10_000},
}

// A reader reads the files of one render. It keeps the first error that the
// render must not get over.
type reader struct {
	ctx      context.Context
	tree     tree.Tree
	dir      string
	o        Options
	limits   limits
	nameless bool

	read     int64
	marks    int
	steps    int
	warnings []string
	err      error
}

func (r *reader) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// fail keeps err if it is more than that a name isn't there.
func (r *reader) fail(err error) error {
	if err != nil && r.err == nil && !errors.Is(err, fs.ErrNotExist) {
		r.err = err
	}
	return err
}

// A found file is one to read: its name below the directory, and what that
// resolves to.
type found struct{ rel, name string }

// at is what messages call it.
func (r *reader) at(f found) string { return path.Join(r.dir, f.rel) }

// files returns the files to read, in the order of their names, each directory
// where its name is.
func (r *reader) files() ([]found, error) {
	wants, err := r.o.filter()
	if err != nil {
		return nil, err
	}
	var all []found
	var walk func(rel string) error
	walk = func(rel string) error {
		if err := r.ctx.Err(); err != nil {
			return r.fail(context.Cause(r.ctx))
		}
		entries, err := r.tree.ReadDir(path.Join(r.dir, rel))
		if err != nil {
			return r.fail(err)
		}
		if r.steps += len(entries); r.steps > r.limits.steps {
			return tooLarge("%s holds too many files and directories: render directories below it", r.dir)
		}
		for _, e := range entries {
			below := path.Join(rel, e.Name)
			switch {
			case e.Kind == tree.Dir && r.o.Recurse:
				if err := walk(below); err != nil {
					return err
				}
			case e.Kind == tree.File && wants(below):
				all = append(all, found{below, path.Join(r.dir, below)})
			case e.Kind == tree.Link && wants(below):
				name, err := r.linked(below)
				if err != nil {
					return err
				}
				if name != "" {
					all = append(all, found{below, name})
				}
			}
		}
		return nil
	}
	return all, walk("")
}

// linked returns the name of the file that a link leads to; none if it leads to
// a directory.
func (r *reader) linked(rel string) (string, error) {
	at := path.Join(r.dir, rel)
	name, err := tree.Resolve(r.tree, at)
	if err != nil {
		return "", r.fail(err)
	}
	e, err := r.tree.Lookup(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// What it once led to may be in the cluster: without an error it
		// would be deleted.
		f := render.Missing(err, render.BuildFailed, "%s: the file %q that this symbolic link leads to", at, name)
		if f.Hint == "" {
			f.Hint = "remove the link, or exclude it"
		}
		return "", f
	case err != nil:
		return "", r.fail(err)
	case e.Kind != tree.File:
		r.warn("%s: this symbolic link leads to a %s and is left out", at, e.Kind)
		return "", nil
	}
	return name, nil
}

// content reads a file, within the limits.
func (r *reader) content(name string) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, r.fail(context.Cause(r.ctx))
	}
	b, err := r.tree.ReadFile(name)
	if err != nil {
		return nil, r.fail(err)
	}
	if r.read += int64(len(b)); r.read > r.limits.read {
		return nil, r.fail(tooLarge("%s: the files of this render are larger than %d MiB", name, r.limits.read>>20))
	}
	return b, nil
}

// parse parses YAML, counting what all files of the render hold.
func (r *reader) parse(b []byte, at string) ([]*yaml.Node, error) {
	if r.marks += manifest.Marks(b); r.marks > r.limits.marks {
		return nil, tooLarge("%s: the manifests of this render hold more than %d values", at, r.limits.marks)
	}
	return manifest.Parse(b, at, r.limits.file)
}

// skips reports whether a file says that it is none to render.
func (r *reader) skips(b []byte) bool {
	return r.o.SkipMarker != "" && bytes.Contains(b, []byte(r.o.SkipMarker))
}

func escapes(p, at string) error {
	return render.Stall("PathEscapesSource", "point the path at a file inside the repository", fmt.Errorf("%s: path %q leads out of the source", at, p))
}

func tooLarge(format string, args ...any) error {
	return render.Stall(render.TooLarge, "", fmt.Errorf(format, args...))
}

func invalid(format string, args ...any) error {
	return render.Stall(render.BuildFailed, "", fmt.Errorf(format, args...))
}
