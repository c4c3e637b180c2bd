package helm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/ignore"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

// limits bound what a repository can make a render cost. They are far above
// what people write and far below what hurts.
type limits struct {
	read   int64 // bytes of all files
	steps  int   // through the tree
	nested int   // charts that are dependencies of dependencies
}

var defaultLimits = limits{read: 64 << 20, steps: 100_000, nested: 20}

// A reader reads the files of one render.
type reader struct {
	ctx    context.Context
	tree   tree.Tree
	limits limits

	read  int64
	steps int
	needs []render.Need
}

// chart loads the chart of a directory, with all its dependencies.
func (r *reader) chart(dir string, depth int) (*chart.Chart, error) {
	if depth > r.limits.nested {
		return nil, tooLarge("%s: charts depend on charts more than %d deep", dir, r.limits.nested)
	}
	files, err := r.files(dir)
	if err != nil {
		return nil, err
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, wrong(dir, err)
	}
	if err := checkName(c, dir); err != nil {
		return nil, err
	}
	return c, r.dependencies(c, dir, depth)
}

// checkName refuses names that would make a path of themselves: Helm takes them
// for directories.
func checkName(c *chart.Chart, dir string) error {
	if name := c.Name(); name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
		return render.Stall(reasonInvalid, "give the chart a name of letters, digits and dashes", fmt.Errorf("%s: the name of a chart can't be %q", path.Join(dir, chartFile), name))
	}
	for _, dep := range c.Dependencies() {
		if err := checkName(dep, path.Join(dir, "charts", "…")); err != nil {
			return err
		}
	}
	return nil
}

// reasonInvalid is that of a chart that is none.
const reasonInvalid = "InvalidChart"

// dependencies adds those that the chart names, and are not in it, but elsewhere
// in the tree.
func (r *reader) dependencies(c *chart.Chart, dir string, depth int) error {
	for _, d := range c.Metadata.Dependencies {
		if d == nil || has(c, d) {
			continue
		}
		at := path.Join(dir, chartFile)
		to, local := strings.CutPrefix(d.Repository, "file://")
		switch {
		case !local && d.Repository == "":
			return render.Stall(reasonInvalid, fmt.Sprintf("put it into %s, or say where it is from with repository", path.Join(dir, "charts", d.Name)),
				fmt.Errorf("%s: it depends on the chart %s, which is not there", at, d.Name))
		case !local:
			r.needs = append(r.needs, render.Need{
				By: at, At: path.Join(dir, "charts", cmp.Or(d.Alias, d.Name)), Name: d.Name, Version: locked(c, d), Repository: d.Repository,
			})
			continue
		}
		below, err := tree.Clean(path.Join(dir, to))
		if err != nil || path.IsAbs(to) {
			return render.Stall("PathEscapesSource", "name a directory inside of the repository", fmt.Errorf("%s: the repository %q of the dependency %s leads out of the source", at, d.Repository, d.Name))
		}
		name, err := tree.Resolve(r.tree, below)
		if err != nil {
			return err
		}
		sub, err := r.chart(name, depth+1)
		if err != nil {
			return fmt.Errorf("%s: dependency %s: %w", at, d.Name, err)
		}
		if sub.Name() != d.Name || !chartutil.IsCompatibleRange(d.Version, sub.Metadata.Version) {
			return render.Stall(reasonInvalid, "correct the dependency's name or version",
				fmt.Errorf("%s: it depends on %s %s, and in %s is %s %s", at, d.Name, d.Version, name, sub.Name(), sub.Metadata.Version))
		}
		c.AddDependency(sub)
	}
	return nil
}

// locked is the version of a dependency that Chart.lock says, if it is one of those
// that Chart.yaml wants, and else what that says.
func locked(c *chart.Chart, d *chart.Dependency) string {
	if c.Lock == nil {
		return d.Version
	}
	for _, l := range c.Lock.Dependencies {
		if l != nil && l.Name == d.Name && l.Repository == d.Repository && chartutil.IsCompatibleRange(d.Version, l.Version) {
			return l.Version
		}
	}
	return d.Version
}

