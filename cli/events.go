package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
)

type eventsOptions struct {
	all, watch bool
	output     string
}

func newEvents(a *app) *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events [[KIND/]NAME]",
		Short: "Show what happened to units and sources",
		Long: `Show the events of units and sources, the latest last: what was applied,
corrected, pruned or refused. Kubernetes keeps events for an hour.`,
		Example: "  plumb events app\n  plumb events -A --watch",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(cmd.Context(), a, name)
		},
		ValidArgsFunction: a.completeNames(anyKind),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all-namespaces", "A", false, "of all namespaces")
	f.BoolVarP(&o.watch, "watch", "w", false, "go on with what happens from now on")
	outputFlag(cmd, &o.output, "json", "yaml")
	return cmd
}

func (o eventsOptions) run(ctx context.Context, a *app, name string) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	namespace, selector := s.namespace, fields.Everything()
	if o.all {
		namespace = ""
	}
	mine := func(e inspect.Event) bool { _, ok := s.KindOf(e.Ref); return ok }
	if name != "" {
		kind, bare, hasKind := cutKind(name)
		if err := checkName("name", bare); err != nil {
			return err
		}
		if hasKind && !slices.ContainsFunc(s.Kinds(), func(k view.Kind) bool { return k.Called(kind) }) {
			return fmt.Errorf("kind %q is none of %s; name one of them, or leave the kind out", clean(kind), strings.Join(s.kindNames(anyKind), ", "))
		}
		selector = fields.OneTermEqualSelector("involvedObject.name", bare)
		mine = func(e inspect.Event) bool {
			k, ok := s.KindOf(e.Ref)
			return ok && (!hasKind || k.Called(kind))
		}
	}
	list, version, err := s.Events(ctx, namespace, selector, mine)
	if err != nil {
		return err
	}
	if len(list) == 0 && !o.watch && name != "" {
		// Of what is not there nothing can be said, and that is not nothing.
		if err := s.isThere(ctx, name, o.all); err != nil {
			return err
		}
	}
	if o.output != "" && !o.watch {
		if list == nil {
			list = []inspect.Event{}
		}
		return a.data(list, o.output)
	}
	if len(list) == 0 && !o.watch {
		of := ""
		if name != "" {
			of = " of " + clean(name)
		}
		if o.all {
			a.note("No events%s in any namespace within the last hour; plumb get all -A shows how units and sources are.", of)
		} else {
			a.note("No events%s in namespace %s within the last hour; plumb events -A looks into all namespaces.", of, clean(namespace))
		}
		return nil
	}
	if err := o.print(a, list); err != nil || !o.watch {
		return err
	}
	return o.follow(ctx, s, namespace, selector, version, mine)
}

// isThere returns an error if no unit or source is called so.
func (s *conn) isThere(ctx context.Context, name string, anywhere bool) error {
	namespace := s.namespace
	if anywhere {
		namespace = ""
	}
	all, err := s.list(ctx, namespace, anyKind)
	if err != nil || len(named(all, name)) > 0 {
		return err
	}
	if anywhere {
		return s.missingEverywhere(ctx, name)
	}
	kind, bare, _ := cutKind(name)
	return s.missing(ctx, kind, bare, anyKind)
}

func (o eventsOptions) print(a *app, list []inspect.Event) error {
	if o.output != "" {
		for _, e := range list {
			if err := a.data(e, o.output); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	t := table{columns: cols("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")}
	for _, e := range list {
		r := row{cells: []string{age(e.Time), e.Type, e.Reason, e.Object, e.Message}}
		if e.Type == corev1.EventTypeWarning {
			r.color = a.warn
		}
		t.rows = append(t.rows, r)
	}
	return a.table(t, true)
}

// follow prints what happens until the command is ended.
func (o eventsOptions) follow(ctx context.Context, s *conn, namespace string, selector fields.Selector, version string, mine func(inspect.Event) bool) error {
	w, err := watchtools.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
			lo.FieldSelector = selector.String()
			return s.Clientset.CoreV1().Events(namespace).Watch(ctx, lo)
		},
	})
	if err != nil {
		return fmt.Errorf("watch events: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok && ctx.Err() != nil {
				return nil
			}
			if !ok {
				return fmt.Errorf("the watch on events ended; type the command again")
			}
			ev, isEvent := e.Object.(*corev1.Event)
			if !isEvent || e.Type == watch.Deleted {
				continue
			}
			one := inspect.NewEvent(ev)
			if !mine(one) {
				continue
			}
			if o.output != "" {
				if err := s.data(one, o.output); err != nil {
					return err
				}
				continue
			}
			s.printf("%s  %s  %s  %s  %s\n", one.Time.Local().Format(time.TimeOnly), clean(one.Type), clean(one.Reason), clean(one.Object), clean(one.Message))
		}
	}
}
