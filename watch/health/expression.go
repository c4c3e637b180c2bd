package health

import (
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"plumb.dev/plumb/fault"
)

// What an expression may cost. It comes from a user, and is evaluated in the
// process that holds everybody's units true.
const (
	maxExpression = 16 << 10 // bytes of source
	// maxCost bounds one evaluation to some milliseconds; what looks at a
	// thousand conditions stays well below it.
	maxCost = 200_000
	// maxString bounds what one call makes: the cost of a call is known only
	// after it.
	maxString    = 1 << 20
	maxPrecision = 100 // of format
)

// Condition compiles a CEL expression that gives a bool from the given
// variables and no others. A bad one is a [fault.Stall] with reason
// InvalidCELExpression.
func Condition(expr string, vars ...string) (cel.Program, error) {
	declared := make([]cel.EnvOption, len(vars))
	for i, v := range vars {
		declared[i] = cel.Variable(v, cel.MapType(cel.StringType, cel.DynType))
	}
	env, err := environment(declared...)
	if err != nil {
		return nil, invalid(expr, err)
	}
	return compile(env, expr, func(t *cel.Type) bool { return t == cel.BoolType })
}

// Expression compiles a CEL expression that gives a bool from the top-level
// fields of an object, whatever these are: not every kind has the usual ones.
// A bad one is a [fault.Stall] with reason InvalidCELExpression.
func Expression(expr string) (cel.Program, error) {
	if err := short(expr); err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, invalid(expr, err)
	}
	parsed, iss := env.Parse(expr)
	if iss.Err() != nil {
		return nil, invalid(expr, iss.Err())
	}
	var fields []cel.EnvOption
	for _, v := range free(parsed.NativeRep().Expr()) {
		fields = append(fields, cel.Variable(v, cel.DynType))
	}
	if env, err = environment(fields...); err != nil {
		return nil, invalid(expr, err)
	}
	return compile(env, expr, func(t *cel.Type) bool { return t == cel.BoolType || t == cel.DynType })
}

// environment has the functions that Flux's has.
func environment(more ...cel.EnvOption) (*cel.Env, error) {
	return cel.NewEnv(append([]cel.EnvOption{
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		ext.Strings(ext.StringsMaxPrecision(maxPrecision)),
		ext.Sets(),
		ext.Encoders(),
		boundedReplace(),
	}, more...)...)
}

// boundedReplace is the function replace of ext.Strings, the only one whose
// result can be as long as two strings multiplied.
func boundedReplace() cel.EnvOption {
	replace := func(args ...ref.Val) ref.Val {
		s, ok1 := args[0].(types.String)
		from, ok2 := args[1].(types.String)
		to, ok3 := args[2].(types.String)
		if !ok1 || !ok2 || !ok3 {
			return types.NewErr("no such overload")
		}
		n := -1
		if len(args) > 3 {
			most, ok := args[3].(types.Int)
			if !ok {
				return types.NewErr("no such overload")
			}
			n = int(most)
		}
		count := strings.Count(string(s), string(from))
		if n >= 0 {
			count = min(count, n)
		}
		if len(s)+count*len(to) > maxString {
			return types.NewErr("replace makes a string of more than %d bytes", maxString)
		}
		return types.String(strings.Replace(string(s), string(from), string(to), n))
	}
	return cel.Function("replace",
		cel.MemberOverload("string_replace_string_string", []*cel.Type{cel.StringType, cel.StringType, cel.StringType}, cel.StringType,
			cel.FunctionBinding(replace)),
		cel.MemberOverload("string_replace_string_string_int", []*cel.Type{cel.StringType, cel.StringType, cel.StringType, cel.IntType}, cel.StringType,
			cel.FunctionBinding(replace)))
}

func compile(env *cel.Env, expr string, gives func(*cel.Type) bool) (cel.Program, error) {
	if err := short(expr); err != nil {
		return nil, err
	}
	checked, iss := env.Compile(expr)
	if iss.Err() != nil {
		return nil, invalid(expr, iss.Err())
	}
	if t := checked.OutputType(); !gives(t) {
		return nil, invalid(expr, fmt.Errorf("it gives a %s, not a bool", t))
	}
	p, err := env.Program(checked, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, invalid(expr, err)
	}
	return p, nil
}

func short(expr string) error {
	if len(expr) > maxExpression {
		return invalid(expr[:100]+" …", fmt.Errorf("it is longer than %d bytes", maxExpression))
	}
	return nil
}

func invalid(expr string, err error) error {
	// The library draws where it is, over several lines.
	return &fault.Error{Next: fault.Stall, Reason: "InvalidCELExpression", Err: fmt.Errorf("expression %q: %s", expr, oneLine(err.Error()))}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// free returns the variables of a parsed expression that no part of it binds,
// as macros such as all and filter do.
func free(e ast.Expr) []string {
	seen := map[string]bool{}
	var names []string
	var walk func(ast.Expr, map[string]bool)
	walk = func(e ast.Expr, bound map[string]bool) {
		if e == nil {
			return
		}
		switch e.Kind() {
		case ast.IdentKind:
			if n := e.AsIdent(); !bound[n] && !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		case ast.CallKind:
			c := e.AsCall()
			if c.IsMemberFunction() {
				walk(c.Target(), bound)
			}
			for _, a := range c.Args() {
				walk(a, bound)
			}
		case ast.SelectKind:
			walk(e.AsSelect().Operand(), bound)
		case ast.ListKind:
			for _, x := range e.AsList().Elements() {
				walk(x, bound)
			}
		case ast.MapKind:
			for _, x := range e.AsMap().Entries() {
				walk(x.AsMapEntry().Key(), bound)
				walk(x.AsMapEntry().Value(), bound)
			}
		case ast.StructKind:
			for _, x := range e.AsStruct().Fields() {
				walk(x.AsStructField().Value(), bound)
			}
		case ast.ComprehensionKind:
			c := e.AsComprehension()
			walk(c.IterRange(), bound)
			inner := map[string]bool{c.IterVar(): true, c.IterVar2(): true, c.AccuVar(): true}
			for v := range bound {
				inner[v] = true
			}
			walk(c.AccuInit(), bound)
			walk(c.LoopCondition(), inner)
			walk(c.LoopStep(), inner)
			walk(c.Result(), inner)
		}
	}
	walk(e, map[string]bool{})
	return names
}
