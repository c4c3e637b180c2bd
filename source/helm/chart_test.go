package helm_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"encoding/pem"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/helm"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// The tests of this file that are named by a letter and a number are the rows
// of the list of hostile input that concern Helm repositories.

func newStore(t testing.TB, o helm.Options) *helm.Store {
	t.Helper()
	files, err := archive.Open(t.TempDir(), archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := helm.NewStore(files, o)
	t.Cleanup(func() { s.Close(); files.Close() })
	return s
}

func try(t *testing.T, f source.Fetcher) (source.Revision, *source.Content, error) {
	t.Helper()
	r, err := f.Resolve(t.Context())
	if err != nil {
		return r, nil, err
	}
	c, err := f.Fetch(t.Context(), r)
	return r, c, err
}

func get(t *testing.T, f source.Fetcher) (source.Revision, *source.Content) {
	t.Helper()
	r, c, err := try(t, f)
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func wantFault(t *testing.T, err error, next fault.Next, reason fault.Reason) *fault.Error {
	t.Helper()
	f := fault.Of(err)
	if err == nil || f.Next != next || f.Reason != reason {
		t.Fatalf("error is %v (%+v), want a %s %s", err, f, next, reason)
	}
	return f
}

func content(t *testing.T, c *source.Content, name string) string {
	t.Helper()
	b, err := c.Tree.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

var some = map[string]string{"templates/a.yaml": "a: 1\n", "values.yaml": "x: 1\n", "charts/sub/Chart.yaml": "name: sub\nversion: 1.0.0\n"}

func TestARevisionIsTheVersionOfTheChart(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", some}, published{"web", "1.1.0", some}, published{"web", "2.0.0-rc.1", some}, published{"other", "9.0.0", nil})
	s := newStore(t, helm.Options{})
	for in, want := range map[string]string{"": "1.1.0", "1.0.x": "1.0.0", ">=2.0.0-0": "2.0.0-rc.1", "1.0.0": "1.0.0"} {
		rev, c := get(t, helm.Chart{Store: s, Repo: helm.Repository{URL: r.url()}, Name: "web", Version: in})
		d, _ := rev.Detail.(helm.Version)
		if rev.Name != want || d.URL != r.url()+"/web-"+want+".tgz" || d.Digest != "sha256:"+digest(r.archives["/charts/web-"+want+".tgz"]) {
			t.Errorf("%q is %s, %+v", in, rev.Name, d)
		}
		if got := content(t, c, "Chart.yaml"); !strings.Contains(got, "version: "+want) {
			t.Errorf("%q has the chart %s", in, got)
		}
		if got := content(t, c, "charts/sub/Chart.yaml"); got != some["charts/sub/Chart.yaml"] {
			t.Errorf("its dependency is %s", got)
		}
	}
	chart := helm.Chart{Store: s, Repo: helm.Repository{URL: r.url()}, Name: "web"}
	for name, c := range map[string]struct {
		change func(*helm.Chart)
		next   fault.Next
		reason fault.Reason
	}{
		"no such chart":        {func(c *helm.Chart) { c.Name = "none" }, fault.Retry, helm.ReasonReferenceNotFound},
		"no such version":      {func(c *helm.Chart) { c.Version = "3.0.0" }, fault.Retry, helm.ReasonReferenceNotFound},
		"no range":             {func(c *helm.Chart) { c.Version = "a lot" }, fault.Stall, helm.ReasonInvalidSemver},
		"no name":              {func(c *helm.Chart) { c.Name = "" }, fault.Stall, helm.ReasonInvalidReference},
		"a name that leads up": {func(c *helm.Chart) { c.Name = ".." }, fault.Stall, helm.ReasonInvalidReference},
		"a path":               {func(c *helm.Chart) { c.Name = "a/b" }, fault.Stall, helm.ReasonInvalidReference},
		"no address":           {func(c *helm.Chart) { c.Repo.URL = "charts" }, fault.Stall, helm.ReasonInvalidURL},
		"a registry":           {func(c *helm.Chart) { c.Repo.URL = "oci://host/x" }, fault.Stall, helm.ReasonInvalidURL},
		"a file":               {func(c *helm.Chart) { c.Repo.URL = "file:///etc" }, fault.Stall, helm.ReasonInvalidURL},
		"a line break":         {func(c *helm.Chart) { c.Repo.URL += "/\n" }, fault.Stall, helm.ReasonInvalidURL},
		"no proxy":             {func(c *helm.Chart) { c.Repo.Proxy.URL = "x" }, fault.Stall, helm.ReasonInvalidURL},
		"no certificate":       {func(c *helm.Chart) { c.Repo.TLS.CA = []byte("x") }, fault.Retry, web.ReasonInvalidAuth},
	} {
		other := chart
		c.change(&other)
		_, err := other.Resolve(t.Context())
		if f := fault.Of(err); f.Next != c.next || f.Reason != c.reason {
			t.Errorf("%s: %v (%s %s)", name, err, f.Next, f.Reason)
		}
		_, err = other.Fetch(t.Context(), source.Revision{Name: "5.0.0"})
		if err == nil {
			t.Errorf("%s: it was fetched", name)
		}
	}
}

func TestTheAddressOfAnArchiveIsRelativeToTheRepository(t *testing.T) {
	r := newRepository(t)
	b := chart("web", "1.0.0", some)
	for path, url := range map[string]string{
		"/charts/web.tgz": "web.tgz", "/charts/a/web.tgz": "a/web.tgz", "/top/web.tgz": "/top/web.tgz", "/up/web.tgz": "../up/web.tgz",
		"/full/web.tgz": r.URL + "/full/web.tgz", "/net/web.tgz": strings.TrimPrefix(r.URL, "http:") + "/net/web.tgz",
		"/charts/web file.tgz": "web%20file.tgz",
	} {
		for _, slash := range []string{"", "/"} {
			r.set(func() {
				r.archives = map[string][]byte{path: b}
				r.index = indexOf(listing{"web", "1.0.0", url, digest(b)})
			})
			_, c, err := try(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: helm.Repository{URL: r.url() + slash}, Name: "web"})
			if err != nil {
				t.Errorf("%s: %v", url, err)
				continue
			}
			content(t, c, "values.yaml")
		}
	}
	// A token in the repository's address is for what is relative to it.
	r.set(func() {
		r.archives = map[string][]byte{"/charts/web.tgz": b}
		r.index = indexOf(listing{"web", "1.0.0", "web.tgz", digest(b)})
	})
	var asked []string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked = append(asked, q.URL.String())
		r.serve(w, q)
	}))
	t.Cleanup(front.Close)
	rev, _ := get(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: helm.Repository{URL: front.URL + "/charts?token=canary"}, Name: "web"})
	if fmt.Sprint(asked) != "[/charts/index.yaml?token=canary /charts/web.tgz?token=canary]" {
		t.Errorf("asked for %v", asked)
	}
	if said := fmt.Sprintf("%v %+v %#v", rev, rev.Detail, rev.Detail); strings.Contains(said, "canary") {
		t.Error(said)
	}
	for _, url := range []string{"oci://host/x", "file:///etc/passwd", "ftp://host/x", "http://ada:canary@host/x", "http://", ":", "http://[::1"} {
		r.set(func() { r.index = indexOf(listing{"web", "1.0.0", fmt.Sprintf("%q", url), digest(b)}) })
		_, _, err := try(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: helm.Repository{URL: r.url()}, Name: "web"})
		f := wantFault(t, err, fault.Retry, helm.ReasonInvalidIndex)
		if strings.Contains(f.Error(), "canary") {
			t.Error(f)
		}
	}
}

