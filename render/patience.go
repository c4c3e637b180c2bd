package render

import (
	"context"
	"fmt"
	"sync"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/tree"
)

// A builder can't be interrupted. A render that takes too long, or that nobody
// waits for any more, is left to itself: whoever asked has an answer, and the
// goroutine ends when the builder does. Until then the same render is not begun
// again, so that asking again does not make two of it.

// left are the renders that were given up on and have not ended.
var left struct {
	sync.Mutex
	running map[string]bool
}

// tooSlow is the error for a render that takes longer than it may. It depends
// on the machine as well, so another try is not in vain.
func tooSlow(format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Retry, Reason: TooSlow, Err: fmt.Errorf(format, args...),
		Hint: "make several units of it, or look for what makes it large"}
}

// withLimits renders within limits, and within the time that ctx leaves.
func withLimits(ctx context.Context, t tree.Tree, o Options, l limits) (Result, error) {
	key := o.Digest() + " " + o.Revision + " " + string(tree.RootID(t))
	if isLeft(key) {
		return Result{}, tooSlow("a render of the same files that was given up has not ended yet")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.patience, tooSlow("the render takes longer than %s", l.patience))
	defer cancel()
	type outcome struct {
		r   Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := attempt(ctx, t, o, l)
		done <- outcome{r, err}
		leave(key, false)
	}()
	select {
	case got := <-done:
		return got.r, got.err
	case <-ctx.Done():
	}
	leave(key, true)
	select {
	case got := <-done: // it ended meanwhile
		leave(key, false)
		return got.r, got.err
	default:
		return Result{}, context.Cause(ctx)
	}
}

func isLeft(key string) bool {
	left.Lock()
	defer left.Unlock()
	return left.running[key]
}

func leave(key string, running bool) {
	left.Lock()
	defer left.Unlock()
	if left.running == nil {
		left.running = map[string]bool{}
	}
	if running {
		left.running[key] = true
	} else {
		delete(left.running, key)
	}
}
