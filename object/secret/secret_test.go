package secret_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"plumb.dev/plumb/object/secret"
)

func TestValuesAreHiddenHoweverTheyAreQuoted(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, c := range []struct{ what, value, text, want string }{
		{"as it is", "S3cret #1!", `metadata.labels: Invalid value: "S3cret #1!": a valid label`, `metadata.labels: Invalid value: "***": a valid label`},
		{"inside of other text", "hunter22", `image "registry/hunter22-web:1"`, `image "registry/***-web:1"`},
		{"in base64", "hunter22", "data.k: " + b64([]byte("hunter22")), "data.k: ***"},
		{"with its quotes escaped", `a"b\c<d`, `value "a\"b\\c<d" and "a\"b\\c\u003cd"`, `value "***" and "***"`},
		{"without its newlines", "first\nsecond\n", `"firstsecond"`, `"***"`},
		{"one line of several", "-----BEGIN-----\nabcdef\n", "near abcdef", "near ***"},
		{"a number in another form", "0123456.50", "expected a string, got 123456.5", "expected a string, got ***"},
		{"an element of a list", "[8443, 9443]", "spec.ports[1]: Invalid value: 9443", "spec.ports[1]: Invalid value: ***"},
		{"a short one where it stands alone", "42", `Invalid value: "42": 142 of 42, 42`, `Invalid value: "***": 142 of ***, ***`},
		{"a word of every object is none", "true", "expected true", "expected true"},
		{"nothing", "", "all of it", "all of it"},
	} {
		if got := secret.New(c.value).Hide(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := (*secret.Values)(nil).Hide("as it is"); got != "as it is" {
		t.Error("none hides", got)
	}
}

func TestValuesAreHiddenInObjects(t *testing.T) {
	v := secret.New("hunter22", "8443")
	in := map[string]any{"a": []any{"x hunter22", int64(8443), int64(84430)}, "hunter22": true}
	if !v.In(in) || v.In(map[string]any{"a": "b"}) {
		t.Error("it is not found, or found where it is not")
	}
	out := v.HideIn(in).(map[string]any)
	list := out["a"].([]any)
	if list[0] != "x ***" || list[1] != "***" || list[2] != int64(84430) || out["***"] != true {
		t.Errorf("%v", out)
	}
	if !strings.Contains(in["a"].([]any)[0].(string), "hunter22") {
		t.Error("what it was given was changed")
	}
}
