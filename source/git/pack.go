package git

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the checksum that pack files end with
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"plumb.dev/plumb/internal/lru"
)

// A pack is a pack file with its index. It is safe for concurrent use, also
// after its files have been removed: what is open stays readable, and is
// closed when nothing refers to it any more.
type pack struct {
	path string // of the .pack
	file *os.File
	size int64
	idx  []byte // the whole index file, version 2
	n    int    // objects
}

const (
	idxHead    = 8 + 256*4
	maxChain   = 4095 // of deltas, as in Git
	packHead   = 12
	sumLen     = 20
	idxVersion = 2
)

var idxMagic = []byte{0xff, 't', 'O', 'c'}

// openPack opens the pack whose index is at idxPath.
func openPack(idxPath string) (*pack, error) {
	idx, err := os.ReadFile(idxPath)
	if err != nil {
		return nil, err
	}
	if len(idx) < idxHead+2*sumLen || !bytes.Equal(idx[:4], idxMagic) || binary.BigEndian.Uint32(idx[4:]) != idxVersion {
		return nil, errCorrupt("pack index %s is broken", filepath.Base(idxPath))
	}
	sum := sha1.Sum(idx[:len(idx)-sumLen]) //nolint:gosec
	n := int(binary.BigEndian.Uint32(idx[idxHead-4:]))
	if !bytes.Equal(sum[:], idx[len(idx)-sumLen:]) || len(idx) < idxHead+n*28+2*sumLen {
		return nil, errCorrupt("pack index %s is broken", filepath.Base(idxPath))
	}
	p := &pack{path: strings.TrimSuffix(idxPath, ".idx") + ".pack", idx: idx, n: n}
	if p.file, err = os.Open(p.path); err != nil {
		return nil, err
	}
	fi, err := p.file.Stat()
	if err != nil {
		return nil, err
	}
	// The pack is not summed up here, which would read all of it: each object
	// is checked when it is read. A file that was cut shows at its end.
	p.size = fi.Size()
	var tail [sumLen]byte
	if p.size < packHead+sumLen {
		return nil, errCorrupt("pack %s is broken", filepath.Base(p.path))
	}
	if _, err := p.file.ReadAt(tail[:], p.size-sumLen); err != nil {
		return nil, err
	}
	if !bytes.Equal(tail[:], idx[len(idx)-2*sumLen:len(idx)-sumLen]) {
		return nil, errCorrupt("pack %s is not the one that its index is of", filepath.Base(p.path))
	}
	return p, nil
}

func (p *pack) name(i int) []byte { return p.idx[idxHead+20*i : idxHead+20*i+20] }

func (p *pack) offset(i int) int64 {
	at := idxHead + 24*p.n + 4*i
	off := binary.BigEndian.Uint32(p.idx[at:])
	if off&(1<<31) == 0 {
		return int64(off)
	}
	at = idxHead + 28*p.n + 8*int(off&(1<<31-1))
	if at+8 > len(p.idx)-2*sumLen {
		return -1
	}
	return int64(binary.BigEndian.Uint64(p.idx[at:]))
}

// find returns the offset of an object.
func (p *pack) find(id oid) (int64, bool) {
	lo := 0
	if id[0] > 0 {
		lo = int(binary.BigEndian.Uint32(p.idx[8+4*(int(id[0])-1):]))
	}
	hi := min(int(binary.BigEndian.Uint32(p.idx[8+4*int(id[0]):])), p.n)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := bytes.Compare(p.name(mid), id[:]); {
		case c < 0:
			lo = mid + 1
		case c > 0:
			hi = mid
		default:
			return p.offset(mid), true
		}
	}
	return 0, false
}

// An entryHead is what a pack says of an object before its content.
type entryHead struct {
	kind kind
	size int64 // inflated; of a delta, the delta's own
	base int64 // ofsDelta: the offset of its base
	ref  oid   // refDelta: its base
	len  int64 // of the head itself
}

// readHead reads the head of the entry at offset off.
func readHead(r io.ByteReader, off int64) (entryHead, error) {
	var h entryHead
	next := func() (byte, error) {
		c, err := r.ReadByte()
		h.len++
		return c, err
	}
	c, err := next()
	if err != nil {
		return h, err
	}
	h.kind, h.size = kind(c>>4&7), int64(c&15)
	for shift := 4; c&0x80 != 0; shift += 7 {
		if shift > 53 {
			return h, errCorrupt("object size is out of range")
		}
		if c, err = next(); err != nil {
			return h, err
		}
		h.size |= int64(c&0x7f) << shift
	}
	switch h.kind {
	case commitObject, treeObject, blobObject, tagObject:
	case ofsDelta:
		if c, err = next(); err != nil {
			return h, err
		}
		back := int64(c & 0x7f)
		for c&0x80 != 0 {
			if back >= 1<<48 {
				return h, errCorrupt("delta offset is out of range")
			}
			if c, err = next(); err != nil {
				return h, err
			}
			back = (back+1)<<7 | int64(c&0x7f)
		}
		if back <= 0 || back > off-packHead {
			return h, errCorrupt("delta offset is out of range")
		}
		h.base = off - back
	case refDelta:
		for i := range h.ref {
			if h.ref[i], err = next(); err != nil {
				return h, err
			}
		}
	default:
		return h, errCorrupt("object %s is unknown", h.kind)
	}
	return h, nil
}