// has reports whether a chart has a dependency with it.
func has(c *chart.Chart, d *chart.Dependency) bool {
	for _, sub := range c.Dependencies() {
		if sub.Name() == d.Name {
			return true
		}
	}
	return false
}

// files returns the files of a chart, by their names in it.
func (r *reader) files(dir string) ([]*archive.BufferedFile, error) {
	if _, err := r.tree.Lookup(path.Join(dir, chartFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, render.Missing(err, reasonInvalid, "%s: a chart has a file %s, which", dir, chartFile)
	} else if err != nil {
		return nil, err
	}
	rules, err := r.ignored(dir)
	if err != nil {
		return nil, err
	}
	var all []*archive.BufferedFile
	var walk func(at, rel string) error
	walk = func(at, rel string) error {
		if err := r.ctx.Err(); err != nil {
			return context.Cause(r.ctx)
		}
		entries, err := r.tree.ReadDir(at)
		if err != nil {
			return err
		}
		if r.steps += len(entries); r.steps > r.limits.steps {
			return tooLarge("%s holds too many files and directories for a chart", dir)
		}
		for _, e := range entries {
			from, below := path.Join(at, e.Name), path.Join(rel, e.Name)
			if e.Kind == tree.Link {
				if from, e, err = r.linked(from); err != nil {
					return err
				}
			}
			isDir := e.Kind == tree.Dir
			if !isDir && e.Kind != tree.File || rules.Ignore(below, info{path.Base(below), isDir}) {
				continue
			}
			if isDir {
				if err := walk(from, below); err != nil {
					return err
				}
				continue
			}
			b, err := r.content(from)
			if err != nil {
				return err
			}
			// Helm may change what it is given, and the tree's is not its own.
			all = append(all, &archive.BufferedFile{Name: below, Data: bytes.Clone(bytes.TrimPrefix(b, bom))})
		}
		return nil
	}
	return all, walk(dir, "")
}

var bom = []byte("\ufeff")

// linked returns what a link leads to.
func (r *reader) linked(at string) (string, tree.Entry, error) {
	name, err := tree.Resolve(r.tree, at)
	if err != nil {
		return "", tree.Entry{}, err
	}
	e, err := r.tree.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", e, render.Missing(err, render.BuildFailed, "%s: the file %q that this symbolic link leads to", at, name)
	}
	return name, e, err
}

// ignored returns the rules of a chart for files that are none of it.
func (r *reader) ignored(dir string) (*ignore.Rules, error) {
	rules := ignore.Empty()
	name, err := tree.Resolve(r.tree, path.Join(dir, ignoreFile))
	if err != nil {
		return nil, err
	}
	b, err := r.content(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if rules, err = ignore.Parse(bytes.NewReader(b)); err != nil {
			return nil, render.Stall(reasonInvalid, "", fmt.Errorf("%s: %w", name, err))
		}
	}
	rules.AddDefaults()
	return rules, nil
}

// content reads a file, within the limits.
func (r *reader) content(name string) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, context.Cause(r.ctx)
	}
	b, err := r.tree.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if r.read += int64(len(b)); r.read > r.limits.read {
		return nil, tooLarge("%s: the files of this chart are larger than %d MiB", name, r.limits.read>>20)
	}
	return b, nil
}

// info is what rules ask of a file.
type info struct {
	name string
	dir  bool
}

func (i info) Name() string { return i.name }
func (i info) IsDir() bool  { return i.dir }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir
	}
	return 0
}
func (info) Size() int64        { return 0 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) Sys() any           { return nil }

// wrong is the error for a chart that Helm can't load.
func wrong(dir string, err error) error {
	return render.Stall(reasonInvalid, "", render.Quote(fmt.Sprintf("%s: %v", dir, err)))
}

func tooLarge(format string, args ...any) error {
	return render.Stall(render.TooLarge, "", fmt.Errorf(format, args...))
}
