package health

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
)

func TestAConditionKnowsItsVariables(t *testing.T) {
	for name, c := range map[string]struct{ expr, says string }{
		"a typo in the name of a variable":    {"deps.metadata.generation == 1", "undeclared reference to 'deps'"},
		"a typo in the name of a function":    {"dep.metadata.name.startWith('a')", "undeclared reference to 'startWith'"},
		"a field where a function is missing": {"dep.metadata.name", "gives a dyn, not a bool"},
		"something that is no bool":           {"size(dep.metadata.name)", "gives a int, not a bool"},
		"something that is no expression":     {"dep.(", "Syntax error"},
		"more text than an expression has":    {"dep.a == '" + strings.Repeat("x", maxExpression) + "'", "longer than"},
	} {
		_, err := Condition(c.expr, "dep", "self")
		f := fault.Of(err)
		if f == nil || f.Next != fault.Stall || f.Reason != "InvalidCELExpression" || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
	for _, expr := range []string{
		"dep.metadata.?annotations['go'].orValue('') == self.metadata.name",
		"dep.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
		"dep.metadata.labels['app/version'].split('.')[0] == 'v1' && sets.contains(['a'], [dep.metadata.name])",
		"dep.status.replicas > 1.5",
	} {
		if _, err := Condition(expr, "dep", "self"); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestAnExpressionHasTheFieldsOfItsObject(t *testing.T) {
	u := object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {phase: Done}, items: [{ready: true}]}")
	for expr, want := range map[string]Status{
		"data.phase == 'Done'":                                  Current,
		"items.all(i, i.ready)":                                 Current,
		"items.map(i, i.ready).filter(r, r).size() == 1":        Current,
		"!has(data.other) && data.phase.lowerAscii() == 'done'": Current,
		"data.ready":        InProgress, // not there yet
		"statuses.ready":    InProgress, // fields are free, so this is one that is not there
		"data.phase":        InProgress, // and this one is no bool
		"[data].size() > 1": InProgress,
	} {
		j, err := Compile(Exprs{Current: expr})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got := j.Of(u); got.Status != want {
			t.Errorf("%s: %v (%s), want %v", expr, got.Status, got.Message, want)
		}
	}
	for expr, says := range map[string]string{
		"data.phase.startWith('D')": "undeclared reference to 'startWith'",
		"size(data)":                "gives a int, not a bool",
		"'yes'":                     "gives a string, not a bool",
	} {
		if _, err := Compile(Exprs{Current: expr}); !fault.Is(err, "InvalidCELExpression") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", expr, err, says)
		}
	}
}

// An expression has its share of time and memory and no more, whatever it is.
func TestAnExpressionThatCostsTooMuchEnds(t *testing.T) {
	u := object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {s: '"+strings.Repeat("x", 500_000)+"'}}")
	ten := "[0,1,2,3,4,5,6,7,8,9]"
	nested := "true"
	for range 12 {
		nested = ten + ".all(x, " + nested + ")"
	}
	for name, expr := range map[string]string{
		"ranges in ranges":                         nested,
		"a string in place of each of its letters": "data.s.replace('', data.s).size() > 0",
		"a number with many digits":                "'%.900000000f'.format([1.0]).size() > 0",
		"a string that doubles":                    ten + ".map(a, data.s + data.s + data.s).all(a, a.reverse() == a.upperAscii() && a.contains(a))",
	} {
		j, err := Compile(Exprs{Current: expr})
		if err != nil {
			continue // refused is bounded too
		}
		start := time.Now()
		got := j.Of(u)
		if got.Status != InProgress || got.Message == "" {
			t.Errorf("%s: %+v", name, got)
		}
		t.Logf("%s: %s, %s", name, time.Since(start).Round(time.Millisecond), got.Message)
	}
}

func TestAnExpressionQuotesNoSecret(t *testing.T) {
	u := object(t, "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {password: Y2FuYXJ5}}")
	for _, expr := range []string{"data[data.password] == ''", "int(data.password) > 1", "timestamp(data.password) == timestamp(data.password)", "data.password"} {
		j, err := Compile(Exprs{Current: expr})
		if err != nil {
			t.Fatal(err)
		}
		if got := j.Of(u); got.Status != InProgress || got.Message == "" || strings.Contains(got.Message, "Y2FuYXJ5") {
			t.Errorf("%s: %+v", expr, got)
		}
	}
}

func object(t *testing.T, y string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(y), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}
