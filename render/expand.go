package render

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
	"go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"
)

// A piece is a part of an expanded text: what the repository says, or the
// value of a variable. What YAML makes of the first is the author's doing; the
// second is text and stays whole.
type piece struct {
	text  string
	value bool
}

func whole(pieces []piece) string {
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.text)
	}
	return b.String()
}

// An expander replaces variables in texts, within limits.
type expander struct {
	vars   map[string]string
	strict bool
	limits limits

	written int64 // bytes of values, in all texts
	dollars int   // in the texts of one object
	copied  int64 // bytes that the escapes in them make the parser copy
}

// An unset is the error for a variable without value and default.
type unset struct{ name string }

func (u unset) Error() string {
	return fmt.Sprintf("variable %q is not set and has no default", u.name)
}

// An outgrown is the error for a text that goes beyond a limit.
type outgrown struct{ why string }

func (o outgrown) Error() string { return o.why }

var errDefault = errors.New(`the default of a variable is no text that YAML takes for one: put it in quotes, as in ${name:="text"}`)

// expand returns what a text of a manifest becomes: the same text with values
// in it; or, where that is a number, a boolean or a list of them and the place
// may hold one, that.
func (x *expander) expand(s string, textOnly bool) (any, error) {
	x.dollars += strings.Count(s, "$")
	x.copied += int64(strings.Count(s, "$$")+strings.Count(s, `\`)) * int64(len(s))
	switch {
	case x.dollars > x.limits.variables:
		return nil, outgrown{fmt.Sprintf("more than %d variables", x.limits.variables)}
	case x.copied > x.limits.copied:
		return nil, outgrown{"too many escapes in too much text"}
	}
	tree, err := parse.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("substitution: %w", err) // it says what is wrong, and quotes nothing
	}
	pieces, err := x.eval(tree.Root)
	if err != nil {
		return nil, err
	}
	if inner, ok := inQuotes(tree.Root, pieces); ok {
		return whole(inner), nil
	}
	return scalarOf(s, pieces, textOnly)
}

// eval returns what a node of an expression becomes.
func (x *expander) eval(n parse.Node) ([]piece, error) {
	switch n := n.(type) {
	case *parse.TextNode:
		return []piece{{text: n.Value}}, nil
	case *parse.ListNode:
		var all []piece
		for _, c := range n.Nodes {
			some, err := x.eval(c)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	case *parse.FuncNode:
		return x.call(n)
	}
	return nil, fmt.Errorf("substitution: %w", parse.ErrBadSubstitution)
}

// call evaluates ${name}, or ${name} with an operator.
func (x *expander) call(n *parse.FuncNode) ([]piece, error) {
	before := x.written
	args := make([][]piece, len(n.Args))
	for i, arg := range n.Args {
		var err error
		if args[i], err = x.eval(arg); err != nil {
			return nil, err
		}
	}
	value, ok := x.vars[n.Param]
	switch n.Name {
	case "", "=", "-", "?", "+", ":=", ":-", ":?", ":+":
		if !ok && x.strict && n.Name == "" {
			return nil, unset{n.Param}
		}
		if value == "" && len(args) > 0 {
			var all []piece
			for _, a := range args {
				all = append(all, a...)
			}
			return all, nil
		}
	default:
		if !ok && x.strict {
			return nil, unset{n.Param}
		}
		var err error
		if value, err = x.transform(n.Name, value, args); err != nil {
			return nil, err
		}
	}
	x.written = before + int64(len(value))
	if x.written > x.limits.written {
		return nil, outgrown{fmt.Sprintf("larger than %d MiB once variables are replaced", x.limits.written>>20)}
	}
	return []piece{{text: value, value: true}}, nil
}

// longestTrimmed is the longest value from which a pattern is taken, which
// takes time with the square of its length.
const longestTrimmed = 64 << 10

// transform has the library apply an operator to a value. The arguments are
// handed over as variables, so that nothing in them is an operator.
func (x *expander) transform(op, value string, args [][]piece) (string, error) {
	vars := map[string]string{"v": value}
	for i, a := range args {
		vars["a"+strconv.Itoa(i)] = whole(a)
	}
	expression := "${v" + op + "}"
	switch op {
	case "#", "##", "%", "%%":
		if len(args) == 0 {
			expression = "${#v}"
			break
		}
		if len(value) > longestTrimmed {
			return "", outgrown{fmt.Sprintf("${…%s…} of a value of more than %d KiB", op, longestTrimmed>>10)}
		}
		expression = "${v" + op + "${a0}}"
	case ":":
		expression = "${v:${a0}}"
		if len(args) > 1 {
			expression = "${v:${a0}:${a1}}"
		}
	case "/", "//", "/#", "/%":
		if grown := int64(strings.Count(value, vars["a0"])) * int64(len(vars["a1"])); grown > x.limits.written {
			return "", outgrown{fmt.Sprintf("larger than %d MiB once variables are replaced", x.limits.written>>20)}
		}
		expression = "${v" + op + "${a0}/${a1}}"
	}
	return envsubst.Eval(expression, func(name string) (string, bool) { return vars[name], true })
}

// inQuotes returns what is between two variables that are a quote each, which
// is how people say that a number is text: ${quote}${n}${quote}.
func inQuotes(root parse.Node, pieces []piece) ([]piece, bool) {
	last := len(pieces) - 1
	if last < 2 || !bare(root) || pieces[0] != pieces[last] || !pieces[0].value {
		return nil, false
	}
	if q := pieces[0].text; q != `"` && q != `'` {
		return nil, false
	}
	return pieces[1:last], true
}

// bare reports whether an expression begins and ends with a variable without
// operator.
func bare(n parse.Node) bool {
	first, last := n, n
	for l, ok := first.(*parse.ListNode); ok; l, ok = first.(*parse.ListNode) {
		first = l.Nodes[0]
	}
	for l, ok := last.(*parse.ListNode); ok; l, ok = last.(*parse.ListNode) {
		last = l.Nodes[len(l.Nodes)-1]
	}
	f, ok := first.(*parse.FuncNode)
	l, also := last.(*parse.FuncNode)
	return ok && also && f.Name == "" && l.Name == ""
}

// scalarOf returns what YAML makes of pieces in the place of s. As Flux has
// it, what is written without quotes by the encoder may be more than text.
func scalarOf(s string, pieces []piece, textOnly bool) (any, error) {
	text := whole(pieces)
	encoded, err := k8syaml.Marshal(s)
	if err != nil {
		return nil, err
	}
	if string(encoded) != s+"\n" {
		return text, nil
	}
	n, mark, err := marked(pieces)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Kind == yaml.SequenceNode && !textOnly:
		return listOf(n, pieces, mark)
	case n.Kind != yaml.ScalarNode && !textOnly:
		return nil, errDefault
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		return unmark(n.Value, pieces, mark), nil
	case textOnly:
		return text, nil
	case text == "" || n.ShortTag() == "!!null":
		return nil, nil
	}
	return typed(text), nil
}

