package flux

import (
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/object"
)

// The colons of RBAC names are written as two underscores in an inventory id,
// which uses one underscore between its parts.
const colon = "__"

// inventoryID is <namespace>_<name>_<group>_<kind>, the form of Flux's
// ResourceInventory, which comes from cli-utils.
func inventoryID(r object.Ref) string {
	return strings.Join([]string{r.Namespace, strings.ReplaceAll(r.Name, ":", colon), r.Group, r.Kind}, "_")
}

// parseInventoryID is the other direction. Namespaces, groups and kinds have
// no underscores; what is left is the name.
func parseInventoryID(id string) (object.Ref, error) {
	bad := fmt.Errorf("inventory id %q is not <namespace>_<name>_<group>_<kind>", id)
	ns, rest, ok := strings.Cut(id, "_")
	if !ok {
		return object.Ref{}, bad
	}
	i := strings.LastIndexByte(rest, '_')
	if i < 0 {
		return object.Ref{}, bad
	}
	rest, kind := rest[:i], rest[i+1:]
	i = strings.LastIndexByte(rest, '_')
	if i < 0 {
		return object.Ref{}, bad
	}
	name, group := rest[:i], rest[i+1:]
	if name == "" || kind == "" {
		return object.Ref{}, bad
	}
	return object.Ref{Group: group, Kind: kind, Namespace: ns, Name: strings.ReplaceAll(name, colon, ":")}, nil
}

// inventoryOf reads the inventory in a status. What two versions of a kind have in
// it is one object.
func inventoryOf(k *kustomizev1.KustomizationStatus) ([]apply.Entry, error) {
	if k.Inventory == nil {
		return nil, nil
	}
	entries := make([]apply.Entry, 0, len(k.Inventory.Entries))
	have := make(map[object.Ref]bool, len(k.Inventory.Entries))
	for _, e := range k.Inventory.Entries {
		ref, err := parseInventoryID(e.ID)
		if err != nil {
			return nil, err
		}
		if !have[ref] {
			entries = append(entries, apply.Entry{Ref: ref, Version: e.Version})
		}
		have[ref] = true
	}
	return apply.Union(entries, nil), nil
}

func toInventory(entries []apply.Entry) *kustomizev1.ResourceInventory {
	inv := &kustomizev1.ResourceInventory{Entries: make([]kustomizev1.ResourceRef, len(entries))}
	for i, e := range entries {
		inv.Entries[i] = kustomizev1.ResourceRef{ID: inventoryID(e.Ref), Version: e.Version}
	}
	return inv
}
