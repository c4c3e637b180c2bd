package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCleanKeepsTextAndEscapesTheRest(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		"Grüße, 世界 → 🚀":      "Grüße, 世界 → 🚀",
		"\x1b[31mred\x1b[0m": `\x1b[31mred\x1b[0m`,
		"\x1b]0;t\a":         `\x1b]0;t\a`,
		"\u009b31m":          `\u009b31m`, // CSI in one character
		"a\u202eb":           `a\u202eb`,  // right-to-left override
		"a\u2066b\u2069":     `a\u2066b\u2069`,
		"a\u200bb":           `a\u200bb`, // zero width
		"a\rb\nc\td":         `a\rb\nc\td`,
		"bad \xff utf-8":     `bad \xff utf-8`,
		"\ufeffbom":          `\ufeffbom`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCleanLinesKeepsTheirStructure(t *testing.T) {
	if got, want := cleanLines("a\n\tb\x1b\n"), "a\n\tb\\x1b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestColourIsOnlyForTerminals(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for mode, want := range map[string]bool{"always": true, "never": false, "auto": false} {
		if got, err := colored(mode, file); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", mode, got, err, want)
		}
	}
	if _, err := colored("sometimes", file); err == nil {
		t.Error("no error for a mode that does not exist")
	}
}

func TestRevisionsAreShortForPeople(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for text, want := range map[string]string{
		"main@sha1:" + hex[:40]:                         "main@sha1:01234567",
		"stored 'v1@sha256:" + hex + "'":                "stored 'v1@sha256:01234567'",
		"sha256:" + hex + " and " + hex[:40]:            "sha256:01234567 and 01234567",
		"a name of 41 digits " + hex[:41]:               "a name of 41 digits " + hex[:41],
		"one of 65 " + hex + "0, and of 39 " + hex[:39]: "one of 65 " + hex + "0, and of 39 " + hex[:39],
	} {
		if got := shortHashes(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
