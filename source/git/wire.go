package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// agent is what servers log.
const agent = "plumb"

// A line is carried by a packet: its length in four hexadecimal digits, then
// its content. Lengths below four are marks.
type mark uint8

const (
	data mark = iota
	flush
	delim
	responseEnd
)

// A pktReader reads packets. What it returns is valid until the next call.
type pktReader struct {
	r   *bufio.Reader
	buf []byte
}

var errNotPackets = errors.New("the answer is not in Git's protocol")

func newPktReader(r io.Reader) *pktReader {
	return &pktReader{r: bufio.NewReaderSize(r, 64<<10), buf: make([]byte, 65520)}
}

func (p *pktReader) next() (mark, []byte, error) {
	if _, err := io.ReadFull(p.r, p.buf[:4]); err != nil {
		return 0, nil, err
	}
	n, err := strconv.ParseUint(string(p.buf[:4]), 16, 32)
	switch {
	case err != nil:
		return 0, nil, errNotPackets
	case n < 3:
		return mark(n + 1), nil, nil
	case n < 4 || n > 65520:
		return 0, nil, errNotPackets
	}
	b := p.buf[:n-4]
	if _, err := io.ReadFull(p.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	if msg, ok := bytes.CutPrefix(b, []byte("ERR ")); ok {
		return 0, nil, serverError(string(msg))
	}
	return data, b, nil
}

// text is next for lines: without the line feed that may end one.
func (p *pktReader) text() (mark, string, error) {
	m, b, err := p.next()
	return m, string(bytes.TrimSuffix(b, []byte("\n"))), err
}

type pktWriter struct{ bytes.Buffer }

func (p *pktWriter) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	fmt.Fprintf(&p.Buffer, "%04x%s\n", len(s)+5, s)
}

func (p *pktWriter) mark(m mark) { fmt.Fprintf(&p.Buffer, "%04d", int(m)-1) }

// A wire carries one conversation with one server.
type wire interface {
	// open returns the server's greeting.
	open(ctx context.Context) (io.ReadCloser, error)
	// ask sends a request and returns the answer. The one before must have
	// been read to its end.
	ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	close()
}

// A conversation is a wire after the greeting.
type conversation struct {
	wire wire
	v2   bool
	caps map[string]string // v2: capabilities; v0: those on the first reference
	refs []ref             // v0: what was asked for
	lim  refLimits
}

type refLimits struct {
	count int
	bytes int64
}

// A ref is a name that a server advertises.
type ref struct {
	name   string
	id     oid
	peeled oid // what an annotated tag stands for
}

// commit is what the name stands for.
func (r ref) commit() oid {
	if !r.peeled.isZero() {
		return r.peeled
	}
	return r.id
}

// greet opens a conversation. A server of the old protocol sends all its
// references at once; of those only the ones that match are kept.
func greet(ctx context.Context, w wire, lim refLimits, match func(name string) bool) (*conversation, error) {
	body, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	c := &conversation{wire: w, caps: make(map[string]string), lim: lim}
	p := newPktReader(body)
	m, line, err := p.text()
	if err != nil {
		return nil, notGit(err)
	}
	// Over HTTP the greeting starts with the name of the service.
	if strings.HasPrefix(line, "# service=") {
		if m, _, err = p.next(); err != nil || m != flush {
			return nil, notGit(errNotPackets)
		}
		if m, line, err = p.text(); err != nil {
			return nil, notGit(err)
		}
	}
	if m == data && line == "version 2" {
		c.v2 = true
		for range 200 {
			m, line, err := p.text()
			if err != nil {
				return nil, notGit(err)
			}
			if m == flush {
				return c, c.check()
			}
			name, value, _ := strings.Cut(line, "=")
			c.caps[name] = value
		}
		return nil, errTooLarge("the server has more than 200 capabilities")
	}
	if m == data && line == "version 1" {
		if m, line, err = p.text(); err != nil {
			return nil, notGit(err)
		}
	}
	if m == flush {
		return c, nil // an empty repository
	}
	first, caps, ok := strings.Cut(line, "\x00")
	if !ok {
		return nil, notGit(errNotPackets)
	}
	for f := range strings.FieldsSeq(caps) {
		name, value, _ := strings.Cut(f, "=")
		c.caps[name] = value
	}
	t := &refTable{lim: lim, match: match}
	for line := first; ; {
		if id, name, ok := strings.Cut(line, " "); ok && name != "capabilities^{}" {
			base, peeled := strings.CutSuffix(name, "^{}")
			if peeled {
				err = t.peel(base, id)
			} else {
				err = t.add(name, id)
			}
			if err != nil {
				return nil, err
			}
		}
		var m mark
		if m, line, err = p.text(); err != nil {
			return nil, notGit(err)
		}
		if m != data {
			break
		}
	}
	c.refs = t.refs
	return c, c.check()
}

