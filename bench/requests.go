package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// sameRequests is the floor of cold that knows what plumb asks the API server
// for: a bare loop of the same requests, 16 units at a time. Of each unit that is
// its creation, what is written of it before, a dry run and an apply of each object,
// the result, and events. The units are copies, of a kind that plumb does not
// know; they and the objects are deleted again.
func (w *world) sameRequests(ctx context.Context) (err error) {
	list, err := w.client.Resource(w.kind.resource).Namespace(unitSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	objects, err := w.renderAll(againSpace)
	if err != nil {
		return err
	}
	began, before := time.Now(), w.serverCPU()
	err = parallel(w.n, func(i int) error {
		return w.likePlumb(ctx, &list.Items[i], objects[i*objectsPerApp:(i+1)*objectsPerApp])
	})
	took, cpu := time.Since(began), w.serverCPU()-before
	if err != nil {
		return err
	}
	w.seconds("floor: the requests of cold, 16 units at a time", took)
	w.cpu("floor: CPU of API server and etcd for these", cpu)
	if cold := w.find(coldName); cold != nil {
		w.add("cold, against the same requests", "s", cold.Value).over((w.loop.render + took).Seconds(), "everything rendered, and the same requests")
	}
	for _, r := range append(slices.Collect(maps.Values(resources)), w.kind.floors()) {
		err := w.client.Resource(r).Namespace(againSpace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}

// likePlumb makes a copy of a unit, and its objects.
func (w *world) likePlumb(ctx context.Context, unit *unstructured.Unstructured, objects []*unstructured.Unstructured) error {
	copies, name := w.client.Resource(w.kind.floors()).Namespace(againSpace), unit.GetName()
	if _, err := copies.Create(ctx, w.kind.floor(name, unit.Object["spec"]), metav1.CreateOptions{}); err != nil {
		return err
	}
	merge := func(writes []write) error {
		for _, x := range writes {
			patch, err := json.Marshal(x.body)
			if err != nil {
				return err
			}
			var sub []string
			if x.status {
				sub = w.kind.subresource
			}
			if _, err := copies.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, sub...); err != nil {
				return err
			}
		}
		return nil
	}
	before, after := w.kind.writes(unit)
	if err := merge(before); err != nil {
		return err
	}
	for _, dry := range [][]string{{metav1.DryRunAll}, nil} {
		for _, o := range objects {
			if err := w.apply(ctx, o, dry...); err != nil {
				return err
			}
		}
	}
	if err := merge(after); err != nil {
		return err
	}
	for range w.kind.events {
		_, err := w.client.Resource(events).Namespace(againSpace).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"generateName": name + "-"},
			"involvedObject": map[string]any{
				"apiVersion": w.kind.floors().GroupVersion().String(), "kind": w.kind.kind, "namespace": againSpace, "name": name, "uid": string(unit.GetUID()),
			},
			"reason": "Progressing", "type": "Normal", "count": int64(1), "source": map[string]any{"component": "bench"},
			"message": createdAll(objects),
		}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
	}
	return nil
}

// createdAll is what an event says of a unit that is made.
func createdAll(objects []*unstructured.Unstructured) string {
	text := ""
	for _, o := range objects {
		text += o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName() + " created\n"
	}
	return text
}
