package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"

	"plumb.dev/plumb/fault"
)

// kinds are what is known of the kinds that a server has. The server is asked
// about one that is not known, once for all who ask the same at the same time;
// who asks for another waits for none of that.
type kinds struct {
	client   *discovery.DiscoveryClient
	inFlight singleflight.Group

	mu       sync.Mutex
	groups   map[string]*restmapper.APIGroupResources // nil: the server has told nothing yet
	mapper   apimeta.RESTMapper                       // of groups
	mappings map[schema.GroupVersionKind]*apimeta.RESTMapping
}

// askTimeout is how long the server may take to answer one question, whoever
// waits for it.
const askTimeout = 35 * time.Second

func newKinds(client *discovery.DiscoveryClient) *kinds {
	return &kinds{
		client: client, mapper: restmapper.NewDiscoveryRESTMapper(nil),
		mappings: make(map[schema.GroupVersionKind]*apimeta.RESTMapping),
	}
}

// mapping is [Cluster.Mapping].
func (k *kinds) mapping(ctx context.Context, gvk schema.GroupVersionKind) (*apimeta.RESTMapping, error) {
	find := func() bool { return k.known(gvk) != nil }
	listed := func() bool { return k.listed(gvk) }
	if !listed() {
		if err := k.ask(ctx, "", k.list, listed); err != nil {
			return nil, fmt.Errorf("look up kind %s: %w", gvk.Kind, err)
		}
	}
	var failed error
	for _, gv := range k.unread(gvk) {
		if find() {
			break
		}
		read := func(ctx context.Context) error { return k.read(ctx, gv) }
		if err := k.ask(ctx, gv.String(), read, find); err != nil {
			failed = fmt.Errorf("look up kind %s: %w", gvk.Kind, err)
		}
	}
	m := k.known(gvk)
	switch {
	case m != nil:
		return m, nil
	case failed != nil:
		return nil, failed
	}
	return nil, k.unknown(gvk)
}

// unknown is the error for a kind that the server does not have. It names where it
// has a kind of that name, as far as that is known.
func (k *kinds) unknown(gvk schema.GroupVersionKind) *fault.Error {
	e := &fault.Error{
		Next: fault.Wait, Reason: fault.UnknownKind,
		Hint: "apply its CustomResourceDefinition first, or correct apiVersion and kind",
		Err:  fmt.Errorf("the cluster has no kind %s in %s", gvk.Kind, gvk.GroupVersion()),
	}
	if in := k.having(gvk.GroupKind()); len(in) > 0 {
		e.Hint = fmt.Sprintf("correct apiVersion: it has %s in %s; or apply its CustomResourceDefinition first", gvk.Kind, strings.Join(in, ", "))
	}
	return e
}

// having are the first few versions of groups, the kind's own before others, that are
// known to have a kind of that name.
func (k *kinds) having(gk schema.GroupKind) (in []string) {
	const most = 3
	var found []schema.GroupVersion
	k.mu.Lock()
	defer k.mu.Unlock()
	for group, g := range k.groups {
		for version, all := range g.VersionedResources {
			if slices.ContainsFunc(all, func(r metav1.APIResource) bool { return r.Kind == gk.Kind }) {
				found = append(found, schema.GroupVersion{Group: group, Version: version})
			}
		}
	}
	foreign := func(gv schema.GroupVersion) int {
		if gv.Group == gk.Group {
			return 0
		}
		return 1
	}
	slices.SortFunc(found, func(a, b schema.GroupVersion) int {
		return cmp.Or(cmp.Compare(foreign(a), foreign(b)), strings.Compare(a.String(), b.String()))
	})
	for _, gv := range found[:min(len(found), most)] {
		in = append(in, gv.String())
	}
	return in
}

