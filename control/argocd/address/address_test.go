package address

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/git"
)

func TestWaysToWriteAnAddressAreOne(t *testing.T) {
	for want, ways := range map[string][]string{
		"https://github.com/argoproj/test": {
			"https://github.com/argoproj/test", "https://github.com/argoproj/test.git", "https://github.com/argoproj/test/",
			"https://github.com/argoproj/test.git/", "HTTPS://GitHub.com/ArgoProj/Test.GIT", "https://github.com:443/argoproj/test",
			"https://github.com:0443/argoproj/test", "https://github.com./argoproj/test", "https://ada@github.com/argoproj/test",
			"https://ada:pa%40ss@github.com/argoproj/test", "https://github.com//argoproj///test", "https://github.com/%61rgoproj/te%73t",
			" https://github.com/argoproj/test\n", "https://github.com/argoproj/test/.git",
		},
		"http://github.com/argoproj/test":        {"http://github.com/argoproj/test", "http://github.com:80/argoproj/test.git"},
		"https://github.com:8443/argoproj/test":  {"https://github.com:8443/argoproj/test"},
		"https://github.com:80/argoproj/test":    {"https://github.com:80/argoproj/test"},
		"https://github.com":                     {"https://github.com", "https://github.com/", "https://github.com:443//"},
		"https://[2001:db8::1]:8443/a":           {"https://[2001:DB8:0::1]:8443/a"},
		"https://[2001:db8::1]/a":                {"https://[2001:db8::0:1]:443/a.git"},
		"https://xn--bcher-kva.example/a":        {"https://bücher.example/a", "https://BÜCHER.example/a", "https://xn--bcher-kva.example/a"},
		"https://kube.example.evil/a":            {"https://\u212aube.example\u3002evil/a"}, // as it is looked up
		"https://host/a b":                       {"https://host/a%20b"},
		"https://host/straße":                    {"https://host/straße", "https://host/stra%C3%9Fe"},
		"ssh://git@github.com/argoproj/test":     {"git@github.com:argoproj/test", "git@github.com:argoproj/test.git", "git@github.com:/argoproj/test", "ssh://git@GITHUB.com:argoproj/test", "ssh://git@github.com/argoproj/test", "ssh://github.com/argoproj/test", "ssh://git@github.com:22/argoproj/test", "git@github.com/argoproj/test", "ssh://git:x@github.com/argoproj/test"},
		"ssh://ada@github.com/argoproj/test":     {"ada@github.com:argoproj/test", "ssh://ada@github.com/argoproj/test"},
		"ssh://git@github.com:2222/argoproj/app": {"ssh://git@github.com:2222/argoproj/app"},
		"ssh://git@github.com/2222/argoproj/app": {"git@github.com:2222/argoproj/app"},
		"ssh://git@[2001:db8::1]/app":            {"git@[2001:db8::1]:app", "ssh://git@[2001:db8::1]/app", "ssh://git@[2001:db8::1]:22/app"},
		"oci://ghcr.io/org/charts":               {"oci://ghcr.io/org/charts", "OCI://GHCR.io:443/org/charts/"},
		"ghcr.io/org/charts":                     {"ghcr.io/org/charts", "GHCR.io:443/org/charts"},
		"localhost:5000/myrepo":                  {"localhost:5000/myrepo"},
		"file:///tmp/repo":                       {"file:///tmp/repo", "file:///tmp/repo.git", "file:///tmp//repo/.git"},
	} {
		for _, s := range ways {
			a, err := Parse(s)
			if err != nil || a.String() != want {
				t.Errorf("%q is %q, %v; want %q", s, a, err, want)
			}
		}
	}
}

