package argocd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch"
)

// owning is what objects own, by their UID.
type owning map[types.UID][]watch.Child

func (o owning) Of(uid types.UID) []watch.Child { return o[uid] }

// rooted is an object that is called Kind/name, and so is its UID.
func rooted(name, whose string) watch.Child {
	kind, name, _ := strings.Cut(name, "/")
	c := watch.Child{Ref: object.Ref{Kind: kind, Namespace: "shop", Name: name}, Version: "v1", UID: types.UID(kind + "/" + name), Whose: whose}
	switch kind {
	case "StatefulSet", "ReplicaSet", "Deployment":
		c.Ref.Group = "apps"
	}
	return c
}

func TestOrphansAreWhatNobodyHasAndWhatTheyOwn(t *testing.T) {
	q := project.New(&api.AppProject{Spec: api.AppProjectSpec{
		Destinations: []api.AllowedDestination{{Server: "*", Namespace: "*"}}, OrphanedResources: &api.OrphanedResources{Ignore: []api.OrphanIgnored{{Kind: "Role*"}}},
		NamespaceResourceBlacklist: []metav1.GroupKind{{Kind: "LimitRange"}},
	}}, project.Scope{})
	s := search{namespace: "shop", own: map[object.Ref]bool{rooted("Secret/git", "").Ref: true}, terms: &terms{
		common: &common{}, project: q, to: project.Destination{Server: "https://c", Namespace: "shop"}, cluster: settings.Cluster{Server: "https://c"},
	}}
	there := func(unit string) bool { return unit == "Application/argocd/web" }
	owns := owning{
		"Deployment/stray": {rooted("ReplicaSet/stray-1", "")}, "ReplicaSet/stray-1": {rooted("Pod/stray-1-a", ""), rooted("LimitRange/denied", "")},
		"Deployment/web": {rooted("ReplicaSet/web-1", "")},
	}
	var got []string
	for _, o := range s.among([]watch.Child{
		rooted("ConfigMap/kube-root-ca.crt", ""), rooted("ServiceAccount/default", ""), // which each namespace has
		rooted("Secret/git", ""),                                                       // desired, and not marked yet
		rooted("Deployment/web", "Application/argocd/web"),                             // somebody's
		rooted("ConfigMap/left", "Application/argocd/gone"), rooted("ConfigMap/a", ""), // nobody's any more, and never somebody's
		rooted("Role/a", ""), rooted("LimitRange/a", ""), // ignored, and denied
		rooted("Deployment/stray", ""),
		rooted("Service/web", "Application/argocd/web"), rooted("Endpoints/web", ""), rooted("Service/own", ""), rooted("Endpoints/own", ""), rooted("Endpoints/lock", ""),
		rooted("StatefulSet/my-db", "Application/argocd/web"), rooted("PersistentVolumeClaim/data-my-db-0", ""), rooted("PersistentVolumeClaim/my-db-0", ""), rooted("PersistentVolumeClaim/data-db-x", ""),
	}, owns, there) {
		text := string(o.UID)
		if o.parent != nil {
			text += " of " + string(o.parent.UID)
		}
		got = append(got, text)
	}
	want := []string{
		"ConfigMap/a", "ConfigMap/left", "Deployment/stray", "Endpoints/lock", "Endpoints/own of Service/own", "PersistentVolumeClaim/data-db-x",
		"PersistentVolumeClaim/my-db-0", "Pod/stray-1-a of ReplicaSet/stray-1", "ReplicaSet/stray-1 of Deployment/stray", "Service/own",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAConditionComesAndGoesAtItsPlace(t *testing.T) {
	of := func(types ...string) (all []api.Condition) {
		for _, kind := range types {
			all = append(all, api.Condition{Type: kind, Message: "m"})
		}
		return all
	}
	typesOf := func(all []api.Condition) (types []string) {
		for _, c := range all {
			types = append(types, c.Type)
		}
		return types
	}
	before := of("Foreign", api.ConditionComparisonError, api.ConditionSyncError)
	with := toldAs(before, api.ConditionOrphanedResource, "1")
	if diff := cmp.Diff([]string{"Foreign", api.ConditionComparisonError, api.ConditionOrphanedResource, api.ConditionSyncError}, typesOf(with)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if orphansSaid(with) != "1" || orphansSaid(before) != "" {
		t.Errorf("they say %q, and said %q", orphansSaid(with), orphansSaid(before))
	}
	if diff := cmp.Diff(typesOf(before), typesOf(toldAs(with, api.ConditionOrphanedResource, ""))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
