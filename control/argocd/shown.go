package argocd

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

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
	// redrawn is how long what is stored stands while nothing is known to change.
	redrawn = time.Minute
)

// shown keeps in Redis what Argo CD's server reads of those Applications that
// somebody looks at. There are two signs of that: whoever asks for what is not
// there has the server ask for a refresh, which is answered once it is; and the
// server listens for changes of what is open in the UI. A nil one shows nothing,
// and costs nothing. It is safe for concurrent use.
type shown struct {
	store  *cached.Store
	engine *engine.Engine
	log    *slog.Logger
	ctx    context.Context
	names  func(types.NamespacedName) string // what Redis calls an Application
	wake   func(...types.NamespacedName)     // have it reconciled

	orphans *orphans

	mu       sync.Mutex
	of       map[types.NamespacedName]*sight
	opened   int
	children map[string]*watch.Children // by cluster
	outage   string                     // what was wrong last
}

// A sight is one Application that is shown.
type sight struct {
	*shown
	key   types.NamespacedName
	token string
	end   context.CancelFunc
	news  chan struct{} // there is something to draw, with room for one

	mu       sync.Mutex
	signed   time.Time // when there was a sign last
	seen     *seen
	asked    []string // refreshes that are to be answered
	answered string   // the last one that was

	painter // of its own goroutine
}

// seen is what a look has shown.
type seen struct {
	unit      engine.Unit
	plan      *apply.Plan
	resources []api.ResourceStatus
	// barred: it may not be what its spec says, for its project for one. Then there
	// is nothing of it to be seen, or to be acted on through Argo CD's server.
	barred bool
}

// open notes a sign that somebody looks at an Application.
func (s *shown) open(key types.NamespacedName) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.of[key]
	if v == nil {
		s.opened++
		ctx, end := context.WithCancel(s.ctx)
		v = &sight{shown: s, key: key, token: fmt.Sprintf("shown %d", s.opened), end: end, news: make(chan struct{}, 1)}
		v.painter.changed = v.notify
		s.of[key] = v
		go v.run(ctx)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.signed = time.Now()
}

// close ends showing an Application.
func (s *shown) close(key types.NamespacedName) {
	if s == nil {
		return
	}
	s.mu.Lock()
	v := s.of[key]
	delete(s.of, key)
	s.mu.Unlock()
	if v != nil {
		v.end()
	}
}

func (s *shown) sight(key types.NamespacedName) *sight {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[key]
}

// wants returns what a look is requested as that is to show an Application, if
// none has yet.
func (s *shown) wants(key types.NamespacedName) string {
	v := s.sight(key)
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

// tell takes in what a look has shown, if somebody wants to know. With a refresh
// that it is to answer, it reports whether it will: the Application is reconciled
// again once Redis has what was seen.
func (s *shown) tell(key types.NamespacedName, x seen, refresh string) (answers bool) {
	v := s.sight(key)
	if v == nil || x.plan == nil && !x.barred {
		return false
	}
	out := s.isOut() // then nobody is to wait for it
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

// stale has an Application drawn anew, if it is shown.
func (s *shown) stale(key types.NamespacedName) {
	if v := s.sight(key); v != nil {
		v.notify()
	}
}

// answers reports whether a refresh can be answered: what it was asked for is
// there, or can't be.
func (s *shown) answers(key types.NamespacedName, refresh string) bool {
	v := s.sight(key)
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return refresh != "" && v.answered == refresh
}

func (v *sight) notify() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// pace is the least time between two drawings.
const pace = 300 * time.Millisecond

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
	if !x.barred {
		app, err = v.paint(limited, v.shown, x)
		for _, o := range v.orphans.found(v.key) {
			app.Tree.Orphaned = append(app.Tree.Orphaned, o.node())
		}
	}
	if err == nil {
		err = v.store.Put(limited, v.names(v.key), app, storedTTL)
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
	v.wake(v.key)
}

// gone drops what is stored of an Application that nobody looks at.
func (v *sight) gone() {
	v.painter.stop()
	if v.sight(v.key) != nil {
		return // somebody looks at it again
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), 5*time.Second)
	defer cancel()
	v.note(v.store.Drop(ctx, v.names(v.key)))
}

func (s *shown) isOut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outage != ""
}

// note says what is wrong, once.
func (s *shown) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == s.outage {
		return
	}
	if s.outage = text; err == nil {
		s.log.Info("Argo CD's server is shown Applications again")
		return
	}
	s.log.Error("Argo CD's server can't be shown what it asks for", "err", err)
}

// run finds out what is open, and ends what nobody looks at any more. It is a
// Runnable of the manager, so that only the process that works does.
func (s *shown) run(ctx context.Context, exists func(types.NamespacedName) bool, key func(string) types.NamespacedName, clusters func(context.Context) error) error {
	tick := time.NewTicker(lookedFor)
	defer tick.Stop()
	cleared := false
	var told time.Time
	for {
		var err error
		if !cleared {
			// What another controller has stored may be long out of date.
			err = s.store.Clear(ctx)
			cleared = err == nil
		}
		if err == nil {
			err = s.look(ctx, exists, key)
		}
		if err == nil && time.Since(told) > clustersTold {
			if err = clusters(ctx); err == nil {
				told = time.Now()
			}
		}
		if ctx.Err() == nil {
			s.note(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look notes what is open.
func (s *shown) look(ctx context.Context, exists func(types.NamespacedName) bool, key func(string) types.NamespacedName) error {
	names, err := s.store.Open(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if k := key(name); exists(k) {
			news := s.sight(k) == nil
			s.open(k)
			if news {
				s.wake(k)
			}
		}
	}
	for _, k := range s.idle(time.Now()) {
		s.close(k)
	}
	return nil
}

// idle are those that nobody looks at any more.
func (s *shown) idle(now time.Time) (keys []types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range s.of {
		v.mu.Lock()
		if now.Sub(v.signed) > shownFor {
			keys = append(keys, k)
		}
		v.mu.Unlock()
	}
	return keys
}
