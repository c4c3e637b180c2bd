package flux

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/tree"
)

var srcKey = types.NamespacedName{Namespace: "x", Name: "src"}

func newSources(t *testing.T, s *stored) *sources {
	t.Helper()
	st := newStores(t)
	t.Cleanup((&sources{kind: gitKind()}).subject(srcKey).Gone)
	return &sources{
		kind: gitKind(), client: s, statuses: newStatuses(s, sourceManager), stores: st, keeper: source.NewKeeper(t.Context(), source.Options{Stores: st.All()}),
		refs: lookup.New(t.Context(), nil, func(string) {}), events: record.NewFakeRecorder(1000), log: slog.New(slog.DiscardHandler), queue: &control.Queue{}, host: "plumb.example",
	}
}

func newStores(t *testing.T) *stores.Stores {
	t.Helper()
	st, err := stores.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func gitRepo(t *testing.T, parts string) *unstructured.Unstructured {
	t.Helper()
	u := ks(t, parts)
	u.SetGroupVersionKind(GitRepositoryKind)
	u.SetNamespace("x")
	u.SetName("src")
	return u
}

// artifact is one of a revision, of a tree with one file.
func artifact(revision, content string) *source.Artifact {
	return &source.Artifact{
		Source: "GitRepository/x/src", Revision: revision, Tree: tree.FromFiles(map[string]string{"a": content}),
		Commit: source.Commit{ID: "c" + revision, Author: "Ada", Email: "ada@example", Message: "add a\n\nlong", When: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
}

// sourceSays is all that the status of a source says, but for when.
func sourceSays(st *sourcev1.GitRepositoryStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "observed %d", st.ObservedGeneration)
	if a := st.Artifact; a != nil {
		fmt.Fprintf(&b, ", %s at %s by %s: %s", a.Revision, a.URL, a.Metadata[metadataAuthor], a.Metadata[metadataSubject])
	}
	for _, a := range st.IncludedArtifacts {
		fmt.Fprintf(&b, ", with %s at %s", a.Revision, a.Path)
	}
	for _, c := range st.Conditions {
		fmt.Fprintf(&b, "\n%s=%s %s @%d: %s", c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message)
	}
	return b.String()
}

func TestWhatAStateMakesOfTheStatusOfASource(t *testing.T) {
	const was = "main@sha1:1 at http://plumb.example/gitrepository/x/src/cmain@sha1:1.tar.gz by Ada <ada@example>: add a"
	for name, c := range map[string]struct {
		change func(*gitRepository)
		state  source.State
		want   string
	}{
		"a new revision": {
			nil, source.State{Artifact: artifact("main@sha1:2", "b")},
			"observed 2, main@sha1:2 at http://plumb.example/gitrepository/x/src/cmain@sha1:2.tar.gz by Ada <ada@example>: add a\n" +
				"Ready=True Succeeded @2: stored artifact for revision 'main@sha1:2'\nArtifactInStorage=True Succeeded @2: stored artifact for revision 'main@sha1:2'",
		},
		"one that includes another": {
			func(g *gitRepository) {
				g.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}}}
			}, source.State{Artifact: artifact("main@sha1:2", "b"), Included: []*source.Artifact{artifact("l", "l")}},
			"observed 2, main@sha1:2 at http://plumb.example/gitrepository/x/src/cmain@sha1:2.tar.gz by Ada <ada@example>: add a, with l at gitrepository/x/lib/cl.tar.gz\n" +
				"Ready=True Succeeded @2: stored artifact for revision 'main@sha1:2'\nArtifactInStorage=True Succeeded @2: stored artifact for revision 'main@sha1:2'",
		},
		"the server failed": {
			nil, source.State{Artifact: artifact("main@sha1:1", "a"), Err: errors.New("broken")},
			"observed 1, " + was + "\nReady=False GitOperationFailed @2: broken\nFetchFailed=True GitOperationFailed @2: broken\nReconciling=True ProgressingWithRetry @2: broken",
		},
		"the server refused": {
			nil, source.State{Err: &fault.Error{Reason: git.ReasonAuthFailed, Err: errors.New("401")}},
			"observed 1, " + was + "\nReady=False AuthenticationFailed @2: 401\nFetchFailed=True AuthenticationFailed @2: 401\nReconciling=True ProgressingWithRetry @2: 401",
		},
		"the Secret is not there": {
			nil, source.State{Err: &fault.Error{Next: fault.Wait, Reason: fault.AuthenticationFailed, Err: errors.New("no Secret")}},
			"observed 1, " + was + "\nReady=False AuthenticationFailed @2: no Secret\nFetchFailed=True AuthenticationFailed @2: no Secret\nReconciling=True ProgressingWithRetry @2: no Secret",
		},
		"only another spec helps": {
			nil, source.State{Err: &fault.Error{Next: fault.Stall, Reason: git.ReasonInvalidURL, Err: errors.New("no URL")}},
			"observed 2, " + was + "\nReady=False InvalidURL @2: no URL\nFetchFailed=True InvalidURL @2: no URL\nStalled=True InvalidURL @2: no URL",
		},
		"a field is not supported": {
			nil, source.State{Err: specFault{unsupported("verify", "no")}},
			"observed 2, " + was + "\nReady=False UnsupportedField @2: spec.verify: no (remove the field, or wait for a version that honours it)\n" +
				"FetchFailed=True UnsupportedField @2: spec.verify: no (remove the field, or wait for a version that honours it)\n" +
				"Stalled=True UnsupportedField @2: spec.verify: no (remove the field, or wait for a version that honours it)",
		},
		"what it includes has nothing": {
			nil, source.State{Err: &fault.Error{Next: fault.Wait, Reason: source.ReasonIncludeUnavailable, Err: errors.New("no lib")}},
			"observed 1, " + was + "\nReady=False IncludeUnavailable @2: no lib\nIncludeUnavailable=True NotFound @2: no lib\nReconciling=True ProgressingWithRetry @2: no lib",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newSources(t, newStored(t))
			g := aGitRepository(func(g *gitRepository) { g.Generation = 1 })
			r.conclude(g, source.State{Artifact: artifact("main@sha1:1", "a")})
			g.Status.Conditions = g.Status.Conditions[len(g.Status.Conditions)-1:] // Ready
			if g.Generation = 2; c.change != nil {
				c.change(g)
			}
			r.conclude(g, c.state)
			if diff := cmp.Diff(c.want, sourceSays(&g.Status)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// It recovers.
			g.Spec.Include = nil
			r.conclude(g, source.State{Artifact: artifact("main@sha1:3", "c")})
			for _, k := range g.Status.Conditions {
				if k.Status != metav1.ConditionTrue || k.Type != "Ready" && k.Type != sourcev1.ArtifactInStorageCondition {
					t.Errorf("then it is %s=%s", k.Type, k.Status)
				}
			}
		})
	}
}