// marked returns the YAML node that pieces are if values are only words, and
// what those words begin with.
func marked(pieces []piece) (*yaml.Node, string, error) {
	mark := "zvalue"
	for text := whole(pieces); strings.Contains(text, mark); {
		mark += "z"
	}
	var b strings.Builder
	b.WriteString("k: ")
	for i, p := range pieces {
		switch {
		case !p.value:
			b.WriteString(p.text)
		case p.text != "":
			b.WriteString(word(mark, i))
		}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(b.String()), &doc); err != nil {
		return nil, "", errDefault
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) != 2 {
		return nil, "", errDefault
	}
	n := doc.Content[0].Content[1]
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 || commented(&doc) {
		return nil, "", errDefault
	}
	return n, mark, nil
}

func word(mark string, i int) string { return mark + strconv.Itoa(i) + "x" }

func unmark(s string, pieces []piece, mark string) string {
	for i, p := range pieces {
		if p.value && p.text != "" {
			s = strings.ReplaceAll(s, word(mark, i), p.text)
		}
	}
	return s
}

func commented(n *yaml.Node) bool {
	if n.HeadComment != "" || n.LineComment != "" || n.FootComment != "" {
		return true
	}
	for _, c := range n.Content {
		if commented(c) {
			return true
		}
	}
	return false
}

// listOf returns the list that a default is.
func listOf(n *yaml.Node, pieces []piece, mark string) (any, error) {
	list := make([]any, len(n.Content))
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode || c.Anchor != "" || c.Style&yaml.TaggedStyle != 0 {
			return nil, errDefault
		}
		list[i] = item(c, unmark(c.Value, pieces, mark))
	}
	return list, nil
}

func item(n *yaml.Node, text string) any {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		return text
	}
	return typed(text)
}

// typed returns the number, boolean or list that text is, or text. It is a
// number if it is written as JSON writes that number: 0123, 1.10, 1e10 and
// 0x1f would come out as something else. yes, no, null and ~ are words.
func typed(text string) any {
	switch text {
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		return i
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && strings.Contains(text, ".") && strconv.FormatFloat(f, 'f', -1, 64) == text {
		return f
	}
	if list, ok := flowList(text); ok {
		return list
	}
	return text
}

// flowList returns the list of scalars that a text like [80, 443] is.
func flowList(text string) ([]any, bool) {
	trimmed := strings.TrimSpace(text)
	if !strings.HasPrefix(trimmed, "[") || !strings.HasSuffix(trimmed, "]") || len(trimmed) > longestList {
		return nil, false
	}
	var doc yaml.Node
	if yaml.Unmarshal([]byte(trimmed), &doc) != nil || commented(&doc) || len(doc.Content) != 1 {
		return nil, false
	}
	n := doc.Content[0]
	if n.Kind != yaml.SequenceNode || n.Style&yaml.FlowStyle == 0 || n.Anchor != "" {
		return nil, false
	}
	list := make([]any, len(n.Content))
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode || c.Anchor != "" || c.Style&yaml.TaggedStyle != 0 {
			return nil, false
		}
		list[i] = item(c, c.Value)
	}
	return list, true
}

// longestList is the longest text that is looked at as a list.
const longestList = 1 << 20
