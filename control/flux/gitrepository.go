package flux

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/tree"
)

func gitKind() *sourceKind {
	return &sourceKind{
		GroupVersionKind: GitRepositoryKind, plural: "gitrepositories",
		names:  []string{"gitrepository", "gitrepositories", "gitrepo", "source"},
		failed: sourcev1.GitOperationFailedReason,
		decode: func(u *unstructured.Unstructured) (sourceObject, error) { return asSource(decodeGitRepository(u)) },
	}
}

// asSource is a source, or none if there is an error.
func asSource[T sourceObject](o T, err error) (sourceObject, error) {
	if err != nil {
		return nil, err
	}
	return o, nil
}

// A gitRepository is a GitRepository, as a [sourceObject].
type gitRepository struct{ sourcev1.GitRepository }

func decodeGitRepository(u *unstructured.Unstructured) (*gitRepository, error) {
	g := &gitRepository{}
	// The choice between two Git libraries has no effect since v1beta2.2, and
	// accessFrom never had one: Flux documents it as not implemented.
	if err := decode(u, &g.GitRepository, "gitImplementation", "accessFrom"); err != nil {
		return nil, err
	}
	return g, g.checkNames()
}

// checkNames refuses references that no object can be found by.
func (g *gitRepository) checkNames() error {
	if err := checkRefs(secretRef{"secretRef", g.Spec.SecretRef}, secretRef{"proxySecretRef", g.Spec.ProxySecretRef}); err != nil {
		return err
	}
	for i, inc := range g.Spec.Include {
		if err := checkName(fmt.Sprintf("include[%d].repository.name", i), inc.GitRepositoryRef.Name); err != nil {
			return err
		}
	}
	return nil
}

func (g *gitRepository) common() common {
	st := &g.Status
	return common{
		interval: g.Spec.Interval.Duration, suspend: g.Spec.Suspend, ignore: g.Spec.Ignore,
		status: st, conditions: &st.Conditions, observedGeneration: &st.ObservedGeneration, artifact: &st.Artifact,
		observedIgnore: &st.ObservedIgnore, handled: &st.LastHandledReconcileAt,
	}
}

// shape implements [sourceObject]. It has what the repository includes.
func (g *gitRepository) shape() (source.Shape, error) {
	s := source.Shape{Sparse: g.Spec.SparseCheckout, Ignore: g.Spec.Ignore}
	var errs []error
	path := func(p string) string {
		clean, err := tree.Clean(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("spec.include: %w", err))
		}
		return clean
	}
	for _, inc := range g.Spec.Include {
		at := inc.ToPath
		if at == "" {
			at = inc.GitRepositoryRef.Name
		}
		s.Includes = append(s.Includes, source.Include{
			Source: unitName(GitRepositoryKind.Kind, g.Namespace, inc.GitRepositoryRef.Name), At: path(at), Sub: path(inc.FromPath),
		})
	}
	return s, errors.Join(errs...)
}

func (g *gitRepository) fetcher(refs getter, s *stores.Stores) (source.Fetcher, error) {
	remote, placed, err := g.remote(refs)
	if !placed {
		return nil, err
	}
	return git.Source{Store: s.Git, Remote: remote, Ref: g.ref(), FetchOptions: git.FetchOptions{RecurseSubmodules: g.Spec.RecurseSubmodules}}, err
}

func (g *gitRepository) ref() git.Ref {
	f := g.Spec.Reference
	if f == nil {
		return git.Ref{}
	}
	return git.Ref{Branch: f.Branch, Tag: f.Tag, SemVer: f.SemVer, Name: f.Name, Commit: f.Commit}
}