func TestManyChartsOfOneRepositoryShareItsIndex(t *testing.T) {
	for name, c := range map[string]struct {
		say        func(http.ResponseWriter, *http.Request, string) bool
		size       int
		first, all int // most answers with an index: to those who come at once, and then to all who ask again
	}{
		"with validators":       {etag, 0, 1, 1},
		"without, of some size": {untold, costly, 2, 2},
		"without, small":        {untold, 0, 2, 22},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			r.say = c.say
			var list []published
			for i := range 20 {
				list = append(list, published{fmt.Sprint("chart-", i), "1.0.0", nil})
			}
			r.publish(list...)
			r.set(func() { r.index += "pad: " + strings.Repeat("x", c.size) + "\n" })
			inner := r.say
			var delay atomic.Int64
			delay.Store(int64(300 * time.Millisecond))
			r.say = func(w http.ResponseWriter, q *http.Request, index string) bool {
				time.Sleep(time.Duration(delay.Load())) // so that all ask meanwhile
				return inner(w, q, index)
			}
			s := newStore(t, helm.Options{})
			resolve := func(i int) {
				if _, err := (helm.Chart{Store: s, Repo: helm.Repository{URL: r.url()}, Name: fmt.Sprint("chart-", i)}).Resolve(t.Context()); err != nil {
					t.Error(err)
				}
			}
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() { resolve(i) })
			}
			wg.Wait()
			delay.Store(0)
			requests, _ := r.taken()
			sent := 0
			count := func(requests []string) {
				for _, q := range requests {
					if strings.HasSuffix(q, " 200") {
						sent++
					}
				}
			}
			if count(requests); sent > c.first || len(requests) > 3 {
				t.Errorf("at once there were %v", requests)
			}
			for i := range 20 {
				resolve(i)
			}
			requests, _ = r.taken()
			if count(requests); sent > c.all {
				t.Errorf("one after the other there were %v", requests)
			}
		})
	}
}

