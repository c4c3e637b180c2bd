package flux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
)

// sourceManager owns the status of sources.
const sourceManager = "gotk-source-controller"

// sources makes the custom resources of one kind sources of the keeper, and tells
// in their status what became of them.
type sources struct {
	kind     *sourceKind
	client   client.Client
	statuses *statuses
	stores   *stores.Stores
	keeper   *source.Keeper
	refs     *lookup.Reader
	events   record.EventRecorder
	log      *slog.Logger
	queue    *control.Queue
	commits  commits
	// host is where third parties would fetch artifacts from.
	host string
}

// Reconcile puts one source, and tells how far it is.
func (r *sources) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := r.name(req.NamespacedName)
	u, err := peek(ctx, r.client, r.kind.GroupVersionKind, req.NamespacedName)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.keeper.Delete(name)
			r.refs.Forget(name)
			r.statuses.Forget(req.NamespacedName)
			r.commits.forget(req.NamespacedName)
			r.subject(req.NamespacedName).Gone()
			err = nil
		}
		return ctrl.Result{}, err
	}
	u = r.statuses.Of(u)
	if err := custom.Whole(u); err != nil {
		return ctrl.Result{}, err
	}
	o, err := r.kind.decode(u)
	if err != nil {
		r.keeper.Put(source.Spec{Name: name, Refused: err})
		r.subject(req.NamespacedName).Failed(reasonOf(err, "InvalidSpec"))
		return ctrl.Result{}, r.statuses.stall(ctx, u, err)
	}
	if o.GetDeletionTimestamp() != nil {
		return ctrl.Result{}, r.letGo(ctx, u)
	}
	session := r.refs.Begin(name)
	defer session.End()
	spec := sourceSpec(name, o, session, r.stores)
	if fault.Is(spec.Refused, fault.Progressing) {
		return ctrl.Result{}, nil // it has not been read yet, and wakes it
	}
	r.keeper.Put(spec)
	return ctrl.Result{}, r.report(ctx, u, o, spec)
}

// report tells how far a source is, as far as that is known.
func (r *sources) report(ctx context.Context, u *unstructured.Unstructured, o sourceObject, spec source.Spec) error {
	s, ok := r.keeper.State(spec.Name)
	if !ok || s.Pending || spec.Suspended {
		return nil
	}
	c := o.common()
	before := tellingOf(c)
	s.Err = inWords(s.Err)
	r.conclude(o, s)
	if spec.Requested != "" && (s.Requested == spec.Requested || spec.Refused != nil) {
		*c.handled = spec.Requested
	}
	if err := r.statuses.write(ctx, u, c.status); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	r.tell(o, before, s)
	return r.commits.write(ctx, r.client, u, tellingOf(c).revision)
}

// A telling is what of a status is news when it is another.
type telling struct{ message, revision string }

func tellingOf(c common) (t telling) {
	t.message = report.Find(*c.conditions, report.Ready).Message
	if a := *c.artifact; a != nil {
		t.revision = a.Revision
	}
	return t
}

func (r *sources) name(key types.NamespacedName) string {
	return unitName(r.kind.Kind, key.Namespace, key.Name)
}

func (r *sources) subject(key types.NamespacedName) report.Subject {
	return report.Subject{Kind: r.kind.Kind, Name: key.Name, Namespace: key.Namespace}
}

// looked measures how a server answered.
func (r *sources) looked(l source.Look) {
	_, key := keyOf(l.Source)
	if l.Err != nil {
		r.subject(key).Failed(reasonOf(l.Err, r.kind.failed))
		return
	}
	r.subject(key).Took(l.Took)
}

// names are those of all sources of the kind.
func (r *sources) names(ctx context.Context) (names []string, err error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(r.kind.GroupVersionKind)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // only names are read
		return nil, fmt.Errorf("list %s: %w", r.kind.plural, err)
	}
	for i := range list.Items {
		names = append(names, r.name(client.ObjectKeyFromObject(&list.Items[i])))
	}
	return names, nil
}

// noArtifact says why a source has nothing to apply.
func (r *sources) noArtifact(ctx context.Context, from string) error {
	kind, key := keyOf(from)
	u, err := get(ctx, r.client, r.kind.GroupVersionKind, key)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read %s '%s': %w", kind, key, err)
	}
	if err != nil {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.ArtifactFailed, Err: fmt.Errorf("%s '%s' not found", kind, key),
			Hint: "create it, or correct spec.sourceRef; nothing is pruned meanwhile",
		}
	}
	var st struct {
		Conditions []metav1.Condition `json:"conditions"`
		Artifact   *meta.Artifact     `json:"artifact"`
	}
	if err := decodeStatus(u, &st); err != nil {
		return &fault.Error{Next: fault.Wait, Reason: fault.ArtifactFailed, Err: fmt.Errorf("the status of %s '%s' can't be read: %w", kind, key, err)}
	}
	if c := report.Find(st.Conditions, report.Ready); c.Status == metav1.ConditionFalse {
		return &fault.Error{Next: fault.Wait, Reason: fault.ArtifactFailed, Err: fmt.Errorf("%s '%s' is not ready: %s", kind, key, c.Message)}
	}
	if st.Artifact != nil {
		return &fault.Error{Next: fault.Wait, Reason: fault.NotYetRead, Err: errors.New("the source is being read after a start")}
	}
	return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s '%s' has no artifact yet", kind, key)}
}

