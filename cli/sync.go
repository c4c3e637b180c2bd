package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/inspect"
)

type syncOptions struct {
	withSource, approve, noWait bool
	timeout                     time.Duration
}

func newSync(a *app) *cobra.Command {
	var o syncOptions
	cmd := &cobra.Command{
		Use:   "sync [KIND/]NAME",
		Short: "Have a unit or source looked at now, and wait for the result",
		Long: `Have a unit looked at now, and wait until it is as it should be, or failed.
With --with-source its source is asked for a new revision first. A source is
synced as source/NAME.

The exit code is 1 if it fails or takes longer than --timeout.`,
		Example: `  plumb sync app --with-source
  plumb sync source/app
  plumb sync app --approve-prune`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), a, args[0])
		},
		ValidArgsFunction: a.completeNames(units),
	}
	f := cmd.Flags()
	f.BoolVar(&o.withSource, "with-source", false, "have the unit's source looked at first")
	f.BoolVar(&o.approve, "approve-prune", false, "let the source's current revision prune as much as it does")
	f.BoolVar(&o.noWait, "no-wait", false, "ask for it and don't wait")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

func (o syncOptions) run(ctx context.Context, a *app, name string) error {
	s, f, err := a.target(ctx, name)
	if err != nil {
		return err
	}
	if f.Suspended {
		return fmt.Errorf("%s is suspended; type: plumb resume %s -n %s", f.Ref, f.Ref.Name, f.Ref.Namespace)
	}
	if f.IsSource && (o.withSource || o.approve) {
		return fmt.Errorf("%s is a source: --with-source and --approve-prune are for units", f.Ref)
	}
	if o.withSource && !f.Inline { // else that is part of it
		src, err := s.Get(ctx, f.Source)
		if err != nil {
			return err
		}
		if src.Suspended {
			return fmt.Errorf("%s is suspended; type: plumb resume source/%s -n %s", src.Ref, src.Ref.Name, src.Ref.Namespace)
		}
		if err := o.one(ctx, s, src, ""); err != nil {
			return err
		}
	}
	approve := ""
	switch {
	case o.approve && f.Inline:
		approve = or(f.Revision, engine.AnyRevision)
	case o.approve:
		src, err := s.Get(ctx, f.Source)
		if err != nil {
			return err
		}
		if approve = src.Revision; approve == "" {
			return fmt.Errorf("%s has no revision yet, so there is nothing to approve; type: plumb sync %s --with-source", src.Ref, f.Ref.Name)
		}
	}
	return o.one(ctx, s, f, approve)
}

// one has f looked at, and waits for the result.
func (o syncOptions) one(ctx context.Context, s *conn, f *inspect.Found, approve string) error {
	began := time.Now()
	token := began.UTC().Format(time.RFC3339Nano)
	ask, err := f.Sync(f.Object, token, approve)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Ref, err)
	}
	if f, err = s.patch(ctx, f, ask); err != nil {
		return err
	}
	if o.noWait {
		s.printf("%s asked to sync\n", clean(f.Ref.String()))
		return nil
	}
	f, err = s.settle(ctx, f, o.timeout, func(now *inspect.Found) bool { return now.Handled == token })
	if err != nil {
		return err
	}
	what := "is at"
	if f.IsSource {
		what = "has"
	}
	s.printf("%s %s %s %s (%s)\n", s.good("✔"), clean(f.Ref.String()), what, clean(f.Revision), time.Since(began).Round(10*time.Millisecond))
	return nil
}

// settle waits until f is as it should be, and shows what it waits for. What
// begun does not accept is from before.
func (s *conn) settle(ctx context.Context, f *inspect.Found, timeout time.Duration, begun func(*inspect.Found) bool) (*inspect.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	w, end := s.startWait()
	defer end()
	w.say(fmt.Sprintf("%s: waiting", f.Ref))
	unwell := s.watchPending(ctx, func(text string) { w.say(f.Ref.String() + ": " + text) })
	last := f
	err := s.follow(ctx, f, func(now *inspect.Found) (bool, error) {
		last = now
		if now.Suspended {
			return false, fmt.Errorf("%s was suspended meanwhile", now.Ref)
		}
		if !begun(now) {
			return false, nil
		}
		switch now.State {
		case view.Done:
			return true, nil
		case view.Failed:
			return false, failure{fmt.Errorf("%s: %s: %s; %s", now.Ref, now.Reason, now.Message, next(now))}
		}
		unwell.see(now)
		w.say(now.Ref.String() + ": " + waitsFor(now, unwell))
		return false, nil
	})
	end()
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, fmt.Errorf("interrupted; what was asked for goes on, type: plumb get %s -n %s", f.Ref.Name, f.Ref.Namespace)
	}
	if timedOut(ctx, err) && !errors.As(err, &failure{}) {
		if !begun(last) {
			return nil, fmt.Errorf("%s was not looked at within %s; is plumb running? type: plumb get all -A", last.Ref, timeout)
		}
		return nil, fmt.Errorf("%s did not settle within %s: %s; %s", last.Ref, timeout, waitsFor(last, unwell), next(last))
	}
	return last, err
}

// A failure is a result, and not a lack of one.
type failure struct{ error }

// next is what to type next.
func next(f *inspect.Found) string {
	if f.IsSource {
		return fmt.Sprintf("type: plumb events source/%s -n %s", f.Ref.Name, f.Ref.Namespace)
	}
	return fmt.Sprintf("type: plumb tree %s -n %s", f.Ref.Name, f.Ref.Namespace)
}
