package argocd

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"

	"plumb.dev/plumb/apply"
)

// readOption takes a sync option apart, and says what is wrong with one that there
// isn't. Then name is the nearest that there is, or empty.
func readOption(text string) (name, value, wrong string) {
	name, value, ok := strings.Cut(strings.TrimSpace(text), "=")
	values, there := known[name]
	if !ok || !there {
		near := nearest(name, maps.Keys(known))
		return near, value, fmt.Sprintf("%q is no sync option%s; those that there are: %s", text, orMeant(near), strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	if _, there := values[value]; !there {
		return name, value, fmt.Sprintf("%s may be %s, and not %q", name, strings.Join(slices.Sorted(maps.Keys(values)), " or "), value)
	}
	return name, value, ""
}

// orMeant names the nearest word that there is, if one is near.
func orMeant(near string) string {
	if near == "" {
		return ""
	}
	return ", the nearest is " + near
}

// nearest is the one of some words that a misspelt one is most like, if it is like
// one: not more than a third of it is another.
func nearest(word string, words iter.Seq[string]) (near string) {
	least := max(1, len(word)/3) + 1
	for _, w := range slices.Sorted(words) {
		if n := levenshtein.Distance(strings.ToLower(word), strings.ToLower(w), nil); n < least {
			near, least = w, n
		}
	}
	return near
}

// hookPolicies are what hook-delete-policy may say.
var hookPolicies = []string{"BeforeHookCreation", "HookSucceeded", "HookFailed"}

// conditionMisspelt is plumb's own: Argo CD passes over such words.
const conditionMisspelt = "MisspeltAnnotationWarning"

// misspelt says which words of the annotations of an object mean nothing. What
// may have been meant to keep it keeps it.
func misspelt(p *apply.Policy, annotations map[string]string) (wrong []string) {
	say := func(annotation, why string) { wrong = append(wrong, annotation+": "+why) }
	for _, text := range list(annotations[syncOptions]) {
		name, _, why := readOption(text)
		if why == "" {
			continue
		}
		switch name {
		case "Prune":
			p.Prune, why = apply.Never, why+"; it is not pruned while this is in doubt"
		case "Delete":
			p.Removal, why = apply.Never, why+"; it is not deleted with the Application while this is in doubt"
		}
		say(syncOptions, why)
	}
	for _, text := range list(annotations[hookDelete]) {
		if !slices.Contains(hookPolicies, text) {
			say(hookDelete, fmt.Sprintf("%q is no delete policy%s", text, orMeant(nearest(text, slices.Values(hookPolicies)))))
		}
	}
	if wave := annotations[syncWave]; wave != "" {
		if _, err := strconv.ParseInt(wave, 10, 32); err != nil {
			say(syncWave, fmt.Sprintf("%q is no whole number; it counts as 0", wave))
		}
	}
	return wrong
}
