// Package listen serves HTTP at an address until it is told to stop.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// An Address is where to serve.
type Address struct {
	Addr            string // host:port; port 0 picks one
	TLSCert, TLSKey string // files; both or none
}

// Check refuses half of a certificate.
func (a Address) Check() error {
	if (a.TLSCert == "") != (a.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together; give both or none")
	}
	return nil
}

// Serve serves until ctx is done, and returns nil when that is why it ended. ready
// is told the scheme and the host and port at which a client on this machine gets
// there, before the first request is answered.
func Serve(ctx context.Context, a Address, h http.Handler, ready func(scheme, at string)) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	scheme := "http"
	if a.TLSCert != "" {
		scheme = "https"
		cert, err := tls.LoadX509KeyPair(a.TLSCert, a.TLSKey)
		if err != nil {
			return fmt.Errorf("load --tls-cert and --tls-key: %w", err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	listener, err := net.Listen("tcp", a.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("address %s is already in use; stop what listens on it or give --addr another port", a.Addr)
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
	ready(scheme, reachable(listener.Addr().(*net.TCPAddr)))
	if a.TLSCert != "" {
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