// costly is larger than what is asked for again at once.
const costly = 2 << 20

// A question that is asked after something was published is not answered with
// what was on its way before.
func TestAnAnswerIsForThoseWhoHadAskedBefore(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", nil})
	began, end := make(chan bool), make(chan bool)
	var once sync.Once
	r.say = func(w http.ResponseWriter, q *http.Request, index string) bool {
		io.WriteString(w, index)
		w.(http.Flusher).Flush()
		return true
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		first := false
		once.Do(func() { first = true })
		b := httptest.NewRecorder()
		r.serve(b, q)
		if first {
			close(began)
			<-end
		}
		w.Write(b.Body.Bytes())
	}))
	t.Cleanup(front.Close)
	c := helm.Chart{Store: newStore(t, helm.Options{}), Repo: helm.Repository{URL: front.URL + "/charts"}, Name: "web"}
	var wg sync.WaitGroup
	wg.Go(func() {
		if rev, err := c.Resolve(t.Context()); err != nil || rev.Name != "1.0.0" {
			t.Errorf("before: %s, %v", rev.Name, err)
		}
	})
	<-began
	r.publish(published{"web", "1.0.0", nil}, published{"web", "2.0.0", nil})
	wg.Go(func() {
		if rev, err := c.Resolve(t.Context()); err != nil || rev.Name != "2.0.0" {
			t.Errorf("after: %s, %v", rev.Name, err)
		}
	})
	time.Sleep(50 * time.Millisecond)
	close(end)
	wg.Wait()
}

func TestAVersionThatIsPublishedAgainIsFetchedAgain(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", map[string]string{"a": "1"}})
	s := newStore(t, helm.Options{})
	repo := helm.Repository{URL: r.url()}
	bob := repo
	bob.Credentials.Username = "bob"
	rev, _ := get(t, helm.Chart{Store: s, Repo: bob, Name: "web"})
	c := helm.Chart{Store: s, Repo: repo, Name: "web"}
	_, old := get(t, c)
	r.publish(published{"web", "1.0.0", map[string]string{"a": "2"}})
	again, is := get(t, c)
	if again.Name != rev.Name || content(t, is, "a") != "2" || content(t, old, "a") != "1" {
		t.Errorf("%s has %s, and before %s", again.Name, content(t, is, "a"), content(t, old, "a"))
	}
	// Who was shown the one was not shown the other.
	_, err := helm.Chart{Store: s, Repo: bob, Name: "web"}.Open(rev)
	wantFault(t, err, fault.Retry, helm.ReasonNotFetched)
	// Without a digest it is told by where it is, and since when.
	b := chart("web", "1.0.0", map[string]string{"a": "3"})
	r.set(func() { r.archives["/charts/new.tgz"] = b; r.index = indexOf(listing{"web", "1.0.0", "new.tgz", ""}) })
	if _, is := get(t, c); content(t, is, "a") != "3" {
		t.Errorf("it has %s", content(t, is, "a"))
	}
	r.taken()
	get(t, c)
	if requests, _ := r.taken(); fmt.Sprint(requests) != "[/charts/index.yaml 304]" {
		t.Errorf("asked for %v", requests)
	}
	// By its name alone.
	r.publish(published{"web", "1.0.0", map[string]string{"a": "4"}}, published{"web", "2.0.0", map[string]string{"a": "5"}})
	got, err := helm.Chart{Store: newStore(t, helm.Options{}), Repo: repo, Name: "web"}.Fetch(t.Context(), source.Revision{Name: "1.0.0"})
	if err != nil || content(t, got, "a") != "4" {
		t.Errorf("%v", err)
	}
}

