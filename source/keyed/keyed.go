// Package keyed is the directory of a store: held by one at a time, and with names
// for what is kept, and for who may read it, that tell nothing of a password to
// whoever reads the disk.
package keyed

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Len is how long a name is, in hexadecimal digits.
const Len = 40

// A Salt is what one store's names depend on.
type Salt []byte

// Open takes a directory for a store, which is made if it isn't there, until lock is
// closed. It fails if another store, of this process or another, has it. What a
// crash left half done is removed: what matches the patterns half, below dir.
func Open(dir, store string, half ...string) (lock *os.File, s Salt, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("%s store: %w", store, err)
	}
	if lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, nil, fmt.Errorf("%s store: %w", store, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("%s store %s is in use: %w", store, dir, err)
	}
	if s, err = read(filepath.Join(dir, "salt")); err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("%s store: %w", store, err)
	}
	for _, pattern := range append([]string{"*.new-*", "*.old-*"}, half...) {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, l := range left {
			os.RemoveAll(l)
		}
	}
	return lock, s, nil
}

// WriteFile replaces a file as a whole. What a crash leaves is called tmp_*.
func WriteFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "tmp_*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// read returns the salt of a store, of which name is the file. It is made if
// it isn't there.
func read(name string) (Salt, error) {
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
