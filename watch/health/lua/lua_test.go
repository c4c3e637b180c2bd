package lua

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/watch/health"
)

const workerArg = "worker-of-the-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		kinds := map[string]worker.Func{Kind: Job}
		if err := worker.Serve(kinds, os.Stdin, os.Stdout, func() {}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runner(t testing.TB) *Runner { return runnerOf(t, os.Args[0], workerArg) }

func runnerOf(t testing.TB, command ...string) *Runner {
	pool := worker.New(worker.Options{
		Command: command, Workers: 1, Slow: 2 * Time, Memory: Memory, Together: 2 * Memory, Time: Time, Idle: time.Minute, Keep: Memory / 2,
	})
	t.Cleanup(pool.Close)
	return NewRunner(pool)
}

func widget(t testing.TB, y string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(y), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

const key = "resource.customizations.health.example.com_Widget"

var widgets = schema.GroupKind{Group: "example.com", Kind: "Widget"}

// by judges a Widget by a rule.
func by(t testing.TB, r *Runner, script, object string) health.Result {
	t.Helper()
	rs, err := r.Rules("argocd-cm", map[string]string{key: script})
	if err != nil {
		t.Fatal(err)
	}
	return rs.For(widgets).Of(widget(t, object))
}

func TestARuleJudges(t *testing.T) {
	r := runner(t)
	const phases = `
hs = {}
if obj.status == nil then
  hs.status = "Progressing"
  hs.message = "waiting"
  return hs
end
for i, c in ipairs(obj.status.conditions or {}) do
  if c.type == "Ready" and c.status == "False" then
    return {status = "Degraded", message = i .. ": " .. c.message}
  end
end
if obj.spec.paused then
  return {status = "Suspended"}
end
local names = {}
for k, v in pairs(obj.spec.pools or {}) do table.insert(names, k .. "=" .. tostring(v)) end
table.sort(names)
return {status = "Healthy", message = table.concat(names, ",")}`
	for object, want := range map[string]string{
		"{spec: {}}": "Progressing waiting",
		"{spec: {}, status: {conditions: [{type: X}, {type: Ready, status: 'False', message: no disk}]}}": "Degraded 2: no disk",
		"{spec: {paused: true}, status: {}}":                      "Suspended ",
		"{spec: {pools: {a: 1, b: 2.5, c: true}}, status: {}}":    "Healthy a=1,b=2.5,c=true",
		"{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}": "Progressing being deleted",
	} {
		got := by(t, r, phases, object)
		if s := got.Status.Plain() + " " + got.Message; s != want || got.Err != nil {
			t.Errorf("%s: %q, %v; want %q", object, s, got.Err, want)
		}
	}
	for script, unruled := range map[string]bool{"return nil": true, "return {}": true, "local x = 1": true, "return {status = 'Missing'}": false} {
		if got := by(t, r, script, "{}"); got.Unruled != unruled || got.Err != nil {
			t.Errorf("%s: %+v", script, got)
		}
	}
}

// Of what is being deleted a rule says how it is if it has a message for that; of
// what is there to do something once, in any case.
func TestARuleJudgesWhatIsBeingDeleted(t *testing.T) {
	r := runner(t)
	for _, c := range []struct{ script, of, ended string }{
		{"return {status = 'Healthy', message = 'fine'}", "Progressing being deleted", "Healthy fine"},
		{"return {status = 'Degraded', message = 'fine', deletionMessage = 'it\\n hangs'}", "Degraded it hangs", "Degraded fine"},
		{"return {status = 'Degraded', deletionMessage = obj.spec and 'never' or nil}", "Progressing being deleted", "Degraded "},
		{"return nil", "Progressing being deleted", "Healthy "},
	} {
		rs, err := r.Rules("argocd-cm", map[string]string{key: c.script})
		if err != nil {
			t.Fatal(err)
		}
		u := widget(t, "{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a]}}")
		j := rs.For(widgets)
		of, ended := j.Of(u), j.(health.Ender).Ended(u)
		for got, want := range map[*health.Result]string{&of: c.of, &ended: c.ended} {
			if s := got.Status.Plain() + " " + got.Message; s != want || got.Err != nil {
				t.Errorf("%s: %q, %v; want %q", c.script, s, got.Err, want)
			}
		}
	}
	rs, err := r.Rules("argocd-cm", map[string]string{key: "return {status = 'Healthy'}", "resource.customizations.useOpenLibs.example.com_Widget": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if got := rs.For(widgets).(health.Ender).Ended(widget(t, "{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}}")); got.Err == nil {
		t.Errorf("a rule that can't be run says %+v", got)
	}
}

// What is wrong with a rule is an error that names where it is, and nothing about
// the object.
func TestWhatIsWrongWithARule(t *testing.T) {
	r := runner(t)
	for script, says := range map[string]string{
		"return obj.status.phase":              "line 1: attempt to index a non-table object(nil) with key 'phase'",
		"\n\nerror('I give up')":               "line 3: I give up",
		"error({})":                            "table:",
		"return 'Healthy'":                     "it returns a string, not a table with status and message",
		"return {status = 'Fine'}":             `it returns the status "Fine", which is none of Healthy, Progressing`,
		"return {status = {}}":                 "it returns a status that is a table, not text",
		"if then":                              "line:1(column:7) near 'then': syntax error",
		"return string.rep('x', 9)":            "attempt to index a non-table object(nil) with key 'rep'",
		"return ('x'):rep(9)":                  "rep",
		"os.exit(3)":                           "attempt to index a non-table object(nil) with key 'exit'",
		"print('x')":                           "attempt to call a non-function object",
		"dofile('/etc/passwd')":                "attempt to call a non-function object",
		"loadstring('return 1')()":             "attempt to call a non-function object",
		"require('os')":                        "attempt to call a non-function object",
		"io.open('/etc/passwd')":               "attempt to index a non-table object(nil) with key 'open'",
		"_printregs()":                         "attempt to call a non-function object",
		"function f() return f() + 1 end; f()": "stack overflow",
	} {
		got := by(t, r, script, "{}")
		f := fault.Of(got.Err)
		if got.Status != health.Unknown || f == nil || f.Next != fault.Wait || f.Reason != fault.HealthRuleFailed {
			t.Errorf("%s: %+v", script, got)
			continue
		}
		if s := got.Err.Error(); !strings.HasPrefix(s, "argocd-cm, "+key+": ") || !strings.Contains(s, says) || strings.Contains(s, "\n") || len(s) > longest+300 {
			t.Errorf("%s: %q, want it to say %q", script, s, says)
		}
	}
}

func TestASecretIsNotQuoted(t *testing.T) {
	r := runner(t)
	const secret = "{apiVersion: v1, kind: Secret, data: {password: Y2FuYXJ5}}"
	for _, script := range []string{"error(obj.data.password)", "return {status = 'Degraded', message = obj.data.password}", "return obj.data.password.x.y"} {
		if got := by(t, r, script, secret); strings.Contains(fmt.Sprint(got.Message, got.Err), "Y2FuYXJ5") {
			t.Errorf("%s: %+v", script, got)
		}
	}
}

// Whatever a rule does, it ends, and soon; it costs its own judgement, and the
// next rule finds all as it was.
func TestARuleEnds(t *testing.T) {
	r := runner(t)
	for name, script := range map[string]string{
		"a text of half a gigabyte":        "local s = 'x'; for i = 1, 29 do s = s .. s end; return {status = 'Healthy'}",
		"a loop":                           "while true do end",
		"a loop that catches what ends it": "while true do pcall(function() while true do end end) end",
		"functions that catch each other":  "function f() pcall(f); pcall(f) end; f()",
		"a text that doubles":              "local s = 'x'; while true do s = s .. s end",
		"a table that grows":               "local t = {}; while true do table.insert(t, {t}) end",
		"a text of many":                   "local t = {}; for i = 1, 1e9 do t[i] = 'xxxxxxxxxxxxxxxx' end; return table.concat(t)",
		"a call of many":                   "return unpack({}, 1, 1e8)",
		"a sort that never ends":           "local t = {}; for i = 1, 1e5 do t[i] = i end; table.sort(t, function(a, b) while true do end end)",
		"a table that is its own":          "local t = {}; setmetatable(t, {__index = function(t, k) return t[k] end}); return t.x",
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan health.Result, 1)
			go func() { done <- by(t, r, script, "{}") }()
			select {
			case got := <-done:
				if got.Err == nil || got.Status != health.Unknown || !fault.Is(got.Err, fault.HealthRuleFailed) {
					t.Errorf("%+v", got)
				}
				t.Log(got.Err)
			case <-time.After(2 * time.Minute): // it is ended after seconds, on a machine that has much else to do, too
				t.Fatal("it has not ended")
			}
			if got := by(t, r, "return {status = 'Healthy'}", "{a: "+fmt.Sprintf("%q", name)+"}"); got.Status != health.Current || got.Err != nil {
				t.Errorf("the next rule: %+v", got)
			}
		})
	}
}

// A rule that took too long is not tried on the next object, since it takes the
// time of its unit; another rule, and the same one corrected, are.
func TestARuleThatTookTooLongPauses(t *testing.T) {
	r := runner(t)
	const slow = "if obj.slow then while true do end end; return {status = 'Healthy'}"
	if got := by(t, r, slow, "{slow: true}"); got.Err == nil || fault.Of(got.Err).Next != fault.Wait {
		t.Fatalf("%+v", got)
	}
	got := by(t, r, slow, "{slow: false}")
	if got.Err == nil || fault.Of(got.Err).Next != fault.Retry || !strings.Contains(got.Err.Error(), "works for longer than 1s") {
		t.Errorf("the next object: %+v", got)
	}
	if got := by(t, r, slow+" -- corrected", "{slow: false}"); got.Err != nil {
		t.Errorf("the rule, corrected: %+v", got)
	}
	rule := rule{"argocd-cm, " + key, slow}
	for want := firstPause; want < lastPause; want *= 2 {
		r.mu.Lock()
		p := r.paused[rule]
		if left := time.Until(p.until); left <= want/2 || left > want {
			t.Fatalf("it pauses for %s, want %s", left, want)
		}
		r.mu.Unlock()
		_ = r.after(rule, errors.New("again"))
	}
	r.mu.Lock()
	r.paused[rule].until = time.Now().Add(-time.Second)
	r.mu.Unlock()
	if got := by(t, r, slow, "{slow: false}"); got.Status != health.Current || r.paused[rule] != nil {
		t.Errorf("after its pause: %+v", got)
	}
}

func TestAJudgementIsKeptForAVersion(t *testing.T) {
	r := runner(t)
	const script = "return {status = 'Healthy', message = obj.data}"
	says := func(object string) string {
		t.Helper()
		got := by(t, r, script, object)
		if got.Err != nil {
			t.Fatal(got.Err)
		}
		return got.Message
	}
	if says("{metadata: {uid: a, resourceVersion: '1'}, data: one}") != "one" || says("{metadata: {uid: a, resourceVersion: '1'}, data: other}") != "one" {
		t.Error("it is not kept")
	}
	for object, want := range map[string]string{
		"{metadata: {uid: a, resourceVersion: '2'}, data: two}": "two", "{metadata: {uid: b, resourceVersion: '1'}, data: three}": "three",
		"{data: four}": "four", "{data: five}": "five",
	} {
		if got := says(object); got != want {
			t.Errorf("%s: %q", object, got)
		}
	}
	if n := len(r.pool.Processes()); n != 1 {
		t.Errorf("%d processes", n)
	}
}

// Whoever can't be asked, is asked again later: that is no judgement.
func TestWhereNoProcessCanBeStarted(t *testing.T) {
	r := runnerOf(t, "/nowhere/plumb")
	got := by(t, r, "return {status = 'Healthy'}", "{metadata: {uid: a, resourceVersion: '1'}}")
	if got.Status != health.Unknown || fault.Of(got.Err).Next != fault.Retry || !strings.Contains(got.Err.Error(), key) {
		t.Errorf("%+v", got)
	}
	if r.kept.Held() != 0 {
		t.Error("it is kept")
	}
}

func TestWhichRulesThereAre(t *testing.T) {
	r := runner(t)
	rs, err := r.Rules("argocd-cm", map[string]string{
		key: "return {status = 'Healthy', message = 'exact'}",
		"resource.customizations.health.ConfigMap":               "return {status = 'Healthy', message = 'core'}",
		"resource.customizations.health.example.com_Open":        "return {status = 'Healthy'}",
		"resource.customizations.useOpenLibs.example.com_Open":   "true",
		"resource.customizations.health.example.com_Closed":      "return {status = 'Healthy'}",
		"resource.customizations.useOpenLibs.example.com_Closed": "false",
		"resource.customizations.health.example.com_Empty":       " ",
		"resource.customizations.ignoreDifferences.all":          "jsonPointers: [/spec]",
		"resource.customizations": `
"*.crossplane.io/*":
  health.lua: return {status = 'Healthy', message = 'wild'}
example.com/*:
  health.lua: return {status = 'Healthy', message = 'any of the group'}
open.example.com/*:
  health.lua: return {status = 'Healthy'}
  health.lua.useOpenLibs: true
example.com/Ignored:
  ignoreDifferences: |
    jsonPointers: [/spec]
"[":
  health.lua: return nil
`,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ group, kind, want string }{
		{"example.com", "Widget", "exact"},
		{"example.com", "Other", "any of the group"},
		{"example.com", "Closed", ""},
		{"example.com", "Ignored", "any of the group"},
		{"example.com", "Empty", "any of the group"},
		{"", "ConfigMap", "core"},
		{"s3.aws.crossplane.io", "Bucket", "wild"},
		{"crossplane.io", "Bucket", "-"},
		{"", "Secret", "-"},
		{"example.com", "Open", "argocd-cm, resource.customizations.health.example.com_Open: resource.customizations.useOpenLibs.example.com_Open: useOpenLibs is not supported"},
		{"open.example.com", "X", `argocd-cm, resource.customizations, "open.example.com/*": useOpenLibs is not supported`},
	} {
		j := rs.For(schema.GroupKind{Group: c.group, Kind: c.kind})
		if j == nil {
			if c.want != "-" {
				t.Errorf("%s/%s: nobody", c.group, c.kind)
			}
			continue
		}
		if health.IsQuick(j) {
			t.Errorf("%s/%s is asked with every event", c.group, c.kind)
		}
		got := j.Of(widget(t, "{}"))
		if got.Err == nil && got.Message != c.want || got.Err != nil && !strings.HasPrefix(got.Err.Error(), c.want) {
			t.Errorf("%s/%s: %+v, want %s", c.group, c.kind, got, c.want)
		}
	}
	again, err := r.Rules("argocd-cm", map[string]string{key: "return {status = 'Healthy', message = 'exact'}"})
	if err != nil || again.For(widgets) != rs.For(widgets) {
		t.Errorf("the same rule is another judge: %v", err)
	}
	if _, err := r.Rules("argocd-cm", map[string]string{"resource.customizations": "a: [b"}); !fault.Is(err, fault.HealthRuleFailed) || !strings.Contains(err.Error(), "argocd-cm, resource.customizations: ") {
		t.Errorf("what is no YAML: %v", err)
	}
}

// A worker does what it is asked, whatever that is.
func FuzzRules(f *testing.F) {
	for _, s := range []string{"return {status='Healthy'}", "return obj.a.b", "for k,v in pairs(obj) do error(v) end", "return {status=1,message=2}", "goto x ::x::"} {
		f.Add(s, `{"a": [1, {"b": null}], "c": true}`)
	}
	f.Fuzz(func(_ *testing.T, script, object string) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		run(ctx, request{script, []byte(object)})
	})
}
