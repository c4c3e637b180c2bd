package helm

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

// A Chart is a chart of a repository, as a [source.Fetcher]. Its revision is
// the version of the chart, and its content what is in the chart's directory.
type Chart struct {
	Store *Store
	Repo  Repository
	Name  string
	// Version is a version, or a semver range; empty is *. Of a range it is the
	// highest version in it; those before a release count where the range names
	// one.
	Version string
}

var _ source.Fetcher = Chart{}

// A Version is what else is known of a revision of a Chart: Revision.Detail.
type Version struct {
	URL    string // where the archive is, without what is secret in it
	Digest string // sha256:…, as the index says; may be empty

	access string // who has learned it
	found  version
}

// String is the address.
func (v Version) String() string { return v.URL }

// GoString is String.
func (v Version) GoString() string { return v.String() }

// Key implements [source.Fetcher].
func (c Chart) Key() string {
	return c.Place() + c.Store.files.Key(c.Store.access(c.Repo), c.Version, fmt.Sprint(c.Repo.Timeout))
}

// URL implements [source.Fetcher].
func (c Chart) URL() string { return c.Repo.String() }

// Server implements [source.Fetcher].
func (c Chart) Server() string { return c.Repo.server() }

// Place implements [source.Fetcher]. It is one for all versions of a chart.
func (c Chart) Place() string { return c.Store.place(c.Repo, "chart", c.Name) }

func (c Chart) slot(r source.Revision) archive.Slot {
	return archive.Slot{Place: c.Place(), Name: r.Name, Access: c.Store.access(c.Repo)}
}

// Resolve implements [source.Fetcher].
func (c Chart) Resolve(ctx context.Context) (source.Revision, error) {
	if err := c.check(); err != nil {
		return source.Revision{}, err
	}
	a, err := c.Store.latest(ctx, c.Repo, nil)
	if err != nil {
		return source.Revision{}, err
	}
	v, err := a.pick(c.Name, c.Version)
	if err != nil {
		return source.Revision{}, c.Store.talk(c.Repo, "resolve").Explain(ctx, err)
	}
	return c.revision(ctx, v)
}

func (c Chart) check() error {
	if !validName(c.Name) {
		return &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidReference, Hint: "name a chart as the repository's index does",
			Err: fmt.Errorf("%q can't be the name of a chart", web.OneLine(c.Name, 100)),
		}
	}
	return nil
}

// validName reports whether a chart can be called so, as Helm has it.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 250 && path.Base(name) == name && !strings.ContainsAny(name, "\\\x00\r\n")
}

// revision is that of a version which the server has just named.
func (c Chart) revision(ctx context.Context, v version) (source.Revision, error) {
	t := c.Store.talk(c.Repo, "resolve")
	u, err := c.Repo.parse()
	if err != nil {
		return source.Revision{}, err
	}
	at, err := c.archive(u, v)
	if err != nil {
		return source.Revision{}, t.Explain(ctx, err)
	}
	if _, err := v.sum(); err != nil {
		return source.Revision{}, t.Explain(ctx, err)
	}
	r := source.Revision{Name: v.name}
	shown := &url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path}
	d := Version{URL: shown.String(), access: c.Store.access(c.Repo), found: v}
	if v.digest != "" {
		d.Digest = v.identity()
	}
	r.Detail = d
	return r, c.Store.files.Grant(c.slot(r), same(v))
}

func same(v version) func([]byte) bool {
	return func(note []byte) bool { return string(note) == v.identity() }
}

// archive is where a version is. What the index says of it is relative to the
// repository's address, of which it has the query then.
func (c Chart) archive(repo *url.URL, v version) (*url.URL, error) {
	invalid := func(why string) (*url.URL, error) {
		return nil, &fault.Error{
			Next: fault.Retry, Reason: ReasonInvalidIndex, Hint: "have the repository's index made again",
			Err: fmt.Errorf("the address of %s %s in the index %s", web.OneLine(c.Name, 100), web.OneLine(v.name, 100), why),
		}
	}
	to, err := url.Parse(v.url)
	if err != nil {
		return invalid("cannot be parsed")
	}
	base := *repo
	base.User, base.RawPath = nil, ""
	base.Path = strings.TrimRight(base.Path, "/") + "/"
	at := base.ResolveReference(to)
	if !to.IsAbs() && to.Host == "" && to.RawQuery == "" {
		at.RawQuery = repo.RawQuery
	}
	switch {
	case at.Scheme != "http" && at.Scheme != "https" || at.Host == "":
		return invalid(fmt.Sprintf("is of the scheme %q, and not http or https", web.OneLine(at.Scheme, 20)))
	case at.User != nil:
		return invalid("has credentials in it")
	case repo.Scheme == "https" && at.Scheme == "http" && v.digest == "":
		return invalid("gives up TLS, and nothing tells the archive from another")
	}
	at.Fragment = ""
	return at, nil
}

