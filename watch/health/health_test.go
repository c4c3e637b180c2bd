package health

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestJob(t *testing.T) {
	const job = "{apiVersion: batch/v1, kind: Job, metadata: {name: migrate}, status: "
	for name, c := range map[string]struct {
		status string
		want   Status
	}{
		"nothing has happened yet":     {"{}", InProgress},
		"it runs":                      {"{active: 1, startTime: '2026-01-01T00:00:00Z'}", InProgress},
		"it was resumed and runs":      {"{active: 1, startTime: '2026-01-01T00:00:00Z', conditions: [{type: Suspended, status: 'False', reason: JobResumed}]}", InProgress},
		"its pods have done their job": {"{succeeded: 1, startTime: '2026-01-01T00:00:00Z', conditions: [{type: SuccessCriteriaMet, status: 'True'}]}", InProgress},
		"it has completed":             {"{succeeded: 1, startTime: '2026-01-01T00:00:00Z', conditions: [{type: Complete, status: 'True'}]}", Current},
		"it has failed":                {"{failed: 1, startTime: '2026-01-01T00:00:00Z', conditions: [{type: Failed, status: 'True'}]}", Failed},
	} {
		t.Run(name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(job+c.status+"}"), u); err != nil {
				t.Fatal(err)
			}
			if got := Of(u); got.Status != c.want {
				t.Errorf("got %v (%s), want %v", got.Status, got.Message, c.want)
			}
		})
	}
}

func TestWhatSomebodyHasStoppedIsSaidToBe(t *testing.T) {
	for y, want := range map[string]string{
		"{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {suspend: true}}":                                                             "it is suspended: ",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {paused: true}}":                                                        "it is paused: ",
		"{apiVersion: example.com/v1, kind: X, metadata: {name: x}, spec: {suspend: 'no'}, status: {conditions: [{type: Ready, status: 'False'}]}}": "",
	} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(y), &u.Object); err != nil {
			t.Fatal(err)
		}
		got := Of(u)
		if got.Status.String() != "InProgress" || (got.Status == Suspended) != (want != "") || !strings.HasPrefix(got.Message, want) || want == "" && strings.Contains(got.Message, "it is") {
			t.Errorf("%s: %+v, want %q", y, got, want)
		}
	}
}
