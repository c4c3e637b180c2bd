package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/inspect/action"
	"plumb.dev/plumb/object"
)

func newAction(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "action KIND/NAME [ACTION [PARAM=VALUE...]]",
		Short: "Restart, scale, pause or suspend an object, or list what it can do",
		Long: `Do something to one object that Git need not say: restart it, scale it, pause
and resume it, suspend it, make a Job of a CronJob. Without an ACTION, what the
object can do is listed.

What Git says nothing about stays as it is then. A field that Git sets is put
back by a unit that corrects drift, so that is refused; one that does not
correct it, such as an Application without selfHeal, shows it as out of sync.`,
		Example: "  plumb action deployment/web -n shop\n  plumb action deployment/web restart -n shop\n  plumb action deployment/web scale replicas=3 -n shop\n  plumb action cronjob/backup create-job -n shop",
		Args:    takes(1, 10),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := cutKind(args[0])
			if !ok || kind == "" || name == "" {
				return notKindName(args[:1], "action deployment/web")
			}
			params := map[string]string{}
			for _, arg := range args[min(2, len(args)):] {
				key, value, ok := strings.Cut(arg, "=")
				if !ok {
					return fmt.Errorf("%q is not PARAM=VALUE; type: plumb action %s", clean(arg), clean(args[0]))
				}
				params[key] = value
			}
			s, err := a.connect()
			if err != nil {
				return err
			}
			o, err := s.anyObject(cmd.Context(), kind, name)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return a.listActions(o, output)
			}
			return s.act(cmd.Context(), o, args[1], params)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	outputFlag(cmd, &output, "json", "yaml")
	return cmd
}

// listActions prints what an object can do.
func (a *app) listActions(o *unstructured.Unstructured, output string) error {
	all := action.Of(o)
	if output != "" {
		if all == nil {
			all = []action.Action{}
		}
		return a.data(all, output)
	}
	if len(all) == 0 {
		a.note("%s has no actions.", clean(object.RefOf(o).String()))
		return nil
	}
	t := table{columns: cols("ACTION", "DOES", "PARAMS", "NOT NOW")}
	for _, x := range all {
		var params []string
		for _, p := range x.Params {
			params = append(params, fmt.Sprintf("%s=%s", p.Name, p.Now))
		}
		r := row{cells: []string{x.Name, x.Does, or(strings.Join(params, " "), "-"), or(x.Not, "-")}}
		if x.Not != "" {
			r.color = a.dim
		}
		t.rows = append(t.rows, r)
	}
	return a.table(t, false)
}

// act does an action, and says what becomes of it.
func (s *conn) act(ctx context.Context, o *unstructured.Unstructured, name string, params map[string]string) error {
	ref := object.RefOf(o)
	change, err := action.Make(o, name, params, time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w; type: plumb action %s/%s -n %s", ref, err, strings.ToLower(ref.Kind), ref.Name, ref.Namespace)
	}
	unit, err := s.Owner(ctx, o)
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		s.note("It can't be told whether Git says otherwise: %s", clean(err.Error()))
	} else if err != nil {
		return err
	}
	contests := []string(nil)
	if unit != nil {
		contests = change.Contests(o, unit.Dialect.Manager())
	}
	if len(contests) > 0 && unit.Corrects {
		return fmt.Errorf("%s of %s is set in Git, and %s would put that back; change it there, or first type: plumb suspend %s -n %s",
			strings.Join(contests, ", "), ref, unit.Ref, unit.Ref.Name, unit.Ref.Namespace)
	}
	done, err := change.Do(ctx, s.Client, o)
	if err != nil {
		return err
	}
	if change.Creates != nil {
		s.printf("%s %s: %s made\n", s.good("✔"), clean(ref.String()), clean(object.RefOf(done).String()))
	} else {
		s.printf("%s %s: %s done\n", s.good("✔"), clean(ref.String()), name)
	}
	s.afterAction(unit, contests)
	return nil
}

// afterAction says what the unit makes of fields that are in Git.
func (s *conn) afterAction(unit *inspect.Found, contests []string) {
	if len(contests) == 0 {
		return
	}
	then := "puts it back with its next sync, and is out of sync until then"
	if unit.Suspended {
		then = "puts it back when it is resumed"
	}
	s.note("%s is set in Git: %s %s.", strings.Join(contests, ", "), clean(unit.Ref.String()), then)
}
