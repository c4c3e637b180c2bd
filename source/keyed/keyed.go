// Package keyed makes names for what a store keeps, and for who may read it,
// that tell nothing of a password to whoever reads the disk.
package keyed

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
)

// Len is how long a name is, in hexadecimal digits.
const Len = 40

// A Salt is what one store's names depend on.
type Salt []byte

// Read returns the salt of a store, of which name is the file. It is made if
// it isn't there.
func Read(name string) (Salt, error) {
	salt, err := os.ReadFile(name)
	if err == nil && len(salt) == 32 {
		return salt, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	salt = make([]byte, 32)
	rand.Read(salt)
	return salt, os.WriteFile(name, salt, 0o600)
}

// Name returns the name of fields, in their order.
func (s Salt) Name(fields ...string) string {
	h := hmac.New(sha256.New, s)
	for _, field := range fields {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(field)))
		h.Write(n[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil)[:Len/2])
}
