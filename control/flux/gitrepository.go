package flux

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

// sourceManager owns the status of sources.
const sourceManager = "gotk-source-controller"

// gitRepositories reconciles GitRepositories.
type gitRepositories struct {
	o        Options
	client   client.Client
	statuses *statuses
	store    *git.Store
	shelf    *source.Shelf
	refs     *lookup.Reader
	events   record.EventRecorder
	log      *slog.Logger
	queue    *queue
	ignore   source.Ignorer
	// published is told of every new artifact, and of the one before it.
	published func(source string, before *source.Artifact)
	// host is where third parties would fetch artifacts from.
	host string
	// servers divides the workers among Git servers.
	servers *share

	mu      sync.Mutex
	polls   map[types.NamespacedName]*poll
	unswept bool // the store may hold what no source names
}

// A poll is what is remembered of asking a server.
type poll struct {
	due      time.Time // when to ask again
	hinted   bool      // somebody said that there is something new
	failures int
	asked    string // generation and credentials of the last time
	url      string
	proxy    string
	include  string // the artifacts that were included
}

// Hint has the GitRepositories with the given URL polled now, or all if none
// is given. It returns how many they are.
func (r *gitRepositories) Hint(url string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for key, p := range r.polls {
		if url == "" || sameURL(url, p.url) {
			p.hinted = true
			r.queue.add(key)
			n++
		}
	}
	return n
}

// sameURL compares addresses of repositories as people write them.
func sameURL(a, b string) bool {
	norm := func(s string) string {
		return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(git.Remote{URL: s}.String()), "/"), ".git")
	}
	return norm(a) == norm(b)
}

// Reconcile keeps the artifact of one GitRepository current.
func (r *gitRepositories) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := unitName(GitRepositoryKind.Kind, req.Namespace, req.Name)
	subject := report.Subject{Kind: GitRepositoryKind.Kind, Name: req.Name, Namespace: req.Namespace}
	defer r.sweep(ctx)
	u, err := peek(ctx, r.client, GitRepositoryKind, req.NamespacedName)
	if err != nil {
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, err
		}
		r.mu.Lock()
		delete(r.polls, req.NamespacedName)
		r.unswept = true
		r.mu.Unlock()
		r.servers.forget(req.NamespacedName)
		r.shelf.Drop(name)
		r.refs.Forget(name)
		r.statuses.forget(req.NamespacedName)
		subject.Gone()
		r.published(name, nil)
		return ctrl.Result{}, nil
	}
	u = r.statuses.newest(u)
	if err := whole(u); err != nil {
		return ctrl.Result{}, err
	}
	g, err := decodeGitRepository(u)
	if err != nil {
		subject.Failed(reasonOf(err, "InvalidSpec"))
		return ctrl.Result{}, r.statuses.stall(ctx, u, err)
	}
	if !g.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.letGo(ctx, u)
	}
	session := r.refs.Begin(name)
	defer session.End()
	r.restore(g, session)
	if g.Spec.Suspend {
		return ctrl.Result{}, nil
	}

	before := g.DeepCopy()
	requested, isRequested := meta.ReconcileAnnotationValue(u.GetAnnotations())
	isRequested = isRequested && requested != g.Status.LastHandledReconcileAt
	started := time.Now()

	p := r.poll(req.NamespacedName)
	artifact, asked, err := r.look(ctx, g, session, p, isRequested)
	if fault.Is(err, report.Progressing) {
		return ctrl.Result{RequeueAfter: time.Minute}, nil // what is missing wakes it
	}
	if !asked && err == nil {
		return ctrl.Result{RequeueAfter: time.Until(p.due)}, nil
	}
	r.conclude(g, artifact, err)
	if isRequested {
		g.Status.LastHandledReconcileAt = requested
	}
	if artifact != nil {
		// On the shelf before it is in the status: whoever reads the status
		// can rely on it.
		if before := r.shelf.Put(artifact); before != artifact {
			r.published(name, before)
		}
	}
	if err := r.statuses.write(ctx, u, &g.Status); err != nil {
		return ctrl.Result{}, fmt.Errorf("write status: %w", err)
	}
	if artifact != nil {
		subject.Took(time.Since(started))
	}
	r.tell(g, before, artifact, err, subject)
	return ctrl.Result{RequeueAfter: r.after(g, p, err)}, nil
}

