package health

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Table are plumb's own judges: of the kinds of Kubernetes that have more to say
// than kstatus asks for, and of those of many other projects, see table.yaml. For
// every other kind it returns a judge whose results are Unruled.
//
// Rules are compiled when the first object of a kind is judged.
var Table Judges = &table{}

//go:embed table.yaml
var tableText []byte

type table struct {
	once     sync.Once
	exact    map[schema.GroupKind]*ruled
	patterns []pattern

	mu    sync.RWMutex
	found map[schema.GroupKind]Judge // by all patterns, which takes a while
}

// mostFound is for how many kinds the judge is kept: more than a cluster has.
const mostFound = 10_000

// A pattern is for the kinds that match both.
type pattern struct {
	group, kind string
	judge       *ruled
}

// A written rule is one of table.yaml: what the object is if When holds, and why.
type written struct {
	Is   string `json:"is"`
	When string `json:"when"`
	Says string `json:"says"`
}

// statuses are the words of table.yaml.
var statuses = map[string]Status{
	"healthy": Current, "suspended": Suspended, "progressing": InProgress, "degraded": Failed, "unknown": Unknown,
}

// For implements [Judges].
func (t *table) For(gk schema.GroupKind) Judge {
	if j, ok := builtin[gk]; ok {
		return j
	}
	t.once.Do(t.read)
	if j, ok := t.exact[gk]; ok {
		return j
	}
	t.mu.RLock()
	j, ok := t.found[gk]
	t.mu.RUnlock()
	if ok {
		return j
	}
	j = t.find(gk)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.found) < mostFound {
		t.found[gk] = j
	}
	return j
}

// find returns the judge of the first pattern that a kind matches.
func (t *table) find(gk schema.GroupKind) Judge {
	for _, p := range t.patterns {
		if matches(p.group, gk.Group) && matches(p.kind, gk.Kind) {
			return p.judge
		}
	}
	return nobody
}

func matches(pattern, s string) bool {
	ok, err := path.Match(pattern, s)
	return ok && err == nil
}

// read reads table.yaml, which a test has read too.
func (t *table) read() {
	var file struct {
		Rules map[string][]written `json:"rules"`
		Kinds []struct {
			For   []string `json:"for"`
			Rules []any    `json:"rules"`
		} `json:"kinds"`
	}
	if err := yaml.UnmarshalStrict(tableText, &file); err != nil {
		panic(fmt.Sprintf("table.yaml: %v", err))
	}
	t.exact, t.found = map[schema.GroupKind]*ruled{}, map[schema.GroupKind]Judge{}
	for _, k := range file.Kinds {
		j := &ruled{}
		for _, r := range k.Rules {
			switch r := r.(type) {
			case string:
				if file.Rules[r] == nil {
					panic(fmt.Sprintf("table.yaml: %v: no rules are called %q", k.For, r))
				}
				j.written = append(j.written, file.Rules[r]...)
			case map[string]any:
				j.written = append(j.written, written{text(r["is"]), text(r["when"]), text(r["says"])})
			}
		}
		for _, name := range k.For {
			group, kind, _ := strings.Cut(name, "/")
			if strings.Contains(name, "*") {
				t.patterns = append(t.patterns, pattern{group, kind, j})
			} else {
				t.exact[schema.GroupKind{Group: group, Kind: kind}] = j
			}
		}
	}
}

func text(v any) string { s, _ := v.(string); return s }

// ruled judges by rules of table.yaml.
type ruled struct {
	written []written
	once    sync.Once
	rules   []rule
	err     error
}

type rule struct {
	is   Status
	when cel.Program
	says cel.Program
}

func (*ruled) quick() bool { return true }

// Of implements [Judge].
func (j *ruled) Of(u *unstructured.Unstructured) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			r = panicked(u, p)
		}
	}()
	if u.GetDeletionTimestamp() != nil {
		return deleting
	}
	j.once.Do(j.compile)
	if j.err != nil {
		return Result{Status: Unknown, Message: j.err.Error()}
	}
	vars := map[string]any{"o": u.Object}
	for _, x := range j.rules {
		holds, err := Eval(x.when, vars)
		if err != nil {
			return Result{Status: Unknown, Message: why(u, err)}
		}
		if !holds {
			continue
		}
		r.Status = x.is
		said, _, err := x.says.Eval(vars)
		if err != nil {
			return Result{Status: x.is, Message: why(u, err)}
		}
		r.Message = text(said.Value())
		return r
	}
	return Result{Status: InProgress, Message: "it does not say yet how it is"}
}

func (j *ruled) compile() {
	for _, w := range j.written {
		is, ok := statuses[w.Is]
		if !ok {
			j.err = fmt.Errorf("table.yaml: no status is called %q", w.Is)
			return
		}
		when, err := tableProgram(w.When, cel.BoolType)
		if err == nil {
			var says cel.Program
			if says, err = tableProgram(w.Says, cel.StringType); err == nil {
				j.rules = append(j.rules, rule{is, when, says})
			}
		}
		if err != nil {
			j.err = err
			return
		}
	}
}

// tableProgram compiles an expression of table.yaml.
func tableProgram(expr string, gives *cel.Type) (cel.Program, error) {
	env, err := tableEnv()
	if err != nil {
		return nil, err
	}
	checked, iss := env.Compile(expr)
	if iss.Err() != nil {
		return nil, invalid(expr, iss.Err())
	}
	if t := checked.OutputType(); t != gives {
		return nil, invalid(expr, fmt.Errorf("it gives a %s, not a %s", t, gives))
	}
	return env.Program(checked)
}

// nobody is the judge of kinds that nobody judges.
var nobody Judge = unruled{}

type unruled struct{}

func (unruled) quick() bool { return true }

func (unruled) Of(u *unstructured.Unstructured) Result {
	if u.GetDeletionTimestamp() != nil {
		return deleting
	}
	return Result{Unruled: true}
}
