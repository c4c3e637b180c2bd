package render_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
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
		_, err := objects(ctx, s, options{})
		done <- err
	}()
	<-s.asked
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// It is not begun again as long as it goes on.
	if _, err := objects(t.Context(), s, options{}); !fault.Is(err, "RenderTooSlow") {
		t.Errorf("%v", err)
	}
	close(s.may)
	for {
		_, err := objects(t.Context(), s, options{})
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
	_, err := render.WithPatience(t.Context(), s, options{NamePrefix: "x-"}.Render(), time.Millisecond)
	if f := fault.Of(err); f.Reason != "RenderTooSlow" || f.Next != fault.Retry {
		t.Errorf("%v", err)
	}
}