// remote makes the address and credentials. placed says that the address, at
// least, is known.
func (g *gitRepository) remote(refs getter) (m git.Remote, placed bool, err error) {
	m.URL, m.Timeout = g.Spec.URL, timeoutOf(g.Spec.Timeout)
	if m.Proxy, err = proxyOf(g.Namespace, refs, g.Spec.ProxySecretRef); err != nil {
		return m, false, err
	}
	switch {
	case g.Spec.Verification != nil:
		return m, true, specFault{unsupported("verify", "this version of plumb does not verify signatures")}
	case g.Spec.Provider != "" && g.Spec.Provider != "generic":
		return m, true, noProvider(g.Spec.Provider)
	case g.Spec.ServiceAccountName != "":
		return m, true, specFault{unsupported("serviceAccountName", "this version of plumb has no workload identity")}
	}
	if s := g.Spec.SecretRef; s != nil {
		data, err := secret(g.Namespace, refs, "secretRef", s.Name)
		if err != nil {
			return m, true, err
		}
		m.Auth = authOf(data)
	}
	return m, true, nil
}

func noProvider(name string) error {
	return specFault{unsupported("provider", fmt.Sprintf("this version of plumb has no credentials from %q", name))}
}

func authOf(data map[string][]byte) git.Auth {
	return git.Auth{
		Username: string(data["username"]), Password: string(data["password"]), BearerToken: string(data["bearerToken"]),
		Identity: data["identity"], KnownHosts: data["known_hosts"],
		CA: first(data, "ca.crt", "caFile"), ClientCert: first(data, "tls.crt", "certFile"), ClientKey: first(data, "tls.key", "keyFile"),
	}
}

var hash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// wanted implements [sourceObject]: a commit, a branch, a tag or a full name.
func (g *gitRepository) wanted(ctx context.Context, at source.Fetcher, name string) (source.Revision, error) {
	from := at.(git.Source)
	head, err := wantedHead(ctx, from.Store, from.Remote, name)
	return source.Revision{Name: head.Revision, Detail: head}, err
}

func wantedHead(ctx context.Context, store *git.Store, remote git.Remote, revision string) (git.Head, error) {
	if i := strings.LastIndex(revision, "sha1:"); i >= 0 && hash.MatchString(revision[i+5:]) {
		return git.Head{Revision: revision, Hash: revision[i+5:]}, nil
	}
	switch {
	case hash.MatchString(revision):
		return store.Resolve(ctx, remote, git.Ref{Commit: revision})
	case strings.HasPrefix(revision, "refs/"):
		return store.Resolve(ctx, remote, git.Ref{Name: revision})
	}
	head, err := store.Resolve(ctx, remote, git.Ref{Branch: revision})
	if !fault.Is(err, git.ReasonReferenceNotFound) {
		return head, err
	}
	if head, err := store.Resolve(ctx, remote, git.Ref{Tag: revision}); !fault.Is(err, git.ReasonReferenceNotFound) {
		return head, err
	}
	return git.Head{}, &fault.Error{
		Next: fault.Stall, Reason: git.ReasonReferenceNotFound,
		Err:  fmt.Errorf("%s has no branch or tag %q", remote, revision),
		Hint: "name a branch, a tag, a full ref or a commit with all 40 digits",
	}
}

func (g *gitRepository) observe(s source.State, stored func(string, *source.Artifact) *meta.Artifact) {
	st := &g.Status
	st.IncludedArtifacts = nil
	for i, inc := range g.Spec.Include {
		st.IncludedArtifacts = append(st.IncludedArtifacts, stored(inc.GitRepositoryRef.Name, s.Included[i]))
	}
	st.ObservedRecurseSubmodules = g.Spec.RecurseSubmodules
	st.ObservedInclude = g.Spec.Include
	st.ObservedSparseCheckout = g.Spec.SparseCheckout
}

func (g *gitRepository) file(a *source.Artifact) string { return a.Commit.ID }

func (g *gitRepository) stored(a *source.Artifact) string {
	return fmt.Sprintf("stored artifact for revision '%s'", a.Revision)
}

func (g *gitRepository) news(a *source.Artifact) string {
	title, _, _ := strings.Cut(a.Commit.Message, "\n")
	return fmt.Sprintf("stored artifact for commit '%s'", title)
}
