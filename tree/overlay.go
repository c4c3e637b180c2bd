package tree

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"plumb.dev/plumb/fault"
)

// A Mount puts a tree, or the directory Sub of it, at a place in another.
type Mount struct {
	At   string // a directory, which is made if it isn't there
	Tree Tree
	Sub  string // empty: all of Tree
}

// Overlay returns base with the mounts in it, as if they had been copied there
// one after the other: directories are merged, and of two files the later one
// stays. Where nothing is mounted, IDs are those of base.
func Overlay(base Tree, mounts []Mount) (Tree, error) {
	o := &overlay{base: base, root: &point{}}
	for i, m := range mounts {
		at, err := Clean(m.At)
		if err != nil {
			return nil, err
		}
		sub, err := Clean(m.Sub)
		if err != nil {
			return nil, err
		}
		if sub, err = Resolve(m.Tree, sub); err != nil {
			return nil, err
		}
		if e, err := m.Tree.Lookup(sub); errors.Is(err, fs.ErrNotExist) || err == nil && e.Kind != Dir {
			return nil, pathNotFound(m.Sub)
		} else if err != nil {
			return nil, err
		}
		p := o.root
		if at != "." {
			for part := range strings.SplitSeq(at, "/") {
				p.last = i + 1
				p = p.child(part)
			}
		}
		p.last = i + 1
		p.mounts = append(p.mounts, layer{m.Tree, sub, i + 1})
	}
	return o, nil
}

// Clean returns a path that a user wrote as a name in a tree. One that is
// absolute or leads out of the tree is a [fault.Stall] with reason
// InvalidPath.
func Clean(p string) (string, error) {
	if p == "" {
		return ".", nil
	}
	clean := path.Clean(p)
	if strings.ContainsRune(p, 0) || !fs.ValidPath(clean) {
		return "", &fault.Error{
			Next: fault.Stall, Reason: "InvalidPath", Err: fmt.Errorf("path %q is not one inside the source", p),
			Hint: "use a path relative to the root of the repository",
		}
	}
	return clean, nil
}

func pathNotFound(p string) error {
	return &fault.Error{Next: fault.Stall, Reason: "PathNotFound", Err: fmt.Errorf("directory %q is not in the source", p)}
}

// A layer is a directory of a tree that is part of one in the overlay.
type layer struct {
	tree Tree
	dir  string
	turn int // when it was mounted, from 1; 0 is the base
}

// A point is a directory on the way to a mount, or the place of one.
type point struct {
	mounts []layer
	below  map[string]*point
	last   int // the last turn at or below this point
}

func (p *point) child(name string) *point {
	if p.below == nil {
		p.below = make(map[string]*point)
	}
	if p.below[name] == nil {
		p.below[name] = &point{}
	}
	return p.below[name]
}

type overlay struct {
	base Tree
	root *point
	ids  sync.Map // name of a merged directory → ID
}

// A place is what is at a name: one entry of one tree, or a directory that
// several make up.
type place struct {
	entry  Entry
	layers []layer // the latest first
	point  *point  // nil: nothing is mounted here or below
	since  int     // a file was here at that turn; what is older is gone
	merged bool
}

// joined returns p with what is mounted at its point.
func (p place) joined(name string) (place, error) {
	if p.point != nil && p.point.last < p.since {
		p.point = nil
	}
	if p.point != nil {
		for _, m := range p.point.mounts {
			if m.turn > p.since {
				p.layers = append(slices.Clone(p.layers), m)
			}
		}
		slices.SortStableFunc(p.layers, func(a, b layer) int { return b.turn - a.turn })
		for _, child := range p.point.below {
			p.merged = p.merged || child.last > p.since
		}
	}
	p.merged = p.merged || len(p.layers) != 1
	if p.merged || p.point == nil {
		return p, nil
	}
	e, err := p.layers[0].tree.Lookup(p.layers[0].dir)
	e.Name = path.Base(name)
	p.entry = e
	return p, err
}