func TestA08RefusalsKeepWhatIsThereAndSayWhenToComeBack(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", some})
	c := helm.Chart{Store: newStore(t, helm.Options{}), Repo: helm.Repository{URL: r.url()}, Name: "web"}
	rev, _ := get(t, c)
	fresh := func(reason fault.Reason) helm.Chart {
		o := helm.Options{}
		if reason == web.ReasonTimeout {
			o.StallTimeout = 300 * time.Millisecond
		}
		c := c
		c.Store = newStore(t, o)
		return c
	}
	for name, f := range map[string]struct {
		answer         http.HandlerFunc
		index, archive fault.Reason
	}{
		"401": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, web.ReasonAuthFailed, web.ReasonAuthFailed},
		"403": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, web.ReasonAuthFailed, web.ReasonAuthFailed},
		"404": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, web.ReasonNotFound, web.ReasonNotFound},
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, web.ReasonServerError, web.ReasonServerError},
		"429": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(http.StatusTooManyRequests)
		}, web.ReasonRateLimited, web.ReasonRateLimited},
		"304":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, web.ReasonServerError, web.ReasonRedirectRefused},
		"a login page": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>log in</html>") }, helm.ReasonNotARepository, helm.ReasonCorrupt},
		"nothing":      {func(http.ResponseWriter, *http.Request) {}, helm.ReasonInvalidIndex, helm.ReasonCorrupt},
		"no zip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, strings.Repeat("x", 100))
		}, helm.ReasonCorrupt, helm.ReasonCorrupt},
		"1 byte at a time": {func(w http.ResponseWriter, q *http.Request) {
			for q.Context().Err() == nil {
				io.WriteString(w, "#")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, web.ReasonTimeout, web.ReasonTimeout},
	} {
		t.Run("index "+name, func(t *testing.T) {
			r.set(func() { r.instead = f.answer })
			defer r.set(func() { r.instead = nil })
			_, err := fresh(f.index).Resolve(t.Context())
			got := wantFault(t, err, fault.Retry, f.index)
			if name == "429" && got.After != 9*time.Second {
				t.Errorf("to come back after %s", got.After)
			}
			if f.index != web.ReasonTimeout {
				if _, err := c.Resolve(t.Context()); err == nil && name != "304" {
					t.Error("no error where something is known")
				}
			}
			if _, err := c.Open(source.Revision{Name: rev.Name}); err != nil {
				t.Errorf("what was there: %v", err)
			}
		})
		t.Run("archive "+name, func(t *testing.T) {
			c := fresh(f.archive)
			rev, err := c.Resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.set(func() { r.instead = f.answer })
			defer r.set(func() { r.instead = nil })
			_, err = c.Fetch(t.Context(), rev)
			wantFault(t, err, fault.Retry, f.archive)
		})
	}
	if rev, _ := get(t, c); rev.Name != "1.0.0" {
		t.Errorf("then it is %s", rev.Name)
	}
}

func TestA09CredentialsStayAtTheRepository(t *testing.T) {
	home, other := newRepository(t), newRepository(t)
	b := chart("web", "1.0.0", some)
	other.set(func() { other.archives["/elsewhere/web.tgz"] = b })
	repo := helm.Repository{URL: home.url(), Credentials: web.Credentials{Username: "ada", Password: "canary-pass"}}
	none := func(shown []string) bool { return !slices.ContainsFunc(shown, func(s string) bool { return s != "" }) }
	for name, set := range map[string]func(){
		"an archive at another host": func() { home.index = indexOf(listing{"web", "1.0.0", other.URL + "/elsewhere/web.tgz", digest(b)}) },
		"a redirect of the archive": func() {
			home.index = indexOf(listing{"web", "1.0.0", "web.tgz", digest(b)})
			home.instead = func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/charts/web.tgz" {
					http.Redirect(w, q, other.URL+"/elsewhere/web.tgz", http.StatusFound)
					return
				}
				io.WriteString(w, home.index)
			}
		},
		"a redirect of the index": func() {
			home.instead = func(w http.ResponseWriter, q *http.Request) {
				http.Redirect(w, q, other.URL+q.URL.Path, http.StatusTemporaryRedirect)
			}
			other.set(func() { other.index = indexOf(listing{"web", "1.0.0", other.URL + "/elsewhere/web.tgz", digest(b)}) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			home.set(func() { home.instead = nil; set() })
			other.taken()
			get(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: repo, Name: "web"})
			if requests, shown := other.taken(); len(requests) == 0 || !none(shown) {
				t.Errorf("%v was shown %q", requests, shown)
			}
			if _, shown := home.taken(); none(shown) {
				t.Error("its own host was shown nothing")
			}
			all := repo
			all.PassCredentials = true
			get(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: all, Name: "web"})
			if _, shown := other.taken(); none(shown) {
				t.Error("it was not shown what is to be passed on")
			}
		})
	}
}

