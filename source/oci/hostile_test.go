package oci_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/ocitest"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/web"
)

func TestWhatWasResolvedIsWhatIsUnpacked(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "latest", ocitest.Files(files))
	f := at(t, s, oci.Ref{})
	r, err := f.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Push(t, repository, "latest", ocitest.Files(map[string]string{"evil": ""}))
	c, err := f.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, c, files)
}

func TestWhatIsNotWhatItIsSaidToBe(t *testing.T) {
	s := ocitest.New(t)
	layer := ocitest.Tar(files)
	good := s.Push(t, repository, "latest", ocitest.Files(files))
	blob := s.PutBlob(t, repository, layer)
	manifest := func(change func(m map[string]any)) func() string {
		return func() string {
			m := map[string]any{
				"schemaVersion": 2, "mediaType": ocitest.Manifest,
				"layers": []any{map[string]any{"mediaType": ocitest.TarGzip, "digest": blob, "size": len(layer)}},
			}
			change(m)
			return s.PutManifest(t, repository, "", ocitest.Manifest, ocitest.JSON(t, m))
		}
	}
	described := func(key string, value any) func() string {
		return manifest(func(m map[string]any) { m["layers"].([]any)[0].(map[string]any)[key] = value })
	}
	as := func(mediaType, body string) func() string {
		return func() string { return s.PutManifest(t, repository, "", mediaType, []byte(body)) }
	}
	is := func() string { return good }
	flip := ocitest.Change(func(b []byte) []byte { b[10] ^= 1; return b })
	for name, c := range map[string]struct {
		digest func() string
		fault  ocitest.Fault
		reason fault.Reason
		says   string
	}{
		"a manifest with another content": {is, ocitest.At("/manifests/", flip), archive.ReasonCorrupt, "was sent with another content"},
		"a layer with another content":    {is, ocitest.At("/blobs/", flip), archive.ReasonCorrupt, "the layer " + blob + " was sent with another content"},
		"a web page for a manifest":       {is, page, archive.ReasonCorrupt, "was sent with another content"},
		"a layer that is longer":          {described("size", len(layer)-1), nil, "", ""},
		"a layer that is shorter":         {described("size", len(layer)+1), nil, "", ""},
		"a layer of a negative size":      {described("size", -1), nil, web.ReasonTooLarge, ""},
		"a layer of any size":             {described("size", int64(1)<<40), nil, web.ReasonTooLarge, "the layer has more than 1024 MiB"},
		"a layer of another sum":          {described("digest", "md5:abc"), nil, oci.ReasonInvalidArtifact, "is no SHA-256"},
		"a layer whose digest is a path":  {described("digest", "../../x"), nil, oci.ReasonInvalidArtifact, "is no SHA-256"},
		"a layer that is gone":            {described("digest", "sha256:"+strings.Repeat("0", 64)), nil, oci.ReasonReferenceNotFound, "is gone"},
		"a layer that is a manifest": {manifest(func(m map[string]any) {
			m["layers"].([]any)[0] = map[string]any{"mediaType": ocitest.Manifest, "digest": good, "size": 1}
		}), nil, oci.ReasonReferenceNotFound, "is gone"},
		"a manifest that is an index too": {manifest(func(m map[string]any) { m["manifests"] = []any{} }), nil, oci.ReasonInvalidArtifact, "could be read as an index too"},
		"an index sent as a manifest":     {manifest(func(m map[string]any) { m["mediaType"] = ocitest.Index }), nil, oci.ReasonInvalidArtifact, "was sent as"},
		"an index that is a manifest too": {as(ocitest.Index, `{"mediaType":"`+ocitest.Index+`","manifests":[],"layers":[]}`), nil, oci.ReasonInvalidArtifact, "could be read as a manifest too"},
		"nothing that is known":           {as("application/vnd.docker.distribution.manifest.v1+json", `{"fsLayers":[]}`), nil, oci.ReasonInvalidArtifact, "is no manifest"},
		"no JSON":                         {as(ocitest.Manifest, "[["), nil, oci.ReasonInvalidArtifact, "is no JSON"},
		"null":                            {as(ocitest.Manifest, "null"), nil, oci.ReasonInvalidArtifact, "no layers"},
		"layers that are null":            {as(ocitest.Manifest, `{"layers":[null,null]}`), nil, oci.ReasonInvalidArtifact, "is no SHA-256"},
		"layers of another form":          {as(ocitest.Manifest, `{"layers":{"a":1}}`), nil, oci.ReasonInvalidArtifact, "fields"},
		"a manifest that is too long":     {as(ocitest.Manifest, `{"layers":[],"x":"`+strings.Repeat("x", 4<<20)+`"}`), nil, web.ReasonTooLarge, "the manifest has more than 4 MiB"},
		"an endless manifest":             {is, endless("/manifests/", ocitest.Manifest), web.ReasonTooLarge, "the manifest has more than 4 MiB"},
		"an endless layer":                {is, endless("/blobs/", ""), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := at(t, s, oci.Ref{Digest: c.digest()})
			r, err := f.Resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.Fail(c.fault)
			defer s.Fail(nil)
			_, err = f.Fetch(t.Context(), r)
			if c.reason == "" { // of the network, or of what is beyond the end
				if err == nil || fault.Of(err).Next != fault.Retry {
					t.Errorf("got %v", err)
				}
				return
			}
			wantFault(t, err, fault.Retry, c.reason, c.says)
		})
	}
}

