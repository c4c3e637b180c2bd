package bucket

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/parallel"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

const (
	// maxAnswer is how long an answer may be that is no object.
	maxAnswer = 8 << 20
	// maxIgnore is how long the ignore file may be.
	maxIgnore = 1 << 20
	// maxListed is how many times as many objects may be ignored as may count.
	maxListed = 10
	// atOnce is how many objects are asked for at the same time.
	atOnce = 8
)

// Clients keep connections between conversations, and in which regions buckets
// are. The zero value is empty. It is safe for concurrent use.
type Clients struct {
	pool web.Pool

	mu    sync.Mutex
	known map[string]*known
}

type known struct {
	*minio.Core
	used time.Time
}

// rest is how long a client is kept that nobody uses.
const rest = time.Hour

// A client is one conversation with a server about a bucket.
type client struct {
	core   *minio.Core
	remote Remote
	talk   web.Talk
}

// talk is what a conversation is explained by.
func (s Source) talk(doing string) web.Talk {
	return web.Talk{Doing: doing, With: s.Remote.String(), Secrets: s.Remote.secrets(), Timeout: s.Remote.timeout()}
}

// converse runs a conversation with the server.
func (s Source) converse(ctx context.Context, doing string, do func(context.Context, *client) error) error {
	t := s.talk(doing)
	return t.Run(ctx, func(ctx context.Context, _ *web.Pulse) error {
		core, err := s.core()
		if err != nil {
			return err
		}
		return do(ctx, &client{core: core, remote: s.Remote, talk: t})
	})
}

func (s Source) core() (*minio.Core, error) {
	if err := s.Remote.Validate(); err != nil {
		return nil, err
	}
	home, err := s.Remote.parse()
	if err != nil {
		return nil, err
	}
	clients := s.Clients
	if clients == nil {
		clients = new(Clients)
	}
	key := s.Store.Key(append(s.Remote.access(), home.String(), s.Remote.Region)...)
	h, err := clients.pool.Get(key, func() (*http.Client, error) {
		return web.NewClient(web.Options{TLS: s.Remote.TLS, Proxy: s.Remote.Proxy, Home: home})
	})
	if err != nil {
		return nil, err
	}
	return clients.get(key, func() (*minio.Core, error) {
		return minio.NewCore(home.Host, &minio.Options{
			Creds:      credentials.NewStaticV4(s.Remote.Auth.AccessKey, s.Remote.Auth.SecretKey, ""),
			Secure:     !s.Remote.Insecure,
			Region:     s.Remote.Region,
			Transport:  bounded{h.Transport},
			MaxRetries: 1, // whoever asks knows when to ask again
		})
	})
}

func (c *Clients) get(key string, make_ func() (*minio.Core, error)) (*minio.Core, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok {
		k.used = time.Now()
		return k.Core, nil
	}
	core, err := make_()
	if err != nil {
		return nil, web.InvalidURL("the endpoint can't be used")
	}
	for other, k := range c.known {
		if time.Since(k.used) > rest {
			delete(c.known, other)
		}
	}
	if c.known == nil {
		c.known = make(map[string]*known)
	}
	c.known[key] = &known{core, time.Now()}
	return core, nil
}

// bounded bounds answers that are no objects, and makes faults of those of a
// server that can't.
type bounded struct{ http.RoundTripper }

// anObject is the key of a context in which an object is asked for.
type anObject struct{}

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		resp.Body.Close()
		return nil, web.Refusal(resp)
	}
	if req.Context().Value(anObject{}) == nil || resp.StatusCode != http.StatusOK {
		resp.Body = readCloser{web.AtMost(resp.Body, maxAnswer, "an answer"), resp.Body}
	}
	if resp.StatusCode == http.StatusOK && req.URL.Query().Has("list-type") {
		if err := isList(resp); err != nil {
			resp.Body.Close()
			return nil, err
		}
	}
	return resp, nil
}

