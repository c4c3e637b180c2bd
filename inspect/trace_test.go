package inspect_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const mark = `kustomize.toolkit.fluxcd.io/name: app, kustomize.toolkit.fluxcd.io/namespace: $NS`

// owned creates an object with a mark and one that it owns.
func (w *world) owned(mark string) (top, below *unstructured.Unstructured) {
	w.t.Helper()
	top = w.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: top, labels: {%s}}\n", mark))
	below = w.apply(fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: below, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: top, uid: %s}]}
`, top.GetUID()))
	return top, below
}

func TestATraceClimbsToTheUnitAndItsCommit(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, "", entry(w.ns, "top", "", "ConfigMap", "v1")))
	top, below := w.owned(mark)
	for i, about := range []string{"ConfigMap/" + w.ns + "/top", "ConfigMap/" + w.ns + "/other"} {
		w.apply(fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {name: drift%d, annotations: {plumb.dev/object: %s}}
reason: DriftCorrected
message: data.a put back
lastTimestamp: "2026-01-02T03:04:0%[1]dZ"
involvedObject: {apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, namespace: $NS, name: app}
`, i, about))
	}
	tr, err := c.Trace(t.Context(), below)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Object != "ConfigMap/"+w.ns+"/below" || len(tr.By) != 1 || tr.By[0] != "ConfigMap/"+w.ns+"/top" || !tr.Listed {
		t.Errorf("%s by %v, listed: %v", tr.Object, tr.By, tr.Listed)
	}
	if tr.Unit != "Kustomization/"+w.ns+"/app" || tr.Source != "GitRepository/"+w.ns+"/shop" || tr.Path != "./apps" || tr.Revision != "main@sha1:2222" || tr.Ready != "True" {
		t.Errorf("%+v", tr)
	}
	if tr.Commit == nil || tr.Commit.Subject != "web: two replicas" || tr.Commit.Author != "Ann <ann@example.com>" {
		t.Errorf("commit: %+v", tr.Commit)
	}
	if tr.Drift == nil || tr.Drift.Reason != "DriftCorrected" || tr.Drift.Time.Second() != 0 {
		t.Errorf("drift: %+v", tr.Drift)
	}
	if len(tr.Writers) == 0 || tr.Writers[0].Manager == "" {
		t.Errorf("writers: %+v", tr.Writers)
	}
	if tr, err := c.Trace(t.Context(), top); err != nil || len(tr.By) != 0 || !tr.Listed {
		t.Errorf("of the top: %+v, %v", tr, err)
	}
}

func TestATraceOfARevisionThatTheSourceHasLeft(t *testing.T) {
	w := newWorld(t)
	w.apply(strings.ReplaceAll(repository, "main@sha1:2222", "main@sha1:3333"))
	w.apply(fmt.Sprintf(unit, "", ""))
	top, _ := w.owned(mark)
	w.apply(`
apiVersion: v1
kind: Event
metadata: {name: older, annotations: {source.toolkit.fluxcd.io/revision: "main@sha1:2222", plumb.dev/subject: "what it was"}}
reason: NewArtifact
lastTimestamp: "2026-01-02T03:04:06Z"
involvedObject: {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, namespace: $NS, name: shop}
`)
	tr, err := w.as("").Trace(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Commit == nil || tr.Commit.Subject != "what it was" || tr.Commit.Author != "" || tr.Listed {
		t.Errorf("commit %+v, listed: %v", tr.Commit, tr.Listed)
	}
}

func TestATraceSaysWhyThereIsNone(t *testing.T) {
	w := newWorld(t)
	w.apply(repository)
	alone := w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: alone}\n")
	if _, err := w.as("").Trace(t.Context(), alone); err == nil || !strings.Contains(err.Error(), "was not applied by a unit") {
		t.Errorf("without a mark: %v", err)
	}
	top, below := w.owned(mark)
	if _, err := w.as("").Trace(t.Context(), top); err == nil || !strings.Contains(err.Error(), "which does not exist") {
		t.Errorf("with the mark of nobody: %v", err)
	}
	w.allow("reader", "get,list", `""`, "events")
	if _, err := w.as("reader").Trace(t.Context(), below); err == nil || !strings.Contains(err.Error(), "can't be told what made it") {
		t.Errorf("with an owner that may not be read: %v", err)
	}
}

func TestATraceThatMayNotSeeEventsSaysSo(t *testing.T) {
	w := newWorld(t)
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, "", entry(w.ns, "top", "", "ConfigMap", "v1")))
	top, _ := w.owned(mark)
	w.allow("reader", "get", `"", kustomize.toolkit.fluxcd.io, source.toolkit.fluxcd.io`, "configmaps, kustomizations, gitrepositories")
	tr, err := w.as("reader").Trace(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(tr.DriftUnknown, "forbidden") || tr.Drift != nil {
		t.Errorf("drift: %v, %q", tr.Drift, tr.DriftUnknown)
	}
}
