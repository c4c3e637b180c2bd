package oci_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/ocitest"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

var files = map[string]string{"app/a.yaml": "a: 1\n", "README.md": "hello\n"}

// at is a source of a repository on s.
func at(t testing.TB, s *ocitest.Server, ref oci.Ref) oci.Source {
	t.Helper()
	return oci.Source{
		Store: openStore(t, t.TempDir()), Clients: new(oci.Clients), Ref: ref,
		Remote: oci.Remote{URL: "oci://" + s.Host() + "/" + repository, Insecure: strings.HasPrefix(s.URL(), "http://")},
	}
}

func get(t testing.TB, s oci.Source) (source.Revision, *source.Content) {
	t.Helper()
	r, c, err := try(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func try(ctx context.Context, s oci.Source) (r source.Revision, c *source.Content, err error) {
	if r, err = s.Resolve(ctx); err == nil {
		c, err = s.Fetch(ctx, r)
	}
	return r, c, err
}

// wantFault makes sure of an error's class, its reason, and of what is said.
func wantFault(t testing.TB, err error, next fault.Next, reason fault.Reason, says string) {
	t.Helper()
	f := fault.Of(err)
	if f == nil || f.Next != next || f.Reason != reason || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%+v), want a %s %s that says %q", err, f, next, reason, says)
	}
}

func holds(t testing.TB, c *source.Content, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := c.Tree.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := strings.TrimPrefix(dir+"/"+e.Name, "./")
			if e.Kind == tree.Dir {
				walk(name)
				continue
			}
			b, err := c.Tree.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = string(b)
		}
	}
	walk(".")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestWhichArtifactAReferenceStandsFor(t *testing.T) {
	s := ocitest.New(t)
	digests := make(map[string]string)
	for _, tag := range []string{
		"latest", "main", "2024", "1.2", "1.0.0", "1.4.0", "v1.5.0", "1.5.1-rc.1", "1.10.0", "2.0.0", "2.0.0-alpha", "3.1.0_b.1", "3.1.0_b.2", "sha-1.9.9",
	} {
		digests[tag] = s.Push(t, repository, tag, ocitest.Files(map[string]string{"tag": tag}))
	}
	named := func(tag string) string { return tag + "@" + digests[tag] }
	for name, c := range map[string]struct {
		ref   oci.Ref
		layer oci.Layer
		want  string
	}{
		"nothing is the tag latest":                     {want: named("latest")},
		"a tag":                                         {ref: oci.Ref{Tag: "main"}, want: named("main")},
		"a digest comes before all":                     {ref: oci.Ref{Digest: digests["1.0.0"], SemVer: "*", Tag: "main"}, want: digests["1.0.0"]},
		"a range comes before a tag":                    {ref: oci.Ref{SemVer: "1.x", Tag: "main"}, want: named("1.10.0")},
		"a range is of all versions":                    {ref: oci.Ref{SemVer: ">=1.0.0"}, want: named("2.0.0")},
		"a v before a version is of no matter":          {ref: oci.Ref{SemVer: "~1.5.0"}, want: named("v1.5.0")},
		"a range with a prerelease has prereleases":     {ref: oci.Ref{SemVer: "~1.5.0-0"}, want: named("1.5.1-rc.1")},
		"a filter leaves out tags":                      {ref: oci.Ref{SemVer: "*-0", SemverFilter: "^[0-9.]+-alpha$"}, want: named("2.0.0-alpha")},
		"what was pushed by somebody's digest is found": {ref: oci.Ref{Short: digests["main"]}, want: digests["main"]},
		"in short, a tag":                               {ref: oci.Ref{Short: "main"}, want: named("main")},
		"in short, a range":                             {ref: oci.Ref{Short: "^1.0"}, want: named("1.10.0")},
		"in short, a range with spaces":                 {ref: oci.Ref{Short: ">=1.0.0 <1.10.0"}, want: named("v1.5.0")},
		"in short, what could be both is a tag":         {ref: oci.Ref{Short: "1.2"}, want: named("1.2")},
		"in short, a range of builds":                   {ref: oci.Ref{Short: "3"}, want: named("3.1.0_b.2")},
		"a chart is called by its version":              {layer: oci.Layer{Kind: oci.Chart}, want: "3.1.0+b.2"},
		"a chart of a range":                            {ref: oci.Ref{SemVer: "<2"}, layer: oci.Layer{Kind: oci.Chart}, want: "1.10.0"},
		"a chart of a version":                          {ref: oci.Ref{SemVer: "3.1.0+b.1"}, layer: oci.Layer{Kind: oci.Chart}, want: "3.1.0+b.1"},
		"a chart by its digest":                         {ref: oci.Ref{Digest: digests["1.0.0"]}, layer: oci.Layer{Kind: oci.Chart}, want: digests["1.0.0"]},
	} {
		f := at(t, s, c.ref)
		f.Layer = c.layer
		r, err := f.Resolve(t.Context())
		if err != nil || r.Name != c.want {
			t.Errorf("%s: %q, %v; want %q", name, r.Name, err, c.want)
		}
	}
}

