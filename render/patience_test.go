package render

import (
	"context"
	"errors"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

// A stuck is a tree that doesn't answer until it may.
type stuck struct {
	tree.Tree
	asked, may chan struct{}
}

func (s stuck) ReadFile(name string) ([]byte, error) {
	s.asked <- struct{}{}
	<-s.may
	return s.Tree.ReadFile(name)
}

var oneObject = tree.FromFiles(map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"})

func TestWhoNoLongerWaitsForARenderIsNotHeldUp(t *testing.T) {
	s := stuck{oneObject, make(chan struct{}, 10), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Objects(ctx, s, Options{})
		done <- err
	}()
	<-s.asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// It is not begun again as long as it goes on.
	if _, err := Objects(t.Context(), s, Options{}); !fault.Is(err, "RenderTooSlow") {
		t.Errorf("%v", err)
	}
	close(s.may)
	for {
		_, err := Objects(t.Context(), s, Options{})
		if err == nil {
			break
		}
		if !fault.Is(err, "RenderTooSlow") {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // until the deadline of the test
	}
}

func TestARenderThatTakesTooLongIsGivenUp(t *testing.T) {
	s := stuck{oneObject, make(chan struct{}, 10), make(chan struct{})}
	defer close(s.may)
	short := defaultLimits
	short.patience = time.Millisecond
	_, err := withLimits(t.Context(), s, Options{NamePrefix: "x-"}, short)
	if f := fault.Of(err); f.Reason != "RenderTooSlow" || f.Next != fault.Retry {
		t.Errorf("%v", err)
	}
}

// Whoever brings a schema runs alone. Those who wait for their turn to do so
// don't keep others from theirs.
func TestNobodyWaitsBehindWhoWaits(t *testing.T) {
	schema.RLock() // a build that goes on for long
	defer schema.RUnlock()
	alone := tree.FromFiles(map[string]string{"kustomization.yaml": "resources: [a.yaml]\nopenapi: {path: s.json}\n", "s.json": `{"definitions": {}}`,
		"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"})
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := Objects(ctx, alone, Options{})
		waiting <- err
	}()
	for range 20 {
		if _, err := Objects(t.Context(), oneObject, Options{}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// What others have to wait for is small.
func TestWhatRunsAloneIsSmall(t *testing.T) {
	files := map[string]string{"kustomization.yaml": "resources: [a.yaml]\nopenapi: {path: s.json}\n", "s.json": `{"definitions": {}}`}
	for range 2_100 {
		files["a.yaml"] += "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	}
	if _, err := Objects(t.Context(), tree.FromFiles(files), Options{}); !fault.Is(err, "ManifestTooLarge") {
		t.Errorf("%v", err)
	}
}