// Row E9 of what has been tried against allow lists.
func TestWhatCouldStandForSomethingElseIsNoAddress(t *testing.T) {
	for s, why := range map[string]string{
		"":                                          "empty",
		"https://host/org/../other/app":             "path has ..",
		"https://host/org/%2e%2e/other/app":         "path has ..",
		"https://host/org/./app":                    "path has .",
		"https://host/org%2fapp":                    "%2F",
		"https://host/org%5capp":                    "%5C",
		`https://host\@evil/app`:                    "backslash",
		"https://host/org%252fapp":                  "%25",
		"https://host/app%00":                       "%00",
		"https://host/app%":                         "escapes nothing",
		"https://host/app%zz":                       "escapes nothing",
		"https://host/app%ff":                       "none or can't be seen",
		"https://host/%e2%80%8bapp":                 "can't be seen",
		"https://ho\u200bst/app":                    "invisible",
		"https://host/app\nx":                       "control character",
		"https://host/app?x=y":                      "query",
		"https://host/app#x":                        "fragment",
		"https://host:99999/app":                    "port",
		"https://host:-1/app":                       "port",
		"https://host:0/app":                        "port",
		"https://ho%73t/app":                        "no host name",
		"https://a..b/app":                          "no host name",
		"https://[::1/app":                          "IPv6",
		"https://[fe80::1%25eth0]/app":              "IPv6",
		"https:///app":                              "no host",
		"https:/host/app":                           "no host",
		"//host/app":                                "no host",
		"/tmp/repo":                                 "no host",
		"./repo":                                    "no host name",
		"--upload-pack=x":                           "starts with a dash",
		"ext::sh":                                   "port",
		"ftp://host/app":                            "scheme",
		"javascript://host/app":                     "scheme",
		"ssh://-oProxyCommand=x@host/app":           "user",
		"ssh://-oProxyCommand=x/app":                "host",
		"https://host/" + strings.Repeat("a", 3000): "more than",
	} {
		a, err := Parse(s)
		if f := fault.Of(err); err == nil || f.Reason != fault.InvalidSpec || f.Next != fault.Stall || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %q, %v; want %s", s, a, err, why)
		}
	}
}

