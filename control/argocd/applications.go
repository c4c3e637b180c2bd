package argocd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/argocd/shown"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/report"
)

// applications makes Applications units of the engine, and tells in their
// status what became of them. It implements [engine.Dialect].
type applications struct {
	o       *Options
	client  client.Client // reads come from the cache
	live    client.Reader // reads go to the server
	latest  custom.Latest
	engine  *engine.Engine
	sources *shared
	events  record.EventRecorder
	log     *slog.Logger
	queue   *control.Queue
	known   memory
	around  *surroundings
	shown   *shown.Board // nil: nothing is
	orphans *orphans
}

// newest reads an Application as it is known to be stored. It may be shared, and
// is as [custom.Slim] has it.
func (r *applications) newest(ctx context.Context, key types.NamespacedName) (*unstructured.Unstructured, error) {
	return r.latest.Newest(ctx, r.client, api.ApplicationKind, key)
}

// read decodes u with its status.
func read(u *unstructured.Unstructured) *application {
	a := decode(u)
	st, err := decodeStatus(u)
	if err != nil && a.unreadable == nil {
		a.unreadable = &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidInventory, Err: err, Hint: "nothing is applied or pruned until it is repaired",
		}
	}
	a.Status, a.statusErr = st, err
	return a
}

// Reconcile makes a unit of one Application, and has the engine hold it true.
func (r *applications) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req.NamespacedName == surroundingsKey {
		return ctrl.Result{}, r.survey(ctx)
	}
	in := r.around.now()
	if !r.o.serves(req.Namespace, in) {
		if r.known.knows(req.NamespacedName) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, nil
	}
	u, err := r.newest(ctx, req.NamespacedName)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	} else if err != nil {
		r.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	a := read(u)
	if a.DeletionTimestamp == nil && a.unreadable == nil && a.Annotations[skipReconcile] != "true" && !in.skips(a) {
		if err := r.begin(ctx, u, a, in); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := r.answer(ctx, u, a); err != nil {
		return ctrl.Result{}, err
	}
	if err := r.warn(ctx, u, a); err != nil {
		return ctrl.Result{}, err
	}
	kept := false
	if a.DeletionTimestamp != nil && len(cascades(a.Finalizers))+len(awaited(a.Finalizers)) > 0 {
		if kept, err = custom.IsLeaving(ctx, r.live, "applications."+api.GroupVersion.Group); err != nil {
			return ctrl.Result{}, err
		}
	}
	again, blocked := r.put(a, in, kept)
	c := concernOf(a)
	r.known.concerned(a.key(), c, in.print(c, r.sources.stores))
	if in != r.around.now() {
		r.queue.Add(a.key()) // it has changed meanwhile
	}
	if blocked != "" {
		return ctrl.Result{RequeueAfter: again}, r.say(ctx, u, a, blocked)
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// say has an operation that waits say what for.
func (r *applications) say(ctx context.Context, u *unstructured.Unstructured, a *application, message string) error {
	if a.Status.OperationState.Message == message {
		return nil
	}
	st, s := a.Status, *a.Status.OperationState
	s.Message, st.OperationState = message, &s
	r.logOf(a).Info("an operation waits", "for", message)
	return r.write(ctx, u, &a.Status, write{status: &st})
}

// begin takes up what a client has set: a new operation, or the end of one. One
// that can't be done is refused at once.
func (r *applications) begin(ctx context.Context, u *unstructured.Unstructured, a *application, in *around) error {
	s := a.Status.OperationState
	now := clock()
	switch {
	case a.runs():
		return nil
	case a.Operation == nil && (s == nil || !inProgress(s.Phase)):
		return nil
	case a.Operation == nil:
		ended := *s
		s = &ended
		s.Phase, s.Message, s.FinishedAt = api.PhaseFailed, "the operation was removed before it was done", &now
	default:
		s = r.adopt(a)
		if err := a.checkOperation(a.Operation, in); err != nil {
			s.Phase, s.Message, s.FinishedAt = api.PhaseError, err.Error(), &s.StartedAt
		}
	}
	st := a.Status
	st.OperationState = s
	w := write{status: &st}
	if s.FinishedAt != nil {
		st.ReconciledAt, w.ends = s.FinishedAt, true
	}
	if err := r.write(ctx, u, &a.Status, w); err != nil {
		return fmt.Errorf("write that an operation begins: %w", err)
	}
	a.Status = st
	if w.ends {
		a.Operation = nil
		r.tellOperation(a, s)
	} else {
		r.tellBegun(a, s)
	}
	return nil
}

// adopt begins the operation that is set on a.
func (r *applications) adopt(a *application) *api.OperationState {
	s := a.adopt(clock(), r.known.began(a.key()))
	r.known.begins(a.key(), s.StartedAt.Time)
	return s
}

// put puts the unit of a, if it is another one than before, and returns when to
// look at a again, if that isn't zero, and what its operation waits for that has
// not begun. Kept says that its objects stay where they are when it goes.
func (r *applications) put(a *application, in *around, kept bool) (again time.Duration, blocked string) {
	r.known.awaits(a.key(), true) // before its sources are looked at
	unit, wants := r.o.toUnit(a, in)
	unit.Dialect, unit.Unknown = r, a.statusErr != nil
	if a.automated() != nil {
		unit.Automation = r
	}
	var op *engine.Operation
	now := time.Now()
	window := termsOf(unit).opening(now)
	if !window.Auto {
		unit.Permission = apply.LookOnly
	}
	ends := time.Time{}
	if unit.Leaving = a.leaves(unit, kept, now); unit.Leaving {
		r.leave(a, in, &unit)
		if kept {
			unit.Removal, unit.Refused = engine.Removal{}, nil
		}
	} else if a.runs() {
		var more []want
		var err error
		if op, more, err = r.o.operation(a, in, a.Status.OperationState); err != nil && unit.Refused == nil {
			unit.Refused, unit.Target.Invalid = err, true
		}
		op.Inherited = !r.known.began(a.key()).Equal(a.Status.OperationState.StartedAt.Time)
		r.known.resumes(a.key(), op.ID, a.Status.OperationState.SyncResult)
		wants = append(wants, more...)
		unit.Prune.Confirmed = a.confirmed(a.Status.OperationState.StartedAt.Time)
		ends = timeout(op, a.Status.OperationState, in.SyncTimeout, now)
		if !op.Terminate {
			blocked = a.blocked(termsOf(unit), now)
		}
		if op != nil && len(op.Sources) > 0 {
			unit.Permission = apply.LookOnly // what Git has is not to be put back, also just after it
		}
	}
	r.sources.put(unit.Name, wants)
	unit.Supply = r.supplier(a.project(), unit.Name)
	if op != nil {
		unit.Operation = op
		op.Waits = !op.Terminate && (blocked != "" || fault.Is(unit.Refused, fault.NotYetRead) || !r.resolved(a, unit.Name, op))
		if !op.Waits && !byItself(a.Operation) {
			unit.Prune.AllowEmpty = true // whoever asks for all to be pruned means it
		}
	}
	asked := ""
	if !unit.Suspended {
		asked = r.refreshed(a, unit.Name)
	}
	if asked != "" && r.sources.answered(unit.Name, asked) {
		unit.Requested = asked
	}
	if asked == "" && !unit.Suspended && !unit.Leaving {
		unit.Requested = r.shown.Wants(a.key())
	}
	if unit.Refused == nil && (!unit.Leaving || unit.Removal.Phase != apply.Main) {
		var err error
		again, err = r.sources.failing(unit.Sources, unit.Requested != "")
		unit.Refused = a.holdsFor(err)
	}
	for _, at := range []time.Time{window.Until, ends} {
		if left := max(at.Sub(now), time.Millisecond); !at.IsZero() && (again == 0 || left < again) {
			again = left
		}
	}
	if key := signature(unit) + window.Why + r.sources.missing(unit) + fmt.Sprint(awaited(a.Finalizers), r.known.finalized(a.key())); r.known.put(a.key(), key) {
		r.engine.Put(unit)
	}
	r.known.awaits(a.key(), asked != "" || unit.Operation != nil && unit.Operation.Waits || r.sources.ill(unit.AllSources()...))
	return again, blocked
}

// timeout has an operation end that takes longer than it may, and returns when
// that will be, if it is not yet.
func timeout(op *engine.Operation, s *api.OperationState, after time.Duration, now time.Time) time.Time {
	end := s.StartedAt.Add(after)
	switch {
	case after == 0:
		return time.Time{}
	case now.Before(end):
		return end
	}
	op.Terminate = true
	return time.Time{}
}

// blocked says which sync window keeps the operation of a from going on. One that
// has made hooks goes on: they can't be let go of before they have ended.
func (a *application) blocked(t *terms, now time.Time) string {
	s := a.Status.OperationState
	if t == nil || len(hooksIn(&a.Status)) > 0 {
		return ""
	}
	if ok, why := t.windows.Continues(s.StartedAt.Time, now, !s.Operation.InitiatedBy.Automated); !ok {
		return "Sync operation " + why
	}
	return ""
}

// resolved reports whether it is known what an operation is about: one that
// somebody has asked for, and that names no revision, is about what is newest then.
// One that names a revision may have it from somebody who knows of newer ones, such
// as Argo CD's server: it is compared with what is newest then, too.
func (r *applications) resolved(a *application, unit string, op *engine.Operation) bool {
	if byItself(a.Operation) {
		return true
	}
	request := r.known.resolves(a.key(), op.ID, func() string { return r.sources.ask(unit) })
	return r.sources.answered(unit, request)
}

// signature changes whenever the unit has to be looked at anew.
func signature(u engine.Unit) string {
	op := ""
	if u.Operation != nil {
		op = fmt.Sprint(u.Operation.ID, u.Operation.Waits, u.Operation.Terminate, u.Operation.Sources)
	}
	refused := ""
	if u.Refused != nil {
		refused = u.Refused.Error()
	}
	on := ""
	for _, d := range u.DependsOn {
		on += d.Unit + " "
	}
	return fmt.Sprint(u.UID, u.Digest, u.Target.Cluster, u.Target.User, u.Suspended, u.Leaving, u.Removal, u.Prune.Confirmed, u.Unknown, u.Requested, u.Permission, op, refused, on)
}

// refreshed returns by which it is known that a refresh which somebody asks for
// is done: nothing, if nobody does.
func (r *applications) refreshed(a *application, unit string) (request string) {
	how := howRefreshed(a.Annotations)
	if how == "" {
		r.known.asks(a.key(), "", "")
		return ""
	}
	r.shown.Open(a.key())
	if request, same := r.known.asked(a.key(), how); same {
		return request
	}
	request = r.sources.ask(unit)
	r.known.asks(a.key(), how, request)
	return request
}

// howRefreshed is how somebody asks for a refresh, and when if they say so.
func howRefreshed(annotations map[string]string) string {
	if annotations[refresh] == "" {
		return ""
	}
	return annotations[refresh] + " " + annotations[refreshTime]
}

// answer takes a refresh away that is done, where that waited until what Argo CD's
// server reads is there.
func (r *applications) answer(ctx context.Context, u *unstructured.Unstructured, a *application) error {
	how := howRefreshed(a.Annotations)
	if request, same := r.known.asked(a.key(), how); how == "" || !same || !r.shown.Ready(a.key(), request) {
		return nil
	}
	st := a.Status
	st.ReconciledAt = reconciled(&st)
	if err := r.write(ctx, u, &a.Status, write{status: &st, refreshed: true}); err != nil {
		return fmt.Errorf("write that it was refreshed: %w", err)
	}
	a.Status, a.Annotations = st, u.GetAnnotations()
	return nil
}

// reconciled is when a status is of that is written now: never before the end of
// the last operation.
func reconciled(st *api.ApplicationStatus) *metav1.Time {
	at := clock()
	if s := st.OperationState; s != nil && s.FinishedAt != nil && at.Before(s.FinishedAt) {
		at = *s.FinishedAt
	}
	return &at
}

// supplier has charts fetched that a rendering of a unit needs, and returns the names of
// their sources. Credentials are shown only to repositories that the project allows:
// who else has a chart may be asked for it as by anybody. It is kept with the unit,
// and so keeps no more than these names.
func (r *applications) supplier(project, unit string) func(rendering int, all []render.Need) ([]string, error) {
	return func(rendering int, all []render.Need) ([]string, error) {
		in := r.around.now()
		wants := make([]want, len(all))
		for i, n := range all {
			at, access, err := in.chartsOf(n.Repository, project)
			if err != nil {
				return nil, fmt.Errorf("%s: the chart %s that it depends on: %w", n.By, n.Name, err)
			}
			wants[i] = want{Repository: at, chart: n.Name, target: n.Version, access: access, interval: in.interval()}
		}
		return r.sources.need(unit, rendering, wants), nil
	}
}

// forget drops what is known of an Application that is no more.
func (r *applications) forget(key types.NamespacedName) {
	name := unitName(key)
	r.engine.Delete(name)
	r.sources.forget(name)
	r.o.names.drop(name)
	r.latest.Forget(key)
	r.known.forget(key)
	r.shown.Close(key)
	r.orphans.drop(key)
	subject(key).Gone()
}

// woken queues those who wait for news of a source. That it has another commit,
// the engine sees to.
func (r *applications) woken(source string) {
	ill := r.sources.ill(source)
	want, need := r.sources.users(source)
	for _, unit := range need {
		r.engine.Wake(unit)
	}
	for _, unit := range want {
		if key, ok := keyOf(unit); ok && (ill || r.known.isAwaiting(key)) {
			r.queue.Add(key)
		}
	}
}

// putAll puts all Applications that there are. It comes before the engine
// starts: what that does not know of claims nothing.
func (r *applications) putAll(ctx context.Context) error {
	all, err := r.all(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		key := client.ObjectKeyFromObject(&all[i])
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: key}); err != nil {
			r.queue.Add(key)
			r.log.Error("an Application can't be worked on yet", "namespace", key.Namespace, "name", key.Name, "err", err)
		}
	}
	return nil
}

// all are the Applications that there are. They may be shared.
func (r *applications) all(ctx context.Context) ([]unstructured.Unstructured, error) {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(api.ApplicationKind)
	if err := r.client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Applications: %w", err)
	}
	return all.Items, nil
}

