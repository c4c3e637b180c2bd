package ignore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/itchyny/gojq"
)

// A Finder evaluates expressions of jq on objects. It must be safe for
// concurrent use.
type Finder interface {
	// Find returns the paths that an expression selects in an object given as
	// JSON, as [Evaluate] does. It comes to an end whatever the expression is.
	Find(expression string, object []byte) (paths [][]any, err error)
}

// What an expression may select. An object has fewer fields than that.
const (
	maxPaths = 10000
	maxSteps = 100
)

// Patience is how long an expression may take; those that people write take some
// microseconds.
const Patience = 2 * time.Second

// Why an expression has no answer.
var (
	ErrTime = fmt.Errorf("it takes longer than %s", Patience)
	ErrMany = fmt.Errorf("it selects more than %d fields", maxPaths)
)

// parseJQ reports whether an expression can be read.
func parseJQ(expression string) error {
	if len(expression) > maxText {
		return fmt.Errorf("it is longer than %d bytes", maxText)
	}
	_, err := compileJQ(expression)
	return err
}

func compileJQ(expression string) (*gojq.Code, error) {
	q, err := gojq.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("it is no expression of jq: %w", err)
	}
	q = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: "path", Args: []*gojq.Query{q}}}}
	code, err := gojq.Compile(q)
	if err != nil {
		return nil, fmt.Errorf("it is no expression of jq: %w", err)
	}
	return code, nil
}

// Here evaluates expressions in this process, where their memory can't be
// bounded. It implements [Finder].
type Here struct{}

// Find implements [Finder].
func (Here) Find(expression string, object []byte) ([][]any, error) {
	return Evaluate(context.Background(), expression, object)
}

// Evaluate returns the paths that an expression selects in an object given as
// JSON, each of names of fields and of places in lists. What ends in an error of
// jq's selects nothing. An error says that there is no answer.
func Evaluate(ctx context.Context, expression string, object []byte) (paths [][]any, err error) {
	code, err := compileJQ(expression)
	if err != nil {
		return nil, err
	}
	var v any
	if err := json.NewDecoder(bytes.NewReader(object)).Decode(&v); err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	iter := code.RunWithContext(ctx, v)
	for n := 0; ; n++ {
		got, ok := iter.Next()
		switch {
		case ctx.Err() != nil:
			return nil, ErrTime
		case !ok:
			return paths, nil
		case n == maxPaths:
			return nil, ErrMany
		}
		switch got := got.(type) {
		case error:
			if halt := (*gojq.HaltError)(nil); errors.As(got, &halt) && halt.Value() == nil {
				return paths, nil
			}
			return nil, nil //nolint:nilerr // it quotes what is in the object; and so do errors of other objects that have not such fields
		case []any:
			more, err := plain(got, v)
			if err != nil {
				return nil, err
			}
			if paths = append(paths, more...); len(paths) > maxPaths {
				return nil, ErrMany
			}
		}
	}
}

// plain returns the paths that one of jq's is: that may count from the end of a
// list, or begin in a part of one.
func plain(path []any, v any) (paths [][]any, err error) {
	if len(path) > maxSteps {
		return nil, fmt.Errorf("it selects fields more than %d levels deep", maxSteps)
	}
	var steps []any
	from, part := 0, false // v is a part of a list that begins there
	for _, step := range path {
		list, _ := v.([]any)
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			steps, v = append(steps, step), m[step]
		case map[string]any:
			begin, end := bounds(step, len(list))
			v, from, part = any(list[begin:max(begin, end)]), from+begin, true
			continue
		default:
			i, ok := number(step)
			if i < 0 {
				i += len(list)
			}
			if !ok || i < 0 || i >= len(list) {
				return nil, nil
			}
			steps, v = append(steps, from+i), list[i]
		}
		from, part = 0, false
	}
	if !part {
		return [][]any{steps}, nil
	}
	list, _ := v.([]any)
	for i := range list {
		paths = append(paths, append(steps[:len(steps):len(steps)], from+i))
	}
	return paths, nil
}

// bounds are those of a part of a list, as jq writes it.
func bounds(part map[string]any, n int) (from, end int) {
	at := func(key string, otherwise int) int {
		i, ok := number(part[key])
		if !ok {
			return otherwise
		}
		if i < 0 {
			i += n
		}
		return min(max(i, 0), n)
	}
	return at("start", 0), at("end", n)
}

func number(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case float64:
		return int(v), true
	}
	return 0, false
}
