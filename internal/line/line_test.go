package line_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"plumb.dev/plumb/internal/line"
	"plumb.dev/plumb/internal/line/linetest"
)

// echo is a server that says every line again, and a line to it.
func echo(t *testing.T) *line.Line {
	t.Helper()
	n, err := line.New(linetest.Serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

type call struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, n *line.Line) call {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return call{c, bufio.NewReader(c)}
}

// say returns what comes back within some time.
func (c call) say(t *testing.T, text string, within time.Duration) (string, error) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	return c.hear(t, within)
}

func (c call) hear(t *testing.T, within time.Duration) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return c.in.ReadString('\n')
}

const (
	long  = 20 * time.Second
	short = 100 * time.Millisecond // to find that nothing comes
)

func heard(t *testing.T, got string, err error, want string) {
	t.Helper()
	if err != nil || got != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

func TestALineThatHangsCarriesNothingAndGoesOn(t *testing.T) {
	n := echo(t)
	before := dial(t, n)
	got, err := before.say(t, "one\n", long)
	heard(t, got, err, "one\n")
	n.Hang()
	n.Hang()
	during := dial(t, n)
	for _, c := range []call{before, during} {
		if got, err := c.say(t, "two\n", short); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a line that hangs gave %q, %v", got, err)
		}
	}
	n.Mend()
	n.Mend()
	for _, c := range []call{before, during} {
		got, err := c.hear(t, long)
		heard(t, got, err, "two\n")
	}
}

func TestALineThatIsCutEndsWhatIsOnIt(t *testing.T) {
	n := echo(t)
	before := dial(t, n)
	got, err := before.say(t, "one\n", long)
	heard(t, got, err, "one\n")
	n.Cut()
	for _, c := range []call{before, dial(t, n)} {
		if got, err := c.say(t, "two\n", long); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a line that is cut gave %q, %v", got, err)
		}
	}
	n.Mend()
	got, err = dial(t, n).say(t, "three\n", long)
	heard(t, got, err, "three\n")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", n.Addr()); err == nil {
		c.Close()
		t.Error("a line that is closed accepts")
	}
}
