package owned_test

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
)

var formerly = owned.Managers{Self: "argocd-controller", Former: []string{"argocd-controller", "argocd-application-controller"}}

const wanted = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {tier: front}}
spec:
  replicas: 2
  template:
    spec: {containers: [{name: web, image: a, resources: {limits: {cpu: 1000m}}}, {name: helper, image: b}]}
`

// written is what a server holds after kubectl apply of wanted as another
// manager: with defaults, and what admission added.
const written = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
  uid: u
  resourceVersion: "7"
  labels: {tier: front, injected: "yes"}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"annotations":{},"labels":{"tier":"front"},"name":"web","namespace":"shop"},"spec":{"replicas":2,"template":{"spec":{"containers":[{"image":"a","name":"web","resources":{"limits":{"cpu":"1000m"}}},{"image":"b","name":"helper"}]}}}}
  managedFields:
  - manager: argocd-controller
    operation: Update
    apiVersion: apps/v1
    fieldsV1:
      f:metadata:
        f:annotations: {.: {}, f:kubectl.kubernetes.io/last-applied-configuration: {}}
        f:labels: {.: {}, f:tier: {}, f:injected: {}}
      f:spec:
        f:replicas: {}
        f:revisionHistoryLimit: {}
        f:template:
          f:spec:
            f:dnsPolicy: {}
            f:containers:
              k:{"name":"helper"}: {.: {}, f:name: {}, f:image: {}, f:imagePullPolicy: {}}
              k:{"name":"web"}: {.: {}, f:name: {}, f:image: {}, f:imagePullPolicy: {}, f:resources: {.: {}, f:limits: {.: {}, f:cpu: {}}}}
spec:
  replicas: 2
  revisionHistoryLimit: 10
  template:
    spec:
      dnsPolicy: ClusterFirst
      containers:
      - {name: web, image: a, imagePullPolicy: Always, resources: {limits: {cpu: "1"}}}
      - {name: helper, image: b, imagePullPolicy: Always}
`

// edited replaces pairs of old and new, each of which must be there.
func edited(t *testing.T, text string, pairs []string) *unstructured.Unstructured {
	t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("there is no %q", pairs[i])
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return parsed(t, text)
}

const someoneScaled = `spec:
  replicas: 2
  revision`

func TestAsRecorded(t *testing.T) {
	scaledBy := []string{"f:replicas: {}\n", "f:paused: {}\n"}
	for _, c := range []struct {
		name       string
		want, live []string // edits
		ignored    []string
		same       bool
	}{
		{name: "what was written says what is desired", same: true},
		{name: "another order of fields is none", want: []string{"{name: web, image: a,", "{image: a, name: web,"}, same: true},
		{name: "another value is desired", want: []string{"image: b", "image: c"}},
		{name: "a field more is desired", want: []string{"{tier: front}", "{tier: front, a: b}"}},
		{name: "a field is no longer desired", want: []string{"  replicas: 2\n", ""}},
		{name: "an element is no longer desired", want: []string{", {name: helper, image: b}", ""}},
		{name: "somebody has changed a field", live: append(scaledBy, someoneScaled, "spec:\n  replicas: 3\n  revision")},
		{name: "somebody has changed it and back, and owns it", live: scaledBy, same: true},
		{name: "somebody has taken a field away", live: []string{"tier: front, injected", "injected", "f:tier: {}, ", ""}},
		{name: "somebody has changed all that there was in a map", live: []string{
			"f:tier: {}, f:injected: {}", "", "tier: front, injected: \"yes\"", "tier: back",
			"  managedFields:\n", "  managedFields:\n  - {manager: kubectl-edit, operation: Update, apiVersion: apps/v1, fieldsV1: {'f:metadata': {'f:labels': {'f:tier': {}}}}}\n",
			"f:labels: {.: {}, }", "f:labels: {}",
		}},
		{name: "somebody has changed the order", live: []string{
			`- {name: helper, image: b, imagePullPolicy: Always}`, "", `      - {name: web`, "      - {name: helper, image: b, imagePullPolicy: Always}\n      - {name: web",
		}},
		{name: "somebody else wrote the record", live: []string{"f:kubectl.kubernetes.io/last-applied-configuration: {}", "f:other: {}"}},
		{name: "the record is none", live: []string{`{"apiVersion":"apps/v1",`, "["}},
		{name: "it was applied", live: []string{"  managedFields:\n", "  managedFields:\n  - {manager: argocd-controller, operation: Apply, apiVersion: apps/v1, fieldsV1: {'f:spec': {'f:replicas': {}}}}\n"}},
		{name: "it is being deleted", live: []string{"uid: u", "deletionTimestamp: \"2026-01-01T00:00:00Z\""}},
		{name: "what may differ may be another's", live: append(scaledBy, someoneScaled, "spec:\n  replicas: 3\n  revision"), ignored: []string{"/spec/replicas"}, same: true},
		{name: "of what may not differ that says nothing", want: []string{"image: b", "image: c"}, ignored: []string{"/spec/replicas"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := formerly
			want, live := edited(t, wanted, c.want), edited(t, written, c.live)
			if c.ignored != nil {
				rules, err := ignore.Compile([]ignore.Rule{{Pointers: c.ignored}}, ignore.Options{})
				if err != nil {
					t.Fatal(err)
				}
				m.Ignored = rules.For(want, "shop", nil)
			}
			before, _ := json.Marshal(live.Object)
			if same := owned.AsRecorded(want, live, m); same != c.same {
				t.Errorf("it is as desired: %t, want %t", same, c.same)
			}
			if after, _ := json.Marshal(live.Object); string(after) != string(before) {
				t.Error("the object was changed")
			}
		})
	}
}

