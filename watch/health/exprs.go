package health

import (
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Rule has a judge for the kinds of a group.
type Rule struct {
	Group, Kind string // an empty Kind stands for every kind
	Judge       Judge
}

// Rules are judges of whom the first that is for a kind counts.
type Rules []Rule

// For implements [Judges].
func (r Rules) For(gk schema.GroupKind) Judge {
	for _, x := range r {
		if x.Group == gk.Group && (x.Kind == "" || x.Kind == gk.Kind) {
			return x.Judge
		}
	}
	return nil
}

// Exprs are CEL expressions for a kind whose readiness kstatus can't see. Each
// gives a bool from the object's top-level fields. They are asked in the order
// inProgress, failed, current; an empty one is not asked.
type Exprs struct {
	Current, InProgress, Failed string
}

// byExprs is compiled Exprs.
type byExprs struct {
	current, inProgress, failed cel.Program
}

// compiled are the judges that are in use. Many units have the same expressions,
// and a program takes a hundred times the memory of its text.
var compiled = struct {
	sync.Mutex
	by map[Exprs]weak.Pointer[byExprs]
}{by: map[Exprs]weak.Pointer[byExprs]{}}

// Compile returns the judge for e, the same one as long as it is in use. A bad
// expression is a [fault.Stall] with reason InvalidCELExpression.
func Compile(e Exprs) (Judge, error) {
	compiled.Lock()
	defer compiled.Unlock()
	if j := compiled.by[e].Value(); j != nil {
		return j, nil
	}
	j := &byExprs{}
	for _, x := range []struct {
		name, expr string
		into       *cel.Program
	}{{"inProgress", e.InProgress, &j.inProgress}, {"failed", e.Failed, &j.failed}, {"current", e.Current, &j.current}} {
		if x.expr == "" {
			continue
		}
		p, err := Expression(x.expr)
		if err != nil {
			return nil, fmt.Errorf("healthCheckExprs %s: %w", x.name, err)
		}
		*x.into = p
	}
	self := weak.Make(j)
	compiled.by[e] = self
	runtime.AddCleanup(j, func(e Exprs) {
		compiled.Lock()
		defer compiled.Unlock()
		if compiled.by[e] == self {
			delete(compiled.by, e)
		}
	}, e)
	return j, nil
}

// Eval evaluates a program of [Expression] or [Condition] to a bool.
func Eval(p cel.Program, vars map[string]any) (bool, error) {
	out, _, err := p.Eval(vars)
	if err != nil {
		return false, err
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the expression gives a %T, not a bool", out.Value())
	}
	return b, nil
}

// Of judges u. An object whose controller has not seen its latest generation
// is in progress, whatever the expressions say.
func (j *byExprs) Of(u *unstructured.Unstructured) Result {
	if u.GetDeletionTimestamp() != nil {
		return Result{Status: Terminating, Message: "being deleted"}
	}
	if seen, ok, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); ok && seen != u.GetGeneration() {
		return Result{Status: InProgress, Message: "the latest generation has not been observed"}
	}
	for _, q := range []struct {
		p    cel.Program
		then Result
	}{
		{j.inProgress, Result{Status: InProgress, Message: "inProgress expression holds"}},
		{j.failed, Result{Status: Failed, Message: "failed expression holds"}},
		{j.current, Result{Status: Current}},
	} {
		if q.p == nil {
			continue
		}
		yes, err := Eval(q.p, u.Object)
		if err != nil {
			// A field that is not there yet is the usual cause.
			return Result{Status: InProgress, Message: why(u, err)}
		}
		if yes {
			return q.then
		}
	}
	return Result{Status: InProgress, Message: "current expression does not hold"}
}

// why says why an expression gave no answer for u. Such an error may quote what
// it was evaluated on, which for a Secret is nobody's to read.
func why(u *unstructured.Unstructured, err error) string {
	if isSecret(u) {
		return "an expression gives no answer; why is not shown, because that may quote the Secret's values"
	}
	return oneLine(err.Error())
}

func isSecret(u *unstructured.Unstructured) bool {
	return u.GroupVersionKind().GroupKind() == schema.GroupKind{Kind: "Secret"}
}
