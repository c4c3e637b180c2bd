// Package tree is plumb's view of a set of files: read-only and addressed by
// content.
//
// A [Tree] is what a source yields and what a renderer reads. Every file,
// link and directory in it has an [ID]; equal IDs mean equal content, in any
// two trees. That is what lets a render be kept for as long as nothing it read
// has changed (see [Tracer] and [Trace]).
//
// A Tree never follows a symbolic link and never leaves its root. Following
// links, within the root only, is the job of [Resolve], so that there is one
// place that can get containment wrong, and so that a trace sees every link
// that was passed on the way.
//
// Names are slash-separated and relative to the root, in the sense of
// [fs.ValidPath]; the root is ".". Errors are *[fs.PathError] with
// [fs.ErrNotExist], [fs.ErrInvalid] or an error of the store underneath.
package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"plumb.dev/plumb/fault"
)

// An ID names content. IDs of different schemes (a Git object, a digest) start
// with the scheme and so never compare equal by accident. The empty ID means
// that the content is not identified.
type ID string

// A Kind is what an entry is.
type Kind uint8

// The kinds of entry. Submodule is a directory whose content is not there.
const (
	File Kind = iota
	Dir
	Link
	Submodule
)

// String returns the kind in a word.
func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Link:
		return "symbolic link"
	case Submodule:
		return "submodule"
	}
	return "unknown"
}

// An Entry is one name in a directory.
type Entry struct {
	Name string // the last element; "." for the root
	Kind Kind
	ID   ID
}

// A Tree is a read-only set of files. It must be safe for concurrent use, and
// may not change: a later revision is another Tree.
type Tree interface {
	// Lookup returns the entry at name, without following a link there.
	// A link in an earlier element of name makes it not exist.
	Lookup(name string) (Entry, error)

	// ReadDir lists a directory, sorted by name. The caller must not change
	// the slice.
	ReadDir(name string) ([]Entry, error)

	// ReadFile returns the content of a file, or the target of a link. The
	// caller must not change the bytes.
	ReadFile(name string) ([]byte, error)
}

// maxLinks is how many links one name may pass through, as on Linux.
const maxLinks = 40

// Resolve returns the name that name stands for once every symbolic link in it
// has been followed. The result need not exist if only its last element is
// missing; an error is then for the caller's next step to return.
//
// A link that is absolute, leads out of the root or goes in circles is a
// [fault.Stall] with reason PathEscapesSource.
func Resolve(t Tree, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "resolve", Path: name, Err: fs.ErrInvalid}
	}
	done, rest := ".", strings.Split(name, "/")
	if name == "." {
		return ".", nil
	}
	for links := 0; len(rest) > 0; {
		next := rest[0]
		rest = rest[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", escapes(name, "leads out of the source")
			}
			done = path.Dir(done)
			continue
		}
		at := path.Join(done, next)
		e, err := t.Lookup(at)
		if errors.Is(err, fs.ErrNotExist) {
			return path.Join(append([]string{at}, rest...)...), nil
		}
		if err != nil {
			return "", err
		}
		if e.Kind != Link {
			done = at
			continue
		}
		if links++; links > maxLinks {
			return "", escapes(name, "goes through too many symbolic links")
		}
		target, err := t.ReadFile(at)
		if err != nil {
			return "", err
		}
		to := string(target)
		if to == "" || strings.HasPrefix(to, "/") || strings.ContainsRune(to, 0) {
			return "", escapes(name, fmt.Sprintf("passes the symbolic link %q, which leads out of the source", at))
		}
		// Checked on the whole target at once, so that a link that leaves
		// the root and comes back is refused as well.
		if p := path.Join(done, to); p == ".." || strings.HasPrefix(p, "../") {
			return "", escapes(name, fmt.Sprintf("passes the symbolic link %q, which leads out of the source", at))
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return done, nil
}

func escapes(name, why string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: "PathEscapesSource",
		Hint: "point the link or path at a file inside the repository",
		Err:  fmt.Errorf("path %q %s", name, why),
	}
}

// Stat is Lookup after Resolve.
func Stat(t Tree, name string) (Entry, error) {
	at, err := Resolve(t, name)
	if err != nil {
		return Entry{}, err
	}
	return t.Lookup(at)
}

// Read is ReadFile after Resolve, for regular files only.
func Read(t Tree, name string) ([]byte, error) {
	at, err := Resolve(t, name)
	if err != nil {
		return nil, err
	}
	return t.ReadFile(at)
}

// List is ReadDir after Resolve.
func List(t Tree, name string) ([]Entry, error) {
	at, err := Resolve(t, name)
	if err != nil {
		return nil, err
	}
	return t.ReadDir(at)
}

// Excluded is why a name doesn't show although it is there, for people: to a
// program it is not there, [fs.ErrNotExist].
type Excluded struct {
	By    string // the rule: "default exclusions"
	Shown string // what would show it: "spec.ignore: '!*.png'"
}

// Error says what excludes, and what brings back.
func (e *Excluded) Error() string {
	if e.Shown == "" {
		return "excluded by " + e.By
	}
	return fmt.Sprintf("excluded by %s; %s brings it back", e.By, e.Shown)
}

// Is reports whether target is [fs.ErrNotExist].
func (e *Excluded) Is(target error) bool { return target == fs.ErrNotExist }

// NotExist is the error for a name that is not there.
func NotExist(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}