func TestA09NothingGivesUpTLS(t *testing.T) {
	plain := newRepository(t)
	b := chart("web", "1.0.0", some)
	plain.set(func() { plain.archives["/web.tgz"] = b })
	var index, moved string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if moved != "" {
			http.Redirect(w, q, moved+q.URL.Path, http.StatusFound)
			return
		}
		if q.URL.Path == "/web.tgz" {
			http.Redirect(w, q, plain.URL+"/web.tgz", http.StatusFound)
			return
		}
		io.WriteString(w, index)
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	c := func() helm.Chart {
		return helm.Chart{Store: newStore(t, helm.Options{}), Name: "web", Repo: helm.Repository{
			URL: s.URL, Credentials: web.Credentials{Username: "ada", Password: "canary-pass"}, TLS: web.TLS{CA: ca}, PassCredentials: true,
		}}
	}
	index = indexOf(listing{"web", "1.0.0", "web.tgz", digest(b)})
	_, _, err := try(t, c())
	wantFault(t, err, fault.Retry, web.ReasonRedirectRefused)
	index = indexOf(listing{"web", "1.0.0", plain.URL + "/web.tgz", ""})
	_, _, err = try(t, c())
	wantFault(t, err, fault.Retry, helm.ReasonInvalidIndex)
	// Its digest tells the archive from any other.
	index = indexOf(listing{"web", "1.0.0", plain.URL + "/web.tgz", digest(b)})
	get(t, c())
	if requests, shown := plain.taken(); len(requests) != 1 || shown[0] != "" {
		t.Errorf("%v was shown %q", requests, shown)
	}
	moved = plain.URL
	_, _, err = try(t, c())
	wantFault(t, err, fault.Retry, web.ReasonRedirectRefused)
	without := c()
	without.Repo.TLS.CA, moved = nil, ""
	_, _, err = try(t, without)
	wantFault(t, err, fault.Retry, web.ReasonCertificateInvalid)
	without.Repo.TLS.Insecure = true
	get(t, without)
}

func TestAClientCertificateIsShownToTheRepositoryOnly(t *testing.T) {
	shown := map[string]int{}
	b := chart("web", "1.0.0", some)
	serve := func(name string, index *string) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			shown[name] += len(q.TLS.PeerCertificates)
			if q.URL.Path == "/index.yaml" {
				io.WriteString(w, *index)
				return
			}
			w.Write(b)
		}))
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	var index string
	home, other := serve("home", &index), serve("other", &index)
	index = indexOf(listing{"web", "1.0.0", other.URL + "/web.tgz", digest(b)})
	cert, key := certificate(t)
	repo := helm.Repository{URL: home.URL, TLS: web.TLS{ClientCert: cert, ClientKey: key, Insecure: true}}
	get(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: repo, Name: "web"})
	if shown["home"] != 1 || shown["other"] != 0 {
		t.Errorf("it was shown to %v", shown)
	}
	repo.PassCredentials = true
	get(t, helm.Chart{Store: newStore(t, helm.Options{}), Repo: repo, Name: "web"})
	if shown["other"] != 1 {
		t.Errorf("it was shown to %v", shown)
	}
}

func TestAProxyIsOnTheWay(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", some})
	var through []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		through = append(through, q.URL.String()+" "+q.Header.Get("Proxy-Authorization"))
		r.serve(w, q)
	}))
	t.Cleanup(proxy.Close)
	s := newStore(t, helm.Options{})
	repo := helm.Repository{URL: "http://charts.example/charts", Proxy: web.Proxy{URL: proxy.URL, Username: "p", Password: "canary-proxy"}}
	rev, _ := get(t, helm.Chart{Store: s, Repo: repo, Name: "web"})
	if len(through) != 2 || !strings.HasPrefix(through[0], "http://charts.example/charts/index.yaml Basic ") {
		t.Errorf("through the proxy went %v", through)
	}
	// What came through it is kept apart.
	direct := repo
	direct.Proxy = web.Proxy{}
	if _, err := (helm.Chart{Store: s, Repo: direct, Name: "web"}).Open(rev); !fault.Is(err, helm.ReasonNotFetched) {
		t.Errorf("%v", err)
	}
}

