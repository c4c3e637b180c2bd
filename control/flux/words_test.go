package flux

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"plumb.dev/plumb/fault"
)

// Every reason of the engine has a word of Flux's.
func TestEveryReasonHasAWord(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../fault/reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		value, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if words[fault.Reason(value)] == "" {
			t.Errorf("%s has no word", v.Names[0].Name)
		}
		return true
	})
	if n == 0 || n != len(words) {
		t.Errorf("%d words for %d reasons", len(words), n)
	}
}
