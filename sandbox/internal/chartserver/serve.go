package chartserver

import (
	"context"
	"errors"
	"fmt"
	"io"

	"plumb.dev/plumb/sandbox/internal/listen"
)

// Options say what to serve, where, and to whom.
type Options struct {
	Root     string
	Addr     string // host:port; port 0 picks one
	Username string
	Password string
	TLSCert  string // files; both or none
	TLSKey   string

	Out io.Writer // gets the line "ready URL OCI-URL"
}

// Serve serves until ctx is done. It returns nil when that is why it ended.
func Serve(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	handler, err := NewHandler(o.Root)
	if err != nil {
		return fmt.Errorf("serve --root: %w", err)
	}
	handler.Username, handler.Password = o.Username, o.Password
	return listen.Serve(ctx, listen.Address{Addr: o.Addr, TLSCert: o.TLSCert, TLSKey: o.TLSKey}, handler, func(scheme, at string) {
		fmt.Fprintf(o.Out, "ready %s://%s/ oci://%s/charts\n", scheme, at, at)
	})
}

func (o Options) check() error {
	if (o.Username == "") != (o.Password == "") {
		return errors.New("--username and --password belong together; give both or none")
	}
	return listen.Address{TLSCert: o.TLSCert, TLSKey: o.TLSKey}.Check()
}
