package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

// What a registry can make long.
const (
	maxManifest  = 4 << 20
	maxTagsPage  = 16 << 20
	maxTags      = 100_000
	maxPages     = 2_000
	maxLayerSize = 1 << 30
)

// Clients keep connections and logins between conversations, so that polling
// costs no handshake and no token. The zero value is empty. It is safe for
// concurrent use.
type Clients struct {
	pool web.Pool

	mu     sync.Mutex
	logins map[string]*login
}

// A login is what a registry has given to who asks.
type login struct {
	cache auth.Cache
	used  time.Time
}

// rest is how long a login is kept that nobody uses.
const rest = time.Hour

func (c *Clients) login(key string) auth.Cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, l := range c.logins {
		if time.Since(l.used) > rest {
			delete(c.logins, other)
		}
	}
	l := c.logins[key]
	if l == nil {
		if c.logins == nil {
			c.logins = make(map[string]*login)
		}
		l = &login{cache: auth.NewCache()}
		c.logins[key] = l
	}
	l.used = time.Now()
	return l.cache
}

// A client is one conversation with a registry about a repository.
type client struct {
	repo  *remote.Repository
	pulse *web.Pulse
}

// talk is what a conversation is explained by.
func (s Source) talk(doing string) web.Talk {
	return web.Talk{Doing: doing, With: s.Remote.String(), Secrets: s.Remote.secrets(), Timeout: s.Remote.timeout()}
}

func (s Source) explain(ctx context.Context, doing string, err error) error {
	return s.talk(doing).Explain(ctx, err)
}

func notResolved(name string) error {
	f := web.Failure(archive.ReasonNotFetched, "%s was not resolved", web.OneLine(name, 200))
	f.Hint = "resolve it first"
	return f
}

// converse runs a conversation with the registry.
func (s Source) converse(ctx context.Context, doing string, do func(context.Context, *client) error) error {
	return s.talk(doing).Run(ctx, func(ctx context.Context, p *web.Pulse) error {
		c, err := s.client(p)
		if err != nil {
			return err
		}
		return do(ctx, c)
	})
}

func (s Source) client(p *web.Pulse) (*client, error) {
	ref, err := s.Remote.parse()
	if err != nil {
		return nil, err
	}
	credential, err := s.Remote.credential(ref)
	if err != nil {
		return nil, err
	}
	clients := s.Clients
	if clients == nil {
		clients = new(Clients)
	}
	base := s.Remote.base(ref)
	key := s.Store.Key(append(s.Remote.access(), base.String())...)
	h, err := clients.pool.Get(key, func() (*http.Client, error) {
		return web.NewClient(web.Options{TLS: s.Remote.TLS, Proxy: s.Remote.Proxy, Home: base})
	})
	if err != nil {
		return nil, err
	}
	return &client{pulse: p, repo: &remote.Repository{
		Reference: ref,
		PlainHTTP: s.Remote.Insecure,
		Client: asker{p, &auth.Client{
			Client:     h,
			Header:     http.Header{"User-Agent": {"plumb"}},
			Cache:      clients.login(key),
			Credential: auth.StaticCredential(ref.Registry, credential),
			ClientID:   "plumb",
		}},
		TagListMaxPages:  maxPages,
		MaxMetadataBytes: maxTagsPage + 1, // what is longer ends before that, with an error that says so
	}}, nil
}

// An asker sends requests under watch, and makes a fault of what is refused.
type asker struct {
	pulse *web.Pulse
	auth  *auth.Client
}

