package cli

import (
	"os"
	"path/filepath"
	"testing"

	"plumb.dev/plumb/control/lookup"
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

func TestValuesOfSecretsAreRedactedWhereverTheyAre(t *testing.T) {
	r := &reader{known: map[lookup.Ref]map[string][]byte{
		{Kind: lookup.Secret, Name: "s"}:    {"password": []byte("hunter2\n"), "long": []byte("hunter2-and-more"), "tiny": []byte("a")},
		{Kind: lookup.ConfigMap, Name: "c"}: {"host": []byte("public.example")},
	}}
	got := r.redact(map[string]any{
		"args": []any{"--password=hunter2", "--host=public.example", int64(3)},
		"env":  "x hunter2-and-more y",
	}).(map[string]any)
	if args := got["args"].([]any); args[0] != "--password=***" || args[1] != "--host=public.example" || args[2] != int64(3) {
		t.Errorf("args: %v", args)
	}
	if got["env"] != "x *** y" {
		t.Errorf("env: %v", got["env"])
	}
}