// A write is what is stored of an Application.
type write struct {
	status    *api.ApplicationStatus
	begun     bool           // its operation has begun by itself
	starts    *api.Operation // that one, while it runs
	ends      bool           // the operation is done, and goes
	refreshed bool           // the annotation that asks for it goes
	with      []string       // finalizers that come
	without   []string       // finalizers that go
	// rolledBack, if not nil, is that annotation from now on; empty: it goes.
	rolledBack *string
}

// write stores what is another than in u, and makes u what is stored then. It
// fails if somebody else has written since u was read: what they wrote is neither
// overwritten nor passed over.
func (r *applications) write(ctx context.Context, u *unstructured.Unstructured, before *api.ApplicationStatus, w write) error {
	body := map[string]any{}
	if w.status != nil {
		diff, err := difference(before, w.status)
		if err != nil {
			return err
		}
		if len(diff) > 0 {
			body["status"] = diff
		}
	}
	switch {
	case w.ends && !w.begun:
		body["operation"] = nil
	case w.starts != nil:
		body["operation"] = w.starts
	}
	meta, annotations := map[string]any{}, map[string]any{}
	if w.refreshed {
		annotations[refresh] = nil
		if _, dated := u.GetAnnotations()[refreshTime]; dated {
			annotations[refreshTime] = nil
		}
	}
	if w.rolledBack != nil {
		if annotations[rolledBack] = *w.rolledBack; *w.rolledBack == "" {
			annotations[rolledBack] = nil
		}
	}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	if len(w.with)+len(w.without) > 0 {
		rest := slices.DeleteFunc(slices.Clone(u.GetFinalizers()), func(f string) bool { return slices.Contains(w.without, f) })
		meta["finalizers"] = append(rest, w.with...)
	}
	if len(meta) == 0 && len(body) == 0 {
		return nil
	}
	meta["resourceVersion"] = u.GetResourceVersion()
	body["metadata"] = meta
	patch, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode what is written: %w", err)
	}
	after := example()
	after.SetNamespace(u.GetNamespace())
	after.SetName(u.GetName())
	if err := r.client.Patch(ctx, after, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(statusManager)); err != nil {
		return client.IgnoreNotFound(err)
	}
	u.Object = after.Object
	return r.latest.Wrote(u)
}

