package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// OpenDir returns a Tree over a directory of the local file system, such as a
// user's checkout. Every read goes through an [os.Root], so that no link can
// lead out of it. The .git directory is left out.
//
// Unlike the trees of a source it shows the files as they are when they are
// read; the IDs are digests, computed once per name.
func OpenDir(dir string) (Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return &dirTree{root: root, ids: make(map[string]ID)}, nil
}

type dirTree struct {
	root *os.Root
	mu   sync.Mutex
	ids  map[string]ID
}

func kindOf(m fs.FileMode) (Kind, bool) {
	switch {
	case m.IsRegular():
		return File, true
	case m.IsDir():
		return Dir, true
	case m&fs.ModeSymlink != 0:
		return Link, true
	}
	return File, false // devices, sockets and pipes are not part of a tree
}

func (d *dirTree) Lookup(name string) (Entry, error) {
	if !fs.ValidPath(name) {
		return Entry{}, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrInvalid}
	}
	// A name below a link does not exist: os.Root would follow it.
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if fi, err := d.root.Lstat(dir); err != nil || !fi.IsDir() {
			return Entry{}, NotExist("lookup", name)
		}
	}
	fi, err := d.root.Lstat(name)
	if err != nil {
		return Entry{}, plainPathError("lookup", name, err)
	}
	kind, ok := kindOf(fi.Mode())
	if !ok || path.Base(name) == ".git" {
		return Entry{}, NotExist("lookup", name)
	}
	id, err := d.id(name, kind)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Name: path.Base(name), Kind: kind, ID: id}, nil
}

func (d *dirTree) id(name string, kind Kind) (ID, error) {
	d.mu.Lock()
	id, ok := d.ids[name]
	d.mu.Unlock()
	if ok {
		return id, nil
	}
	if kind == Dir {
		entries, err := d.ReadDir(name)
		if err != nil {
			return "", err
		}
		id = DirID(entries)
	} else {
		b, err := d.ReadFile(name)
		if err != nil {
			return "", err
		}
		id = digest(b)
	}
	d.mu.Lock()
	d.ids[name] = id
	d.mu.Unlock()
	return id, nil
}

func (d *dirTree) ReadDir(name string) ([]Entry, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, plainPathError("readdir", name, err)
	}
	defer f.Close()
	found, err := f.ReadDir(-1)
	if err != nil {
		return nil, plainPathError("readdir", name, err)
	}
	var entries []Entry
	for _, de := range found {
		kind, ok := kindOf(de.Type())
		if !ok || de.Name() == ".git" {
			continue
		}
		id, err := d.id(path.Join(name, de.Name()), kind)
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Name: de.Name(), Kind: kind, ID: id})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (d *dirTree) ReadFile(name string) ([]byte, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return nil, plainPathError("read", name, err)
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		to, err := d.root.Readlink(name)
		return []byte(to), err
	}
	b, err := d.root.ReadFile(name)
	if err != nil {
		return nil, plainPathError("read", name, err)
	}
	return b, nil
}

func plainPathError(op, name string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if errors.Is(err, syscall.ENOTDIR) {
		err = fs.ErrNotExist
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
