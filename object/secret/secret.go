// Package secret keeps values out of what people read.
//
// Secrecy belongs to a value and not to the kind of the object that it ended
// up in: a password that a variable puts into a label is as secret there, and
// whoever refuses the label quotes it. [Values] are the texts that may not be
// shown, in each form in which a server or a library is known to quote them.
package secret

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Hidden stands for a value that may not be shown.
const Hidden = "***"

// long is the length from which on a value is hidden wherever it is found. A
// shorter one is part of every second word, and is hidden where it stands by
// itself.
const long = 4

// Values are what may not be shown. The zero value is none. They are safe for
// concurrent use.
type Values struct {
	all   map[string]bool
	long  []string // the longest first
	short *regexp.Regexp
}

// plain are values of something in every object, and no secret.
var plain = map[string]bool{
	"": true, "true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "null": true,
}

// New returns the Values of some texts.
func New(texts ...string) *Values {
	v := &Values{all: map[string]bool{}}
	for _, t := range texts {
		for _, form := range forms(t) {
			v.all[form] = !plain[form]
		}
	}
	var short []string
	for form, secret := range v.all {
		switch {
		case !secret:
		case len(form) >= long:
			v.long = append(v.long, form)
		default:
			short = append(short, regexp.QuoteMeta(form))
		}
	}
	longest := func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) }
	slices.SortFunc(v.long, longest)
	if slices.SortFunc(short, longest); len(short) > 0 {
		v.short = regexp.MustCompile(`(^|[^\pL\pN])(?:` + strings.Join(short, "|") + `)($|[^\pL\pN])`)
	}
	return v
}

// forms are the ways in which a text may be quoted.
func forms(text string) []string {
	line := strings.ReplaceAll(text, "\n", "")
	all := []string{text, line, strings.TrimSpace(text), strings.TrimSpace(line)}
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); len(l) >= long {
			all = append(all, l)
		}
	}
	// What stood for a number or a list was parsed.
	var parsed any
	if yaml.Unmarshal([]byte(line), &parsed) == nil {
		list, ok := parsed.([]any)
		if !ok {
			list = []any{parsed}
		}
		for _, p := range list {
			switch p.(type) {
			case string, float64, int64:
				all = append(all, fmt.Sprint(p))
				if b, err := json.Marshal(p); err == nil {
					all = append(all, strings.Trim(string(b), `"`))
				}
			}
		}
	}
	for _, t := range slices.Clone(all) {
		quoted := strconv.Quote(t)
		all = append(all, quoted[1:len(quoted)-1], base64.StdEncoding.EncodeToString([]byte(t)))
		if b, err := json.Marshal(t); err == nil {
			all = append(all, string(b[1:len(b)-1]))
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// Hide returns text without the values.
func (v *Values) Hide(text string) string {
	if v == nil {
		return text
	}
	for _, s := range v.long {
		text = strings.ReplaceAll(text, s, Hidden)
	}
	if v.short != nil {
		// Twice, since two that follow each other share what is between.
		for range 2 {
			text = v.short.ReplaceAllString(text, "${1}"+Hidden+"${2}")
		}
	}
	return text
}

// HideIn returns a value as JSON has it without the values, in whatever text or
// number they are. What it is given is not changed.
func (v *Values) HideIn(value any) any {
	switch x := value.(type) {
	case string:
		return v.Hide(x)
	case int64, float64, int:
		if v.In(x) {
			return Hidden
		}
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[v.Hide(k)] = v.HideIn(e)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = v.HideIn(e)
		}
		return out
	}
	return value
}

// In reports whether value holds any of the values.
func (v *Values) In(value any) bool {
	switch x := value.(type) {
	case string:
		return v.Hide(x) != x
	case int64, float64, int:
		return v != nil && v.all[fmt.Sprint(x)]
	case map[string]any:
		for k, e := range x {
			if v.In(k) || v.In(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, v.In)
	}
	return false
}
