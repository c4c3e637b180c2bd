package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
)

type diffOptions struct {
	path, revision, output string
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
	r := s.reader(ctx)
	d, err := o.diff(ctx, s, r, name)
	if err != nil {
		return r.hide(err)
	}
	d.hide(r)
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
	case d.changes():
		return exitError(1)
	}
	return nil
}

func (o diffOptions) diff(ctx context.Context, s *conn, r *reader, name string) (*difference, error) {
	f, err := s.one(ctx, name, units)
	if err != nil {
		return nil, err
	}
	u, err := s.dialect.Unit(f.object, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Ref, err)
	}
	src, err := s.get(ctx, f.Source)
	if err != nil {
		return nil, err
	}
	client := s.client
	if u.Target.Config != nil {
		c, err := cluster.New(u.Target.Cluster, u.Target.Config)
		if err != nil {
			return nil, err
		}
		if client, err = c.As(""); err != nil {
			return nil, err
		}
	}
	switch {
	case o.path != "":
		if u.Source, err = local(ctx, s.dialect, r, f, src, o.path, &u); err != nil {
			return nil, err
		}
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
		if u.Source, err = s.dialect.Artifact(ctx, src.object, r, store, flux.Want{Revision: want}); err != nil {
			return nil, fmt.Errorf("fetch %s at %s: %w; with a checkout of it, type: plumb diff %s --path DIR", src.Ref, want, err, f.Ref.Name)
		}
	}
	out, err := engine.Preview(ctx, client, u, s.allUnits(r, f, u.Source))
	if err != nil && !out.Rendered {
		return nil, inDirectory(err, o.path)
	}
	return newDifference(f, o.path, out, apply.Errors(err)), nil
}

// allUnits lists all units of the cluster when it is asked for them.
func (s *conn) allUnits(r *reader, f *found, a *source.Artifact) func(context.Context) ([]engine.Unit, []string) {
	var once sync.Once
	var all []engine.Unit
	var unknown []string
	return func(ctx context.Context) ([]engine.Unit, []string) {
		once.Do(func() {
			l, err := s.client.Dynamic().Resource(f.Resource()).List(ctx, metav1.ListOptions{})
			if err != nil {
				unknown = []string{"every " + f.Ref.Kind + ", which could not be listed"}
				return
			}
			all, unknown = s.dialect.Units(l.Items, r, a)
		})
		return all, unknown
	}
}

// openStore opens a store of repositories for one command: the one that is
// kept, or one of its own if another command uses that.
func openStore() (*git.Store, func(), error) {
	if cache, err := os.UserCacheDir(); err == nil {
		if s, err := git.NewStore(filepath.Join(cache, "plumb", "git"), git.Options{}); err == nil {
			return s, func() { s.Close() }, nil
		}
	}
	dir, err := os.MkdirTemp("", "plumb-git-")
	if err != nil {
		return nil, nil, err
	}
	s, err := git.NewStore(dir, git.Options{})
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	return s, func() { s.Close(); os.RemoveAll(dir) }, nil
}
