package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
)

// asServed adds the settings to a command.
func (a *app) asServed(cmd *cobra.Command) {
	served := pflag.NewFlagSet("served", pflag.ContinueOnError)
	for _, d := range a.dialects {
		d.Flags(served)
	}
	cmd.Flags().AddFlagSet(served)
	cmd.Long += `

If the controller runs with other settings than it ships with, such as
--no-cross-namespace-refs, give the same ones here.`
}

// An offlineReader adds to an error what to type, where no cluster is asked.
type offlineReader struct{ *inspect.Reader }

// Get implements [view.Reader].
func (r offlineReader) Get(ref lookup.Ref) (data map[string][]byte, found bool, err error) {
	data, found, err = r.Reader.Get(ref)
	if errors.Is(err, view.ErrOffline) {
		err = fmt.Errorf("%w; give its manifest with --with FILE", err)
	}
	return data, found, err
}

// Resource implements [view.Reader].
func (r offlineReader) Resource(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	u, err := r.Reader.Resource(ctx, ref)
	if errors.Is(err, view.ErrOffline) {
		err = fmt.Errorf("%w; name the unit without -f, so that one is", err)
	}
	return u, err
}