// page answers with a login page, as proxies do.
func page(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html><title>Please log in</title>")
	return true
}

// endless sends for ever.
func endless(part, contentType string) ocitest.Fault {
	return ocitest.At(part, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", contentType)
		b := []byte(strings.Repeat(" ", 64<<10))
		for r.Context().Err() == nil {
			if _, err := w.Write(b); err != nil {
				break
			}
		}
		return true
	})
}

func TestARegistryWithMoreTagsThanAnybodyHas(t *testing.T) {
	s := ocitest.New(t)
	digest := s.Push(t, repository, "1.999.7", ocitest.Files(files))
	pages, size := 0, 0
	var asked atomic.Int64
	s.Fail(ocitest.At("/tags/list", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		n := int(asked.Add(1))
		var tags []string
		for i := range size {
			tags = append(tags, fmt.Sprintf("1.%d.%d", n, i))
		}
		if n == 2 {
			tags = append(tags, "1.999.7")
		}
		if n < pages {
			w.Header().Set("Link", fmt.Sprintf("</v2/%s/tags/list?last=%d>; rel=next", repository, n))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": tags})
		return true
	}))
	for name, c := range map[string]struct {
		pages, size int
		says        string
	}{
		"many, in pages":                {90, 1000, ""},
		"too many, in pages":            {102, 1000, "it has more than 100000 tags (give a tag or a digest"},
		"too many, in one page":         {1, 100_001, "it has more than 100000 tags"},
		"a page that is too long":       {1, 2_000_000, "the list of tags has more than 16 MiB"},
		"pages without an end":          {1 << 30, 0, "it has more than 100000 tags"},
		"a page that leads to a server": {2, 10, ""},
	} {
		asked.Store(0)
		pages, size = c.pages, c.size
		r, err := at(t, s, oci.Ref{SemVer: "1.x"}).Resolve(t.Context())
		if c.says == "" {
			if err != nil || r.Name != "1.999.7@"+digest {
				t.Errorf("%s: %q, %v", name, r.Name, err)
			}
			continue
		}
		if !fault.Is(err, web.ReasonTooLarge) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	s.Fail(ocitest.At("/tags/list", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Link", "<"+other.URL+"/v2/x/tags/list>; rel=next")
		fmt.Fprint(w, `{"tags":["1.0.0"]}`)
		return true
	}))
	if _, err := at(t, s, oci.Ref{SemVer: "1.x"}).Resolve(t.Context()); err == nil || fault.Of(err).Next != fault.Retry || elsewhere.Load() > 0 {
		t.Errorf("a page of another server: %v, %d requests there", err, elsewhere.Load())
	}
	s.Fail(ocitest.At("/tags/list", page))
	_, err := at(t, s, oci.Ref{SemVer: "1.x"}).Resolve(t.Context())
	wantFault(t, err, fault.Retry, archive.ReasonCorrupt, "the list of tags is not what it should be")
}

func TestWhatARegistryAnswers(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "latest", ocitest.Files(files))
	for name, c := range map[string]struct {
		fault  ocitest.Fault
		reason fault.Reason
		says   string
	}{
		"401":                 {ocitest.Status(401), web.ReasonAuthFailed, "401 Unauthorized"},
		"401 with a question": {ocitest.Status(401, "WWW-Authenticate", `Basic realm="x"`), web.ReasonAuthFailed, "asks for a user and password"},
		"403":                 {ocitest.Status(403), web.ReasonAuthFailed, "403 Forbidden"},
		"404":                 {ocitest.Status(404), oci.ReasonReferenceNotFound, "there is no latest"},
		"429":                 {ocitest.Status(429, "Retry-After", "90"), web.ReasonRateLimited, "429"},
		"500":                 {ocitest.Status(500), web.ReasonServerError, "500"},
		"503":                 {ocitest.Status(503), web.ReasonServerError, "503"},
		"302 to nowhere":      {ocitest.Status(302), web.ReasonRedirectRefused, "302 Found"},
	} {
		s.Fail(c.fault)
		_, err := at(t, s, oci.Ref{}).Resolve(t.Context())
		wantFault(t, err, fault.Retry, c.reason, c.says)
		if err != nil && !strings.HasPrefix(err.Error(), "resolve oci://"+s.Host()+"/"+repository+": ") {
			t.Errorf("%s: it does not say where: %v", name, err)
		}
		if f := fault.Of(err); name == "429" && f.After != 90*time.Second {
			t.Errorf("it says to wait %s", f.After)
		}
	}
	s.Fail(ocitest.Hang())
	f := at(t, s, oci.Ref{})
	f.Remote.Timeout = 200 * time.Millisecond
	_, err := f.Resolve(t.Context())
	wantFault(t, err, fault.Retry, web.ReasonTimeout, "the timeout has passed")
}

