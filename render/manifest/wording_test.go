package manifest

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What is read from the text of an error is what this version of the library
// says.
func TestTheLibrarySaysWhatIsReadFromIt(t *testing.T) {
	said := func(text string) string {
		t.Helper()
		var n yaml.Node
		err := yaml.Unmarshal([]byte(text), &n)
		if err == nil {
			t.Fatal("no error")
		}
		return err.Error()
	}
	if line, rest, ok := yamlSaid(said("a: b\nc: [\n")); !ok || line == "" || strings.HasPrefix(rest, "yaml") {
		t.Errorf("%q, %q, %v", line, rest, ok)
	}
	if line, rest, ok := yamlSaid(said("a: *b\n")); !ok || line != "" || rest == "" {
		t.Errorf("%q, %q, %v", line, rest, ok)
	}
	if msg := said(strings.Repeat("[", 20_000)); !tooDeep(msg) {
		t.Error(msg)
	}
}
