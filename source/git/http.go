package git

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"plumb.dev/plumb/fault"
)

const (
	uploadPack = "git-upload-pack"
	infoRefs   = "/info/refs"
)

// dialFunc opens a connection, or refuses to.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// newHTTPClient returns a client for one remote. It keeps connections, so that
// polling costs no handshake.
func newHTTPClient(r Remote, dial dialFunc) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(r.Auth.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(r.Auth.CA) {
			return nil, failure(ReasonInvalidAuth, "the CA holds no certificate in PEM")
		}
		conf.RootCAs = pool
	}
	if len(r.Auth.ClientCert) > 0 || len(r.Auth.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(r.Auth.ClientCert, r.Auth.ClientKey)
		if err != nil {
			return nil, failure(ReasonInvalidAuth, "the client certificate and key cannot be used")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	proxy := http.ProxyFromEnvironment
	if r.Proxy.URL != "" {
		u, err := r.Proxy.parse()
		if err != nil {
			return nil, err
		}
		proxy = http.ProxyURL(u)
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  proxy,
			DialContext:            dial,
			TLSClientConfig:        conf,
			TLSHandshakeTimeout:    15 * time.Second,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxHead,
			DisableCompression:     true, // packs are compressed, and a small answer must not unfold
		},
		CheckRedirect: checkRedirect,
	}, nil
}

func (p Proxy) parse() (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" {
		return nil, invalidURL("the proxy's address is not a URL")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, invalidURL("the proxy %s://%s is not http, https or socks5", u.Scheme, u.Host)
	}
	if p.Username != "" || p.Password != "" {
		u.User = url.UserPassword(p.Username, p.Password)
	}
	return u, nil
}

// checkRedirect lets a server send us on within itself. Whoever could be sent
// elsewhere could be made to show credentials there, or to ask internal
// services on a tenant's behalf.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, req.URL
	refuse := func(why string) error {
		return &fault.Error{
			Next: fault.Retry, Reason: ReasonRedirectRefused, Hint: "set the URL to where the repository is",
			Err: fmt.Errorf("redirected to %s://%s, %s", oneLine(to.Scheme, 20), oneLine(to.Host, 200), why),
		}
	}
	switch {
	case len(via) > 4:
		return refuse("after four redirects")
	case via[0].Method != http.MethodGet:
		return refuse("in the middle of a conversation")
	case from.Scheme == "https" && to.Scheme != "https":
		return refuse("which gives up TLS")
	case to.Scheme != "http" && to.Scheme != "https":
		return refuse("which is not http or https")
	case to.User != nil:
		return refuse("with credentials in the address")
	case !strings.EqualFold(from.Hostname(), to.Hostname()):
		return refuse("which is another host")
	case portOf(from) != portOf(to) && (portOf(from) != "80" || portOf(to) != "443"):
		return refuse("which is another port")
	case !strings.HasSuffix(to.Path, infoRefs):
		return refuse("which is not a Git repository")
	}
	return nil
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// An httpWire speaks Git's smart HTTP protocol.
type httpWire struct {
	client *http.Client
	remote Remote
	base   *url.URL // without credentials; moves with a redirect
	pulse  *pulse

	user, password string
}

func newHTTPWire(client *http.Client, r Remote, u *url.URL, p *pulse) *httpWire {
	w := &httpWire{client: client, remote: r, pulse: p}
	w.user, w.password = r.credentials(u)
	base := *u
	base.User = nil
	base.Path = strings.TrimRight(base.Path, "/")
	base.RawPath = strings.TrimRight(base.RawPath, "/")
	w.base = &base
	return w
}

func (w *httpWire) close() {}

func (w *httpWire) do(ctx context.Context, method, suffix, query, want string, body []byte) (*http.Response, error) {
	u := *w.base
	u.Path += suffix
	if u.RawPath != "" {
		u.RawPath += suffix
	}
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/2 ("+agent+")") // some servers talk only to what calls itself git
	req.Header.Set("Git-Protocol", "version=2")
	req.Header.Set("Accept", want)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-"+uploadPack+"-request")
	}
	switch {
	case w.remote.Auth.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+w.remote.Auth.BearerToken)
	case w.user != "" || w.password != "":
		req.SetBasicAuth(w.user, w.password)
	}
	var resp *http.Response
	w.pulse.asked()
	w.pulse.watch(func() { resp, err = w.client.Do(req) }) //nolint:bodyclose // closed below or by whoever reads it
	if err != nil {
		return nil, err
	}
	if err := httpError(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
		resp.Body.Close()
		what := "a " + oneLine(got, 60) + " answer"
		if got == "" {
			what = "an answer of no type"
		}
		return nil, &fault.Error{
			Next: fault.Retry, Reason: ReasonNotAGitServer, Err: fmt.Errorf("%s instead of Git's protocol", what),
			Hint: "check that the URL is the repository's, and not a web page or a proxy's login",
		}
	}
	resp.Body = pulsed{resp.Body, w.pulse}
	return resp, nil
}

func (w *httpWire) open(ctx context.Context) (io.ReadCloser, error) {
	resp, err := w.do(ctx, http.MethodGet, infoRefs, "service="+uploadPack, "application/x-"+uploadPack+"-advertisement", nil)
	if err != nil {
		return nil, err
	}
	if at := resp.Request.URL; at.Path != w.base.Path+infoRefs || at.Host != w.base.Host || at.Scheme != w.base.Scheme {
		base := *at
		base.RawQuery, base.Fragment, base.RawPath = "", "", ""
		base.Path = strings.TrimSuffix(base.Path, infoRefs)
		w.base = &base
	}
	return resp.Body, nil
}

func (w *httpWire) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	resp, err := w.do(ctx, http.MethodPost, "/"+uploadPack, "", "application/x-"+uploadPack+"-result", request)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// httpError says what a status means. The body is never looked at: it may be
// long, and may hold what we sent.
func httpError(resp *http.Response) error {
	code := resp.StatusCode
	after := retryAfter(resp.Header.Get("Retry-After"))
	status := fmt.Sprintf("the server answers %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusOK:
		return nil
	case code == http.StatusTooManyRequests, after > 0 && (code == http.StatusServiceUnavailable || code == http.StatusForbidden):
		// github.com answers 403 to who asks too often.
		f := failure(ReasonRateLimited, "%s", status)
		f.After = after
		return f
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return failure(ReasonAuthFailed, "%s", status)
	case code == http.StatusNotFound, code == http.StatusGone:
		return failure(ReasonNotFound, "%s", status)
	case code == http.StatusProxyAuthRequired:
		return failure(ReasonAuthFailed, "the proxy answers %d %s", code, http.StatusText(code))
	case code >= 300 && code < 400:
		return failure(ReasonRedirectRefused, "%s", status)
	}
	return failure(ReasonServerError, "%s", status)
}

func retryAfter(s string) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		d = time.Duration(min(n, int(maxAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), maxAfter)
}
