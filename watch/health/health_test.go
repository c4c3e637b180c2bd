package health

import (
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
