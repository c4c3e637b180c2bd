package flux

import (
	"testing"

	"plumb.dev/plumb/object"
)

func TestInventoryIDs(t *testing.T) {
	for id, ref := range map[string]object.Ref{
		"default_podinfo_apps_Deployment":                              {Group: "apps", Kind: "Deployment", Namespace: "default", Name: "podinfo"},
		"default_podinfo__Service":                                     {Kind: "Service", Namespace: "default", Name: "podinfo"},
		"_shop__Namespace":                                             {Kind: "Namespace", Name: "shop"},
		"_system__node_rbac.authorization.k8s.io_ClusterRole":          {Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:node"},
		"_my_odd_role_rbac.authorization.k8s.io_ClusterRole":           {Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "my_odd_role"},
		"_a.example.com_apiextensions.k8s.io_CustomResourceDefinition": {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "a.example.com"},
	} {
		if got := inventoryID(ref); got != id {
			t.Errorf("id of %v is %q, want %q", ref, got, id)
		}
		if got, err := parseInventoryID(id); err != nil || got != ref {
			t.Errorf("parse %q = %v, %v; want %v", id, got, err, ref)
		}
	}
	for _, bad := range []string{"", "a", "a_b", "a_b_c", "_", "___"} {
		if ref, err := parseInventoryID(bad); err == nil {
			t.Errorf("parse %q = %v, want an error", bad, ref)
		}
	}
}
