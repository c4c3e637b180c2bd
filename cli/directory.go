package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// refFlag adds --ref.
func refFlag(f *pflag.FlagSet, to *[]string) {
	f.StringArrayVar(to, "ref", nil, "NAME=DIR: with --path, the local directory of the source that an Application refers to as $NAME")
}

// locals makes the artifacts of the directories that --path and --ref name, for u
// of source f.Source, in the order of its sources.
func locals(ctx context.Context, r view.Reader, f, src *inspect.Found, dir string, refs []string, u *engine.Unit) ([]*source.Artifact, error) {
	dirs := make(map[string]string, len(refs))
	for _, ref := range refs {
		name, dir, ok := strings.Cut(ref, "=")
		if !ok || name == "" || dir == "" {
			return nil, fmt.Errorf("--ref %q: write it as NAME=DIR", ref)
		}
		dirs[strings.TrimPrefix(name, "$")] = dir
	}
	if len(u.Renders) != 1 {
		return nil, fmt.Errorf("%s makes objects of %d sources, and --path has the files of one; leave it out", f.Ref, len(u.Renders))
	}
	main := u.Renders[0]
	a, err := local(ctx, r, f, src, dir, u)
	if err != nil {
		return nil, err
	}
	all := make([]*source.Artifact, max(len(u.Sources), main.From+1))
	for i := range all {
		all[i] = a // of the others nothing is read
	}
	for _, m := range main.Mounts {
		name := strings.TrimPrefix(m.At, "$")
		if m.From == main.From {
			continue
		}
		dir, ok := dirs[name]
		if !ok {
			return nil, fmt.Errorf("%s refers to files of another source as %s; add --ref %s=DIR", f.Ref, m.At, name)
		}
		delete(dirs, name)
		t, err := tree.OpenDir(dir)
		if err != nil {
			return nil, fmt.Errorf("--ref %s: %w", name, err)
		}
		if all[m.From], err = f.Dialect.Directory(f.Source, t, dir); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		return nil, fmt.Errorf("--ref %s: %s refers to no source of that name", name, f.Ref)
	}
	return all, nil
}

// local makes the artifact of the directory that --path names, for u of source
// f.Source. src is that source, if it is known what it says; without it the
// rules are those of a source that says nothing.
func local(ctx context.Context, r view.Reader, f, src *inspect.Found, dir string, u *engine.Unit) (*source.Artifact, error) {
	root, err := sourceRoot(dir, u.Renders[0].Path)
	if err != nil {
		return nil, err
	}
	t, err := tree.OpenDir(root)
	if err != nil {
		return nil, err
	}
	if src == nil {
		return f.Dialect.Directory(f.Source, t, dir)
	}
	return src.Dialect.Artifact(ctx, src.Object, r, nil, view.Want{Dir: t, Revision: dir})
}

// sourceRoot returns the root of the source that dir is a directory of. That is
// dir, unless it can be told to be the unit's own directory: because the unit's
// path is not below it, and its own name ends in that path.
func sourceRoot(dir, unitPath string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	switch fi, err := os.Stat(abs); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("--path %s does not exist; name the root of the source", dir)
	case err != nil:
		return "", fmt.Errorf("--path: %w", err)
	case !fi.IsDir():
		return "", fmt.Errorf("--path %s is not a directory; name the root of the source", dir)
	}
	within := path.Clean(strings.TrimPrefix(unitPath, "/"))
	if within == "." || !fs.ValidPath(within) {
		return abs, nil
	}
	if _, err := os.Stat(filepath.Join(abs, filepath.FromSlash(within))); err == nil {
		return abs, nil
	}
	names := []string{abs}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		names = append(names, real)
	}
	for _, name := range names {
		if root, ok := strings.CutSuffix(filepath.ToSlash(name), "/"+within); ok {
			return filepath.FromSlash(or(root, "/")), nil
		}
	}
	return abs, nil
}

// inDirectory adds to an error of a render from --path what to type next.
func inDirectory(err error, dir string) error {
	if dir == "" || !fault.Is(err, fault.PathNotFound) {
		return err
	}
	return fmt.Errorf("%w; --path is the root of the source, or the directory there that spec.path names", err)
}
