package flux

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/report"
	"plumb.dev/plumb/source"
)

// Keys of status.artifact.metadata of a source: what is known of the
// commit, for those who may not read the repository.
const (
	metadataAuthor  = "plumb.dev/author"
	metadataWhen    = "plumb.dev/committed-at"
	metadataSubject = view.EventSubject
)

// maxSubject is the most characters that are kept of the first line of a
// commit message.
const maxSubject = 200

// commitMetadata is what status.artifact.metadata says of a commit.
func commitMetadata(c source.Commit) map[string]string {
	m := map[string]string{}
	if c.Author != "" || c.Email != "" {
		m[metadataAuthor] = strings.TrimSpace(fmt.Sprintf("%s <%s>", c.Author, c.Email))
	}
	if !c.When.IsZero() {
		m[metadataWhen] = c.When.UTC().Format(time.RFC3339)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	if subject = strings.TrimSpace(subject); subject != "" {
		if utf8.RuneCountInString(subject) > maxSubject {
			subject = string([]rune(subject)[:maxSubject-1]) + "…"
		}
		m[metadataSubject] = subject
	}
	return m
}

func commitOf(a *meta.Artifact) (c view.Commit) {
	if a == nil {
		return c
	}
	c.Author, c.Subject = a.Metadata[metadataAuthor], a.Metadata[metadataSubject]
	c.When, _ = time.Parse(time.RFC3339, a.Metadata[metadataWhen])
	return c
}

// kinds are the kinds of the dialect as commands see them.
func kinds() []view.Kind {
	suspend := func(s bool) map[string]any {
		return map[string]any{"spec": map[string]any{"suspend": s}}
	}
	sync := func(_ *unstructured.Unstructured, token, approve string) (map[string]any, error) {
		ann := map[string]any{requestedAt: token}
		if approve != "" {
			ann[approvePrune] = approve
		}
		return map[string]any{"metadata": map[string]any{"annotations": ann}}, nil
	}
	all := []view.Kind{{
		GroupVersionKind: KustomizationKind, Plural: "kustomizations",
		Names: []string{"kustomization", "kustomizations", "ks"},
		View:  viewKustomization, Sync: sync, Suspend: suspend,
		Owns: func(o *unstructured.Unstructured) (object.Ref, bool) {
			l := o.GetLabels()
			return object.Ref{
				Group: KustomizationKind.Group, Kind: KustomizationKind.Kind, Namespace: l[namespaceLabel], Name: l[nameLabel],
			}, l[nameLabel] != ""
		},
		Selector: func(i view.Item) string {
			return fmt.Sprintf("%s=%s,%s=%s", nameLabel, i.Ref.Name, namespaceLabel, i.Ref.Namespace)
		},
	}}
	for _, k := range sourceTypes() {
		all = append(all, view.Kind{
			GroupVersionKind: k.GroupVersionKind, Plural: k.plural, IsSource: true, Names: k.names,
			View: viewSource, Sync: sync, Suspend: suspend,
		})
	}
	return all
}

// viewBase reads what all kinds have. It is lenient: what a person sees must
// not depend on every field being valid.
func viewBase(u *unstructured.Unstructured) (i view.Item) {
	i.Ref, i.Created = object.RefOf(u), u.GetCreationTimestamp().Time
	i.Suspended, _, _ = unstructured.NestedBool(u.Object, "spec", "suspend")
	i.Handled, _, _ = unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
	var st struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	if m, ok := u.Object["status"].(map[string]any); ok {
		// What can't be read is not there.
		_ = runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"conditions": m["conditions"]}, &st)
	}
	i.Ready = "Unknown"
	ready := apimeta.FindStatusCondition(st.Conditions, report.Ready)
	if ready == nil {
		i.Message = "it has not been looked at yet"
		return i
	}
	i.Ready, i.Reason, i.Message = string(ready.Status), ready.Reason, ready.Message
	switch {
	case ready.ObservedGeneration != u.GetGeneration():
	case ready.Status == metav1.ConditionTrue && !apimeta.IsStatusConditionTrue(st.Conditions, report.Reconciling):
		i.State = view.Done
	case ready.Status == metav1.ConditionFalse && ready.Reason == meta.DependencyNotReadyReason && !apimeta.IsStatusConditionTrue(st.Conditions, report.Stalled):
		i.State = view.Waiting
	case ready.Status == metav1.ConditionFalse:
		i.State = view.Failed
	}
	return i
}

func viewKustomization(u *unstructured.Unstructured) view.Item {
	i := viewBase(u)
	var k kustomizev1.Kustomization
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &k); err != nil {
		// A spec that can't be read leaves the status.
		k = kustomizev1.Kustomization{}
		if decodeStatus(u, &k.Status) != nil {
			return i
		}
	}
	i.Note, i.Corrects = noteOf(i.Message), !i.Suspended
	i.Revision, i.Attempted = k.Status.LastAppliedRevision, k.Status.LastAttemptedRevision
	i.Path, i.Elsewhere = k.Spec.Path, k.Spec.KubeConfig != nil
	if ref := k.Spec.SourceRef; ref.Name != "" {
		i.Source = object.Ref{Group: GitRepositoryKind.Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
		if ref.Namespace == "" {
			i.Source.Namespace = u.GetNamespace()
		}
	}
	i.Inventory, _ = inventoryOf(&k.Status) // what can't be read is not shown
	for _, h := range k.Status.History {
		i.History = append(i.History, view.Run{
			Revision: h.Metadata["revision"], Result: h.LastReconciledStatus, Digest: h.Digest,
			First: h.FirstReconciled.Time, Last: h.LastReconciled.Time,
			Took: h.LastReconciledDuration.Duration, Count: h.TotalReconciliations,
		})
	}
	return i
}

func viewSource(u *unstructured.Unstructured) view.Item {
	i := viewBase(u)
	var st struct {
		Artifact *meta.Artifact `json:"artifact"`
	}
	if decodeStatus(u, &st) != nil {
		return i
	}
	if st.Artifact != nil {
		i.Revision = st.Artifact.Revision
		i.Attempted = i.Revision
		i.Commit = commitOf(st.Artifact)
	}
	i.Commits = commitsOf(u)
	return i
}