// Fetch implements [source.Fetcher].
func (c Chart) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	d, ok := r.Detail.(Version)
	if !ok || d.access != c.Store.access(c.Repo) {
		// Known by its name only, or by what somebody else was told.
		if kept, err := c.Store.files.Open(c.slot(r)); err == nil && !kept.Broken() {
			return content(kept), nil
		}
		a, err := c.Store.latest(ctx, c.Repo, nil)
		if err != nil {
			return nil, err
		}
		v, err := a.exact(c.Name, r.Name)
		if err != nil {
			return nil, c.Store.talk(c.Repo, "fetch").Explain(ctx, err)
		}
		if r, err = c.revision(ctx, v); err != nil {
			return nil, err
		}
		d, _ = r.Detail.(Version)
	}
	order := archive.Order{Limits: c.Store.opt.Unpacked, Same: same(d.found), Proven: true}
	t := c.Store.talk(c.Repo, "fetch")
	var kept *archive.Tree
	err := t.Run(ctx, func(ctx context.Context, p *web.Pulse) (err error) {
		kept, err = c.Store.files.Fetch(ctx, c.slot(r), order, func(ctx context.Context, b *archive.Builder) error {
			return c.download(ctx, d.found, p, b)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return content(kept), nil
}

func content(t *archive.Tree) *source.Content {
	return &source.Content{Tree: t, Broken: t.Broken}
}

// Open implements [source.Fetcher].
func (c Chart) Open(r source.Revision) (*source.Content, error) {
	t, err := c.Store.files.Open(c.slot(r))
	if err != nil {
		return nil, c.Store.talk(c.Repo, "open").Explain(context.Background(), err)
	}
	return content(t), nil
}

// download has an archive, and checks that it is the one that is meant, before
// and after it is unpacked.
func (c Chart) download(ctx context.Context, v version, p *web.Pulse, b *archive.Builder) error {
	u, err := c.Repo.parse()
	if err != nil {
		return err
	}
	at, err := c.archive(u, v)
	if err != nil {
		return err
	}
	client, err := c.Store.client(c.Repo, u)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the archive of %s %s", web.OneLine(c.Name, 100), web.OneLine(v.name, 100))
	resp, err := p.Do(client, req)
	if err != nil {
		return web.In(what, err)
	}
	defer resp.Body.Close()
	spool, err := c.Store.files.Spool(web.AtMost(resp.Body, c.Store.opt.MaxChartBytes, what))
	if err != nil {
		return err
	}
	defer spool.Close()
	sum, err := v.sum()
	if err != nil {
		return err
	}
	if sum != nil && string(sum) != string(spool.SHA256[:]) {
		return &fault.Error{
			Next: fault.Retry, Reason: ReasonCorrupt, Hint: "have the repository's index made again, if this stays",
			Err: fmt.Errorf("%s has the digest %s, and the index says %s", what, hex.EncodeToString(spool.SHA256[:]), hex.EncodeToString(sum)),
		}
	}
	if err := archive.Untar(ctx, spool.Reader(), b, archive.Options{Top: true}); err != nil {
		return web.In(what, err)
	}
	if err := c.verify(v, b); err != nil {
		return web.In(what, err)
	}
	return b.Note([]byte(v.identity()))
}

// maxMeta is how long a Chart.yaml may be.
const maxMeta = 1 << 20

// verify makes sure that what was unpacked is the chart that was asked for.
func (c Chart) verify(v version, b *archive.Builder) error {
	invalid := func(format string, args ...any) error {
		return &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidChart, Hint: "have the chart published again, under a version of its own",
			Err: fmt.Errorf(format, args...),
		}
	}
	meta, err := b.ReadFile("Chart.yaml", maxMeta)
	if errors.Is(err, fs.ErrNotExist) {
		return invalid("it has no Chart.yaml")
	}
	if err != nil {
		return err
	}
	var is struct {
		Name    text `yaml:"name"`
		Version text `yaml:"version"`
	}
	if err := yaml.Unmarshal(meta, &is); err != nil {
		return invalid("Chart.yaml can't be read: %s", web.OneLine(err.Error(), 200))
	}
	switch {
	case string(is.Name) != c.Name:
		return invalid("Chart.yaml is of %q", web.OneLine(cmp.Or(string(is.Name), "no name"), 100))
	case string(is.Version) != v.name:
		return invalid("Chart.yaml is of the version %q", web.OneLine(string(is.Version), 100))
	}
	return nil
}
