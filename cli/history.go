package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
)

func newHistory(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "Show what a unit has applied, and what came of it",
		Long: `Show the latest results of a unit, the newest first: revision, result, when,
and the first line of the commit message where that is still known.`,
		Args:              takes(1, 1),
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
			subjects := s.Subjects(cmd.Context(), f)
			for i := range f.History {
				f.History[i].Subject = subjects[f.History[i].Revision]
			}
			return a.printHistory(f, output)
		},
	}
	outputFlag(cmd, &output, "wide", "json", "yaml")
	return cmd
}

func (a *app) printHistory(f *inspect.Found, output string) error {
	if output == "json" || output == "yaml" {
		type run struct {
			view.Run
			First time.Time `json:"first,omitzero"`
			Last  time.Time `json:"last,omitzero"`
			Took  string    `json:"took"`
		}
		out := []run{}
		for _, r := range f.History {
			out = append(out, run{r, r.First, r.Last, r.Took.String()})
		}
		return a.data(out, output)
	}
	if len(f.History) == 0 {
		a.note("%s has applied nothing yet; type: plumb get %s -n %s", clean(f.Ref.String()), clean(f.Ref.Name), clean(f.Ref.Namespace))
		return nil
	}
	t := table{columns: cols("ID", "REVISION", "RESULT", "FIRST", "LAST", "TOOK", "RUNS", "COMMIT", "+DIGEST")}
	for _, r := range f.History {
		rev, subject := r.Revision, r.Subject
		if output != "wide" {
			rev, subject = shortHashes(rev), a.cut(subject, 60)
		}
		line := row{cells: []string{r.ID, rev, r.Result, age(r.First), age(r.Last), r.Took.String(), fmt.Sprint(r.Count), or(subject, "-"), r.Digest}}
		if !strings.HasSuffix(r.Result, "Succeeded") {
			line.color = a.bad
		}
		t.rows = append(t.rows, line)
	}
	if f.Rollback == nil {
		t = t.without(0)
	}
	return a.table(t, output == "wide")
}
