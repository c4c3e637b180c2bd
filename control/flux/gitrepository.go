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
	"plumb.dev/plumb/source/git"
)

// sourceManager owns the status of sources.
const sourceManager = "gotk-source-controller"

// gitRepositories makes GitRepositories sources of the keeper, and tells in
// their status what became of them.
type gitRepositories struct {
	client   client.Client
	statuses *statuses
	store    *git.Store
	keeper   *source.Keeper
	refs     *lookup.Reader
	events   record.EventRecorder
	log      *slog.Logger
	queue    *control.Queue
	commits  commits
	// host is where third parties would fetch artifacts from.
	host string
}

// Reconcile puts one GitRepository, and tells how far it is.
func (r *gitRepositories) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := unitName(GitRepositoryKind.Kind, req.Namespace, req.Name)
	u, err := peek(ctx, r.client, GitRepositoryKind, req.NamespacedName)
	if err != nil {
		if client.IgnoreNotFound(err) == nil {
			r.keeper.Delete(name)
			r.refs.Forget(name)
			r.statuses.Forget(req.NamespacedName)
			r.commits.forget(req.NamespacedName)
			sourceSubject(req.NamespacedName).Gone()
			err = nil
		}
		return ctrl.Result{}, err
	}
	u = r.statuses.Of(u)
	if err := custom.Whole(u); err != nil {
		return ctrl.Result{}, err
	}
	g, err := decodeGitRepository(u)
	if err != nil {
		r.keeper.Put(source.Spec{Name: name, Refused: err})
		sourceSubject(req.NamespacedName).Failed(reasonOf(err, "InvalidSpec"))
		return ctrl.Result{}, r.statuses.stall(ctx, u, err)
	}
	if !g.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.letGo(ctx, u)
	}
	session := r.refs.Begin(name)
	defer session.End()
	spec := sourceSpec(g, session, r.store)
	if fault.Is(spec.Refused, fault.Progressing) {
		return ctrl.Result{}, nil // it has not been read yet, and wakes it
	}
	r.keeper.Put(spec)
	return ctrl.Result{}, r.report(ctx, u, g, spec)
}

// report tells how far a source is, as far as that is known.
func (r *gitRepositories) report(ctx context.Context, u *unstructured.Unstructured, g *sourcev1.GitRepository, spec source.Spec) error {
	s, ok := r.keeper.State(spec.Name)
	if !ok || s.Pending || spec.Suspended {
		return nil
	}
	before := g.DeepCopy()
	s.Err = inWords(s.Err)
	r.conclude(g, s)
	if spec.Requested != "" && (s.Requested == spec.Requested || spec.Refused != nil) {
		g.Status.LastHandledReconcileAt = spec.Requested
	}
	if err := r.statuses.write(ctx, u, &g.Status); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	r.tell(g, before, s)
	newest := ""
	if g.Status.Artifact != nil {
		newest = g.Status.Artifact.Revision
	}
	return r.commits.write(ctx, r.client, u, newest)
}

func sourceSubject(key types.NamespacedName) report.Subject {
	return report.Subject{Kind: GitRepositoryKind.Kind, Name: key.Name, Namespace: key.Namespace}
}

// looked measures how a server answered.
func (r *gitRepositories) looked(l source.Look) {
	_, key := keyOf(l.Source)
	if l.Err != nil {
		sourceSubject(key).Failed(reasonOf(l.Err, sourcev1.GitOperationFailedReason))
		return
	}
	sourceSubject(key).Took(l.Took)
}

// names are those of all GitRepositories.
func (r *gitRepositories) names(ctx context.Context) (names []string, err error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(GitRepositoryKind)
	if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // only names are read
		return nil, fmt.Errorf("list GitRepositories: %w", err)
	}
	for i := range list.Items {
		names = append(names, unitName(GitRepositoryKind.Kind, list.Items[i].GetNamespace(), list.Items[i].GetName()))
	}
	return names, nil
}