// ask puts a question to the server, or waits for its answer to the same one.
// Where somebody had asked before, and the answer is not enough, things may
// have changed since, and it is asked once more.
func (k *kinds) ask(ctx context.Context, question string, put func(context.Context) error, enough func() bool) error {
	for range 2 {
		mine := false
		answer := k.inFlight.DoChan(question, func() (any, error) {
			mine = true
			if enough() {
				return nil, nil // it was answered just now
			}
			// Others may wait for it who have more time than who asks.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
			defer cancel()
			return nil, put(ctx)
		})
		select {
		case a := <-answer:
			if mine || a.Err != nil || enough() {
				return a.Err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// list asks for all there is. Servers before Kubernetes 1.27 tell only of the
// groups then.
func (k *kinds) list(ctx context.Context) error {
	groups, resources, _, err := k.client.GroupsAndMaybeResourcesWithContext(ctx)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.groups == nil {
		k.groups = make(map[string]*restmapper.APIGroupResources)
	}
	for _, g := range groups.Groups {
		known := &restmapper.APIGroupResources{Group: g, VersionedResources: make(map[string][]metav1.APIResource)}
		for _, v := range g.Versions {
			if l := resources[schema.GroupVersion{Group: g.Name, Version: v.Version}]; l != nil {
				known.VersionedResources[v.Version] = l.APIResources
			}
		}
		k.groups[g.Name] = known
	}
	k.learnt()
	return nil
}

// read asks for the kinds of one version of a group. That is up to date where
// the list of all may lag behind.
func (k *kinds) read(ctx context.Context, gv schema.GroupVersion) error {
	l, err := k.client.ServerResourcesForGroupVersionWithContext(ctx, gv.String())
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.groups[gv.Group]
	switch {
	case err != nil && g == nil:
		return nil
	case err != nil:
		delete(g.VersionedResources, gv.Version)
	default:
		if g == nil {
			g = &restmapper.APIGroupResources{Group: metav1.APIGroup{Name: gv.Group}, VersionedResources: make(map[string][]metav1.APIResource)}
			k.groups[gv.Group] = g
		}
		v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if !slices.Contains(g.Group.Versions, v) {
			g.Group.Versions = append(g.Group.Versions, v)
		}
		g.VersionedResources[gv.Version] = l.APIResources
	}
	k.learnt()
	return nil
}

// learnt takes over what is new in groups.
func (k *kinds) learnt() {
	k.mapper = restmapper.NewDiscoveryRESTMapper(slices.Collect(maps.Values(k.groups)))
	clear(k.mappings)
}

// listed reports whether asking for all there is would tell no more of gvk.
func (k *kinds) listed(gvk schema.GroupVersionKind) bool {
	if gvk.Version != "" {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.groups != nil
	}
	known := k.known(gvk) != nil
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.groups[gvk.Group]
	// A group of which one version was asked for says nothing of the others.
	return known && g != nil && g.Group.PreferredVersion.Version != ""
}

// unread are the versions that the server has to be asked about one by one,
// where gvk is not known.
func (k *kinds) unread(gvk schema.GroupVersionKind) (gvs []schema.GroupVersion) {
	if gvk.Version != "" {
		return []schema.GroupVersion{gvk.GroupVersion()}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.groups[gvk.Group]
	if g == nil {
		return nil
	}
	for _, v := range g.Group.Versions {
		if _, ok := g.VersionedResources[v.Version]; !ok {
			gvs = append(gvs, schema.GroupVersion{Group: gvk.Group, Version: v.Version})
		}
	}
	return gvs
}

// known returns what is known of a kind, or nil.
func (k *kinds) known(gvk schema.GroupVersionKind) *apimeta.RESTMapping {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.mappings[gvk]; m != nil {
		return m
	}
	var versions []string
	if gvk.Version != "" {
		versions = []string{gvk.Version}
	}
	m, err := k.mapper.RESTMapping(gvk.GroupKind(), versions...)
	if err != nil {
		return nil // it has no other error than that there is no match
	}
	k.mappings[gvk] = m
	return m
}
