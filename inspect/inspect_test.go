package inspect_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
)

// A world is a namespace with custom resources whose status says what a test
// has written there: nobody reconciles them.
type world struct {
	t *testing.T
	*kubetest.Env
	ns string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	env := kubetest.Start(t)
	env.CRDs(t)
	return &world{t, env, env.Namespace(t)}
}

// as is the cluster as a user sees it; nobody is the administrator.
func (w *world) as(user string) *inspect.Cluster {
	w.t.Helper()
	c, err := cluster.New("", w.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := c.As(user)
	if err != nil {
		w.t.Fatal(err)
	}
	config := c.Config()
	config.Impersonate.UserName = user
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return &inspect.Cluster{Client: client, Clientset: clientset, Dialects: []view.Dialect{&flux.Options{OwnNamespace: "plumb-system"}}}
}

// apply creates objects, with the status that they have, in the namespace.
func (w *world) apply(manifests string) (last *unstructured.Unstructured) {
	w.t.Helper()
	for document := range strings.SplitSeq(manifests, "---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(document, "$NS", w.ns)), &u.Object); err != nil {
			w.t.Fatalf("%v:\n%s", err, document)
		}
		if u.GetNamespace() == "" {
			u.SetNamespace(w.ns)
		}
		status := u.Object["status"]
		if err := w.Client.Create(w.t.Context(), u); err != nil {
			w.t.Fatalf("create %s: %v", object.RefOf(u), err)
		}
		if status != nil {
			u.Object["status"] = status
			if err := w.Client.Status().Update(w.t.Context(), u); err != nil {
				w.t.Fatalf("write the status of %s: %v", object.RefOf(u), err)
			}
		}
		last = u
	}
	return last
}

// allow lets a user do something in the namespace.
func (w *world) allow(user, verbs, groups, resources string) {
	w.t.Helper()
	name := strings.NewReplacer("*", "all", ",", "-", "/", "-", `"`, "").Replace(user + "-" + verbs + "-" + resources)
	w.apply(fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s}
rules: [{apiGroups: [%[3]s], resources: [%[4]s], verbs: [%[5]s]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[2]s}]
`, name, user, groups, resources, verbs))
	verb, _, _ := strings.Cut(verbs, ",")
	for resource := range strings.SplitSeq(resources, ",") {
		kubetest.Eventually(w.t, time.Minute, func() error { return w.may(user, verb, groups, strings.TrimSpace(resource)) })
	}
}

// may returns nil once a user may do something in the namespace: the server learns
// of a Role a little later than of its objects.
func (w *world) may(user, verb, groups, resource string) error {
	for group := range strings.SplitSeq(strings.ReplaceAll(groups, `"`, ""), ",") {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: w.ns, Verb: verb, Group: strings.TrimSpace(group), Resource: resource},
		}}
		if err := w.Client.Create(w.t.Context(), review); err != nil || review.Status.Allowed {
			return err
		}
	}
	return fmt.Errorf("%s may not %s %s yet", user, verb, resource)
}

func (w *world) ref(group, kind, name string) object.Ref {
	return object.Ref{Group: group, Kind: kind, Namespace: w.ns, Name: name}
}

const (
	sourceGroup = "source.toolkit.fluxcd.io"
	unitGroup   = "kustomize.toolkit.fluxcd.io"
)

func (w *world) unit(c *inspect.Cluster, name string) *inspect.Found {
	w.t.Helper()
	f, err := c.Get(w.t.Context(), w.ref(unitGroup, "Kustomization", name))
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// What a repository and a unit of it are, but for what a test adds.
const (
	repository = `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: shop}
spec: {interval: 1h, url: "https://git.example.com/shop.git"}
status:
  conditions: [{type: Ready, status: "True", reason: Succeeded, message: stored, lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}]
  artifact:
    {revision: "main@sha1:2222", digest: "sha256:22", path: p, url: "http://x", lastUpdateTime: "2026-01-02T03:04:05Z",
     metadata: {plumb.dev/author: "Ann <ann@example.com>", plumb.dev/committed-at: "2026-01-02T03:00:00Z", plumb.dev/subject: "web: two replicas"}}
`
	unit = `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app}
spec: {interval: 1h, prune: true, path: ./apps, sourceRef: {kind: GitRepository, name: shop}%s}
status:
  lastAppliedRevision: "main@sha1:2222"
  conditions: [{type: Ready, status: "True", reason: ReconciliationSucceeded, message: "Applied revision: main@sha1:2222", lastTransitionTime: "2026-01-02T03:04:05Z", observedGeneration: 1}]
  inventory: {entries: [%s]}
`
)

func entry(ns, name, group, kind, version string) string {
	return fmt.Sprintf(`{id: "%s_%s_%s_%s", v: %s}`, ns, name, group, kind, version)
}

func TestListIsSortedAndOfTheKindsAskedFor(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(strings.ReplaceAll(fmt.Sprintf(unit, "", ""), "name: app}", "name: zoo}"))
	w.apply(fmt.Sprintf(unit, "", ""))
	w.apply(repository)
	names := func(which func(view.Kind) bool) string {
		all, err := c.List(t.Context(), w.ns, which)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range all {
			out = append(out, f.Ref.Kind+"/"+f.Ref.Name)
			if f.Dialect == nil || f.Object == nil {
				t.Errorf("%s: there is no dialect or no object", f.Ref)
			}
		}
		return strings.Join(out, " ")
	}
	if got := names(func(k view.Kind) bool { return !k.IsSource }); got != "Kustomization/app Kustomization/zoo" {
		t.Errorf("units: %s", got)
	}
	if got := names(func(view.Kind) bool { return true }); got != "Kustomization/app Kustomization/zoo GitRepository/shop" && got != "GitRepository/shop Kustomization/app Kustomization/zoo" {
		t.Errorf("all: %s", got)
	}
	if _, err := w.as("nobody").List(t.Context(), w.ns, func(view.Kind) bool { return true }); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("whoever may not list gets %v", err)
	}
}

