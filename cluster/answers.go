package cluster

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// probe is the key of a context in which the server is asked whatever is known
// of it.
type probe struct{}

// Answers returns nil if the server gives an answer, whichever: also one that
// refuses is alive.
func (c *Cluster) Answers(ctx context.Context) error {
	config := rest.CopyConfig(c.config)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientForConfigAndClient(config, c.http)
	if err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	ctx = context.WithValue(ctx, probe{}, true)
	if err := client.Get().AbsPath("/version").MaxRetries(0).Do(ctx).Error(); !answers(err) {
		return err
	}
	return nil
}

// WhenSilent has doubt called when a server other than plumb's own may have
// ceased to answer, with the time since when: requests have got no answer for
// some seconds, or watches have shown nothing for longer than servers are
// quiet. It is no more than a reason to ask [Cluster.Answers]. It may be called
// often, must not block, and has to be set before anything is asked.
func (c *Cluster) WhenSilent(doubt func(since time.Time)) {
	if c.bound != nil {
		c.bound.doubt = doubt
	}
}