// check refuses what this client can't talk to.
func (c *conversation) check() error {
	if f := c.caps["object-format"]; f != "" && f != "sha1" {
		return failure(ReasonServerError, "the repository's object format is %s; only sha1 is supported", web.OneLine(f, 20))
	}
	if _, ok := c.caps["side-band-64k"]; !c.v2 && !ok {
		return failure(ReasonServerError, "the server does not support side-band-64k")
	}
	return nil
}

func notGit(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, errNotPackets) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &fault.Error{
			Next: fault.Retry, Reason: ReasonNotAGitServer, Err: errNotPackets,
			Hint: "check that the URL is the repository's, and not a web page or a proxy's login",
		}
	}
	return err
}

// A refTable collects references, within limits, of which names can be real.
type refTable struct {
	lim   refLimits
	match func(string) bool
	seen  int
	bytes int64
	refs  []ref
}

func (t *refTable) count(name string) error {
	t.seen++
	t.bytes += int64(len(name)) + 45
	if t.seen > t.lim.count || t.bytes > t.lim.bytes {
		return errTooLarge("the server advertises too many references: the limit is %d of them, and %d bytes", t.lim.count, t.lim.bytes)
	}
	return nil
}

// add keeps a reference if it is asked for. A name that is none is passed
// over: it can't be asked for either.
func (t *refTable) add(name, hex string) error {
	if err := t.count(name); err != nil {
		return err
	}
	if !t.match(name) || (!validRefName(name) && name != "HEAD") {
		return nil
	}
	id, err := parseOID(hex)
	if err != nil {
		return notGit(errNotPackets)
	}
	t.refs = append(t.refs, ref{name: name, id: id})
	return nil
}

func (t *refTable) peel(name, hex string) error {
	if err := t.count(name); err != nil {
		return err
	}
	if n := len(t.refs); n > 0 && t.refs[n-1].name == name {
		id, err := parseOID(hex)
		if err != nil {
			return notGit(errNotPackets)
		}
		t.refs[n-1].peeled = id
	}
	return nil
}

// list returns the references with one of the given prefixes.
func (c *conversation) list(ctx context.Context, prefixes ...string) ([]ref, error) {
	if !c.v2 {
		return c.refs, nil
	}
	var req pktWriter
	req.line("command=ls-refs")
	req.line("agent=%s", agent)
	if _, ok := c.caps["object-format"]; ok {
		req.line("object-format=sha1")
	}
	req.mark(delim)
	req.line("peel")
	for _, p := range prefixes {
		req.line("ref-prefix %s", p)
	}
	req.mark(flush)
	body, err := c.wire.ask(ctx, req.Bytes())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	p := newPktReader(body)
	t := &refTable{lim: c.lim, match: func(name string) bool { return hasAnyPrefix(name, prefixes) }}
	for {
		m, line, err := p.text()
		if err != nil {
			return nil, notGit(err)
		}
		if m != data {
			return t.refs, nil
		}
		id, rest, _ := strings.Cut(line, " ")
		name, attrs, _ := strings.Cut(rest, " ")
		if id == "unborn" {
			continue
		}
		n := len(t.refs)
		if err := t.add(name, id); err != nil {
			return nil, err
		}
		for attr := range strings.FieldsSeq(attrs) {
			if peeled, ok := strings.CutPrefix(attr, "peeled:"); ok && len(t.refs) > n {
				if t.refs[n].peeled, err = parseOID(peeled); err != nil {
					return nil, notGit(errNotPackets)
				}
			}
		}
	}
}

// An order is what to fetch: the wanted objects, without what the complete
// commits in haves hold already.
type order struct {
	wants   []oid
	haves   []oid // each is shallow here: complete, but without its parents
	history bool  // the whole history, not only the wanted commits
	bare    bool  // of that history the commits alone, if the server can
}

// fetch asks for a pack and returns it as a stream, and an error before its
// end if the server breaks off.
//
// The pack is asked for as a thin one, which matters: for shallow commits that
// is what makes a server leave out all that the haves hold. Without it a fetch
// of the next commit would be the whole tree again.
func (c *conversation) fetch(ctx context.Context, o order, beat *web.Pulse) (io.ReadCloser, error) {
	request := c.fetchV0
	if c.v2 {
		request = c.fetchV2
	}
	beat.Thinks()
	body, err := c.wire.ask(ctx, request(o))
	if err != nil {
		return nil, err
	}
	p := newPktReader(body)
	first, err := c.skipToPack(p)
	if err != nil {
		body.Close()
		return nil, notGit(err)
	}
	beat.Works()
	return &sideband{p: p, body: body, rest: first}, nil
}

