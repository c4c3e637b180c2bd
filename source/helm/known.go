package helm

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"weak"

	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

const (
	// rest is how long an index is known that nobody asks for.
	rest = time.Hour
	// maxKnown is how many are, at most.
	maxKnown = 200
	// costly is how large an index is that is not asked for again at once, if its
	// server can't say that it is the same: for patience times as long as it took
	// to come.
	costly   = 1 << 20
	patience = 10
)

// known is what is known of a repository's index, for one who asks.
type known struct {
	turn chan struct{} // holds one: who asks the server
	used time.Time     // guarded by Store.mu

	// Of the answer that was asked for last, at began; guarded by turn.
	began      time.Time
	index      *index
	sum        [32]byte
	etag, date string
	good       time.Time // until when it counts for whoever asks
}

func (k *known) revision() string { return "sha256:" + hex.EncodeToString(k.sum[:]) }

// about returns what is known of a repository's index to who asks as r does.
func (s *Store) about(r Repository) *known {
	key := s.place(r, "index", "") + s.access(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.known[key]
	if k == nil {
		oldest := ""
		for other, k := range s.known {
			if time.Since(k.used) > rest {
				delete(s.known, other)
			} else if oldest == "" || k.used.Before(s.known[oldest].used) {
				oldest = other
			}
		}
		if len(s.known) >= maxKnown {
			delete(s.known, oldest)
		}
		k = &known{turn: make(chan struct{}, 1)}
		s.known[key] = k
	}
	k.used = time.Now()
	return k
}

// An answer is an index, and the digest of what it was read from.
type answer struct {
	*index
	revision string
}

// latest asks for the index of r, unless another who asks alike has since this
// began. A spool that is not nil takes what comes, if something does.
func (s *Store) latest(ctx context.Context, r Repository, keep func(*archive.Spool, string) error) (a answer, err error) {
	u, err := r.parse()
	if err != nil {
		return a, err
	}
	asked := time.Now()
	k := s.about(r)
	err = s.talk(r, "resolve").Run(ctx, func(ctx context.Context, p *web.Pulse) error {
		select {
		case k.turn <- struct{}{}:
			defer func() { <-k.turn }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if k.index == nil || !k.began.After(asked) && !time.Now().Before(k.good) {
			if err := s.ask(ctx, r, u, k, p, keep); err != nil {
				return err
			}
		}
		a = answer{k.index, k.revision()}
		return nil
	})
	return a, err
}

// ask asks the server for what is new.
func (s *Store) ask(ctx context.Context, r Repository, u *url.URL, k *known, p *web.Pulse, keep func(*archive.Spool, string) error) error {
	began := time.Now()
	client, err := s.client(r, u)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, indexOf(u), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "gzip")
	if k.index != nil && k.etag != "" {
		req.Header.Set("If-None-Match", k.etag)
	} else if k.index != nil && k.date != "" {
		req.Header.Set("If-Modified-Since", k.date)
	}
	resp, err := p.Do(client, req, http.StatusNotModified)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		if k.index == nil || k.etag == "" && k.date == "" {
			return web.Failure(web.ReasonServerError, "the server answers that nothing has changed, and was not asked that")
		}
		k.began = began
		return nil
	}
	spool, err := s.receive(resp)
	if err != nil {
		return err
	}
	defer spool.Close()
	x, err := s.read(spool)
	if err != nil {
		return err
	}
	if keep != nil {
		if err := keep(spool, "sha256:"+hex.EncodeToString(spool.SHA256[:])); err != nil {
			return err
		}
	}
	k.index, k.sum, k.began = x, spool.SHA256, began
	k.etag, k.date = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	k.good = time.Time{}
	if k.etag == "" && k.date == "" && spool.Size > costly {
		k.good = time.Now().Add(patience * time.Since(began))
	}
	return nil
}

// indexOf is the address of a repository's index.
func indexOf(u *url.URL) string {
	at := *u
	at.User = nil
	at.Path = strings.TrimRight(at.Path, "/") + "/index.yaml"
	if at.RawPath != "" {
		at.RawPath = strings.TrimRight(at.RawPath, "/") + "/index.yaml"
	}
	return at.String()
}

func (s *Store) receive(resp *http.Response) (*archive.Spool, error) {
	body := web.AtMost(resp.Body, s.opt.MaxIndexBytes, "the index")
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bufio.NewReader(body))
		if err != nil {
			return nil, unzipped(err)
		}
		body = web.AtMost(z, s.opt.MaxIndexBytes, "the index")
	}
	spool, err := s.files.Spool(body)
	return spool, unzipped(err)
}

func unzipped(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return web.Failure(ReasonCorrupt, "the index is said to be compressed, and can't be unpacked: %w", err)
	}
	return err
}

// read reads an index, unless one with just this content is known.
func (s *Store) read(spool *archive.Spool) (*index, error) {
	s.mu.Lock()
	x := s.indexes[spool.SHA256].Value()
	s.mu.Unlock()
	if x != nil {
		return x, nil
	}
	x, err := parse(spool.Reader, spool.Size)
	if err != nil {
		return nil, web.In("index.yaml", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sum, x := range s.indexes {
		if x.Value() == nil {
			delete(s.indexes, sum)
		}
	}
	s.indexes[spool.SHA256] = weak.Make(x)
	return x, nil
}
