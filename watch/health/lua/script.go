package lua

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
	vm "github.com/yuin/gopher-lua"

	"plumb.dev/plumb/tree"
)

// given are the functions of Lua that a rule has. What loads more code, writes or
// looks into the machine is not among them.
var given = []string{
	"assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select", "setmetatable",
	"tonumber", "tostring", "type", "unpack", "xpcall", "_VERSION",
}

// deepest is how deep functions may call each other.
const deepest = 200

// Job judges an object by a rule, in a worker. It is a worker.Func.
func Job(ctx context.Context, _ tree.Tree, input []byte) (output []byte, spent bool) {
	var q request
	a := response{}
	if err := cbor.Unmarshal(input, &q); err != nil {
		a.Wrong = err.Error()
	} else {
		a = run(ctx, q)
	}
	b, err := cbor.Marshal(a)
	if err != nil {
		panic(err) // text can be encoded
	}
	return b, a.Late
}

func run(ctx context.Context, q request) response {
	var object map[string]any
	if err := json.Unmarshal(q.Object, &object); err != nil {
		return response{Wrong: "the object is no JSON"}
	}
	ctx, cancel := context.WithTimeout(ctx, work)
	defer cancel()
	l := vm.NewState(vm.Options{SkipOpenLibs: true, CallStackSize: deepest, RegistrySize: 4 << 10, RegistryMaxSize: 256 << 10, RegistryGrowStep: 4 << 10})
	defer l.Close()
	open(l)
	l.SetContext(ctx)
	l.SetGlobal("obj", value(l, object))
	err := l.DoString(q.Script)
	switch {
	case ctx.Err() != nil:
		return response{Late: true}
	case err != nil:
		return response{Wrong: words(err)}
	}
	return returned(l.Get(-1))
}

// open gives a rule what it has.
func open(l *vm.LState) {
	for name, lib := range map[string]vm.LGFunction{vm.BaseLibName: vm.OpenBase, vm.TabLibName: vm.OpenTable} {
		l.Push(l.NewFunction(lib))
		l.Push(vm.LString(name))
		l.Call(1, 0)
	}
	globals := l.Get(vm.GlobalsIndex).(*vm.LTable)
	keep := map[string]bool{vm.TabLibName: true}
	for _, name := range given {
		keep[name] = true
	}
	var others []string
	globals.ForEach(func(k, _ vm.LValue) {
		if name := k.String(); !keep[name] {
			others = append(others, name)
		}
	})
	for _, name := range others {
		globals.RawSetString(name, vm.LNil)
	}
}

// value is a value of JSON as Lua has it. Lists begin with 1.
func value(l *vm.LState, v any) vm.LValue {
	switch v := v.(type) {
	case bool:
		return vm.LBool(v)
	case float64:
		return vm.LNumber(v)
	case string:
		return vm.LString(v)
	case []any:
		t := l.CreateTable(len(v), 0)
		for _, x := range v {
			t.Append(value(l, x))
		}
		return t
	case map[string]any:
		t := l.CreateTable(0, len(v))
		for k, x := range v {
			t.RawSetString(k, value(l, x))
		}
		return t
	}
	return vm.LNil
}

// returned reads what a rule returns. Nothing, and a table without a status, say
// that the object has no health.
func returned(v vm.LValue) response {
	t, ok := v.(*vm.LTable)
	switch {
	case v == vm.LNil:
		return response{}
	case !ok:
		return response{Wrong: fmt.Sprintf("it returns a %s, not a table with status and message", v.Type())}
	}
	var a response
	for field, into := range map[string]*string{"status": &a.Status, "message": &a.Message, fieldDeletion: &a.Deletion} {
		switch x := t.RawGetString(field).(type) {
		case vm.LString:
			*into = string(x)
		case vm.LNumber:
			*into = x.String()
		case *vm.LNilType:
		default:
			return response{Wrong: fmt.Sprintf("it returns a %s that is a %s, not text", field, x.Type())}
		}
	}
	for _, text := range []*string{&a.Message, &a.Deletion} {
		if len(*text) > longest {
			*text = strings.ToValidUTF8((*text)[:longest], "") + " …"
		}
	}
	return a
}

// fieldDeletion is the message for an object that is being deleted.
const fieldDeletion = "deletionMessage"

// longest is how much of a message is kept, in bytes.
const longest = 1 << 10

// words are what an error says, without the way to where it is.
func words(err error) string {
	s := err.Error()
	if e := (*vm.ApiError)(nil); errors.As(err, &e) {
		s = e.Object.String()
	}
	if s = strings.Join(strings.Fields(strings.TrimLeft(strings.TrimPrefix(s, "<string>"), ": ")), " "); len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + " …"
	}
	if line, rest, ok := strings.Cut(s, ": "); ok && strings.Trim(line, "0123456789") == "" {
		s = "line " + line + ": " + rest
	}
	return s
}
