package git

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/flate"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // the checksum that pack files end with
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// limits bound what a pack may make this process do.
type limits struct {
	packBytes   int64 // the pack itself
	objectBytes int64 // one object, inflated
	totalBytes  int64 // all of them
	objects     int
}

// maxHeld bounds the objects that one goroutine keeps while it resolves deltas.
const maxHeld = 512 << 20

// receive reads a pack from r into dir and indexes it. Deltas against objects
// that are not in the pack (a thin pack) are resolved by known, and what they
// need is added, so that every pack stands alone. On error nothing is left.
//
// What travels is written, inflated and summed up as it comes, so memory does
// not grow with the pack, but for some 60 bytes an object and the deltas that
// are being resolved.
func receive(ctx context.Context, dir string, r io.Reader, known *packSet, lim limits) (_ *pack, err error) {
	f, err := os.CreateTemp(dir, "tmp_pack_*")
	if err != nil {
		return nil, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	x := &indexer{ctx: ctx, lim: lim, known: known, file: f, s: newPackStream(r, f, lim.packBytes)}
	if err := x.scan(); err != nil {
		return nil, err
	}
	if err := x.resolve(); err != nil {
		return nil, err
	}
	sum, err := x.finish()
	if err != nil {
		return nil, err
	}
	return x.install(dir, sum)
}

// An entry is an object in a pack that is being indexed.
type entry struct {
	off  int64
	base int64 // ofsDelta: offset; others 0
	size int64
	crc  uint32
	kind kind // as it is in the pack
	full kind // of the object; 0 until known
	id   oid
}

type indexer struct {
	ctx     context.Context
	lim     limits
	known   *packSet
	file    *os.File
	s       *packStream
	entries []entry // by offset
	refs    map[oid][]int
	total   atomic.Int64

	appended []entry // bases that a thin pack lacked
	end      int64   // of the entries in the file
}

// spend counts inflated bytes. A pack of a megabyte can hold a terabyte of
// zeros.
func (x *indexer) spend(n int64) error {
	if n > x.lim.objectBytes {
		return errTooLarge("an object of %d bytes is over the limit of %d", n, x.lim.objectBytes)
	}
	if x.total.Add(n) > x.lim.totalBytes {
		return errTooLarge("the objects of the pack are over the limit of %d bytes", x.lim.totalBytes)
	}
	return nil
}

// scan reads the pack once, from its head to its checksum.
func (x *indexer) scan() error {
	var head [packHead]byte
	if _, err := io.ReadFull(x.s, head[:]); err != nil {
		return cut(err)
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return errCorrupt("what the server sent is not a pack")
	}
	n := int(binary.BigEndian.Uint32(head[8:]))
	if n > x.lim.objects {
		return errTooLarge("a pack of %d objects is over the limit of %d", n, x.lim.objects)
	}
	// The count is the server's word; memory follows what really comes.
	x.entries = make([]entry, 0, min(n, 1<<16))
	x.refs = make(map[oid][]int)
	inf := new(inflater)
	hasher := newHasher(blobObject, 0)
	buf := make([]byte, 64<<10)
	for i := range n {
		if i%1024 == 0 && x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		if err := x.scanOne(inf, hasher, buf); err != nil {
			return cut(err)
		}
	}
	x.end = x.s.offset()
	if err := x.s.flush(); err != nil {
		return err
	}
	want := x.s.sum.Sum(nil)
	got := make([]byte, sumLen)
	if _, err := io.ReadFull(x.s, got); err != nil {
		return cut(err)
	}
	if !bytes.Equal(want, got) {
		return errCorrupt("the pack's checksum does not match")
	}
	if err := x.s.flush(); err != nil {
		return err
	}
	return x.s.out.Flush()
}

func (x *indexer) scanOne(inf *inflater, hasher hash.Hash, buf []byte) error {
	off := x.s.offset()
	if err := x.s.begin(); err != nil {
		return err
	}
	h, err := readHead(x.s, off)
	if err != nil {
		return err
	}
	if err := x.spend(h.size); err != nil {
		return err
	}
	e := entry{off: off, kind: h.kind, size: h.size, base: h.base}
	full := h.kind != ofsDelta && h.kind != refDelta
	if full {
		resetHasher(hasher, h.kind, h.size)
	}
	if err := inf.reset(x.s); err != nil {
		return broken(err)
	}
	left := h.size
	for {
		n, err := inf.z.Read(buf)
		if left -= int64(n); left < 0 {
			return errCorrupt("an object is longer than it says")
		}
		if full {
			hasher.Write(buf[:n])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return broken(err)
		}
	}
	if left != 0 {
		return errCorrupt("an object is shorter than it says")
	}
	if e.crc, err = x.s.crc(); err != nil {
		return err
	}
	if full {
		e.full = h.kind
		if e.id, err = sumOID(hasher); err != nil {
			return errCorrupt("%w", err)
		}
	}
	if h.kind == refDelta {
		x.refs[h.ref] = append(x.refs[h.ref], len(x.entries))
	}
	x.entries = append(x.entries, e)
	return nil
}

// at returns the index of the entry at an offset.
func (x *indexer) at(off int64) (int, bool) {
	return slices.BinarySearchFunc(x.entries, off, func(e entry, off int64) int { return cmp.Compare(e.off, off) })
}

// resolve finds the kind and ID of every delta: from each object that is none,
// through those that are based on it.
func (x *indexer) resolve() error {
	// children lists the entries by what they are based on.
	type link struct{ base, child int32 }
	var links []link
	deltas := 0
	for i, e := range x.entries {
		switch e.kind {
		case refDelta:
			deltas++
		case ofsDelta:
			deltas++
			b, ok := x.at(e.base)
			if !ok {
				return errCorrupt("a delta has no base")
			}
			links = append(links, link{int32(b), int32(i)})
		}
	}
	if deltas == 0 {
		return nil
	}
	slices.SortFunc(links, func(a, b link) int {
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.child, b.child))
	})
	children := func(i int) []int32 {
		lo, _ := slices.BinarySearchFunc(links, int32(i), func(l link, i int32) int { return cmp.Compare(l.base, i) })
		var out []int32
		for ; lo < len(links) && links[lo].base == int32(i); lo++ {
			out = append(out, links[lo].child)
		}
		for _, c := range x.refs[x.entries[i].id] {
			out = append(out, int32(c))
		}
		return out
	}

	// Roots are independent of each other: no entry is below two of them.
	var roots []func() error
	for i := range x.entries {
		if x.entries[i].full == 0 {
			continue
		}
		kids := children(i)
		if len(kids) == 0 {
			continue
		}
		roots = append(roots, func() error {
			b, err := x.content(i)
			if err != nil {
				return err
			}
			return x.descend(base{x.entries[i].full, b}, kids, children)
		})
	}
	if err := x.all(roots); err != nil {
		return err
	}
	return x.resolveThin(children)
}