// find walks to a name, one element at a time for as long as more than one
// tree has a say.
func (o *overlay) find(op, name string) (place, error) {
	if !fs.ValidPath(name) {
		return place{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at, err := place{layers: []layer{{tree: o.base, dir: "."}}, point: o.root}.joined(".")
	if err != nil || name == "." {
		return at, err
	}
	parts := strings.Split(name, "/")
	for i, part := range parts {
		if !at.merged {
			// One tree knows all the rest.
			if at.entry.Kind != Dir {
				return place{}, NotExist(op, name)
			}
			l := layer{tree: at.layers[0].tree, dir: path.Join(at.layers[0].dir, path.Join(parts[i:]...))}
			e, err := l.tree.Lookup(l.dir)
			if err != nil {
				return place{}, renamed(err, name)
			}
			return place{entry: e, layers: []layer{l}}, nil
		}
		next := place{since: at.since}
		var excluded error
		if at.point != nil {
			next.point = at.point.below[part]
		}
		for _, l := range at.layers {
			sub := layer{l.tree, path.Join(l.dir, part), l.turn}
			e, err := l.tree.Lookup(sub.dir)
			if errors.Is(err, fs.ErrNotExist) {
				excluded = cmp.Or(excluded, asExcluded(err))
				continue
			}
			if err != nil {
				return place{}, renamed(err, name)
			}
			if e.Kind == Dir {
				next.entry = e
				next.layers = append(next.layers, sub)
				continue
			}
			// A file takes the place of what was there before it. What came
			// after it takes its.
			if len(next.layers) == 0 && (next.point == nil || next.point.last <= l.turn) {
				next.entry, next.layers, next.point = e, []layer{sub}, nil
			}
			next.since = l.turn
			break
		}
		if len(next.layers) == 0 && next.point == nil {
			if excluded != nil {
				return place{}, renamed(excluded, name)
			}
			return place{}, NotExist(op, name)
		}
		if at, err = next.joined(part); err != nil {
			return place{}, renamed(err, name)
		}
	}
	return at, nil
}

// asExcluded returns err if it says why a name doesn't show.
func asExcluded(err error) error {
	if why := (*Excluded)(nil); errors.As(err, &why) {
		return err
	}
	return nil
}

func renamed(err error, name string) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return &fs.PathError{Op: pe.Op, Path: name, Err: pe.Err}
	}
	return err
}

// Lookup implements Tree.
func (o *overlay) Lookup(name string) (Entry, error) {
	at, err := o.find("lookup", name)
	if err != nil {
		return Entry{}, err
	}
	return o.entry(at, name)
}

func (o *overlay) entry(at place, name string) (Entry, error) {
	if !at.merged {
		return at.entry, nil
	}
	e := Entry{Name: path.Base(name), Kind: Dir}
	if id, ok := o.ids.Load(name); ok {
		e.ID = id.(ID)
		return e, nil
	}
	entries, err := o.ReadDir(name)
	if err != nil {
		return Entry{}, err
	}
	e.ID = DirID(entries)
	o.ids.Store(name, e.ID)
	return e, nil
}

// ReadDir implements Tree.
func (o *overlay) ReadDir(name string) ([]Entry, error) {
	at, err := o.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !at.merged {
		entries, err := at.layers[0].tree.ReadDir(at.layers[0].dir)
		if err != nil {
			return nil, renamed(err, name)
		}
		return entries, nil
	}
	names := make(map[string]bool)
	for _, l := range at.layers {
		entries, err := l.tree.ReadDir(l.dir)
		if err != nil {
			return nil, renamed(err, name)
		}
		for _, e := range entries {
			names[e.Name] = true
		}
	}
	if at.point != nil {
		for name, child := range at.point.below {
			if child.last > at.since {
				names[name] = true
			}
		}
	}
	out := make([]Entry, 0, len(names))
	for _, child := range slices.Sorted(maps.Keys(names)) {
		e, err := o.Lookup(path.Join(name, child))
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// ReadFile implements Tree.
func (o *overlay) ReadFile(name string) ([]byte, error) {
	at, err := o.find("read", name)
	if err != nil {
		return nil, err
	}
	if at.merged {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	b, err := at.layers[0].tree.ReadFile(at.layers[0].dir)
	if err != nil {
		return nil, renamed(err, name)
	}
	return b, nil
}
