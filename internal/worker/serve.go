package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime/debug"

	"plumb.dev/plumb/tree"
)

// A Func does the jobs of a kind. The tree is not safe for concurrent use. With
// spent, the process does no other job, as it is not what it was.
type Func func(ctx context.Context, t tree.Tree, input []byte) (output []byte, spent bool)

// deepest is how many bytes of stack a goroutine may have. What is nested as
// deep as it may be takes a few.
const deepest = 32 << 20

// Serve does jobs, for a parent at the other end of two pipes, until that lets
// go of them. What the first job would wait for is done by warm.
func Serve(kinds map[string]Func, from io.Reader, to io.Writer, warm func()) error {
	l := newLink(from, to)
	var s setup
	if err := l.expect(frameSetup, &s); err != nil {
		return err
	}
	debug.SetMaxStack(deepest)
	debug.SetTraceback("none") // it takes seconds to go through a stack that has overflown
	// Little is kept from job to job, and so the heap would be collected often.
	debug.SetGCPercent(300)
	// Below the limit at which the parent ends this process: it is better to
	// collect more often.
	debug.SetMemoryLimit(s.Memory / 10 * 8)
	warm()
	if err := l.send(frameHello, confine(s)); err != nil {
		return err
	}
	frames := make(chan received)
	go func() {
		for {
			kind, b, err := l.receive()
			if err != nil {
				// Nobody is there. A job that goes on does so for nobody.
				os.Exit(0)
			}
			frames <- received{kind, b}
		}
	}()
	cache := map[tree.ID][]byte{}
	for f := range frames {
		var j job
		if f.kind != frameJob {
			return fmt.Errorf("a frame of kind %d, not a job", f.kind)
		}
		if err := decoder.Unmarshal(f.payload, &j); err != nil {
			return err
		}
		t := &remote{link: l, frames: frames, contents: cache, entries: map[string]fact{}, lists: map[string][]tree.Entry{}}
		t.learn(j.Facts)
		d := done{Failed: fmt.Sprintf("it does no jobs of kind %q", j.Kind)}
		if do, ok := kinds[j.Kind]; ok {
			d.Failed = ""
			d.Output, d.Spent = do(context.Background(), t, j.Input)
		}
		if err := l.send(frameDone, d); err != nil {
			return err
		}
	}
	return nil
}

type received struct {
	kind    frameKind
	payload []byte
}

// A remote is the tree of a job, as its worker has it: what was told, and the
// question for the rest.
type remote struct {
	link     *link
	frames   <-chan received
	contents map[tree.ID][]byte // of this job and those before
	entries  map[string]fact
	lists    map[string][]tree.Entry
}

// learn takes in what was told.
func (r *remote) learn(f facts) {
	if f.Anew {
		clear(r.contents)
	}
	for _, e := range f.Entries {
		if e.Told && e.ID != "" {
			if b, ok := r.contents[e.ID]; ok {
				e.Content = b
			} else if len(e.Content) <= largestFile {
				r.contents[e.ID] = e.Content
			}
		}
		if known := r.entries[e.Name]; known.Told && !e.Told {
			continue
		}
		r.entries[e.Name] = e
	}
	for _, l := range f.Lists {
		r.lists[l.Name] = l.Entries
	}
}

// ask asks the parent.
func (r *remote) ask(what askKind, op, name string) error {
	if err := r.link.send(frameAsk, ask{what, name}); err != nil {
		return err
	}
	got := <-r.frames
	var f facts
	if got.kind != frameFacts {
		return fmt.Errorf("a frame of kind %d, not an answer", got.kind)
	}
	if err := decoder.Unmarshal(got.payload, &f); err != nil {
		return err
	}
	r.learn(f)
	if f.Failed != "" {
		return &fs.PathError{Op: op, Path: name, Err: errors.New(f.Failed)}
	}
	return nil
}

// find returns what is known of a name, and asks if nothing is.
func (r *remote) find(op, name string) (fact, error) {
	if !fs.ValidPath(name) {
		return fact{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	e, ok := r.entries[name]
	if !ok {
		if err := r.ask(askLookup, op, name); err != nil {
			return fact{}, err
		}
		e = r.entries[name]
		if e.Name == "" {
			return fact{}, &fs.PathError{Op: op, Path: name, Err: errors.New("the question was not answered")}
		}
	}
	if !e.Missing {
		return e, nil
	}
	err := fs.ErrNotExist
	if e.Excluded != nil {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, e.Excluded)
	}
	return fact{}, &fs.PathError{Op: op, Path: name, Err: err}
}

// Lookup implements [tree.Tree].
func (r *remote) Lookup(name string) (tree.Entry, error) {
	e, err := r.find("lookup", name)
	return tree.Entry{Name: path.Base(name), Kind: e.Kind, ID: e.ID}, err
}

// ReadDir implements [tree.Tree].
func (r *remote) ReadDir(name string) ([]tree.Entry, error) {
	if l, ok := r.lists[name]; ok {
		return l, nil
	}
	if e, err := r.find("readdir", name); err != nil {
		return nil, err
	} else if e.Kind != tree.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	if l, ok := r.lists[name]; ok {
		return l, nil
	}
	if err := r.ask(askList, "readdir", name); err != nil {
		return nil, err
	}
	return r.lists[name], nil
}

// ReadFile implements [tree.Tree].
func (r *remote) ReadFile(name string) ([]byte, error) {
	e, err := r.find("read", name)
	if err != nil {
		return nil, err
	}
	if !e.Told {
		if e.Kind == tree.Dir || e.Kind == tree.Submodule {
			return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a " + e.Kind.String())}
		}
		if err := r.ask(askRead, "read", name); err != nil {
			return nil, err
		}
		if e = r.entries[name]; !e.Told {
			return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("the question was not answered")}
		}
	}
	return bytes.Clone(e.Content), nil
}