// noArtifact says why a source has nothing to apply.
func (r *gitRepositories) noArtifact(ctx context.Context, from string) error {
	kind, key := keyOf(from)
	u, err := get(ctx, r.client, GitRepositoryKind, key)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read %s '%s': %w", kind, key, err)
	}
	if err != nil {
		return &fault.Error{
			Next: fault.Wait, Reason: fault.ArtifactFailed, Err: fmt.Errorf("%s '%s' not found", kind, key),
			Hint: "create it, or correct spec.sourceRef; nothing is pruned meanwhile",
		}
	}
	var st sourcev1.GitRepositoryStatus
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
func (r *gitRepositories) letGo(ctx context.Context, u *unstructured.Unstructured) error {
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

// conclude writes into the status of g how far it is.
func (r *gitRepositories) conclude(g *sourcev1.GitRepository, s source.State) {
	st, a, err := &g.Status, s.Artifact, s.Err
	c := report.Conditions{List: &st.Conditions, Generation: g.Generation}
	switch {
	case isSpecFault(err) || err != nil && fault.Of(err).Next == fault.Stall:
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reasonOf(err, "InvalidSpec"), err.Error())
		c.Stall(reasonOf(err, "InvalidSpec"), err.Error())
		st.ObservedGeneration = g.Generation
		return
	case fault.Is(err, source.ReasonIncludeUnavailable):
		c.Set(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, "NotFound", err.Error())
		c.Retry("IncludeUnavailable", err.Error())
		return
	case err != nil:
		reason := reasonOf(err, sourcev1.GitOperationFailedReason)
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, err.Error())
		c.Retry(reason, err.Error())
		return
	}
	digest := source.Digest(a.Tree)
	if st.Artifact == nil || st.Artifact.Revision != a.Revision || st.Artifact.Digest != digest {
		st.Artifact = r.stored(g.Namespace, g.Name, a)
		st.Artifact.LastUpdateTime = metav1.Now()
	}
	st.Artifact.Metadata = commitMetadata(a.Commit)
	st.IncludedArtifacts = nil
	for i, inc := range g.Spec.Include {
		st.IncludedArtifacts = append(st.IncludedArtifacts, r.stored(g.Namespace, inc.GitRepositoryRef.Name, s.Included[i]))
	}
	st.ObservedIgnore = g.Spec.Ignore
	st.ObservedRecurseSubmodules = g.Spec.RecurseSubmodules
	st.ObservedInclude = g.Spec.Include
	st.ObservedSparseCheckout = g.Spec.SparseCheckout
	st.ObservedGeneration = g.Generation
	message := fmt.Sprintf("stored artifact for revision '%s'", a.Revision)
	c.Drop(sourcev1.FetchFailedCondition, sourcev1.IncludeUnavailableCondition, sourcev1.ArtifactOutdatedCondition)
	c.Set(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, succeeded, message)
	c.Ready(succeeded, message)
}

// stored is an artifact as others would fetch it.
func (r *gitRepositories) stored(namespace, name string, a *source.Artifact) *meta.Artifact {
	at := fmt.Sprintf("gitrepository/%s/%s/%s.tar.gz", namespace, name, a.Commit.ID)
	return &meta.Artifact{
		Path: at, URL: "http://" + r.host + "/" + at, Revision: a.Revision, Digest: source.Digest(a.Tree),
		LastUpdateTime: metav1.NewTime(a.Commit.When),
	}
}

// tell reports what has changed.
func (r *gitRepositories) tell(g, before *sourcev1.GitRepository, s source.State) {
	subject, a := sourceSubject(client.ObjectKeyFromObject(g)), s.Artifact
	log := r.log.With("kind", GitRepositoryKind.Kind, "namespace", g.Namespace, "name", g.Name)
	o := g.DeepCopy()
	o.SetGroupVersionKind(GitRepositoryKind)
	if s.Err != nil {
		subject.Ready(0)
		was, is := report.Find(before.Status.Conditions, report.Ready), report.Find(g.Status.Conditions, report.Ready)
		if was.Message != is.Message {
			if s.Next.IsZero() { // no answer of a server, which would be counted
				subject.Failed(is.Reason)
			}
			log.Error("source failed", "reason", is.Reason, "err", is.Message)
			r.events.Event(o, corev1.EventTypeWarning, is.Reason, clip(is.Message))
		}
		return
	}
	subject.Ready(1)
	subject.Succeeded()
	if before.Status.Artifact != nil && before.Status.Artifact.Revision == a.Revision {
		return
	}
	log.Info("new revision", "revision", a.Revision, "commit", a.Commit.ID, "author", a.Commit.Author)
	title, _, _ := strings.Cut(a.Commit.Message, "\n")
	about := map[string]string{GitRepositoryKind.Group + "/revision": a.Revision, view.EventSubject: commitMetadata(a.Commit)[metadataSubject]}
	r.events.AnnotatedEventf(o, about,
		corev1.EventTypeNormal, "NewArtifact", "%s", clip(fmt.Sprintf("stored artifact for commit '%s'", title)))
}
