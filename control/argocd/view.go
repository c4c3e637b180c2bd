package argocd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/tree"
)

// requestInfo is the information of an operation by which plumb sync knows it.
const requestInfo = "plumb.dev/request"

func (o *Options) kinds() []view.Kind {
	if o.Namespace == "" {
		return nil // Applications are left to others
	}
	return []view.Kind{{
		GroupVersionKind: api.ApplicationKind, Plural: "applications", Inline: true,
		Names: []string{"application", "applications", "app", "apps"},
		View:  viewApplication, Sync: syncApplication,
		Rollback: func(u *unstructured.Unstructured, id, token string, prune bool) (map[string]any, error) {
			return rollBack(read(u), id, token, prune)
		},
		Suspend: func(s bool) map[string]any {
			value := any(nil)
			if s {
				value = "true"
			}
			return map[string]any{"metadata": map[string]any{"annotations": map[string]any{skipReconcile: value}}}
		},
		Owns: func(u *unstructured.Unstructured) (object.Ref, bool) {
			key, ok := o.tracked(u)
			return object.Ref{Group: api.GroupVersion.Group, Kind: api.ApplicationKind.Kind, Namespace: key.Namespace, Name: key.Name}, ok
		},
		Selector: func(i view.Item) string {
			return selectorOf(unitName(types.NamespacedName{Namespace: i.Ref.Namespace, Name: i.Ref.Name}))
		},
	}}
}

var errInProgress = fmt.Errorf("an operation is in progress already; wait until it is done, or terminate it by setting status.operationState.phase to %s", api.PhaseTerminating)

// syncApplication asks for an operation, as somebody who types a command.
func syncApplication(u *unstructured.Unstructured, token, approve string) (map[string]any, error) {
	a := read(u)
	if a.Operation != nil {
		return nil, errInProgress
	}
	sync := map[string]any{"prune": approve != "" || a.automated() != nil && is(a.automated().Prune)}
	if p := a.Spec.SyncPolicy; p != nil && len(p.SyncOptions) > 0 {
		sync["syncOptions"] = p.SyncOptions
	}
	return map[string]any{"operation": map[string]any{
		"initiatedBy": map[string]any{"username": "plumb sync"},
		"info":        []any{map[string]any{"name": requestInfo, "value": token}},
		"sync":        sync,
	}}, nil
}

// viewApplication reads an Application for people. It is lenient: what they see
// must not depend on every field being valid.
func viewApplication(u *unstructured.Unstructured) view.Item {
	a := read(u)
	st := &a.Status
	i := view.Item{
		Ref: object.RefOf(u), Created: u.GetCreationTimestamp().Time, Suspended: u.GetAnnotations()[skipReconcile] == "true",
		Inventory: inventoryOf(st),
	}
	i.Revision = revisionOf(st.Sync.Revision, st.Sync.Revisions)
	i.Attempted = i.Revision
	if n := len(st.History); n > 0 && a.Annotations[rolledBack] != "" {
		i.Revision = revisionOf(st.History[n-1].Revision, st.History[n-1].Revisions)
	}
	if sources := a.sources(); len(sources) > 0 {
		i.Path = sources[0].Path
	}
	i.Corrects = a.automated() != nil && is(a.automated().SelfHeal) && !i.Suspended
	d := a.Spec.Destination
	i.Elsewhere = d.Server != "" && d.Server != address.InCluster || d.Name != "" && d.Name != settings.InClusterName
	for _, h := range st.History {
		run := view.Run{
			ID: fmt.Sprint(h.ID), Revision: revisionOf(h.Revision, h.Revisions), Result: api.PhaseSucceeded, First: h.DeployedAt.Time, Last: h.DeployedAt.Time, Count: 1,
		}
		if h.DeployStartedAt != nil {
			run.Took = h.DeployedAt.Sub(h.DeployStartedAt.Time)
		}
		i.History = append(i.History, run)
	}
	slices.Reverse(i.History)
	if s := st.OperationState; s != nil && s.FinishedAt != nil {
		for _, info := range s.Operation.Info {
			if info.Name == requestInfo {
				i.Handled = info.Value
			}
		}
	}
	i.Ready, i.Reason, i.Message, i.State = standing(a)
	return i
}

func revisionOf(one string, several []string) string {
	if len(several) > 0 {
		return strings.Join(several, " ")
	}
	return one
}

// standing says how an Application is, in the words that all units have.
func standing(a *application) (ready, reason, message string, state view.State) {
	st := &a.Status
	s := st.OperationState
	held := ""
	for _, c := range st.Conditions {
		if c.Type == conditionRolledBack {
			held = c.Message
		}
		if strings.HasSuffix(c.Type, "Error") {
			return "False", c.Type, c.Message, view.Failed
		}
	}
	switch {
	case a.Operation != nil || s != nil && inProgress(s.Phase):
		message := "an operation is in progress"
		if s != nil && s.Message != "" && inProgress(s.Phase) {
			message += ": " + s.Message
		}
		return "Unknown", api.Progressing, message, view.Working
	case st.Sync.Status == "":
		return "Unknown", "", "it has not been looked at yet", view.Working
	case held != "" && st.Health.Status == api.Healthy:
		return "True", "RolledBack", held, view.Done
	case s != nil && (s.Phase == api.PhaseFailed || s.Phase == api.PhaseError) && st.Sync.Status != api.Synced:
		return "False", "Sync" + s.Phase, s.Message, view.Failed
	case st.Sync.Status != api.Synced && held == "":
		return "False", st.Sync.Status, outOfSync(st), view.Failed
	case st.Health.Status == api.Healthy:
		return "True", api.Synced, "synced and healthy", view.Done
	}
	message = unwell(st)
	if st.Health.Status == api.Progressing {
		return "Unknown", api.Progressing, message, view.Working
	}
	return "False", st.Health.Status, message, view.Failed
}

