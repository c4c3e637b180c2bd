package loop_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/engine/loop"
)

// A record is what was looked at, in order, and when.
type record struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

func (r *record) unreachable(_ context.Context, unit string, since time.Time, why error) time.Duration {
	r.add("%s since %s: %v", unit, since.Sub(r.began), why)
	return 0
}

// bubble runs f with a clock of its own, and ends what it has started.
func bubble(t *testing.T, f func(t *testing.T, ctx context.Context, r *record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f(t, ctx, &record{began: time.Now()})
		cancel()
		time.Sleep(time.Minute) // tickers of the queue see that it is over
	})
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func answers(context.Context, string) error { return nil }

func TestWhatIsAskedForComesBeforeWhatNothingWaitsFor(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 1, Elsewhere: 1, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			r.add("%s", unit)
			return loop.Result{}
		}})
		for _, u := range []string{"idle", "changed", "asked", "other"} {
			l.Put(u, "")
		}
		l.Queue(loop.Idle, "idle")
		l.Queue(loop.Normal, "changed", "other")
		l.Queue(loop.Asked, "asked")
		l.Start(ctx)
		synctest.Wait()
		want(t, r.take(), "asked", "changed", "other", "idle")
	})
}

func TestALookSaysWhenToLookAgain(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 2, Elsewhere: 1, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			r.add("%s at %s", unit, time.Since(r.began))
			return loop.Result{Again: time.Minute}
		}})
		l.Start(ctx)
		l.Put("a", "")
		l.Queue(loop.Normal, "a")
		synctest.Wait()
		time.Sleep(2*time.Minute + time.Second)
		l.Queue(loop.Normal, "a") // which does not wait for the minute, and begins another
		synctest.Wait()
		want(t, r.take(), "a at 0s", "a at 1m0s", "a at 2m0s", "a at 2m1s")
		l.Delete("a")
		time.Sleep(10 * time.Minute)
		want(t, r.take())
	})
}

func TestAUnitIsLookedAtByOneWorkerAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		var mu sync.Mutex
		at := 0
		l := loop.New(loop.Options{Workers: 8, Elsewhere: 8, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			mu.Lock()
			if at++; at > 1 {
				t.Error("looked at twice at once")
			}
			mu.Unlock()
			time.Sleep(3 * time.Second)
			mu.Lock()
			at--
			mu.Unlock()
			r.add("%s", unit)
			return loop.Result{}
		}})
		l.Start(ctx)
		l.Put("a", "")
		l.Queue(loop.Normal, "a")
		time.Sleep(time.Second)
		l.Queue(loop.Normal, "a") // it was changed while it was looked at
		l.Put("a", "other")       // and has moved
		time.Sleep(time.Minute)
		want(t, r.take(), "a", "a")
	})
}

// hung answers for every server but one, until it is told to.
type hung struct {
	mu     sync.Mutex
	well   bool
	server string
	pings  int
}

func (h *hung) ping(ctx context.Context, server string) error {
	h.mu.Lock()
	well := h.well || server != h.server
	h.pings++
	h.mu.Unlock()
	if well {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestAServerThatDoesNotAnswerHoldsUpNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		h := &hung{server: "hung"}
		l := loop.New(loop.Options{
			Workers: 2, Elsewhere: 2, Ping: h.ping,
			Look: func(ctx context.Context, unit string) loop.Result {
				h.mu.Lock()
				well := h.well
				h.mu.Unlock()
				if unit[0] == 'h' && !well {
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), loop.ErrUnreachable) {
						t.Errorf("%s ended for %v", unit, context.Cause(ctx))
					}
					return loop.Result{Again: time.Hour}
				}
				r.add("%s", unit)
				return loop.Result{}
			},
			Unreachable: r.unreachable,
		})
		l.Start(ctx)
		for i := range 5 {
			l.Put(fmt.Sprintf("h%d", i), "hung")
		}
		l.Queue(loop.Normal, "h0", "h1", "h2", "h3") // and one that has nothing to do
		l.Put("a", "")
		l.Put("b", "well")
		l.Queue(loop.Normal, "a", "b")
		synctest.Wait()
		got := r.take()
		slices.Sort(got)
		want(t, got, "a", "b")

		time.Sleep(16 * time.Second)
		got = r.take()
		slices.Sort(got)
		want(t, got, "h0 since 10s: context deadline exceeded", "h1 since 10s: context deadline exceeded", "h2 since 10s: context deadline exceeded", "h3 since 10s: context deadline exceeded", "h4 since 10s: context deadline exceeded")
		h.mu.Lock()
		h.pings = 0
		h.mu.Unlock()
		time.Sleep(time.Hour)
		h.mu.Lock()
		if h.pings > 150 {
			t.Errorf("%d questions in an hour", h.pings)
		}
		h.well = true
		h.mu.Unlock()
		time.Sleep(time.Minute)
		got = r.take()
		slices.Sort(got)
		want(t, got, "h0", "h1", "h2", "h3", "h4")
	})
}

