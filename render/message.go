package render

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	"plumb.dev/plumb/fault"
)

// longestQuote is how much of a library's message is passed on, in bytes.
const longestQuote = 600

// presentable gives an error the form that people read: one line, and none of
// the values of variables in what a library has put together.
func (o Options) presentable(err error) error {
	f := (*fault.Error)(nil)
	if !errors.As(err, &f) {
		return err // about the store or the context
	}
	quote := Quote("")
	if !errors.As(err, &quote) {
		// File and object names may hold anything, too.
		if text := err.Error(); printable(text) != text {
			return &fault.Error{Next: f.Next, Reason: f.Reason, Err: errors.New(printable(text))}
		}
		return err
	}
	text := o.masked(printable(string(quote)))
	if len(text) > longestQuote {
		text = strings.ToValidUTF8(text[:longestQuote], "") + " …"
	}
	return &fault.Error{Next: f.Next, Reason: f.Reason, Hint: f.Hint, Object: f.Object, Err: errors.New(text)}
}

// masked is text without the values of variables.
func (o Options) masked(text string) string {
	if o.Substitute == nil {
		return text
	}
	var values []string
	for _, v := range o.Substitute.Vars {
		values = append(values, Lines(v)...)
	}
	return Mask(text, values)
}

// Lines returns a text in the forms in which a message of one line may quote
// it: whole, and each line of it. Short ones are in every second word.
func Lines(text string) (all []string) {
	for _, l := range append(strings.Split(text, "\n"), text) {
		if l = oneLine(l); len(l) > 3 {
			all = append(all, l)
		}
	}
	return all
}

// Mask puts stars in the place of values, the longest first.
func Mask(text string, values []string) string {
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) })
	for _, v := range values {
		text = strings.ReplaceAll(text, v, "***")
	}
	return text
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// printable is s on one line, without what a terminal might act on.
func printable(s string) string {
	if strings.ContainsFunc(s, unicode.IsControl) {
		s = oneLine(s)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