// What is stored is of when it was stored, and stays so while it is the same.
func TestAnArtifactThatStaysKeepsItsTime(t *testing.T) {
	r := newSources(t, newStored(t))
	g := aGitRepository(func(*gitRepository) {})
	r.conclude(g, source.State{Artifact: artifact("main@sha1:1", "a")})
	then := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		a     *source.Artifact
		stays bool
	}{
		"the same":          {artifact("main@sha1:1", "a"), true},
		"another revision":  {artifact("main@sha1:2", "a"), false},
		"another selection": {artifact("main@sha1:1", "b"), false},
	} {
		g := &gitRepository{*g.DeepCopy()}
		g.Status.Artifact.LastUpdateTime = then
		r.conclude(g, source.State{Artifact: c.a})
		if g.Status.Artifact.LastUpdateTime.Equal(&then) != c.stays {
			t.Errorf("%s: %v", name, g.Status.Artifact.LastUpdateTime)
		}
	}
}

func TestWhatIsNewsOfASource(t *testing.T) {
	r := newSources(t, newStored(t))
	g := aGitRepository(func(*gitRepository) {})
	for i, turn := range []struct {
		state source.State
		want  []string
	}{
		{source.State{Artifact: artifact("main@sha1:1", "a")}, []string{"Normal NewArtifact stored artifact for commit 'add a'"}},
		{source.State{Artifact: artifact("main@sha1:1", "a")}, nil},
		{source.State{Err: errors.New("broken")}, []string{"Warning GitOperationFailed broken"}},
		{source.State{Err: errors.New("broken")}, nil},
		{source.State{Err: errors.New("100%s")}, []string{"Warning GitOperationFailed 100%s"}},
		{source.State{Artifact: artifact("main@sha1:1", "a")}, nil},
		{source.State{Artifact: artifact("main@sha1:2", "a")}, []string{"Normal NewArtifact stored artifact for commit 'add a'"}},
	} {
		before := tellingOf(g.common())
		r.conclude(g, turn.state)
		r.tell(g, before, turn.state)
		got := heard(r.events)
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], " map[")
		}
		if diff := cmp.Diff(turn.want, got); diff != "" {
			t.Errorf("turn %d: -want +got:\n%s", i, diff)
		}
	}
}

