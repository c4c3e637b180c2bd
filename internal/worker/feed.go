package worker

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"plumb.dev/plumb/tree"
)

// A feed tells a worker what it asks of a tree, and what it is likely to ask
// next: a question takes longer than a small file.
type feed struct {
	tree   tree.Tree
	probes []string
	told   *told

	asked []ask           // all that was told
	dirs  map[string]bool // whose content was told
	err   error           // the first, beside that a name is not there
}

// told is which contents a worker has, by what identifies them.
type told struct {
	ids   map[tree.ID]bool
	bytes int
}

// Bounds of what is told without being asked for.
const (
	mostListed  = 256       // entries of a directory
	mostAhead   = 128 << 10 // bytes of files
	largestFile = 32 << 10
	mostTold    = 8 << 20 // bytes of contents that a worker keeps
)

// begin returns the first facts: the way to dir, and what is there.
func (f *feed) begin(dir string) (out facts) {
	if f.told.bytes > mostTold {
		*f.told = told{ids: map[tree.ID]bool{}}
		out.Anew = true
	}
	dir = path.Clean(dir)
	if !fs.ValidPath(dir) {
		return out // which is for the job to say
	}
	for d := dir; d != "."; d = path.Dir(d) {
		_ = f.entry(&out, d) // the job asks for it, if it can't be told
	}
	f.directory(&out, dir)
	return out
}

// answer returns the facts for a question.
func (f *feed) answer(a ask) (out facts) {
	if !fs.ValidPath(a.Name) {
		return facts{Failed: "it is no name"}
	}
	var err error
	switch a.What {
	case askLookup:
		if f.directory(&out, path.Dir(a.Name)); !slices.ContainsFunc(out.Entries, func(e fact) bool { return e.Name == a.Name }) {
			err = f.entry(&out, a.Name)
		}
	case askList:
		err = f.list(&out, a.Name)
	case askRead:
		err = f.content(&out, a.Name)
	default:
		err = errors.New("it is no question")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		out.Failed = err.Error()
		if f.err == nil {
			f.err = err
		}
	}
	return out
}

// entry adds what is at a name.
func (f *feed) entry(out *facts, name string) error {
	f.asked = append(f.asked, ask{askLookup, name})
	e, err := f.tree.Lookup(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why := (*tree.Excluded)(nil)
		errors.As(err, &why)
		out.Entries = append(out.Entries, fact{Name: name, Missing: true, Excluded: why})
	case err == nil:
		out.Entries = append(out.Entries, fact{Name: name, Kind: e.Kind, ID: e.ID})
	}
	return err
}

// list adds what is in a directory.
func (f *feed) list(out *facts, name string) error {
	f.asked = append(f.asked, ask{askList, name})
	entries, err := f.tree.ReadDir(name)
	if err != nil {
		return err
	}
	out.Lists = append(out.Lists, list{name, entries})
	return nil
}

// content adds what a file holds, or where a link leads.
func (f *feed) content(out *facts, name string) error {
	f.asked = append(f.asked, ask{askRead, name})
	e, err := f.tree.Lookup(name)
	if err != nil {
		return err
	}
	x := fact{Name: name, Kind: e.Kind, ID: e.ID, Told: true}
	if !f.told.ids[e.ID] {
		if x.Content, err = f.tree.ReadFile(name); err != nil {
			return err
		}
		f.tell(e.ID, x.Content)
	}
	out.Entries = append(out.Entries, x)
	return nil
}

func (f *feed) tell(id tree.ID, b []byte) {
	if id != "" && len(b) <= largestFile {
		f.told.ids[id] = true
		f.told.bytes += len(b) + len(id)
	}
}

// directory adds what is in a small directory, with the files that a build is
// likely to read. It was not asked for: what can't be told is left out.
func (f *feed) directory(out *facts, dir string) {
	if f.dirs[dir] {
		return
	}
	f.dirs[dir] = true
	e, err := f.tree.Lookup(dir)
	if err != nil || e.Kind != tree.Dir {
		return
	}
	f.asked = append(f.asked, ask{askList, dir})
	entries, err := f.tree.ReadDir(dir)
	if err != nil || len(entries) > mostListed {
		return
	}
	out.Lists = append(out.Lists, list{dir, entries})
	ahead := 0
	for _, e := range entries {
		x := fact{Name: path.Join(dir, e.Name), Kind: e.Kind, ID: e.ID}
		if f.likely(e) && ahead < mostAhead {
			x.Told = f.told.ids[e.ID]
			if !x.Told {
				f.asked = append(f.asked, ask{askRead, x.Name})
				if b, err := f.tree.ReadFile(x.Name); err == nil && len(b) <= largestFile {
					x.Told, x.Content = true, b
					ahead += len(b)
					f.tell(e.ID, b)
				}
			}
		}
		out.Entries = append(out.Entries, x)
	}
	for _, p := range f.probes {
		if !slices.ContainsFunc(entries, func(e tree.Entry) bool { return e.Name == p }) {
			_ = f.entry(out, path.Join(dir, p)) // it was not asked for
		}
	}
}

// likely reports whether a build is likely to read something.
func (f *feed) likely(e tree.Entry) bool {
	if e.Kind == tree.Link {
		return true
	}
	switch path.Ext(e.Name) {
	case ".yaml", ".yml":
		return e.Kind == tree.File
	}
	return e.Kind == tree.File && slices.Contains(f.probes, e.Name)
}

// seen is the trace of all that was told.
func (f *feed) seen() tree.Trace {
	t := tree.NewTracer(f.tree)
	for _, a := range f.asked {
		// What can't be read says so in the trace, or is not in it.
		switch a.What {
		case askLookup:
			_, _ = t.Lookup(a.Name)
		case askList:
			_, _ = t.ReadDir(a.Name)
		case askRead:
			_, _ = t.ReadFile(a.Name)
		}
	}
	trace, _ := t.Trace()
	return trace
}