// letGo removes the finalizer that another controller may have left: there is
// nothing to clean up.
func (r *sources) letGo(ctx context.Context, u *unstructured.Unstructured) error {
	without := u.DeepCopy()
	var keep []string
	for _, f := range u.GetFinalizers() {
		if f != finalizer {
			keep = append(keep, f)
		}
	}
	if len(keep) == len(u.GetFinalizers()) {
		return nil
	}
	without.SetFinalizers(keep)
	return client.IgnoreNotFound(r.client.Patch(ctx, without, client.MergeFrom(u), client.FieldOwner(sourceManager)))
}

// conclude writes into the status of o how far it is.
func (r *sources) conclude(o sourceObject, s source.State) {
	f, a, err := o.common(), s.Artifact, s.Err
	c := report.Conditions{List: f.conditions, Generation: o.GetGeneration()}
	switch {
	case isSpecFault(err) || err != nil && fault.Of(err).Next == fault.Stall:
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reasonOf(err, "InvalidSpec"), err.Error())
		c.Stall(reasonOf(err, "InvalidSpec"), err.Error())
		*f.observedGeneration = o.GetGeneration()
		return
	case fault.Is(err, source.ReasonIncludeUnavailable):
		c.Set(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, "NotFound", err.Error())
		c.Retry("IncludeUnavailable", err.Error())
		return
	case err != nil:
		reason := reasonOf(err, r.kind.failed)
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, err.Error())
		c.Retry(reason, err.Error())
		return
	}
	stored := func(name string, a *source.Artifact) *meta.Artifact { return r.stored(o, name, a) }
	digest := source.Digest(a.Tree)
	if at := *f.artifact; at == nil || at.Revision != a.Revision || at.Digest != digest {
		*f.artifact = stored(o.GetName(), a)
		(*f.artifact).LastUpdateTime = metav1.Now()
	}
	(*f.artifact).Metadata = commitMetadata(a.Commit)
	*f.observedIgnore = f.ignore
	*f.observedGeneration = o.GetGeneration()
	o.observe(s, stored)
	c.Drop(sourcev1.FetchFailedCondition, sourcev1.IncludeUnavailableCondition, sourcev1.ArtifactOutdatedCondition)
	c.Set(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, succeeded, o.stored(a))
	c.Ready(succeeded, o.stored(a))
}

// stored is an artifact of a source, of the namespace of o and its kind, as others
// would fetch it.
func (r *sources) stored(o sourceObject, name string, a *source.Artifact) *meta.Artifact {
	at := fmt.Sprintf("%s/%s/%s/%s.tar.gz", strings.ToLower(r.kind.Kind), o.GetNamespace(), name, o.file(a))
	return &meta.Artifact{
		Path: at, URL: "http://" + r.host + "/" + at, Revision: a.Revision, Digest: source.Digest(a.Tree),
		LastUpdateTime: metav1.NewTime(a.Commit.When),
	}
}

// tell reports what has changed.
func (r *sources) tell(o sourceObject, before telling, s source.State) {
	subject, a := r.subject(client.ObjectKeyFromObject(o)), s.Artifact
	log := r.log.With("kind", r.kind.Kind, "namespace", o.GetNamespace(), "name", o.GetName())
	about := o.DeepCopyObject()
	about.GetObjectKind().SetGroupVersionKind(r.kind.GroupVersionKind)
	if s.Err != nil {
		subject.Ready(0)
		is := report.Find(*o.common().conditions, report.Ready)
		if before.message != is.Message {
			if s.Next.IsZero() { // no answer of a server, which would be counted
				subject.Failed(is.Reason)
			}
			log.Error("source failed", "reason", is.Reason, "err", is.Message)
			r.events.Event(about, corev1.EventTypeWarning, is.Reason, clip(is.Message))
		}
		return
	}
	subject.Ready(1)
	subject.Succeeded()
	if before.revision == a.Revision {
		return
	}
	log.Info("new revision", "revision", a.Revision, "commit", a.Commit.ID, "author", a.Commit.Author)
	with := map[string]string{r.kind.Group + "/revision": a.Revision}
	if subject := commitMetadata(a.Commit)[metadataSubject]; subject != "" {
		with[view.EventSubject] = subject
	}
	r.events.AnnotatedEventf(about, with, corev1.EventTypeNormal, "NewArtifact", "%s", clip(o.news(a)))
}
