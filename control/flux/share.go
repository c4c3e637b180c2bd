package flux

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// slowAfter is how long a look may take before it counts as one at a server
// that does not answer.
const slowAfter = 20 * time.Second

// A share divides the workers of a controller among the servers that they wait
// for, so that none of those keeps the objects of another from being looked at.
// Whoever finds no room is woken when there is some.
type share struct {
	each  int // workers for one server
	doubt int // for all servers together of which it is not known that they answer
	all   int // for all servers together
	wake  func(...types.NamespacedName)

	mu      sync.Mutex
	servers map[string]*load
	doubted int // workers, of doubt
	busy    int // workers, of all
	slow    map[types.NamespacedName]bool
	waiting []waiter
}

// A load is what a server has to do.
type load struct {
	busy    int
	answers bool // the last time
}

type waiter struct {
	server string
	key    types.NamespacedName
}

// newShare divides workers, of which own are for those who wait for no server.
func newShare(workers, own int, wake func(...types.NamespacedName)) *share {
	all := max(1, workers-own)
	return &share{
		each: max(1, workers/4), doubt: max(1, all*2/3), all: all, wake: wake,
		servers: make(map[string]*load), slow: make(map[types.NamespacedName]bool),
	}
}

// enter takes a worker for an object at a server. leave gives it back, and
// says whether the server answered. An object at which it did not the last time
// shares only with its like: an answer may be slow for what one object asks of
// a server that is well.
func (s *share) enter(server string, key types.NamespacedName) (leave func(answered bool), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slow[key] {
		server += " (slow)"
	}
	l := s.servers[server]
	if l == nil {
		l = &load{}
		s.servers[server] = l
	}
	doubted := !l.answers
	if l.busy >= s.each || s.busy >= s.all || doubted && s.doubted >= s.doubt {
		s.wait(waiter{server, key})
		return nil, false
	}
	l.busy++
	s.busy++
	if doubted {
		s.doubted++
	}
	began := time.Now()
	return func(answered bool) {
		s.left(server, l, key, doubted, answered && time.Since(began) < slowAfter)
	}, true
}

func (s *share) wait(w waiter) {
	for _, other := range s.waiting {
		if other == w {
			return
		}
	}
	s.waiting = append(s.waiting, w)
}

func (s *share) left(server string, l *load, key types.NamespacedName, doubted, answered bool) {
	s.mu.Lock()
	l.busy--
	s.busy--
	if doubted {
		s.doubted--
	}
	l.answers = answered
	if answered {
		delete(s.slow, key)
	} else {
		s.slow[key] = true
		if l.busy == 0 {
			delete(s.servers, server) // which says the same
		}
	}
	next := s.admit()
	s.mu.Unlock()
	if len(next) > 0 {
		s.wake(next...)
	}
}

// admit takes from those who wait the ones that there is room for now.
func (s *share) admit() (next []types.NamespacedName) {
	busy, doubted, at := s.busy, s.doubted, make(map[string]int)
	var rest []waiter
	for _, w := range s.waiting {
		l := s.servers[w.server]
		if l == nil {
			l = &load{}
		}
		if busy >= s.all || l.busy+at[w.server] >= s.each || !l.answers && doubted >= s.doubt {
			rest = append(rest, w)
			continue
		}
		busy++
		at[w.server]++
		if !l.answers {
			doubted++
		}
		next = append(next, w.key)
	}
	s.waiting = rest
	return next
}

// forget drops what is remembered of an object that is no more.
func (s *share) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.slow, key)
}
