// Package shown keeps in Redis what Argo CD's own server reads of those
// Applications that somebody looks at, while they do.
//
// There are two signs of that. Whoever asks for what is not there has the server
// ask for a refresh, which the dialect answers once it is. And the server listens
// for changes of what is open in its page, which a [Board] finds out by itself.
//
// A Board is told what looks have shown ([Board.Tell]), and draws that together
// with what it reads of the objects as they are. Which Applications there are,
// and how their status is written, is for the dialect.
package shown

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/cached"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/watch"
)

const (
	// shownFor is how long an Application is shown since there was a sign that
	// somebody looks at it. What is stored stands a little longer, so that it is
	// dropped, or goes with the process.
	shownFor  = 5 * time.Minute
	storedTTL = shownFor + time.Minute
	// lookedFor is how often it is asked which ones are open in the UI.
	lookedFor = 5 * time.Second
)

// Options are what a [Board] works with, and what the dialect knows. All have to
// be given; Server, Key, Exists and Applications are for [Board.Run] alone. The
// functions are safe for concurrent use.
type Options struct {
	Store  *cached.Store // whoever has opened it closes it
	Engine *engine.Engine
	Server discovery.DiscoveryInterface // of the cluster that plumb runs in
	Log    *slog.Logger

	// Name is what Redis calls an Application, and Key the other direction.
	Name func(types.NamespacedName) string
	Key  func(name string) types.NamespacedName
	// Exists reports whether there is an Application, and it is worked on.
	Exists func(context.Context, types.NamespacedName) bool
	// Applications is how many of them go to the cluster that plumb runs in.
	Applications func(context.Context) (int, error)
	// Wake has Applications reconciled, and does not wait for that.
	Wake func(...types.NamespacedName)

	// Selector selects the objects of a unit by their label.
	Selector func(unit string) string
	// Sensitive are the annotations of Secrets with values that nobody is shown.
	Sensitive func(engine.Unit) []string
	// Orphans are what nobody has in the namespace of an Application, as far as
	// that is known.
	Orphans func(types.NamespacedName) []cached.Node
}

// A Board is the Applications that are shown. A nil one shows nothing, and costs
// nothing. It is safe for concurrent use.
type Board struct {
	o   Options
	ctx context.Context

	mu       sync.Mutex
	of       map[types.NamespacedName]*sight
	opened   int
	children map[string]*watch.Children // by cluster
	outage   string                     // what was wrong last
}

// New returns a Board on which nothing is shown yet. What it shows ends with ctx.
func New(ctx context.Context, o Options) *Board {
	return &Board{o: o, ctx: ctx, of: make(map[types.NamespacedName]*sight), children: make(map[string]*watch.Children)}
}

// Seen is what a look has shown of an Application.
type Seen struct {
	Unit      engine.Unit
	Plan      *apply.Plan          // nil: it could not be compared
	Resources []api.ResourceStatus // as its status has them
	// Barred: it may not be what its spec says, for its project for one. Then there
	// is nothing of it to be seen, or to be acted on through Argo CD's server.
	Barred bool
}

// Open notes a sign that somebody looks at an Application.
func (b *Board) Open(key types.NamespacedName) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.of[key]
	if v == nil {
		b.opened++
		ctx, end := context.WithCancel(b.ctx)
		v = &sight{Board: b, key: key, token: fmt.Sprintf("shown %d", b.opened), end: end, news: make(chan struct{}, 1)}
		v.painter.changed = v.notify
		b.of[key] = v
		go v.run(ctx)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.signed = time.Now()
}

// Close ends showing an Application.
func (b *Board) Close(key types.NamespacedName) {
	if b == nil {
		return
	}
	b.mu.Lock()
	v := b.of[key]
	delete(b.of, key)
	b.mu.Unlock()
	if v != nil {
		v.end()
	}
}

func (b *Board) sight(key types.NamespacedName) *sight {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[key]
}

// Shows reports whether an Application is shown.
func (b *Board) Shows(key types.NamespacedName) bool { return b.sight(key) != nil }

// Wants returns what a look is requested as that is to show an Application, if
// none has yet.
func (b *Board) Wants(key types.NamespacedName) string {
	v := b.sight(key)
	if v == nil {
		return ""
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen != nil {
		return ""
	}
	return v.token
}

// Tell takes in what a look has shown, if somebody wants to know. With a refresh
// that it is to answer, it reports whether it will: the Application is reconciled
// again once Redis has what was seen.
func (b *Board) Tell(key types.NamespacedName, x Seen, refresh string) (answers bool) {
	v := b.sight(key)
	if v == nil || x.Plan == nil && !x.Barred {
		return false
	}
	out := b.isOut() // then nobody is to wait for it
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = &x
	v.notify()
	if refresh == "" || refresh == v.answered || out {
		return false
	}
	v.asked = append(v.asked, refresh)
	return true
}

// Redraw has an Application drawn anew, if it is shown.
func (b *Board) Redraw(key types.NamespacedName) {
	if v := b.sight(key); v != nil {
		v.notify()
	}
}

// Ready reports whether a refresh can be answered: what it was asked for is
// there, or can't be.
func (b *Board) Ready(key types.NamespacedName, refresh string) bool {
	v := b.sight(key)
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return refresh != "" && v.answered == refresh
}

func (b *Board) isOut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.outage != ""
}

// note says what is wrong, once.
func (b *Board) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == b.outage {
		return
	}
	if b.outage = text; err == nil {
		b.o.Log.Info("Argo CD's server is shown Applications again")
		return
	}
	b.o.Log.Error("Argo CD's server can't be shown what it asks for", "err", err)
}

// Run finds out what is open, and ends what nobody looks at any more, until ctx
// does. Only the process that works is to call it.
func (b *Board) Run(ctx context.Context) {
	tick := time.NewTicker(lookedFor)
	defer tick.Stop()
	cleared := false
	var told time.Time
	for {
		var err error
		if !cleared {
			// What another controller has stored may be long out of date.
			err = b.o.Store.Clear(ctx)
			cleared = err == nil
		}
		if err == nil {
			err = b.find(ctx)
		}
		if err == nil && time.Since(told) > clusterTold {
			if err = b.tellCluster(ctx); err == nil {
				told = time.Now()
			}
		}
		if ctx.Err() == nil {
			b.note(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// find notes what is open.
func (b *Board) find(ctx context.Context) error {
	names, err := b.o.Store.Open(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if k := b.o.Key(name); b.o.Exists(ctx, k) {
			news := b.sight(k) == nil
			b.Open(k)
			if news {
				b.o.Wake(k)
			}
		}
	}
	for _, k := range b.idle(time.Now()) {
		b.Close(k)
	}
	return nil
}

// idle are those that nobody looks at any more.
func (b *Board) idle(now time.Time) (keys []types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, v := range b.of {
		v.mu.Lock()
		if now.Sub(v.signed) > shownFor {
			keys = append(keys, k)
		}
		v.mu.Unlock()
	}
	return keys
}
