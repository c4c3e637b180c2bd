package flux

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/tree"
)

// sourceSpec makes of a GitRepository what the keeper is to keep.
func sourceSpec(g *sourcev1.GitRepository, refs getter, store *git.Store) source.Spec {
	s := source.Spec{
		Name:     unitName(GitRepositoryKind.Kind, g.Namespace, g.Name),
		Interval: g.Spec.Interval.Duration, Suspended: g.Spec.Suspend,
	}
	var badShape error
	s.Shape, badShape = shapeOf(g)
	remote, placed, err := remoteOf(g, refs)
	if placed {
		s.From = git.Source{Store: store, Remote: remote, Ref: refOf(g), FetchOptions: git.FetchOptions{RecurseSubmodules: g.Spec.RecurseSubmodules}}
	}
	if s.Refused = err; err == nil {
		s.Refused = badShape
	}
	if requested, ok := meta.ReconcileAnnotationValue(g.Annotations); ok && requested != g.Status.LastHandledReconcileAt {
		s.Requested = requested
	}
	if a := g.Status.Artifact; a != nil {
		s.Last = &source.Last{Revision: a.Revision, Digest: a.Digest, Fetched: a.LastUpdateTime.Time}
	}
	return s
}

func refOf(g *sourcev1.GitRepository) git.Ref {
	f := g.Spec.Reference
	if f == nil {
		return git.Ref{}
	}
	return git.Ref{Branch: f.Branch, Tag: f.Tag, SemVer: f.SemVer, Name: f.Name, Commit: f.Commit}
}

// remoteOf makes the address and credentials of a GitRepository. placed says
// that the address, at least, is known.
func remoteOf(g *sourcev1.GitRepository, refs getter) (m git.Remote, placed bool, err error) {
	m.URL = g.Spec.URL
	if g.Spec.Timeout != nil {
		m.Timeout = g.Spec.Timeout.Duration
	}
	if s := g.Spec.ProxySecretRef; s != nil {
		data, err := secret(g, refs, "proxySecretRef", s.Name)
		if err != nil {
			return m, false, err
		}
		m.Proxy = git.Proxy{URL: string(data["address"]), Username: string(data["username"]), Password: string(data["password"])}
	}
	switch {
	case g.Spec.Verification != nil:
		return m, true, specFault{unsupported("verify", "this version of plumb does not verify signatures")}
	case g.Spec.Provider != "" && g.Spec.Provider != "generic":
		return m, true, specFault{unsupported("provider", fmt.Sprintf("this version of plumb has no credentials from %q", g.Spec.Provider))}
	case g.Spec.ServiceAccountName != "":
		return m, true, specFault{unsupported("serviceAccountName", "this version of plumb has no workload identity")}
	}
	if s := g.Spec.SecretRef; s != nil {
		data, err := secret(g, refs, "secretRef", s.Name)
		if err != nil {
			return m, true, err
		}
		m.Auth = authOf(data)
	}
	return m, true, nil
}

func authOf(data map[string][]byte) git.Auth {
	first := func(keys ...string) []byte {
		for _, k := range keys {
			if len(data[k]) > 0 {
				return data[k]
			}
		}
		return nil
	}
	return git.Auth{
		Username: string(data["username"]), Password: string(data["password"]), BearerToken: string(data["bearerToken"]),
		Identity: data["identity"], KnownHosts: data["known_hosts"],
		CA: first("ca.crt", "caFile"), ClientCert: first("tls.crt", "certFile"), ClientKey: first("tls.key", "keyFile"),
	}
}

// secret reads a Secret that a field refers to.
func secret(g *sourcev1.GitRepository, refs getter, field, name string) (map[string][]byte, error) {
	ref := lookup.Ref{Kind: lookup.Secret, Namespace: g.Namespace, Name: name}
	data, found, err := refs.Get(ref)
	if err == nil && !found {
		err = &fault.Error{Next: fault.Wait, Reason: fault.AuthenticationFailed, Err: fmt.Errorf("spec.%s: %s does not exist", field, ref), Hint: "create it"}
	}
	return data, err
}

// shapeOf is what a GitRepository selects and includes.
func shapeOf(g *sourcev1.GitRepository) (source.Shape, error) {
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

// checkNames refuses references that no object can be found by: they would be
// paths.
func checkNames(g *sourcev1.GitRepository) error {
	check := func(field, name string) error {
		errs := content.IsPathSegmentName(name)
		if name == "" {
			errs = []string{"may not be empty"}
		}
		if len(errs) == 0 {
			return nil
		}
		return &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.%s: %q is no name: %s", field, name, strings.Join(errs, ", ")),
			Hint: "name an object of the same namespace",
		}
	}
	if s := g.Spec.SecretRef; s != nil {
		if err := check("secretRef.name", s.Name); err != nil {
			return err
		}
	}
	if s := g.Spec.ProxySecretRef; s != nil {
		if err := check("proxySecretRef.name", s.Name); err != nil {
			return err
		}
	}
	for i, inc := range g.Spec.Include {
		if err := check(fmt.Sprintf("include[%d].repository.name", i), inc.GitRepositoryRef.Name); err != nil {
			return err
		}
	}
	return nil
}

// partField says which field of a GitRepository a part of a shape is.
var partField = map[source.Part]string{
	source.PartSparse: "spec.sparseCheckout", source.PartInclude: "spec.include", source.PartIgnore: "ignore rules",
}

// inWords says what a source's error is about in words of a GitRepository.
func inWords(err error) error {
	var inc *source.IncludeError
	var part *source.ShapeError
	switch {
	case errors.As(err, &inc) && inc.Missing != "":
		kind, key := keyOf(inc.Missing)
		return &fault.Error{
			Next: fault.Wait, Reason: source.ReasonIncludeUnavailable, Err: fmt.Errorf("spec.include: %s '%s' has no artifact", kind, key),
		}
	case errors.As(err, &inc):
		way := make([]string, len(inc.Circle))
		for i, name := range inc.Circle {
			_, key := keyOf(name)
			way[i] = key.String()
		}
		return circular(way)
	case errors.As(err, &part):
		return fmt.Errorf("%s: %w", partField[part.Part], part.Err)
	}
	return err
}

func circular(way []string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: source.ReasonIncludeCircle, Hint: "take one of them out",
		Err: fmt.Errorf("spec.include: GitRepositories include each other in a circle: %s", strings.Join(way, " → ")),
	}
}