// An inflater is a zlib reader to be used again.
type inflater struct {
	buf *bufio.Reader
	z   io.ReadCloser
}

var inflaters = sync.Pool{New: func() any { return &inflater{buf: bufio.NewReaderSize(nil, 8<<10)} }}

func (f *inflater) reset(r io.Reader) error {
	if f.z == nil {
		z, err := zlib.NewReader(r)
		f.z = z
		return err
	}
	return f.z.(zlib.Resetter).Reset(r, nil)
}

// inflate reads exactly size bytes of content, and the end after them, which
// is where zlib checks its sum.
func (f *inflater) inflate(r io.Reader, size int64) ([]byte, error) {
	if err := f.reset(r); err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(f.z, out); err != nil {
		return nil, err
	}
	if n, err := f.z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, errors.New("object is longer than it says")
	}
	return out, nil
}

// entry reads the entry at off: its head and inflated content.
func (p *pack) entry(off, limit int64) (entryHead, []byte, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.buf.Reset(io.NewSectionReader(p.file, off, p.size-sumLen-off))
	h, err := readHead(f.buf, off)
	if err != nil {
		return h, nil, err
	}
	if h.size > limit {
		return h, nil, errTooLarge("an object of %d bytes is over the limit of %d", h.size, limit)
	}
	b, err := f.inflate(f.buf, h.size)
	if err != nil {
		return h, nil, err
	}
	return h, b, nil
}

// A packSet is the packs of a repository at one moment. It never changes, so
// that a Snapshot can hold on to it.
type packSet struct {
	packs   []*pack // the newest last
	owner   uint64  // whose objects the caches keep: no repository sees another's
	caches  *caches
	limit   int64 // of one object
	corrupt *atomic.Bool
}

// caches are shared by all repositories of a store, each under its own owner.
type caches struct {
	trees *lru.Cache[cacheKey, *listing]
	blobs *lru.Cache[cacheKey, []byte]
	bases *lru.Cache[baseKey, base]
}

func newCaches(most int64) *caches {
	return &caches{
		trees: lru.New[cacheKey, *listing](most / 2),
		blobs: lru.New[cacheKey, []byte](most / 4),
		bases: lru.New[baseKey, base](most / 4),
	}
}

type cacheKey struct {
	owner uint64
	id    oid
}

type baseKey struct {
	p   *pack
	off int64
}

type base struct {
	kind kind
	data []byte
}

// find looks in the newest pack first: that is where what changed is.
func (s *packSet) find(id oid) (*pack, int64, bool) {
	for i := len(s.packs) - 1; i >= 0; i-- {
		if off, ok := s.packs[i].find(id); ok {
			return s.packs[i], off, true
		}
	}
	return nil, 0, false
}

func (s *packSet) has(id oid) bool {
	_, _, ok := s.find(id)
	return ok
}

// read returns an object and makes sure that it is the one that was asked for.
// An error means that the repository is broken, and is remembered as that.
func (s *packSet) read(id oid) (kind, []byte, error) {
	k, b, err := s.readUnchecked(id)
	if err == nil {
		var got oid
		if got, err = hashObject(k, b); err == nil && got != id {
			err = errors.New("content does not match the ID")
		}
	}
	if err != nil {
		s.corrupt.Store(true)
		return 0, nil, errCorrupt("object %s: %w", id, err)
	}
	return k, b, nil
}

func (s *packSet) readUnchecked(id oid) (kind, []byte, error) {
	p, off, ok := s.find(id)
	if !ok {
		return 0, nil, errors.New("is missing")
	}
	// From the object back to what is no delta, then forward again.
	type step struct {
		p     *pack
		off   int64
		delta []byte
	}
	var steps []step
	var at base
	for at.kind == 0 {
		if got, ok := s.caches.bases.Get(baseKey{p, off}); ok {
			at = got
			break
		}
		if len(steps) > maxChain {
			return 0, nil, errors.New("delta chain is too long")
		}
		h, b, err := p.entry(off, s.limit)
		if err != nil {
			return 0, nil, err
		}
		switch h.kind {
		case ofsDelta:
			steps = append(steps, step{p, off, b})
			off = h.base
		case refDelta:
			steps = append(steps, step{p, off, b})
			if p, off, ok = s.find(h.ref); !ok {
				return 0, nil, fmt.Errorf("base %s is missing", h.ref)
			}
		default:
			at = base{h.kind, b}
			if len(steps) > 0 {
				s.caches.bases.Add(baseKey{p, off}, at, int64(len(b)))
			}
		}
	}
	for i := len(steps) - 1; i >= 0; i-- {
		b, err := applyDelta(at.data, steps[i].delta, s.limit)
		if err != nil {
			return 0, nil, err
		}
		at.data = b
		if i > 0 {
			s.caches.bases.Add(baseKey{steps[i].p, steps[i].off}, at, int64(len(b)))
		}
	}
	return at.kind, at.data, nil
}
