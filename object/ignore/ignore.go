// Package ignore says which fields of objects differ and do not count.
//
// A [Rule] is what a person wrote: about which objects, and which of their
// fields, by JSON pointers, jq expressions or the names of field managers.
// [Compile] makes [Rules] of the rules of a unit, and [Rules.For] the [Fields] of
// one object. Which fields of an object as it is now that means, [Fields.Of]
// says. What follows from it for comparing and applying is for package owned.
//
// An expression is evaluated by a [Finder]: it may loop, or ask for all memory
// there is.
package ignore

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// A Rule says of which objects which fields don't count.
type Rule struct {
	// From is where it was written, as messages name it: spec.ignore[0].
	From string

	// Group, Version, Kind, Namespace and Name are regular expressions that have
	// to match all of what they are about; empty: whatever it is. See [Glob] and
	// [Exactly].
	Group, Version, Kind, Namespace, Name string
	// Labels and Annotations are label selectors; empty: all.
	Labels, Annotations string

	// Pointers are JSON pointers (RFC 6901). A number is the place in a list of
	// whichever object is looked at.
	Pointers []string
	// JQ are expressions of jq, each the paths that it selects, as in jq's
	// path(EXPRESSION). One that ends in an error, such as to iterate over what
	// an object does not have, selects nothing of that object.
	JQ []string
	// Managers are names of field managers: what they own does not count.
	Managers []string

	// Apply: these fields are not applied either. They are as desired when the
	// object is created, and from then on as they are.
	Apply bool
}

// Own are the rules that an object has about itself, or why they can't be read.
type Own struct {
	Rules []Rule
	Err   error
}

// And returns the rules of o with another.
func (o *Own) And(r Rule) *Own {
	if o == nil {
		return &Own{Rules: []Rule{r}}
	}
	return &Own{Rules: append(slices.Clone(o.Rules), r), Err: o.Err}
}

// An Error says what is wrong with a rule.
type Error struct {
	From string // where the rule was written
	Rule string // the pointer or expression
	// Unreadable: it can't be read, and so it is the rule that has to change.
	// Otherwise it could not be evaluated on an object.
	Unreadable bool
	Err        error
}