// isList makes sure that an answer is a list of objects. To the decoder any
// document is one, such as a login page: an empty one.
func isList(resp *http.Response) error {
	var head bytes.Buffer
	d := xml.NewDecoder(io.TeeReader(resp.Body, &head))
	for {
		token, err := d.Token()
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "ListBucketResult" {
			break
		} else if err == nil && !ok {
			continue
		}
		var known *fault.Error
		if errors.As(err, &known) || resp.Request.Context().Err() != nil {
			return err
		}
		f := web.Failure(ReasonNotAnS3Server, "a %s answer instead of a list of objects", web.OneLine(resp.Header.Get("Content-Type"), 60))
		f.Hint = "check that the endpoint is an S3 server's, and not a web page's or a proxy's login"
		return f
	}
	resp.Body = readCloser{io.MultiReader(&head, resp.Body), resp.Body}
	return nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// refused says what is the matter with an answer.
func refused(err error) error {
	e := minio.ToErrorResponse(err)
	if e.StatusCode == 0 {
		return err
	}
	code := web.OneLine(e.Code, 60)
	is := func(reason fault.Reason, hint string) error {
		f := web.Failure(reason, "the server answers %d %s, %s", e.StatusCode, http.StatusText(e.StatusCode), code)
		f.Hint = hint
		return f
	}
	switch {
	case e.StatusCode == http.StatusPreconditionFailed:
		return changed("an object")
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return is(web.ReasonAuthFailed, "")
	case e.StatusCode == http.StatusNotFound, e.StatusCode == http.StatusGone:
		return is(web.ReasonNotFound, "")
	case e.StatusCode >= 300 && e.StatusCode < 400:
		return is(web.ReasonRedirectRefused, "set the endpoint and the region to where the bucket is")
	}
	return is(web.ReasonServerError, "")
}

func changed(what string) error {
	return web.Failure(archive.ReasonCorrupt, "%s has changed since it was listed", what)
}

// under runs one request under a watch of its own: several are under way at
// once.
func (c *client) under(ctx context.Context, do func(context.Context, *web.Pulse) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := web.NewPulse(30*time.Second, cancel)
	defer p.Stop()
	return c.talk.Explain(ctx, do(ctx, p))
}

// list asks which objects there are that count.
func (c *client) list(ctx context.Context, s Source) (l listing, err error) {
	bounds := s.Store.Bounds(s.Limits)
	n := 0
	for o := range c.core.ListObjectsIter(ctx, c.remote.Bucket, minio.ListObjectsOptions{Prefix: c.remote.Prefix, Recursive: true}) {
		switch n++; {
		case o.Err != nil:
			return l, refused(o.Err)
		case n > maxListed*bounds.Entries:
			return l, tooLarge("it has more than %d objects", maxListed*bounds.Entries)
		case strings.HasSuffix(o.Key, "/"), !strings.HasPrefix(o.Key, c.remote.Prefix):
		default:
			l.objects = append(l.objects, object{o.Key, o.ETag, o.Size})
		}
	}
	if ctx.Err() != nil {
		return l, context.Cause(ctx) // the iterator ends without an error then
	}
	if err := arrange(l.objects); err != nil {
		return l, err
	}
	rules, err := c.rules(ctx, l.objects)
	if err != nil {
		return l, err
	}
	if l.objects, err = counting(l.objects, rules, s.Ignore); err != nil {
		return l, err
	}
	return l, fits(l.objects, bounds)
}

// rules returns the ignore file of a bucket, if it has one.
func (c *client) rules(ctx context.Context, all []object) (string, error) {
	for _, o := range all {
		if o.Key != ignoreName {
			continue
		}
		if o.Size > maxIgnore {
			return "", tooLarge("the object %s has more than %s", named(o.Key), web.Size(maxIgnore))
		}
		b, err := c.read(ctx, o)
		return string(b), err
	}
	return "", nil
}

// get returns the contents of objects. What is kept does not travel.
func (c *client) get(ctx context.Context, objects []object, h have) ([]io.ReadCloser, error) {
	files := make([]io.ReadCloser, len(objects))
	if len(objects) == 1 && objects[0].Size > batchBytes && h.content(objects[0]) == nil {
		body, err := c.stream(ctx, objects[0])
		files[0] = body
		return files, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := parallel.Each(ctx, atOnce, objects, func(i int, o object) error {
		b := h.content(o)
		var err error
		switch {
		case b != nil && h.may:
		case b != nil:
			err = c.prove(ctx, o)
		default:
			b, err = c.read(ctx, o)
		}
		if err != nil {
			stop(err) // of the others only the first counts
			return err
		}
		files[i] = io.NopCloser(bytes.NewReader(b))
		return nil
	})
	if err != nil {
		return nil, context.Cause(ctx)
	}
	return files, nil
}

// prove makes sure that who asks may have an object that another has fetched.
func (c *client) prove(ctx context.Context, o object) error {
	return c.under(ctx, func(ctx context.Context, p *web.Pulse) (err error) {
		opts := minio.StatObjectOptions{}
		_ = opts.SetMatchETag(o.ETag)
		var info minio.ObjectInfo
		p.Watch(func() { info, err = c.core.StatObject(ctx, c.remote.Bucket, o.Key, opts) })
		if err != nil {
			return refused(err)
		}
		return o.same(info)
	})
}

// same makes sure that what is sent is what was listed.
func (o object) same(info minio.ObjectInfo) error {
	if info.ETag != o.ETag || info.Size != o.Size {
		return changed("the object " + named(o.Key))
	}
	return nil
}

// read returns an object's content.
func (c *client) read(ctx context.Context, o object) ([]byte, error) {
	body, err := c.stream(ctx, o)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return b, err
}

// stream returns an object's content as it comes, and an error at its end if that
// is not what it is said to be.
func (c *client) stream(ctx context.Context, o object) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, anObject{}, true))
	p := web.NewPulse(30*time.Second, cancel)
	opts := minio.GetObjectOptions{Checksum: true}
	_ = opts.SetMatchETag(o.ETag) // an ETag that is empty is none
	var (
		body   io.ReadCloser
		info   minio.ObjectInfo
		header http.Header
		err    error
	)
	p.Watch(func() { body, info, header, err = c.core.GetObject(ctx, c.remote.Bucket, o.Key, opts) })
	if err == nil {
		if err = o.same(info); err != nil {
			body.Close()
		}
	} else {
		err = refused(err)
	}
	if err != nil {
		err = c.talk.Explain(ctx, err)
		p.Stop()
		cancel(nil)
		return nil, err
	}
	b := &stream{c: c, ctx: ctx, o: o, body: p.Body(body), left: o.Size, stop: func() { p.Stop(); cancel(nil) }}
	b.sum, b.want = checksum(header)
	return b, nil
}