// all runs the functions, a few at a time.
func (x *indexer) all(fns []func() error) error {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		first atomic.Pointer[error]
	)
	for range min(runtime.GOMAXPROCS(0), len(fns)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(fns) || first.Load() != nil {
					return
				}
				err := context.Cause(x.ctx)
				if err == nil {
					err = fns[i]()
				}
				if err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	wg.Wait()
	if p := first.Load(); p != nil {
		return *p
	}
	return nil
}

// content inflates an entry of the file.
func (x *indexer) content(i int) ([]byte, error) {
	e := x.entries[i]
	p := pack{file: x.file, size: x.end + sumLen}
	_, b, err := p.entry(e.off, x.lim.objectBytes)
	if err != nil {
		return nil, broken(err)
	}
	return b, nil
}

// descend resolves the deltas below one object. An object is kept only while
// some delta on it is still to do.
func (x *indexer) descend(root base, kids []int32, children func(int) []int32) error {
	type level struct {
		at   base
		kids []int32
	}
	stack := []level{{root, kids}}
	held := int64(len(root.data))
	for len(stack) > 0 {
		if x.ctx.Err() != nil {
			return context.Cause(x.ctx)
		}
		top := &stack[len(stack)-1]
		i := int(top.kids[0])
		top.kids = top.kids[1:]
		at := top.at
		if len(top.kids) == 0 {
			held -= int64(len(at.data))
			stack = stack[:len(stack)-1]
		}
		e := &x.entries[i]
		if e.full != 0 {
			return errCorrupt("an object appears twice as its own base")
		}
		delta, err := x.content(i)
		if err != nil {
			return err
		}
		_, size, _, err := deltaSizes(delta)
		if err != nil {
			return broken(err)
		}
		if err := x.spend(size); err != nil {
			return err
		}
		b, err := applyDelta(at.data, delta, x.lim.objectBytes)
		if err != nil {
			return broken(err)
		}
		if e.id, err = hashObject(at.kind, b); err != nil {
			return errCorrupt("%w", err)
		}
		e.full = at.kind
		if kids := children(i); len(kids) > 0 {
			if held += int64(len(b)); held > maxHeld {
				return errTooLarge("resolving the pack's deltas needs more than %d bytes of memory", int64(maxHeld))
			}
			stack = append(stack, level{base{at.kind, b}, kids})
		}
	}
	return nil
}