func TestAReferenceThatStandsForNothing(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "1.0.0", ocitest.Files(files))
	none := "sha256:" + strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		ref    oci.Ref
		next   fault.Next
		reason fault.Reason
		says   string
	}{
		"a tag that is not there":    {oci.Ref{Tag: "gone"}, fault.Retry, oci.ReasonReferenceNotFound, "there is no gone"},
		"a digest that is not there": {oci.Ref{Digest: none}, fault.Retry, oci.ReasonReferenceNotFound, "there is no sha256:000"},
		"a range of nothing":         {oci.Ref{SemVer: ">2"}, fault.Retry, oci.ReasonReferenceNotFound, `none of its 1 tags is a version in the range ">2"`},
		"a range that is none":       {oci.Ref{SemVer: "one"}, fault.Stall, oci.ReasonInvalidSemver, `"one" cannot be parsed`},
		"a filter that is none":      {oci.Ref{SemVer: "*", SemverFilter: "("}, fault.Stall, oci.ReasonInvalidReference, `filter "(" is no regular expression`},
		"a tag that can be none":     {oci.Ref{Tag: "../x"}, fault.Stall, oci.ReasonInvalidReference, `tag "../x" is not a valid one`},
		"a digest that can be none":  {oci.Ref{Digest: "sha256:12"}, fault.Stall, oci.ReasonInvalidReference, `"sha256:12" is not sha256:`},
		"a digest of another sum":    {oci.Ref{Digest: "sha512:" + strings.Repeat("0", 128)}, fault.Stall, oci.ReasonInvalidReference, "is not sha256:"},
		"in short, nothing":          {oci.Ref{Short: "gone"}, fault.Retry, oci.ReasonReferenceNotFound, "there is no gone"},
		"in short, a range of none":  {oci.Ref{Short: "9.x"}, fault.Retry, oci.ReasonReferenceNotFound, `in the range "9.x"`},
	} {
		_, err := at(t, s, c.ref).Resolve(t.Context())
		f := fault.Of(err)
		if f == nil || f.Next != c.next || f.Reason != c.reason || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v (%+v)", name, err, f)
		}
		if c.next == fault.Stall && !fault.Is(c.ref.Validate(), c.reason) {
			t.Errorf("%s: it is valid, too: %v", name, c.ref.Validate())
		}
	}
}