func TestWhoIsShownCredentials(t *testing.T) {
	const secret = "canary-pass-9"
	login := oci.Auth{Username: "ada", Password: secret}
	shown := "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+secret))

	// another is a server that nobody has given the password for.
	var got []http.Header
	another := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		_, _ = w.Write(ocitest.Tar(files))
	}))
	defer another.Close()

	t.Run("a redirect of a layer carries none", func(t *testing.T) {
		s := ocitest.New(t)
		s.RequireBasic("ada", secret)
		s.Push(t, repository, "latest", ocitest.Files(files))
		got = nil
		s.Fail(ocitest.At("/blobs/", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			http.Redirect(w, r, another.URL+"/cdn", http.StatusTemporaryRedirect)
			return true
		}))
		f := at(t, s, oci.Ref{})
		f.Remote.Auth = login
		_, c := get(t, f)
		holds(t, c, files)
		if len(got) != 1 || got[0].Get("Authorization") != "" {
			t.Errorf("it was asked %d times, with %v", len(got), got)
		}
	})
	t.Run("a redirect never gives up TLS", func(t *testing.T) {
		s := ocitest.NewTLS(t, nil)
		s.Push(t, repository, "latest", ocitest.Files(files))
		got = nil
		s.Fail(ocitest.At("/blobs/", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			http.Redirect(w, r, another.URL+"/cdn", http.StatusTemporaryRedirect)
			return true
		}))
		f := at(t, s, oci.Ref{})
		f.Remote.TLS.CA = s.CA()
		_, _, err := try(t.Context(), f)
		wantFault(t, err, fault.Retry, web.ReasonRedirectRefused, "which gives up TLS")
		if len(got) != 0 {
			t.Error("it was asked all the same")
		}
	})
	t.Run("a realm is", func(t *testing.T) {
		s := ocitest.New(t)
		s.RequireToken("ada", secret, "")
		s.Push(t, repository, "latest", ocitest.Files(files))
		f := at(t, s, oci.Ref{})
		f.Remote.Auth = login
		get(t, f)
		tokens := 0
		for _, r := range s.Requests() {
			if basic := r.Header.Get("Authorization") == shown; basic != (r.Path == "/token") {
				t.Errorf("%s is shown %q", r.Path, r.Header.Get("Authorization"))
			}
			if r.Path == "/token" {
				tokens++
			}
		}
		if tokens != 1 {
			t.Errorf("%d tokens were asked for", tokens)
		}
		s.Reset()
		get(t, f)
		for _, r := range s.Requests() {
			if r.Path == "/token" {
				t.Error("the next conversation asks for another token")
			}
		}
	})
	for name, realm := range map[string]string{
		"the metadata of a cloud is not": "http://169.254.169.254/token",
		"a name for it is not":           "http://[::ffff:169.254.169.254]/token",
		"this machine is not":            strings.Replace(another.URL, "127.0.0.1", "localhost", 1) + "/token",
		"a file is not":                  "file:///etc/passwd",
	} {
		t.Run(name, func(t *testing.T) {
			s := ocitest.New(t)
			s.Push(t, repository, "latest", ocitest.Files(files))
			s.RequireToken("ada", secret, realm)
			got = nil
			f := at(t, s, oci.Ref{})
			f.Remote.Auth = login
			_, _, err := try(t.Context(), f)
			wantFault(t, err, fault.Retry, web.ReasonAuthFailed, "realm")
			if len(got) != 0 {
				t.Errorf("it was asked, with %v", got)
			}
		})
	}
	t.Run("a realm without TLS is not, of a registry with", func(t *testing.T) {
		s := ocitest.NewTLS(t, nil)
		s.Push(t, repository, "latest", ocitest.Files(files))
		s.RequireToken("ada", secret, another.URL+"/token")
		got = nil
		f := at(t, s, oci.Ref{})
		f.Remote.Auth, f.Remote.TLS.CA = login, s.CA()
		_, _, err := try(t.Context(), f)
		wantFault(t, err, fault.Retry, web.ReasonAuthFailed, "registry was contacted over https")
		if len(got) != 0 {
			t.Errorf("it was asked, with %v", got)
		}
	})
	t.Run("a layer at the metadata of a cloud is not fetched", func(t *testing.T) {
		s := ocitest.New(t)
		s.Push(t, repository, "latest", ocitest.Files(files))
		s.Fail(ocitest.At("/blobs/", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
			return true
		}))
		_, _, err := try(t.Context(), at(t, s, oci.Ref{}))
		wantFault(t, err, fault.Retry, web.ReasonAddressRefused, "169.254.169.254")
	})
}