// resolveThin resolves the deltas on objects that are not in the pack, and
// appends those objects.
func (x *indexer) resolveThin(children func(int) []int32) error {
	for {
		var missing []oid
		done := true
		for id, kids := range x.refs {
			if x.entries[kids[0]].full == 0 {
				done = false
				if x.known != nil && x.known.has(id) {
					missing = append(missing, id)
				}
			}
		}
		if done {
			break
		}
		if len(missing) == 0 {
			return errCorrupt("a delta has no base")
		}
		slices.SortFunc(missing, func(a, b oid) int { return bytes.Compare(a[:], b[:]) })
		for _, id := range missing {
			if x.entries[x.refs[id][0]].full != 0 {
				continue
			}
			k, b, err := x.known.read(id)
			if err != nil {
				return err
			}
			if err := x.append(id, k, b); err != nil {
				return err
			}
			var kids []int32
			for _, c := range x.refs[id] {
				kids = append(kids, int32(c))
			}
			if err := x.descend(base{k, b}, kids, children); err != nil {
				return err
			}
		}
	}
	for _, e := range x.entries {
		if e.full == 0 {
			return errCorrupt("a delta has no base")
		}
	}
	return nil
}

// append adds a whole object to the end of the file.
func (x *indexer) append(id oid, k kind, data []byte) error {
	var b bytes.Buffer
	size := len(data)
	c := byte(k)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b.WriteByte(c | 0x80)
		c = byte(size & 0x7f)
	}
	b.WriteByte(c)
	z := zlib.NewWriter(&b)
	_, err := z.Write(data)
	if err = errors.Join(err, z.Close()); err != nil {
		return err
	}
	if _, err := x.file.WriteAt(b.Bytes(), x.end); err != nil {
		return err
	}
	x.appended = append(x.appended, entry{
		off: x.end, size: int64(len(data)), crc: crc32.ChecksumIEEE(b.Bytes()), kind: k, full: k, id: id,
	})
	x.end += int64(b.Len())
	return nil
}

// finish returns the pack's checksum, which is a new one if objects were
// appended.
func (x *indexer) finish() ([]byte, error) {
	if len(x.appended) == 0 {
		sum := make([]byte, sumLen)
		_, err := x.file.ReadAt(sum, x.end)
		return sum, err
	}
	x.entries = append(x.entries, x.appended...)
	return seal(x.file, len(x.entries), x.end)
}

// seal writes the count of objects into a pack's head and the checksum behind
// its entries, which end at end.
func seal(f *os.File, n int, end int64) ([]byte, error) {
	var count [4]byte
	binary.BigEndian.PutUint32(count[:], uint32(n))
	if _, err := f.WriteAt(count[:], 8); err != nil {
		return nil, err
	}
	h := sha1.New() //nolint:gosec
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, end)); err != nil {
		return nil, err
	}
	sum := h.Sum(nil)
	if _, err := f.WriteAt(sum, end); err != nil {
		return nil, err
	}
	return sum, f.Truncate(end + sumLen)
}

// install gives the pack its name and its index. The index comes last: without
// it the pack isn't there. Nothing is synced to disk: after a crash of the
// machine a torn file is found by its checksum or by an object's, and fetched
// again.
func (x *indexer) install(dir string, sum []byte) (*pack, error) {
	ids := make([]indexed, len(x.entries))
	for i, e := range x.entries {
		ids[i] = indexed{e.id, e.off, e.crc}
	}
	return install(dir, x.file, ids, sum)
}

type indexed struct {
	id  oid
	off int64
	crc uint32
}

