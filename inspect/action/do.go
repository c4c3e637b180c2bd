package action

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/object"
)

// Do makes the change to o, and returns what was changed or made.
func (c Change) Do(ctx context.Context, client *cluster.Client, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	target := o
	if c.Creates != nil {
		target = c.Creates
	}
	m, err := client.Mapping(ctx, target.GroupVersionKind())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object.RefOf(target), err)
	}
	r := client.Dynamic().Resource(m.Resource).Namespace(target.GetNamespace())
	if c.Creates != nil {
		made, err := r.Create(ctx, c.Creates, metav1.CreateOptions{FieldManager: Manager, FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			return nil, fmt.Errorf("create %s: %w", object.RefOf(target), err)
		}
		return made, nil
	}
	patch, err := c.Patch(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object.RefOf(o), err)
	}
	after, err := r.Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager, FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, fmt.Errorf("change %s: %w", object.RefOf(o), err)
	}
	return after, nil
}
