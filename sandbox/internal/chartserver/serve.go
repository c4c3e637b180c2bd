package chartserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
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
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	scheme := "http"
	if o.TLSCert != "" {
		scheme = "https"
		cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return fmt.Errorf("load --tls-cert and --tls-key: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	listener, err := net.Listen("tcp", o.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("address %s is already in use; stop what listens on it or give --addr another port", o.Addr)
	}
	if err != nil {
		return err
	}
	defer listener.Close()

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close()
		}
	}()
	at := reachable(listener.Addr().(*net.TCPAddr))
	fmt.Fprintf(o.Out, "ready %s://%s/ oci://%s/charts\n", scheme, at, at)
	if o.TLSCert != "" {
		err = server.ServeTLS(listener, "", "")
	} else {
		err = server.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		<-stopped
		return nil
	}
	return err
}

// reachable is an address that a client on this machine can use.
func reachable(addr *net.TCPAddr) string {
	if addr.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(addr.Port))
	}
	return addr.String()
}

func (o Options) check() error {
	switch {
	case (o.Username == "") != (o.Password == ""):
		return errors.New("--username and --password belong together; give both or none")
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key belong together; give both or none")
	}
	return nil
}
