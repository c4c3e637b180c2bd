package argocd

import (
	"testing"

	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/source/git"
)

func TestWhatATargetStandsFor(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	for target, want := range map[string]git.Ref{
		"":                 {Short: "HEAD"},
		"HEAD":             {Short: "HEAD"},
		"main":             {Short: "main"},
		" main ":           {Short: "main"},
		"release/1.x":      {Short: "release/1.x"},
		"next":             {Short: "next"},
		"feature-x":        {Short: "feature-x"},
		"v1.2.3":           {Short: "v1.2.3"},
		"1.2":              {Short: "1.2"},
		sha:                {Short: sha},
		"refs/pull/1/head": {Short: "refs/pull/1/head"},
		"1.2.*":            {SemVer: "1.2.*"},
		"1.x":              {SemVer: "1.x"},
		"v1.x":             {SemVer: "v1.x"},
		"*":                {SemVer: "*"},
		"^1.2":             {SemVer: "^1.2"},
		"~1.2.3":           {SemVer: "~1.2.3"},
		">=1.0.0 <2.0.0":   {SemVer: ">=1.0.0 <2.0.0"},
		">=1.0.0-0":        {SemVer: ">=1.0.0-0"},
		"1.0.0 - 2.0.0":    {SemVer: "1.0.0 - 2.0.0"},
		">=v1.0.0":         {SemVer: ">=v1.0.0"},
		"a*b":              {Short: "a*b"},
	} {
		if got := refOf(target); got != want {
			t.Errorf("%q: %+v, want %+v", target, got, want)
		}
	}
}

func TestTheCommitOfARevision(t *testing.T) {
	for revision, want := range map[string]string{
		"main@sha1:abc": "abc", "sha1:abc": "abc", "feature/x@sha1:abc": "abc", "sha1:x@sha1:abc": "abc", "abc": "abc", "": "",
	} {
		if got := hashOf(revision); got != want {
			t.Errorf("%q: %q", revision, got)
		}
	}
	if one, several := split("main@sha1:a", false); one != "a" || several != nil {
		t.Errorf("%q, %q", one, several)
	}
	if one, several := split("main@sha1:a next@sha1:b", true); one != "" || len(several) != 2 || several[1] != "b" {
		t.Errorf("%q, %q", one, several)
	}
	if one, several := split("", false); one != "" || several != nil {
		t.Errorf("%q, %q", one, several)
	}
}

// Who wants the same shares it, and what nobody wants any more goes.
func TestSourcesAreShared(t *testing.T) {
	w := newWorld(t)
	s := w.sources
	main, next := want{Repository: at("https://git.example.com/a"), target: "main"}, want{Repository: at("https://git.example.com/a"), target: "next"}
	has := func(wants ...want) {
		t.Helper()
		for _, x := range []want{main, next} {
			_, there := s.keeper.State(x.name())
			wanted := false
			for _, y := range wants {
				wanted = wanted || x.name() == y.name()
			}
			if there != wanted {
				t.Errorf("%s is there: %v", x.target, there)
			}
		}
	}
	s.put("a", []want{main})
	s.put("b", []want{main, next})
	has(main, next)
	if users, _ := s.users(main.name()); len(users) != 2 {
		t.Errorf("%q want main", users)
	}
	s.put("b", []want{next})
	has(main, next)
	s.need("a", 0, []want{main})
	s.put("a", nil)
	has(main, next)
	if want, need := s.users(main.name()); len(want) != 0 || len(need) != 1 || need[0] != "a" {
		t.Errorf("%q want main, and %q need it", want, need)
	}
	s.forget("a")
	has(next)
	s.put("b", nil)
	has()
	if len(s.byName) != 0 || len(s.of) != 0 {
		t.Errorf("%v, %v are left", s.byName, s.of)
	}
}

// It may not be known yet what an Application wants when a refresh is asked for.
func TestWhatIsAskedForIsWhatIsWantedBySoonToo(t *testing.T) {
	w := newWorld(t)
	s := w.sources
	request := s.ask("a")
	s.put("a", []want{{Repository: at("https://127.0.0.1:1/a"), target: "main"}})
	if s.answered("a", request) {
		t.Error("it is answered before it was asked")
	}
	w.eventually(t, func() string {
		if s.answered("a", request) {
			return ""
		}
		return "there is no answer"
	})
	s.forget("a")
	if len(s.last) > 0 {
		t.Errorf("%v is left", s.last)
	}
}

// Requests of two who share a source answer one another, the later the earlier.
func TestAnswersAreOfARequestOrLater(t *testing.T) {
	w := newWorld(t)
	s := w.sources
	s.put("a", []want{{Repository: at("https://127.0.0.1:1/a"), target: "main"}})
	s.put("b", []want{{Repository: at("https://127.0.0.1:1/a"), target: "main"}})
	first, second := s.ask("a"), s.ask("b")
	if first >= second {
		t.Fatalf("%s, and then %s", first, second)
	}
	w.eventually(t, func() string {
		if s.answered("a", first) && s.answered("b", second) {
			return ""
		}
		return "there is no answer"
	})
	if s.answered("a", s.ask("a")+"0") {
		t.Error("it is answered before it was asked")
	}
	if _, err := s.failing([]string{want{Repository: at("https://127.0.0.1:1/a"), target: "main"}.name()}, false); err == nil {
		t.Error("a source that never was there has time")
	}
}

// at is a Git repository.
func at(url string) settings.Repository { return settings.Repository{Git: &git.Remote{URL: url}} }