func TestA11NoSecretIsInWhatIsSaid(t *testing.T) {
	r := newRepository(t)
	s := newStore(t, helm.Options{StallTimeout: 100 * time.Millisecond})
	u, _ := url.Parse(r.url())
	u.User = url.UserPassword("ada", "canary-userinfo")
	repo := helm.Repository{
		URL: u.String() + "?token=canary-query", Credentials: web.Credentials{Username: "ada", Password: "canary-pass"},
		Proxy: web.Proxy{URL: r.URL, Username: "p", Password: "canary-proxy"},
	}
	for _, f := range []source.Fetcher{helm.Chart{Store: s, Repo: repo, Name: "web"}, helm.Index{Store: s, Repo: repo}} {
		texts := []string{f.Key(), f.Place(), f.URL(), f.Server(), fmt.Sprintf("%v %+v %#v", f, f, f), fmt.Sprintf("%v %+v %#v", repo, repo, repo), fmt.Sprint(slog.AnyValue(repo).Resolve())}
		for name, answer := range map[string]http.HandlerFunc{
			"401": func(w http.ResponseWriter, q *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, "canary-body")
			},
			"echo": func(w http.ResponseWriter, q *http.Request) { fmt.Fprintf(w, "<%v canary-body>", q.Header) },
			"yaml": func(w http.ResponseWriter, q *http.Request) { io.WriteString(w, "canary-pass: [canary-query") },
			"away": func(w http.ResponseWriter, q *http.Request) {
				http.Redirect(w, q, "http://ada:canary-pass@host.example/?canary-query", http.StatusFound)
			},
			"hung": func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
			"gone": func(w http.ResponseWriter, q *http.Request) { panic(http.ErrAbortHandler) },
			"good": func(w http.ResponseWriter, q *http.Request) {
				io.WriteString(w, indexOf(listing{"canary-pass", "1.0.0", "x", ""}))
			},
		} {
			r.set(func() { r.instead = answer })
			_, _, err := try(t, f)
			if err == nil && name != "good" {
				t.Errorf("%s: no error", name)
			}
			texts = append(texts, fmt.Sprintf("%v %+v", err, err))
			_, err = f.Open(source.Revision{Name: "canary"[:3]})
			texts = append(texts, fmt.Sprint(err))
		}
		for _, text := range texts {
			if strings.Contains(text, "canary") {
				t.Error(text)
			}
		}
	}
}

func TestA06WhatAServerSendsIsBounded(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", some})
	c := helm.Chart{Store: newStore(t, helm.Options{MaxIndexBytes: 100_000, MaxChartBytes: 100_000}), Repo: helm.Repository{URL: r.url()}, Name: "web"}
	rev, _ := get(t, c)
	endless := func(w http.ResponseWriter, q *http.Request) {
		for q.Context().Err() == nil {
			w.Write([]byte("# " + strings.Repeat("x", 1000) + "\n"))
		}
	}
	r.set(func() { r.instead = endless })
	_, _, err := try(t, c)
	wantFault(t, err, fault.Retry, web.ReasonTooLarge)
	r.set(func() {
		r.instead = func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zip(bytes.Repeat([]byte("#\n"), 100_000)))
		}
	})
	_, _, err = try(t, c)
	wantFault(t, err, fault.Retry, web.ReasonTooLarge)
	index := r.index
	r.set(func() {
		r.index = strings.ReplaceAll(index, "1.0.0", "2.0.0")
		r.instead = func(w http.ResponseWriter, q *http.Request) {
			if strings.HasSuffix(q.URL.Path, ".tgz") {
				endless(w, q)
				return
			}
			io.WriteString(w, r.index)
		}
	})
	_, _, err = try(t, c)
	f := wantFault(t, err, fault.Retry, web.ReasonTooLarge)
	if !strings.Contains(f.Error(), "2.0.0") {
		t.Errorf("it is not said of what: %v", f)
	}
	if _, err := c.Open(rev); err != nil {
		t.Errorf("what was there: %v", err)
	}
}