// Error implements error.
func (e *Error) Error() string {
	const most = 100
	rule := e.Rule
	if len(rule) > most {
		rule = strings.ToValidUTF8(rule[:most], "") + " …"
	}
	switch {
	case e.From == "":
		return fmt.Sprintf("%q: %v", rule, e.Err)
	case rule == "":
		return fmt.Sprintf("%s: %v", e.From, e.Err)
	}
	return fmt.Sprintf("%s: %q: %v", e.From, rule, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// What a unit's rules may be, so that reading them takes no time to speak of.
const (
	maxRules = 1000  // with all their pointers and expressions
	maxText  = 10000 // bytes of each
)

// Rules are those of a unit, ready to be used. It is safe for concurrent use.
type Rules struct {
	o     Options
	rules []compiled

	mu    sync.Mutex
	known map[string]*Fields // by their keys
}

// Options are what rules are used with.
type Options struct {
	// Finder evaluates expressions of jq.
	Finder Finder
	// Marks are paths of fields that count whatever a rule says, beside those
	// that make an object the one it is.
	Marks [][]string
}

// compiled is a rule that was read.
type compiled struct {
	selects func(u *unstructured.Unstructured, namespace string) bool
	asked
}

// asked is what a rule asks for.
type asked struct {
	pointers []pointer
	exprs    []expression
	managers []Manager
}

type pointer struct {
	steps []string
	apply bool
}

type expression struct {
	from, text string
	apply      bool
}

// Compile reads rules. The error is an [Error].
func Compile(rules []Rule, o Options) (*Rules, error) {
	r := &Rules{o: o, known: make(map[string]*Fields)}
	n := 0
	for _, rule := range rules {
		if n += 1 + len(rule.Pointers) + len(rule.JQ) + len(rule.Managers); n > maxRules {
			return nil, &Error{From: rule.From, Unreadable: true, Err: fmt.Errorf("these are more than %d rules, pointers and expressions", maxRules)}
		}
		c, err := rule.compile()
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, c)
	}
	return r, nil
}

// Check reports whether rules can be read. The error is an [Error].
func Check(rules []Rule) error {
	_, err := Compile(rules, Options{})
	return err
}

func (r Rule) compile() (c compiled, err error) {
	unreadable := func(text string, err error) error { return &Error{r.From, text, true, err} }
	type object = *unstructured.Unstructured
	var target []func(u object, namespace string) bool
	for _, p := range []struct {
		name, pattern string
		of            func(u object, namespace string) string
	}{
		{"group", r.Group, func(u object, _ string) string { return u.GroupVersionKind().Group }},
		{"version", r.Version, func(u object, _ string) string { return u.GroupVersionKind().Version }},
		{"kind", r.Kind, func(u object, _ string) string { return u.GetKind() }},
		{"namespace", r.Namespace, func(_ object, namespace string) string { return namespace }},
		{"name", r.Name, func(u object, _ string) string { return u.GetName() }},
	} {
		if p.pattern == "" {
			continue
		}
		if len(p.pattern) > maxText {
			return c, unreadable("", fmt.Errorf("the %s is longer than %d bytes", p.name, maxText))
		}
		re, err := regexp.Compile("^(?:" + p.pattern + ")$")
		if err != nil {
			return c, unreadable(p.pattern, fmt.Errorf("the %s: %w", p.name, err))
		}
		target = append(target, func(u object, namespace string) bool { return re.MatchString(p.of(u, namespace)) })
	}
	for _, s := range []struct {
		name, selector string
		of             func(object) map[string]string
	}{{"label selector", r.Labels, object.GetLabels}, {"annotation selector", r.Annotations, object.GetAnnotations}} {
		if s.selector == "" {
			continue
		}
		sel, err := labels.Parse(s.selector)
		if err != nil {
			return c, unreadable(s.selector, fmt.Errorf("the %s: %w", s.name, err))
		}
		target = append(target, func(u object, _ string) bool { return sel.Matches(labels.Set(s.of(u))) })
	}
	c.selects = func(u object, namespace string) bool {
		return !slices.ContainsFunc(target, func(f func(object, string) bool) bool { return !f(u, namespace) })
	}
	for _, p := range r.Pointers {
		steps, err := parsePointer(p)
		if err != nil {
			return c, unreadable(p, err)
		}
		c.pointers = append(c.pointers, pointer{steps, r.Apply})
	}
	for _, x := range r.JQ {
		if err := parseJQ(x); err != nil {
			return c, unreadable(x, err)
		}
		c.exprs = append(c.exprs, expression{r.From, x, r.Apply})
	}
	for _, m := range r.Managers {
		if m == "" {
			return c, unreadable("", errors.New("a field manager has no name"))
		}
		c.managers = append(c.managers, Manager{m, r.Apply})
	}
	return c, nil
}

// parsePointer reads a JSON pointer.
func parsePointer(p string) ([]string, error) {
	switch {
	case len(p) > maxText:
		return nil, fmt.Errorf("it is longer than %d bytes", maxText)
	case p == "":
		return nil, errors.New("a JSON pointer that is empty stands for the whole object; to leave one alone, say so in its annotations")
	case p[0] != '/':
		return nil, errors.New("a JSON pointer begins with /, as in /spec/replicas")
	}
	steps := strings.Split(p[1:], "/")
	for i, s := range steps {
		if rest := strings.NewReplacer("~0", "", "~1", "").Replace(s); strings.Contains(rest, "~") {
			return nil, errors.New("in a JSON pointer ~ is written ~0, and / in a name ~1")
		}
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return steps, nil
}

// Exactly returns the pattern that matches text and nothing else.
func Exactly(text string) string { return "(?:" + regexp.QuoteMeta(text) + ")" }

// Glob returns the pattern that matches what a glob does: * and ? for any
// characters, [ab], [!ab] and {one,two} for some.
func Glob(glob string) string {
	var b strings.Builder
	b.WriteString("(?s:")
	depth := 0
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteByte('.')
		case c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		case c == '[' && strings.IndexByte(glob[i:], ']') > 1:
			end := i + strings.IndexByte(glob[i:], ']')
			set := strings.ReplaceAll(glob[i+1:end], `\`, `\\`)
			if rest, not := strings.CutPrefix(set, "!"); not {
				set = "^" + rest
			}
			b.WriteString("[" + set + "]")
			i = end
		case c == '{' && strings.Contains(glob[i:], "}"):
			depth++
			b.WriteString("(?:")
		case c == '}' && depth > 0:
			depth--
			b.WriteByte(')')
		case c == ',' && depth > 0:
			b.WriteByte('|')
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	b.WriteString(strings.Repeat(")", depth) + ")")
	return b.String()
}

// For returns what the rules say of an object as it is desired, and what that
// says itself. namespace is where it is. It is nil if that is nothing. What is
// said of several objects in the same words is one.
func (r *Rules) For(u *unstructured.Unstructured, namespace string, own *Own) *Fields {
	f := &Fields{o: &r.o}
	for _, c := range r.rules {
		if c.selects(u, namespace) {
			f.add(c.asked)
		}
	}
	if own != nil {
		f.addOwn(u, namespace, own)
	}
	if f.err == nil && len(f.pointers)+len(f.exprs)+len(f.managers) == 0 {
		return nil
	}
	f.seal()
	r.mu.Lock()
	defer r.mu.Unlock()
	if same := r.known[f.key]; same != nil {
		return same
	}
	r.known[f.key] = f
	return f
}

// addOwn adds what an object says of itself.
func (f *Fields) addOwn(u *unstructured.Unstructured, namespace string, own *Own) {
	f.err = own.Err
	for _, rule := range own.Rules {
		c, err := rule.compile()
		if err != nil && f.err == nil {
			f.err = err
		}
		if err == nil && c.selects(u, namespace) {
			f.add(c.asked)
		}
	}
}
