package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// Bounds that no limit moves.
const (
	maxName   = 4096 // bytes of a whole name, and of a link's target
	maxPart   = 255
	maxNote   = 4 << 20
	maxTarget = maxName
)

// A Builder takes the files of one content. Names are slash-separated; one that
// has no place in an archive is an error with the reason UnsafeArchive.
// Directories are there by what is in them: one of which nothing is doesn't
// count.
type Builder struct {
	limits  Limits
	f       *os.File
	w       *bufio.Writer
	at      int64 // how long f is
	total   int64 // bytes of all files, and of those that another has too
	entries int
	note    []byte
	root    *made
	where   map[[sha256.Size]byte]int64 // contents
	err     error                       // after which f can't be told
}

// made is a node while it is built.
type made struct {
	node
	below map[string]*made // of a directory
}

func unsafeArchive(name, why string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: ReasonUnsafeArchive, Hint: "remove it from the archive",
		Err: fmt.Errorf("the entry %q %s", web.OneLine(name, 200), why),
	}
}

func tooLarge(format string, args ...any) error {
	return web.Failure(ReasonTooLarge, format, args...)
}

// clean returns a name as [fs.ValidPath] has it, or why it can be none, in
// words that follow it.
func clean(name string) (clean, why string) {
	switch {
	case name == "":
		return "", "has no name"
	case len(name) > maxName:
		return "", fmt.Sprintf("has a name of more than %d bytes", maxName)
	case strings.HasPrefix(name, "/"):
		return "", "has an absolute name"
	case strings.ContainsRune(name, 0):
		return "", "has a name with a zero byte in it"
	case len(name) > 1 && name[1] == ':' && (len(name) == 2 || name[2] == '/' || name[2] == '\\'):
		return "", "has an absolute name" // on Windows
	}
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." { // on Windows a backslash is a slash
			return "", "has a name that leads out"
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxPart {
			return "", fmt.Sprintf("has a part of a name of more than %d bytes", maxPart)
		}
	}
	clean = path.Clean(name)
	if !fs.ValidPath(clean) {
		return "", "has a name that is not text"
	}
	return clean, ""
}

func (b *Builder) tooDeep(name string) error {
	return unsafeArchive(name, fmt.Sprintf("is more than %d directories deep", b.limits.Depth))
}

// count is called for each entry that is seen, also for one that adds nothing.
func (b *Builder) count() error {
	if b.entries++; b.entries > b.limits.Entries {
		return tooLarge("there are more than %d entries", b.limits.Entries)
	}
	return nil
}

// place returns the directory of a name, which is made, and its last part.
func (b *Builder) place(name string) (dir *made, last string, err error) {
	to, why := clean(name)
	if why == "" && to == "." {
		why = "is the directory of all"
	}
	if why != "" {
		return nil, "", unsafeArchive(name, why)
	}
	if strings.Count(to, "/") > b.limits.Depth {
		return nil, "", b.tooDeep(name)
	}
	at, last := path.Split(to)
	if dir, err = b.mkdir(name, strings.TrimSuffix(at, "/")); err != nil {
		return nil, "", err
	}
	if dir.below[last] != nil {
		return nil, "", unsafeArchive(name, "is there twice")
	}
	return dir, last, nil
}

// mkdir returns a directory that an entry needs, which is made.
func (b *Builder) mkdir(entry, name string) (*made, error) {
	at := b.root
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '/' }) {
		next := at.below[part]
		if next == nil {
			if err := b.count(); err != nil {
				return nil, err
			}
			next = &made{node: node{kind: tree.Dir}, below: make(map[string]*made)}
			at.below[part] = next
		}
		if next.kind != tree.Dir {
			return nil, unsafeArchive(entry, "is where a "+next.kind.String()+" is already")
		}
		at = next
	}
	return at, nil
}

func (b *Builder) add(name string, n node) error {
	if err := b.count(); err != nil {
		return err
	}
	dir, last, err := b.place(name)
	if err != nil {
		return err
	}
	dir.below[last] = &made{node: n}
	return nil
}

// Note keeps something beside the files, of 4 MiB at most, for [Tree.Note].
func (b *Builder) Note(note []byte) error {
	if len(note) > maxNote {
		return tooLarge("what is noted has more than %s", web.Size(maxNote))
	}
	b.note = slices.Clone(note)
	return nil
}

// File adds a file with what is in r.
func (b *Builder) File(name string, r io.Reader) error {
	if _, _, err := b.place(name); err != nil {
		return err // before anything is read
	}
	n, err := b.content(name, r)
	if err != nil {
		return err
	}
	return b.add(name, n)
}

func (b *Builder) find(name string) *made {
	at := b.root
	for part := range strings.SplitSeq(name, "/") {
		if at = at.below[part]; at == nil {
			return nil
		}
	}
	return at
}

// ReadFile returns what is in a file that was added, if that is not longer than
// most.
func (b *Builder) ReadFile(name string, most int64) ([]byte, error) {
	at := b.find(name)
	if at == nil || at.kind != tree.File {
		return nil, tree.NotExist("read", name)
	}
	if at.size > most {
		return nil, tooLarge("the file %q has more than %s", web.OneLine(name, 200), web.Size(most))
	}
	c := make([]byte, at.size)
	if err := b.w.Flush(); err != nil {
		return nil, err
	}
	_, err := b.f.ReadAt(c, at.at)
	return c, err
}