// A source's own failures are counted where the server answers, and others
// where they are told.
func TestFailuresOfASourceAreCountedOnce(t *testing.T) {
	r := newSources(t, newStored(t))
	g := aGitRepository(func(*gitRepository) {})
	tell := func(s source.State) {
		before := tellingOf(g.common())
		r.conclude(g, s)
		r.tell(g, before, s)
	}
	r.looked(source.Look{Source: "GitRepository/x/src", Err: &fault.Error{Reason: git.ReasonAuthFailed}})
	tell(source.State{Err: &fault.Error{Reason: git.ReasonAuthFailed, Err: errors.New("401")}, Next: time.Now()})
	tell(source.State{Err: &fault.Error{Reason: "Other", Err: errors.New("x")}})
	tell(source.State{Err: &fault.Error{Reason: "Other", Err: errors.New("x")}})
	r.looked(source.Look{Source: "GitRepository/x/src", Took: time.Second})
	m := series(t, srcKey)
	delete(m, "plumb_commit_to_live_seconds")
	want := map[string]float64{"plumb_ready": 0, "plumb_sync_failures_total AuthenticationFailed": 1, "plumb_sync_failures_total Other": 1, "gotk_reconcile_duration_seconds": 1}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Why there is nothing to apply, for the unit that asks.
func TestWhyASourceHasNoArtifact(t *testing.T) {
	condition := func(status string) string {
		return "conditions: [{type: Ready, status: \"" + status + "\", reason: R, message: broken, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]"
	}
	for name, c := range map[string]struct {
		status, want string
		reason       fault.Reason
	}{
		"it is not there":            {"gone", "GitRepository 'x/src' not found (create it, or correct spec.sourceRef; nothing is pruned meanwhile)", fault.ArtifactFailed},
		"it is new":                  {"", "GitRepository 'x/src' has no artifact yet", fault.Progressing},
		"it is under way":            {"status: {" + condition("Unknown") + "}", "GitRepository 'x/src' has no artifact yet", fault.Progressing},
		"it failed":                  {"status: {" + condition("False") + "}", "GitRepository 'x/src' is not ready: broken", fault.ArtifactFailed},
		"it failed, and had one":     {"status: {artifact: {path: p, url: u, revision: r, lastUpdateTime: \"2026-01-01T00:00:00Z\"}, " + condition("False") + "}", "GitRepository 'x/src' is not ready: broken", fault.ArtifactFailed},
		"it has one, from before":    {"status: {artifact: {path: p, url: u, revision: r, lastUpdateTime: \"2026-01-01T00:00:00Z\"}, " + condition("True") + "}", "the source is being read after a start", fault.NotYetRead},
		"its status can't be read":   {"status: {artifact: x}", "the status of GitRepository 'x/src' can't be read: ", fault.ArtifactFailed},
		"its conditions are no list": {"status: {conditions: x}", "the status of GitRepository 'x/src' can't be read: ", fault.ArtifactFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(t)
			if c.status != "gone" {
				s = newStored(t, gitRepo(t, "spec: {}\n"+c.status))
			}
			err := newSources(t, s).noArtifact(t.Context(), "GitRepository/x/src")
			if f := fault.Of(err); err == nil || !strings.HasPrefix(err.Error(), c.want) || f.Next != fault.Wait || f.Reason != c.reason {
				t.Errorf("%s %s: %v", f.Next, f.Reason, err)
			}
		})
	}
}