func (c *conversation) supports(feature string) bool {
	if !c.v2 {
		_, ok := c.caps[feature]
		return ok
	}
	for f := range strings.FieldsSeq(c.caps["fetch"]) {
		if f == feature {
			return true
		}
	}
	return false
}

func (c *conversation) fetchV2(o order) []byte {
	var req pktWriter
	req.line("command=fetch")
	req.line("agent=%s", agent)
	if _, ok := c.caps["object-format"]; ok {
		req.line("object-format=sha1")
	}
	req.mark(delim)
	req.line("thin-pack")
	req.line("ofs-delta")
	req.line("no-progress")
	if c.supports("shallow") {
		for _, id := range o.haves {
			req.line("shallow %s", id)
		}
		if !o.history {
			req.line("deepen 1")
		}
	}
	if o.bare && c.supports("filter") {
		req.line("filter tree:0")
	}
	for _, id := range o.wants {
		req.line("want %s", id)
	}
	for _, id := range o.haves {
		req.line("have %s", id)
	}
	req.line("done")
	req.mark(flush)
	return req.Bytes()
}

func (c *conversation) fetchV0(o order) []byte {
	var req pktWriter
	caps := "side-band-64k"
	for _, cap := range []string{"multi_ack_detailed", "thin-pack", "ofs-delta", "no-progress"} {
		if c.supports(cap) {
			caps += " " + cap
		}
	}
	filter := o.bare && c.supports("filter")
	if filter {
		caps += " filter"
	}
	if c.supports("agent") {
		caps += " agent=" + agent
	}
	for i, id := range o.wants {
		if i == 0 {
			req.line("want %s %s", id, caps)
		} else {
			req.line("want %s", id)
		}
	}
	if c.supports("shallow") {
		for _, id := range o.haves {
			req.line("shallow %s", id)
		}
		if !o.history {
			req.line("deepen 1")
		}
	}
	if filter {
		req.line("filter tree:0")
	}
	req.mark(flush)
	for _, id := range o.haves {
		req.line("have %s", id)
	}
	req.line("done")
	return req.Bytes()
}

// skipToPack reads the answer up to the pack. In protocol v0 nothing marks
// where it begins, so the first packet of it is returned.
func (c *conversation) skipToPack(p *pktReader) ([]byte, error) {
	for range 100_000 {
		m, b, err := p.next()
		if err != nil {
			return nil, err
		}
		if m != data {
			continue
		}
		if c.v2 {
			if string(bytes.TrimSuffix(b, []byte("\n"))) == "packfile" {
				return nil, nil
			}
			continue
		}
		if len(b) > 0 && b[0] <= 3 {
			return band(b)
		}
	}
	return nil, errTooLarge("the server does not come to the pack")
}

// band returns the pack's share of a packet.
func band(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	switch b[0] {
	case 1:
		return b[1:], nil
	case 2: // progress
		return nil, nil
	case 3:
		return nil, serverError(string(b[1:]))
	}
	return nil, errNotPackets
}

// A sideband reads the pack out of its packets.
type sideband struct {
	p    *pktReader
	body io.Closer
	rest []byte
	end  bool
	talk int64 // bytes that are not of the pack
}

// maxTalk is how much a server may send beside a pack: signs of life, and what
// it says of its progress although it was asked not to.
const maxTalk = 16 << 20

func (s *sideband) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.end {
			return 0, io.EOF
		}
		m, pkt, err := s.p.next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // only a flush ends a pack
		}
		if err != nil {
			return 0, err
		}
		if m != data {
			s.end = true
			continue
		}
		if s.rest, err = band(pkt); err != nil {
			return 0, err
		}
		if len(s.rest) == 0 {
			if s.talk += int64(len(pkt)) + 4; s.talk > maxTalk {
				return 0, errTooLarge("the server sends more than %d MiB beside the pack", maxTalk>>20)
			}
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sideband) Close() error { return s.body.Close() }

// choose returns those of refs that w is after: one, or the tags that are of
// the same, highest version.
func (w wanted) choose(refs []ref) []ref {
	if w.versions != nil {
		return highest(refs, w.versions)
	}
	for _, name := range []string{w.name, w.also} {
		if i := slices.IndexFunc(refs, func(r ref) bool { return r.name == name }); i >= 0 {
			return refs[i : i+1]
		}
	}
	return nil
}
