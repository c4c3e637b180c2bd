package parallel

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoMoreThanSomeRunAtATimeAndAllDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		items := make([]int, 100)
		var running, most, done atomic.Int32
		err := Each(t.Context(), 7, items, func(i, _ int) error {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Duration(i) * time.Second)
			running.Add(-1)
			done.Add(1)
			return nil
		})
		if err != nil || done.Load() != 100 || most.Load() != 7 {
			t.Errorf("%d were done, %d at a time, %v", done.Load(), most.Load(), err)
		}
	})
}

func TestErrorsStandInTheOrderOfTheItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := Each(t.Context(), 3, []string{"a", "b", "c"}, func(i int, item string) error {
			time.Sleep(time.Duration(3-i) * time.Second)
			if item == "b" {
				return nil
			}
			return fmt.Errorf("%s is wrong", item)
		})
		if err == nil || err.Error() != "a is wrong\nc is wrong" {
			t.Errorf("it says %v", err)
		}
	})
}

func TestNothingIsBegunAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the end")
		var begun atomic.Int32
		err := Each(ctx, 2, make([]int, 10), func(i, _ int) error {
			begun.Add(1)
			if i == 1 {
				cancel(why)
			}
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, why) || begun.Load() != 2 {
			t.Errorf("%d were begun, %v", begun.Load(), err)
		}
	})
}