// A stream is an object on its way.
type stream struct {
	c    *client
	ctx  context.Context // of its own request
	o    object
	body io.ReadCloser
	left int64
	sum  hash.Hash // nil: the server says none
	want []byte
	stop func()
}

// Read implements [io.Reader].
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	if s.left -= int64(n); s.left < 0 {
		return 0, s.c.talk.Explain(s.ctx, changed("the object "+named(s.o.Key)))
	}
	if s.sum != nil {
		s.sum.Write(b[:n])
	}
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, s.c.talk.Explain(s.ctx, err)
	case s.left > 0:
		return n, s.c.talk.Explain(s.ctx, io.ErrUnexpectedEOF)
	case s.sum != nil && !bytes.Equal(s.sum.Sum(nil), s.want):
		return n, s.c.talk.Explain(s.ctx, web.Failure(archive.ReasonCorrupt, "the object %s is not what its checksum says", named(s.o.Key)))
	}
	return n, io.EOF
}

// Close implements [io.Closer].
func (s *stream) Close() error {
	defer s.stop()
	return s.body.Close()
}

// checksum returns what to check an object with, if its server says so. Those of
// objects that were sent in parts are of the parts' sums, and are left out.
func checksum(h http.Header) (hash.Hash, []byte) {
	if strings.EqualFold(h.Get("X-Amz-Checksum-Type"), "COMPOSITE") {
		return nil, nil
	}
	for name, sum := range map[string]func() hash.Hash{
		"Sha256": sha256.New,
		"Sha1":   sha1.New,
		"Crc32":  func() hash.Hash { return crc32.NewIEEE() },
		"Crc32c": func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
	} {
		text := h.Get("X-Amz-Checksum-" + name)
		want, err := base64.StdEncoding.DecodeString(text)
		if err == nil && text != "" && !strings.Contains(text, "-") {
			if s := sum(); len(want) == s.Size() {
				return s, want
			}
		}
	}
	return nil, nil
}
