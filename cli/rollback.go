package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
)

func newRollback(a *app) *cobra.Command {
	var prune, noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rollback [KIND/]NAME [ID|REVISION]",
		Short: "Bring a unit back to what it had applied before",
		Long: `Bring a unit back to what it had applied before: to an entry of plumb history,
by its ID or the beginning of its revision, or without one to that before the
last. Hooks don't run.

It stays there until Git moves, also if it is synced of itself; plumb get shows
that, and plumb sync ends it. Only Applications have this. A Kustomization is
where its source is: revert the commit there, or type: plumb suspend.

The exit code is 1 if it fails or takes longer than --timeout.`,
		Example:           "  plumb rollback shop\n  plumb rollback shop 3\n  plumb rollback shop 9f2c1ab --prune",
		Args:              takes(1, 2),
		ValidArgsFunction: a.completeNames(units),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			f, err := s.one(cmd.Context(), args[0], units)
			if err != nil {
				return err
			}
			to, err := backTo(f, args[1:])
			if err != nil {
				return err
			}
			began := time.Now()
			token := began.UTC().Format(time.RFC3339Nano)
			ask, err := f.Rollback(f.Object, to.ID, token, prune)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Ref, err)
			}
			if f, err = s.patch(cmd.Context(), f, ask); err != nil {
				return err
			}
			if noWait {
				a.printf("%s asked to go back to %s\n", clean(f.Ref.String()), clean(to.Revision))
				return nil
			}
			if f, err = s.settle(cmd.Context(), f, timeout, func(now *inspect.Found) bool { return now.Handled == token }); err != nil {
				return err
			}
			a.printf("%s %s is back at %s (%s)\n", a.good("✔"), clean(f.Ref.String()), clean(to.Revision), time.Since(began).Round(10*time.Millisecond))
			return nil
		},
	}
	cmd.Flags().BoolVar(&prune, "prune", false, "delete what was not there then, also where pruning is off")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "ask for it and don't wait")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

// shortest is how much of a revision has to be said.
const shortest = 4

// backTo returns the run of the history of f that a person has named.
func backTo(f *inspect.Found, args []string) (view.Run, error) {
	list := fmt.Sprintf("type: plumb history %s -n %s", f.Ref.Name, f.Ref.Namespace)
	switch {
	case f.Rollback == nil:
		return view.Run{}, fmt.Errorf("%s is where its source is; revert the commit there, or type: plumb suspend %s -n %s", f.Ref, f.Ref.Name, f.Ref.Namespace)
	case f.Suspended:
		return view.Run{}, fmt.Errorf("%s is suspended; type: plumb resume %s -n %s", f.Ref, f.Ref.Name, f.Ref.Namespace)
	case len(args) == 0 && len(f.History) < 2:
		return view.Run{}, fmt.Errorf("%s has nothing before what it has applied last; %s", f.Ref, list)
	case len(args) == 0:
		return f.History[1], nil
	}
	for _, r := range f.History {
		if r.ID == args[0] {
			return r, nil
		}
	}
	for _, r := range f.History {
		if len(args[0]) >= shortest && strings.HasPrefix(r.Revision, args[0]) {
			return r, nil
		}
	}
	return view.Run{}, fmt.Errorf("%q is no ID and no revision in the history of %s; %s", clean(args[0]), f.Ref, list)
}
