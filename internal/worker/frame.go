package worker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"plumb.dev/plumb/tree"
)

// Between the two run frames: four bytes that say how long it is, one that says
// what it is, and as CBOR what it says.

type frameKind byte

const (
	frameSetup frameKind = iota + 1 // to the worker, once
	frameHello                      // from it, once
	frameJob                        // to it
	frameAsk                        // from it, while it does a job
	frameFacts                      // to it
	frameDone                       // from it: how a job has ended
)

const (
	longestFrame = 96 << 20 // of a job's outcome, or of facts
	longestAsk   = 64 << 10
)

// A setup is what a worker is told first.
type setup struct {
	Memory int64
	Open   bool
}

// A job is what a worker is to do.
type job struct {
	Kind  string
	Input []byte
	Facts facts
}

type askKind byte

const (
	askLookup askKind = iota + 1
	askList
	askRead
)

// An ask is for something of the tree.
type ask struct {
	What askKind
	Name string
}

// Facts are about the tree: what was asked for, and what is likely to be.
type facts struct {
	Anew    bool // what was told of contents before is to be forgotten
	Entries []fact
	Lists   []list
	Failed  string // why what was asked for can't be told
}

// A fact is about one name.
type fact struct {
	Name     string
	Kind     tree.Kind
	ID       tree.ID
	Missing  bool
	Excluded *tree.Excluded // why it is missing, where that is known
	Told     bool           // Content is there, or has been told under ID
	Content  []byte
}

// A list is a directory.
type list struct {
	Name    string
	Entries []tree.Entry
}

// done is how a job has ended.
type done struct {
	Output []byte
	Spent  bool // the process is not to do another job
	Failed string
}

var encoder, decoder = modes()

func modes() (cbor.EncMode, cbor.DecMode) {
	e, err := cbor.EncOptions{}.EncMode()
	if err != nil {
		panic(err) // only for options that don't exist
	}
	d, err := cbor.DecOptions{MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 16, MaxNestedLevels: 16}.DecMode()
	if err != nil {
		panic(err)
	}
	return e, d
}

// A brokenError is about a frame that is none.
type brokenError struct{ err error }

// Error says what is wrong with it.
func (b *brokenError) Error() string { return b.err.Error() }

// A link is one end of the two pipes.
type link struct {
	from *bufio.Reader
	to   io.Writer
	buf  bytes.Buffer
}

func newLink(from io.Reader, to io.Writer) *link {
	return &link{from: bufio.NewReaderSize(from, 64<<10), to: to}
}

// send writes a frame at once, so that the other end wakes once.
func (l *link) send(kind frameKind, v any) error {
	l.buf.Reset()
	l.buf.Write([]byte{0, 0, 0, 0, byte(kind)})
	if err := encoder.NewEncoder(&l.buf).Encode(v); err != nil {
		return err
	}
	b := l.buf.Bytes()
	if len(b) > longestFrame {
		return fmt.Errorf("a frame of %d bytes", len(b))
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-5)) //nolint:gosec // it is less than longestFrame
	_, err := l.to.Write(b)
	if l.buf.Cap() > 1<<20 {
		l.buf = bytes.Buffer{}
	}
	return err
}

// receive reads a frame. What is not sent takes no memory, whatever length is
// said.
func (l *link) receive() (kind frameKind, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(l.from, head[:]); err != nil {
		return 0, nil, err
	}
	kind = frameKind(head[4])
	n, most := int64(binary.BigEndian.Uint32(head[:4])), int64(longestFrame)
	if kind == frameAsk || kind == frameHello {
		most = longestAsk
	}
	if n > most {
		return 0, nil, &brokenError{fmt.Errorf("a frame of %d bytes", n)}
	}
	if n <= 64<<10 {
		payload = make([]byte, n)
		_, err = io.ReadFull(l.from, payload)
		return kind, payload, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, l.from, n); err != nil {
		return 0, nil, err
	}
	return kind, b.Bytes(), nil
}

// expect receives a frame of one kind.
func (l *link) expect(kind frameKind, v any) error {
	got, b, err := l.receive()
	if err != nil {
		return err
	}
	if got != kind {
		return &brokenError{fmt.Errorf("a frame of kind %d, not %d", got, kind)}
	}
	return decoder.Unmarshal(b, v)
}