// difference is a merge patch that makes one status of another. Of most writes the
// objects are as they were, which are nearly all of it: what is the same as text is
// not taken apart.
func difference(before, after *api.ApplicationStatus) (diff map[string]json.RawMessage, err error) {
	was, err := fields(before)
	if err != nil {
		return nil, err
	}
	is, err := fields(after)
	if err != nil {
		return nil, err
	}
	diff = make(map[string]json.RawMessage)
	for name, now := range is {
		old := was[name]
		switch delete(was, name); {
		case bytes.Equal(old, now):
			continue
		case bytes.HasPrefix(old, []byte("{")) && bytes.HasPrefix(now, []byte("{")):
			if now, err = jsonpatch.CreateMergePatch(old, now); err != nil {
				return nil, fmt.Errorf("compare two statuses: %s: %w", name, err)
			}
		}
		diff[name] = now
	}
	for name := range was {
		diff[name] = json.RawMessage("null")
	}
	return diff, nil
}

func fields(st *api.ApplicationStatus) (by map[string]json.RawMessage, err error) {
	text, err := json.Marshal(st)
	if err == nil {
		err = json.Unmarshal(text, &by)
	}
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return by, nil
}

func example() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(api.ApplicationKind)
	return u
}

func subject(key types.NamespacedName) report.Subject {
	return report.Subject{Kind: api.ApplicationKind.Kind, Name: key.Name, Namespace: key.Namespace}
}
