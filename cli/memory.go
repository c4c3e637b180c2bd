package cli

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryTidier gives memory back to the system once a burst of work is over.
// The garbage collector alone would keep room for the next one, as much as
// what is in use, for as long as little is allocated.
type memoryTidier struct {
	trim func() // lets go of what will hardly be asked for again
}

// gcPercent is how much the heap may grow between two collections, unless GOGC
// says otherwise: half of Go's own default. It takes an eighth off the memory
// of a thousand units, for some hundredths of the cores while they are made.
const gcPercent = 50

const (
	tidyEvery = 5 * time.Second
	burst     = 64 << 20 // bytes allocated between two looks
	quiet     = 16 << 20
)

// Start implements [sigs.k8s.io/controller-runtime/pkg/manager.Runnable].
func (m memoryTidier) Start(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	var last uint64
	untidy := false
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(sample)
		allocated := sample[0].Value.Uint64()
		switch since := allocated - last; {
		case since > burst:
			untidy = true
		case since < quiet && untidy:
			m.trim()
			debug.FreeOSMemory()
			untidy = false
		}
		last = allocated
	}
}

// NeedLeaderElection implements
// [sigs.k8s.io/controller-runtime/pkg/manager.LeaderElectionRunnable].
func (memoryTidier) NeedLeaderElection() bool { return false }