// From the custom resource to the status, by the real keeper, as far as no
// server is asked.
func TestASourceThatCannotBeAskedSaysWhy(t *testing.T) {
	for name, c := range map[string]struct{ parts, want string }{
		"a field that there is not": {
			"spec: {url: 'https://h', interval: 1m, brunch: x}", `Ready=False InvalidSpec @2: this version of plumb can't read it: spec.brunch: strict decoding error: unknown field "spec.brunch"`,
		},
		"a Secret by a path":      {"spec: {url: 'https://h', interval: 1m, secretRef: {name: a/b}}", `Ready=False InvalidSpec @2: spec.secretRef.name: "a/b" is no name: `},
		"a proxy of no name":      {"spec: {url: 'https://h', interval: 1m, proxySecretRef: {name: ''}}", `Ready=False InvalidSpec @2: spec.proxySecretRef.name: "" is no name: may not be empty`},
		"includes by a path":      {"spec: {url: 'https://h', interval: 1m, include: [{repository: {name: a}}, {repository: {name: ..}}]}", `Ready=False InvalidSpec @2: spec.include[1].repository.name: ".." is no name: `},
		"signatures":              {"spec: {url: 'https://h', interval: 1m, verify: {secretRef: {name: a}}}", "Ready=False UnsupportedField @2: spec.verify: "},
		"old fields of no effect": {"spec: {url: 'https://h', interval: 1m, provider: azure, gitImplementation: libgit2, accessFrom: {}}", "Ready=False UnsupportedField @2: spec.provider: "},
	} {
		t.Run(name, func(t *testing.T) {
			u := gitRepo(t, "metadata: {annotations: {reconcile.fluxcd.io/requestedAt: now}}\n"+c.parts)
			s := newStored(t, u)
			r := newSources(t, s)
			for range 2 {
				if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: srcKey}); err != nil {
					t.Fatal(err)
				}
			}
			var st sourcev1.GitRepositoryStatus
			if err := decodeStatus(s.now(t, u), &st); err != nil {
				t.Fatal(err)
			}
			if got := sourceSays(&st); !strings.Contains(got, c.want) || !strings.Contains(got, "Stalled=True") || !strings.HasPrefix(got, "observed 2") {
				t.Error(got)
			}
			if w := s.written(); len(w) != 1 {
				t.Errorf("it is written %d times: %s", len(w), w)
			}
		})
	}
}

// There is nothing to clean up: a finalizer of source-controller's is removed,
// and no other.
func TestASourceThatIsDeletedGoes(t *testing.T) {
	for finalizers, want := range map[string]int{"[theirs]": 0, "[theirs, finalizers.fluxcd.io]": 1} {
		u := gitRepo(t, "metadata: {deletionTimestamp: \"2026-01-02T00:00:00Z\", finalizers: "+finalizers+"}\nspec: {url: 'https://h', interval: 1m}")
		s := newStored(t, u)
		if _, err := newSources(t, s).Reconcile(t.Context(), ctrl.Request{NamespacedName: srcKey}); err != nil {
			t.Fatal(err)
		}
		if f := s.now(t, u).GetFinalizers(); len(f) != 1 || f[0] != "theirs" || len(s.written()) != want {
			t.Errorf("%s: there are %v", finalizers, f)
		}
	}
}

func TestSourcesAreNamed(t *testing.T) {
	s := newStored(t, gitRepo(t, "spec: {}"))
	if names, err := newSources(t, s).names(t.Context()); err != nil || len(names) != 1 || names[0] != "GitRepository/x/src" {
		t.Errorf("%v, %v", names, err)
	}
}

