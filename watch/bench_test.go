package watch

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func member(unit, i, version int, value string) *unstructured.Unstructured {
	o := cm(version, value, "")
	o.SetNamespace(fmt.Sprintf("team-%d", unit))
	o.SetName(fmt.Sprintf("web-config-%d", i))
	return o
}

// crowd is a watch with one stream, in which units follow ten objects each, and
// have settled them.
func crowd(units int) (*Watch, *stream) {
	w := newWatch(context.Background(), nil, nil, func(string) {})
	key := streamKey{resource: configMaps, selector: "label"}
	s := newStream(w.ctx, key, w.notify, w.shows)
	w.streams[key] = s
	var list []any
	for u := range units {
		for i := range 10 {
			list = append(list, member(u, i, 5, "x"))
		}
	}
	_ = s.Replace(list, "10")
	m := called{RESTMapping: &apimeta.RESTMapping{Resource: configMaps}}
	for u := range units {
		unit := fmt.Sprintf("Kustomization/flux-system/team-%d", u)
		var targets []Target
		for i := range 10 {
			targets = append(targets, Target{
				Ref:     object.Ref{Kind: "ConfigMap", Namespace: fmt.Sprintf("team-%d", u), Name: fmt.Sprintf("web-config-%d", i)},
				Version: "v1", Scope: Scope{Selector: "label"}, Managers: managers,
			})
		}
		if _, err := w.take(unit, targets, map[schema.GroupVersionKind]called{targets[0].kind(): m}, 0); err != nil {
			panic(err)
		}
		for i, t := range targets {
			w.Settle(unit, t.Ref, "sha256:00112233445566778899aabbccddeeff", member(u, i, 5, "x"))
		}
	}
	return w, s
}

// BenchmarkRecord says how much memory an object takes that is followed and
// settled.
func BenchmarkRecord(b *testing.B) {
	const units = 1000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		w, _ := crowd(units)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(units*10), "B/object")
		runtime.KeepAlive(w)
	}
}

// BenchmarkEvent is an event of a followed object that changes nothing that
// counts.
func BenchmarkEvent(b *testing.B) {
	_, s := crowd(100)
	var events []*unstructured.Unstructured
	for i := range 1000 {
		events = append(events, member(i/10, i%10, 20, "x"))
	}
	n := 0
	for b.Loop() {
		e := events[n%len(events)]
		e.Object["metadata"].(map[string]any)["resourceVersion"] = fmt.Sprint(20 + n)
		_ = s.Update(e)
		n++
	}
}

// BenchmarkStranger says how much memory an object takes that is in a stream
// and that nobody follows, and how long its events take.
func BenchmarkStranger(b *testing.B) {
	const objects = 10000
	s := newStream(context.Background(), streamKey{resource: configMaps}, func(string) {}, func(*stream) {})
	var events []*unstructured.Unstructured
	for i := range objects {
		events = append(events, member(i/10, i%10, 5, "x"))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, e := range events {
		_ = s.Update(e)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := 0
	for b.Loop() {
		_ = s.Update(events[n%len(events)])
		n++
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/objects, "B/object")
}

// BenchmarkStream says how much memory a watch takes of one object.
func BenchmarkStream(b *testing.B) {
	env := kubetest.Start(b)
	c, err := cluster.New("", env.Config)
	if err != nil {
		b.Fatal(err)
	}
	self, err := c.As("")
	if err != nil {
		b.Fatal(err)
	}
	const streams = 100
	for b.Loop() {
		ctx, stop := context.WithCancel(b.Context())
		w := newWatch(ctx, self, nil, func(string) {})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range streams {
			w.stream(streamKey{resource: configMaps, namespace: "default", name: fmt.Sprint("none-", i)})
		}
		kubetest.Eventually(b, time.Minute, func() error {
			for _, s := range w.streams {
				if synced, err := s.state(); !synced {
					return fmt.Errorf("it is not synced: %w", err)
				}
			}
			return nil
		})
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/streams, "B/stream")
		stop()
	}
}
