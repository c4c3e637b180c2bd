package source

import (
	"slices"
	"sync"
	"time"
)

// slowAfter is how long a question may take before its server counts as one
// that does not answer.
const slowAfter = 20 * time.Second

// A share divides the questions that may be open at once among the servers, so
// that none of those keeps another from being asked. Who finds no room is woken
// when there is some.
type share struct {
	each  int // open at one server
	doubt int // open at all servers together of which it is not known that they answer
	all   int // open at all servers together
	wake  func(keys ...string)

	mu      sync.Mutex
	servers map[string]*load
	doubted int // open, of doubt
	busy    int // open, of all
	slow    map[string]bool
	waiting []waiter
}

// A load is what a server has to do.
type load struct {
	busy    int
	answers bool // the last time
}

type waiter struct{ server, key string }

func newShare(all int, wake func(keys ...string)) *share {
	return &share{
		each: max(1, all/4), doubt: max(1, all*2/3), all: all, wake: wake,
		servers: make(map[string]*load), slow: make(map[string]bool),
	}
}

// enter begins a question. leave ends it, and says whether the server answered.
// A question that was not answered the last time shares only with its like: an
// answer may be slow for what is asked of a server that is well.
func (s *share) enter(server, key string) (leave func(answered bool), ok bool) {
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
		if w := (waiter{server, key}); !slices.Contains(s.waiting, w) {
			s.waiting = append(s.waiting, w)
		}
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

func (s *share) left(server string, l *load, key string, doubted, answered bool) {
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
	s.mu.Unlock()
	s.admit()
}

// admit wakes those of who wait that there is room for now.
func (s *share) admit() {
	s.mu.Lock()
	busy, doubted, at := s.busy, s.doubted, make(map[string]int)
	var rest []waiter
	var next []string
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
	s.mu.Unlock()
	if len(next) > 0 {
		s.wake(next...)
	}
}

// forget drops what is remembered of a question that nobody asks any more.
func (s *share) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.slow, key)
	s.waiting = slices.DeleteFunc(s.waiting, func(w waiter) bool { return w.key == key })
}
