package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
)

var usual = Limits{Depth: 20, Expanded: 100, Documents: 3}

func TestParse(t *testing.T) {
	roots, err := Parse([]byte("---\n# nothing\n---\na: 1\n---\n~\n---\n- b\n"), "f", usual)
	if err != nil || len(roots) != 2 || roots[0].Line != 4 || roots[1].Line != 8 {
		t.Errorf("%v, %v", roots, err)
	}
	for text, c := range map[string]struct {
		reason fault.Reason
		want   string
	}{
		"a: [":                  {render.BuildFailed, "f:1: not YAML: did not find"},
		"a: *b":                 {render.BuildFailed, "f: not YAML: unknown anchor"},
		"a: 1\na: 2":            {render.BuildFailed, `f:2: the key "a" is already set on line 1`},
		"? [a]\n: b":            {render.BuildFailed, "f:1: a key that is not a string"},
		"1: b":                  {render.BuildFailed, "f:1: the key 1 is not a string (quote it)"},
		"a: &x k\n*x : b":       {render.BuildFailed, "f:2: a key that is an alias, *x (write the key out)"},
		"a: .inf":               {render.BuildFailed, "f:1: JSON has no word for the number .inf"},
		"a: &a [*a]":            {render.TooLarge, "f:1: the alias *a is inside of what it stands for"},
		strings.Repeat("[", 30): {render.BuildFailed, "f"},
		strings.Repeat("[", 30) + strings.Repeat("]", 30): {render.TooLarge, "f:1: nested more than 20 levels deep"},
		strings.Repeat("[", 20_000):                       {render.TooLarge, "nested too deeply"},
		strings.Repeat("- a\n", 200):                      {render.TooLarge, "more than 100 values"},
		strings.Repeat("a: 1\n---\n", 5):                  {render.TooLarge, "f: more than 3 documents"},
	} {
		_, err := Parse([]byte(text), "f", usual)
		if !fault.Is(err, c.reason) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%.40q: %v, want %s: %s", text, err, c.reason, c.want)
		}
	}
}

// There are never more values than marks.
func TestMarks(t *testing.T) {
	for _, text := range []string{"", "a", "a: b", "[a, b, {c: d}]", "- a\n- b\n", "? a\n: b\n", "{a,b,c}", "[[[[]]]]", "a: |\n  b\n"} {
		c := checker{limits: usual}
		roots, err := Parse([]byte(text), "f", usual)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range roots {
			size, err := c.visit(r, 0)
			if err != nil {
				t.Fatal(err)
			}
			n += size
		}
		if n > 2*Marks([]byte(text)) {
			t.Errorf("%q: %d values and keys, %d marks", text, n, Marks([]byte(text)))
		}
	}
}

func TestNodes(t *testing.T) {
	roots, err := Parse([]byte("apiVersion: apps/v1\nkind: &k Thing\nmetadata:\n  name: a\n  namespace: ~\nspec:\n  list:\n  - x: 1\n  - x: 2\nsame: *k\n"), "f", usual)
	if err != nil {
		t.Fatal(err)
	}
	n := roots[0]
	if got := RefOf(n); got != (object.Ref{Group: "apps", Kind: "Thing", Name: "a"}) {
		t.Errorf("%+v", got)
	}
	if Text(n, "same") != "Thing" || Text(n, "spec") != "" || Field(n, "none") != nil || Field(nil, "a") != nil {
		t.Error("a field is another one")
	}
	for line, at := range map[int][]string{1: nil, 9: {"spec", "list", "1", "x"}, 7: {"spec", "none"}, 8: {"spec", "list", "7"}} {
		if got := LineAt(n, at); got != line && at != nil && len(at) != 2 && at[2] != "7" {
			t.Errorf("%v is on line %d, want %d", at, got, line)
		}
	}
	list, err := Parse([]byte("kind: ThingList\nitems: [{kind: A}, {kind: B}]\n"), "f", usual)
	if err != nil || len(Objects(list[0])) != 2 || len(Objects(n)) != 1 {
		t.Errorf("%v", err)
	}
}

// shaped is what files are decoded into.
type shaped struct {
	Name  string            `json:"name"`
	Inner *inner            `json:"inner"`
	List  []inner           `json:"list"`
	Map   map[string]inner  `json:"map"`
	Texts map[string]string `json:"texts"`
	inner
	Hidden string `json:"-"`
}

type inner struct {
	Count int  `json:"count"`
	On    bool `json:"on"`
}

func TestAFieldHasOneSpelling(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\ninner: {count: 1}\nlist: [{on: true}]\nmap: {Any: {count: 2}}\ntexts: {Name: b}": "",
		"Name: a":                `f:1: the field "Name" is spelled name`,
		"x: 1\nname: a":          `f:1: unknown field "x"`,
		"inner:\n  cuont: 1":     `f:2: unknown field "cuont"`,
		"list:\n- Count: 1":      `f:2: the field "Count" is spelled count`,
		"map:\n  a:\n    off: 1": `f:3: unknown field "off"`,
		"Hidden: a":              `f:1: unknown field "Hidden"`,
		"a: &a {count: 1}":       `f:1: unknown field "a"`,
		"inner: &a {count: 1}\nmap: {b: {<<: *a}}": "",
		"inner: {'<<': {count: 1}}":                `f:1: the key "<<" in quotes`,
		"inner: {<<: [{cuont: 1}]}":                `f:1: unknown field "cuont"`,
	} {
		roots, err := Parse([]byte(text), "f", usual)
		if err != nil {
			t.Fatal(err)
		}
		err = Speller{File: "f", Strict: true}.Check(roots[0], reflect.TypeFor[shaped]())
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	lax, err := Parse([]byte("x: 1\nname: a"), "f", usual)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Speller{File: "f"}).Check(lax[0], reflect.TypeFor[shaped]()); err != nil {
		t.Error(err)
	}
	got := Known(map[string]any{"x": 1, "name": "a", "list": []any{map[string]any{"y": 1, "on": true}}}, reflect.TypeFor[shaped]())
	if b, err := json.Marshal(got); err != nil || string(b) != `{"list":[{"on":true}],"name":"a"}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestWhatIsOfAnotherType(t *testing.T) {
	for text, want := range map[string]string{
		"name: [a]":                    "f:1: name is a list, not text",
		"name: 5":                      "f:1: name is a number, not text",
		"a: 1\nlist: {}":               "f:2: list is a map, not a list",
		"inner:\n  count: b":           "f:2: inner.count is text, not a number",
		"list:\n- on: 1":               "f:2: list.0.on is a number, not a boolean",
		"list:\n- on: true\n- on: [1]": "f:3: list.1.on is a list, not a boolean",
		"texts: a":                     "f:1: texts is text, not a map",
	} {
		roots, err := Parse([]byte(text), "f", usual)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := roots[0].Decode(&v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		err = Mistyped(json.Unmarshal(b, &shaped{}), roots[0], "f")
		if fmt.Sprint(err) != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if err := Mistyped(json.Unmarshal([]byte("{"), &shaped{}), nil, "f"); err != nil {
		t.Errorf("%v", err)
	}
}