func (r *gitRepositories) poll(key types.NamespacedName) *poll {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.polls[key]
	if p == nil {
		p = &poll{}
		r.polls[key] = p
	}
	return p
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

// restore puts the artifact that the status tells of on the shelf, if it is
// not there after a start and the store still has it: units can be held true
// to it while the server does not answer, or while the source is suspended.
func (r *gitRepositories) restore(g *sourcev1.GitRepository, refs getter) {
	name := unitName(GitRepositoryKind.Kind, g.Namespace, g.Name)
	if r.shelf.Get(name) != nil || g.Status.Artifact == nil {
		return
	}
	_, hash, ok := strings.Cut(g.Status.Artifact.Revision, "sha1:")
	if !ok {
		return
	}
	remote, err := r.remote(g, refs)
	if err != nil {
		return // to be reported by the look that follows
	}
	included, err := r.included(g)
	if err != nil {
		return
	}
	snap, err := r.store.Open(remote, git.Head{Revision: g.Status.Artifact.Revision, Hash: hash}, git.FetchOptions{RecurseSubmodules: g.Spec.RecurseSubmodules})
	if err != nil {
		return // it is fetched, as if it had never been there
	}
	t, err := r.shape(g, snap.Tree, included)
	if err != nil || digestOf(t) != g.Status.Artifact.Digest {
		return
	}
	before := r.shelf.Put(artifactOf(name, g.Status.Artifact.Revision, snap.Commit, t, g.Status.Artifact.LastUpdateTime.Time))
	r.published(name, before)
}

func artifactOf(name, revision string, c git.Commit, t tree.Tree, fetched time.Time) *source.Artifact {
	return &source.Artifact{
		Source: name, Revision: revision, Tree: t, Fetched: fetched,
		Commit: source.Commit{ID: c.Hash, Author: c.Author, Email: c.Email, Message: c.Message, When: c.When},
	}
}

// look asks the server if it is time to, and returns a new artifact if there
// is one. asked is false if nothing had to be done.
func (r *gitRepositories) look(ctx context.Context, g *sourcev1.GitRepository, refs getter, p *poll, requested bool) (a *source.Artifact, asked bool, err error) {
	remote, err := r.remote(g, refs)
	if err != nil {
		return nil, true, err
	}
	wasInCircle, err := r.inCircle(ctx, g)
	if err != nil {
		return nil, true, err
	}
	included, err := r.included(g)
	name := unitName(GitRepositoryKind.Kind, g.Namespace, g.Name)
	have := r.shelf.Get(name)

	fingerprint := sha256.Sum256(fmt.Appendf(nil, "%d %#v %q", g.Generation, g.Spec.URL, credentialsOf(remote)))
	key := hex.EncodeToString(fingerprint[:])
	include := includeKey(included)
	r.mu.Lock()
	due := have == nil || wasInCircle || requested || p.hinted || p.asked != key || !time.Now().Before(p.due) || p.include != include ||
		g.Status.ObservedGeneration != g.Generation && p.failures == 0 || !stored(g, have)
	r.addressed(p, remote)
	r.mu.Unlock()
	if !due {
		return nil, false, nil
	}
	if err == nil {
		leave, ok := r.servers.enter(remote.Server(), types.NamespacedName{Namespace: g.Namespace, Name: g.Name})
		if !ok {
			return nil, false, &fault.Error{Next: fault.Wait, Reason: report.Progressing, Err: errors.New("others wait for its server")}
		}
		defer func() { leave(!fault.Is(err, git.ReasonTimeout)) }()
	}
	r.mu.Lock()
	p.hinted = false
	r.mu.Unlock()
	p.asked = key
	if err != nil {
		return nil, true, err
	}
	p.include = include

	ref := git.Ref{}
	if f := g.Spec.Reference; f != nil {
		ref = git.Ref{Branch: f.Branch, Tag: f.Tag, SemVer: f.SemVer, Name: f.Name, Commit: f.Commit}
	}
	head, err := r.store.Resolve(ctx, remote, ref)
	if err != nil {
		return nil, true, err
	}
	snap, err := r.store.Fetch(ctx, remote, head, git.FetchOptions{RecurseSubmodules: g.Spec.RecurseSubmodules})
	if err != nil {
		return nil, true, err
	}
	t, err := r.shape(g, snap.Tree, included)
	if err != nil {
		return nil, true, err
	}
	a = artifactOf(name, head.Revision, snap.Commit, t, time.Now())
	if a.Same(have) {
		a = have
	}
	return a, true, nil
}

// stored reports whether the status says what is on the shelf. It does not if
// it could not be written.
func stored(g *sourcev1.GitRepository, have *source.Artifact) bool {
	a := g.Status.Artifact
	return have == nil || a != nil && a.Revision == have.Revision && a.Digest == digestOf(have.Tree)
}

// shape makes of what the repository holds what the spec selects of it.
func (r *gitRepositories) shape(g *sourcev1.GitRepository, t tree.Tree, included []*source.Artifact) (tree.Tree, error) {
	var err error
	if len(g.Spec.SparseCheckout) > 0 {
		if t, err = tree.Sparse(t, g.Spec.SparseCheckout); err != nil {
			return nil, fmt.Errorf("spec.sparseCheckout: %w", err)
		}
	}
	var mounts []tree.Mount
	for i, inc := range g.Spec.Include {
		at := inc.ToPath
		if at == "" {
			at = inc.GitRepositoryRef.Name
		}
		to, err := tree.Clean(at)
		if err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
		from, err := tree.Clean(inc.FromPath)
		if err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
		mounts = append(mounts, tree.Mount{At: to, Tree: included[i].Tree, Sub: from})
	}
	if len(mounts) > 0 {
		if t, err = tree.Overlay(t, mounts); err != nil {
			return nil, fmt.Errorf("spec.include: %w", err)
		}
	}
	if t, err = r.ignore.Apply(t, g.Spec.Ignore); err != nil {
		return nil, fmt.Errorf("ignore rules: %w", err)
	}
	return t, nil
}

// included returns the artifacts of spec.include, in order.
func (r *gitRepositories) included(g *sourcev1.GitRepository) ([]*source.Artifact, error) {
	var out []*source.Artifact
	for _, inc := range g.Spec.Include {
		a := r.shelf.Get(unitName(GitRepositoryKind.Kind, g.Namespace, inc.GitRepositoryRef.Name))
		if a == nil {
			return nil, &fault.Error{
				Next: fault.Wait, Reason: "IncludeUnavailable",
				Err: fmt.Errorf("spec.include: GitRepository '%s/%s' has no artifact", g.Namespace, inc.GitRepositoryRef.Name),
			}
		}
		out = append(out, a)
	}
	return out, nil
}

func includeKey(included []*source.Artifact) string {
	var b strings.Builder
	for _, a := range included {
		b.WriteString(a.Revision)
		b.WriteString(digestOf(a.Tree))
	}
	return b.String()
}

// remote makes the address and credentials of a GitRepository.
func (r *gitRepositories) remote(g *sourcev1.GitRepository, refs getter) (m git.Remote, err error) {
	switch {
	case g.Spec.Verification != nil:
		return m, specFault{unsupported("verify", "this version of plumb does not verify signatures")}
	case g.Spec.Provider != "" && g.Spec.Provider != "generic":
		return m, specFault{unsupported("provider", fmt.Sprintf("this version of plumb has no credentials from %q", g.Spec.Provider))}
	case g.Spec.ServiceAccountName != "":
		return m, specFault{unsupported("serviceAccountName", "this version of plumb has no workload identity")}
	}
	m.URL = g.Spec.URL
	if g.Spec.Timeout != nil {
		m.Timeout = g.Spec.Timeout.Duration
	}
	if s := g.Spec.SecretRef; s != nil {
		data, err := secret(g, refs, "secretRef", s.Name)
		if err != nil {
			return m, err
		}
		first := func(keys ...string) []byte {
			for _, k := range keys {
				if len(data[k]) > 0 {
					return data[k]
				}
			}
			return nil
		}
		m.Auth = git.Auth{
			Username: string(data["username"]), Password: string(data["password"]), BearerToken: string(data["bearerToken"]),
			Identity: data["identity"], KnownHosts: data["known_hosts"],
			CA: first("ca.crt", "caFile"), ClientCert: first("tls.crt", "certFile"), ClientKey: first("tls.key", "keyFile"),
		}
	}
	m.Proxy, err = proxy(g, refs)
	return m, err
}

func proxy(g *sourcev1.GitRepository, refs getter) (p git.Proxy, err error) {
	s := g.Spec.ProxySecretRef
	if s == nil {
		return p, nil
	}
	data, err := secret(g, refs, "proxySecretRef", s.Name)
	return git.Proxy{URL: string(data["address"]), Username: string(data["username"]), Password: string(data["password"])}, err
}

// secret reads a Secret that a field refers to.
func secret(g *sourcev1.GitRepository, refs getter, field, name string) (map[string][]byte, error) {
	ref := lookup.Ref{Kind: lookup.Secret, Namespace: g.Namespace, Name: name}
	data, found, err := refs.Get(ref)
	if err == nil && !found {
		err = &fault.Error{Next: fault.Wait, Reason: "AuthenticationFailed", Err: fmt.Errorf("spec.%s: %s does not exist", field, ref), Hint: "create it"}
	}
	return data, err
}

func credentialsOf(m git.Remote) []string {
	return []string{
		m.Auth.Username, m.Auth.Password, m.Auth.BearerToken, string(m.Auth.Identity), string(m.Auth.KnownHosts),
		string(m.Auth.CA), string(m.Auth.ClientCert), string(m.Auth.ClientKey), m.Proxy.URL, m.Proxy.Username, m.Proxy.Password,
	}
}

// digestOf identifies what a tree holds.
func digestOf(t tree.Tree) string {
	root := tree.RootID(t)
	if root == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(root))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// conclude writes into the status of g what a look has shown.
func (r *gitRepositories) conclude(g *sourcev1.GitRepository, a *source.Artifact, err error) {
	st := &g.Status
	c := report.Conditions{List: &st.Conditions, Generation: g.Generation}
	switch {
	case isSpecFault(err) || err != nil && fault.Of(err).Next == fault.Stall:
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reasonOf(err, "InvalidSpec"), err.Error())
		c.Stall(reasonOf(err, "InvalidSpec"), err.Error())
		st.ObservedGeneration = g.Generation
		return
	case fault.Is(err, "IncludeUnavailable"):
		c.Set(sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, "NotFound", err.Error())
		c.Retry("IncludeUnavailable", err.Error())
		return
	case err != nil:
		reason := reasonOf(err, sourcev1.GitOperationFailedReason)
		c.Set(sourcev1.FetchFailedCondition, metav1.ConditionTrue, reason, err.Error())
		c.Retry(reason, err.Error())
		return
	}
	digest := digestOf(a.Tree)
	if st.Artifact == nil || st.Artifact.Revision != a.Revision || st.Artifact.Digest != digest {
		hash := a.Commit.ID
		at := fmt.Sprintf("gitrepository/%s/%s/%s.tar.gz", g.Namespace, g.Name, hash)
		st.Artifact = &meta.Artifact{
			Path: at, URL: "http://" + r.host + "/" + at, Revision: a.Revision, Digest: digest,
			LastUpdateTime: metav1.Now(),
		}
	}
	st.Artifact.Metadata = commitMetadata(a.Commit)
	st.IncludedArtifacts = nil
	for _, inc := range g.Spec.Include {
		if ia := r.shelf.Get(unitName(GitRepositoryKind.Kind, g.Namespace, inc.GitRepositoryRef.Name)); ia != nil {
			at := fmt.Sprintf("gitrepository/%s/%s/%s.tar.gz", g.Namespace, inc.GitRepositoryRef.Name, ia.Commit.ID)
			st.IncludedArtifacts = append(st.IncludedArtifacts, &meta.Artifact{
				Path: at, URL: "http://" + r.host + "/" + at, Revision: ia.Revision, Digest: digestOf(ia.Tree),
				LastUpdateTime: metav1.NewTime(ia.Commit.When),
			})
		}
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

// tell reports what has changed.
func (r *gitRepositories) tell(g, before *sourcev1.GitRepository, a *source.Artifact, err error, s report.Subject) {
	log := r.log.With("kind", GitRepositoryKind.Kind, "namespace", g.Namespace, "name", g.Name)
	o := g.DeepCopy()
	o.SetGroupVersionKind(GitRepositoryKind)
	if err != nil {
		s.Ready(0)
		s.Failed(reasonOf(err, sourcev1.GitOperationFailedReason))
		was, is := report.Find(before.Status.Conditions, report.Ready), report.Find(g.Status.Conditions, report.Ready)
		if was.Message != is.Message {
			log.Error("source failed", "reason", is.Reason, "err", is.Message)
			r.events.Event(o, corev1.EventTypeWarning, is.Reason, clip(is.Message))
		}
		return
	}
	s.Ready(1)
	s.Succeeded()
	if before.Status.Artifact != nil && before.Status.Artifact.Revision == a.Revision {
		return
	}
	log.Info("new revision", "revision", a.Revision, "commit", a.Commit.ID, "author", a.Commit.Author)
	subject, _, _ := strings.Cut(a.Commit.Message, "\n")
	about := map[string]string{GitRepositoryKind.Group + "/revision": a.Revision, view.EventSubject: commitMetadata(a.Commit)[metadataSubject]}
	r.events.AnnotatedEventf(o, about,
		corev1.EventTypeNormal, "NewArtifact", "%s", clip(fmt.Sprintf("stored artifact for commit '%s'", subject)))
}

// after says when to look again, and notes it.
func (r *gitRepositories) after(g *sourcev1.GitRepository, p *poll, err error) time.Duration {
	d := jitter(g.Spec.Interval.Duration, 0.05, rand.Float64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		p.failures = 0
	} else {
		p.failures++
		f := fault.Of(err)
		switch {
		case f.After > 0:
			d = f.After
		case f.Next == fault.Stall:
		default:
			d = min(d, jitter(time.Second<<min(p.failures, 10), 0.2, rand.Float64))
		}
	}
	p.due = time.Now().Add(d)
	if p.hinted {
		return time.Millisecond
	}
	return d
}
