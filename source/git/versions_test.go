package git_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
)

// revisionOf returns the tag that a range stands for.
func revisionOf(t *testing.T, s *git.Store, r git.Remote, semver string) string {
	t.Helper()
	h, err := s.Resolve(t.Context(), r, git.Ref{SemVer: semver})
	if err != nil {
		t.Fatalf("%s: %v", semver, err)
	}
	tag, _, _ := strings.Cut(h.Revision, "@")
	return tag
}

func TestOfEqualVersionsTheOneOfTheNewestCommitIsChosen(t *testing.T) {
	ways(t, func(t *testing.T, repo *gittest.Repository, r git.Remote) {
		one := repo.Commit(t, map[string]string{"n": "1"}, "one")
		two := repo.Commit(t, map[string]string{"n": "2"}, "two")
		three := repo.Commit(t, map[string]string{"n": "3"}, "three")
		s := newStore(t, git.Options{})

		repo.Tag(t, "v1.4.0+9", one)
		repo.Tag(t, "v1.4.0+10", two)
		repo.Tag(t, "v1.3.0+99", three)
		if got := revisionOf(t, s, r, "1.x"); got != "v1.4.0+10" {
			t.Errorf("of builds 9 and 10 the choice is %s", got)
		}
		// An annotated tag is as old as its commit, however late it was made.
		repo.AnnotatedTag(t, "v1.4.0+zz", one)
		if got := revisionOf(t, s, r, "1.x"); got != "v1.4.0+10" {
			t.Errorf("with an old commit tagged late the choice is %s", got)
		}
		repo.AnnotatedTag(t, "v1.4.0+11", three)
		if got := revisionOf(t, s, r, "1.x"); got != "v1.4.0+11" {
			t.Errorf("with an annotated tag on the newest commit the choice is %s", got)
		}
		if snap := fetch(t, s, r, git.Ref{SemVer: "1.x"}); read(t, snap.Tree, "n") != "3" {
			t.Errorf("build 11 holds %q", read(t, snap.Tree, "n"))
		}
		// A v before the version is no part of it either.
		repo.Tag(t, "2.0.0", two)
		repo.Tag(t, "v2.0.0", one)
		if got := revisionOf(t, s, r, ">=2.0.0"); got != "2.0.0" {
			t.Errorf("of 2.0.0 and v2.0.0 the choice is %s", got)
		}
		repo.Tag(t, "v3.0.0-rc.1+1", two)
		repo.Tag(t, "v3.0.0-rc.1+2", one)
		if got := revisionOf(t, s, r, ">=3.0.0-0"); got != "v3.0.0-rc.1+1" {
			t.Errorf("of two builds of a pre-release the choice is %s", got)
		}
	})
}

func TestOfEqualVersionsOfOneTimeTheChoiceStands(t *testing.T) {
	repo := gittest.Repo(t)
	one := repo.Commit(t, map[string]string{"n": "1"}, "one")
	same := repo.Git(t, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit-tree", one+"^{tree}", "-m", "another of the same second")
	for _, tag := range []string{"v1.0.0+b", "v1.0.0+a"} {
		repo.Tag(t, tag, one)
	}
	repo.Tag(t, "v1.0.0+c", same)
	r := git.Remote{URL: repo.URL()}
	for range 3 {
		if got := revisionOf(t, newStore(t, git.Options{}), r, "*"); got != "v1.0.0+c" {
			t.Errorf("the choice is %s", got)
		}
	}
}

func TestTimesOfTagsAreAskedForOnceAndWithoutTheirFiles(t *testing.T) {
	repo := gittest.Repo(t)
	for i := range 20 {
		repo.Tag(t, fmt.Sprintf("v1.0.0+%d", i), repo.Commit(t, manyFiles(200+i), "release"))
	}
	s, r := newStore(t, git.Options{}), git.Remote{URL: repo.URL()}
	server := repo.Server()
	before := server.Sent()
	if got := revisionOf(t, s, r, "1.x"); got != "v1.0.0+19" {
		t.Errorf("the choice is %s", got)
	}
	first := server.Sent() - before
	if first > 30_000 {
		t.Errorf("to order 20 tags %d bytes were sent", first)
	}
	before = server.Sent()
	revisionOf(t, s, r, "1.x")
	if again := server.Sent() - before; again >= first {
		t.Errorf("to order them once more %d bytes were sent, at first %d", again, first)
	}
}

func TestTagsThatAreNoVersionsAreNoVersions(t *testing.T) {
	repo := gittest.Repo(t)
	hash := repo.Commit(t, map[string]string{"n": "1"}, "one")
	for _, tag := range []string{"v1.2.3", "v2", "20240101", "2024.01", "latest", "v9-final", "v.1.2", "release/9.9.9"} {
		repo.Tag(t, tag, hash)
	}
	s := newStore(t, git.Options{})
	if got := revisionOf(t, s, git.Remote{URL: repo.URL()}, ">=1.0.0"); got != "v1.2.3" {
		t.Errorf("the choice is %s", got)
	}
}

func TestARangeThatCannotBeParsedHasAReasonOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		ref    git.Ref
		reason string
	}{
		{git.Ref{SemVer: ">=1.0.0 <"}, git.ReasonInvalidSemver},
		{git.Ref{SemVer: "latest"}, git.ReasonInvalidSemver},
		{git.Ref{SemVer: "~>x.y"}, git.ReasonInvalidSemver},
		{git.Ref{Branch: "a..b"}, git.ReasonInvalidReference},
		{git.Ref{Tag: "-x"}, git.ReasonInvalidReference},
		{git.Ref{Name: "main"}, git.ReasonInvalidReference},
		{git.Ref{Commit: "abc"}, git.ReasonInvalidReference},
	} {
		f := wantFault(t, c.ref.Validate(), fault.Stall, c.reason)
		given := []string{c.ref.SemVer, c.ref.Branch, c.ref.Tag, c.ref.Name, c.ref.Commit}
		if !slices.ContainsFunc(given, func(s string) bool { return s != "" && strings.Contains(f.Error(), fmt.Sprintf("%q", s)) }) {
			t.Errorf("%+v: what was given is not in %q", c.ref, f)
		}
	}
}
