package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/object/secret"
)

// about gives an error from the server its object, its class and what to do
// next, as far as the server's status, or one more question, tells them.
func (a *Applier) about(ctx context.Context, c *Result, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		if f.Object.IsZero() {
			g := *f
			g.Object = c.Ref
			return &g
		}
		return err
	}
	var rule *ignore.Error
	if errors.As(err, &rule) {
		return unruly(c, rule)
	}
	e := &fault.Error{Next: fault.Retry, Reason: fault.ReconciliationFailed, Object: c.Ref}
	switch details := detailsOf(err); {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		e.Next, e.Reason, e.Err = fault.Wait, fault.NamespaceTerminating, errors.New("its namespace is being deleted; it is applied again once that is gone")
		return e
	case a.kindIsGone(ctx, c, err):
		e.Reason, e.Hint = fault.UnknownKind, "apply its CustomResourceDefinition again, or take the object out"
		e.Err = fmt.Errorf("the cluster has no kind %s in %s any more", c.Ref.Kind, c.Ref.GroupKind().WithVersion(c.Version).GroupVersion())
		return e
	case apierrors.IsNotFound(err) && details.Kind == "namespaces" && c.Ref.Kind != "Namespace":
		e.Hint = "create the namespace, or add it to what this unit applies"
	case apierrors.IsForbidden(err):
		if verb := a.denied(ctx, c); verb != "" {
			// It says who may not do what; it has seen no content.
			e.Err, e.Hint = err, "give the identity that applies this unit the right to "+verb+" it, or take the object out"
			return e
		}
	}
	e.Err = a.shown(c.Ref, err)
	return e
}

// unruly is the error for an object of which a rule does not tell what counts.
func unruly(c *Result, rule *ignore.Error) error {
	e := &fault.Error{
		Next: fault.Retry, Reason: fault.IgnoreFailed, Object: c.Ref, Err: fmt.Errorf("what differs and does not count can't be told: %w", rule),
		Hint: "correct the rule; until then the object is not written, and nothing is pruned",
	}
	if rule.Unreadable {
		e.Next = fault.Stall
	}
	return e
}

func statusOf(err error) (metav1.Status, bool) {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return metav1.Status{}, false
	}
	return s.Status(), true
}

func detailsOf(err error) metav1.StatusDetails {
	if s, _ := statusOf(err); s.Details != nil {
		return *s.Details
	}
	return metav1.StatusDetails{}
}

// kindIsGone reports whether the server no longer knows the resource of c: then
// it answers as any web server does about an address that it does not have,
// and not about an object.
func (a *Applier) kindIsGone(ctx context.Context, c *Result, err error) bool {
	if !apierrors.IsNotFound(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return false
	}
	a.Client.Forget()
	_, err = a.Client.Mapping(ctx, c.Ref.GroupKind().WithVersion(c.Version))
	return fault.Is(err, fault.UnknownKind)
}

// denied returns what the identity of the unit may not do to the object of c,
// of what c needs. It is empty if it may do all of it, or that can't be told:
// then it was refused for something else, such as a quota or a policy.
func (a *Applier) denied(ctx context.Context, c *Result) string {
	m, err := a.Client.Mapping(ctx, c.Ref.GroupKind().WithVersion(c.Version))
	if err != nil {
		return ""
	}
	for _, verb := range c.verbs() {
		may, err := a.Client.May(ctx, authorizationv1.ResourceAttributes{
			Verb: verb, Group: m.Resource.Group, Version: m.Resource.Version, Resource: m.Resource.Resource,
			Namespace: c.Ref.Namespace, Name: c.Ref.Name,
		})
		if err != nil {
			return ""
		}
		if !may {
			return verb
		}
	}
	return ""
}

// verbs are the rights that c takes.
func (r *Result) verbs() []string {
	switch r.Action {
	case Create:
		return []string{"patch", "create"}
	case Delete:
		return []string{"get", "delete"}
	case Recreate:
		return []string{"get", "delete", "patch", "create"}
	}
	return []string{"get", "patch"}
}

// longestAnswer is how much of a server's answer is passed on.
const longestAnswer = 800

// shown is the server's answer in one line that may be read by anybody. Of a
// Secret only the fields are told: what the server quotes may be part of a
// value.
func (a *Applier) shown(ref object.Ref, err error) error {
	s, answered := statusOf(err)
	if !answered {
		return shownAs(err, a.hide(err.Error()))
	}
	isSecret := ref.Kind == "Secret" && ref.Group == ""
	var causes []string
	for _, c := range detailsOf(err).Causes {
		text := string(c.Type)
		if first, _, _ := strings.Cut(c.Message, "\n"); !isSecret && first != "" {
			text = first
		}
		if c.Field != "" {
			text = c.Field + ": " + text
		}
		causes = append(causes, text)
	}
	text := err.Error()
	switch {
	case isSecret && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
		reason := string(s.Reason)
		if reason == "" || s.Reason == metav1.StatusReasonUnknown {
			reason = fmt.Sprintf("HTTP %d", s.Code)
		}
		text = fmt.Sprintf("the API server refused it (%s); its answer is not shown, because it may quote the Secret's values", reason)
		if slices.Sort(causes); len(causes) > 0 {
			text = fmt.Sprintf("%s %q is invalid: %s; the values are not shown", ref.Kind, ref.Name, strings.Join(slices.Compact(causes), ", "))
		}
	case strings.Contains(text, "\n") && len(causes) > 0:
		text = fmt.Sprintf("%s %q is invalid: %s", ref.Kind, ref.Name, strings.Join(causes, ", "))
	}
	return shownAs(err, a.hide(text))
}

