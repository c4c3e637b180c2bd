package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// Options say how an archive is laid out.
type Options struct {
	// Top takes off the one directory that all is in, as charts have it. Names
	// with backslashes are then those of Windows.
	Top bool
}

// Untar adds what is in a tar archive, compressed by gzip or not. Modes, owners
// and times don't count, and directories are there by what is in them.
func Untar(ctx context.Context, r io.Reader, b *Builder, o Options) error {
	in := bufio.NewReader(awake{ctx, r})
	var plain io.Reader = in
	if head, _ := in.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return broken(err)
		}
		plain = z
	}
	// Headers are unpacked too, also such as are never shown here.
	l := b.limits
	plain = web.AtMost(plain, l.TotalBytes+2048*int64(l.Entries)+1<<20, "the unpacked archive")
	u := &untar{b: b, top: o.Top}
	n := 0
	for t := tar.NewReader(plain); ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(h, t)
		}
		if err != nil {
			return broken(err)
		}
	}
	// To the end, for the checksum. What some tools leave behind it is no harm.
	if _, err := io.Copy(io.Discard, plain); err != nil && !errors.Is(err, gzip.ErrHeader) {
		return broken(err)
	}
	if n == 0 {
		return corrupt("the archive is empty")
	}
	return nil
}

// broken explains what the readers of archives say. Faults, and what ended a
// context, speak for themselves.
func broken(err error) error {
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known error
	for _, is := range []error{gzip.ErrHeader, gzip.ErrChecksum, tar.ErrHeader, tar.ErrFieldTooLong, io.ErrUnexpectedEOF} {
		if errors.Is(err, is) {
			known = err
		}
	}
	var inflate flate.CorruptInputError
	if known == nil && !errors.As(err, &inflate) {
		return err // of the network, or of the disk
	}
	return corrupt("it is no archive of tar and gzip, or a broken one: %w", err)
}

type untar struct {
	b    *Builder
	top  bool
	name string // of the top directory
}

func (u *untar) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return u.b.count()
	}
	name, err := u.strip(h.Name, h.Typeflag == tar.TypeDir)
	if err != nil || name == "" {
		return errors.Join(err, u.b.count())
	}
	switch h.Typeflag {
	case tar.TypeDir:
		err = u.b.dir(name)
	case tar.TypeReg, tar.TypeGNUSparse:
		if h.Size > u.b.limits.FileBytes { // before zeros that are nowhere are counted
			return tooLarge("the file %q has more than %s", web.OneLine(h.Name, 200), web.Size(u.b.limits.FileBytes))
		}
		err = u.b.File(name, r)
	case tar.TypeSymlink:
		err = u.b.Link(name, h.Linkname)
	case tar.TypeLink:
		var to string
		if to, err = u.strip(h.Linkname, false); err == nil {
			err = u.b.Hardlink(name, to)
		}
	case tar.TypeChar, tar.TypeBlock:
		err = unsafeArchive(h.Name, "is a device")
	case tar.TypeFifo:
		err = unsafeArchive(h.Name, "is a pipe")
	default:
		err = unsafeArchive(h.Name, fmt.Sprintf("is of the unknown type %q", h.Typeflag))
	}
	return err
}

// strip takes the top directory off a name. Of that itself nothing is left.
func (u *untar) strip(name string, dir bool) (string, error) {
	if !u.top {
		return name, nil
	}
	if strings.ContainsRune(name, '\\') {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	to, why := clean(name)
	if why != "" {
		return "", unsafeArchive(name, why)
	}
	if to == "." && dir {
		return "", nil
	}
	top, rest, below := strings.Cut(to, "/")
	switch {
	case !below && !dir:
		return "", unsafeArchive(name, "is in no directory; a chart is a directory in its archive")
	case u.name == "":
		u.name = top
	case u.name != top:
		return "", unsafeArchive(name, fmt.Sprintf("is beside the directory %q, and a chart is one directory", web.OneLine(u.name, 100)))
	}
	if !below {
		return "", nil
	}
	return path.Clean(rest), nil
}

// awake ends reading when nobody waits for it.
type awake struct {
	ctx context.Context
	r   io.Reader
}

func (a awake) Read(b []byte) (int, error) {
	if a.ctx.Err() != nil {
		return 0, context.Cause(a.ctx)
	}
	return a.r.Read(b)
}