// What is known of a commit is one line each, and what is not known is not there.
func TestWhatIsSaidOfACommit(t *testing.T) {
	when := time.Date(2026, 1, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	long := strings.Repeat("ä", maxSubject)
	for name, c := range map[string]struct {
		commit source.Commit
		want   map[string]string
	}{
		"nothing":         {source.Commit{ID: "c"}, map[string]string{}},
		"all":             {source.Commit{Author: "Ada", Email: "a@b", When: when, Message: "s\n\nbody"}, map[string]string{metadataAuthor: "Ada <a@b>", metadataWhen: "2026-01-01T11:00:00Z", metadataSubject: "s"}},
		"no name":         {source.Commit{Email: "a@b"}, map[string]string{metadataAuthor: "<a@b>"}},
		"blank lines":     {source.Commit{Message: "\r\n\n  s \r\nbody"}, map[string]string{metadataSubject: "s"}},
		"a long line":     {source.Commit{Message: long + "\nx"}, map[string]string{metadataSubject: long}},
		"a longer line":   {source.Commit{Message: long + "x"}, map[string]string{metadataSubject: strings.Repeat("ä", maxSubject-1) + "…"}},
		"nothing but air": {source.Commit{Message: " \n "}, map[string]string{}},
	} {
		if diff := cmp.Diff(c.want, commitMetadata(c.commit)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if c := commitOf(&meta.Artifact{Metadata: commitMetadata(source.Commit{Author: "Ada", Email: "a@b", When: when, Message: "s"})}); c.Author != "Ada <a@b>" || c.Subject != "s" || !c.When.Equal(when) {
		t.Errorf("it is read as %+v", c)
	}
	if c := commitOf(&meta.Artifact{Metadata: map[string]string{metadataWhen: "soon"}}); !c.IsZero() {
		t.Errorf("what can't be read is %+v", c)
	}
	if !commitOf(nil).IsZero() {
		t.Error("nothing is something")
	}
}

// After a start nothing is written of what was recorded before, as long as it is so.
func TestARecordOfCommitsOutlivesAStart(t *testing.T) {
	const spec = "metadata: {annotations: {plumb.dev/last-commits: '[{\"revision\":\"1\"},{\"revision\":\"2\"}]'}}\nspec: {}"
	for newest, writes := range map[string]int{"2": 0, "3": 1, "": 1} {
		u := gitRepo(t, spec)
		s := newStored(t, u)
		var c commits
		if err := c.write(t.Context(), s, s.now(t, u), newest); err != nil {
			t.Fatal(err)
		}
		if w := s.written(); len(w) != writes {
			t.Errorf("at %q it wrote %s", newest, w)
		}
	}
}

// What is recorded of commits is written where it is new, and taken off with the
// last.
func TestARecordOfCommitsIsAnAnnotation(t *testing.T) {
	u := gitRepo(t, "metadata: {annotations: {theirs: x}}\nspec: {}")
	s := newStored(t, u)
	var c commits
	write := func(newest string) {
		t.Helper()
		if err := c.write(t.Context(), s, s.now(t, u), newest); err != nil {
			t.Fatal(err)
		}
	}
	write("2")
	if w := s.written(); len(w) != 0 {
		t.Errorf("nothing is written: %s", w)
	}
	c.add(srcKey, "1", "2", []string{"a"}, time.Now())
	write("2")
	write("2")
	if w := s.written(); len(w) != 1 {
		t.Errorf("%d writes: %s", len(w), w)
	}
	now := s.now(t, u)
	if all := commitsOf(now); len(all) != 2 || all.Since("b", "1") != "2" || now.GetAnnotations()["theirs"] != "x" {
		t.Errorf("stored is %v", now.GetAnnotations())
	}
	c.forget(srcKey)
	write("3")
	if diff := cmp.Diff(map[string]string{"theirs": "x"}, s.now(t, u).GetAnnotations()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c.add(srcKey, "1", "2", nil, time.Now())
	s.refuse = func(string) error { return errors.New("no") }
	if err := c.write(t.Context(), s, s.now(t, u), "2"); err == nil || err.Error() != "record what the last commits touch: no" {
		t.Error(err)
	}
}