func (a *Applier) hide(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if a.Secrets != nil {
		text = a.Secrets().Hide(text)
	}
	if len(text) > longestAnswer {
		text = strings.ToValidUTF8(text[:longestAnswer], "") + " …"
	}
	return text
}

// An answer is an error of the server's whose text is one that can be shown.
type answer struct {
	error
	text string
}

func (a answer) Error() string { return a.text }
func (a answer) Unwrap() error { return a.error }

func shownAs(err error, text string) error {
	if text == err.Error() {
		return err
	}
	return answer{err, text}
}

// refused makes the error of a refused change, or a Recreate of it.
func (a *Applier) refused(ctx context.Context, c *Result, err error) error {
	if c.partial() && apierrors.IsInvalid(err) {
		c.hold("the rest of it can't be written without what is fought over")
		return nil
	}
	if c.live == nil || !a.onlyAnew(ctx, c, err) {
		return a.about(ctx, c, err)
	}
	why := ""
	switch {
	case holdsData(c.live):
		why = "a " + c.Ref.Kind + " like this is never recreated, because that would destroy what it holds: undo the change, or make it by hand"
	case !c.item.Policy.Force && !(a.Force && builtIn(c.Ref)):
		why = "it can't be changed in place: undo the change, or let this one object be recreated by its force annotation"
	default:
		c.Action = Recreate
		return nil
	}
	return &fault.Error{Next: fault.Retry, Reason: fault.ReconciliationFailed, Object: c.Ref, Err: a.shown(c.Ref, err), Hint: why}
}

// holdsData reports whether an object is not recreated, whatever is asked for.
func holdsData(live *unstructured.Unstructured) bool {
	switch r := object.RefOf(live); {
	case r.Group == "" && (r.Kind == "PersistentVolumeClaim" || r.Kind == "PersistentVolume" || r.Kind == "Namespace"),
		r.Group == "apiextensions.k8s.io":
		return true
	case r.Group == "apps" && r.Kind == "StatefulSet":
		// Its claims go with it.
		policy, _, err := unstructured.NestedString(live.Object, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
		return err != nil || policy == "Delete"
	}
	return false
}

// onlyAnew reports whether the server refused to change an object to what it
// would accept as a new one. It has no code for that, and says it in many
// words; so it is asked, about an object of another name.
func (a *Applier) onlyAnew(ctx context.Context, c *Result, err error) bool {
	return apierrors.IsInvalid(err) && a.asNew(ctx, c) == nil
}

// asNew asks the server whether it would take the object as a new one, under
// another name.
func (a *Applier) asNew(ctx context.Context, c *Result) error {
	r, err := a.resource(ctx, c)
	if err != nil {
		return err
	}
	other := c.item.Object().DeepCopy()
	other.SetName("")
	other.SetGenerateName(c.Ref.Name[:min(len(c.Ref.Name), 40)] + "-")
	_, err = r.Create(ctx, other, metav1.CreateOptions{FieldManager: a.Managers.Self, DryRun: []string{metav1.DryRunAll}})
	return err
}

// differences are the fields in which two states of an object differ, without
// what is secret. Where what is desired holds a secret and what is there does
// not, that may hold the one from before.
func (a *Applier) differences(want, got *unstructured.Unstructured) []owned.Field {
	return a.hideFields(owned.Diff(want, got))
}

// Ignores returns the desired fields of an object that differ and don't count,
// without what is secret.
func (a *Applier) Ignores(it *Item, live *unstructured.Unstructured) ([]owned.Field, error) {
	fields, err := owned.IgnoredDiff(it.Object(), live, it.Policy.Managers(a.Managers))
	return a.hideFields(fields), err
}

func (a *Applier) hideFields(fields []owned.Field) []owned.Field {
	if a.Secrets == nil || len(fields) == 0 {
		return fields
	}
	hidden := a.Secrets()
	for i := range fields {
		f := &fields[i]
		if hidden.In(f.Want) && !hidden.In(f.Got) && f.Got != nil {
			f.Got = secret.Hidden
		}
		f.Want, f.Got = hidden.HideIn(f.Want), hidden.HideIn(f.Got)
	}
	return fields
}
