package helm

import (
	"context"
	"fmt"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

// An Index is what a repository has, as a [source.Fetcher]. Its revision is the
// digest of the index, and its content the file index.yaml.
type Index struct {
	Store *Store
	Repo  Repository
}

var _ source.Fetcher = Index{}

// IndexFile is the name of the file in the content of an Index.
const IndexFile = "index.yaml"

// Key implements [source.Fetcher].
func (x Index) Key() string {
	return x.Place() + x.Store.files.Key(x.Store.access(x.Repo), fmt.Sprint(x.Repo.Timeout))
}

// URL implements [source.Fetcher].
func (x Index) URL() string { return x.Repo.String() }

// Server implements [source.Fetcher].
func (x Index) Server() string { return x.Repo.server() }

// Place implements [source.Fetcher].
func (x Index) Place() string { return x.Store.place(x.Repo, "index", "") }

func (x Index) slot(revision string) archive.Slot {
	return archive.Slot{Place: x.Place(), Name: revision, Access: x.Store.access(x.Repo)}
}

func (x Index) limits() archive.Limits {
	most := x.Store.opt.MaxIndexBytes
	return archive.Limits{FileBytes: most, TotalBytes: most}
}

// keep writes down what has come.
func (x Index) keep(spool *archive.Spool, revision string) error {
	_, err := x.Store.files.Put(x.slot(revision), x.limits(), func(b *archive.Builder) error { return b.File(IndexFile, spool.Reader()) })
	return err
}

// Resolve implements [source.Fetcher]. If the index is another one, it travels
// here, and is kept.
func (x Index) Resolve(ctx context.Context) (source.Revision, error) {
	a, err := x.Store.latest(ctx, x.Repo, x.keep)
	if err != nil {
		return source.Revision{}, err
	}
	r := source.Revision{Name: a.revision, Detail: x.Store.access(x.Repo)}
	return r, x.Store.files.Grant(x.slot(r.Name), nil)
}

// Fetch implements [source.Fetcher].
func (x Index) Fetch(ctx context.Context, r source.Revision) (*source.Content, error) {
	t := x.Store.talk(x.Repo, "fetch")
	proven := r.Detail == x.Store.access(x.Repo)
	var kept *archive.Tree
	err := t.Run(ctx, func(ctx context.Context, p *web.Pulse) (err error) {
		kept, err = x.Store.files.Fetch(ctx, x.slot(r.Name), archive.Order{Limits: x.limits(), Proven: proven}, func(ctx context.Context, b *archive.Builder) error {
			return x.download(ctx, r, p, b)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return content(kept), nil
}

// download has the index again, for one whom it was not kept for.
func (x Index) download(ctx context.Context, r source.Revision, p *web.Pulse, b *archive.Builder) error {
	u, err := x.Repo.parse()
	if err != nil {
		return err
	}
	fresh := &known{}
	return x.Store.ask(ctx, x.Repo, u, fresh, p, func(spool *archive.Spool, revision string) error {
		if revision != r.Name {
			return web.Failure(ReasonCorrupt, "the index is %s now", revision)
		}
		return b.File(IndexFile, spool.Reader())
	})
}

// Open implements [source.Fetcher].
func (x Index) Open(r source.Revision) (*source.Content, error) {
	t, err := x.Store.files.Open(x.slot(r.Name))
	if err != nil {
		return nil, x.Store.talk(x.Repo, "open").Explain(context.Background(), err)
	}
	return content(t), nil
}