// mostNamed is how many objects a message names.
const mostNamed = 10

// outOfSync names what is not as desired.
func outOfSync(st *api.ApplicationStatus) string {
	var refs []object.Ref
	for _, r := range st.Resources {
		if r.Status == api.OutOfSync {
			refs = append(refs, refOfStatus(r))
		}
	}
	return "not as desired: " + object.Names(refs, mostNamed)
}

// unwell names what is not healthy.
func unwell(st *api.ApplicationStatus) string {
	var parts []string
	for _, r := range st.Resources {
		if r.Health == nil || r.Health.Status == api.Healthy {
			continue
		}
		if len(parts) == mostNamed {
			parts = append(parts, "…")
			break
		}
		part := fmt.Sprintf("%s is %s", refOfStatus(r), r.Health.Status)
		if r.Health.Message != "" {
			part += ": " + r.Health.Message
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// surrounded reads what surrounds Applications, in the name of who looks. Where
// no cluster is asked, all is allowed, and nothing is known of Secrets.
func (o *Options) surrounded(ctx context.Context, r view.Reader) (*around, error) {
	maps, err := readMaps(o.Namespace, r.Get)
	secrets, hidden := r.Secrets(ctx, o.Namespace, secretTypes)
	if err := errors.Join(err, hidden); errors.Is(err, view.ErrOffline) {
		w := readAround(surrounding{namespace: o.Namespace, projects: noProject})
		w.lenient = true
		return w, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings of Argo CD: %w", err)
	}
	w := readAround(surrounding{namespace: o.Namespace, maps: maps, secrets: secrets, policy: o.policy(), projects: func(name string) (*unstructured.Unstructured, error) {
		return r.Object(ctx, projects, o.Namespace, name)
	}})
	w.hidden = hidden // which is all right for who needs none
	o.common.Store(w.common)
	return w, nil
}

// projects is how the API server calls AppProjects.
var projects = api.GroupVersion.WithResource("appprojects")

// Unit implements [view.Dialect]. It is the unit as an operation would have it:
// what it shows is what that would do.
func (o *Options) Unit(u *unstructured.Unstructured, r view.Reader) (engine.Unit, error) {
	in, err := o.surrounded(context.Background(), r)
	if err != nil {
		in = unread(o.Namespace, err)
	}
	a := read(u)
	unit, _ := o.toUnit(a, in)
	err = unit.Refused
	unit.Refused, unit.Permission = nil, apply.Everything
	if auto := a.automated(); auto != nil {
		unit.Prune.Enabled = is(auto.Prune)
	}
	return unit, err
}

// Units implements [view.Dialect].
func (o *Options) Units(all []unstructured.Unstructured, r view.Reader, at []*source.Artifact) (units []engine.Unit, unknown []string) {
	in, err := o.surrounded(context.Background(), r)
	if err != nil {
		in = unread(o.Namespace, err)
	}
	for i := range all {
		if !o.serves(all[i].GetNamespace(), in) {
			continue
		}
		a := read(&all[i])
		unit, _ := o.toUnit(a, in)
		if a.statusErr != nil || err != nil || unit.Refused != nil && in.hidden != nil {
			unknown = append(unknown, unit.Name)
			continue
		}
		for j, artifact := range at {
			if unit.Refused == nil && len(unit.Sources) == 1 && unit.Sources[0] == artifact.Source {
				unit.Artifacts = at[j : j+1]
			}
		}
		units = append(units, unit)
	}
	return units, unknown
}

// Artifact implements [view.Dialect]. There are no custom resources of sources.
func (o *Options) Artifact(_ context.Context, u *unstructured.Unstructured, _ view.Reader, _ *stores.Stores, _ view.Want) (*source.Artifact, error) {
	return nil, fmt.Errorf("%s is no source", object.RefOf(u))
}

// Artifacts implements [view.Dialect].
func (o *Options) Artifacts(ctx context.Context, u *unstructured.Unstructured, r view.Reader, store *stores.Stores, w view.Want) (all []*source.Artifact, err error) {
	a := read(u)
	if _, err := a.check(); err != nil {
		return nil, err
	}
	in, err := o.surrounded(ctx, r)
	if err != nil {
		return nil, err
	}
	var revisions []string
	if w.Revision != "" {
		for _, r := range strings.Fields(w.Revision) {
			revisions = append(revisions, hashOf(r))
		}
		if n := len(a.sources()); len(revisions) != n {
			return nil, fmt.Errorf("%s is made from %d sources; name a revision for each, with spaces between them", object.RefOf(u), n)
		}
	}
	now, err := o.made(a, in, a.sources(), nil)
	if err != nil {
		return nil, err
	}
	at, err := o.made(a, in, a.sources(), revisions)
	if err != nil {
		return nil, err
	}
	for i, w := range at.wants {
		from := w.from(store)
		rev, err := from.Resolve(ctx)
		if err != nil {
			return nil, err
		}
		c, err := from.Fetch(ctx, rev)
		if err != nil {
			return nil, err
		}
		all = append(all, &source.Artifact{Source: now.names[i], Revision: rev.Name, Tree: c.Tree, Commit: c.Commit})
	}
	return all, nil
}

// Directory implements [view.Dialect].
func (o *Options) Directory(_ object.Ref, dir tree.Tree, revision string) (*source.Artifact, error) {
	return &source.Artifact{Source: sourceName + "/directory", Revision: revision, Tree: dir}, nil
}
