package action

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(b); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWhatObjectsCanDo(t *testing.T) {
	for text, want := range map[string]string{
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}":                                           "restart scale=1 pause -resume",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 3, paused: true}}":        "restart scale=3 -pause resume",
		"{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: x}, spec: {replicas: 0}}":                     "restart scale=0",
		"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x}}":                                            "restart",
		"{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: x, deletionTimestamp: '2026-01-01T00:00:00Z'}}": "-restart",
		"{apiVersion: batch/v1, kind: CronJob, metadata: {name: x}, spec: {suspend: false}}":                     "create-job suspend -resume",
		"{apiVersion: batch/v1, kind: Job, metadata: {name: x}, spec: {suspend: true}}":                          "-suspend resume",
		"{apiVersion: argoproj.io/v1alpha1, kind: Rollout, metadata: {name: x}}":                                 "restart scale=1 pause -resume",
		"{apiVersion: argoproj.io/v1alpha1, kind: CronWorkflow, metadata: {name: x}}":                            "suspend -resume",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}":                                                 "",
		"{apiVersion: example.com/v1, kind: Deployment, metadata: {name: x}}":                                    "",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: 'many', paused: 'yes'}}":  "restart scale=1 pause -resume",
	} {
		var got []string
		for _, a := range Of(parse(t, text)) {
			word := a.Name
			for _, p := range a.Params {
				word += "=" + p.Now
			}
			if a.Not != "" {
				word = "-" + word
			}
			if a.Does == "" {
				t.Errorf("%s says nothing of %s", text, a.Name)
			}
			got = append(got, word)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestWhatActionsChange(t *testing.T) {
	const (
		deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop, uid: u}, spec: {replicas: 1}}"
		paused     = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, uid: u}, spec: {paused: true}}"
		cron       = "{apiVersion: batch/v1, kind: CronJob, metadata: {name: backup, uid: u}, spec: {suspend: true}}"
	)
	for _, c := range []struct {
		object, action, params string
		want                   string // the patch, or the error
	}{
		{deployment, "restart", "", `{"metadata":{"uid":"u"},"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-05-04T03:02:01Z"}}}}}`},
		{deployment, "scale", "replicas=0", `{"metadata":{"uid":"u"},"spec":{"replicas":0}}`},
		{deployment, "pause", "", `{"metadata":{"uid":"u"},"spec":{"paused":true}}`},
		{paused, "resume", "", `{"metadata":{"uid":"u"},"spec":{"paused":false}}`},
		{cron, "resume", "", `{"metadata":{"uid":"u"},"spec":{"suspend":false}}`},
		{deployment, "scale", "replicas=-1", `!replicas: "-1" is no number between 0 and 100000`},
		{deployment, "scale", "replicas=99999999999", "!is no number between"},
		{deployment, "scale", "", "!scale needs replicas=REPLICAS"},
		{deployment, "scale", "replicas=1 force=yes", `!scale takes no "force"`},
		{deployment, "resume", "", "!spec.paused is not true, so there is nothing to resume"},
		{paused, "pause", "", "!spec.paused is true already"},
		{paused, "restart", "", "!it is paused, so nothing would restart"},
		{cron, "suspend", "", "!spec.suspend is true already"},
		{cron, "create-job", "", "!it has no spec.jobTemplate"},
		{cron, "restart", "", `!CronJob has no action "restart"; it has create-job, suspend, resume`},
		{"{apiVersion: v1, kind: Secret, metadata: {name: x}}", "restart", "", "it has none"},
	} {
		params := map[string]string{}
		for p := range strings.FieldsSeq(c.params) {
			name, value, _ := strings.Cut(p, "=")
			params[name] = value
		}
		o := parse(t, c.object)
		change, err := Make(o, c.action, params, now)
		if err != nil {
			if !strings.Contains(err.Error(), strings.TrimPrefix(c.want, "!")) {
				t.Errorf("%s: %v, want %s", c.action, err, c.want)
			}
			continue
		}
		patch, err := change.Patch(o)
		if err != nil || string(patch) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.action, patch, err, c.want)
		}
	}
}

func TestAJobIsMadeOfACronJob(t *testing.T) {
	o := parse(t, `
apiVersion: batch/v1
kind: CronJob
metadata: {name: `+strings.Repeat("b", 52)+`, namespace: shop, uid: u, annotations: {argocd.argoproj.io/tracking-id: a}, labels: {plumb.dev/unit: x}}
spec:
  schedule: "@daily"
  jobTemplate:
    metadata: {labels: {app: backup}}
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}
`)
	change, err := Make(o, "create-job", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	job := change.Creates
	if name := job.GetName(); len(name) != 52 || !strings.HasSuffix(name, "b-20260504030201") {
		t.Errorf("its name is %q", name)
	}
	owner := metav1.GetControllerOf(job)
	if owner == nil || owner.UID != "u" || owner.Kind != "CronJob" || job.GetKind() != "Job" || job.GetAPIVersion() != "batch/v1" || job.GetNamespace() != "shop" {
		t.Errorf("it is %s %s in %s, of %+v", job.GetAPIVersion(), job.GetKind(), job.GetNamespace(), owner)
	}
	// No mark of a unit is on it: that did not apply it.
	if l, a := job.GetLabels(), job.GetAnnotations(); len(l) != 1 || l["app"] != "backup" || len(a) != 1 || a[byHand] != "manual" {
		t.Errorf("labels %v, annotations %v", l, a)
	}
	if c, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers"); len(c) != 1 {
		t.Errorf("spec %v", job.Object["spec"])
	}
}

func TestWhatIsInGitIsTold(t *testing.T) {
	entry := func(manager, op, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationType(op), FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}
	}
	const replicas = `{"f:spec":{"f:replicas":{},"f:template":{"f:metadata":{"f:annotations":{"f:a":{}}}}}}`
	for name, c := range map[string]struct {
		entry metav1.ManagedFieldsEntry
		want  string
	}{
		"by the unit":               {entry("plumb", "Apply", replicas), "spec.replicas"},
		"by somebody else":          {entry("kubectl", "Apply", replicas), ""},
		"not applied":               {entry("plumb", "Update", replicas), ""},
		"not at all":                {entry("plumb", "Apply", `{"f:spec":{"f:template":{}}}`), ""},
		"not as fields are written": {entry("plumb", "Apply", `[]`), ""},
	} {
		o := parse(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}")
		o.SetManagedFields([]metav1.ManagedFieldsEntry{c.entry})
		scale, err := Make(o, "scale", map[string]string{"replicas": "3"}, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(scale.Contests(o, "plumb"), " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		again, err := Make(o, "restart", nil, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.Contests(o, "plumb"); len(got) > 0 {
			t.Errorf("%s: to restart contests %q", name, got)
		}
	}
	o := parse(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}}")
	o.SetManagedFields([]metav1.ManagedFieldsEntry{entry("plumb", "Apply", `{"f:spec":{"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`)})
	again, err := Make(o, "restart", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Contests(o, "plumb"), `spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]`; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %s", got, want)
	}
}
