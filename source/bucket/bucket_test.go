package bucket_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/s3test"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/bucket"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

func start(t testing.TB) (*s3test.Server, bucket.Source) {
	t.Helper()
	s := s3test.New(t, "manifests")
	return s, at(s, openStore(t, t.TempDir()), new(bucket.Clients))
}

func try(ctx context.Context, s bucket.Source) (r source.Revision, c *source.Content, err error) {
	if r, err = s.Resolve(ctx); err == nil {
		c, err = s.Fetch(ctx, r)
	}
	return r, c, err
}

func get(t testing.TB, s bucket.Source) (source.Revision, *source.Content) {
	t.Helper()
	r, c, err := try(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

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

// objectsAsked are the keys of the objects that were asked for.
func objectsAsked(s *s3test.Server) []string {
	var keys []string
	for _, r := range s.Requests() {
		if key := strings.TrimPrefix(r.Path, "/manifests/"); key != r.Path && key != "" {
			key, _ = url.PathUnescape(key)
			keys = append(keys, r.Method+" "+key)
		}
	}
	slices.Sort(keys)
	s.Reset()
	return keys
}

func TestARevisionIsThatOfFlux(t *testing.T) {
	s, f := start(t)
	files := map[string]string{"b.yaml": "b: 1\n", "a/c.yaml": "c: 1\n", "a.yaml": "a: 1\n"}
	s.Set(files)
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%s %x\n", key, md5.Sum([]byte(files[key])))
	}
	r, c := get(t, f)
	if want := fmt.Sprintf("sha256:%x", h.Sum(nil)); r.Name != want {
		t.Errorf("revision %s, want %s", r.Name, want)
	}
	holds(t, c, files)
}

func TestOnlyWhatHasChangedTravels(t *testing.T) {
	s, f := start(t)
	files := make(map[string]string)
	for i := range 200 {
		files[fmt.Sprintf("app/%03d.yaml", i)] = fmt.Sprintf("n: %d\n", i)
	}
	s.Set(files)
	get(t, f)
	if n := len(objectsAsked(s)); n != 200 {
		t.Errorf("%d objects were asked for at first", n)
	}
	s.Put("app/007.yaml", "n: changed\n")
	s.Put("app/new.yaml", "n: new\n")
	files["app/007.yaml"], files["app/new.yaml"] = "n: changed\n", "n: new\n"
	_, c := get(t, f)
	holds(t, c, files)
	if got := objectsAsked(s); !slices.Equal(got, []string{"GET app/007.yaml", "GET app/new.yaml"}) {
		t.Errorf("asked for %v", got)
	}
	delete(files, "app/000.yaml")
	s.Set(files)
	_, c = get(t, f)
	holds(t, c, files)
	if got := objectsAsked(s); len(got) > 0 {
		t.Errorf("for one object less, asked for %v", got)
	}
}

func TestWhoMayOnlyListReadsNothing(t *testing.T) {
	s, f := start(t)
	files := map[string]string{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"}
	s.Set(files)
	s.Require("ada", "canary-secret-1")
	f.Remote.Auth = bucket.Auth{AccessKey: "ada", SecretKey: "canary-secret-1"}
	r, _ := get(t, f)

	s.Require("eve", "canary-secret-2")
	other := f
	other.Remote.Auth = bucket.Auth{AccessKey: "eve", SecretKey: "canary-secret-2"}
	var arrived sync.WaitGroup // one that is refused ends the other, which the server may not have seen yet
	arrived.Add(len(files))
	s.Fail(func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.URL.Query().Has("list-type") {
			return false
		}
		if r.Method == http.MethodHead {
			arrived.Done()
			arrived.Wait()
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if _, err := other.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := other.Fetch(t.Context(), r)
	wantFault(t, err, fault.Retry, web.ReasonAuthFailed, "403 Forbidden")
	if _, err := other.Open(r); !fault.Is(err, source.ReasonNotFetched) {
		t.Errorf("open: %v", err)
	}

	s.Fail(nil) // and who may read shows so, without that it travels
	s.Reset()
	_, c := get(t, other)
	holds(t, c, files)
	if got := objectsAsked(s); !slices.Equal(got, []string{"HEAD a.yaml", "HEAD b.yaml"}) {
		t.Errorf("asked for %v", got)
	}
}

func TestWhichObjectsCount(t *testing.T) {
	pattern := "*.md\n!/keep.md\n"
	all := map[string]string{
		"a.yaml": "a", "docs/a.yaml": "b", "docs/read.md": "c", "keep.md": "d", "photo.jpg": "e", ".git/config": "f", "empty/": "", "docs/": "",
	}
	with := func(more map[string]string) map[string]string {
		m := maps.Clone(all)
		maps.Copy(m, more)
		return m
	}
	for name, c := range map[string]struct {
		objects map[string]string
		prefix  string
		ignore  *string
		want    []string
	}{
		"all but the usual":              {all, "", nil, []string{"a.yaml", "docs/a.yaml", "docs/read.md", "keep.md"}},
		"below a prefix":                 {all, "docs/", nil, []string{"docs/a.yaml", "docs/read.md"}},
		"a prefix is no directory":       {all, "do", nil, []string{"docs/a.yaml", "docs/read.md"}},
		"by rules of the source":         {all, "", &pattern, []string{"a.yaml", "docs/a.yaml", "keep.md", "photo.jpg"}},
		"by rules in the bucket":         {with(map[string]string{".sourceignore": "/docs\n"}), "", nil, []string{".sourceignore", "a.yaml", "keep.md", "photo.jpg"}},
		"not by rules below":             {with(map[string]string{"docs/.sourceignore": "*\n"}), "", nil, []string{"a.yaml", "docs/.sourceignore", "docs/a.yaml", "docs/read.md", "keep.md"}},
		"by both, the source's stronger": {with(map[string]string{".sourceignore": "keep.md\n"}), "", &pattern, []string{".sourceignore", "a.yaml", "docs/a.yaml", "keep.md", "photo.jpg"}},
		"nothing of nothing":             {map[string]string{"docs/": ""}, "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := start(t)
			s.Set(c.objects)
			f.Remote.Prefix, f.Ignore = c.prefix, c.ignore
			_, got := get(t, f)
			want := make(map[string]string)
			for _, key := range c.want {
				want[key] = c.objects[key]
			}
			holds(t, got, want)
		})
	}
}

func TestAKeyThatIsNoName(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string
		says string
	}{
		"leads out":                       {[]string{"a", "../evil"}, `the object "../evil" has a key that is no name of a file`},
		"leads out further on":            {[]string{"a/../../evil"}, `"a/../../evil"`},
		"is absolute":                     {[]string{"/etc/passwd"}, `"/etc/passwd"`},
		"has an empty part":               {[]string{"a//b"}, `"a//b"`},
		"has a dot for a part":            {[]string{"./a"}, `"./a"`},
		"leads out on Windows":            {[]string{`..\evil`}, `has a key that is no name`},
		"has a zero byte":                 {[]string{"a\x00b"}, "has a key that is no name"},
		"is not text":                     {[]string{"a\xffb"}, "has a key that is no name"},
		"has a line break":                {[]string{"a 1\nb"}, "has a line break"},
		"is a file and a directory":       {[]string{"a", "a/b"}, `"a/b" is below another object, "a"`},
		"is one further up":               {[]string{"a/b", "a/b/c/d", "a/b-c"}, `"a/b/c/d" is below another object, "a/b"`},
		"has a part that is far too long": {[]string{strings.Repeat("x", 300)}, "a part of a name"},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := start(t)
			objects := make(map[string]string)
			for _, key := range c.keys {
				objects[key] = "x"
			}
			s.Set(objects)
			_, _, err := try(t.Context(), f)
			wantFault(t, err, fault.Stall, archive.ReasonUnsafeArchive, c.says)
		})
	}
	s, f := start(t)
	odd := map[string]string{"a b+c%20d.yaml": "1", "ünï/cödé": "2", "a/..b/c..": "3", "q?x=1&y#z": "4", "A": "5", "b:c*": "6", "...": "7"}
	s.Set(odd)
	_, c := get(t, f)
	holds(t, c, odd)
}