func TestWhichLayerCounts(t *testing.T) {
	s := ocitest.New(t)
	other := map[string]string{"b.yaml": "b: 1\n"}
	two := ocitest.Artifact{Layers: []ocitest.Layer{{MediaType: ocitest.TarGzip, Content: ocitest.Tar(files)}, {MediaType: "application/x.other.tar+gzip", Content: ocitest.Tar(other)}}}
	signed := ocitest.Chart("app", "1.0.0", map[string]string{"values.yaml": "a: 1\n"})
	signed.Layers = append([]ocitest.Layer{{MediaType: ocitest.Provenance, Content: []byte("signed")}}, signed.Layers...)
	chart := map[string]string{"Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n", "values.yaml": "a: 1\n"}
	many := ocitest.Artifact{}
	for i := range 1001 {
		many.Layers = append(many.Layers, ocitest.Layer{MediaType: "a/b", Content: []byte(fmt.Sprint(i))})
	}
	for name, c := range map[string]struct {
		artifact ocitest.Artifact
		layer    oci.Layer
		want     map[string]string
		says     string // of an error
	}{
		"the first":                             {artifact: two, want: files},
		"the first of a type":                   {artifact: two, layer: oci.Layer{MediaType: "application/x.other.tar+gzip"}, want: other},
		"none of a type":                        {artifact: two, layer: oci.Layer{MediaType: "text/plain"}, says: "no layer of the media type text/plain (it has application/vnd.oci.image.layer.v1.tar+gzip, application/x.other.tar+gzip)"},
		"no layers":                             {artifact: ocitest.Artifact{}, says: "the artifact has no layers"},
		"too many layers":                       {artifact: many, says: "1001 layers, and may have 1000"},
		"a chart's, without its directory":      {artifact: signed, layer: oci.Layer{Kind: oci.Chart}, want: chart},
		"a chart where there is none":           {artifact: two, layer: oci.Layer{Kind: oci.Chart}, says: "no layer of the media type application/vnd.cncf.helm.chart.content.v1.tar+gzip"},
		"the only one":                          {artifact: ocitest.Files(files), layer: oci.Layer{Kind: oci.Only}, want: files},
		"the only one, and what is no archive":  {artifact: signed, layer: oci.Layer{Kind: oci.Only}, want: chart},
		"the only one where there are two":      {artifact: two, layer: oci.Layer{Kind: oci.Only}, says: "2 layers that are archives, and must have one"},
		"the only one, of a type that may be":   {artifact: ocitest.Artifact{Layers: two.Layers[1:]}, layer: oci.Layer{Kind: oci.Only, Allowed: []string{"application/x.other.tar+gzip"}}, want: other},
		"the only one, of a type that must not": {artifact: ocitest.Artifact{Layers: two.Layers[1:]}, layer: oci.Layer{Kind: oci.Only}, says: "application/x.other.tar+gzip of the artifact's layer is not allowed"},
		"one that is no archive":                {artifact: ocitest.Artifact{Layers: signed.Layers[:1]}, says: "no archive"},
	} {
		t.Run(name, func(t *testing.T) {
			digest := s.Push(t, repository, "latest", c.artifact)
			f := at(t, s, oci.Ref{Digest: digest})
			f.Layer = c.layer
			_, content, err := try(t.Context(), f)
			if c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				holds(t, content, c.want)
			} else if err == nil || fault.Of(err).Next != fault.Retry || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	t.Run("a copy is one file, as it was pushed", func(t *testing.T) {
		digest := s.Push(t, repository, "latest", two)
		f := at(t, s, oci.Ref{})
		f.Layer.Copy = true
		_, c := get(t, f)
		holds(t, c, map[string]string{digest + ".tgz": string(two.Layers[0].Content)})
		g := f
		g.Layer.Copy = false
		if f.Place() == g.Place() || f.Key() == g.Key() {
			t.Error("it is kept where the unpacked one is")
		}
	})
}

func TestAChartThatIsPushedAnewUnderItsVersionIsSeen(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "1.0.0", ocitest.Chart("app", "1.0.0", map[string]string{"values.yaml": "a: 1\n"}))
	f := at(t, s, oci.Ref{SemVer: "1.0.0"})
	f.Layer.Kind = oci.Chart
	before, was := get(t, f)
	s.Push(t, repository, "1.0.0", ocitest.Chart("app", "1.0.0", map[string]string{"values.yaml": "a: 2\n"}))

	// Of what is there, only the name may be known: after a start.
	if c, err := f.Fetch(t.Context(), source.Revision{Name: before.Name}); err != nil || tree.RootID(c.Tree) != tree.RootID(was.Tree) {
		t.Errorf("what is there is fetched anew: %v", err)
	}
	after, is := get(t, f)
	if before.Name != "1.0.0" || after.Name != "1.0.0" {
		t.Errorf("revisions %s and %s", before.Name, after.Name)
	}
	holds(t, is, map[string]string{"Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n", "values.yaml": "a: 2\n"})
	if b, err := was.Tree.ReadFile("values.yaml"); err != nil || string(b) != "a: 1\n" {
		t.Errorf("what was read became %q, %v", b, err)
	}
	if before.Detail.(oci.Found).Digest == after.Detail.(oci.Found).Digest {
		t.Error("the digests are the same")
	}
}

func TestAnIndexStandsForOneOfItsManifests(t *testing.T) {
	s := ocitest.New(t)
	push := func(a ocitest.Artifact, platform string) ocitest.Descriptor {
		body := s.Push(t, repository, "", a)
		d := ocitest.Descriptor{MediaType: ocitest.Manifest, Digest: body, Size: 1}
		if os, arch, ok := strings.Cut(platform, "/"); ok {
			d.Platform = map[string]string{"os": os, "architecture": arch}
		}
		return d
	}
	arm := push(ocitest.Files(map[string]string{"arm": ""}), "linux/arm64")
	amd := push(ocitest.Files(files), "linux/amd64")
	nowhere := push(ocitest.Files(map[string]string{"x": ""}), "")
	for name, c := range map[string]struct {
		of   []ocitest.Descriptor
		want map[string]string
	}{
		"the only one":              {[]ocitest.Descriptor{arm}, map[string]string{"arm": ""}},
		"that for linux on amd64":   {[]ocitest.Descriptor{arm, amd, nowhere}, files},
		"none, where none is it":    {[]ocitest.Descriptor{arm, nowhere}, nil},
		"none, where there is none": {nil, nil},
	} {
		digest := s.PushIndex(t, repository, "latest", c.of...)
		r, content, err := try(t.Context(), at(t, s, oci.Ref{}))
		if c.want == nil {
			wantFault(t, err, fault.Retry, oci.ReasonInvalidArtifact, "none of them is the one that counts")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Name != "latest@"+digest {
			t.Errorf("%s: revision %s is not that of the index, %s", name, r.Name, digest)
		}
		holds(t, content, c.want)
	}
	inner := s.PushIndex(t, repository, "", amd)
	s.PushIndex(t, repository, "latest", ocitest.Descriptor{MediaType: ocitest.Manifest, Digest: inner, Size: 1})
	_, _, err := try(t.Context(), at(t, s, oci.Ref{}))
	wantFault(t, err, fault.Retry, oci.ReasonInvalidArtifact, "refers to another index")
}

func TestAnnotationsSayWhereAnArtifactIsFrom(t *testing.T) {
	s := ocitest.New(t)
	a := ocitest.Files(files)
	a.Annotations = map[string]string{
		"org.opencontainers.image.created":  "2026-11-01T10:00:00Z",
		"org.opencontainers.image.revision": "main@sha1:6d48db7e0b4d8a1f3c5e7a9b1d3f5c7e9a1b3d5f",
		"org.opencontainers.image.source":   "https://git.example/app",
	}
	s.Push(t, repository, "latest", a)
	f := at(t, s, oci.Ref{})
	r, c := get(t, f)
	want := source.Commit{ID: "6d48db7e0b4d8a1f3c5e7a9b1d3f5c7e9a1b3d5f", When: time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)}
	if diff := cmp.Diff(want, c.Commit); diff != "" {
		t.Error(diff)
	}
	c, err := f.Open(source.Revision{Name: r.Name})
	if err != nil || !cmp.Equal(want, c.Commit) {
		t.Errorf("opened, it is %+v, %v", c, err)
	}
	a.Annotations = map[string]string{"org.opencontainers.image.created": "yesterday", "org.opencontainers.image.revision": "a\nb" + strings.Repeat("x", 1000)}
	s.Push(t, repository, "latest", a)
	if _, c := get(t, f); !c.Commit.When.IsZero() || len(c.Commit.ID) > 210 || strings.Contains(c.Commit.ID, "\n") {
		t.Errorf("it says %+v", c.Commit)
	}
}

func TestARegistryThatDoesNotSayDigests(t *testing.T) {
	s := ocitest.New(t)
	digest := s.Push(t, repository, "latest", ocitest.Files(files))
	for name, f := range map[string]ocitest.Fault{
		"it leaves out the header": ocitest.Header("Docker-Content-Digest", ""),
		"it knows no HEAD": func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			return false
		},
	} {
		s.Fail(f)
		r, c := get(t, at(t, s, oci.Ref{}))
		if r.Name != "latest@"+digest {
			t.Errorf("%s: revision %s", name, r.Name)
		}
		holds(t, c, files)
	}
}

