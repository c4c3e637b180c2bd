package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
)

type getOptions struct {
	all    bool
	output string
}

func newGet(a *app) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get [units|sources|all] [NAME]",
		Short: "List units and sources, and whether they are ready",
		Long: `List units, sources or both, and whether they are ready. Without a namespace
it is the one of the kubeconfig's context.

The exit code is 1 if one that was named does not exist.`,
		Example: `  plumb get -A
  plumb get app -n flux-system
  plumb get sources -A -o json`,
		Args: takes(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), a, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			which, rest := whichKinds(args)
			if len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			out := a.names(cmd.Context(), which, begun)
			if len(args) == 0 {
				out = append(out, "units", "sources", "all")
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "of all namespaces")
	outputFlag(cmd, &o.output, "wide", "json", "yaml", "name")
	return cmd
}

// whichKinds reads the first argument, if it says which kinds are meant.
func whichKinds(args []string) (which func(view.Kind) bool, rest []string) {
	if len(args) == 0 {
		return units, nil
	}
	switch strings.ToLower(args[0]) {
	case "unit", "units":
		return units, args[1:]
	case "source", "sources":
		return sources, args[1:]
	case "all":
		return anyKind, args[1:]
	}
	return units, args
}

func (o getOptions) run(ctx context.Context, a *app, args []string) error {
	which, rest := whichKinds(args)
	if len(rest) > 1 {
		return fmt.Errorf("%q is not units, sources or all; type: plumb get [units|sources|all] [NAME]", clean(args[0]))
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	namespace := s.namespace
	if o.all {
		namespace = ""
	}
	var items []*inspect.Found
	switch {
	case len(rest) == 1 && !o.all:
		f, err := s.one(ctx, rest[0], which)
		if err != nil {
			return err
		}
		items = []*inspect.Found{f}
	default:
		if items, err = s.list(ctx, namespace, which); err != nil {
			return err
		}
		if len(rest) == 1 {
			if items = named(items, rest[0]); len(items) == 0 {
				return s.missingEverywhere(ctx, rest[0])
			}
		}
	}
	if len(items) == 0 && (o.output == "" || o.output == "wide") {
		what := called(s.Kinds(), which)
		switch {
		case !o.all:
			a.note("No %s in namespace %s; plumb get %s -A looks into all.", what, clean(namespace), listing(s.Kinds(), which))
		case what != "unit or source":
			a.note("No %s in any namespace; plumb get all -A shows units and sources.", what)
		default:
			a.note("Nothing found in any namespace; write %s, and kubectl apply them.", strings.Join(kindsOf(s.Cluster, anyKind), " and "))
		}
		return nil
	}
	if err := o.print(a, items, len(rest) == 1 && len(items) == 1); err != nil {
		return err
	}
	if len(args) == 0 && (o.output == "" || o.output == "wide") {
		where := ""
		if o.all {
			where = " -A"
		}
		a.note("These are units; plumb get sources%s shows sources, plumb get all%[1]s both.", where)
	}
	return nil
}

// missingEverywhere is the error for a name that is in no namespace.
func (s *conn) missingEverywhere(ctx context.Context, name string) error {
	all, err := s.list(ctx, "", anyKind)
	if err != nil {
		return err
	}
	if other := named(all, name); len(other) > 0 {
		return s.notAUnit(other[0])
	}
	return fmt.Errorf("nothing is called %q in any namespace; type: plumb get all -A", clean(name))
}

func named(items []*inspect.Found, name string) (out []*inspect.Found) {
	kind, bare, ok := strings.Cut(name, "/")
	for _, f := range items {
		if !ok && f.Ref.Name == name || ok && f.Ref.Name == bare && f.Called(kind) {
			out = append(out, f)
		}
	}
	return out
}

func (o getOptions) print(a *app, items []*inspect.Found, single bool) error {
	switch o.output {
	case "name":
		for _, f := range items {
			a.printf("%s.%s/%s\n", strings.ToLower(f.Ref.Kind), f.Ref.Group, f.Ref.Name)
		}
		return nil
	case "json", "yaml":
		list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}}}
		for _, f := range items {
			f.Object.SetManagedFields(nil)
			list.Items = append(list.Items, *f.Object)
		}
		if single {
			return a.data(list.Items[0].Object, o.output)
		}
		return a.data(list.UnstructuredContent(), o.output)
	}
	t := table{columns: cols("NAMESPACE", "KIND", "NAME", "READY", "STATUS", "REVISION", "SUSPENDED", "AGE", "+SOURCE", "+PATH")}
	wide := o.output == "wide"
	cut := false
	for _, f := range items {
		status, revision := f.Message, or(f.Revision, "-")
		if !wide {
			status, revision = a.cut(shortHashes(status), 60), shortHashes(revision)
			cut = cut || status != shortHashes(f.Message)
		}
		source := "-"
		if !f.Source.IsZero() {
			source = f.Source.String()
		}
		r := row{cells: []string{
			f.Ref.Namespace, f.Ref.Kind, f.Ref.Name, f.Ready, or(status, "-"), revision, yes(f.Suspended), age(f.Created), source, or(f.Path, "-"),
		}}
		switch {
		case f.Suspended:
			r.color = a.dim
		case f.Ready == "False":
			r.color = a.bad
		case f.Ready != "True":
			r.color = a.warn
		}
		t.rows = append(t.rows, r)
	}
	if err := a.table(t, wide); err != nil {
		return err
	}
	if cut {
		a.note("Some messages are cut; with -o wide they are shown in full.")
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