func install(dir string, f *os.File, objects []indexed, sum []byte) (*pack, error) {
	slices.SortFunc(objects, func(a, b indexed) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(a.off, b.off))
	})
	// An object may be there twice, in packs that were joined. Git wants both
	// in the index; to find either is as good.
	name := filepath.Join(dir, fmt.Sprintf("pack-%x", sum))
	idx, err := os.CreateTemp(dir, "tmp_idx_*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(idx.Name())
	defer idx.Close()
	if err := writeIndex(idx, objects, sum); err != nil {
		return nil, err
	}
	if err := os.Chmod(f.Name(), 0o400); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), name+".pack"); err != nil {
		return nil, err
	}
	if err := os.Rename(idx.Name(), name+".idx"); err != nil {
		return nil, err
	}
	return openPack(name + ".idx")
}

func writeIndex(w io.Writer, objects []indexed, packSum []byte) error {
	h := sha1.New() //nolint:gosec
	b := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	u32 := func(n uint32) {
		var c [4]byte
		binary.BigEndian.PutUint32(c[:], n)
		_, _ = b.Write(c[:]) // Flush returns what went wrong
	}
	_, _ = b.Write(idxMagic)
	u32(idxVersion)
	var fan [256]uint32
	for _, o := range objects {
		fan[o.id[0]]++
	}
	var below uint32
	for _, n := range fan {
		below += n
		u32(below)
	}
	for _, o := range objects {
		_, _ = b.Write(o.id[:])
	}
	for _, o := range objects {
		u32(o.crc)
	}
	var far []int64
	for _, o := range objects {
		if o.off < 1<<31 {
			u32(uint32(o.off))
			continue
		}
		u32(1<<31 | uint32(len(far)))
		far = append(far, o.off)
	}
	for _, off := range far {
		u32(uint32(off >> 32))
		u32(uint32(off))
	}
	_, _ = b.Write(packSum)
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

// A packStream reads a pack and copies what has been read to a file and into
// sums. It is an io.ByteReader, so that zlib takes no byte more than it needs.
type packStream struct {
	src  io.Reader
	out  *bufio.Writer
	buf  []byte
	r, w int   // what is buffered and not read
	mark int   // what was read from here on is not yet copied
	base int64 // offset of buf[0]
	most int64
	sum  hash.Hash
	obj  uint32
}

func newPackStream(r io.Reader, out io.Writer, most int64) *packStream {
	return &packStream{src: r, out: bufio.NewWriterSize(out, 256<<10), buf: make([]byte, 256<<10), most: most, sum: sha1.New()} //nolint:gosec
}

func (s *packStream) offset() int64 { return s.base + int64(s.r) }

// flush copies what has been read.
func (s *packStream) flush() error {
	if b := s.buf[s.mark:s.r]; len(b) > 0 {
		s.sum.Write(b)
		s.obj = crc32.Update(s.obj, crc32.IEEETable, b)
		s.mark = s.r
		_, err := s.out.Write(b)
		return err
	}
	return nil
}

// begin starts the sum of one object; crc ends it.
func (s *packStream) begin() error {
	err := s.flush()
	s.obj = 0
	return err
}

func (s *packStream) crc() (uint32, error) {
	err := s.flush()
	return s.obj, err
}

func (s *packStream) fill() error {
	if err := s.flush(); err != nil {
		return err
	}
	s.base += int64(s.r)
	s.r, s.w, s.mark = 0, 0, 0
	for range 100 {
		n, err := s.src.Read(s.buf)
		if s.w = n; n > 0 {
			if s.base+int64(n) > s.most {
				return errTooLarge("the pack is over the limit of %d bytes", s.most)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (s *packStream) ReadByte() (byte, error) {
	if s.r == s.w {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	c := s.buf[s.r]
	s.r++
	return c, nil
}

func (s *packStream) Read(p []byte) (int, error) {
	if s.r == s.w {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.buf[s.r:s.w])
	s.r += n
	return n, nil
}

// cut names the end of a stream that came too early.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCorrupt("the pack was cut short")
	}
	return err
}

// broken says that content can't be inflated or applied, unless err is about
// something else.
func broken(err error) error {
	var flateErr flate.CorruptInputError
	if errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrChecksum) || errors.Is(err, zlib.ErrDictionary) ||
		errors.Is(err, errDelta) || errors.As(err, &flateErr) {
		return errCorrupt("the pack is broken: %w", err)
	}
	return err
}