// elsewhereKinds is a dialect whose kinds the cluster does not have.
type elsewhereKinds struct{ *flux.Options }

func (elsewhereKinds) Kinds() []view.Kind {
	return []view.Kind{{GroupVersionKind: schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}, Plural: "things"}}
}

func TestKindsThatTheClusterDoesNotHave(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	if _, err := c.Get(t.Context(), w.ref("example.com", "Thing", "a")); err == nil || !strings.Contains(err.Error(), "does not know the kind") {
		t.Errorf("a kind of no dialect: %v", err)
	}
	c.Dialects = []view.Dialect{elsewhereKinds{}}
	if _, err := c.List(t.Context(), w.ns, func(view.Kind) bool { return true }); !errors.Is(err, inspect.ErrNoKinds) {
		t.Errorf("error is %v; want that there are none of the kinds", err)
	}
}

func TestEventsAreInOrderAndOfWhatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	event := `
apiVersion: v1
kind: Event
metadata: {name: %[1]s, annotations: {plumb.dev/object: ConfigMap/x/y, kustomize.toolkit.fluxcd.io/revision: "main@sha1:2222"}}
type: Normal
reason: %[1]s
message: "one\ntwo\n"
%[3]s
involvedObject: {apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, namespace: $NS, name: %[2]s}
`
	w.apply(fmt.Sprintf(event, "second", "app", "lastTimestamp: \"2026-01-02T03:04:06Z\"\ncount: 3"))
	w.apply(fmt.Sprintf(event, "first", "app", `eventTime: "2026-01-02T03:04:05.000000Z"`+"\nreportingComponent: plumb\nreportingInstance: a\naction: Apply"))
	w.apply(fmt.Sprintf(event, "others", "zoo", `lastTimestamp: "2026-01-02T03:04:07Z"`))
	app := w.ref(unitGroup, "Kustomization", "app")
	list, version, err := w.as("").Events(t.Context(), w.ns, inspect.About(app), func(e inspect.Event) bool { return e.Ref == app })
	if err != nil || version == "" {
		t.Fatal(err, version)
	}
	var reasons []string
	for _, e := range list {
		reasons = append(reasons, e.Reason)
		if e.Message != "one; two" || e.About != "ConfigMap/x/y" || e.Revision != "main@sha1:2222" || e.Object != app.String() || e.Time.IsZero() {
			t.Errorf("read as %+v", e)
		}
	}
	if got := strings.Join(reasons, " "); got != "first second" {
		t.Errorf("events: %s", got)
	}
	if len(list) == 2 && list[1].Count != 3 {
		t.Errorf("count is %d", list[1].Count)
	}
	if _, _, err := w.as("nobody").Events(t.Context(), w.ns, inspect.About(app), func(inspect.Event) bool { return true }); err == nil {
		t.Error("whoever may not list events is told that there are none")
	}
}

func TestSubjectsAreOfEventsAndOfTheSource(t *testing.T) {
	w := newWorld(t)
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, "", ""))
	w.apply(`
apiVersion: v1
kind: Event
metadata: {name: older, annotations: {source.toolkit.fluxcd.io/revision: "main@sha1:1111", plumb.dev/subject: "web: one replica"}}
reason: NewArtifact
lastTimestamp: "2026-01-02T03:04:06Z"
involvedObject: {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, namespace: $NS, name: shop}
`)
	c := w.as("")
	got := c.Subjects(t.Context(), w.unit(c, "app"))
	want := map[string]string{"main@sha1:1111": "web: one replica", "main@sha1:2222": "web: two replicas"}
	if len(got) != len(want) || got["main@sha1:1111"] != want["main@sha1:1111"] || got["main@sha1:2222"] != want["main@sha1:2222"] {
		t.Errorf("subjects: %v", got)
	}
}
