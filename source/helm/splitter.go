package helm

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// A splitter splits an index in YAML by lines and indentation:
//
//	apiVersion: v1
//	entries:
//	  alpine:              a chart
//	  - created: …         a version, and
//	    urls:              its fields
//	    - https://…
//	generated: …
//
// Wherever a line could mean something else, such as in a form with braces, it
// gives up.
type splitter struct {
	x      *index
	within bool // entries
	seen   bool

	chart   int // how far chart names are indented; -1: none was seen
	name    string
	entry   *entry
	item    int          // how far the dash of a version is
	field   int          // and its fields
	keep    bool         // the field
	cut     bool         // the line was longer than what there is of it
	started bool         // the version has a field that is kept
	batch   bytes.Buffer // versions to be read, with the fields that are kept
}

const unknown = -1

// yaml reads an index in YAML.
func (x *index) yaml(in *bufio.Reader) error {
	l := &splitter{x: x, chart: unknown}
	for {
		line, more, err := in.ReadLine()
		if errors.Is(err, io.EOF) {
			return l.end()
		}
		if err != nil {
			return err
		}
		if l.cut = more; more { // longer than is read at once
			line = bytes.Clone(line)
			for more && err == nil {
				_, more, err = in.ReadLine()
			}
		}
		if err == nil {
			err = l.line(line)
		}
		if err != nil {
			return err
		}
	}
}

func indent(line []byte) (int, []byte) {
	rest := bytes.TrimLeft(line, " ")
	return len(line) - len(rest), rest
}

// key splits a line that begins with a key as emitters write them.
func key(s []byte) (key, value []byte, ok bool) {
	if len(s) > 0 && (s[0] == '"' || s[0] == '\'') {
		end := bytes.IndexByte(s[1:], s[0]) + 1
		if end == 0 || bytes.IndexByte(s[:end], '\\') >= 0 {
			return nil, nil, false
		}
		key, s = s[1:end], s[end+1:]
		if len(s) == 0 || s[0] != ':' {
			return nil, nil, false
		}
		s = s[1:]
	} else {
		n := 0
		for n < len(s) && (s[n] == '-' || s[n] == '_' || s[n] == '.' || s[n] == '/' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || s[n] >= '0' && s[n] <= '9') {
			n++
		}
		if n == 0 || n == len(s) || s[n] != ':' || s[0] == '-' && n == 1 {
			return nil, nil, false
		}
		key, s = s[:n], s[n+1:]
	}
	if len(s) > 0 && s[0] != ' ' && s[0] != '\t' {
		return nil, nil, false
	}
	return key, valueOf(s), true
}

// valueOf is what stands behind a key, without a comment in its place.
func valueOf(s []byte) []byte {
	s = bytes.TrimSpace(s)
	if len(s) > 0 && s[0] == '#' {
		return nil
	}
	return s
}

func dash(s []byte) bool { return len(s) > 0 && s[0] == '-' && (len(s) == 1 || s[1] == ' ') }

func (l *splitter) line(line []byte) error {
	line = bytes.TrimRight(line, " \r")
	col, rest := indent(line)
	switch {
	case len(rest) == 0 && l.cut, len(rest) > 0 && rest[0] == '\t':
		return errLayout
	case len(rest) == 0 || rest[0] == '#':
		return nil
	case col == 0 && !(dash(rest) && !l.within):
		return l.top(rest)
	case !l.within:
		return nil // of a field of the index that leads nowhere
	}
	if l.chart == unknown {
		l.chart = col
	}
	switch {
	case col < l.chart:
		return errLayout
	case col == l.chart && !dash(rest):
		return l.chartLine(rest)
	case l.entry == nil:
		return errLayout
	case dash(rest) && (l.item == unknown || col == l.item):
		l.item, l.field, l.keep, l.started = col, unknown, false, false
		if rest = bytes.TrimLeft(rest[1:], " "); len(rest) == 0 || rest[0] == '#' {
			return nil
		}
		if s := string(rest); s == "null" || s == "~" {
			return nil
		}
		at := len(line) - len(rest)
		l.field = at
		return l.fieldLine(rest, line[at:])
	case l.item == unknown || col <= l.item:
		return errLayout
	}
	if l.field == unknown {
		l.field = col
	}
	switch {
	case col == l.field && !dash(rest):
		return l.fieldLine(rest, line[col:])
	case col < l.field:
		return errLayout
	}
	return l.more(line[l.field:])
}

// top is a line that is not indented.
func (l *splitter) top(s []byte) error {
	if string(s) == "---" && !l.seen {
		return nil
	}
	l.seen = true
	k, v, ok := key(s)
	if !ok {
		return errLayout
	}
	if err := l.read(); err != nil {
		return err
	}
	l.within, l.entry = false, nil
	switch string(k) {
	case "apiVersion":
		var t text
		if l.cut || l.x.apiVersion != "" || yaml.Unmarshal(v, &t) != nil {
			return errLayout
		}
		l.x.apiVersion = string(t)
	case "entries":
		if l.chart != unknown || len(v) > 0 && string(v) != "{}" && string(v) != "null" {
			return errLayout
		}
		l.within = len(v) == 0
	}
	return nil
}

// chartLine is a line with the name of a chart.
func (l *splitter) chartLine(s []byte) error {
	k, v, ok := key(s)
	if !ok {
		return errLayout
	}
	if err := l.read(); err != nil {
		return err
	}
	e, err := l.x.chart(string(k))
	if err != nil {
		return err
	}
	l.name, l.item = string(k), unknown
	l.entry = e
	switch string(v) {
	case "":
	case "[]", "null", "~": // what is longer is none of these
		l.entry = nil
	default:
		return errLayout
	}
	return nil
}

// fieldLine is a line with a field of a version, of which whole is what is
// written.
func (l *splitter) fieldLine(s, whole []byte) error {
	k, _, ok := key(s)
	if !ok {
		return errLayout
	}
	if l.keep = wanted[string(k)]; !l.keep {
		return nil
	}
	if l.cut {
		return errLayout
	}
	if !l.started {
		if l.batch.Len() > maxBatch {
			if err := l.read(); err != nil {
				return err
			}
		}
		l.batch.WriteString("- ")
		l.started = true
	} else {
		l.batch.WriteString("  ")
	}
	l.batch.Write(whole)
	l.batch.WriteByte('\n')
	return nil
}

// more is a line that goes on with a field.
func (l *splitter) more(s []byte) error {
	if !l.keep {
		return nil
	}
	if l.cut || l.batch.Len() > 64*maxBatch {
		return errLayout
	}
	l.batch.WriteString("  ")
	l.batch.Write(s)
	l.batch.WriteByte('\n')
	return nil
}

// read reads the versions that were gathered.
func (l *splitter) read() error {
	if l.batch.Len() == 0 {
		return nil
	}
	defer l.batch.Reset()
	var list []fields
	if err := yaml.Unmarshal(l.batch.Bytes(), &list); err != nil {
		if _, ok := err.(*yaml.TypeError); !ok { //nolint:errorlint // the library returns it as it is
			return errLayout // such as an alias of what is elsewhere
		}
		if l.entry.err == nil {
			l.entry.err = unreadable(l.name, err)
		}
		return nil
	}
	for _, f := range list {
		if err := l.x.add(l.entry, f); err != nil {
			return err
		}
	}
	return nil
}

func (l *splitter) end() error {
	if !l.seen {
		return errLayout
	}
	return l.read()
}
