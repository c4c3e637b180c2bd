// Package line is a way to a TCP server that fails as networks and servers do.
//
// A [Line] listens at an address of its own and carries what comes there. It
// can be cut, so that connections end at once, and made to hang, so that they
// are accepted and nothing comes through. It knows no protocol.
package line

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// A Line leads to a server. It is safe for concurrent use.
type Line struct {
	to     string
	listen net.Listener

	mu   sync.Mutex
	cut  bool
	flow chan struct{} // closed: what comes is carried
	open map[net.Conn]bool
}

// New returns a line to the server at an address, such as 127.0.0.1:6443.
func New(to string) (*Line, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("a line to %s: %w", to, err)
	}
	n := &Line{to: to, listen: l, flow: make(chan struct{}), open: make(map[net.Conn]bool)}
	close(n.flow)
	go n.accept()
	return n, nil
}

// Addr is where the line begins.
func (n *Line) Addr() string { return n.listen.Addr().String() }

// Cut ends what is on the line, and whatever comes from now on.
func (n *Line) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for c := range n.open {
		c.Close()
	}
}

// Hang has the line accept what comes, and carry nothing.
func (n *Line) Hang() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flows() {
		n.flow = make(chan struct{})
	}
}

// Mend has the line carry again. What was cut stays so; what hung goes on.
func (n *Line) Mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = false
	if !n.flows() {
		close(n.flow)
	}
}

// Close ends the line: whoever comes is refused.
func (n *Line) Close() error {
	err := n.listen.Close()
	n.Cut()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.flows() {
		close(n.flow)
	}
	return err
}

func (n *Line) flows() bool {
	select {
	case <-n.flow:
		return true
	default:
		return false
	}
}

func (n *Line) accept() {
	for {
		in, err := n.listen.Accept()
		if err != nil {
			return
		}
		go n.carry(in)
	}
}

// carry carries one connection until either side ends it.
func (n *Line) carry(in net.Conn) {
	defer n.end(in)
	if !n.begin(in) {
		return
	}
	<-n.gate()
	out, err := net.Dial("tcp", n.to)
	if err != nil {
		return
	}
	defer n.end(out)
	if !n.begin(out) {
		return
	}
	go func() {
		_, _ = io.Copy(gated{out, n}, in)
		n.end(out)
	}()
	_, _ = io.Copy(gated{in, n}, out)
}

// begin notes a connection, and reports whether it may be.
func (n *Line) begin(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		return false
	}
	n.open[c] = true
	return true
}

func (n *Line) end(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
	c.Close()
}

func (n *Line) gate() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.flow
}

// A gated is written to while the line carries.
type gated struct {
	to   io.Writer
	line *Line
}

// Write implements [io.Writer].
func (g gated) Write(p []byte) (int, error) {
	<-g.line.gate()
	return g.to.Write(p)
}
