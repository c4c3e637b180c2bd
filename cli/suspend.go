package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"plumb.dev/plumb/inspect"
)

func newSuspend(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "suspend [KIND/]NAME",
		Short: "Stop holding a unit true, or a source current",
		Long: `Stop holding a unit true, or a source current. What was applied stays as it
is; nothing is corrected or pruned until plumb resume.`,
		Example:           "  plumb suspend app\n  plumb suspend source/app",
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeNames(units),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, f, err := a.target(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if f.Suspended {
				a.printf("%s was suspended already\n", clean(f.Ref.String()))
				return nil
			}
			if _, err := s.patch(cmd.Context(), f, f.Suspend(true)); err != nil {
				return err
			}
			a.printf("%s %s is suspended\n", a.warn("‖"), clean(f.Ref.String()))
			return nil
		},
	}
}

func newResume(a *app) *cobra.Command {
	var noWait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "resume [KIND/]NAME",
		Short: "Hold a suspended unit true again, and wait for it",
		Long: `Hold a suspended unit true again, or a source current, and wait until it is.

The exit code is 1 if it fails or takes longer than --timeout.`,
		Args:              takes(1, 1),
		ValidArgsFunction: a.completeNames(units),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, f, err := a.target(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if f, err = s.patch(cmd.Context(), f, f.Suspend(false)); err != nil || noWait {
				return err
			}
			// To resume is a new generation, which the conditions name.
			if f, err = s.settle(cmd.Context(), f, timeout, func(*inspect.Found) bool { return true }); err != nil {
				return err
			}
			a.printf("%s %s is resumed at %s\n", a.good("✔"), clean(f.Ref.String()), clean(f.Revision))
			return nil
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "don't wait for it to be ready")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

// target returns what NAME or KIND/NAME stands for: a unit, or a source if its
// kind is said.
func (a *app) target(ctx context.Context, name string) (*conn, *inspect.Found, error) {
	s, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	which := units
	if k, _, ok := cutKind(name); ok && s.isSource(k) {
		which = sources
	}
	f, err := s.one(ctx, name, which)
	return s, f, err
}
