package tree

import (
	"path"
)

// RootID returns the ID of all of t, or nothing if it has none.
func RootID(t Tree) ID {
	e, err := t.Lookup(".")
	if err != nil {
		return ""
	}
	return e.ID
}

// A Diff is what a reader could see differently in two trees.
type Diff struct {
	From, To ID // of the roots
	// names are the files and links with another content, what is there in
	// only one of the trees, and directories with another listing.
	names map[string]struct{}
}

// maxDiff bounds the names in a Diff: where more than these differ, looking at
// traces one by one costs no more.
const maxDiff = 20_000

// Compare returns the difference of two trees. It lists only directories whose
// ID is not the same in both, so it costs what changed, and their siblings. ok
// is false if that can't be told, or is too much.
func Compare(from, to Tree) (d Diff, ok bool) {
	d = Diff{From: RootID(from), To: RootID(to), names: make(map[string]struct{})}
	if d.From == "" || d.To == "" {
		return Diff{}, false
	}
	if d.From != d.To && !d.directory(from, to, ".") {
		return Diff{}, false
	}
	return d, true
}

// Len returns the number of names that differ.
func (d Diff) Len() int { return len(d.names) }

func (d Diff) add(name string) bool {
	d.names[name] = struct{}{}
	return len(d.names) <= maxDiff
}

// directory adds what differs in a directory that both have.
func (d Diff) directory(a, b Tree, dir string) bool {
	x, y, err := unequal(a, b, dir)
	if err != nil {
		return false
	}
	listing := false
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0].Name < y[0].Name:
			listing = true
			if !d.all(a, path.Join(dir, x[0].Name), x[0]) {
				return false
			}
			x = x[1:]
		case len(x) == 0 || y[0].Name < x[0].Name:
			listing = true
			if !d.all(b, path.Join(dir, y[0].Name), y[0]) {
				return false
			}
			y = y[1:]
		default:
			name := path.Join(dir, x[0].Name)
			ok := true
			switch {
			case x[0].Kind != y[0].Kind:
				listing = true
				ok = d.all(a, name, x[0]) && d.all(b, name, y[0])
			case x[0].ID == y[0].ID && x[0].ID != "":
			case x[0].Kind == Dir:
				ok = d.directory(a, b, name)
			default:
				ok = d.add(name)
			}
			if !ok {
				return false
			}
			x, y = x[1:], y[1:]
		}
	}
	return !listing || d.add(dir)
}

// all adds a name and everything below it.
func (d Diff) all(t Tree, name string, e Entry) bool {
	if !d.add(name) {
		return false
	}
	if e.Kind != Dir {
		return true
	}
	entries, err := t.ReadDir(name)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if !d.all(t, path.Join(name, e.Name), e) {
			return false
		}
	}
	return true
}

// unequal lists a directory of both trees; what is certainly the same in both
// may be left out.
func unequal(a, b Tree, dir string) (x, y []Entry, err error) {
	f, isFilter := a.(*filter)
	g, both := b.(*filter)
	if isFilter && both {
		if x, y, ok, err := f.unequal(g, dir); ok || err != nil {
			return x, y, err
		}
	}
	if x, err = a.ReadDir(dir); err != nil {
		return nil, nil, err
	}
	y, err = b.ReadDir(dir)
	return x, y, err
}

// unequal compares what is below the filters first, which costs less than to
// ask what is hidden of each entry. ok is false where other rules are at work.
func (f *filter) unequal(g *filter, dir string) (x, y []Entry, ok bool, err error) {
	s, err := f.scope(dir)
	if err != nil {
		return nil, nil, false, err
	}
	r, err := g.scope(dir)
	if err != nil || s.ID() != r.ID() {
		return nil, nil, false, err
	}
	if x, y, err = unequal(f.t, g.t, dir); err != nil {
		return nil, nil, false, err
	}
	var left, right []Entry
	show := func(in *filter, e Entry, to *[]Entry) error {
		e, ok, err := in.see(path.Join(dir, e.Name), e)
		if err == nil && ok {
			*to = append(*to, e)
		}
		return err
	}
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(x) > 0 && len(y) > 0 && x[0] == y[0] && x[0].ID != "":
			x, y = x[1:], y[1:]
			continue
		case len(y) == 0 || len(x) > 0 && x[0].Name < y[0].Name:
			err, x = show(f, x[0], &left), x[1:]
		case len(x) == 0 || y[0].Name < x[0].Name:
			err, y = show(g, y[0], &right), y[1:]
		default:
			if err = show(f, x[0], &left); err == nil {
				err = show(g, y[0], &right)
			}
			x, y = x[1:], y[1:]
		}
		if err != nil {
			return nil, nil, false, err
		}
	}
	return left, right, true, nil
}

// Stands reports whether a trace that holds in one of the trees certainly
// holds in the other.
func (t Trace) Stands(d Diff) bool {
	if len(d.names) < len(t.seen) {
		for name := range d.names {
			if t.has(name) {
				return false
			}
		}
		return true
	}
	for _, s := range t.seen {
		if _, ok := d.names[s.Name]; ok {
			return false
		}
	}
	return true
}
