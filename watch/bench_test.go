package watch

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