// Do implements [remote.Client].
func (a asker) Do(req *http.Request) (*http.Response, error) {
	var resp *http.Response
	var err error
	a.pulse.Asked()
	a.pulse.Watch(func() { resp, err = a.auth.Do(req) }) //nolint:bodyclose // by whoever reads it
	if err != nil {
		return nil, loginError(err)
	}
	if err := web.Refusal(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = a.pulse.Body(resp.Body)
	if strings.HasSuffix(req.URL.Path, "/tags/list") {
		resp.Body = readCloser{web.AtMost(resp.Body, maxTagsPage, "the list of tags"), resp.Body}
	}
	return resp, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// loginError names the cause of an error of oras's login. What is no error of the
// network was found wrong with it there.
func loginError(err error) error {
	var status *errcode.ErrorResponse
	var network *url.Error
	switch {
	case errors.As(err, &status):
		return web.Refusal(&http.Response{StatusCode: status.StatusCode})
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		f := web.Failure(web.ReasonAuthFailed, "the registry asks for a user and password")
		f.Hint = "give it a Secret with them"
		return f
	case errors.As(err, &network):
		return err
	}
	return web.Failure(web.ReasonAuthFailed, "%s", web.OneLine(err.Error(), 300))
}

// resolve asks what a reference stands for.
func (c *client) resolve(ctx context.Context, w wanted, found *Found) error {
	if w.name != "" {
		d, err := c.head(ctx, w.name)
		if err == nil || !notFound(err) || w.versions == nil {
			return found.set(w, w.name, d, err)
		}
	}
	best := highest{wanted: w}
	n := 0
	err := c.repo.Tags(ctx, "", func(tags []string) error {
		if n += len(tags); n > maxTags {
			return tooManyTags()
		}
		for _, t := range tags {
			best.see(t)
		}
		return nil
	})
	switch {
	case errors.Is(err, errdef.ErrTooManyPages):
		return tooManyTags()
	case err != nil:
		return garbled(err, "the list of tags")
	case best.tag == "":
		return web.Failure(ReasonReferenceNotFound, "none of its %d tags is a version in the range %q", n, web.OneLine(w.text, 200))
	}
	d, err := c.head(ctx, best.tag)
	return found.set(w, best.tag, d, err)
}

func tooManyTags() error {
	f := web.Failure(web.ReasonTooLarge, "it has more than %d tags", maxTags)
	f.Hint = "give a tag or a digest in place of a range"
	return f
}

// set says what was found under a name.
func (f *Found) set(w wanted, name, digest string, err error) error {
	if err != nil {
		if notFound(err) {
			return web.Failure(ReasonReferenceNotFound, "there is no %s", web.OneLine(w.text, 200))
		}
		return err
	}
	f.Digest = digest
	if name != digest {
		f.Tag = name
	}
	if w.chart && f.Tag != "" {
		if _, ok := parseVersion(versionOf(name)); ok {
			f.Version = versionOf(name)
		}
	}
	return nil
}

func notFound(err error) bool {
	return fault.Is(err, web.ReasonNotFound) || errors.Is(err, errdef.ErrNotFound)
}

// garbled says of an error that is neither of the network nor a fault that an
// answer is not what it should be.
func garbled(err error, what string) error {
	var known *fault.Error
	var network *url.Error
	if errors.As(err, &known) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return web.Failure(archive.ReasonCorrupt, "%s is not what it should be: %s", what, web.OneLine(err.Error(), 200))
}

// head returns the digest of a tag or digest. Registries that don't answer that
// without the manifest, or don't say the digest, are asked for the manifest.
func (c *client) head(ctx context.Context, name string) (string, error) {
	d, err := c.repo.Resolve(ctx, name)
	switch {
	case err == nil:
	case notFound(err), fault.Is(err, web.ReasonAuthFailed), fault.Is(err, web.ReasonRateLimited), ctx.Err() != nil:
		return "", err
	default:
		var network *url.Error
		if errors.As(err, &network) {
			return "", err
		}
		b, _, err := c.document(ctx, name)
		if err != nil {
			return "", err
		}
		return digest.FromBytes(b).String(), nil
	}
	if !digestForm.MatchString(d.Digest.String()) {
		return "", invalidArtifact("", "its digest %s is no SHA-256", web.OneLine(d.Digest.String(), 100))
	}
	return d.Digest.String(), nil
}

// document returns what is under a name, as it was sent, and its media type.
func (c *client) document(ctx context.Context, name string) ([]byte, string, error) {
	ref := c.repo.Reference
	ref.Reference = name
	ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionPull)
	scheme := "https"
	if c.repo.PlainHTTP {
		scheme = "http"
	}
	u := url.URL{Scheme: scheme, Host: ref.Registry, Path: "/v2/" + ref.Repository + "/manifests/" + name}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, "", err
	}
	for _, t := range []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, dockerManifest, dockerIndex} {
		req.Header.Add("Accept", t)
	}
	resp, err := c.repo.Client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return nil, "", invalidArtifact("", "the manifest has no media type")
	}
	b, err := io.ReadAll(web.AtMost(resp.Body, maxManifest, "the manifest"))
	return b, mediaType, err
}

// verified returns the document of a digest.
func (c *client) verified(ctx context.Context, want string) (document, error) {
	b, sentAs, err := c.document(ctx, want)
	switch {
	case notFound(err):
		return document{}, web.Failure(ReasonReferenceNotFound, "the manifest %s is gone", want)
	case err != nil:
		return document{}, err
	}
	if got := digest.FromBytes(b).String(); got != want {
		return document{}, web.Failure(archive.ReasonCorrupt, "the manifest %s was sent with another content, %s", want, got)
	}
	return parse(b, sentAs)
}

// fetch unpacks the layer that counts of what is under a digest.
func (c *client) fetch(ctx context.Context, want string, s Source, b *archive.Builder) error {
	doc, err := c.verified(ctx, want)
	if err != nil {
		return err
	}
	if doc.index != nil {
		d, err := s.Layer.pick(*doc.index)
		if err != nil {
			return err
		}
		if doc, err = c.verified(ctx, d.Digest.String()); err != nil {
			return err
		}
		if doc.index != nil {
			return invalidArtifact("", "the index refers to another index as to a manifest")
		}
	}
	layer, err := s.Layer.choose(doc.manifest)
	if err != nil {
		return err
	}
	n, err := json.Marshal(note{Digest: want, Commit: commit(doc.manifest.Annotations)})
	if err != nil {
		return err
	}
	if err := b.Note(n); err != nil {
		return err
	}
	spool, err := c.layer(ctx, layer, s.Store)
	if err != nil {
		return err
	}
	defer spool.Close()
	return s.Layer.unpack(ctx, b, layer, want, spool)
}

// layer receives a layer, and makes sure that it is what the manifest says.
func (c *client) layer(ctx context.Context, d v1.Descriptor, store *archive.Store) (*archive.Spool, error) {
	if !digestForm.MatchString(d.Digest.String()) {
		return nil, invalidArtifact("", "the layer's digest %s is no SHA-256", web.OneLine(d.Digest.String(), 100))
	}
	if d.Size < 0 || d.Size > maxLayerSize {
		return nil, web.Failure(web.ReasonTooLarge, "the layer has more than %s", web.Size(maxLayerSize))
	}
	// As a blob, whatever type it claims to be: a layer is never a manifest.
	body, err := c.repo.Blobs().Fetch(ctx, d)
	switch {
	case notFound(err):
		return nil, web.Failure(ReasonReferenceNotFound, "the layer %s is gone", d.Digest)
	case err != nil:
		return nil, garbled(err, "the layer")
	}
	defer body.Close()
	spool, err := store.Spool(web.AtMost(body, d.Size, "the layer"))
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("sha256:%x", spool.SHA256); spool.Size != d.Size || got != d.Digest.String() {
		spool.Close()
		return nil, web.Failure(archive.ReasonCorrupt, "the layer %s was sent with another content, %s", d.Digest, got)
	}
	return spool, nil
}
