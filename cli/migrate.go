package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/inspect"
)

type migrateOptions struct {
	take   bool
	output string
}

func newMigrate(a *app) *cobra.Command {
	var o migrateOptions
	names := a.dialectNames()
	cmd := &cobra.Command{
		Use:   "migrate " + strings.Join(names, "|") + " [--apply]",
		Short: "Show what becomes of what another controller has applied",
		Long: `Show what would change on the cluster, field by field, if plumb held true what
Argo CD or Flux does now. If all is well, that is nothing: the objects of each
Application or Kustomization are as the revision has them that it was compared
with last.

Who owns the fields of an object may change nonetheless, and it may get a label
by which plumb watches it. plumb does that with the first write of each, and
--apply does it now, once. It changes nothing else: an object that would change
is left as it is, and shown.

It acts with the rights of who runs it, on all namespaces, and may be run while
the other controller runs.

The exit code is 0 if nothing would change, 1 if something would, 2 if it
can't be told of all.`,
		Example:     "  plumb migrate argocd\n  plumb migrate argocd --apply",
		Args:        takes(1, 1),
		ValidArgs:   names,
		Annotations: map[string]string{errorCodeKey: "2"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(names, args[0]) {
				return fmt.Errorf("%q is none of %s; type: %s --help", clean(args[0]), strings.Join(names, ", "), cmd.CommandPath())
			}
			return o.run(cmd.Context(), a, args[0])
		},
	}
	cmd.Flags().BoolVar(&o.take, "apply", false, "take over whose the fields are, and set the label")
	outputFlag(cmd, &o.output, "json", "yaml")
	a.asServed(cmd)
	return cmd
}

// dialectNames are what people call the dialects, sorted.
func (a *app) dialectNames() (names []string) {
	for _, d := range a.dialects {
		names = append(names, d.Name())
	}
	slices.Sort(names)
	return names
}

// A migrated is what becomes of one unit, or why that can't be told.
type migrated struct {
	Unit string `json:"unit"`
	*inspect.Migration
	Error string `json:"error,omitempty"`
}

func (o migrateOptions) run(ctx context.Context, a *app, dialect string) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	r := s.Reader(ctx)
	found, err := s.list(ctx, "", units)
	if err != nil {
		return r.Hide(err)
	}
	all := []migrated{}
	for _, f := range served(found, dialect, r) {
		m := migrated{Unit: f.Ref.String()}
		if m.Migration, err = o.migrate(ctx, s, r, f); err != nil {
			m.Error = r.RedactText(err.Error())
		}
		all = append(all, m)
		if o.output == "" {
			o.print(a, m)
		}
	}
	if o.output != "" {
		err = a.data(all, o.output)
	} else {
		o.summary(a, dialect, all)
	}
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(all, func(m migrated) bool { return m.Error != "" || len(m.Errors) > 0 }):
		return exitError(2)
	case slices.ContainsFunc(all, func(m migrated) bool { return m.Changed() }):
		return exitError(1)
	}
	return nil
}

// served are those of a dialect that plumb would work on.
func served(found []*inspect.Found, dialect string, r *inspect.Reader) []*inspect.Found {
	return slices.DeleteFunc(found, func(f *inspect.Found) bool {
		if f.Dialect.Name() != dialect {
			return true
		}
		units, unknown := f.Dialect.Units(f.Alone(), r, nil)
		return len(units)+len(unknown) == 0
	})
}

func (o migrateOptions) migrate(ctx context.Context, s *conn, r *inspect.Reader, f *inspect.Found) (*inspect.Migration, error) {
	u, err := diffOptions{}.unit(ctx, s, r, f)
	if err != nil {
		return nil, err
	}
	return s.Migrate(ctx, f, u, r, o.take)
}

// print prints what becomes of one unit.
func (o migrateOptions) print(a *app, m migrated) {
	if m.Error != "" {
		a.println(a.bad("✘ " + clean(m.Unit) + ": " + clean(m.Error)))
		return
	}
	over := fmt.Sprintf("%s to take over", objects(len(m.TakeOver)))
	if o.take {
		over = fmt.Sprintf("%s taken over", objects(m.Taken()))
	}
	if !m.Changed() && len(m.Errors) == 0 {
		a.println(a.good("✔"), fmt.Sprintf("%s at %s: nothing would change, %s", clean(m.Unit), clean(m.Revision), over))
		return
	}
	a.printDiff(m.Difference, false)
	a.println("  " + over)
}

func objects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

// summary says what becomes of all units.
func (o migrateOptions) summary(a *app, dialect string, all []migrated) {
	changed, failed, over, taken := 0, 0, 0, 0
	for _, m := range all {
		switch {
		case m.Error != "":
			failed++
			continue
		case len(m.Errors) > 0:
			failed++
		case m.Changed():
			changed++
		}
		over, taken = over+len(m.TakeOver), taken+m.Taken()
	}
	parts := []string{fmt.Sprintf("%d would change", changed)}
	if failed > 0 {
		parts = append(parts, fmt.Sprintf("of %d it can't be told", failed))
	}
	what := fmt.Sprintf("%s to take over", objects(over))
	if o.take {
		what = fmt.Sprintf("%s taken over", objects(taken))
	} else if over > 0 {
		what += ", which plumb does as it writes to them, or at once: plumb migrate " + dialect + " --apply"
	}
	a.println(a.bold(fmt.Sprintf("%d units: %s; %s", len(all), strings.Join(parts, ", "), what)))
}
