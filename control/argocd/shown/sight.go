package shown

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/control/argocd/cached"
)

const (
	// redrawn is how long what is stored stands while nothing is known to change.
	redrawn = time.Minute
	// pace is the least time between two drawings.
	pace = 300 * time.Millisecond
)

// A sight is one Application that is shown.
type sight struct {
	*Board
	key   types.NamespacedName
	token string
	end   context.CancelFunc
	news  chan struct{} // there is something to draw, with room for one

	mu       sync.Mutex
	signed   time.Time // when there was a sign last
	seen     *Seen
	asked    []string // refreshes that are to be answered
	answered string   // the last one that was

	painter // of its own goroutine
}

func (v *sight) notify() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// run draws an Application whenever something of it is another, until it is no
// longer shown.
func (v *sight) run(ctx context.Context) {
	defer v.gone()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.news:
		case <-time.After(redrawn):
		}
		v.draw(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// draw stores what is to be seen now, and answers who waits for that.
func (v *sight) draw(ctx context.Context) {
	v.mu.Lock()
	x, asked := v.seen, v.asked
	v.asked = nil
	v.mu.Unlock()
	if x == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var app cached.App
	var err error
	if !x.Barred {
		app, err = v.paint(limited, v.Board, x)
		app.Tree.Orphaned = v.o.Orphans(v.key)
	}
	if err == nil {
		err = v.o.Store.Put(limited, v.o.Name(v.key), app, storedTTL)
	}
	if ctx.Err() == nil {
		v.note(err)
	}
	if len(asked) == 0 {
		return
	}
	v.mu.Lock()
	v.answered = asked[len(asked)-1]
	v.mu.Unlock()
	v.o.Wake(v.key)
}

// gone drops what is stored of an Application that nobody looks at.
func (v *sight) gone() {
	v.painter.stop()
	if v.sight(v.key) != nil {
		return // somebody looks at it again
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), 5*time.Second)
	defer cancel()
	v.note(v.o.Store.Drop(ctx, v.o.Name(v.key)))
}
