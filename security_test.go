package plumb

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A promise that docs/security.md makes has a test, and what it names exists.
func TestEveryPromiseNamesItsTest(t *testing.T) {
	doc, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, promises, _ := strings.Cut(string(doc), "\n## Promises\n")
	promises, _, _ = strings.Cut(promises, "\n## ")
	named := regexp.MustCompile("`([a-z/]+)\\.(Test\\w+)(?:/([^`]+))?`")
	rows := 0
	for line := range strings.Lines(promises) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise") {
			continue
		}
		rows++
		tests := named.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, m := range tests {
			if !hasTest(t, m[1], m[2], m[3]) {
				t.Errorf("%s does not exist", m[0])
			}
		}
	}
	if rows == 0 {
		t.Error("docs/security.md has no table of promises")
	}
}

// hasTest reports whether a package has a test, and a case of that name in the
// same file.
func hasTest(t *testing.T, pkg, name, subtest string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if strings.Contains(text, "func "+name+"(") && (subtest == "" || strings.Contains(text, `"`+subtest+`"`)) {
			return true
		}
	}
	return false
}
