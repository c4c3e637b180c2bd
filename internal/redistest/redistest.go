// Package redistest runs a real Redis for tests: the one of Debian's package
// redis-server.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/child"
)

// Path returns redis-server. In CI it is installed if it is missing; elsewhere
// nobody's machine is changed, and the error says what to type.
func Path() (string, error) { return path() }

var path = sync.OnceValues(func() (string, error) {
	found, err := exec.LookPath("redis-server")
	if err == nil || os.Getenv("CI") == "" || os.Geteuid() != 0 {
		return hinted(found, err)
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", "redis-server"}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("install redis-server: %w\n%s", err, out)
		}
	}
	return hinted(exec.LookPath("redis-server"))
})

func hinted(path string, err error) (string, error) {
	if err != nil {
		return "", fmt.Errorf("%w; run: apt-get install redis-server", err)
	}
	return path, nil
}

// Start starts a Redis of the test's own on loopback, and returns its address. A
// test is skipped where there is none to be had.
func Start(t testing.TB, args ...string) (addr string) {
	t.Helper()
	exe, err := Path()
	if err != nil {
		t.Skipf("SKIPPED, AND NOTHING ELSE TESTS THIS: %v", err)
	}
	if addr, err = child.FreeAddr("127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)
	c, err := child.Start(t.TempDir(), "redis", nil, exe, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
	err = c.Until(context.WithoutCancel(t.Context()), 20*time.Second, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