// content writes what is in r, unless that is there already.
func (b *Builder) content(name string, r io.Reader) (n node, err error) {
	h := sha256.New()
	most := min(b.limits.FileBytes, b.limits.TotalBytes-b.total)
	n.at = b.at
	if n.size, err = io.Copy(io.MultiWriter(b.w, h), io.LimitReader(r, most+1)); err != nil {
		b.err = err
		return n, err
	}
	b.at += n.size
	if b.total += n.size; n.size > b.limits.FileBytes {
		return n, tooLarge("the file %q has more than %s", web.OneLine(name, 200), web.Size(b.limits.FileBytes))
	} else if n.size > most {
		return n, tooLarge("all files have more than %s", web.Size(b.limits.TotalBytes))
	}
	h.Sum(n.sum[:0])
	if at, ok := b.where[n.sum]; ok {
		b.err = b.w.Flush()
		if b.err == nil {
			_, b.err = b.f.Seek(n.at, io.SeekStart)
		}
		b.at, n.at = n.at, at
		return n, b.err
	}
	b.where[n.sum] = n.at
	return n, nil
}

// Link adds a symbolic link. One that leads out of all that is added is
// refused; what it leads to need not be there.
func (b *Builder) Link(name, target string) error {
	at, why := clean(name)
	if why != "" {
		return unsafeArchive(name, why)
	}
	to := path.Join(path.Dir(at), target)
	if target == "" || len(target) > maxTarget || strings.HasPrefix(target, "/") || strings.ContainsRune(target, 0) ||
		to == ".." || strings.HasPrefix(to, "../") {
		return unsafeArchive(name, "is a symbolic link that leads out")
	}
	n, err := b.content(name, strings.NewReader(target))
	n.kind = tree.Link
	if err != nil {
		return err
	}
	return b.add(name, n)
}

// Hardlink adds a file with the content of one that was added before.
func (b *Builder) Hardlink(name, target string) error {
	to, why := clean(target)
	if why != "" {
		return unsafeArchive(name, "is a hard link that leads out")
	}
	at := b.find(to)
	if at == nil || at.kind != tree.File {
		return unsafeArchive(name, "is a hard link to what is no file before it")
	}
	if b.total += at.size; b.total > b.limits.TotalBytes {
		return tooLarge("all files have more than %s", web.Size(b.limits.TotalBytes))
	}
	return b.add(name, at.node)
}

// dir makes sure that a name can be a directory's.
func (b *Builder) dir(name string) error {
	if err := b.count(); err != nil {
		return err
	}
	to, why := clean(name)
	switch {
	case why != "":
		return unsafeArchive(name, why)
	case to == ".":
		return nil
	case strings.Count(to, "/") >= b.limits.Depth:
		return b.tooDeep(name)
	}
	_, err := b.mkdir(name, to)
	return err
}

// build has a file filled, and returns what is in it.
func build(f *os.File, l Limits, fill func(*Builder) error) (*Tree, error) {
	b := &Builder{
		limits: l, f: f, w: bufio.NewWriterSize(f, 64<<10), where: make(map[[sha256.Size]byte]int64),
		root: &made{node: node{kind: tree.Dir}, below: make(map[string]*made)},
	}
	if err := fill(b); err != nil {
		return nil, err
	}
	if b.err != nil {
		return nil, b.err
	}
	t := b.tree()
	list := t.list()
	if len(list) > maxList {
		return nil, tooLarge("the names have more than %s", web.Size(maxList))
	}
	t.sum = sha256.Sum256(list)
	tail := binary.BigEndian.AppendUint64(list, uint64(len(list)))
	tail = append(append(tail, t.sum[:]...), magic...)
	_, err := b.w.Write(tail)
	if err = errors.Join(err, b.w.Flush(), f.Truncate(b.at+int64(len(tail)))); err != nil {
		return nil, fmt.Errorf("archive store: %w", err)
	}
	return t, nil
}

// tree lays out what was added: each directory's entries beside each other.
func (b *Builder) tree() *Tree {
	b.root.identify()
	t := &Tree{f: b.f, note: b.note, broken: new(atomic.Bool), nodes: []node{b.root.node}}
	var names strings.Builder
	for i, queue := 0, []*made{b.root}; len(queue) > 0; i, queue = i+1, queue[1:] {
		at := queue[0]
		if at.kind != tree.Dir {
			continue
		}
		t.nodes[i].at, t.nodes[i].size = int64(len(t.nodes)), int64(len(at.below))
		for _, name := range slices.Sorted(maps.Keys(at.below)) {
			n := at.below[name]
			n.name, n.length = uint32(names.Len()), uint16(len(name))
			names.WriteString(name)
			t.nodes = append(t.nodes, n.node)
			queue = append(queue, n)
		}
	}
	t.names = names.String()
	t.nodes = slices.Clip(t.nodes)
	return t
}

// identify leaves out directories without a file, and gives the others their
// IDs.
func (m *made) identify() {
	var entries []tree.Entry
	for _, name := range slices.Sorted(maps.Keys(m.below)) {
		n := m.below[name]
		if n.kind == tree.Dir {
			if n.identify(); len(n.below) == 0 {
				delete(m.below, name)
				continue
			}
		}
		entries = append(entries, tree.Entry{Name: name, Kind: n.kind, ID: n.id()})
	}
	if id, err := hex.DecodeString(strings.TrimPrefix(string(tree.DirID(entries)), dirScheme)); err == nil {
		copy(m.sum[:], id)
	}
}