// busy starts a loop with one worker for what nothing waits for, and one for the
// rest. A look at the unit busy takes ten seconds, and others none.
func (r *record) busy(ctx context.Context) *loop.Loop {
	l := loop.New(loop.Options{Workers: 2, Elsewhere: 2, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
		if unit == "busy" {
			time.Sleep(10 * time.Second)
		}
		r.add("%s", unit)
		return loop.Result{}
	}})
	l.Start(ctx)
	return l
}

// A unit waits for room once, however often it is queued meanwhile.
func TestAUnitWaitsForRoomOnce(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := r.busy(ctx)
		l.Put("busy", "")
		l.Queue(loop.Idle, "busy")
		synctest.Wait()
		for range 5 {
			for _, u := range []string{"a", "b"} {
				l.Put(u, "")
				l.Queue(loop.Idle, u)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		want(t, r.take(), "busy", "a", "b")
	})
}

// Who waits for room gets it also if the one before is no more, or has been looked
// at for another reason.
func TestRoomIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := r.busy(ctx)
		for _, u := range []string{"busy", "gone", "changed", "last"} {
			l.Put(u, "")
			l.Queue(loop.Idle, u)
			synctest.Wait()
		}
		l.Delete("gone")
		l.Queue(loop.Normal, "changed")
		time.Sleep(time.Minute)
		want(t, r.take(), "changed", "busy", "changed", "last")
	})
}

// What has changed comes first also where all units are to be looked at some time
// later, as they always are.
func TestAChangeComesBeforeIntervals(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 1, Elsewhere: 1, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			time.Sleep(time.Second)
			r.add("%s", unit)
			return loop.Result{Again: time.Hour}
		}})
		l.Start(ctx)
		units := []string{"a", "b", "c", "d"}
		for _, u := range units {
			l.Put(u, "")
			l.Queue(loop.Normal, u)
		}
		time.Sleep(time.Minute)
		r.take()
		l.Queue(loop.Idle, units...) // a commit that does not touch them
		time.Sleep(1500 * time.Millisecond)
		l.Queue(loop.Normal, "d") // and one that touches one of them
		time.Sleep(time.Minute)
		want(t, r.take(), "a", "b", "d", "c")
	})
}

// What somebody waits for comes before intervals, too.
func TestWhatIsAwaitedComesBeforeIntervals(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 1, Elsewhere: 1, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			if unit == "busy" {
				time.Sleep(5 * time.Second)
			}
			r.add("%s", unit)
			return loop.Result{Again: time.Minute, Awaited: unit == "awaited"}
		}})
		l.Start(ctx)
		for _, u := range []string{"a", "b", "awaited", "busy"} {
			l.Put(u, "")
		}
		l.Queue(loop.Normal, "a", "b", "awaited")
		time.Sleep(59 * time.Second)
		l.Queue(loop.Normal, "busy") // until all are due
		time.Sleep(10 * time.Second)
		want(t, r.take(), "a", "b", "awaited", "busy", "awaited", "a", "b")
	})
}

// What nothing waits for leaves workers to the rest, however much it is.
func TestWhatNothingWaitsForHasHalfOfTheWorkers(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		var at, most atomic.Int32
		l := loop.New(loop.Options{Workers: 4, Elsewhere: 4, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			if unit == "changed" {
				r.add("%s at %s", unit, time.Since(r.began))
				return loop.Result{}
			}
			if now := at.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Second)
			at.Add(-1)
			r.add("idle")
			return loop.Result{}
		}})
		l.Start(ctx)
		l.Put("changed", "")
		for i := range 20 {
			u := fmt.Sprint("idle", i)
			l.Put(u, "")
			l.Queue(loop.Idle, u)
		}
		time.Sleep(1500 * time.Millisecond)
		l.Queue(loop.Normal, "changed")
		synctest.Wait()
		want(t, r.take(), "idle", "idle", "changed at 1.5s")
		time.Sleep(20 * time.Second)
		if got := r.take(); len(got) != 18 || most.Load() != 2 {
			t.Errorf("%d were looked at, up to %d at once", len(got), most.Load())
		}
	})
}

