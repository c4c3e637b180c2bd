package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"plumb.dev/plumb/inspect"
)

func newTrace(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "trace KIND/NAME | KIND NAME",
		Short: "Show which unit, source and commit an object came from",
		Long: `Show which unit, source, path, revision and commit an object came from, who
wrote that commit, what drifted last, and who else writes to the object. The
object may be one that another made, such as a Pod.`,
		Example: "  plumb trace deployment/web -n shop\n  plumb trace pod web-5d8c7-x2x9z -n shop",
		Args:    takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := cutKind(args[0])
			switch {
			case len(args) == 2 && !ok:
				kind, name = args[0], args[1]
			case len(args) == 2 || !ok || kind == "" || name == "":
				return notKindName(args, "trace deployment/web")
			}
			s, err := a.connect()
			if err != nil {
				return err
			}
			o, err := s.anyObject(cmd.Context(), kind, name)
			if err != nil {
				return err
			}
			t, err := s.Trace(cmd.Context(), o)
			if err != nil {
				return err
			}
			if output != "" {
				return a.data(t, output)
			}
			a.printTrace(t)
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	outputFlag(cmd, &output, "json", "yaml")
	return cmd
}

func notKindName(args []string, example string) error {
	return fmt.Errorf("%q is not KIND/NAME; type: plumb %s", clean(strings.Join(args, " ")), example)
}

// anyObject reads an object of any kind by the names that kubectl takes.
func (s *conn) anyObject(ctx context.Context, kind, name string) (*unstructured.Unstructured, error) {
	mapper, err := s.flags.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	if err := checkName("name", name); err != nil {
		return nil, err
	}
	resource, gr := schema.ParseResourceArg(kind)
	var gvr schema.GroupVersionResource
	if resource != nil {
		gvr, err = mapper.ResourceFor(*resource)
	}
	if resource == nil || err != nil {
		gvr, err = mapper.ResourceFor(gr.WithVersion(""))
	}
	var m *apimeta.RESTMapping
	if err == nil {
		var gvk schema.GroupVersionKind
		if gvk, err = mapper.KindFor(gvr); err == nil {
			m, err = mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		}
	}
	switch {
	case apimeta.IsNoMatchError(err):
		return nil, fmt.Errorf("the cluster has no kind %q; type: kubectl api-resources", clean(kind))
	case err != nil:
		return nil, fmt.Errorf("look up kind %q: %w", clean(kind), err)
	}
	r := s.Client.Dynamic().Resource(m.Resource)
	var o *unstructured.Unstructured
	if m.Scope.Name() == apimeta.RESTScopeNameNamespace {
		o, err = r.Namespace(s.namespace).Get(ctx, name, metav1.GetOptions{})
	} else {
		o, err = r.Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		// Where it is helps more than where it is not.
		l, err := r.List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
		if err == nil && len(l.Items) > 0 && l.Items[0].GetNamespace() != "" {
			return nil, fmt.Errorf("there is no %s %q in namespace %s, but one in %s; add -n %[4]s", m.GroupVersionKind.Kind, clean(name), s.namespace, l.Items[0].GetNamespace())
		}
		if m.Scope.Name() != apimeta.RESTScopeNameNamespace {
			return nil, fmt.Errorf("there is no %s %q; type: kubectl get %s", m.GroupVersionKind.Kind, clean(name), m.Resource.Resource)
		}
		return nil, fmt.Errorf("there is no %s %q in namespace %s; choose another with -n", m.GroupVersionKind.Kind, clean(name), s.namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", m.GroupVersionKind.Kind, clean(name), err)
	}
	return o, nil
}

func (a *app) printTrace(t *inspect.Trace) {
	line := func(name, value string) {
		if value != "" {
			a.printf("%-10s %s\n", name, value)
		}
	}
	line("Object", a.bold(clean(t.Object)))
	for _, by := range t.By {
		line("Made by", clean(by))
	}
	state := a.warn(t.Ready)
	switch t.Ready {
	case "True":
		state = a.good("ready")
	case "False":
		state = a.bad("not ready") + ": " + clean(t.Message)
	}
	line("Unit", clean(t.Unit)+" "+state)
	if !t.Listed {
		line("", a.warn("the unit's inventory does not have the object: it is being pruned, or its mark was copied"))
	}
	line("Source", clean(t.Source))
	line("Path", clean(t.Path))
	line("Revision", clean(t.Revision))
	if c := t.Commit; c != nil {
		line("Author", clean(c.Author))
		if !c.When.IsZero() {
			line("Date", c.When.UTC().Format(time.RFC3339))
		}
		line("Message", clean(c.Subject))
	}
	switch {
	case t.DriftUnknown != "":
		line("Drift", a.warn("not known: ")+clean(t.DriftUnknown))
	case t.Drift != nil:
		line("Drift", fmt.Sprintf("%s: %s", ago(t.Drift.Time), clean(t.Drift.Message)))
	default:
		line("Drift", "none within the last hour")
	}
	for i, w := range t.Writers {
		name := ""
		if i == 0 {
			name = "Written by"
		}
		of := w.Operation
		if w.Subresource != "" {
			of += " of " + w.Subresource
		}
		a.printf("%-10s %s (%s), %s\n", name, clean(w.Manager), clean(of), ago(w.When))
	}
}
