package git

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

const idScheme = "git:"

// A gitTree is the tree of a commit. Its IDs are those of Git, so they are the
// same in every repository.
type gitTree struct {
	set  *packSet
	root oid
}

var _ tree.Tree = gitTree{}

// A listing is a parsed tree object, sorted by name.
type listing struct {
	entries []tree.Entry
	ids     []oid
	cost    int64
}

func (l *listing) find(name string) (int, bool) {
	return slices.BinarySearchFunc(l.entries, name, func(e tree.Entry, name string) int {
		return strings.Compare(e.Name, name)
	})
}

// list returns the listing of a tree object.
func (s *packSet) list(id oid) (*listing, error) {
	key := cacheKey{s.owner, id}
	if l, ok := s.caches.trees.Get(key); ok {
		return l, nil
	}
	k, b, err := s.read(id)
	if err != nil {
		return nil, err
	}
	if k != treeObject {
		s.corrupt.Store(true)
		return nil, errCorrupt("object %s is a %s and not a tree", id, k)
	}
	l, err := parseTree(b)
	if err != nil {
		return nil, err
	}
	s.caches.trees.Add(key, l, l.cost)
	return l, nil
}

// parseTree parses a tree object and refuses names that have no place in one.
// The entries' strings share two allocations.
func parseTree(b []byte) (*listing, error) {
	type raw struct {
		kind     tree.Kind
		from, to int
		id       oid
	}
	var raws []raw
	names := make([]byte, 0, len(b))
	for len(b) > 0 {
		space := bytes.IndexByte(b, ' ')
		end := bytes.IndexByte(b, 0)
		if space < 0 || end < space || len(b) < end+21 {
			return nil, errCorrupt("a tree object is broken")
		}
		r := raw{from: len(names)}
		name := b[space+1 : end]
		switch mode := strings.TrimLeft(string(b[:space]), "0"); mode {
		case "100644", "100755", "100664":
			r.kind = tree.File
		case "40000":
			r.kind = tree.Dir
		case "120000":
			r.kind = tree.Link
		case "160000":
			r.kind = tree.Submodule
		default:
			return nil, unsafeTree("%q has the unknown mode %q", web.OneLine(string(name), 200), web.OneLine(mode, 20))
		}
		if why := unsafeName(string(name)); why != "" {
			return nil, unsafeTree("the name %q %s", web.OneLine(string(name), 200), why)
		}
		names = append(names, name...)
		r.to = len(names)
		copy(r.id[:], b[end+1:end+21])
		raws = append(raws, r)
		b = b[end+21:]
	}
	text := string(names)
	// Git sorts directories as if their names ended in a slash.
	slices.SortFunc(raws, func(a, b raw) int { return strings.Compare(text[a.from:a.to], text[b.from:b.to]) })
	const idLen = len(idScheme) + 40
	buf := make([]byte, 0, idLen*len(raws))
	for _, r := range raws {
		buf = append(buf, idScheme...)
		buf = hex.AppendEncode(buf, r.id[:])
	}
	ids := string(buf)
	l := &listing{entries: make([]tree.Entry, len(raws)), ids: make([]oid, len(raws))}
	for i, r := range raws {
		l.ids[i] = r.id
		l.entries[i] = tree.Entry{Name: text[r.from:r.to], Kind: r.kind, ID: tree.ID(ids[i*idLen : (i+1)*idLen])}
		if i > 0 && l.entries[i-1].Name == l.entries[i].Name {
			return nil, unsafeTree("the name %q is there twice", web.OneLine(l.entries[i].Name, 200))
		}
	}
	l.cost = int64(len(text)+len(ids)) + int64(len(raws))*int64(unsafe.Sizeof(tree.Entry{})+unsafe.Sizeof(oid{})) + 200
	return l, nil
}

func unsafeTree(format string, args ...any) *fault.Error {
	f := failure(ReasonUnsafeTree, format, args...)
	f.Hint = "remove it from the repository"
	return f
}

