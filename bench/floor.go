package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A bareLoop does what has to be done with nothing around it.
type bareLoop struct {
	fs      filesys.FileSystem
	objects []*unstructured.Unstructured
	render  time.Duration // of all apps, one after the other
	apply   time.Duration // of all objects, 16 at a time
}

// all is the floor of making everything.
func (l *bareLoop) all() float64 { return (l.render + l.apply).Seconds() }

func (w *world) apply(ctx context.Context, o *unstructured.Unstructured, dry ...string) error {
	_, err := w.client.Resource(resources[o.GetKind()]).Namespace(o.GetNamespace()).
		Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "bench", Force: true, DryRun: dry})
	return err
}

// renderAll renders every app, for a namespace.
func (w *world) renderAll(namespace string) (all []*unstructured.Unstructured, err error) {
	for i := range w.n {
		objects, err := renderApp(w.loop.fs, unitName(i), namespace)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

func (w *world) floor(ctx context.Context) (err error) {
	l := &w.loop
	if l.fs, err = inMemory(w.n); err != nil {
		return err
	}
	began := time.Now()
	if l.objects, err = w.renderAll(floorSpace); err != nil {
		return err
	}
	l.render = time.Since(began)
	began, cpu := time.Now(), w.serverCPU()
	if err := parallel(len(l.objects), func(i int) error { return w.apply(ctx, l.objects[i]) }); err != nil {
		return err
	}
	l.apply = time.Since(began)
	w.seconds("floor: render everything", l.render)
	w.seconds("floor: apply everything, 16 at a time", l.apply)
	w.cpu("floor: CPU of API server and etcd", w.serverCPU()-cpu)
	return nil
}

// pickKind returns up to n objects of the floor of a kind.
func (w *world) pickKind(kind string, n int) (some []*unstructured.Unstructured) {
	for _, o := range w.loop.objects {
		if o.GetKind() == kind && len(some) < n {
			some = append(some, o)
		}
	}
	return some
}

// floorOfFanOut is to render every app at another version and apply what that
// changes, the Deployments.
func (w *world) floorOfFanOut(ctx context.Context, version string) (time.Duration, error) {
	for i := range w.n {
		if err := w.loop.fs.WriteFile("/"+overlayFile(unitName(i)), []byte(overlay(unitName(i), version))); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	objects, err := w.renderAll(floorSpace)
	if err != nil {
		return 0, err
	}
	w.loop.objects = objects
	changed := w.pickKind("Deployment", w.n)
	err = parallel(len(changed), func(i int) error { return w.apply(ctx, changed[i]) })
	return time.Since(began), err
}

// floorOfCommit is what a commit to one app asks for: a render and an apply.
func (w *world) floorOfCommit(ctx context.Context, runs int) (time.Duration, error) {
	var took []time.Duration
	for run := range runs {
		unit := unitName(run % w.n)
		began := time.Now()
		if err := w.loop.fs.WriteFile("/"+overlayFile(unit), []byte(overlay(unit, fmt.Sprintf("0.0.%d", run)))); err != nil {
			return 0, err
		}
		objects, err := renderApp(w.loop.fs, unit, floorSpace)
		if err != nil {
			return 0, err
		}
		for _, o := range objects {
			if o.GetKind() != "Deployment" {
				continue
			}
			if err := w.apply(ctx, o); err != nil {
				return 0, err
			}
		}
		took = append(took, time.Since(began))
	}
	return quantile(took, 0.5), nil
}

// floorOfSweep is to write the status of every unit, 16 at a time. The units
// are copies, of a kind that plumb does not know.
func (w *world) floorOfSweep(ctx context.Context) (time.Duration, error) {
	list, err := w.client.Resource(w.kind.resource).Namespace(unitSpace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	copies := w.client.Resource(w.kind.floors()).Namespace(floorSpace)
	err = parallel(len(list.Items), func(i int) error {
		from := list.Items[i].Object
		made, err := copies.Create(ctx, w.kind.floor(list.Items[i].GetName(), from["spec"]), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		made.Object["status"] = from["status"]
		_, err = copies.Update(ctx, made, metav1.UpdateOptions{}, w.kind.subresource...)
		return err
	})
	if err != nil {
		return 0, err
	}
	patch, err := json.Marshal(map[string]any{"status": w.kind.status})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = parallel(w.n, func(i int) error {
		_, err := copies.Patch(ctx, unitName(i), types.MergePatchType, patch, metav1.PatchOptions{}, w.kind.subresource...)
		return err
	})
	return time.Since(began), err
}
