package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Served is what a server has, as somebody would ask who decides by that.
type Served struct {
	Version string    // of Kubernetes: v1.34.1
	APIs    []string  // group/version, and group/version/Kind, of all; sorted
	At      time.Time // when it was asked
}

// A catalogue is what is known of what a server has.
type catalogue struct {
	inFlight singleflight.Group

	mu   sync.Mutex
	last *Served
}

// Served returns what the server has, as it was at a time or later. It asks only if
// what is known is older. What a part of the server can't tell just now, such as
// an API that is served by a Pod that is gone, is as it was: that something is no
// longer there has to be known.
func (c *Cluster) Served(ctx context.Context, since time.Time) (*Served, error) {
	if s := c.served.known(); s != nil && !s.At.Before(since) {
		return s, nil
	}
	answer := c.served.inFlight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return c.ask(ctx)
	})
	select {
	case a := <-answer:
		if a.Err != nil {
			return nil, fmt.Errorf("ask the cluster what it has: %w", a.Err)
		}
		return a.Val.(*Served), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// LastServed returns what Served has returned last, or nil. It asks for nothing.
func (c *Cluster) LastServed() *Served { return c.served.known() }

func (c *catalogue) known() *Served {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// ask asks for all there is.
func (c *Cluster) ask(ctx context.Context) (*Served, error) {
	began := time.Now()
	version, err := c.asks.ServerVersionWithContext(ctx)
	if err != nil {
		return nil, err
	}
	groups, lists, err := c.asks.ServerGroupsAndResourcesWithContext(ctx)
	var failed *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &failed) {
		return nil, err
	}
	s := &Served{Version: version.GitVersion, At: began, APIs: listed(groups, lists)}
	before := c.served.known()
	if failed != nil && before != nil {
		s.APIs = append(s.APIs, before.of(failed.Groups)...)
	}
	slices.Sort(s.APIs)
	s.APIs = slices.Compact(s.APIs)
	if before != nil && slices.Equal(before.APIs, s.APIs) {
		s.APIs = before.APIs
	}
	c.served.mu.Lock()
	defer c.served.mu.Unlock()
	c.served.last = s
	return s, nil
}

// listed are the names of versions and kinds, but for parts of kinds.
func listed(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) (all []string) {
	for _, g := range groups {
		for _, v := range g.Versions {
			all = append(all, v.GroupVersion)
		}
	}
	for _, l := range lists {
		for _, r := range l.APIResources {
			if !strings.Contains(r.Name, "/") {
				all = append(all, l.GroupVersion+"/"+r.Kind)
			}
		}
	}
	return all
}

// of are those of versions.
func (s *Served) of(versions map[schema.GroupVersion]error) (all []string) {
	for _, api := range s.APIs {
		for gv := range versions {
			if api == gv.String() || strings.HasPrefix(api, gv.String()+"/") {
				all = append(all, api)
			}
		}
	}
	return all
}
