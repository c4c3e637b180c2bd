package archive

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb.dev/plumb/source/keyed"
)

// A reader is the proof that somebody may read a file of a place: its server
// has named it, or handed it out, to who asked with that access.
type reader struct{ file, access string }

// maxReaders is how many are remembered for a place. Who is forgotten is asked
// about again.
const maxReaders = 1024

// readers are those of a place, the oldest first, as on disk.
type readers struct{ list []reader }

func readReaders(dir string) (r readers) {
	b, _ := os.ReadFile(filepath.Join(dir, "readers")) // without it they are asked about again
	for line := range strings.Lines(string(b)) {
		if f, access, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			r.list = append(r.list, reader{f, access})
		}
	}
	return r
}

func (r *readers) has(is reader) bool { return slices.Contains(r.list, is) }

// forget drops those of a file.
func (r *readers) forget(dir, file string) error {
	n := len(r.list)
	r.list = slices.DeleteFunc(r.list, func(is reader) bool { return is.file == file })
	if len(r.list) == n {
		return nil
	}
	return r.write(dir)
}

func (r *readers) add(dir string, is reader) error {
	if r.has(is) {
		return nil
	}
	r.list = append(r.list, is)
	if len(r.list) > maxReaders {
		r.list = slices.Delete(r.list, 0, 1)
	}
	return r.write(dir)
}

func (r *readers) write(dir string) error {
	var b strings.Builder
	for _, is := range r.list {
		fmt.Fprintln(&b, is.file, is.access)
	}
	return keyed.WriteFile(filepath.Join(dir, "readers"), []byte(b.String()))
}
