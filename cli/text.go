package cli

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fatih/color"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"
)

// clean makes text that others wrote fit for one line of a terminal: what is
// not printable, control codes and those that reorder text among it, is shown
// as its escape.
func clean(s string) string {
	fine := true
	for _, r := range s {
		fine = fine && strconv.IsPrint(r)
	}
	if fine && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r):
			b.WriteString(s[:n])
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		cells := strings.Split(l, "\t")
		for j, c := range cells {
			cells[j] = clean(c)
		}
		lines[i] = strings.Join(cells, "\t")
	}
	return strings.Join(lines, "\n")
}

// short cuts text to at most n characters.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:n-1])) + "…"
}

var hashes = regexp.MustCompile(`\b([0-9a-f]{8})(?:[0-9a-f]{32}|[0-9a-f]{56})\b`)

// shortHashes makes main@sha1:1a2b3c4d of revisions in a text, for people, who
// tell commits and digests apart by less than 40 or 64 digits.
func shortHashes(s string) string { return hashes.ReplaceAllString(s, "$1") }

// age says how long ago t was.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return duration.HumanDuration(time.Since(t))
}

// ago is age as part of a sentence.
func ago(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return age(t) + " ago"
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// A paint is how text is coloured, or not.
type paint struct{ good, bad, warn, dim, bold func(...any) string }

func newPaint(on bool) paint {
	of := func(attrs ...color.Attribute) func(...any) string {
		c := color.New(attrs...)
		if on {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c.SprintFunc()
	}
	return paint{
		good: of(color.FgGreen), bad: of(color.FgRed), warn: of(color.FgYellow),
		dim: of(color.Faint), bold: of(color.Bold),
	}
}

// isTerminal reports whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colored decides about colour for w, as --color and https://no-color.org say.
func colored(mode string, w io.Writer) (bool, error) {
	switch mode {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", nil
	}
	return false, fmt.Errorf("--color %q is not auto, always or never", mode)
}
