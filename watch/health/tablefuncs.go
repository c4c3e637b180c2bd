package health

import (
	"fmt"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
)

// tableEnv has what expressions of table.yaml may use.
var tableEnv = sync.OnceValues(func() (*cel.Env, error) {
	one := func(name string, gives *cel.Type, of func(o map[string]any, arg string) (any, error)) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("o_"+name, []*cel.Type{cel.DynType, cel.StringType}, gives,
			cel.BinaryBinding(func(o, arg ref.Val) ref.Val { return answer(of(fields(o), text(arg.Value()))) })))
	}
	cond := func(field string) func(map[string]any, string) (any, error) {
		return func(o map[string]any, kind string) (any, error) { return conditionOf(o, kind)[field], nil }
	}
	has := func(status string) func(map[string]any, string) (any, error) {
		return func(o map[string]any, kind string) (any, error) { return conditionOf(o, kind)["status"] == status, nil }
	}
	return cel.NewEnv(
		cel.Variable("o", cel.DynType), cel.OptionalTypes(), ext.Strings(),
		one("text", cel.StringType, func(o map[string]any, path string) (any, error) { return valueAt(o, path, "") }),
		one("flag", cel.BoolType, func(o map[string]any, path string) (any, error) { return valueAt(o, path, false) }),
		one("list", cel.ListType(cel.DynType), func(o map[string]any, path string) (any, error) { return valueAt(o, path, []any{}) }),
		one("fresh", cel.ListType(cel.DynType), freshAt),
		one("number", cel.IntType, numberAt),
		one("present", cel.BoolType, func(o map[string]any, path string) (any, error) { return at(o, path) != nil, nil }),
		one("annotation", cel.StringType, func(o map[string]any, name string) (any, error) {
			meta, _ := o["metadata"].(map[string]any)
			all, _ := meta["annotations"].(map[string]any)
			return text(all[name]), nil
		}),
		one("is", cel.BoolType, has("True")),
		one("isnt", cel.BoolType, has("False")),
		one("status", cel.StringType, cond("status")),
		one("reason", cel.StringType, cond("reason")),
		one("said", cel.StringType, func(o map[string]any, kind string) (any, error) {
			c := conditionOf(o, kind)
			if c["message"] != "" {
				return c["message"], nil
			}
			return c["reason"], nil
		}),
		cel.Function("unseen", cel.MemberOverload("o_unseen", []*cel.Type{cel.DynType}, cel.BoolType,
			cel.UnaryBinding(func(o ref.Val) ref.Val { return answer(isUnseen(fields(o))) }))),
		cel.Function("sum", cel.MemberOverload("o_sum", []*cel.Type{cel.DynType, cel.StringType, cel.StringType}, cel.IntType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return answer(sumOf(fields(args[0]), text(args[1].Value()), text(args[2].Value())))
			}))),
	)
})

func answer(v any, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// fields are those of an object, or of a part of one.
func fields(v ref.Val) map[string]any {
	m, _ := v.Value().(map[string]any)
	return m
}

// at returns the value at a path of fields, or nil.
func at(o map[string]any, path string) any {
	var v any = o
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// valueAt returns the value at a path, otherwise if there is none. One of another
// type is an error.
func valueAt[T any](o map[string]any, path string, otherwise T) (any, error) {
	switch v := at(o, path).(type) {
	case nil:
		return otherwise, nil
	case T:
		return v, nil
	default:
		return nil, fmt.Errorf("%s is a %s, not a %s", path, typeName(v), typeName(otherwise))
	}
}

func numberAt(o map[string]any, path string) (any, error) {
	switch v := at(o, path).(type) {
	case nil:
		return int64(0), nil
	case int64:
		return v, nil
	case float64:
		return int64(v), nil
	default:
		return nil, fmt.Errorf("%s is a %s, not a number", path, typeName(v))
	}
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case int64, float64:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "map"
	}
	return fmt.Sprintf("%T", v)
}

// conditionsOf are in the status of an object, and at the top of a part of one.
func conditionsOf(o map[string]any) []any {
	st, _ := o["status"].(map[string]any)
	all, ok := st["conditions"].([]any)
	if !ok {
		all, _ = o["conditions"].([]any)
	}
	return all
}

// conditionOf returns the fields of a condition, as far as they are text.
func conditionOf(o map[string]any, kind string) map[string]string {
	out := map[string]string{"status": "", "reason": "", "message": ""}
	for _, c := range conditionsOf(o) {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			for field := range out {
				out[field] = text(c[field])
			}
			break
		}
	}
	return out
}

// isUnseen reports whether the controller has said that it has seen an object, or
// whoever wrote its conditions, and not as it is now.
func isUnseen(o map[string]any) (any, error) {
	is, err := numberAt(o, "metadata.generation")
	if err != nil {
		return nil, err
	}
	seen, err := numberAt(o, "status.observedGeneration")
	switch {
	case err != nil:
		return nil, err
	case seen.(int64) < 0: // of an object that was never brought to its end
		return false, nil
	case at(o, "status.observedGeneration") != nil:
		return seen.(int64) < is.(int64), nil
	}
	return !isFresh(o, is.(int64)), nil
}

// isFresh reports whether one of the conditions is of a generation, or none says
// of which it is.
func isFresh(o map[string]any, generation int64) bool {
	newest := int64(-1)
	for _, c := range conditionsOf(o) {
		if c, ok := c.(map[string]any); ok {
			if n, ok := c["observedGeneration"].(int64); ok {
				newest = max(newest, n)
			}
		}
	}
	return newest < 0 || newest >= generation
}

// freshAt returns those parts of a list whose conditions are of the latest
// generation of o.
func freshAt(o map[string]any, path string) (any, error) {
	all, err := valueAt(o, path, []any{})
	if err != nil {
		return nil, err
	}
	is, err := numberAt(o, "metadata.generation")
	if err != nil {
		return nil, err
	}
	fresh := []any{}
	for _, part := range all.([]any) {
		if m, ok := part.(map[string]any); ok && isFresh(m, is.(int64)) {
			fresh = append(fresh, part)
		}
	}
	return fresh, nil
}

func sumOf(o map[string]any, path, field string) (any, error) {
	all, err := valueAt(o, path, []any{})
	if err != nil {
		return nil, err
	}
	sum := int64(0)
	for _, part := range all.([]any) {
		m, _ := part.(map[string]any)
		n, err := numberAt(m, field)
		if err != nil {
			return nil, err
		}
		sum += n.(int64)
	}
	return sum, nil
}