func TestA13ChartsThatAreNotWhatTheyShouldBeAreRefused(t *testing.T) {
	r := newRepository(t)
	s := newStore(t, helm.Options{})
	c := helm.Chart{Store: s, Repo: helm.Repository{URL: r.url()}, Name: "web"}
	r.publish(published{"web", "1.0.0", some})
	good, _ := get(t, c)
	for name, f := range map[string]struct {
		files  map[string]string
		next   fault.Next
		reason fault.Reason
	}{
		"another name":       {map[string]string{"web/Chart.yaml": "name: other\nversion: 2.0.0\n"}, fault.Stall, helm.ReasonInvalidChart},
		"a name that is up":  {map[string]string{"web/Chart.yaml": "name: ..\nversion: 2.0.0\n"}, fault.Stall, helm.ReasonInvalidChart},
		"no name":            {map[string]string{"web/Chart.yaml": "version: 2.0.0\n"}, fault.Stall, helm.ReasonInvalidChart},
		"another version":    {map[string]string{"web/Chart.yaml": "name: web\nversion: 2.0.1\n"}, fault.Stall, helm.ReasonInvalidChart},
		"nothing":            {map[string]string{"web/Chart.yaml": ""}, fault.Stall, helm.ReasonInvalidChart},
		"null":               {map[string]string{"web/Chart.yaml": "null"}, fault.Stall, helm.ReasonInvalidChart},
		"a list":             {map[string]string{"web/Chart.yaml": "[null]"}, fault.Stall, helm.ReasonInvalidChart},
		"a name that is one": {map[string]string{"web/Chart.yaml": "name: [web]\nversion: 2.0.0\n"}, fault.Stall, helm.ReasonInvalidChart},
		"keys twice":         {map[string]string{"web/Chart.yaml": "name: web\nversion: 2.0.0\nname: web\n"}, fault.Stall, helm.ReasonInvalidChart},
		"no YAML":            {map[string]string{"web/Chart.yaml": "{"}, fault.Stall, helm.ReasonInvalidChart},
		"no Chart.yaml":      {map[string]string{"web/values.yaml": "x"}, fault.Stall, helm.ReasonInvalidChart},
		"a huge one":         {map[string]string{"web/Chart.yaml": "name: web\nversion: 2.0.0\n" + strings.Repeat("#", 2<<20)}, fault.Retry, archive.ReasonTooLarge},
		"two directories":    {map[string]string{"web/Chart.yaml": "name: web\nversion: 2.0.0\n", "x/y": ""}, fault.Stall, archive.ReasonUnsafeArchive},
		"no directory":       {map[string]string{"Chart.yaml": "name: web\nversion: 2.0.0\n"}, fault.Stall, archive.ReasonUnsafeArchive},
		"a name out of it":   {map[string]string{"web/Chart.yaml": "name: web\nversion: 2.0.0\n", "web/../../x": ""}, fault.Stall, archive.ReasonUnsafeArchive},
	} {
		t.Run(name, func(t *testing.T) {
			b := pack(f.files)
			r.set(func() {
				r.archives["/charts/2.tgz"] = b
				r.index = indexOf(listing{"web", "2.0.0", "2.tgz", digest(b)})
			})
			_, _, err := try(t, c)
			if got := wantFault(t, err, f.next, f.reason); !strings.Contains(got.Error(), "web 2.0.0") || got.Next == fault.Stall && got.Hint == "" {
				t.Errorf("it says %v", got)
			}
			if _, err := c.Open(good); err != nil {
				t.Errorf("what was there: %v", err)
			}
			if _, err := c.Open(source.Revision{Name: "2.0.0"}); !fault.Is(err, helm.ReasonNotFetched) {
				t.Errorf("it was kept: %v", err)
			}
		})
	}
	for name, digest := range map[string]string{"of another": strings.Repeat("ab", 32), "of none": "abc", "of another kind": "sha512:" + strings.Repeat("ab", 64)} {
		t.Run("the digest "+name, func(t *testing.T) {
			b := chart("web", "2.0.0", some)
			r.set(func() { r.archives["/charts/2.tgz"] = b; r.index = indexOf(listing{"web", "2.0.0", "2.tgz", digest}) })
			_, _, err := try(t, c)
			wantFault(t, err, fault.Retry, map[bool]fault.Reason{true: helm.ReasonCorrupt, false: helm.ReasonInvalidIndex}[name == "of another"])
		})
	}
	b := chart("web", "2.0.0", some)
	r.set(func() {
		r.archives["/charts/2.tgz"] = b
		r.index = indexOf(listing{"web", "2.0.0", "2.tgz", "sha256:" + strings.ToUpper(digest(b))})
	})
	get(t, c)
}

func TestA15AMachinesKeepersAreNotAsked(t *testing.T) {
	r := newRepository(t)
	r.set(func() { r.index = indexOf(listing{"web", "1.0.0", "http://169.254.169.254/latest/web.tgz", ""}) })
	s := newStore(t, helm.Options{})
	_, _, err := try(t, helm.Chart{Store: s, Repo: helm.Repository{URL: r.url()}, Name: "web"})
	wantFault(t, err, fault.Retry, web.ReasonAddressRefused)
	_, _, err = try(t, helm.Chart{Store: s, Repo: helm.Repository{URL: "http://[::ffff:169.254.169.254]/"}, Name: "web"})
	wantFault(t, err, fault.Retry, web.ReasonAddressRefused)
}

