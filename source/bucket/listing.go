package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
	"plumb.dev/plumb/tree"
)

// An object is one of a bucket, as it was listed.
type object struct {
	Key  string
	ETag string
	Size int64
}

// A mark stands for an object in one state.
type mark [markLen]byte

const markLen = 16

func (o object) mark() mark {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d", o.Key, o.ETag, o.Size))
	return mark(sum[:markLen])
}

// A listing is the objects of a bucket that count, sorted by key.
type listing struct{ objects []object }

// revision is the digest of a listing, as Flux has it: of a line for each object
// with its key and ETag.
func (l listing) revision() string {
	h := sha256.New()
	for _, o := range l.objects {
		fmt.Fprintf(h, "%s %s\n", o.Key, o.ETag)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// arrange sorts what a server has listed, and makes sure that it can be files.
func arrange(all []object) error {
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.Key, b.Key) })
	files := make(map[string]bool, len(all))
	for _, o := range all {
		switch {
		case files[o.Key]:
			return unsafeKey(o.Key, "is there twice")
		case !fs.ValidPath(o.Key), strings.ContainsAny(o.Key, "\x00\\"), o.Key == ".":
			return unsafeKey(o.Key, "has a key that is no name of a file")
		case strings.ContainsAny(o.Key+o.ETag, "\n\r"):
			return unsafeKey(o.Key, "has a line break in its key") // it parts the lines of a revision
		case o.Size < 0:
			return unsafeKey(o.Key, "has a negative size")
		}
		files[o.Key] = true
	}
	for _, o := range all {
		for i, c := range o.Key {
			if c == '/' && files[o.Key[:i]] {
				return unsafeKey(o.Key, "is below another object, "+named(o.Key[:i])+", and one can't be a file and a directory")
			}
		}
	}
	return nil
}

func unsafeKey(key, why string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: archive.ReasonUnsafeArchive, Hint: "remove the object or call it otherwise, or give the source a prefix",
		Err: fmt.Errorf("the object %s %s", named(key), why),
	}
}

// counting returns the objects that are not ignored. The rules see files that
// are empty, but for the ignore file at the root.
func counting(all []object, ignoreFile string, ignore *string) ([]object, error) {
	files := make(map[string]string, len(all))
	for _, o := range all {
		files[o.Key] = ""
	}
	if _, ok := files[ignoreName]; ok {
		files[ignoreName] = ignoreFile
	}
	t, err := new(source.Ignorer).Apply(tree.FromFiles(files), ignore)
	if err != nil {
		return nil, err
	}
	shown := make(map[string]bool, len(all))
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := t.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := strings.TrimPrefix(dir+"/"+e.Name, "./")
			if e.Kind == tree.Dir {
				if err := walk(name); err != nil {
					return err
				}
				continue
			}
			shown[name] = true
		}
		return nil
	}
	if err := walk("."); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(o object) bool { return !shown[o.Key] && o.Key != ignoreName }), nil
}

// ignoreName is the file with rules of what is ignored.
const ignoreName = ".sourceignore"

// fits makes sure that objects are not too many or too large, before any of them
// travels.
func fits(all []object, l archive.Limits) error {
	if len(all) > l.Entries {
		return tooLarge("it has more than %d objects", l.Entries)
	}
	var total int64
	for _, o := range all {
		if total += o.Size; o.Size > l.FileBytes {
			return tooLarge("the object %s has more than %s", named(o.Key), web.Size(l.FileBytes))
		} else if total > l.TotalBytes {
			return tooLarge("all objects have more than %s", web.Size(l.TotalBytes))
		}
	}
	return nil
}

func tooLarge(format string, args ...any) error {
	f := web.Failure(web.ReasonTooLarge, format, args...)
	f.Hint = "give the source a prefix, or rules of what to ignore"
	return f
}
