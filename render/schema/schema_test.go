package schema

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

var (
	own     = yaml.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	foreign = yaml.TypeMeta{APIVersion: "example.com/v1", Kind: "Thing"}
)

const definition = `{"definitions": {"com.example.v1.Thing": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Thing"}]}}}`

func TestWhatIsAddedIsGoneAfterwards(t *testing.T) {
	release, err := Alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := openapi.AddSchema([]byte(definition)); err != nil {
		t.Fatal(err)
	}
	if openapi.SchemaForResourceType(foreign) == nil || openapi.SchemaForResourceType(own) == nil {
		t.Error("whoever is alone has not both what it added and what was there")
	}
	release()
	if release, err = Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer release()
	if openapi.SchemaForResourceType(foreign) != nil || openapi.SchemaForResourceType(own) == nil {
		t.Error("the schema is not what it was")
	}
}

// Those who wait for their turn alone don't keep others from theirs.
func TestNobodyWaitsBehindWhoWaits(t *testing.T) {
	release, err := Hold(t.Context()) // a build that goes on for long
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := Alone(ctx)
		waiting <- err
	}()
	for range 20 {
		release, err := Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		drop()
		load()
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	drop()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc), "bytes-kept")
}