func TestAnAddressCanBeFetchedFrom(t *testing.T) {
	for s, want := range map[string]string{
		"https://host/Org/App.git":           "https://host/Org/App.git",
		"https://ada:pass@host:8443/Org/App": "https://ada:pass@host:8443/Org/App",
		"git@host:Org/App.git":               "ssh://git@host/Org/App.git",
		"git@host:/Org/App.git":              "ssh://git@host/Org/App.git",
		"git@host:~/App":                     "ssh://git@host/~/App",
		"ssh://git@host:Org/App":             "ssh://git@host/Org/App",
		"ssh://git@host:2222/Org/App":        "ssh://git@host:2222/Org/App",
		"git@[2001:db8::1]:App":              "ssh://git@[2001:db8::1]/App",
	} {
		a, err := Parse(s)
		if err != nil || a.Fetch() != want {
			t.Errorf("%q is fetched from %q, %v; want %q", s, a.Fetch(), err, want)
			continue
		}
		if err := (git.Remote{URL: a.Fetch()}).Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestAnAddressIsShownWithoutAPassword(t *testing.T) {
	for s, want := range map[string]string{
		"https://host/app":              "https://host/app",
		"https://ada:secret@host/app":   "https://host/app",
		"https://secret@host/app":       "https://host/app",
		"https://ada:se/cret@host/app":  "https://host/app",
		"https://ada:se@cret@host/app":  "https://host/app",
		"https://ada:secret@":           "https://",
		"ssh://git:secret@host/app":     "ssh://git@host/app",
		"git@host:org/app":              "git@host:org/app",
		"https://host/app?token":        "https://host/app?token",
		"https://host/\u202eapp\n":      "https://host/�app",
		strings.Repeat("x", 300):        strings.Repeat("x", 200) + "…",
		"!https://ada:secret@host/team": "!https://host/team",
	} {
		if got := Show(s); got != want {
			t.Errorf("%q is shown as %q, want %q", s, got, want)
		}
	}
	if _, err := Parse("https://ada:secret@host/../x"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func pattern(t *testing.T, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"*", []string{"https://host/a/b", "git@host:a", "ghcr.io/x"}, nil},
		{"**", []string{"https://host/a/b", "git@host:a", "ghcr.io/x"}, nil},
		{
			"https://github.com/argoproj/*",
			[]string{"https://github.com/argoproj/test.git", "HTTPS://GITHUB.COM:443/ArgoProj/test", "https://ada:p@github.com/argoproj/test"},
			[]string{"https://github.com/argoproj/a/b", "https://github.com/argoproj1/test", "http://github.com/argoproj/test", "https://github.com.evil.example/argoproj/test", "https://github.com:8443/argoproj/test", "https://github.com/argoproj", "https://evil.example/github.com/argoproj/test", "git@github.com:argoproj/test", "https://github.com@evil.example/argoproj/test"},
		},
		{"https://github.com/argoproj/*.git", []string{"https://github.com/argoproj/test", "https://github.com/argoproj/test.git"}, []string{"https://github.com/argoproj1/test2.git"}},
		{"https://gitlab.com/group/*/*", []string{"https://gitlab.com/group/repo/owner"}, []string{"https://gitlab.com/group/repo", "https://gitlab.com/group/a/b/c"}},
		{"https://gitlab.com/group/**", []string{"https://gitlab.com/group/sub/repo/owner", "https://gitlab.com/group/x"}, []string{"https://gitlab.com/other/group/x", "https://gitlab.com/group2/x"}},
		{"https://github.com/argoproj/foo", []string{"https://github.com/argoproj/foo.git/"}, []string{"https://github.com/argoproj/foo1"}},
		{"ssh://git@GITHUB.com:argoproj/test", []string{"git@github.com:argoproj/test.git", "ssh://github.com:22/argoproj/test"}, []string{"ssh://eve@github.com/argoproj/test", "https://github.com/argoproj/test"}},
		{"git@github.com:argoproj/*", []string{"ssh://git@github.com/argoproj/test", "git@github.com/argoproj/test"}, []string{"git@github.com:argoproj/a/b", "git@github.com.evil:argoproj/test"}},
		{"git@github.com/argoproj/*", []string{"git@github.com:argoproj/test"}, nil},
		{"*@github.com:argoproj/*", []string{"git@github.com:argoproj/test", "eve@github.com:argoproj/test"}, nil},
		{"https://{github.com,gitlab.com}/org/{a,b}*", []string{"https://github.com/org/app", "https://gitlab.com/org/box"}, []string{"https://github.com/org/c", "https://example.com/org/a"}},
		{"{https://a.example,git@b.example:org}/**", []string{"https://a.example/x/y", "git@b.example:org/x"}, []string{"git@a.example:org/x"}},
		{"*://github.com/org/*", []string{"https://github.com/org/a", "http://github.com/org/a"}, []string{"https://gitlab.com/org/a", "git@github.com:org/a"}},
		{"git@**:org/a", []string{"git@github.com:org/a", "ssh://git@x/y/org/a"}, []string{"git@github.com:org/b", "https://x/org/a"}},
		{"*/*/**", []string{"https://github.com/org/a", "git@github.com:org/a/b"}, []string{"git@github.com:org"}},
		{"https://*.example.com/**", []string{"https://git.example.com/a/b"}, []string{"https://example.com/a", "https://git.example.com.evil/a", "https://evil.example/x.example.com/a"}},
		{"https://git[12].example.com:443/**", []string{"https://git1.example.com/a"}, []string{"https://git3.example.com/a", "https://git1.example.com:8443/a"}},
		{"https://[2001:db8::1]:8443/**", []string{"https://[2001:DB8::1]:8443/a"}, []string{"https://2:8443/a"}},
		{"https://bücher.example/*", []string{"https://xn--bcher-kva.example/a"}, nil},
		{"**github.com/org/**", []string{"https://github.com/org/a", "git@github.com:org/a"}, []string{"https://github.com/other/a"}},
		{"ghcr.io/org/*", []string{"ghcr.io/org/a"}, []string{"oci://ghcr.io/org/a", "ghcr.io/org/a/b"}},
		{"oci://ghcr.io/org/*", []string{"oci://GHCR.io/org/a"}, []string{"ghcr.io/org/a"}},
		{"localhost:5000/**", []string{"localhost:5000/x/y"}, []string{"localhost:5001/x"}},
		{"https://host//org//*", []string{"https://host/org/a"}, nil},
		{"https://host/%6frg/*", []string{"https://host/org/a"}, nil},
		{"https://host:443/org/?", []string{"https://host/org/a"}, []string{"https://host/org/ab"}},
		{"file:///tmp/**", []string{"file:///tmp/a/b.git"}, []string{"file:///etc/a"}},
	} {
		p := pattern(t, c.pattern)
		for _, s := range c.yes {
			if a, err := Parse(s); err != nil || !p.Matches(a) || !p.Touches(a) {
				t.Errorf("%s does not match %s (%s, %v)", c.pattern, s, a, err)
			}
		}
		for _, s := range c.no {
			if a, err := Parse(s); err == nil && p.Matches(a) {
				t.Errorf("%s matches %s", c.pattern, s)
			}
		}
	}
}

func TestAPatternThatDeniesDoesSoForEverySSHUser(t *testing.T) {
	for _, text := range []string{"git@github.com:org/*", "ssh://github.com/org/*", "*://github.com/org/*", "*@github.com/org/*", "**github.com/org/*"} {
		p := pattern(t, text)
		for s, want := range map[string]bool{
			"eve@github.com:org/a": true, "ssh://eve:x@github.com:22/org/a.git": true, "git@github.com:org/a": true,
			"eve@github.com:other/a": false, "git@github.com.evil.example:org/a": false, "http://github.com/other/a": false,
		} {
			if a, err := Parse(s); err != nil || p.Touches(a) != want {
				t.Errorf("%s touches %s: %v, %v", text, s, p.Touches(a), err)
			}
		}
	}
}

func TestPatternsThatStandForNothingAreErrors(t *testing.T) {
	for s, why := range map[string]string{
		"":                                 "empty",
		"https://host/[a":                  "no glob",
		"https://host/{a":                  "not closed",
		"https://host/a}":                  "closes nothing",
		"https://host/../a":                "..",
		"https://host/%2fa":                "%2F",
		"https://host/%*":                  "escapes nothing",
		"https://h o/a":                    "space",
		"https://*.bücher.test/a":          "another script",
		"https://host:x/a":                 "port",
		strings.Repeat("{a,b}", 20) + "/x": "alternatives",
	} {
		if _, err := ParsePattern(s); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", s, err, why)
		}
	}
}

func TestAPrefixIsOfOneServer(t *testing.T) {
	for _, c := range []struct {
		prefix string
		yes    []string
		no     []string
	}{
		{"https://github.com/argoproj", []string{"https://github.com/argoproj/a", "https://GITHUB.com:443/ArgoProj/a.git", "https://github.com/argoproj-labs/a"}, []string{"http://github.com/argoproj/a", "https://github.com:8443/argoproj/a", "https://github.com/other/a", "git@github.com:argoproj/a"}},
		{"https://github.com/argoproj/", []string{"https://github.com/argoproj/a", "https://github.com/argoproj"}, []string{"https://github.com/argoproj-labs/a"}},
		{"https://github.com/", []string{"https://github.com/a"}, []string{"https://gitlab.com/a"}},
		{"https://github.com", []string{"https://github.com/a/b"}, []string{"https://github.com.evil.example/a", "https://github.community/a", "http://github.com/a"}},
		{"git@github.com:argoproj-labs", []string{"ssh://git@github.com/argoproj-labs/a"}, []string{"eve@github.com:argoproj-labs/a", "git@github.com:argoproj/a"}},
	} {
		p, err := Parse(c.prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.yes {
			if a, err := Parse(s); err != nil || !a.Within(p) {
				t.Errorf("%s is not within %s: %v", s, c.prefix, err)
			}
		}
		for _, s := range c.no {
			if a, err := Parse(s); err != nil || a.Within(p) {
				t.Errorf("%s is within %s: %v", s, c.prefix, err)
			}
		}
	}
}

func TestServers(t *testing.T) {
	for s, want := range map[string]string{
		"https://kubernetes.default.svc":            InCluster,
		"https://KUBERNETES.default.svc:443/":       InCluster,
		"https://kubernetes.default.svc.":           InCluster,
		"HTTPS://10.0.0.1:6443":                     "https://10.0.0.1:6443",
		"https://rancher.example/k8s/clusters/C-1/": "https://rancher.example/k8s/clusters/C-1",
		"https://[2001:db8::1]:6443":                "https://[2001:db8::1]:6443",
		"http://host:80":                            "http://host",
		"host:6443":                                 "",
		"https://host/../x":                         "",
		"https://ada:pass@host":                     "",
		"https://HOST:443/?user=Ada":                "https://host?user=Ada",
		"https://host:6443/a/?x=1&y":                "https://host:6443/a?x=1&y",
		"https://host?":                             "https://host",
		"https://host?x#y":                          "",
		"https://host?x ?y":                         "",
		"unix:///run/x":                             "",
		"":                                          "",
	} {
		got, err := Server(s)
		if got != want || (err == nil) != (want != "") || err != nil && strings.Contains(err.Error(), "pass") {
			t.Errorf("%q is %q, %v; want %q", s, got, err, want)
		}
	}
	for _, c := range []struct {
		pattern, server string
		want            bool
	}{
		{"*", "https://a", true},
		{"https://kubernetes.default.svc/", InCluster, true},
		{"https://Kubernetes.default.svc:443", InCluster, true},
		{"https://*.default.svc", InCluster, true},
		{"https://team1-*", "https://team1-dev/with/path", true},
		{"https://team1-*", "https://team2-dev", false},
		{"{https://a,https://b:443}", "https://b", true},
		{"https://rancher/k8s/clusters/C-1", "https://rancher/k8s/clusters/C-1", true},
		{"https://host", "https://host?user=ada", false},
		{"https://host?user=*", "https://host?user=ada", true},
		{"", InCluster, false},
	} {
		p, err := ParseServerPattern(c.pattern)
		if err != nil || p.Matches(c.server) != c.want {
			t.Errorf("%s matches %s: %v, %v", c.pattern, c.server, p.Matches(c.server), err)
		}
	}
	if _, err := ParseServerPattern("https://[x"); err == nil {
		t.Error("a pattern that is no glob is read")
	}
}

// However an address is written, it is the same, and what does not match it in
// one way matches it in none.
func TestRewritingAnAddressGetsNobodyThrough(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := make([]byte, 1+r.IntN(8))
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz0123456789-_."[r.IntN(36)]
		}
		return string(b)
	}
	for range 5000 {
		scheme, host, org, name := []string{"https", "http", "ssh"}[r.IntN(3)], word()+".example", word(), word()
		plain := fmt.Sprintf("%s://%s/%s/%s", scheme, host, org, name)
		want, err := Parse(plain)
		if err != nil {
			t.Fatal(err)
		}
		way := rewrite(r, scheme, host, org, name)
		got, err := Parse(way)
		if err != nil || !got.Same(want) {
			t.Fatalf("%s is %s, and %s is %s, %v", plain, want, way, got, err)
		}
		if !pattern(t, scheme+"://"+host+"/"+org+"/*").Matches(got) || !pattern(t, plain).Touches(got) {
			t.Fatalf("a pattern of %s does not match %s", plain, way)
		}
		for _, other := range []string{scheme + "://" + host + "/" + org + "x/*", scheme + "://x" + host + "/**", scheme + "://" + host + "/" + org} {
			if pattern(t, other).Matches(got) {
				t.Fatalf("%s matches %s", other, way)
			}
		}
		again, err := Parse(got.String())
		if err != nil || !again.Same(got) {
			t.Fatalf("%s is not as it is: %s, %v", got, again, err)
		}
	}
}

