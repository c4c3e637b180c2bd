package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/child"
)

const byHand = "changed by hand"

// changeByHand changes a field that plumb holds, as another client would.
func (w *world) changeByHand(ctx context.Context, namespace, name string) (*unstructured.Unstructured, error) {
	patch := []byte(`{"data":{"app.conf":"` + byHand + `"}}`)
	return w.client.Resource(configMaps).Namespace(namespace).
		Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"})
}

func isByHand(u *unstructured.Unstructured) bool {
	v, _, _ := unstructured.NestedString(u.Object, "data", "app.conf")
	return v == byHand
}

// drift changes one object after the other and sees each put back.
func (w *world) drift(ctx context.Context) error {
	var took []time.Duration
	for range w.samples {
		d, err := w.driftOnce(ctx, w.pick())
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	object := w.pickKind("ConfigMap", 2)[0]
	var applies []time.Duration
	for range w.samples {
		if _, err := w.changeByHand(ctx, object.GetNamespace(), object.GetName()); err != nil {
			return err
		}
		began := time.Now()
		if err := w.apply(ctx, object); err != nil {
			return err
		}
		applies = append(applies, time.Since(began))
	}
	name := fmt.Sprintf("drift: changed by hand → put back, %d samples", w.samples)
	w.add(name+", median", "s", quantile(took, 0.5).Seconds()).over(quantile(applies, 0.5).Seconds(), "one apply").atMost(0.030)
	w.add(name+", p99", "s", quantile(took, 0.99).Seconds()).over(quantile(applies, 0.99).Seconds(), "one apply").atMost(0.150)
	return nil
}

func (w *world) driftOnce(ctx context.Context, name string) (time.Duration, error) {
	seen, stop, err := w.sight(ctx, configMaps, appSpace, name)
	if err != nil {
		return 0, err
	}
	defer stop()
	changed, err := w.changeByHand(ctx, appSpace, name)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	was, drifted := changed.GetResourceVersion(), false
	end, err := w.first(ctx, seen, w.patience(), func(u *unstructured.Unstructured) bool {
		drifted = drifted || u.GetResourceVersion() == was
		return drifted && !isByHand(u)
	})
	return max(0, end.Sub(began)), err
}

// storms is how often a storm is measured. More on end would be a fight.
const storms = 3

// storm changes an object of every unit at once, and sees all put back.
func (w *world) storm(ctx context.Context) error {
	var took, floor []time.Duration
	var requests map[request]int
	for range min(storms, w.runs) {
		f, err := w.floorOfStorm(ctx)
		if err != nil {
			return err
		}
		d, sent, err := w.stormOnce(ctx)
		if err != nil {
			return err
		}
		took, floor, requests = append(took, d), append(floor, f), sent
	}
	w.seconds("storm: an object of every unit changed at once → all back", took...).
		over(quantile(floor, 0.5).Seconds(), "the changes, then as many applies").ratioAtMost(1.5)
	w.requests("storm: requests of plumb", requests, nil).over(float64(w.n), "one for each object")
	return nil
}

// floorOfStorm is what it takes another client to do both. That is watched as
// a storm is, which costs the API server about as much as a write.
func (w *world) floorOfStorm(ctx context.Context) (time.Duration, error) {
	objects := slices.DeleteFunc(w.pickKind("ConfigMap", 2*w.n), func(o *unstructured.Unstructured) bool {
		_, ok, _ := unstructured.NestedString(o.Object, "data", "app.conf")
		return !ok
	})
	_, stop, err := w.sight(ctx, configMaps, floorSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	began := time.Now()
	if _, err := w.changeAll(ctx, floorSpace); err != nil {
		return 0, err
	}
	err = parallel(len(objects), func(i int) error { return w.apply(ctx, objects[i]) })
	return time.Since(began), err
}

// changeAll changes an object of every unit by hand, and returns the versions
// that they have then.
func (w *world) changeAll(ctx context.Context, namespace string) (map[string]bool, error) {
	versions := make([]string, w.n)
	err := parallel(w.n, func(i int) error {
		u, err := w.changeByHand(ctx, namespace, unitName(i))
		if err == nil {
			versions[i] = u.GetResourceVersion()
		}
		return err
	})
	changed := make(map[string]bool, w.n)
	for _, v := range versions {
		changed[v] = true
	}
	return changed, err
}

func (w *world) stormOnce(ctx context.Context) (took time.Duration, requests map[request]int, err error) {
	seen, stop, err := w.sight(ctx, configMaps, appSpace, "")
	if err != nil {
		return 0, nil, err
	}
	defer stop()
	if _, err := w.audit.since(); err != nil {
		return 0, nil, err
	}
	profiled := w.profile(ctx, "storm", time.Duration(w.n)*3*time.Millisecond)
	began := time.Now()
	changed, err := w.changeAll(ctx, appSpace)
	if err != nil {
		return 0, nil, err
	}
	back, was := map[string]bool{}, map[string]bool{}
	end, err := w.first(ctx, seen, w.patience(), func(u *unstructured.Unstructured) bool {
		if changed[u.GetResourceVersion()] {
			was[u.GetName()] = true
		} else if was[u.GetName()] && !isByHand(u) {
			back[u.GetName()] = true
		}
		return len(back) == w.n
	})
	if err != nil {
		return 0, nil, err
	}
	if err := errors.Join(profiled(), sleep(ctx, 3*time.Second)); err != nil { // events come after
		return 0, nil, err
	}
	requests, err = w.audit.since()
	return end.Sub(began), requests, err
}

const idleName = "idle: CPU of plumb, part of a core"

// counts reports whether a request is one that plumb makes none of while nothing
// happens.
func counts(r request) bool { return r.verb != "watch" && r.resource != "leases" }

// quieten waits until what there is to tell of the last step is told, but not
// longer than that takes: what comes later still is no part of it.
func (w *world) quieten(ctx context.Context) error {
	const most = 30
	for range most {
		if err := sleep(ctx, min(w.bench.idle, w.settle)); err != nil {
			return err
		}
		requests, err := w.audit.since()
		if err != nil || !slices.ContainsFunc(slices.Collect(maps.Keys(requests)), counts) {
			return err
		}
	}
	return nil
}

// idle watches plumb do nothing.
func (w *world) idle(ctx context.Context) error {
	if err := errors.Join(w.toldAll(ctx), w.quieten(ctx)); err != nil {
		return err
	}
	profiled := w.profile(ctx, "idle", w.bench.idle)
	before, _ := w.usage()
	if err := sleep(ctx, w.bench.idle); err != nil {
		return err
	}
	after, ok := w.usage()
	if err := profiled(); err != nil {
		return err
	}
	requests, err := w.audit.since()
	if err != nil {
		return err
	}
	w.requests(fmt.Sprintf("idle: requests in %s but watches", w.bench.idle), requests, counts).atMost(0)
	if ok {
		w.add(idleName, "%", 100*(after.cpu-before.cpu).Seconds()/w.bench.idle.Seconds()).atMost(0.5)
		w.add("idle: memory of plumb", "MB", after.size)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// restart ends plumb and starts it again, until it has found every unit to be
// as it should: once with what it has kept in its folder, as a process that was
// killed, and once without, as one that goes to another machine.
func (w *world) restart(ctx context.Context) error {
	// What is yet to be told of the last commits would be told by the next plumb.
	if err := w.toldAll(ctx); err != nil {
		return err
	}
	if err := w.plumb.Stop(stopPatience); err != nil {
		return err
	}
	// The bare loop has to know as much: what there is, and what should be.
	began := time.Now()
	for _, r := range append(slices.Collect(maps.Values(resources)), w.kind.resource, gitRepositories) {
		if _, err := w.client.Resource(r).List(ctx, metav1.ListOptions{ResourceVersion: "0"}); err != nil {
			return err
		}
	}
	least := (time.Since(began) + w.loop.render).Seconds()
	const what = "restart: started → every unit known to be ready"
	took, requests, err := w.startAgain(ctx, "restart")
	if err != nil {
		return err
	}
	w.seconds(what, took).over(least, "a list of each kind, everything rendered").atMost(6)
	w.requests("restart: writes", requests, request.writes).atMost(0)
	w.requests("restart: reads", requests, func(r request) bool { return !r.writes() })
	if u, ok := w.usage(); ok {
		w.cpu("restart: CPU of plumb", u.cpu)
		w.add("restart: peak memory of plumb", "MB", u.peak)
	}
	if err := errors.Join(w.plumb.Stop(stopPatience), os.RemoveAll(w.data())); err != nil {
		return err
	}
	if took, requests, err = w.startAgain(ctx, "restart-lost"); err != nil {
		return err
	}
	w.seconds(what+", its folder lost", took).over(least, "a list of each kind, everything rendered")
	w.requests("restart: writes, its folder lost", requests, request.writes)
	return nil
}

// startAgain starts plumb and waits until it has found every unit to be ready.
func (w *world) startAgain(ctx context.Context, name string) (time.Duration, map[request]int, error) {
	if _, err := w.audit.since(); err != nil {
		return 0, nil, err
	}
	began := time.Now()
	if err := w.serve(); err != nil {
		return 0, nil, err
	}
	profiled := w.profile(ctx, name, 6*time.Second)
	err := w.plumb.Until(ctx, w.patience(), func() error {
		if err := sleep(ctx, 30*time.Millisecond); err != nil { // to ask costs something too
			return err
		}
		return w.allReady(ctx)
	})
	took := time.Since(began)
	if err := errors.Join(err, profiled()); err != nil {
		return 0, nil, err
	}
	requests, err := w.audit.since()
	return took, requests, err
}

// allReady asks plumb's metrics whether it knows every unit to be as it should.
func (w *world) allReady(ctx context.Context) error {
	var m bytes.Buffer
	if err := child.Get(ctx, "http://"+w.metrics+"/metrics", &m); err != nil {
		return err
	}
	n, metric := 0, fmt.Sprintf("plumb_ready{kind=%q", w.kind.kind)
	for line := range strings.Lines(m.String()) {
		if strings.HasPrefix(line, metric) && strings.HasSuffix(line, w.kind.known) {
			n++
		}
	}
	if n < w.n {
		return fmt.Errorf("%d of %d units are ready", n, w.n)
	}
	return nil
}

// largeRepositories runs the other benchmark, of plumb and the program git.
func (b *bench) largeRepositories(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "plumb-bench-git-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, results := filepath.Join(dir, "bench-git"), filepath.Join(dir, "results.json")
	for _, args := range [][]string{
		{"go", "build", "-o", program, "./bench/git"},
		{program, "-only", "git,plumb", "-files", fmt.Sprint(b.files), "-megabytes", fmt.Sprint(b.megabytes), "-dir", dir, "-json", results},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = b.root, os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
	}
	content, err := os.ReadFile(results)
	if err != nil {
		return err
	}
	var all []struct {
		Repository, Way, Step string
		Seconds, PeakMB       float64
	}
	if err := json.Unmarshal(content, &all); err != nil {
		return err
	}
	floor := map[string]float64{}
	for _, r := range all {
		if r.Way == "git" {
			floor[r.Repository+r.Step] = r.Seconds
		}
	}
	names := map[string]string{"first": "first fetch", "incremental": "fetch of a change to one file"}
	for _, r := range all {
		name := names[r.Step]
		if r.Way != "plumb" || name == "" {
			continue
		}
		f := b.figures.add("", 0, fmt.Sprintf("big repository, %s: %s", r.Repository, name), "s", r.Seconds).
			over(floor[r.Repository+r.Step], "the program git")
		if r.Step == "incremental" {
			f.atMost(0.5)
		}
		b.figures.add("", 0, fmt.Sprintf("big repository, %s: peak memory of that", r.Repository), "MB", r.PeakMB).atMost(300)
	}
	if len(all) == 0 {
		return errors.New("bench/git measured nothing")
	}
	return nil
}