func TestADockerConfig(t *testing.T) {
	s := ocitest.New(t)
	s.Push(t, repository, "latest", ocitest.Files(files))
	s.RequireBasic("ada", "right-pass")
	port := s.Host()[strings.LastIndex(s.Host(), ":"):]
	entry := func(password string) map[string]string {
		return map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("ada:" + password))}
	}
	config := func(auths map[string]any) []byte { return ocitest.JSON(t, map[string]any{"auths": auths}) }
	for name, c := range map[string]struct {
		configs [][]byte
		reason  fault.Reason // of an error
	}{
		"of the host":                        {[][]byte{config(map[string]any{s.Host(): entry("right-pass")})}, ""},
		"with a scheme and version":          {[][]byte{config(map[string]any{"http://" + s.Host() + "/v1/": entry("right-pass")})}, ""},
		"in two fields":                      {[][]byte{config(map[string]any{s.Host(): map[string]string{"username": "ada", "password": "right-pass"}})}, ""},
		"of the path, before the host":       {[][]byte{config(map[string]any{s.Host(): entry("wrong-pass"), s.Host() + "/team": entry("right-pass")})}, ""},
		"of a longer path, before a shorter": {[][]byte{config(map[string]any{s.Host() + "/team": entry("wrong-pass"), s.Host() + "/team/app": entry("right-pass")})}, ""},
		"of a pattern":                       {[][]byte{config(map[string]any{"127.*.0.1" + port: entry("right-pass")})}, ""},
		"of the host, before a pattern":      {[][]byte{config(map[string]any{"127.*.0.1" + port: entry("wrong-pass"), s.Host(): entry("right-pass")})}, ""},
		"of several":                         {[][]byte{config(map[string]any{"other": entry("x")}), config(map[string]any{s.Host(): entry("right-pass")})}, ""},
		"of another path":                    {[][]byte{config(map[string]any{s.Host() + "/te": entry("right-pass")})}, web.ReasonAuthFailed},
		"of another host":                    {[][]byte{config(map[string]any{"other.example": entry("right-pass"), "*": entry("right-pass")})}, web.ReasonAuthFailed},
		"that is none":                       {[][]byte{[]byte("right-pass")}, web.ReasonInvalidAuth},
	} {
		f := at(t, s, oci.Ref{})
		f.Remote.Auth.DockerConfigs = c.configs
		_, _, err := try(t.Context(), f)
		if c.reason == "" && err != nil || c.reason != "" && !fault.Is(err, c.reason) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "right-pass") {
			t.Errorf("%s: the password is in %v", name, err)
		}
		if said := fmt.Sprintf("%v %+v %#v", f, f.Remote, f.Remote.Auth); strings.Contains(said, base64.StdEncoding.EncodeToString([]byte("ada:right-pass"))) {
			t.Errorf("%s: the password is in %s", name, said)
		}
	}
}

func TestCertificates(t *testing.T) {
	cert, key, pool := selfSigned(t)
	s := ocitest.NewTLS(t, pool)
	s.Push(t, repository, "latest", ocitest.Files(files))
	f := at(t, s, oci.Ref{})
	f.Remote.TLS = web.TLS{CA: s.CA(), ClientCert: cert, ClientKey: key}
	_, c := get(t, f)
	holds(t, c, files)

	f.Remote.TLS = web.TLS{CA: s.CA()}
	_, _, err := try(t.Context(), f)
	if err == nil || fault.Of(err).Next != fault.Retry { // why, a client of HTTP/2 does not always hear in time
		t.Errorf("without the client's: %v", err)
	}
	f.Remote.TLS = web.TLS{ClientCert: cert, ClientKey: key}
	_, _, err = try(t.Context(), f)
	wantFault(t, err, fault.Retry, web.ReasonCertificateInvalid, "")
	f.Remote.TLS = web.TLS{CA: []byte("x")}
	_, _, err = try(t.Context(), f)
	wantFault(t, err, fault.Retry, web.ReasonInvalidAuth, "no certificate in PEM")
}

func selfSigned(t *testing.T) (cert, key []byte, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	b, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), pool
}
