package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"plumb.dev/plumb/inspect"
	"sigs.k8s.io/yaml"
)

// printDiff prints d for people.
func (a *app) printDiff(d *inspect.Difference, brief bool) {
	what := map[string]struct {
		sign  string
		color func(...any) string
	}{
		"create": {"+", a.good}, "update": {"~", a.warn}, "recreate": {"±", a.warn},
		"delete": {"-", a.bad}, "release": {"·", a.dim}, "hold": {"!", a.warn},
		inspect.Leave: {"·", a.dim}, inspect.Ignore: {"·", a.dim},
	}
	for i, c := range d.Changes {
		w := what[c.Action]
		line := w.sign + " " + c.Action + " " + clean(c.Ref)
		// One reason for several objects is said once, with the last.
		if last := i == len(d.Changes)-1 || d.Changes[i+1].Why != c.Why; c.Why != "" && last {
			line += ": " + clean(c.Why)
		}
		a.println(w.color(line))
		if brief {
			continue
		}
		if c.Desired != nil {
			a.block("+", a.good, yamlOf(c.Desired))
		}
		for _, f := range c.Fields {
			if c.Action == inspect.Ignore {
				a.printIgnored(f)
			} else {
				a.printField(f)
			}
		}
	}
	if d.PruneHeld() {
		a.printf("  once it is pushed, plumb sync --approve-prune lets it prune; what may be empty says so with plumb.dev/allow-empty\n")
	}
	for _, e := range d.Errors {
		a.println(a.bad("✘ " + clean(e)))
	}
	if len(d.Changes)+len(d.Errors) > 0 {
		a.println()
	}
	a.println(a.bold(summary(d)))
}

func summary(d *inspect.Difference) string {
	var parts []string
	for _, p := range []struct {
		actions []string
		word    string
		always  bool
	}{
		{[]string{"create"}, "to create", true}, {[]string{"update"}, "to update", true}, {[]string{"recreate"}, "to recreate", false},
		{[]string{"delete"}, "to delete", true}, {[]string{"release", inspect.Leave}, "to leave", false}, {[]string{"hold"}, "held", false}, {[]string{inspect.Ignore}, "with fields that don't count", false},
	} {
		if n := d.Count(p.actions...); n > 0 || p.always {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.word))
		}
	}
	if n := len(d.Errors); n == 1 {
		parts = append(parts, "1 error")
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("%d errors", n))
	}
	from := d.Revision
	if d.Path != "" {
		from = d.Path
	}
	return fmt.Sprintf("%s at %s: %s", clean(d.Unit), clean(from), strings.Join(parts, ", "))
}

// printIgnored prints a field that differs and does not count.
func (a *app) printIgnored(f inspect.FieldDiff) {
	live, _ := oneLine(f.Old)
	desired, _ := oneLine(f.New)
	flat := func(s string) string { return clean(strings.Join(strings.Fields(s), " ")) }
	a.println(a.dim(fmt.Sprintf("    %s: %s, in the source %s", clean(f.Path), flat(live), flat(desired))))
}

// printField prints path: old → new, and values of several lines as such.
func (a *app) printField(f inspect.FieldDiff) {
	by := ""
	if f.Manager != "" {
		by = " (by " + clean(f.Manager)
		if !f.When.IsZero() {
			by += " at " + f.When.UTC().Format(time.RFC3339)
		}
		by += ")"
	}
	old, oldLine := oneLine(f.Old)
	now, nowLine := oneLine(f.New)
	if oldLine && nowLine {
		a.printf("    %s: %s → %s%s\n", clean(f.Path), a.bad(clean(old)), a.good(clean(now)), a.dim(by))
		return
	}
	a.printf("    %s:%s\n", clean(f.Path), a.dim(by))
	switch {
	case f.Old == nil:
		a.block("+", a.good, now)
	case f.New == nil:
		a.block("-", a.bad, old)
	default:
		a.lines(old, now)
	}
}

// oneLine returns v as text, and whether that is a line by itself.
func oneLine(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "(none)", true
	case string:
		if strings.Contains(strings.TrimSuffix(v, "\n"), "\n") {
			return v, false
		}
		return v, true
	case map[string]any, []any:
		return yamlOf(v), false
	}
	return fmt.Sprint(v), true
}

func yamlOf(v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func (a *app) block(sign string, color func(...any) string, text string) {
	for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		a.println(color("      " + sign + " " + clean(l)))
	}
}

// lines prints which lines of a text differ.
func (a *app) lines(old, now string) {
	end := func(s string) []byte { return []byte(strings.TrimSuffix(s, "\n") + "\n") }
	if string(end(old)) == string(end(now)) {
		a.println("      (only the line break at its end differs)")
		return
	}
	for i, l := range strings.Split(strings.TrimSuffix(string(diff.Diff("old", end(old), "new", end(now))), "\n"), "\n") {
		switch {
		case i < 3: // diff old new, --- old, +++ new
		case strings.HasPrefix(l, "-"):
			a.println(a.bad("      - " + clean(l[1:])))
		case strings.HasPrefix(l, "+"):
			a.println(a.good("      + " + clean(l[1:])))
		case strings.HasPrefix(l, "@@"):
			a.println(a.dim("      " + clean(l)))
		default:
			a.println("        " + clean(strings.TrimPrefix(l, " ")))
		}
	}
}
