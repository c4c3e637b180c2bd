package flux

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
)

// secretsOf are the Secrets of a namespace.
type secretsOf map[string]map[string][]byte

func (s secretsOf) Get(ref lookup.Ref) (map[string][]byte, bool, error) {
	if ref.Name == "unread" {
		return nil, false, &fault.Error{Next: fault.Wait, Reason: "Progressing", Err: errors.New("not read yet")}
	}
	data, found := s[ref.Name]
	return data, found, nil
}

func aGitRepository(change func(*gitRepository)) *gitRepository {
	g := &gitRepository{}
	g.Namespace, g.Name = "x", "src"
	g.Spec.URL, g.Spec.Interval = "https://host.example/app", metav1.Duration{Duration: time.Minute}
	change(g)
	return g
}

func TestAGitRepositoryBecomesASource(t *testing.T) {
	st := newStores(t)
	secrets := secretsOf{
		"auth":  {"username": []byte("ada"), "password": []byte("pass"), "caFile": []byte("old"), "ca.crt": []byte("new"), "keyFile": []byte("key")},
		"proxy": {"address": []byte("http://proxy"), "username": []byte("p")},
	}
	plain := sourceSpec("GitRepository/x/src", aGitRepository(func(*gitRepository) {}), secrets, st)
	if f := plain.From.(git.Source); plain.Name != "GitRepository/x/src" || plain.Interval != time.Minute || plain.Refused != nil || f.Ref != (git.Ref{}) {
		t.Errorf("%+v", plain)
	}
	full := sourceSpec("GitRepository/x/src", aGitRepository(func(g *gitRepository) {
		g.Spec.SecretRef, g.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "auth"}, &meta.LocalObjectReference{Name: "proxy"}
		g.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "b", Tag: "t", SemVer: "1.x", Name: "refs/n", Commit: "c"}
		g.Spec.Timeout, g.Spec.RecurseSubmodules, g.Spec.Suspend = &metav1.Duration{Duration: time.Second}, true, true
		g.Spec.SparseCheckout, g.Spec.Ignore = []string{"dir"}, new("x")
		g.Spec.Include = []sourcev1.GitRepositoryInclude{
			{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}},
			{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: "./a/", ToPath: "b"},
		}
		g.Annotations = map[string]string{requestedAt: "now"}
		g.Status.Artifact = &meta.Artifact{Revision: "main@sha1:1", Digest: "sha256:2"}
	}), secrets, st)
	f := full.From.(git.Source)
	if f.Ref != (git.Ref{Branch: "b", Tag: "t", SemVer: "1.x", Name: "refs/n", Commit: "c"}) || !f.RecurseSubmodules || f.Remote.Timeout != time.Second {
		t.Errorf("the reference is %+v", f.Ref)
	}
	if a := f.Remote.Auth; a.Username != "ada" || a.Password != "pass" || string(a.CA) != "new" || string(a.ClientKey) != "key" {
		t.Error("the credentials are others")
	}
	if p := f.Remote.Proxy; p.URL != "http://proxy" || p.Username != "p" {
		t.Errorf("the proxy is %q", p.URL)
	}
	want := fmt.Sprint([]source.Include{
		{Source: "GitRepository/x/lib", At: "lib", Sub: "."}, {Source: "GitRepository/x/lib", At: "b", Sub: "a"},
	})
	if got := fmt.Sprint(full.Shape.Includes); got != want || *full.Shape.Ignore != "x" || full.Shape.Sparse[0] != "dir" {
		t.Errorf("the shape is %+v", full.Shape)
	}
	if !full.Suspended || full.Requested != "now" || full.Last.Revision != "main@sha1:1" || full.Last.Digest != "sha256:2" {
		t.Errorf("%+v", full)
	}
}

