package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"plumb.dev/plumb/tree"
)

// A Folder keeps results in files, one for each key, so that a start need not
// render again what has not changed since. A file that is broken, or was
// written by another program than this one, is as good as none. Whoever can
// write to the folder decides what a Cache gives, so it is for its owner alone.
type Folder struct{ dir string }

// OpenFolder opens the folder at dir, and makes it if it isn't there. What
// another build of the program has left in it is removed: it may have rendered
// otherwise.
func OpenFolder(dir string) (*Folder, error) {
	build, err := thisBuild()
	if err != nil {
		return nil, fmt.Errorf("identify this program: %w", err)
	}
	f := &Folder{dir: filepath.Join(dir, build)}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	others, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.Name() != build {
			if err := os.RemoveAll(filepath.Join(dir, o.Name())); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// thisBuild identifies the program and all it is made of.
func thisBuild() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(exe)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// A page is what a file holds, after its checksum.
type page struct {
	Key, Options string
	Items        []Item
	Digest       string
	Kind         string
	Trace        tree.Trace
	Revised      bool
	Revision     string
	Asked        Asked
	Answered     string
	Varies       []Varying
	Warnings     []string
	Packed       []byte
	Ends         []int
}

func (f *Folder) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(f.dir, hex.EncodeToString(sum[:16]))
}

// load returns what is kept for a key, if that was made with these options.
func (f *Folder) load(key, options string) (Result, bool) {
	b, err := os.ReadFile(f.file(key))
	if err != nil || len(b) < sha256.Size {
		return Result{}, false
	}
	if sum := sha256.Sum256(b[sha256.Size:]); !bytes.Equal(sum[:], b[:sha256.Size]) {
		return Result{}, false
	}
	var p page
	if err := gob.NewDecoder(bytes.NewReader(b[sha256.Size:])).Decode(&p); err != nil || p.Key != key || p.Options != options {
		return Result{}, false
	}
	gather(p.Items)
	return Result{
		Items: p.Items, Digest: p.Digest, Kind: p.Kind, Trace: p.Trace, Revised: p.Revised, Revision: p.Revision,
		Asked: p.Asked, Answered: p.Answered, Varies: p.Varies,
		Cacheable: true, Warnings: p.Warnings,
		body: &body{packed: p.Packed, ends: p.Ends},
	}, true
}

// save keeps a result. It need not survive a loss of power: half a file is
// found out when it is read.
func (f *Folder) save(key, options string, r Result) error {
	var b bytes.Buffer
	b.Write(make([]byte, sha256.Size))
	p := page{
		Key: key, Options: options, Items: r.Items, Digest: r.Digest, Kind: r.Kind, Trace: r.Trace, Revised: r.Revised, Revision: r.Revision, Asked: r.Asked, Answered: r.Answered, Varies: r.Varies, Warnings: r.Warnings,
		Packed: r.body.packed, Ends: r.body.ends,
	}
	if err := gob.NewEncoder(&b).Encode(p); err != nil {
		return err
	}
	sum := sha256.Sum256(b.Bytes()[sha256.Size:])
	copy(b.Bytes(), sum[:])
	at := f.file(key)
	if err := os.WriteFile(at+".new", b.Bytes(), 0o600); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(at+".new")))
	}
	return os.Rename(at+".new", at)
}

func (f *Folder) forget(key string) error { return ignoreMissing(os.Remove(f.file(key))) }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
