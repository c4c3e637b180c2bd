package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

const (
	uploadPack = "git-upload-pack"
	infoRefs   = "/info/refs"
)

// newHTTPClient returns a client for one remote.
func newHTTPClient(r Remote, dial web.DialFunc) (*http.Client, error) {
	return web.NewClient(web.Options{TLS: r.Auth.tls(), Proxy: r.Proxy, Dial: dial, Redirect: checkRedirect})
}

// checkRedirect lets a server send us on within itself, at the start of a
// conversation.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet {
		return web.Redirected(req, "in the middle of a conversation")
	}
	if err := web.Within(req, via); err != nil {
		return err
	}
	if !strings.HasSuffix(req.URL.Path, infoRefs) {
		return web.Redirected(req, "which is not a Git repository")
	}
	return nil
}

// An httpWire speaks Git's smart HTTP protocol.
type httpWire struct {
	client *http.Client
	remote Remote
	base   *url.URL // without credentials; moves with a redirect
	pulse  *web.Pulse

	user, password string
}

func newHTTPWire(client *http.Client, r Remote, u *url.URL, p *web.Pulse) *httpWire {
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
	web.Credentials{Username: w.user, Password: w.password, BearerToken: w.remote.Auth.BearerToken}.Authorize(req)
	resp, err := w.pulse.Do(w.client, req)
	if fault.Is(err, web.ReasonNotFound) {
		f := *fault.Of(err)
		f.Reason = ReasonNotFound
		return nil, &f
	}
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
		resp.Body.Close()
		what := "a " + web.OneLine(got, 60) + " answer"
		if got == "" {
			what = "an answer of no type"
		}
		return nil, &fault.Error{
			Next: fault.Retry, Reason: ReasonNotAGitServer, Err: fmt.Errorf("%s instead of Git's protocol", what),
			Hint: "check that the URL is the repository's, and not a web page or a proxy's login",
		}
	}
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
