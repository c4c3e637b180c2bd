package apply_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
)

// mixed are objects of a tenant, an operator and an application.
var mixed = []object.Ref{
	{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "operator"},
	{Group: "example.com", Kind: "Database", Namespace: "shop", Name: "db"},
	{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization", Namespace: "shop", Name: "app"},
	{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository", Namespace: "shop", Name: "src"},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding", Namespace: "shop", Name: "deployer"},
	{Group: "rbac.authorization.k8s.io", Kind: "Role", Namespace: "shop", Name: "deployer"},
	{Kind: "ServiceAccount", Namespace: "shop", Name: "deployer"},
	{Kind: "LimitRange", Namespace: "shop", Name: "l"},
	{Kind: "Secret", Namespace: "shop", Name: "s"},
	{Kind: "Pod", Namespace: "shop", Name: "p"},
	{Kind: "Namespace", Name: "shop"},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "databases.example.com"},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration", Name: "w"},
	{Group: "example.com", Kind: "Secret", Namespace: "shop", Name: "of-another-group"},
}

func itemsOf(refs []object.Ref) (items []apply.Item) {
	for _, r := range refs {
		items = append(items, apply.Item{Ref: r, Version: "v1"})
	}
	return items
}

// groups are the kinds of each part, a line for each.
func groups(parts [][]*apply.Result) string {
	var lines []string
	for _, part := range parts {
		var kinds []string
		for _, c := range part {
			kinds = append(kinds, c.Ref.GroupKind().String())
		}
		lines = append(lines, strings.Join(kinds, " "))
	}
	return strings.Join(lines, "\n")
}

// What decides about others is written before them, and what they mount.
func TestStepsOfAStage(t *testing.T) {
	p, _ := apply.Make(apply.Facts{Items: itemsOf(mixed), Managers: self, Live: func(object.Ref) (apply.Live, bool) { return apply.Live{}, true }})
	want := `LimitRange ServiceAccount Role.rbac.authorization.k8s.io
RoleBinding.rbac.authorization.k8s.io
Secret
Deployment.apps Database.example.com Kustomization.kustomize.toolkit.fluxcd.io GitRepository.source.toolkit.fluxcd.io Pod Secret.example.com
ValidatingWebhookConfiguration.admissionregistration.k8s.io`
	if diff := cmp.Diff(want, groups(apply.Steps(apply.Begin(p).Of(p.Stages()[1])))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What still has work to do as it goes keeps what it may need: an operator, an
// account, a source, a definition.
func TestStepsOfADeletion(t *testing.T) {
	order := apply.Order{Needed: []string{"source.toolkit.fluxcd.io/GitRepository"}}
	p, _ := apply.Make(apply.Facts{Inventory: inventoryOf(itemsOf(mixed)), Managers: self, Order: order, Pruning: apply.Pruning{Leaving: true}})
	want := `ValidatingWebhookConfiguration.admissionregistration.k8s.io
Database.example.com Kustomization.kustomize.toolkit.fluxcd.io Secret.example.com
GitRepository.source.toolkit.fluxcd.io
Deployment.apps Pod
Secret
RoleBinding.rbac.authorization.k8s.io Role.rbac.authorization.k8s.io ServiceAccount LimitRange
CustomResourceDefinition.apiextensions.k8s.io Namespace`
	if diff := cmp.Diff(want, groups(apply.Leaving(apply.Begin(p).Of(p.Surplus())))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A namespace that is being deleted takes nothing new.
func TestNothingIsPlannedIntoANamespaceThatEnds(t *testing.T) {
	items := itemsOf([]object.Ref{{Kind: "Namespace", Name: "shop"}, {Kind: "Secret", Namespace: "shop", Name: "a"}, {Kind: "Secret", Namespace: "other", Name: "b"}})
	p, _ := apply.Make(apply.Facts{Items: items, Managers: self, Live: func(r object.Ref) (apply.Live, bool) {
		return apply.Live{Exists: r.Kind == "Namespace", Deleting: r.Kind == "Namespace"}, true
	}})
	want := "hold Namespace/shop\nhold Secret/shop/a\n3 create Secret/other/b: first\n"
	if diff := cmp.Diff(want, text(p)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
