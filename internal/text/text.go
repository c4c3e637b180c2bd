// Package text has strings that are kept for long take little memory.
package text

import "strings"

// Gather makes strings parts of one that holds each of them once. They stay the
// same. Strings that were decoded are a piece of memory each, and many are equal.
func Gather(texts []*string) {
	at := make(map[string]int, len(texts))
	var all strings.Builder
	for _, t := range texts {
		if _, known := at[*t]; !known {
			at[*t] = all.Len()
			all.WriteString(*t)
		}
	}
	one := strings.Clone(all.String()) // a builder has room left
	for _, t := range texts {
		i := at[*t]
		*t = one[i : i+len(*t)]
	}
}
