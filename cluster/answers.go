package cluster

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Answers returns nil if the server gives an answer, whichever: also one that
// refuses is alive.
func (c *Cluster) Answers(ctx context.Context) error {
	config := rest.CopyConfig(c.config)
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.UnversionedRESTClientForConfigAndClient(config, c.http)
	if err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	err = client.Get().AbsPath("/version").MaxRetries(0).Do(ctx).Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return nil
	}
	return err
}
