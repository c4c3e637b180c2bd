package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/stores"
)

type diffOptions struct {
	path, revision, output string
	refs                   []string
	brief                  bool
}

func newDiff(a *app) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff NAME [--path DIR | --revision REV]",
		Short: "Show what a directory or revision would change on the cluster",
		Long: `Show what a local directory, or another revision of the source, would change
on the cluster. Without either it shows what is different on the cluster from
the revision that was last applied.

It renders and plans as the controller does, and has the API server try each
change without making it (a dry run), with the rights of who runs the command.
--path is a checkout of the whole source or the unit's directory in it. For a
revision, the source is fetched with its own credentials, which one must be
allowed to read. What is pruned, and what would be held instead, is shown too.

Values of Secrets are never shown, only that they differ.

The exit code is 0 if nothing would change, 1 if something would, 2 if it
can't be told.`,
		Example: `  plumb diff app --path .
  plumb diff app --revision my-branch
  plumb diff app -o json`,
		Args:        takes(1, 1),
		Annotations: map[string]string{errorCodeKey: "2"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), a, args[0])
		},
		ValidArgsFunction: a.completeNames(units),
	}
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "local directory: the root of the source, or the unit's path in it")
	refFlag(f, &o.refs)
	f.StringVar(&o.revision, "revision", "", "branch, tag, full ref, commit, or revision as a status has it")
	f.BoolVar(&o.brief, "brief", false, "one line for each object")
	outputFlag(cmd, &o.output, "json", "yaml")
	exclusive(cmd, "path", "revision")
	a.asServed(cmd)
	return cmd
}

func (o diffOptions) run(ctx context.Context, a *app, name string) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	r := s.Reader(ctx)
	d, err := o.diff(ctx, s, r, name)
	if err != nil {
		return r.Hide(err)
	}
	if o.output != "" {
		err = a.data(d, o.output)
	} else {
		a.printDiff(d, o.brief)
	}
	switch {
	case err != nil:
		return err
	case len(d.Errors) > 0:
		return exitError(2)
	case d.Changed():
		return exitError(1)
	}
	return nil
}

func (o diffOptions) diff(ctx context.Context, s *conn, r *inspect.Reader, name string) (*inspect.Difference, error) {
	f, err := s.one(ctx, name, units)
	if err != nil {
		return nil, err
	}
	u, err := o.unit(ctx, s, r, f)
	if err != nil {
		return nil, err
	}
	d, err := s.Diff(ctx, f, u, r)
	if err != nil {
		return nil, inDirectory(err, o.path)
	}
	if o.path != "" {
		d.Path, d.Revision = o.path, ""
	}
	return d, nil
}

// unit is that of f, with what it is compared with.
func (o diffOptions) unit(ctx context.Context, s *conn, r *inspect.Reader, f *inspect.Found) (u engine.Unit, err error) {
	if u, err = f.Dialect.Unit(f.Object, r); err != nil {
		return u, fmt.Errorf("%s: %w", f.Ref, err)
	}
	u.Artifacts, err = o.artifacts(ctx, s, r, f, &u)
	return u, err
}

// artifacts are what u is compared with, and what was applied last is in u.Last.
func (o diffOptions) artifacts(ctx context.Context, s *conn, r *inspect.Reader, f *inspect.Found, u *engine.Unit) ([]*source.Artifact, error) {
	var src *inspect.Found
	var err error
	if !f.Inline {
		if src, err = s.Get(ctx, f.Source); err != nil {
			return nil, err
		}
	}
	var a *source.Artifact
	switch {
	case o.path != "":
		return locals(ctx, r, f, src, o.path, o.refs, u)
	case f.Inline:
		store, done, err := openStore()
		if err != nil {
			return nil, err
		}
		defer done()
		return f.Dialect.Artifacts(ctx, f.Object, r, store, view.Want{Revision: or(o.revision, f.Revision)})
	default:
		want := or(o.revision, or(f.Revision, src.Revision))
		if want == "" {
			return nil, fmt.Errorf("%s has no revision yet; name one with --revision, or a directory with --path", src.Ref)
		}
		store, done, err := openStore()
		if err != nil {
			return nil, err
		}
		defer done()
		if a, err = src.Dialect.Artifact(ctx, src.Object, r, store, view.Want{Revision: want}); err != nil {
			return nil, fmt.Errorf("fetch %s at %s: %w; with a checkout of it, type: plumb diff %s --path DIR", src.Ref, want, err, f.Ref.Name)
		}
		if u.Last, err = last(ctx, r, f, src, store); err != nil {
			return nil, fmt.Errorf("fetch %s at %s, which was applied last: %w", src.Ref, f.Revision, err)
		}
	}
	return []*source.Artifact{a}, nil
}

// last is what was applied last, or nil if the source does not have it any more.
func last(ctx context.Context, r *inspect.Reader, f, src *inspect.Found, store *stores.Stores) ([]*source.Artifact, error) {
	if f.Revision == "" {
		return nil, nil
	}
	a, err := src.Dialect.Artifact(ctx, src.Object, r, store, view.Want{Revision: f.Revision})
	if fault.Is(err, git.ReasonReferenceNotFound) {
		return nil, nil
	}
	return []*source.Artifact{a}, err
}

// openStore opens what sources are kept in, for one command: what is there
// already, or one of its own if another command uses that.
func openStore() (*stores.Stores, func(), error) {
	if cache, err := os.UserCacheDir(); err == nil {
		if s, err := stores.Open(filepath.Join(cache, "plumb")); err == nil {
			return s, func() { s.Close() }, nil
		}
	}
	dir, err := os.MkdirTemp("", "plumb-sources-")
	if err != nil {
		return nil, nil, err
	}
	s, err := stores.Open(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	return s, func() { s.Close(); os.RemoveAll(dir) }, nil
}
