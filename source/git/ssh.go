package git

import (
	"bufio"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	netproxy "golang.org/x/net/proxy"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// minRSA is the least size of an RSA host key that is believed.
const minRSA = 2048

// An sshWire runs git-upload-pack on the server, in one connection.
type sshWire struct {
	client  *ssh.Client
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	stderr  *headWriter
	pulse   *web.Pulse
	stop    func() bool
}

// dialSSH connects to the server of u and makes sure that it is the one that
// the known hosts name.
func dialSSH(ctx context.Context, r Remote, u *url.URL, dial web.DialFunc, p *web.Pulse) (*sshWire, error) {
	hosts, err := parseKnownHosts(r.Auth.KnownHosts)
	if err != nil {
		return nil, err
	}
	_, password := r.credentials(u)
	auth, err := sshAuth(r.Auth.Identity, password)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	addr := net.JoinHostPort(u.Hostname(), port)
	algorithms, err := hosts.algorithms(addr)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	p.Watch(func() { conn, err = dialThrough(ctx, r.Proxy, dial, addr) })
	if err != nil {
		return nil, err
	}
	// The handshake and all that follows end with the context.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	conf := &ssh.ClientConfig{
		User:              r.account(u),
		Auth:              auth,
		HostKeyCallback:   hosts.check,
		HostKeyAlgorithms: algorithms,
		ClientVersion:     "SSH-2.0-" + agent,
		Timeout:           30 * time.Second,
	}
	// All that is not insecure, also what is not offered by default: there are
	// servers with one way alone.
	conf.KeyExchanges = ssh.SupportedAlgorithms().KeyExchanges
	var (
		c     ssh.Conn
		chans <-chan ssh.NewChannel
		reqs  <-chan *ssh.Request
	)
	p.Watch(func() { c, chans, reqs, err = ssh.NewClientConn(conn, addr, conf) })
	if err != nil {
		stop()
		conn.Close()
		return nil, sshError(err)
	}
	w := &sshWire{client: ssh.NewClient(c, chans, reqs), pulse: p, stop: stop}
	p.Watch(func() { err = w.start(u.Path) })
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *sshWire) start(path string) (err error) {
	if w.session, err = w.client.NewSession(); err != nil {
		return err
	}
	if w.in, err = w.session.StdinPipe(); err != nil {
		return err
	}
	if w.out, err = w.session.StdoutPipe(); err != nil {
		return err
	}
	w.stderr = &headWriter{most: 2000}
	w.session.Stderr = w.stderr
	// A server that does not take the variable speaks the old protocol.
	_ = w.session.Setenv("GIT_PROTOCOL", "version=2")
	// Quotes were refused with the URL, so this is one word to any shell.
	return w.session.Start(uploadPack + " '" + path + "'")
}

func (w *sshWire) close() {
	w.stop()
	w.client.Close()
}

func (w *sshWire) open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(&explained{w}), nil
}

func (w *sshWire) ask(_ context.Context, request []byte) (io.ReadCloser, error) {
	w.pulse.Asked()
	var err error
	w.pulse.Watch(func() { _, err = w.in.Write(request) })
	if err != nil {
		return nil, err
	}
	return io.NopCloser(&explained{w}), nil
}

// explained reads the server's output. If that ends before it began, what the
// server wrote to its standard error says why.
type explained struct{ w *sshWire }

func (e *explained) Read(b []byte) (int, error) {
	n, err := e.w.pulse.Read(e.w.out, b)
	if n == 0 && errors.Is(err, io.EOF) {
		// Both streams end with the session.
		e.w.pulse.Watch(func() { _ = e.w.session.Wait() })
		if msg := e.w.stderr.String(); strings.TrimSpace(msg) != "" {
			return 0, serverError(msg)
		}
	}
	return n, err
}

// headWriter keeps the beginning of what is written.
type headWriter struct {
	b    []byte
	most int
}

func (h *headWriter) Write(b []byte) (int, error) {
	h.b = append(h.b, b[:min(len(b), h.most-len(h.b))]...)
	return len(b), nil
}

func (h *headWriter) String() string { return string(h.b) }

func sshAuth(identity []byte, password string) ([]ssh.AuthMethod, error) {
	if len(identity) == 0 {
		if password == "" {
			return nil, nil
		}
		answer := func(_, _ string, questions []string, _ []bool) ([]string, error) {
			return slices.Repeat([]string{password}, len(questions)), nil
		}
		return []ssh.AuthMethod{ssh.Password(password), ssh.KeyboardInteractive(answer)}, nil
	}
	signer, err := ssh.ParsePrivateKey(identity)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if password == "" {
			return nil, failure(ReasonInvalidAuth, "the SSH key needs a passphrase")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(identity, []byte(password)); err != nil {
			return nil, failure(ReasonInvalidAuth, "the passphrase does not open the SSH key")
		}
	}
	if err != nil {
		return nil, failure(ReasonInvalidAuth, "the SSH key cannot be parsed") // the parser's words could quote it
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signer)}, nil
}

