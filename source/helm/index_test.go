package helm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/fault"
)

func read(s string) (*index, error) {
	return parse(func() io.Reader { return strings.NewReader(s) }, int64(len(s)))
}

// shape is an index in a few words.
func shape(x *index) string {
	var b strings.Builder
	for _, name := range sorted(x.charts) {
		fmt.Fprintf(&b, "%s:", name)
		if x.charts[name].err != nil {
			b.WriteString(" broken")
		}
		for _, v := range x.charts[name].versions {
			fmt.Fprintf(&b, " %s=%s", v.name, v.url)
			if v.digest != "" {
				fmt.Fprintf(&b, "@%s", v.digest)
			}
			if v.created != 0 {
				b.WriteString("#")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func sorted(m map[string]*entry) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	for i := range names {
		for j := i; j > 0 && names[j] < names[j-1]; j-- {
			names[j], names[j-1] = names[j-1], names[j]
		}
	}
	return names
}

const written = `apiVersion: v1
entries:
  alpine:
  - apiVersion: v2
    annotations:
      version: "not this one"
      long: |
        - apiVersion: v2
          version: 9.9.9
        entries:

        urls:
        - https://elsewhere.example
    created: "2026-10-06T16:23:20.499814565-06:00"
    description: 'Deploy a basic
      version: 8 of Alpine'
    digest: 99c76e403d752c84ead610644d4b1c2f2b453a74b921f422b9dcb8a7c8b559cd
    home: https://helm.sh/helm
    maintainers:
    - name: x
      version: "7"
    name: alpine
    urls:
    - https://charts.example/alpine-0.2.0.tgz
    - https://other.example/alpine-0.2.0.tgz
    version: 0.2.0
  - created: 2026-10-06T16:23:20Z
    name: alpine
    urls:
      - alpine-0.1.0.tgz
    version: "0.1.0"   # a comment
  nginx: # a comment
  # and another

  -   version: 1.10
      urls: [charts/nginx.tgz]
  -
      urls: ["a b.tgz"]
      version: >-
        1.0.1
  empty: []
  none:
generated: "2026-10-06T16:23:20.499029981-06:00"
publicKeys:
- x
serverInfo:
  entries:
    x:
    - version: 1
`

const writtenShape = `alpine: 0.2.0=https://charts.example/alpine-0.2.0.tgz@99c76e403d752c84ead610644d4b1c2f2b453a74b921f422b9dcb8a7c8b559cd# 0.1.0=alpine-0.1.0.tgz#
empty:
nginx: 1.10=charts/nginx.tgz 1.0.1=a b.tgz
none:
`

// plain is what the library alone makes of an index.
func plain(t *testing.T, s string) string {
	t.Helper()
	x := &index{charts: make(map[string]*entry)}
	if err := x.whole(strings.NewReader(s), 0); err != nil {
		t.Fatal(err)
	}
	return shape(x)
}

func TestAnIndexIsReadAsALibraryReadsIt(t *testing.T) {
	x, err := read(written)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shape(x), plain(t, written); got != want {
		t.Errorf("it is\n%swant\n%s", got, want)
	}
	if got := shape(x); got != writtenShape {
		t.Errorf("it is\n%swant\n%s", got, writtenShape)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(written), &doc); err != nil {
		t.Fatal(err)
	}
	j, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{
		"with a byte order mark": "\xef\xbb\xbf" + written, "from Windows": strings.ReplaceAll(written, "\n", "\r\n"),
		"with a start": "---\n" + written, "with comments": "# x\n\n" + written + "# y\n",
		"with a long field": written + "more: " + strings.Repeat("y", maxWhole) + "\n",
	} {
		x, err := read(s)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := shape(x); got != plain(t, written) {
			t.Errorf("%s it is\n%s", what, got)
		}
	}
	x, err = read(string(j))
	if err != nil {
		t.Fatal(err)
	}
	// A version that is a number has lost its zero on the way to JSON, and is none there.
	if got := shape(x); got != strings.Replace(writtenShape, " 1.10=charts/nginx.tgz", "", 1) {
		t.Errorf("in JSON it is\n%s", got)
	}
}

func TestFormsThatAreNotSplitAreReadAsAWhole(t *testing.T) {
	for what, s := range map[string]string{
		"in braces":        "{apiVersion: v1, entries: {a: [{version: 1.0.0, urls: [x]}]}}",
		"a chart":          "apiVersion: v1\nentries:\n  a: [{version: 1.0.0, urls: [x]}]\n",
		"a version":        "apiVersion: v1\nentries:\n  a:\n  - {version: 1.0.0, urls: [x]}\n",
		"entries":          "apiVersion: v1\nentries: {a: [{version: 1.0.0, urls: [x]}]}\n",
		"an anchor":        "apiVersion: v1\nx: &v 1.0.0\nentries:\n  a:\n  - version: *v\n    urls: [x]\n",
		"a merge":          "apiVersion: v1\nx: &v\n  version: 1.0.0\nentries:\n  a:\n  - <<: *v\n    urls: [x]\n",
		"a quoted key":     "apiVersion: v1\nentries:\n  \"\\x61\":\n  - version: 1.0.0\n    urls: [x]\n",
		"an explicit key":  "apiVersion: v1\nentries:\n  ? a\n  :\n  - version: 1.0.0\n    urls: [x]\n",
		"braces on lines":  "apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls: [\n  x ]\n",
		"quotes on lines":  "apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls: [x]\n    home: \"\n- version: 2.0.0\"\n",
		"a quote, lower":   "apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls: [\"\\\n  x\"]\n",
		"tagged":           "apiVersion: v1\nentries:\n  a: !!seq\n  - version: 1.0.0\n    urls: [x]\n",
		"quoted simply":    "apiVersion: v1\nentries:\n  'a':\n  - \"version\": 1.0.0\n    urls: [x]\n",
		"a null version":   "apiVersion: v1\nentries:\n  a:\n  - null\n  - version: 1.0.0\n    urls: [x]\n  - ~\n  -\n",
		"a long line":      "apiVersion: v1\nentries:\n  a:\n  - home: " + strings.Repeat("x", 200_000) + "\n    version: 1.0.0\n    urls: [x]\n",
		"a long quote":     "apiVersion: v1\nentries:\n  a:\n  - home: \"" + strings.Repeat("x ", 200_000) + "\"\n    version: 1.0.0\n    urls: [x]\n",
		"a long text":      "apiVersion: v1\nentries:\n  a:\n  - home: |\n      x\n      " + strings.Repeat("x ", 200_000) + "\n    version: 1.0.0\n    urls: [x]\n",
		"indented more":    "apiVersion: v1\nentries:\n    a:\n        -   urls:\n                - x\n            version: 1.0.0\n",
		"not indented":     "apiVersion: v1\nentries:\n a:\n - urls:\n   - x\n   version: 1.0.0\n",
		"all indented":     "\n  apiVersion: v1\n  entries:\n    a:\n    - version: 1.0.0\n      urls: [x]\n",
		"a start and more": "---\napiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls: [x]\n...\n",
	} {
		x, err := read(s)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := shape(x); got != "a: 1.0.0=x\n" {
			t.Errorf("%s: it is %s", what, got)
		}
	}
}

func TestA13IndexesThatAreWrongAreSaidToBe(t *testing.T) {
	good := "apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls: [x]\n"
	for what, c := range map[string]struct {
		s    string
		want string // the index, or the reason
	}{
		"nothing":               {"", ReasonInvalidIndex},
		"spaces":                {" \n\n", ReasonInvalidIndex},
		"comments":              {"# x\n", ReasonInvalidIndex},
		"a page":                {"<!DOCTYPE html><html>", ReasonNotARepository},
		"a page with spaces":    {"\n\n  <html>", ReasonNotARepository},
		"text":                  {"not found\n", ReasonInvalidIndex},
		"no apiVersion":         {"entries:\n  a:\n  - version: 1.0.0\n", ReasonInvalidIndex},
		"a null apiVersion":     {"apiVersion:\nentries:\n", ReasonInvalidIndex},
		"another document":      {"apiVersion: v1\nkind: Secret\n", ""},
		"no entries":            {"apiVersion: v1\n", ""},
		"null entries":          {"apiVersion: v1\nentries: null\n", ""},
		"entries that are none": {"apiVersion: v1\nentries: text\n", ReasonInvalidIndex},
		"entries in a list":     {"apiVersion: v1\nentries:\n- a\n", ReasonInvalidIndex},
		"entries twice":         {good + "entries:\n  b:\n  - version: 1.0.0\n", ReasonInvalidIndex},
		"a chart twice":         {good + "  a:\n  - version: 2.0.0\n    urls: [x]\n", ReasonInvalidIndex},
		"a chart twice in JSON": {`{"apiVersion":"v1","entries":{"a":[],"a":[{"version":"1.0.0","urls":["x"]}]}}`, ReasonInvalidIndex},
		"cut":                   {good + "  b:\n  - version: \"1", ReasonInvalidIndex},
		"cut in JSON":           {`{"apiVersion":"v1","entries":{"a":[{"version":`, ReasonInvalidIndex},
		"two in JSON":           {`{"apiVersion":"v1"} {"apiVersion":"v1"}`, ""}, // the first, as YAML has it
		"a list in JSON":        {`{"apiVersion":"v1","entries":[]}`, ReasonInvalidIndex},
		"a text in JSON":        {`{"apiVersion":"v1","entries":{"a":"x"}}`, ReasonInvalidIndex},
		"aliases": {"apiVersion: v1\nx: &x [a,a,a,a,a,a,a,a,a,a]\ny: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x,*x]\nz: &z [*y,*y,*y,*y,*y,*y,*y,*y,*y,*y]\n" +
			"w: &w [*z,*z,*z,*z,*z,*z,*z,*z,*z,*z]\nentries:\n  a:\n  - version: 1.0.0\n    urls: [*w,*w,*w,*w,*w,*w,*w,*w,*w,*w]\n", "a:\n"},
		"a field twice":   {good + "  b:\n  - version: 1.0.0\n    urls: [x]\n    version: 2.0.0\n", "a: 1.0.0=x\nb: broken\n"},
		"a text":          {good + "  b:\n  - text\n", ReasonInvalidIndex + " or a: 1.0.0=x\nb:\n"},
		"a map of charts": {good + "  b:\n    version: 1.0.0\n", "a: 1.0.0=x\nb: broken\n"},
		"wrong types": {good + "  b:\n  - version: [1]\n    urls: [x]\n  - version: 1.0.0\n    urls: x\n  - version: 1.0.1\n    urls: [[x]]\n  - version: {a: b}\n" +
			"  - version: 1.0.2\n    urls: {a: b}\n  - version:\n    urls:\n  - version: 1.0.3\n    urls: [y]\n    digest: [z]\n    created: {}\n", "a: 1.0.0=x\nb: 1.0.3=y\n"},
		"nulls in JSON": {`{"apiVersion":"v1","x":[[{}]],"entries":{"a":[null,{"version":null},{"version":1,"urls":["x"]},{"version":"1.0.0","urls":null},"x",[],{"version":"1.0.0","urls":["x"]}],"b":null}}`,
			"a: 1.0.0=x\nb:\n"},
		"no URL":         {good + "  b:\n  - version: 1.0.0\n    urls: []\n  - version: 1.0.1\n", "a: 1.0.0=x\nb:\n"},
		"deep":           {"apiVersion: v1\nentries:\n  a:\n  - version: " + strings.Repeat("[", 100_000) + "\n    urls: [x]\n", ReasonInvalidIndex},
		"deep in JSON":   {`{"apiVersion":"v1","entries":{"a":` + strings.Repeat("[", 100_000), ReasonInvalidIndex},
		"deep elsewhere": {`{"apiVersion":"v1","x":` + strings.Repeat("[", 2_000_000), ReasonInvalidIndex},
	} {
		x, err := read(c.s)
		got := ""
		if err != nil {
			f := fault.Of(err)
			if got = string(f.Reason); f.Next != fault.Retry {
				t.Errorf("%s is a %s", what, f.Next)
			}
			if n := len(err.Error()); n > 500 || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %d bytes: %v", what, n, err)
			}
		} else {
			got = shape(x)
		}
		if got != c.want && !strings.Contains(c.want, " or "+got) && !strings.HasPrefix(c.want, got+" or ") || got == "" && c.want != "" {
			t.Errorf("%s: it is %q, %v, want %q", what, got, err, c.want)
		}
	}
}

func TestAnIndexOfManyVersionsIsBounded(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"apiVersion":"v1","entries":{"a":[`)
	for range maxVersions + 1 {
		b.WriteString(`{"version":"1","urls":["x"]},`)
	}
	if _, err := read(b.String()); !fault.Is(err, "SourceTooLarge") {
		t.Errorf("%v", err)
	}
	b.Reset()
	b.WriteString("apiVersion: v1\nentries:\n")
	for i := range maxCharts + 1 {
		fmt.Fprintf(&b, "  a%d:\n", i)
	}
	if _, err := read(b.String()); !fault.Is(err, "SourceTooLarge") {
		t.Errorf("%v", err)
	}
	if _, err := read("{apiVersion: v1, x: '" + strings.Repeat("x", maxWhole) + "'}"); !fault.Is(err, ReasonInvalidIndex) || !strings.Contains(err.Error(), "laid out") {
		t.Errorf("%v", err)
	}
}

func TestAVersionIsPickedAsHelmPicksIt(t *testing.T) {
	x, err := read(`apiVersion: v1
entries:
  a:
` + list("1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "v1.9.0", "0.9", "odd", "1.10.0+b", "1.10.0+a#2026-01-02T00:00:00Z", "1.10.0+c#2026-01-01T00:00:00Z") +
		"  pre:\n" + list("1.0.0-a", "1.0.0-b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ chart, in, want string }{
		{"a", "", "1.10.0+a"}, {"a", "*", "1.10.0+a"}, {"a", "1.x", "1.10.0+a"}, {"a", "1.0.0", "1.0.0"}, {"a", "1.10.0", "1.10.0"}, {"a", "1.10.0+b", "1.10.0+b"},
		{"a", "<1.10", "v1.9.0"}, {"a", "1.9.0", "v1.9.0"}, {"a", "v1.9.0", "v1.9.0"}, {"a", ">=2.0.0-0", "2.0.0-rc.1"}, {"a", ">=2.0.0", ReasonReferenceNotFound},
		{"a", ">0.0.0-0", "2.0.0-rc.1"}, {"a", "0.9", "0.9"}, {"a", "odd", "odd"}, {"a", "^1.2", "1.10.0+a"}, {"a", "~1.2", "1.2.0"}, {"a", "<1", "0.9"},
		{"a", "not a range", ReasonInvalidSemver}, {"a", "3.0.0", ReasonReferenceNotFound}, {"b", "*", ReasonReferenceNotFound},
		{"pre", "*", ReasonReferenceNotFound}, {"pre", ">0.0.0-0", "1.0.0-b"}, {"pre", "1.0.0-a", "1.0.0-a"},
	} {
		v, err := x.pick(c.chart, c.in)
		got := v.name
		if err != nil {
			got = string(fault.Of(err).Reason)
		}
		if got != c.want {
			t.Errorf("%s %q is %s, %v, want %s", c.chart, c.in, got, err, c.want)
		}
	}
}

func list(versions ...string) string {
	var b strings.Builder
	for _, v := range versions {
		v, at, _ := strings.Cut(v, "#")
		fmt.Fprintf(&b, "  - version: %q\n    urls: [x]\n", v)
		if at != "" {
			fmt.Fprintf(&b, "    created: %s\n", at)
		}
	}
	return b.String()
}

// Whatever is split is what the library reads, and nothing else.
func FuzzIndex(f *testing.F) {
	f.Add(written)
	f.Add(`{"apiVersion":"v1","entries":{"a":[{"version":"1.0.0","urls":["x"]}]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		x, err := read(s)
		if err != nil {
			if fault.Of(err).Reason == "" {
				t.Errorf("%v has no reason", err)
			}
			return
		}
		x.pick("alpine", "*")
	})
}