// unsafeName says why a name must not be in a tree, in words that follow it.
// These are the rules of git fsck: nothing is checked out here, but a tree
// that is made to harm a checkout is not one to deploy from.
func unsafeName(name string) string {
	switch {
	case name == "":
		return "is empty"
	case name == "." || name == "..":
		return "is not a file's"
	case strings.Contains(name, "/"):
		return "has a slash in it"
	case isDotGit(name):
		return "stands for a .git directory"
	case strings.Contains(name, `\`):
		// On Windows a backslash is a slash.
		for part := range strings.SplitSeq(name, `\`) {
			if part == ".." || isDotGit(part) {
				return "stands for a .git directory or one outside"
			}
		}
	}
	return ""
}

// isDotGit reports whether some file system takes name for .git: HFS+ ignores
// case and some invisible characters, NTFS ignores case and what follows a
// colon, dots and spaces at the end, and has git~1 for a second name.
func isDotGit(name string) bool {
	if len(name) < 4 {
		return false
	}
	if name[0] != '.' && name[0] != 'g' && name[0] != 'G' && name[0] < utf8.RuneSelf {
		return false
	}
	bare := name
	if i := strings.IndexByte(bare, ':'); i >= 0 {
		bare = bare[:i]
	}
	bare = strings.TrimRight(bare, ". ")
	if strings.EqualFold(bare, ".git") || strings.EqualFold(bare, "git~1") {
		return true
	}
	visible := strings.Map(func(r rune) rune {
		switch {
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name)
	return strings.EqualFold(visible, ".git")
}

// walk returns the entry at name.
func (t gitTree) walk(op, name string) (tree.Entry, oid, error) {
	if !fs.ValidPath(name) {
		return tree.Entry{}, oid{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := tree.Entry{Name: ".", Kind: tree.Dir, ID: tree.ID(idScheme + t.root.String())}
	id := t.root
	if name == "." {
		return at, id, nil
	}
	for rest, more := name, true; more; {
		var part string
		part, rest, more = strings.Cut(rest, "/")
		if at.Kind != tree.Dir {
			return tree.Entry{}, oid{}, tree.NotExist(op, name)
		}
		l, err := t.set.list(id)
		if err != nil {
			return tree.Entry{}, oid{}, &fs.PathError{Op: op, Path: name, Err: err}
		}
		i, ok := l.find(part)
		if !ok {
			return tree.Entry{}, oid{}, tree.NotExist(op, name)
		}
		at, id = l.entries[i], l.ids[i]
	}
	return at, id, nil
}

// Lookup implements tree.Tree.
func (t gitTree) Lookup(name string) (tree.Entry, error) {
	e, _, err := t.walk("lookup", name)
	return e, err
}

// ReadDir implements tree.Tree.
func (t gitTree) ReadDir(name string) ([]tree.Entry, error) {
	e, id, err := t.walk("readdir", name)
	if err != nil {
		return nil, err
	}
	if e.Kind != tree.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	l, err := t.set.list(id)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return l.entries, nil
}

// ReadFile implements tree.Tree.
func (t gitTree) ReadFile(name string) ([]byte, error) {
	e, id, err := t.walk("read", name)
	if err != nil {
		return nil, err
	}
	if e.Kind != tree.File && e.Kind != tree.Link {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + e.Kind.String())}
	}
	key := cacheKey{t.set.owner, id}
	if b, ok := t.set.caches.blobs.Get(key); ok {
		return b, nil
	}
	k, b, err := t.set.read(id)
	if err == nil && k != blobObject {
		t.set.corrupt.Store(true)
		err = errCorrupt("object %s is a %s and not a file", id, k)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	t.set.caches.blobs.Add(key, b, int64(len(b))+100)
	return b, nil
}

// Bounds on the shape of a tree. The second is on what a person would see who
// lists all of it: a few objects that hold each other many times can stand for
// billions of files.
const (
	maxDepth   = 256
	maxEntries = 20_000_000
)

// A survey looks through a commit's tree: that all of it is there, that no
// name in it is unsafe, that it ends somewhere. What an earlier survey of the
// same repository has seen is not looked at again, so it costs what changed.
type survey struct {
	set  *packSet
	seen map[oid]int64 // trees, and how many entries are in and below each
}

func (v *survey) tree(id oid, at string, depth int) (int64, error) {
	if n, ok := v.seen[id]; ok {
		return n, nil
	}
	if depth > maxDepth {
		return 0, errTooLarge("%q: directories are more than %d deep", web.Clip(at, 100), maxDepth)
	}
	l, err := v.set.list(id)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) && f.Reason == ReasonUnsafeTree {
			return 0, &fault.Error{Next: f.Next, Reason: f.Reason, Hint: f.Hint, Err: fmt.Errorf("in directory %q: %w", web.OneLine(at, 200), f.Err)}
		}
		return 0, err
	}
	n := int64(len(l.entries))
	for i, e := range l.entries {
		switch e.Kind {
		case tree.Dir:
			below, err := v.tree(l.ids[i], path.Join(at, e.Name), depth+1)
			if err != nil {
				return 0, err
			}
			n += below
		case tree.File, tree.Link:
			if !v.set.has(l.ids[i]) {
				return 0, errCorrupt("object %s, %q, is missing", l.ids[i], web.OneLine(path.Join(at, e.Name), 200))
			}
		}
		if n > maxEntries {
			return 0, errTooLarge("the tree has more than %d entries", int64(maxEntries))
		}
	}
	v.seen[id] = n
	return n, nil
}