func TestAnAddressThatIsNone(t *testing.T) {
	for _, url := range []string{
		"", "https://host/repo", "oci://", "oci:///repo", "oci://host", "oci://host/", "oci://host/Repo", "oci://host/a/../b", "oci://host/repo:tag",
		"oci://host/repo@sha256:abc", "oci://ada:secret@host/repo", "oci://host/repo?x=1", "oci://host/re po", "oci://-x/repo", "oci://host/repo#x", "oci://ho\u200bst/r",
	} {
		err := oci.Remote{URL: url}.Validate()
		wantFault(t, err, fault.Stall, web.ReasonInvalidURL, "URL ")
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"oci://host/repo", "oci://host:5000/a/b/c", "oci://docker.io/nginx", "oci://10.0.0.1/x/y", "oci://[::1]:5000/x", "oci://host/repo/"} {
		if err := (oci.Remote{URL: url}).Validate(); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAKeyIsThatOfAQuestion(t *testing.T) {
	base := oci.Source{Store: openStore(t, t.TempDir()), Remote: oci.Remote{URL: "oci://host.example/team/app"}, Ref: oci.Ref{Tag: "main"}}
	placed := func(s oci.Source) bool { return s.Place() != base.Place() }
	for name, c := range map[string]struct {
		change  func(*oci.Source)
		another bool // place
	}{
		"another address":       {func(s *oci.Source) { s.Remote.URL += "2" }, true},
		"no TLS":                {func(s *oci.Source) { s.Remote.Insecure = true }, true},
		"another proxy":         {func(s *oci.Source) { s.Remote.Proxy.URL = "http://proxy" }, true},
		"another layer":         {func(s *oci.Source) { s.Layer.MediaType = "a/b" }, true},
		"a chart":               {func(s *oci.Source) { s.Layer.Kind = oci.Chart }, true},
		"another tag":           {func(s *oci.Source) { s.Ref.Tag = "other" }, false},
		"a range":               {func(s *oci.Source) { s.Ref.SemVer = "*" }, false},
		"another password":      {func(s *oci.Source) { s.Remote.Auth.Password = "x" }, false},
		"another docker config": {func(s *oci.Source) { s.Remote.Auth.DockerConfigs = [][]byte{[]byte("{}")} }, false},
		"another CA":            {func(s *oci.Source) { s.Remote.TLS.CA = []byte("x") }, false},
		"more patience":         {func(s *oci.Source) { s.Remote.Timeout = 1 }, false},
		"other limits":          {func(s *oci.Source) { s.Limits.Entries = 1 }, false},
	} {
		other := base
		c.change(&other)
		if other.Key() == base.Key() {
			t.Errorf("%s is the same question", name)
		}
		if placed(other) != c.another {
			t.Errorf("%s is kept at another place: %v", name, placed(other))
		}
	}
}

func TestWhereAChartIsInAnArtifact(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		says  string
	}{
		"as Helm packs it":    {map[string]string{"app/Chart.yaml": "", "app/charts/sub/Chart.yaml": ""}, "app", ""},
		"as flux pushes one":  {map[string]string{"Chart.yaml": "", "charts/Chart.yaml": ""}, ".", ""},
		"beside other things": {map[string]string{"app/Chart.yaml": "", "docs/a": "", "README": ""}, "app", ""},
		"two of them":         {map[string]string{"a/Chart.yaml": "", "b/Chart.yaml": ""}, "", `"a" and "b" are charts`},
		"none":                {map[string]string{"a/b/Chart.yaml": ""}, "", "no Chart.yaml"},
	} {
		got, err := oci.ChartDir(tree.FromFiles(c.files))
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestALimitIsKept(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "latest", ocitest.Files(map[string]string{"a": "1", "b": "2", "c": "3"}))
	f := at(t, s, oci.Ref{})
	f.Limits = archive.Limits{Entries: 2}
	_, _, err := try(t.Context(), f)
	wantFault(t, err, fault.Retry, web.ReasonTooLarge, "more than 2 entries")
	s.Push(t, repository, "latest", ocitest.Files(map[string]string{"../a": "1"}))
	_, _, err = try(t.Context(), f)
	wantFault(t, err, fault.Stall, archive.ReasonUnsafeArchive, `"../a" has a name that leads out`)
	if !strings.Contains(err.Error(), s.Host()+"/"+repository) {
		t.Errorf("it does not say where: %v", err)
	}
}
