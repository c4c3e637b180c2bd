// Package cluster is a connection to one API server, as plumb itself or as
// somebody else.
//
// A [Cluster] knows which kinds the server has and hands out a [Client] for
// each identity. A client sends what it is told to; what to send, and in whose
// name, is the business of others. Nothing here limits the rate of requests:
// the API server's priority and fairness does.
package cluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// A Cluster is one API server.
type Cluster struct {
	// ID tells clusters apart; it is empty for the one that plumb runs in.
	ID string

	config *rest.Config
	http   *http.Client
	asks   *discovery.DiscoveryClient
	bound  *bound // nil: plumb's own
	served catalogue

	mu      sync.Mutex
	kinds   *kinds
	clients map[string]*Client
}

// New returns the Cluster that config leads to. Nothing is sent yet. What a
// server other than plumb's own may answer, and how long that may take, is
// bounded.
func New(id string, config *rest.Config) (*Cluster, error) {
	return newCluster(id, config, standard)
}

func newCluster(id string, config *rest.Config, within bounds) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	// A warning is text that a server chooses. It may quote what it was sent,
	// and so has no place in a log.
	config.WarningHandler = rest.NoWarnings{}
	var b *bound
	if id != "" {
		var err error
		if b, err = newBound(config.Host, within); err != nil {
			return nil, err
		}
		config.Wrap(b.wrap)
	}
	hc, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(config, hc)
	if err != nil {
		return nil, fmt.Errorf("connect to cluster: %w", err)
	}
	return &Cluster{
		ID: id, config: config, http: hc, asks: disco, bound: b,
		kinds: newKinds(disco), clients: make(map[string]*Client),
	}, nil
}

// Forget drops what is known of the server's kinds; the next use asks again.
func (c *Cluster) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kinds = newKinds(c.asks)
}

// Config returns a copy of the configuration that plumb itself connects with.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Mapping returns how the server calls a kind. A kind that it does not have is
// a [fault.Wait] with reason UnknownKind: another object, a CRD, has to come
// first. An empty version stands for the one that the server prefers. A server
// that does not answer costs no more time than ctx has, and nobody who asks for
// what is known.
func (c *Cluster) Mapping(ctx context.Context, gvk schema.GroupVersionKind) (*apimeta.RESTMapping, error) {
	c.mu.Lock()
	k := c.kinds
	c.mu.Unlock()
	return k.mapping(ctx, gvk)
}

// UnknownKind is the error for a kind that the cluster does not have. It asks for
// nothing.
func (c *Cluster) UnknownKind(gvk schema.GroupVersionKind) *fault.Error {
	c.mu.Lock()
	k := c.kinds
	c.mu.Unlock()
	return k.unknown(gvk)
}

const accountPrefix = "system:serviceaccount:"

// User returns the name by which a service account is impersonated.
func User(namespace, account string) string {
	return accountPrefix + namespace + ":" + account
}

// Account returns the service account of such a name.
func Account(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, accountPrefix)
	namespace, name, _ = strings.Cut(rest, ":")
	return namespace, name, ok && name != ""
}

// As returns a client that acts as the given user, such as
// system:serviceaccount:shop:deployer, or as plumb itself if user is empty.
func (c *Cluster) As(user string) (*Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl, ok := c.clients[user]; ok {
		return cl, nil
	}
	config, hc := c.config, c.http
	if user != "" {
		config = rest.CopyConfig(c.config)
		config.Impersonate = rest.ImpersonationConfig{UserName: user}
		var err error
		if hc, err = rest.HTTPClientFor(config); err != nil {
			return nil, fmt.Errorf("connect as %s: %w", user, err)
		}
	}
	dyn, err := dynamic.NewForConfigAndClient(config, hc)
	if err != nil {
		return nil, fmt.Errorf("connect as %q: %w", user, err)
	}
	md, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), hc)
	if err != nil {
		return nil, fmt.Errorf("connect as %q: %w", user, err)
	}
	cl := &Client{Cluster: c, User: user, dynamic: dyn, metadata: md}
	c.clients[user] = cl
	return cl, nil
}

// A Client sends requests to a cluster in one user's name.
type Client struct {
	*Cluster
	User string

	dynamic  dynamic.Interface
	metadata metadata.Interface
}

// Dynamic returns the client underneath.
func (c *Client) Dynamic() dynamic.Interface { return c.dynamic }

// AllMetadata is like Dynamic for those who need no more of any object than its
// metadata.
func (c *Client) AllMetadata() metadata.Interface { return c.metadata }

// Resource returns the endpoint for a kind in a namespace; the namespace does
// not count for a kind that has none.
func (c *Client) Resource(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.Mapping(ctx, gvk)
	if err != nil {
		return nil, err
	}
	r := c.dynamic.Resource(m.Resource)
	if m.Scope.Name() == apimeta.RESTScopeNameNamespace {
		return r.Namespace(namespace), nil
	}
	return r, nil
}

// Metadata is like Resource for those who need no more of an object's answer
// than its metadata.
func (c *Client) Metadata(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (metadata.ResourceInterface, error) {
	m, err := c.Mapping(ctx, gvk)
	if err != nil {
		return nil, err
	}
	r := c.metadata.Resource(m.Resource)
	if m.Scope.Name() == apimeta.RESTScopeNameNamespace {
		return r.Namespace(namespace), nil
	}
	return r, nil
}

// Get reads an object from the server.
func (c *Client) Get(ctx context.Context, ref object.Ref, version string) (*unstructured.Unstructured, error) {
	r, err := c.Resource(ctx, ref.GroupKind().WithVersion(version), ref.Namespace)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, ref.Name, metav1.GetOptions{})
}

// Host returns the address of the server that config leads to, for people.
func Host(config *rest.Config) string { return config.Host }
