package gittest

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // Git's object IDs
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// The following make parts of packs, for those that git would not make.

// EntryHead is what stands before an object: its type and size.
func EntryHead(kind byte, size int) string {
	c := kind<<4 | byte(size&15)
	var b []byte
	for size >>= 4; size > 0; size >>= 7 {
		b = append(b, c|0x80)
		c = byte(size & 0x7f)
	}
	return string(append(b, c))
}

// Deflate is an object's content as a pack has it.
func Deflate(b []byte) string {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.String()
}

// StoredHead begins content that is not compressed; Stored is a part of it of
// at most 64 kB that is not the last.
const StoredHead = "\x78\x01"

// Stored is described at StoredHead.
func Stored(b []byte) string {
	n := len(b)
	return string([]byte{0, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}) + string(b)
}

// Varint is a size at the head of a delta.
func Varint(n int) string {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n)))
}

// ObjectID is the ID of an object, in its 20 bytes.
func ObjectID(kind, content string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)) //nolint:gosec
	return string(sum[:])
}

// Drip sends the first n bytes of a fetch, and the rest a byte at a time.
func Drip(n int, every time.Duration) Fault {
	return OnPack(func(w http.ResponseWriter, body []byte, r *http.Request) {
		c := http.NewResponseController(w)
		_, _ = w.Write(body[:min(n, len(body))])
		_ = c.Flush()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := n; i < len(body); i++ {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
			_, _ = w.Write(body[i : i+1])
			_ = c.Flush()
		}
	})
}

// Noise is n bytes that don't compress, the same for the same seed.
func Noise(seed uint64, n int) string {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return string(b)
}