// What nothing waits for makes way while something else is looked at, and comes to
// no stop.
func TestWhatNothingWaitsForMakesWay(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 8, Elsewhere: 8, Ping: answers, Look: func(_ context.Context, unit string) loop.Result {
			if unit == "changed" {
				time.Sleep(3500 * time.Millisecond)
				return loop.Result{}
			}
			time.Sleep(time.Second)
			r.add("at %s", time.Since(r.began))
			return loop.Result{}
		}})
		l.Put("changed", "")
		l.Queue(loop.Normal, "changed")
		l.Start(ctx)
		synctest.Wait()
		for i := range 8 {
			u := fmt.Sprint("idle", i)
			l.Put(u, "")
			l.Queue(loop.Idle, u)
		}
		time.Sleep(time.Minute)
		want(t, r.take(), "at 1s", "at 2s", "at 3s", "at 4s", "at 4.5s", "at 4.5s", "at 4.5s", "at 5s")
	})
}

// A look that takes long at a server that answers is the unit's own affair: a
// webhook, a huge object. It goes on, and its unit has few workers from then on.
func TestASlowUnitHoldsUpOnlyItsLike(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{Workers: 4, Elsewhere: 4, Ping: answers, Look: func(ctx context.Context, unit string) loop.Result {
			if unit != "quick" {
				select {
				case <-time.After(time.Minute):
				case <-ctx.Done():
					t.Error("a look was cut short")
				}
			}
			r.add("%s at %s", unit, time.Since(r.began))
			return loop.Result{}
		}})
		l.Start(ctx)
		slow := []string{"s0", "s1", "s2", "s3"}
		for _, u := range append(slow, "quick") {
			l.Put(u, "")
		}
		l.Queue(loop.Normal, slow...)
		time.Sleep(2 * time.Minute) // now it is known
		r.take()
		l.Queue(loop.Normal, slow...)
		time.Sleep(time.Second)
		l.Queue(loop.Normal, "quick")
		synctest.Wait()
		want(t, r.take(), "quick at 2m1s")
		time.Sleep(10 * time.Minute)
		if got := r.take(); len(got) != 4 {
			t.Errorf("got %q", got)
		}
	})
}

// What answers badly at once, such as a port that nobody listens on, is not
// asked for each unit.
func TestNoAnswerAtOnceIsFoundOutAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		l := loop.New(loop.Options{
			Workers: 1, Elsewhere: 1,
			Ping: func(context.Context, string) error { return errors.New("connection refused") },
			Look: func(context.Context, string) loop.Result {
				r.add("look")
				return loop.Result{Unanswered: true, Again: time.Second}
			},
			Unreachable: r.unreachable,
		})
		l.Start(ctx)
		l.Put("a", "gone")
		l.Queue(loop.Normal, "a")
		time.Sleep(time.Hour)
		want(t, r.take(), "look", "a since 0s: connection refused")
	})
}

// A server that dies while all of its units rest is found out by who watches it,
// and nobody is told of one that answers.
func TestAServerThatIsDoubtedIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, r *record) {
		h := &hung{server: "hung"}
		var untold sync.Once
		l := loop.New(loop.Options{
			Workers: 1, Elsewhere: 1, Ping: h.ping,
			Look: func(_ context.Context, unit string) loop.Result { r.add("%s", unit); return loop.Result{} },
			Unreachable: func(ctx context.Context, unit string, since time.Time, why error) (again time.Duration) {
				untold.Do(func() { again = time.Minute })
				r.unreachable(ctx, unit, since, why)
				return again
			},
		})
		l.Put("h", "hung")
		l.Put("w", "well")
		l.Doubt("hung", time.Now()) // nothing is asked before the start
		l.Start(ctx)
		l.Doubt("nowhere", time.Now())
		time.Sleep(time.Minute)
		since := time.Now()
		for range 20 { // each watch says so
			l.Doubt("well", since)
			l.Doubt("hung", since)
			time.Sleep(time.Second)
		}
		want(t, r.take(), "h since 1m0s: context deadline exceeded")
		time.Sleep(time.Minute) // it could not be told at once
		want(t, r.take(), "h since 1m0s: context deadline exceeded")
		h.mu.Lock()
		h.well = true
		h.mu.Unlock()
		time.Sleep(time.Minute)
		want(t, r.take(), "h")
		l.Doubt("hung", time.Now())
		time.Sleep(time.Minute)
		want(t, r.take())
	})
}