func TestAnIndexIsASourceToo(t *testing.T) {
	r := newRepository(t)
	r.publish(published{"web", "1.0.0", some})
	dir := t.TempDir()
	files, err := archive.Open(dir, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s := helm.NewStore(files, helm.Options{})
	repo := helm.Repository{URL: r.url()}
	x := helm.Index{Store: s, Repo: repo}
	rev, c := get(t, x)
	first := r.index
	if rev.Name != "sha256:"+digest([]byte(first)) || content(t, c, helm.IndexFile) != first {
		t.Errorf("%s is %s", rev.Name, content(t, c, helm.IndexFile))
	}
	if again, _ := get(t, x); again.Name != rev.Name {
		t.Errorf("then it is %s", again.Name)
	}
	// What a chart has learned is no other index.
	get(t, helm.Chart{Store: s, Repo: repo, Name: "web"})
	if requests, _ := r.taken(); fmt.Sprint(requests) != "[/charts/index.yaml 200 /charts/index.yaml 304 /charts/index.yaml 304 /charts/web-1.0.0.tgz 200]" {
		t.Errorf("asked for %v", requests)
	}
	// A chart has asked before, and did not keep it.
	r.publish(published{"web", "2.0.0", some})
	get(t, helm.Chart{Store: s, Repo: repo, Name: "web"})
	next, c := get(t, x)
	if next.Name == rev.Name || content(t, c, helm.IndexFile) != r.index {
		t.Errorf("%s is %s", next.Name, content(t, c, helm.IndexFile))
	}
	for _, r := range []source.Revision{rev, {Name: next.Name}} {
		if _, err := x.Open(r); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	bob := x
	bob.Repo.Credentials.Username = "bob"
	if _, err := bob.Open(rev); !fault.Is(err, helm.ReasonNotFetched) {
		t.Errorf("%v", err)
	}
	r.set(func() { r.admit = "x" })
	_, err = bob.Fetch(t.Context(), next)
	wantFault(t, err, fault.Retry, web.ReasonAuthFailed)
	r.set(func() { r.admit = "" })
	r.publish(published{"web", "3.0.0", some})
	_, err = bob.Fetch(t.Context(), next)
	wantFault(t, err, fault.Retry, helm.ReasonCorrupt)
	files.Close()
	files, err = archive.Open(dir, archive.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	x.Store = helm.NewStore(files, helm.Options{})
	if c, err := x.Open(source.Revision{Name: rev.Name}); err != nil || content(t, c, helm.IndexFile) != first || tree.RootID(c.Tree) == "" {
		t.Errorf("after a restart: %v", err)
	}
	if x.Place() == (helm.Chart{Store: x.Store, Repo: repo, Name: ""}).Place() {
		t.Error("an index and a chart are kept at one place")
	}
}

func TestAKeyIsThatOfAQuestion(t *testing.T) {
	s := newStore(t, helm.Options{})
	base := helm.Chart{Store: s, Repo: helm.Repository{URL: "https://host.example/charts"}, Name: "web", Version: "1.x"}
	for name, change := range map[string]func(*helm.Chart){
		"another address":   func(c *helm.Chart) { c.Repo.URL += "2" },
		"another chart":     func(c *helm.Chart) { c.Name = "other" },
		"another range":     func(c *helm.Chart) { c.Version = "2.x" },
		"a user":            func(c *helm.Chart) { c.Repo.Credentials.Username = "ada" },
		"a token":           func(c *helm.Chart) { c.Repo.Credentials.BearerToken = "t" },
		"a CA":              func(c *helm.Chart) { c.Repo.TLS.CA = []byte("t") },
		"no checks":         func(c *helm.Chart) { c.Repo.TLS.Insecure = true },
		"a proxy":           func(c *helm.Chart) { c.Repo.Proxy.URL = "http://proxy" },
		"all are shown it":  func(c *helm.Chart) { c.Repo.PassCredentials = true },
		"more patience":     func(c *helm.Chart) { c.Repo.Timeout = 1 },
		"a user in the URL": func(c *helm.Chart) { c.Repo.URL = "https://ada@host.example/charts" },
	} {
		other := base
		change(&other)
		if other.Key() == base.Key() {
			t.Errorf("%s is the same question", name)
		}
	}
	same := base
	same.Repo.URL = "https://ada:secret@host.example/charts/"
	same.Version = "2.x"
	if same.Place() != base.Place() {
		t.Error("a password in the address, or another range, is another place")
	}
	if base.Server() != "host.example" || base.URL() != "https://host.example/charts" {
		t.Errorf("it is %s at %s", base.URL(), base.Server())
	}
}
