package helm

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// An index is what a repository has, of which only that is kept which leads to
// an archive.
type index struct {
	apiVersion string
	charts     map[string]*entry
	versions   int // in all
}

// An entry is one chart of an index.
type entry struct {
	versions []version
	err      error // why it can't be read
}

// A version is one archive of a chart.
type version struct {
	name    string
	url     string // the first, as Helm takes it
	digest  string // hexadecimal; may be empty
	created int64
}

// Bounds on what an index may have, whatever its size.
const (
	maxCharts   = 200_000
	maxVersions = 500_000
	maxText     = 8 << 10
	// maxWhole is how large an index may be that is not laid out as Helm writes
	// one: it is read as a whole.
	maxWhole = 8 << 20
	maxBatch = 64 << 10
)

func invalidIndex(format string, args ...any) *fault.Error {
	return web.Failure(ReasonInvalidIndex, format, args...)
}

// parse reads an index, in YAML or JSON. It does not hold more of it than one
// version of one chart, if it is laid out as Helm and its like write it: every
// chart, and every field of a version, begins on a line of its own. The fields
// that lead nowhere are passed over by their indentation alone, and the others
// are read by a library. What is laid out otherwise is read as a whole, by that
// library, if it is small.
func parse(open func() io.Reader, size int64) (*index, error) {
	in := bufio.NewReaderSize(open(), 64<<10)
	x := &index{charts: make(map[string]*entry)}
	var err error
	switch head, indented := first(in); {
	case head == 0:
		return nil, invalidIndex("the index is empty")
	case head == '<':
		return nil, &fault.Error{
			Next: fault.Retry, Reason: ReasonNotARepository, Err: errors.New("a web page instead of an index"),
			Hint: "check that the URL is the repository's, and not a web page or a proxy's login",
		}
	case head == '{':
		err = x.json(in)
	case indented:
		err = errLayout
	default:
		err = x.yaml(in)
	}
	var known *fault.Error
	if err != nil && !errors.As(err, &known) {
		if !errors.Is(err, errLayout) {
			return nil, err
		}
		x = &index{charts: make(map[string]*entry)}
		err = x.whole(open(), size)
	}
	if err == nil && x.apiVersion == "" {
		err = invalidIndex("it is no index of a Helm repository: it has no apiVersion")
	}
	if err != nil {
		return nil, err
	}
	for _, e := range x.charts {
		e.versions = slices.Clip(e.versions)
	}
	return x, nil
}

// first returns the first byte that is no space, which is left there, and
// whether there was space before it on its line.
func first(in *bufio.Reader) (c byte, indented bool) {
	const mark = "\xef\xbb\xbf" // of the order of bytes, by some editors
	if b, _ := in.Peek(len(mark)); string(b) == mark {
		if _, err := in.Discard(len(mark)); err != nil {
			return 0, false
		}
	}
	for {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return 0, false
		case c == '\n':
			indented = false
		case c == ' ' || c == '\t':
			indented = true
		case c != '\r':
			if in.UnreadByte() != nil {
				return 0, false
			}
			return c, indented
		}
	}
}

// chart returns a chart to add to.
func (x *index) chart(name string) (*entry, error) {
	if x.charts[name] != nil {
		return nil, invalidIndex("the chart %q is in the index twice", web.OneLine(name, 100))
	}
	if len(x.charts) >= maxCharts {
		return nil, web.Failure(web.ReasonTooLarge, "the index has more than %d charts", maxCharts)
	}
	e := &entry{}
	x.charts[strings.Clone(name)] = e
	return e, nil
}

// add adds a version, if it can be one.
func (x *index) add(e *entry, f fields) error {
	if f.Version == "" || len(f.Version) > 256 || len(f.URLs) == 0 || f.URLs[0] == "" || len(f.URLs[0]) > maxText || len(f.Digest) > 200 {
		return nil // as Helm, which passes over what is no version
	}
	if x.versions++; x.versions > maxVersions {
		return web.Failure(web.ReasonTooLarge, "the index has more than %d versions", maxVersions)
	}
	v := version{name: strings.Clone(string(f.Version)), url: strings.Clone(string(f.URLs[0])), digest: strings.Clone(string(f.Digest))}
	if at, err := time.Parse(time.RFC3339Nano, string(f.Created)); err == nil {
		v.created = at.UnixNano()
	}
	e.versions = append(e.versions, v)
	return nil
}

// fields are those of a version that lead to its archive. What is of another
// type than it should be is as if it weren't there.
type fields struct {
	Version text  `yaml:"version" json:"version"`
	URLs    texts `yaml:"urls" json:"urls"`
	Digest  text  `yaml:"digest" json:"digest"`
	Created text  `yaml:"created" json:"created"`
}

var wanted = map[string]bool{"version": true, "urls": true, "digest": true, "created": true}

type (
	text  string
	texts []text
)

// UnmarshalYAML implements [yaml.Unmarshaler].
func (f *fields) UnmarshalYAML(n *yaml.Node) error {
	type plain fields
	if n.Kind != yaml.MappingNode {
		return nil
	}
	return n.Decode((*plain)(f))
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *text) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		*t = text(n.Value)
	}
	return nil
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *texts) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return nil
	}
	var one text
	err := n.Content[0].Decode(&one)
	*t = texts{one}
	return err
}

// UnmarshalJSON implements [json.Unmarshaler].
func (f *fields) UnmarshalJSON(b []byte) error {
	type plain fields
	if len(b) == 0 || b[0] != '{' {
		return nil
	}
	return json.Unmarshal(b, (*plain)(f))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *texts) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '[' {
		return nil
	}
	return json.Unmarshal(b, (*[]text)(t))
}

