package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// A difference is what plumb diff has found out. Values of Secrets are masked.
type difference struct {
	Unit     string       `json:"unit"`
	Path     string       `json:"path,omitempty"`
	Revision string       `json:"revision,omitempty"`
	Changes  []objectDiff `json:"changes"`
	Errors   []string     `json:"errors,omitempty"`
}

// An objectDiff is that of one object.
type objectDiff struct {
	Action string      `json:"action"` // create, update, recreate, delete, release, hold or leave
	Object object.Ref  `json:"-"`
	Ref    string      `json:"object"`
	Why    string      `json:"why,omitempty"`
	Fields []fieldDiff `json:"fields,omitempty"`
	// Desired is what would be created.
	Desired map[string]any `json:"desired,omitempty"`
}

// A fieldDiff is that of one field.
type fieldDiff struct {
	Path    string    `json:"path"`
	Old     any       `json:"old"`
	New     any       `json:"new"`
	Manager string    `json:"manager,omitempty"` // wrote the old value
	When    time.Time `json:"when,omitzero"`
}

func newDifference(f *found, path string, out engine.Outcome, errs []error) *difference {
	d := &difference{Unit: f.Ref.String(), Path: path, Revision: out.Revision, Changes: []objectDiff{}}
	if path != "" {
		d.Revision = ""
	}
	for _, c := range append(slices.Clone(out.Changes), out.Held...) {
		o := objectDiff{Action: c.Action.String(), Object: c.Ref, Ref: c.Ref.String(), Why: c.Why}
		for _, x := range c.Fields {
			if x.Manager == flux.ApplyManager {
				x.Manager, x.When = "", time.Time{}
			}
			o.Fields = append(o.Fields, fieldDiff{Path: x.Path, Old: x.Got, New: x.Want, Manager: x.Manager, When: x.When})
		}
		if want := c.Desired(); want != nil && c.Action == apply.Create {
			o.Desired = owned.Mask(want).Object
		}
		d.Changes = append(d.Changes, o)
	}
	for _, l := range out.Left {
		d.Changes = append(d.Changes, objectDiff{Action: leave, Object: l.Ref, Ref: l.Ref.String(), Why: l.Why})
	}
	for _, err := range errs {
		d.Errors = append(d.Errors, err.Error())
	}
	return d
}

// hide takes out what r has read from Secrets, wherever it has got to.
func (d *difference) hide(r *reader) {
	for i := range d.Changes {
		c := &d.Changes[i]
		c.Why = r.redactText(c.Why)
		if c.Desired != nil {
			c.Desired, _ = r.redact(c.Desired).(map[string]any)
		}
		for j := range c.Fields {
			f := &c.Fields[j]
			f.Old, f.New = r.redact(f.Old), r.redact(f.New)
		}
	}
	for i := range d.Errors {
		d.Errors[i] = r.redactText(d.Errors[i])
	}
}

// leave is the word for an object that is in the source and left as it is.
const leave = "leave"

func (d *difference) count(actions ...string) int {
	n := 0
	for _, c := range d.Changes {
		if slices.Contains(actions, c.Action) {
			n++
		}
	}
	return n
}

// changes reports whether something is not as it would be.
func (d *difference) changes() bool { return len(d.Changes) > d.count(apply.Release.String(), leave) }

// pruneHeld reports whether pruning waits for somebody to approve it.
func (d *difference) pruneHeld() bool {
	return slices.ContainsFunc(d.Changes, func(c objectDiff) bool {
		return strings.HasPrefix(c.Why, "PruneHeld: ") || strings.HasPrefix(c.Why, "EmptyRender: ")
	})
}

// printDiff prints d for people.
func (a *app) printDiff(d *difference, brief bool) {
	what := map[string]struct {
		sign  string
		color func(...any) string
	}{
		"create": {"+", a.good}, "update": {"~", a.warn}, "recreate": {"±", a.warn},
		"delete": {"-", a.bad}, "release": {"·", a.dim}, "hold": {"!", a.warn},
		leave: {"·", a.dim},
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
			a.printField(f)
		}
	}
	if d.pruneHeld() {
		a.printf("  once it is pushed, plumb sync --approve-prune lets it prune; what may be empty says so with plumb.dev/allow-empty\n")
	}
	for _, e := range d.Errors {
		a.println(a.bad("✘ " + clean(e)))
	}
	if len(d.Changes)+len(d.Errors) > 0 {
		a.println()
	}
	a.println(a.bold(d.summary()))
}

func (d *difference) summary() string {
	var parts []string
	for _, p := range []struct {
		actions []string
		word    string
		always  bool
	}{
		{[]string{"create"}, "to create", true}, {[]string{"update"}, "to update", true}, {[]string{"recreate"}, "to recreate", false},
		{[]string{"delete"}, "to delete", true}, {[]string{"release", leave}, "to leave", false}, {[]string{"hold"}, "held", false},
	} {
		if n := d.count(p.actions...); n > 0 || p.always {
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

// printField prints path: old → new, and values of several lines as such.
func (a *app) printField(f fieldDiff) {
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
