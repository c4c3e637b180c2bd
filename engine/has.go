package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/render"
)

// kindsTold is how long after a definition has come or gone the list of all kinds
// may not tell of it.
const kindsTold = 2 * time.Second

// hasFor is how long what a cluster has is taken for known where no definition has
// changed: its own version, and what others serve for it, may.
const hasFor = 10 * time.Minute

// what returns what the cluster has, for renders that go by it.
func (p *place) what(ctx context.Context) (*render.Cluster, error) {
	s, err := p.Served(ctx, p.hasSince(time.Now()))
	if err != nil {
		return nil, err
	}
	return p.rendered(s), nil
}

// hasSince is as of when it has to be known what the cluster has.
func (p *place) hasSince(now time.Time) time.Time {
	since := now.Add(-hasFor)
	if p.watch == nil {
		return since
	}
	if changed := p.watch.KindsChanged(); !changed.IsZero() {
		// Until the list tells of it, each look asks.
		if told := changed.Add(kindsTold); told.After(since) {
			since = told
		}
		if since.After(now) {
			since = now
		}
	}
	return since
}

// knownToHave is what the cluster of a target is known to have; nil: nothing is. It
// asks for nothing.
func (e *Engine) knownToHave(t Target) *render.Cluster {
	e.mu.Lock()
	p := e.at[t.Cluster]
	e.mu.Unlock()
	if p == nil || p.LastServed() == nil {
		return nil
	}
	return p.rendered(p.LastServed())
}

// news reports whether what the cluster has may be another than a unit was rendered
// by.
func (p *place) news(st *state) bool {
	if !st.asksAPIs || p.watch == nil {
		return false
	}
	s := p.LastServed()
	return s == nil || s.At.Before(p.watch.KindsChanged().Add(kindsTold))
}

// rendered is what a render is told: the same for as long as that is the same.
func (p *place) rendered(s *cluster.Served) *render.Cluster {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hasOf != s {
		p.has, p.hasOf = render.NewCluster(s.Version, s.APIs), s
	}
	return p.has
}