func TestAnObjectThatIsNotWhatWasListed(t *testing.T) {
	s, f := start(t)
	s.Set(map[string]string{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
	r, err := f.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Put("b.yaml", "b: 2\n")
	_, err = f.Fetch(t.Context(), r)
	wantFault(t, err, fault.Retry, archive.ReasonCorrupt, "has changed since it was listed")
	// Of a revision only the name is known after a start.
	_, err = f.Fetch(t.Context(), source.Revision{Name: r.Name})
	wantFault(t, err, fault.Retry, archive.ReasonCorrupt, "the bucket has changed since it was listed")
	s.Put("b.yaml", "b: 1\n")
	c, err := f.Fetch(t.Context(), source.Revision{Name: r.Name})
	if err != nil {
		t.Fatal(err)
	}
	holds(t, c, map[string]string{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})

	s.Set(map[string]string{"a.yaml": strings.Repeat("a: 1\n", 100)})
	for name, c := range map[string]struct {
		fault s3test.Fault
		says  string
	}{
		"it is shorter":          {object(func(w http.ResponseWriter, b []byte) { _, _ = w.Write(b[:100]) }), ""},
		"it has another content": {object(func(w http.ResponseWriter, b []byte) { b[7] ^= 1; _, _ = w.Write(b) }), "the object \"a.yaml\" is not what its checksum says"},
		"it has another ETag":    {header("ETag", `"abc"`), "has changed since it was listed"},
		"it has another size":    {header("Content-Length", "400"), ""},
	} {
		s.Fail(c.fault)
		if _, _, err := try(t.Context(), f); err == nil || fault.Of(err).Next != fault.Retry || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAServerAnswers(t *testing.T) {
	s, f := start(t)
	s.Set(map[string]string{"a.yaml": "a: 1\n"})
	refusal := func(code int, reason string) s3test.Fault {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
			w.WriteHeader(code)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>canary-secret-1</Message></Error>", reason)
			return true
		}
	}
	f.Remote.Region = s3test.Region
	for name, c := range map[string]struct {
		fault  s3test.Fault
		reason fault.Reason
		says   string
	}{
		"a key that nobody has":   {refusal(403, "InvalidAccessKeyId"), web.ReasonAuthFailed, "403 Forbidden, InvalidAccessKeyId"},
		"a clock that is wrong":   {refusal(403, "RequestTimeTooSkewed"), web.ReasonAuthFailed, "RequestTimeTooSkewed"},
		"no such bucket":          {refusal(404, "NoSuchBucket"), web.ReasonNotFound, "404 Not Found, NoSuchBucket"},
		"another region":          {refusal(301, "PermanentRedirect"), web.ReasonRedirectRefused, "set the endpoint and the region"},
		"a redirect":              {status(307, "Location", "http://169.254.169.254/latest"), web.ReasonRedirectRefused, "307"},
		"too many requests":       {status(429, "Retry-After", "90"), web.ReasonRateLimited, "429"},
		"a pause":                 {status(503, "Retry-After", "90"), web.ReasonRateLimited, "503"},
		"an error":                {status(500), web.ReasonServerError, "500 Internal Server Error"},
		"a web page":              {page, bucket.ReasonNotAnS3Server, "a text/html; charset=utf-8 answer instead of a list"},
		"a list without an end":   {listed(func(n int) string { return more(fmt.Sprint(n), 1000, n) }), web.ReasonTooLarge, "more than 1000 objects"},
		"an answer without end":   {endless, web.ReasonTooLarge, "an answer has more than 8 MiB"},
		"a list that names twice": {listed(func(n int) string { return more("", 2, 1) }), archive.ReasonUnsafeArchive, "is there twice"},
	} {
		s.Fail(c.fault)
		f.Limits = archive.Limits{Entries: 100}
		_, err := f.Resolve(t.Context())
		next := fault.Retry
		if c.reason == archive.ReasonUnsafeArchive {
			next = fault.Stall
		}
		wantFault(t, err, next, c.reason, c.says)
		if err != nil && !strings.HasPrefix(err.Error(), "list http://"+s.Endpoint()+"/manifests: ") {
			t.Errorf("%s: it does not say where: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: what the server wrote is in %v", name, err)
		}
		if c.reason == web.ReasonRateLimited && fault.Of(err).After != 90*time.Second {
			t.Errorf("%s: it says to wait %s", name, fault.Of(err).After)
		}
	}
	s.Fail(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool { <-r.Context().Done(); return true })
	f.Remote.Timeout = 200 * time.Millisecond
	_, err := f.Resolve(t.Context())
	wantFault(t, err, fault.Retry, web.ReasonTimeout, "the timeout has passed")
}

// page answers with a login page, as proxies do.
func page(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html><title>Please log in</title>")
	return true
}

// endless sends for ever.
func endless(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	b := []byte("<ListBucketResult>" + strings.Repeat(" ", 64<<10))
	for r.Context().Err() == nil {
		if _, err := w.Write(b); err != nil {
			break
		}
	}
	return true
}

// listed answers with what list returns at the n-th time.
func listed(list func(n int) string) s3test.Fault {
	n := 0
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		n++
		fmt.Fprintf(w, "<ListBucketResult>%s</ListBucketResult>", list(n))
		return true
	}
}

// more is a page of a list, of objects with one name if it has none.
func more(name string, n, page int) string {
	var b strings.Builder
	for i := range n {
		key := fmt.Sprint(name, "-", i)
		if name == "" {
			key = "same"
		}
		fmt.Fprintf(&b, "<Contents><Key>%s</Key><ETag>x</ETag><Size>1</Size></Contents>", key)
	}
	if name != "" {
		fmt.Fprintf(&b, "<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>", page)
	}
	return b.String()
}

func TestABucketOfManyPages(t *testing.T) {
	s, f := start(t)
	files := make(map[string]string)
	for i := range 30 {
		files[fmt.Sprintf("a b/%02d", i)] = fmt.Sprint(i)
	}
	s.Set(files)
	s.Page(7)
	_, c := get(t, f)
	holds(t, c, files)
}

func TestALargeObjectIsNotReadIntoMemory(t *testing.T) {
	s, f := start(t)
	files := map[string]string{"large": strings.Repeat("0123456789abcdef", 1<<20), "small": "1"}
	s.Set(files)
	_, c := get(t, f)
	holds(t, c, files)
	s.Put("small", "2")
	s.Reset()
	get(t, f)
	if got := objectsAsked(s); !slices.Equal(got, []string{"GET small"}) {
		t.Errorf("asked for %v", got)
	}
}

func TestALimitIsKeptBeforeAnythingTravels(t *testing.T) {
	s, f := start(t)
	s.Set(map[string]string{"a": strings.Repeat("x", 600), "b": strings.Repeat("x", 600)})
	for name, c := range map[string]struct {
		limits archive.Limits
		says   string
	}{
		"of one object":  {archive.Limits{FileBytes: 599}, `the object "a" has more than 599 bytes`},
		"of all objects": {archive.Limits{TotalBytes: 1000}, "all objects have more than 1000 bytes"},
		"of their count": {archive.Limits{Entries: 1}, "more than 1 objects"},
	} {
		f.Limits = c.limits
		_, _, err := try(t.Context(), f)
		if !fault.Is(err, web.ReasonTooLarge) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if got := objectsAsked(s); len(got) > 0 {
			t.Errorf("%s: asked for %v", name, got)
		}
	}
}

func TestTLS(t *testing.T) {
	s := s3test.NewTLS(t, "manifests")
	s.Set(map[string]string{"a.yaml": "a: 1\n"})
	f := at(s, openStore(t, t.TempDir()), nil)
	f.Remote.Insecure = false
	f.Remote.TLS.CA = s.CA()
	_, c := get(t, f)
	holds(t, c, map[string]string{"a.yaml": "a: 1\n"})
	f.Remote.TLS.CA = nil
	_, _, err := try(t.Context(), f)
	wantFault(t, err, fault.Retry, web.ReasonCertificateInvalid, "")
}

func TestARegionIsAskedForOnce(t *testing.T) {
	s, f := start(t)
	s.Set(map[string]string{"a.yaml": "a: 1\n"})
	s.Require("ada", "canary-secret-1")
	f.Remote.Auth = bucket.Auth{AccessKey: "ada", SecretKey: "canary-secret-1"}
	get(t, f)
	get(t, f)
	n := 0
	for _, r := range s.Requests() {
		if strings.Contains(r.Query, "location") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

func TestAnAddressThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*bucket.Remote)
		reason fault.Reason
	}{
		"no endpoint":            {func(r *bucket.Remote) { r.Endpoint = "" }, web.ReasonInvalidURL},
		"a URL":                  {func(r *bucket.Remote) { r.Endpoint = "https://s3.example" }, web.ReasonInvalidURL},
		"a path":                 {func(r *bucket.Remote) { r.Endpoint = "s3.example/x" }, web.ReasonInvalidURL},
		"a password":             {func(r *bucket.Remote) { r.Endpoint = "ada:canary-secret-1@s3.example" }, web.ReasonInvalidURL},
		"a space":                {func(r *bucket.Remote) { r.Endpoint = "s3 .example" }, web.ReasonInvalidURL},
		"a dash":                 {func(r *bucket.Remote) { r.Endpoint = "-s3.example" }, web.ReasonInvalidURL},
		"no bucket":              {func(r *bucket.Remote) { r.Bucket = "" }, bucket.ReasonInvalidBucket},
		"a path for a bucket":    {func(r *bucket.Remote) { r.Bucket = "../x" }, bucket.ReasonInvalidBucket},
		"a prefix that is none":  {func(r *bucket.Remote) { r.Prefix = "a\x00" }, bucket.ReasonInvalidBucket},
		"a prefix of great size": {func(r *bucket.Remote) { r.Prefix = strings.Repeat("x", 2000) }, bucket.ReasonInvalidBucket},
	} {
		r := bucket.Remote{Bucket: "manifests", Endpoint: "s3.example"}
		c.change(&r)
		err := r.Validate()
		wantFault(t, err, fault.Stall, c.reason, "")
		f := bucket.Source{Store: openStore(t, t.TempDir()), Remote: r}
		_, asked := f.Resolve(t.Context())
		wantFault(t, asked, fault.Stall, c.reason, "")
		if said := fmt.Sprint(err, asked, f, f.Server()); strings.Contains(said, "canary") && name != "a password" {
			t.Errorf("%s: a password is in %s", name, said)
		}
	}
}

func TestAKeyIsThatOfAQuestion(t *testing.T) {
	rules := "*.md"
	base := bucket.Source{Store: openStore(t, t.TempDir()), Remote: bucket.Remote{Bucket: "manifests", Endpoint: "s3.example"}}
	for name, c := range map[string]struct {
		change  func(*bucket.Source)
		another bool // place
	}{
		"another bucket":   {func(s *bucket.Source) { s.Remote.Bucket += "2" }, true},
		"another endpoint": {func(s *bucket.Source) { s.Remote.Endpoint += "2" }, true},
		"another prefix":   {func(s *bucket.Source) { s.Remote.Prefix = "a" }, true},
		"another region":   {func(s *bucket.Source) { s.Remote.Region = "x" }, true},
		"no TLS":           {func(s *bucket.Source) { s.Remote.Insecure = true }, true},
		"another proxy":    {func(s *bucket.Source) { s.Remote.Proxy.URL = "http://proxy" }, true},
		"other rules":      {func(s *bucket.Source) { s.Ignore = &rules }, true},
		"another key":      {func(s *bucket.Source) { s.Remote.Auth.AccessKey = "x" }, false},
		"another secret":   {func(s *bucket.Source) { s.Remote.Auth.SecretKey = "x" }, false},
		"another CA":       {func(s *bucket.Source) { s.Remote.TLS.CA = []byte("x") }, false},
		"more patience":    {func(s *bucket.Source) { s.Remote.Timeout = 1 }, false},
		"other limits":     {func(s *bucket.Source) { s.Limits.Entries = 1 }, false},
	} {
		other := base
		c.change(&other)
		if other.Key() == base.Key() {
			t.Errorf("%s is the same question", name)
		}
		if (other.Place() != base.Place()) != c.another {
			t.Errorf("%s is kept at another place: %v", name, other.Place() != base.Place())
		}
	}
}
