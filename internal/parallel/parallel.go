// Package parallel runs a function for each element of a slice, some at a time.
package parallel

import (
	"context"
	"errors"
	"sync"
)

// Each calls f for each item and its index, for at most n at a time, and
// returns when all calls have. Their errors are joined in the order of the
// items. Once ctx is done none are begun, and that is one more error.
func Each[T any](ctx context.Context, n int, items []T, f func(i int, item T) error) error {
	errs := make([]error, len(items)+1)
	slots := make(chan struct{}, n)
	var wg sync.WaitGroup
	for i, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			errs[len(items)] = context.Cause(ctx)
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i, item)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
