package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
)

// A trace is where an object comes from. Fields of which nothing is known are
// empty.
type trace struct {
	Object string `json:"object"`
	// By are the objects that made it, up to the one that a unit applied.
	By       []string     `json:"by,omitempty"`
	Unit     string       `json:"unit"`
	Ready    string       `json:"ready"`
	Message  string       `json:"message,omitempty"`
	Source   string       `json:"source"`
	Path     string       `json:"path"`
	Revision string       `json:"revision"`
	Commit   *view.Commit `json:"commit,omitempty"`
	// Listed: the unit's inventory has it.
	Listed bool   `json:"listed"`
	Drift  *event `json:"drift,omitempty"` // the last correction that is still known
	// DriftUnknown is why none could be looked for.
	DriftUnknown string   `json:"driftUnknown,omitempty"`
	Writers      []writer `json:"writers,omitempty"`
}

// A writer is a field manager of an object.
type writer struct {
	Manager     string    `json:"manager"`
	Operation   string    `json:"operation"`
	Subresource string    `json:"subresource,omitempty"`
	When        time.Time `json:"when,omitzero"`
}

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
				return fmt.Errorf("%q is not KIND/NAME; type: plumb trace deployment/web", clean(strings.Join(args, " ")))
			}
			s, err := a.connect()
			if err != nil {
				return err
			}
			t, err := s.trace(cmd.Context(), kind, name)
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

func (s *conn) trace(ctx context.Context, kind, name string) (*trace, error) {
	o, err := s.anyObject(ctx, kind, name)
	if err != nil {
		return nil, err
	}
	t := &trace{Object: object.RefOf(o).String(), Writers: writersOf(o)}
	top, unit, err := s.climb(ctx, o, t)
	if err != nil {
		return nil, err
	}
	t.Unit = unit.String()
	f, err := s.get(ctx, unit)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%s carries the mark of %s, which does not exist", t.Object, unit)
	}
	if err != nil {
		return nil, err
	}
	t.Ready, t.Message, t.Path, t.Revision = f.Ready, f.Message, f.Path, f.Revision
	t.Listed = slices.ContainsFunc(f.Inventory, func(e apply.Entry) bool { return e.Ref == top })
	s.traceSource(ctx, f, t)
	events, _, err := s.eventsOf(ctx, unit.Namespace, about(unit), func(e event) bool {
		return e.ref == unit && e.Reason == "DriftCorrected" && e.About == top.String()
	})
	switch {
	case err != nil:
		t.DriftUnknown = err.Error()
	case len(events) > 0:
		t.Drift = &events[len(events)-1]
	}
	return t, nil
}

// traceSource adds what is known of the source and the commit.
func (s *conn) traceSource(ctx context.Context, f *found, t *trace) {
	if f.Source.IsZero() {
		return
	}
	t.Source = f.Source.String()
	src, err := s.get(ctx, f.Source)
	if err == nil && src.Revision == f.Revision && !src.Commit.IsZero() {
		t.Commit = &src.Commit
		return
	}
	// The source is at another commit by now.
	if subject := s.subjects(ctx, f)[f.Revision]; subject != "" {
		t.Commit = &view.Commit{Subject: subject}
	}
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
	r := s.client.Dynamic().Resource(m.Resource)
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

// climb follows owners up to an object that carries the mark of a unit.
func (s *conn) climb(ctx context.Context, o *unstructured.Unstructured, t *trace) (top, unit object.Ref, err error) {
	const deepest = 10
	var mark *object.Ref
	var lost error // the owner that could not be read
	for range deepest {
		top = object.RefOf(o)
		for _, k := range s.kinds {
			if k.Owns == nil {
				continue
			}
			if u, ok := k.Owns(o); ok {
				mark = &u
			}
		}
		owner := metav1.GetControllerOf(o)
		if owner == nil && len(o.GetOwnerReferences()) > 0 {
			owner = &o.GetOwnerReferences()[0]
		}
		if owner == nil {
			break
		}
		gv, err := schema.ParseGroupVersion(owner.APIVersion)
		if err != nil {
			break
		}
		ref := object.Ref{Group: gv.Group, Kind: owner.Kind, Namespace: o.GetNamespace(), Name: owner.Name}
		up, err := s.client.Get(ctx, ref, gv.Version)
		if err != nil {
			lost = fmt.Errorf("its owner %s can't be read: %w", ref, err)
			break
		}
		if up.GetUID() != owner.UID {
			break
		}
		t.By = append(t.By, ref.String())
		o = up
	}
	if mark == nil && lost != nil {
		return top, unit, fmt.Errorf("%s carries no mark of a unit, and it can't be told what made it: %w", t.Object, lost)
	}
	if mark == nil {
		return top, unit, fmt.Errorf("%s was not applied by a unit: neither it nor what made it carries the mark of one", t.Object)
	}
	return top, *mark, nil
}

// writersOf are the field managers of o, the latest first.
func writersOf(o *unstructured.Unstructured) []writer {
	var out []writer
	for _, m := range o.GetManagedFields() {
		w := writer{Manager: m.Manager, Operation: string(m.Operation), Subresource: m.Subresource}
		if m.Time != nil {
			w.When = m.Time.Time
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b writer) int { return b.When.Compare(a.When) })
	return out
}

func (a *app) printTrace(t *trace) {
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
