package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/xlab/treeprint"

	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/watch/health"
)

func newTree(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "tree [KIND/]NAME",
		Short: "Show a unit, its objects, their health, and their children down to Pods",
		Long: `Show a unit, the source and revision it was made from, the objects it has
applied and those that its health checks name, the health of each, and what
these made in turn: ReplicaSets, Jobs, Pods. Units among the objects are shown with theirs. ReplicaSets that are
scaled to nothing are left out.`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			f, err := s.one(cmd.Context(), args[0], units)
			if err != nil {
				return err
			}
			n, hidden, err := s.Tree(cmd.Context(), f)
			if err != nil {
				return err
			}
			for _, err := range hidden {
				a.note("%s %s, so the tree does not show whether there are any", a.warn("warning:"), clean(err.Error()))
			}
			if output != "" {
				return a.data(n, output)
			}
			a.printf("%s", a.drawTree(n))
			return nil
		},
		ValidArgsFunction: a.completeNames(units),
	}
	outputFlag(cmd, &output, "json", "yaml")
	return cmd
}

// drawTree draws n with lines.
func (a *app) drawTree(n *inspect.Node) string {
	t := treeprint.NewWithRoot(a.label(n))
	a.branches(t, n)
	return t.String()
}

func (a *app) branches(t treeprint.Tree, n *inspect.Node) {
	if n.Source != nil {
		t.AddNode(a.dim("from ") + a.label(n.Source))
	}
	for _, c := range n.Children {
		label := a.label(c)
		if c.HealthCheck {
			label = a.dim("checks ") + label
		}
		a.branches(t.AddBranch(label), c)
	}
}

func (a *app) label(n *inspect.Node) string {
	var b strings.Builder
	b.WriteString(a.bold(clean(n.Ref().String())))
	b.WriteByte(' ')
	b.WriteString(a.healthColor(n.Health)(n.Health))
	if n.Revision != "" {
		b.WriteString(" " + clean(shortHashes(n.Revision)))
	}
	if n.Subject != "" {
		b.WriteString(a.dim(" “" + clean(a.cut(n.Subject, 60)) + "”"))
	}
	if n.Message != "" {
		b.WriteString(a.dim(": " + clean(a.cut(n.Message, 100))))
	}
	return b.String()
}

func (a *app) healthColor(h string) func(...any) string {
	switch h {
	case health.Current.String(), "Ready":
		return a.good
	case health.InProgress.String(), health.Terminating.String(), health.Unknown.String(), "Suspended":
		return a.warn
	}
	return a.bad
}
