// Package linetest serves connections for tests, as they say.
package linetest

import (
	"net"
	"testing"
)

// Serve has do serve each connection to an address on 127.0.0.1, and closes it
// afterwards.
func Serve(t testing.TB, do func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); do(c) }()
		}
	}()
	return l.Addr().String()
}
