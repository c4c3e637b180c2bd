package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// FromFiles returns a Tree of the given files. A content that starts with
// "-> " is a symbolic link to what follows. It is meant for small trees that a
// program makes itself, such as in tests.
func FromFiles(files map[string]string) Tree {
	m := &memTree{dirs: map[string][]Entry{".": nil}, data: map[string][]byte{}, at: map[string]Entry{}}
	for name, content := range files {
		if !fs.ValidPath(name) || name == "." {
			panic(fmt.Sprintf("tree.FromFiles: invalid name %q", name))
		}
		kind := File
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			kind, content = Link, strings.TrimSuffix(to, "\n")
		}
		m.data[name] = []byte(content)
		m.at[name] = Entry{Name: path.Base(name), Kind: kind, ID: digest([]byte(content))}
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if _, ok := m.dirs[dir]; !ok {
				m.dirs[dir] = nil
			}
			if dir == "." {
				break
			}
		}
	}
	names := make([]string, 0, len(m.dirs))
	for d := range m.dirs {
		names = append(names, d)
	}
	// The deepest first, so that a directory's ID is there for its parent.
	slices.SortFunc(names, func(a, b string) int { return depth(b) - depth(a) })
	for name, e := range m.at {
		m.dirs[path.Dir(name)] = append(m.dirs[path.Dir(name)], e)
	}
	for _, d := range names {
		slices.SortFunc(m.dirs[d], func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
		e := Entry{Name: path.Base(d), Kind: Dir, ID: DirID(m.dirs[d])}
		m.at[d] = e
		if d != "." {
			m.dirs[path.Dir(d)] = append(m.dirs[path.Dir(d)], e)
		}
	}
	return m
}

func depth(name string) int {
	if name == "." {
		return -1
	}
	return strings.Count(name, "/")
}

func digest(b []byte) ID { return FileID(sha256.Sum256(b)) }

// FileID returns the ID of a file or link, for trees that have no other, by
// the SHA-256 of its content.
func FileID(sum [sha256.Size]byte) ID { return ID("sha256:" + hex.EncodeToString(sum[:])) }

// DirID returns the ID of a directory with the given entries, for trees that
// have no other. Entries must be sorted and have IDs.
func DirID(entries []Entry) ID {
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%d %q %s\n", e.Kind, e.Name, e.ID)
	}
	return ID("dir:" + hex.EncodeToString(h.Sum(nil)))
}

type memTree struct {
	dirs map[string][]Entry
	data map[string][]byte
	at   map[string]Entry
}

func (m *memTree) Lookup(name string) (Entry, error) {
	if e, ok := m.at[name]; ok {
		return e, nil
	}
	return Entry{}, NotExist("lookup", name)
}

func (m *memTree) ReadDir(name string) ([]Entry, error) {
	if es, ok := m.dirs[name]; ok {
		return es, nil
	}
	return nil, NotExist("readdir", name)
}

func (m *memTree) ReadFile(name string) ([]byte, error) {
	if b, ok := m.data[name]; ok {
		return b, nil
	}
	return nil, NotExist("read", name)
}