// What keeps a source from being asked is said, and where it is kept on disk is
// known all the same, but for what a proxy decides.
func TestWhatKeepsASourceFromBeingAsked(t *testing.T) {
	st := newStores(t)
	include := func(from, to string) func(*gitRepository) {
		return func(g *gitRepository) {
			g.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: from, ToPath: to}}
		}
	}
	place := sourceSpec("GitRepository/x/src", aGitRepository(func(*gitRepository) {}), secretsOf{}, st).From.Place()
	for name, c := range map[string]struct {
		change  func(*gitRepository)
		next    fault.Next
		message string
		unknown bool
	}{
		"a Secret that is not there": {
			func(g *gitRepository) { g.Spec.SecretRef = &meta.LocalObjectReference{Name: "none"} },
			fault.Wait, "spec.secretRef: Secret/x/none does not exist", false,
		},
		"one that was not read": {
			func(g *gitRepository) { g.Spec.SecretRef = &meta.LocalObjectReference{Name: "unread"} },
			fault.Wait, "not read yet", false,
		},
		"a proxy's that is not there": {
			func(g *gitRepository) { g.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "none"} },
			fault.Wait, "spec.proxySecretRef: Secret/x/none does not exist", true,
		},
		"signatures": {
			func(g *gitRepository) { g.Spec.Verification = &sourcev1.GitRepositoryVerification{} },
			fault.Stall, "spec.verify", false,
		},
		"a forge's credentials": {func(g *gitRepository) { g.Spec.Provider = "github" }, fault.Stall, "spec.provider", false},
		"workload identity":     {func(g *gitRepository) { g.Spec.ServiceAccountName = "a" }, fault.Stall, "spec.serviceAccountName", false},
		"a path out":            {include("../x", "y"), fault.Stall, "spec.include: path", false},
		"a path to out":         {include("x", "/y"), fault.Stall, "spec.include: path", false},
	} {
		s := sourceSpec("GitRepository/x/src", aGitRepository(c.change), secretsOf{}, st)
		if s.Refused == nil || fault.Of(s.Refused).Next != c.next || !strings.Contains(s.Refused.Error(), c.message) {
			t.Errorf("%s: %v", name, s.Refused)
		}
		if (s.From == nil) != c.unknown || s.From != nil && s.From.Place() != place {
			t.Errorf("%s: kept is %v", name, s.From)
		}
	}
}

func TestErrorsOfSourcesAreInWordsOfGitRepositories(t *testing.T) {
	gone := &fault.Error{Next: fault.Stall, Reason: "PathNotFound", Err: errors.New(`directory "x" is not in the source`)}
	for _, c := range []struct {
		err    error
		want   string
		next   fault.Next
		reason fault.Reason
	}{
		{
			&fault.Error{Next: fault.Wait, Reason: source.ReasonIncludeUnavailable, Err: &source.IncludeError{Missing: "GitRepository/x/lib"}},
			"spec.include: GitRepository 'x/lib' has no artifact", fault.Wait, "IncludeUnavailable",
		},
		{
			&fault.Error{Next: fault.Stall, Reason: source.ReasonIncludeCircle, Err: &source.IncludeError{Circle: []string{"GitRepository/x/a", "GitRepository/x/b", "GitRepository/x/a"}}},
			"spec.include: GitRepositories include each other in a circle: x/a → x/b → x/a (take one of them out)", fault.Stall, "IncludeCircle",
		},
		{&source.ShapeError{Part: source.PartSparse, Err: gone}, `spec.sparseCheckout: directory "x" is not in the source`, fault.Stall, "PathNotFound"},
		{&source.ShapeError{Part: source.PartInclude, Err: gone}, `spec.include: directory "x" is not in the source`, fault.Stall, "PathNotFound"},
		{&source.ShapeError{Part: source.PartIgnore, Err: errors.New("broken")}, "ignore rules: broken", fault.Retry, ""},
		{errors.New("other"), "other", fault.Retry, ""},
	} {
		err := inWords(c.err)
		if f := fault.Of(err); err.Error() != c.want || f.Next != c.next || f.Reason != c.reason {
			t.Errorf("%v is %s %s, want %s %s: %s", err, f.Next, f.Reason, c.next, c.reason, c.want)
		}
	}
	if inWords(nil) != nil {
		t.Error("no error is one")
	}
	for _, part := range []source.Part{source.PartSparse, source.PartInclude, source.PartIgnore} {
		if partField[part] == "" {
			t.Errorf("%q has no field", part)
		}
	}
}