// rewrite writes an address another way.
func rewrite(r *rand.Rand, scheme, host, org, name string) string {
	maybe := func(s string) string {
		if r.IntN(2) == 0 {
			return s
		}
		return ""
	}
	cases := func(s string) string {
		return strings.Map(func(c rune) rune {
			if r.IntN(3) == 0 {
				return unicode.ToUpper(c)
			}
			return c
		}, s)
	}
	escaped := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			if r.IntN(4) == 0 {
				fmt.Fprintf(&b, "%%%02x", s[i])
			} else {
				b.WriteByte(s[i])
			}
		}
		return b.String()
	}
	host, path := cases(host), cases(escaped(org))+"/"+maybe("/")+cases(escaped(name))+maybe(".git")+maybe("/")
	if scheme == "ssh" && r.IntN(2) == 0 {
		return "git@" + host + ":" + maybe("/") + path
	}
	user := map[string]string{"ssh": "git@"}[scheme]
	if user == "" {
		user = url.UserPassword("u"+org, "p@/:").String() + "@"
	}
	return cases(scheme) + "://" + maybe(user) + host + maybe(":"+ports[scheme]) + "/" + path
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://u:p@host:443/a/../b", "git@[::1]:x", "ssh://h:22:x/y", "a@b@c:d", "https://%41", "oci://x/%2525", "{a,b}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = Show(s)
		if p, err := ParsePattern(s); err == nil {
			p.Touches(Address{scheme: "https", host: "h", path: "a"})
		}
		a, err := Parse(s)
		if err != nil {
			return
		}
		if strings.Contains(a.String(), "/../") || strings.Contains(a.host, "@") {
			t.Errorf("%q is %q", s, a)
		}
		if again, err := Parse(strings.ReplaceAll(a.String(), " ", "%20")); a.scheme != "" && (err != nil || !again.Same(a)) {
			t.Errorf("%q is %q, and that is %q, %v", s, a, again, err)
		}
	})
}
