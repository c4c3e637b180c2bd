package git

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"

	"github.com/pjbgf/sha1cd"
	"plumb.dev/plumb/source/web"
)

// An oid is the ID of a Git object.
type oid [20]byte

func (o oid) String() string { return hex.EncodeToString(o[:]) }

func (o oid) isZero() bool { return o == oid{} }

func parseOID(s string) (oid, error) {
	var o oid
	if len(s) != 2*len(o) {
		return o, fmt.Errorf("object ID %q is not 40 hexadecimal digits", web.Clip(s, 64))
	}
	if _, err := hex.Decode(o[:], []byte(s)); err != nil {
		return o, fmt.Errorf("object ID %q is not 40 hexadecimal digits", web.Clip(s, 64))
	}
	return o, nil
}

// A kind is the type of an object, as packs number them.
type kind uint8

const (
	commitObject kind = 1
	treeObject   kind = 2
	blobObject   kind = 3
	tagObject    kind = 4
	ofsDelta     kind = 6
	refDelta     kind = 7
)

func (k kind) String() string {
	switch k {
	case commitObject:
		return "commit"
	case treeObject:
		return "tree"
	case blobObject:
		return "blob"
	case tagObject:
		return "tag"
	}
	return "type " + strconv.Itoa(int(k))
}

// newHasher returns a hash that finds an object's ID. It is SHA-1 with
// detection of the known ways to make collisions, as Git itself uses: that
// equal IDs mean equal content is what everything above stands on.
func newHasher(k kind, size int64) hash.Hash {
	h := sha1cd.New()
	resetHasher(h, k, size)
	return h
}

func resetHasher(h hash.Hash, k kind, size int64) {
	h.Reset()
	var b [40]byte
	head := append(b[:0], k.String()...)
	head = append(head, ' ')
	head = strconv.AppendInt(head, size, 10)
	h.Write(append(head, 0))
}

// sumOID returns the ID that h has found, or an error if the content was made
// to collide with another.
func sumOID(h hash.Hash) (oid, error) {
	var o oid
	if c, ok := h.(sha1cd.CollisionResistantHash); ok {
		var b [20]byte
		sum, collision := c.CollisionResistantSum(b[:0])
		copy(o[:], sum)
		if collision {
			return o, fmt.Errorf("object %s is a SHA-1 collision", o)
		}
		return o, nil
	}
	copy(o[:], h.Sum(nil))
	return o, nil
}

func hashObject(k kind, data []byte) (oid, error) {
	h := newHasher(k, int64(len(data)))
	h.Write(data)
	return sumOID(h)
}

var errDelta = errors.New("delta does not fit its base")

// deltaSizes returns the sizes of the base and of the result of a delta, and
// its instructions.
func deltaSizes(delta []byte) (base, result int64, rest []byte, err error) {
	if base, delta, err = deltaVarint(delta); err != nil {
		return 0, 0, nil, err
	}
	if result, delta, err = deltaVarint(delta); err != nil {
		return 0, 0, nil, err
	}
	return base, result, delta, nil
}

func deltaVarint(b []byte) (int64, []byte, error) {
	var n uint64
	for i, shift := 0, 0; i < len(b) && shift < 56; i, shift = i+1, shift+7 {
		n |= uint64(b[i]&0x7f) << shift
		if b[i]&0x80 == 0 {
			return int64(n), b[i+1:], nil
		}
	}
	return 0, nil, errDelta
}

// applyDelta returns what delta makes of base. The result is no larger than
// limit, whatever the delta says.
func applyDelta(base, delta []byte, limit int64) ([]byte, error) {
	baseSize, size, in, err := deltaSizes(delta)
	if err != nil {
		return nil, err
	}
	if baseSize != int64(len(base)) {
		return nil, errDelta
	}
	if size > limit {
		return nil, errTooLarge("an object of %d bytes is over the limit of %d", size, limit)
	}
	out := make([]byte, 0, size)
	for len(in) > 0 {
		op := in[0]
		in = in[1:]
		switch {
		case op&0x80 != 0:
			var offset, n int
			for i := range 4 {
				if op&(1<<i) != 0 {
					if len(in) == 0 {
						return nil, errDelta
					}
					offset |= int(in[0]) << (8 * i)
					in = in[1:]
				}
			}
			for i := range 3 {
				if op&(0x10<<i) != 0 {
					if len(in) == 0 {
						return nil, errDelta
					}
					n |= int(in[0]) << (8 * i)
					in = in[1:]
				}
			}
			if n == 0 {
				n = 0x10000
			}
			if offset > len(base) || n > len(base)-offset || int64(n) > size-int64(len(out)) {
				return nil, errDelta
			}
			out = append(out, base[offset:offset+n]...)
		case op != 0:
			n := int(op)
			if n > len(in) || int64(n) > size-int64(len(out)) {
				return nil, errDelta
			}
			out = append(out, in[:n]...)
			in = in[n:]
		default:
			return nil, errDelta
		}
	}
	if int64(len(out)) != size {
		return nil, errDelta
	}
	return out, nil
}