func TestASecretIsRecordedAsItWasWritten(t *testing.T) {
	live := parsed(t, `
apiVersion: v1
kind: Secret
metadata:
  name: a
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"b":"eA=="},"stringData":{"a":"x"}}'}
  managedFields:
  - {manager: argocd-controller, operation: Update, apiVersion: v1, fieldsV1: {'f:data': {'f:a': {}, 'f:b': {}}, 'f:type': {}, 'f:metadata': {'f:annotations': {'f:kubectl.kubernetes.io/last-applied-configuration': {}}}}}
data: {a: eA==, b: eA==}
type: Opaque
`)
	if !owned.AsRecorded(parsed(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {a: eA==, b: eA==}}"), live, formerly) {
		t.Error("it is not as desired")
	}
	if owned.AsRecorded(parsed(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {b: eA==}}"), live, formerly) {
		t.Error("what is no longer desired counts for nothing")
	}
}

// What is taken over is what was wanted: the rest stays whose it is, so that
// applying removes no default outside of a list, nor what admission added.
func TestWhatWasWantedIsTakenOver(t *testing.T) {
	owners := func(t *testing.T, live *unstructured.Unstructured) map[string]string {
		t.Helper()
		patch, err := owned.UndoPatch(live, formerly, "apps/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		var ops []struct{ Value json.RawMessage }
		var fields []struct {
			Manager, Operation string
			FieldsV1           json.RawMessage
		}
		if err := json.Unmarshal(patch, &ops); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ops[0].Value, &fields); err != nil {
			t.Fatal(err)
		}
		by := map[string]string{}
		for _, f := range fields {
			by[f.Manager+" "+f.Operation] = string(f.FieldsV1)
		}
		return by
	}
	t.Run("by the record", func(t *testing.T) {
		by := owners(t, parsed(t, written))
		applied, rest := by["argocd-controller Apply"], by["argocd-controller Update"]
		for _, f := range []string{"f:tier", "f:replicas", `k:{\"name\":\"helper\"}`, "f:imagePullPolicy", "f:cpu"} {
			if !strings.Contains(applied, f) || strings.Contains(rest, f) {
				t.Errorf("%s is not taken over: %s, left are %s", f, applied, rest)
			}
		}
		for _, f := range []string{"last-applied", "f:injected", "f:revisionHistoryLimit", "f:dnsPolicy"} {
			if strings.Contains(applied, f) || !strings.Contains(rest, f) {
				t.Errorf("%s is taken over: %s, left are %s", f, applied, rest)
			}
		}
		if !owned.NeedsUndo(parsed(t, written), formerly) {
			t.Error("nothing has to be taken over")
		}
	})
	t.Run("without one by what was applied since", func(t *testing.T) {
		const applied = "  managedFields:\n  - {manager: argocd-controller, operation: Apply, apiVersion: apps/v1, fieldsV1: {'f:spec': {'f:replicas': {}}}}\n"
		live := edited(t, written, []string{"f:kubectl.kubernetes.io/last-applied-configuration: {}", "f:other: {}", "  managedFields:\n", applied})
		by := owners(t, live)
		if rest := by["argocd-controller Update"]; strings.Contains(rest, "f:replicas") || !strings.Contains(rest, "f:tier") {
			t.Errorf("left are %s", rest)
		}
		leftover := edited(t, written, []string{
			"f:kubectl.kubernetes.io/last-applied-configuration: {}", "f:other: {}", "  managedFields:\n", strings.ReplaceAll(applied, "{'f:replicas': {}}", "{'f:template': {'f:spec': {'f:a': {}}}}"),
			"        f:template:\n          f:spec:\n", "        f:template: {}\n        f:more:\n          f:spec:\n",
		})
		if owned.NeedsUndo(leftover, formerly) {
			t.Error("a map by itself has to be taken over")
		}
		if owned.NeedsUndo(edited(t, written, []string{"f:kubectl.kubernetes.io/last-applied-configuration: {}", "f:other: {}"}), formerly) {
			t.Error("something has to be taken over of which nothing is known")
		}
	})
}