func hostKeyMismatch(format string, args ...any) *fault.Error {
	f := failure(ReasonHostKeyMismatch, format, args...)
	f.Hint = "compare the key with the server's own, then update known_hosts"
	return f
}

// knownHosts are the keys that servers must have.
type knownHosts struct{ callback ssh.HostKeyCallback }

func parseKnownHosts(b []byte) (knownHosts, error) {
	if strings.TrimSpace(string(b)) == "" {
		return knownHosts{}, hostKeyMismatch("no known hosts were given, and no key is trusted unseen")
	}
	// The parser reads only files. What is in it is public.
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return knownHosts{}, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return knownHosts{}, err
	}
	callback, err := knownhosts.New(f.Name())
	if err != nil {
		return knownHosts{}, failure(ReasonInvalidAuth, "the known hosts cannot be parsed: %s", strings.ReplaceAll(err.Error(), f.Name(), "known_hosts"))
	}
	return knownHosts{callback}, nil
}

func (k knownHosts) check(host string, addr net.Addr, key ssh.PublicKey) error {
	if c, ok := key.(*ssh.Certificate); ok {
		if err := strong(c.SignatureKey); err != nil {
			return err
		}
		key := c.Key
		if err := strong(key); err != nil {
			return err
		}
	} else if err := strong(key); err != nil {
		return err
	}
	err := k.callback(host, addr, key)
	var (
		revoked *knownhosts.RevokedError
		wrong   *knownhosts.KeyError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return hostKeyMismatch("the server's key %s is revoked", ssh.FingerprintSHA256(key))
	case errors.As(err, &wrong) && len(wrong.Want) > 0:
		return hostKeyMismatch("the server's key %s is not the one that is known", ssh.FingerprintSHA256(key))
	}
	return hostKeyMismatch("the server's key %s is not known", ssh.FingerprintSHA256(key))
}

// strong refuses keys that others can make themselves.
func strong(key ssh.PublicKey) error {
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
			return hostKeyMismatch("the server's RSA key has only %d bits; %d is the least", k.N.BitLen(), minRSA)
		}
	}
	return nil
}

// algorithms are those of the keys that are known for addr. Without them a
// server that has several keys could show one that nobody noted down, and
// would be refused. A host of which nothing is known is refused here already.
func (k knownHosts) algorithms(addr string) ([]string, error) {
	err := k.callback(addr, &net.TCPAddr{IP: net.IPv4zero}, nobodysKey{})
	var wrong *knownhosts.KeyError
	if !errors.As(err, &wrong) {
		return nil, hostKeyMismatch("the known hosts cannot be used for %s", addr)
	}
	var out []string
	for _, w := range wrong.Want {
		switch t := w.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			out = append(out, t)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 0 {
		// Nothing matches, or only a certificate authority does: let the
		// server show what it has.
		out = []string{
			ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
			ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		}
	}
	return out, nil
}

// nobodysKey is a key that no host has.
type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "none" }
func (nobodysKey) Marshal() []byte                     { return []byte("none") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// dialThrough connects to addr, by way of a proxy if there is one.
func dialThrough(ctx context.Context, p Proxy, dial web.DialFunc, addr string) (net.Conn, error) {
	if p.URL == "" {
		return dial(ctx, "tcp", addr)
	}
	u, err := p.Parse()
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(u.Scheme, "socks5") {
		var auth *netproxy.Auth
		if u.User != nil {
			password, _ := u.User.Password()
			auth = &netproxy.Auth{User: u.User.Username(), Password: password}
		}
		d, err := netproxy.SOCKS5("tcp", hostPort(u, "1080"), auth, dialer(dial))
		if err != nil {
			return nil, err
		}
		return d.(netproxy.ContextDialer).DialContext(ctx, "tcp", addr)
	}
	fallback := "80"
	if u.Scheme == "https" {
		fallback = "443"
	}
	conn, err := dial(ctx, "tcp", hostPort(u, fallback))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if u.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u.User != nil {
		password, _ := u.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, err
	}
	head := &io.LimitedReader{R: conn, N: web.MaxHead}
	in := bufio.NewReader(head)
	resp, err := http.ReadResponse(in, req) //nolint:bodyclose // to a CONNECT there is none
	if err != nil && head.N == 0 {
		err = errTooLarge("the proxy's answer has more than %d KiB of headers", web.MaxHead>>10)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	head.N = math.MaxInt64 // what follows is the server's
	if resp.StatusCode != http.StatusOK {
		conn.Close()
		reason := fault.Reason(ReasonConnectionFailed)
		if resp.StatusCode == http.StatusProxyAuthRequired {
			reason = ReasonAuthFailed
		}
		return nil, failure(reason, "the proxy answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return &bufferedConn{conn, in}, nil
}

func hostPort(u *url.URL, port string) string {
	if u.Port() != "" {
		port = u.Port()
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// bufferedConn gives back what was read ahead.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.in.Read(b) }

type dialer web.DialFunc

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	return d(context.Background(), network, addr)
}

func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}
