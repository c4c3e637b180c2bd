package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"plumb.dev/plumb/tree"
)

// A Tree is what is kept in a slot. It reads from disk what it is asked for;
// in memory are the names, and 56 bytes for each.
type Tree struct {
	f      *os.File // closed when nobody holds the Tree any more
	note   []byte
	nodes  []node // a directory's entries follow each other, sorted by name; the first is the root
	names  string
	sum    [sha256.Size]byte // of the list of all this
	broken *atomic.Bool      // shared by all that are read from one file
}

var _ tree.Tree = (*Tree)(nil)

// A node is one name.
type node struct {
	// at and size are where a file's content is in the file on disk, or a
	// link's target; of a directory, its first entry and how many there are.
	at, size int64
	sum      [sha256.Size]byte // of the content; of a directory, its ID
	name     uint32            // where it is in names
	length   uint16            // of the name
	kind     tree.Kind
}

// Note is what the Builder was given along with the files.
func (t *Tree) Note() []byte { return t.note }

// Broken reports whether something was found not to be what was put.
func (t *Tree) Broken() bool { return t.broken.Load() }

func (t *Tree) name(n *node) string { return t.names[n.name : n.name+uint32(n.length)] }

func (n *node) id() tree.ID {
	if n.kind == tree.Dir {
		return tree.ID(dirScheme + hex.EncodeToString(n.sum[:]))
	}
	return tree.FileID(n.sum)
}

const dirScheme = "dir:"

func (t *Tree) entry(n *node) tree.Entry {
	return tree.Entry{Name: t.name(n), Kind: n.kind, ID: n.id()}
}

func (t *Tree) walk(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := &t.nodes[0]
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if at.kind != tree.Dir {
			return nil, tree.NotExist(op, name)
		}
		in := t.nodes[at.at : at.at+at.size]
		i, ok := slices.BinarySearchFunc(in, part, func(n node, part string) int { return strings.Compare(t.name(&n), part) })
		if !ok {
			return nil, tree.NotExist(op, name)
		}
		at = &in[i]
	}
	return at, nil
}

// Lookup implements [tree.Tree].
func (t *Tree) Lookup(name string) (tree.Entry, error) {
	n, err := t.walk("lookup", name)
	if err != nil {
		return tree.Entry{}, err
	}
	return t.entry(n), nil
}

// ReadDir implements [tree.Tree].
func (t *Tree) ReadDir(name string) ([]tree.Entry, error) {
	n, err := t.walk("readdir", name)
	if err != nil {
		return nil, err
	}
	if n.kind != tree.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	entries := make([]tree.Entry, n.size)
	for i := range entries {
		entries[i] = t.entry(&t.nodes[n.at+int64(i)])
	}
	return entries, nil
}

// ReadFile implements [tree.Tree].
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.walk("read", name)
	if err != nil {
		return nil, err
	}
	if n.kind != tree.File && n.kind != tree.Link {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + n.kind.String())}
	}
	b := make([]byte, n.size)
	if _, err := t.f.ReadAt(b, n.at); err != nil || sha256.Sum256(b) != n.sum {
		t.broken.Store(true)
		return nil, &fs.PathError{Op: "read", Path: name, Err: corrupt("its content on disk is not what was fetched")}
	}
	return b, nil
}

// The file ends with the list, then its length, its SHA-256, and this.
const magic = "plumb archive 1\n"

const tailLen = 8 + sha256.Size + len(magic)

// maxList is how long a list may be.
const maxList = 1 << 30

// list writes t's list of what is where.
func (t *Tree) list() []byte {
	b := binary.AppendUvarint(nil, uint64(len(t.note)))
	b = append(b, t.note...)
	b = binary.AppendUvarint(b, uint64(len(t.nodes)))
	b = binary.AppendUvarint(b, uint64(len(t.names)))
	for i := range t.nodes {
		n := &t.nodes[i]
		b = append(b, byte(n.kind))
		b = binary.AppendUvarint(b, uint64(n.length))
		b = append(b, t.name(n)...)
		b = binary.AppendUvarint(b, uint64(n.at))
		b = binary.AppendUvarint(b, uint64(n.size))
		b = append(b, n.sum[:]...)
	}
	return b
}

// openTree reads what [build] wrote.
func openTree(name string) (t *Tree, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tail := make([]byte, tailLen)
	end := info.Size() - int64(tailLen)
	if end < 0 {
		return nil, errBroken
	}
	if _, err := f.ReadAt(tail, end); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint64(tail))
	if string(tail[8+sha256.Size:]) != magic || length < 0 || length > min(end, maxList) {
		return nil, errBroken
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, end-length); err != nil {
		return nil, err
	}
	t = &Tree{f: f, sum: sha256.Sum256(b), broken: new(atomic.Bool)}
	if !bytes.Equal(t.sum[:], tail[8:8+sha256.Size]) {
		return nil, errBroken
	}
	return t, t.parse(b, end-length)
}

var errBroken = fmt.Errorf("the list of files is broken: %w", io.ErrUnexpectedEOF)

// parse reads what list wrote, of which the checksum is right already.
func (t *Tree) parse(b []byte, contents int64) error {
	next := func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > maxList {
			b = nil
			return 0
		}
		b = b[n:]
		return int(v)
	}
	take := func(n int) (part []byte) {
		if n > len(b) {
			b = nil
			return nil
		}
		part, b = b[:n], b[n:]
		return part
	}
	t.note = slices.Clone(take(next()))
	count, length := next(), next()
	if count < 1 || count > len(b) || length > len(b) {
		return errBroken
	}
	t.nodes = make([]node, count)
	var names strings.Builder
	names.Grow(length)
	for i := range t.nodes {
		n := &t.nodes[i]
		if len(b) < 4+sha256.Size {
			return errBroken
		}
		n.kind = tree.Kind(b[0])
		b = b[1:]
		part := take(next())
		n.name, n.length = uint32(names.Len()), uint16(len(part))
		names.Write(part)
		at, k := binary.Uvarint(b)
		b = b[max(k, 0):]
		size, k2 := binary.Uvarint(b)
		b = b[max(k2, 0):]
		n.at, n.size = int64(at), int64(size)
		if k <= 0 || k2 <= 0 || copy(n.sum[:], take(sha256.Size)) != sha256.Size || !n.within(int64(count), contents) {
			return errBroken
		}
	}
	t.names = names.String()
	if t.nodes[0].kind != tree.Dir {
		return errBroken
	}
	return nil
}

func (n *node) within(nodes, contents int64) bool {
	most := contents
	if n.kind == tree.Dir {
		most = nodes
	}
	return n.kind <= tree.Link && n.at >= 0 && n.size >= 0 && n.at <= most && n.size <= most-n.at
}