// Of an object of which nothing was applied, every change counts that somebody
// makes: any part of what is wanted may be theirs.
func TestPrintOfWhatWasNotApplied(t *testing.T) {
	was := owned.Print(parsed(t, written), formerly)
	if is := owned.Print(edited(t, written, []string{`resourceVersion: "7"`, `resourceVersion: "8"`}), formerly); is != was {
		t.Error("another version is another object")
	}
	if is := owned.Print(edited(t, written, []string{someoneScaled, "spec:\n  replicas: 3\n  revision", "f:replicas: {}\n", "f:paused: {}\n"}), formerly); is == was {
		t.Error("a change is none")
	}
}

func TestHoldsTheSameButForMarks(t *testing.T) {
	const bare = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}"
	for _, c := range []struct {
		want, live string
		same       bool
	}{
		{bare, bare, true},
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {mark: x}, annotations: {id: x}}, data: {a: b}}", bare, true},
		{bare, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, resourceVersion: '3', annotations: {id: y, kubectl.kubernetes.io/last-applied-configuration: z}}, data: {a: b}}", true},
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {mark: x, other: x}}, data: {a: b}}", bare, false},
		{bare, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: c}}", false},
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {id: x}}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {id: another}}}", false},
		{"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {mark: x}}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {mark: another}}}", false},
	} {
		same, err := owned.Holds(parsed(t, c.want), parsed(t, c.live), formerly, map[string]string{"mark": ""}, map[string]string{"id": ""})
		if err != nil || same != c.same {
			t.Errorf("%s and %s hold the same: %t, %v", c.want, c.live, same, err)
		}
	}
}

// The record says what is applied, in the words that it has if that is the same.
func TestTheRecordIsKeptAsItShouldBe(t *testing.T) {
	const key = "kubectl.kubernetes.io/last-applied-configuration"
	marks := map[string]string{"mark": ""}
	with := func(t *testing.T, want, live *unstructured.Unstructured) string {
		t.Helper()
		out, err := owned.WithRecord(want, want, live, formerly, marks)
		if err != nil {
			t.Fatal(err)
		}
		return out.GetAnnotations()[key]
	}
	live := parsed(t, written)
	marked := edited(t, wanted, []string{"{tier: front}", "{tier: front, mark: x}"})
	if got, was := with(t, marked, live), live.GetAnnotations()[key]; got != was {
		t.Errorf("it was %s and is %s", was, got)
	}
	less := edited(t, wanted, []string{"{tier: front}", "{tier: front, mark: x}", "  replicas: 2\n", ""})
	if got := with(t, less, live); strings.Contains(got, "replicas") || strings.Contains(got, "mark") || !strings.Contains(got, `"tier":"front"`) {
		t.Errorf("it is %s", got)
	}
	huge := edited(t, wanted, []string{"{tier: front}", "{tier: " + strings.Repeat("x", 300_000) + "}"})
	if got := with(t, huge, live); got != "{}" {
		t.Errorf("it has %d bytes", len(got))
	}
	if got := with(t, marked, edited(t, written, []string{"f:kubectl.kubernetes.io/last-applied-configuration: {}", "f:other: {}"})); got != "" {
		t.Errorf("of what somebody else wrote it is %s", got)
	}
}
