package action

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// byHand is the annotation by which kubectl marks Jobs that somebody made of a
// CronJob.
const byHand = "cronjob.kubernetes.io/instantiate"

var createJob = Action{Name: "create-job", Does: "run it once now, whatever its schedule says", make: jobOf}

// jobOf returns a Job as a CronJob makes them, by whom it is owned: so it goes
// with it, and belongs to the same unit, which did not apply it.
func jobOf(o *unstructured.Unstructured, _ map[string]string, now time.Time) (c Change, err error) {
	template, ok, err := unstructured.NestedMap(o.Object, "spec", "jobTemplate")
	if err != nil || !ok {
		return c, errors.Join(errors.New("it has no spec.jobTemplate"), err)
	}
	spec, ok, err := unstructured.NestedMap(template, "spec")
	if err != nil || !ok {
		return c, errors.Join(errors.New("it has no spec.jobTemplate.spec"), err)
	}
	labels, _, err := unstructured.NestedStringMap(template, "metadata", "labels")
	if err != nil {
		return c, fmt.Errorf("spec.jobTemplate.metadata: %w", err)
	}
	annotations, _, err := unstructured.NestedStringMap(template, "metadata", "annotations")
	if err != nil {
		return c, fmt.Errorf("spec.jobTemplate.metadata: %w", err)
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[byHand] = "manual"
	job := &unstructured.Unstructured{Object: map[string]any{"apiVersion": o.GetAPIVersion(), "kind": "Job", "spec": spec}}
	job.SetNamespace(o.GetNamespace())
	job.SetName(jobName(o.GetName(), now))
	job.SetLabels(labels)
	job.SetAnnotations(annotations)
	job.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), UID: o.GetUID(), Controller: new(true), BlockOwnerDeletion: new(true),
	}})
	return Change{Creates: job}, nil
}

// jobName is no longer than a name of a Job may be, with room for that of a Pod.
func jobName(cron string, now time.Time) string {
	const most = 52 - 1 - len("20060102150405")
	if len(cron) > most {
		cron = cron[:most]
	}
	return cron + "-" + now.UTC().Format("20060102150405")
}
