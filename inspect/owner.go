package inspect

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/object"
)

// Owner returns the unit that applied o itself, and not what o was made of; nil:
// none did.
func (c *Cluster) Owner(ctx context.Context, o *unstructured.Unstructured) (*Found, error) {
	var unit object.Ref
	for _, k := range c.Kinds() {
		if k.Owns == nil {
			continue
		}
		if ref, ok := k.Owns(o); ok {
			unit = ref
		}
	}
	if unit.IsZero() {
		return nil, nil
	}
	return c.Get(ctx, unit)
}