// whole reads an index by the library alone.
func (x *index) whole(in io.Reader, size int64) error {
	if size > maxWhole {
		return invalidIndex("the index is not laid out as Helm writes it, and with more than %s too large to be read otherwise", web.Size(maxWhole))
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var doc struct {
		APIVersion text                 `yaml:"apiVersion"`
		Entries    map[string]yaml.Node `yaml:"entries"`
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return invalidIndex("the index is no YAML: %s", web.OneLine(err.Error(), 200))
	}
	x.apiVersion = string(doc.APIVersion)
	for name, n := range doc.Entries {
		e, err := x.chart(name)
		if err != nil {
			return err
		}
		var list []fields
		if e.err = n.Decode(&list); e.err != nil {
			e.err = unreadable(name, e.err)
			continue
		}
		for _, f := range list {
			if err := x.add(e, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func unreadable(name string, err error) error {
	return invalidIndex("the versions of %q in the index can't be read: %s", web.OneLine(name, 100), web.OneLine(err.Error(), 200))
}

// errLayout is the error of an index that has to be read as a whole.
var errLayout = errors.New("the index is laid out in another way")

// json reads an index in JSON.
func (x *index) json(in io.Reader) error {
	d := json.NewDecoder(in)
	if err := x.object(d, func(key string) error {
		switch key {
		case "apiVersion":
			var t text
			err := d.Decode(&t)
			x.apiVersion = string(t)
			return err
		case "entries":
			return x.object(d, func(name string) error { return x.list(d, name) })
		}
		return skip(d)
	}); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return layout(err)
	}
	return nil
}

// object reads an object, of which each reads the values. Null is none.
func (x *index) object(d *json.Decoder, each func(key string) error) error {
	switch t, err := d.Token(); {
	case err != nil:
		return layout(err)
	case t == nil:
		return nil
	case t != json.Delim('{'):
		return invalidIndex("it is no index of a Helm repository: it has a %T in the place of an object", t)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return layout(err)
		}
		if err := each(t.(string)); err != nil {
			return layout(err)
		}
	}
	_, err := d.Token()
	return layout(err)
}

func (x *index) list(d *json.Decoder, name string) error {
	e, err := x.chart(name)
	if err != nil {
		return err
	}
	switch t, err := d.Token(); {
	case err != nil:
		return err
	case t == nil:
		return nil
	case t != json.Delim('['):
		return invalidIndex("the versions of %q in the index are no list", web.OneLine(name, 100))
	}
	for d.More() {
		var f fields
		if err := d.Decode(&f); err != nil {
			return err
		}
		if err := x.add(e, f); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// skip passes over a value without holding it.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// layout says of an error that another reader may know better, if it may: what
// begins as JSON can be YAML.
func layout(err error) error {
	var known *fault.Error
	var syntax *json.SyntaxError
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errLayout, err)
	}
	return err
}

// pick returns the version of a chart that a range stands for: that of just this
// name, or else the highest. Of those that differ only in what does not order
// versions, build metadata, it is the newest, as Flux has it.
func (x *index) pick(chart, in string) (version, error) {
	e := x.charts[chart]
	switch {
	case e == nil:
		return version{}, web.Failure(ReasonReferenceNotFound, "the repository has no chart %q", web.OneLine(chart, 100))
	case e.err != nil:
		return version{}, e.err
	}
	for _, v := range e.versions {
		if v.name == in {
			return v, nil
		}
	}
	allowed, err := semver.NewConstraint(cmp.Or(in, "*"))
	if err != nil {
		return version{}, &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidSemver, Hint: `write one such as ">=1.2.0 <2.0.0" or "1.x"`,
			Err: fmt.Errorf("the version %q is not there, and as a semver range it cannot be parsed", web.OneLine(in, 200)),
		}
	}
	var best version
	var highest *semver.Version
	for _, v := range e.versions {
		n, err := semver.NewVersion(v.name)
		if err != nil || !allowed.Check(n) {
			continue
		}
		if highest == nil || n.GreaterThan(highest) || n.Equal(highest) && v.created > best.created {
			best, highest = v, n
		}
	}
	if highest == nil {
		return version{}, web.Failure(ReasonReferenceNotFound, "no version of the chart %q is in the range %q", web.OneLine(chart, 100), web.OneLine(cmp.Or(in, "*"), 100))
	}
	return best, nil
}

// exact returns the version of just this name.
func (x *index) exact(chart, name string) (version, error) {
	if e := x.charts[chart]; e != nil && e.err == nil {
		for _, v := range e.versions {
			if v.name == name {
				return v, nil
			}
		}
	}
	return version{}, web.Failure(ReasonReferenceNotFound, "the repository has no version %q of the chart %q", web.OneLine(name, 100), web.OneLine(chart, 100))
}

// sum returns the digest, or nil if there is none.
func (v version) sum() ([]byte, error) {
	if v.digest == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(strings.TrimPrefix(v.digest, "sha256:"))
	if err != nil || len(b) != 32 {
		return nil, &fault.Error{
			Next: fault.Retry, Reason: ReasonInvalidIndex, Hint: "have the repository's index made again",
			Err: fmt.Errorf("the digest %q in the index is no SHA-256", web.OneLine(v.digest, 100)),
		}
	}
	return b, nil
}

// identity tells a version from another one of the same name.
func (v version) identity() string {
	if v.digest != "" {
		return "sha256:" + strings.ToLower(strings.TrimPrefix(v.digest, "sha256:"))
	}
	return fmt.Sprintf("%d %s", v.created, v.url)
}
