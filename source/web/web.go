// Package web is how sources talk HTTP with servers that nobody vouches for.
//
// [NewClient] gives a client for one address and whoever asks there, [Talk]
// runs one conversation and explains how it failed, and [Pulse] watches that
// the other side goes on sending. What is promised:
//
//   - Credentials go to the scheme, host and port that they were given for, and
//     nowhere else, unless that is asked for; and never from TLS to none.
//   - A redirect never gives up TLS. [Within] follows those of a server to
//     itself only.
//   - [Dial] opens no connection to where only a machine's own keepers answer,
//     whatever name leads there.
//   - An error is a [fault.Error] of this package's reasons, and holds no secret
//     that its [Talk] was told of. The body of a refusal is not looked at.
//
// Left to others: what is asked for, how long an answer may be, and what is in
// it.
package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// MaxHead is how long the headers of an answer may be.
const MaxHead = 64 << 10

// Credentials are what to show to a server. Printing them shows nothing.
type Credentials struct {
	Username, Password string
	BearerToken        string // counts before a user
}

// String returns nothing of what is in c.
func (c Credentials) String() string { return "(credentials)" }

// GoString returns nothing of what is in c.
func (c Credentials) GoString() string { return c.String() }

// LogValue returns nothing of what is in c.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Authorize shows c with a request.
func (c Credentials) Authorize(req *http.Request) {
	switch {
	case c.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+c.BearerToken)
	case c.Username != "" || c.Password != "":
		req.SetBasicAuth(c.Username, c.Password)
	}
}

// TLS is whom to trust and what to be known by. Printing it shows nothing.
type TLS struct {
	CA         []byte // PEM certificates to trust beside the system's
	ClientCert []byte // PEM
	ClientKey  []byte
	Insecure   bool // trust whoever answers
}

// String returns nothing of what is in t.
func (t TLS) String() string { return "(certificates)" }

// GoString returns nothing of what is in t.
func (t TLS) GoString() string { return t.String() }

// LogValue returns nothing of what is in t.
func (t TLS) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Config returns what crypto/tls needs to know. An error has the reason
// [ReasonInvalidAuth].
func (t TLS) Config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure} //nolint:gosec // where a user asks for it
	if len(t.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(t.CA) {
			return nil, Failure(ReasonInvalidAuth, "the CA holds no certificate in PEM")
		}
		conf.RootCAs = pool
	}
	if len(t.ClientCert) > 0 || len(t.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, Failure(ReasonInvalidAuth, "the client certificate and key cannot be used")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// A Proxy is an http, https, socks5 or socks5h address. Printing one shows no
// password.
type Proxy struct {
	URL                string
	Username, Password string
}

// String is the address without credentials.
func (p Proxy) String() string { return p.Address() }

// GoString is String.
func (p Proxy) GoString() string { return p.String() }

// LogValue is String.
func (p Proxy) LogValue() slog.Value { return slog.StringValue(p.String()) }

// Parse returns the address with the credentials in it. An error is a Stall
// with the reason [ReasonInvalidURL].
func (p Proxy) Parse() (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" {
		return nil, InvalidURL("the proxy's address is not a URL")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, InvalidURL("the proxy %s://%s is not http, https or socks5", u.Scheme, u.Host)
	}
	if p.Username != "" || p.Password != "" {
		u.User = url.UserPassword(p.Username, p.Password)
	}
	return u, nil
}

// Address is the proxy's without credentials.
func (p Proxy) Address() string {
	u, err := url.Parse(p.URL)
	if err != nil {
		return "(invalid URL)"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// Options say how a client reaches servers, and what it shows to which.
type Options struct {
	TLS   TLS
	Proxy Proxy // none: what the environment says
	// Home is the address that Credentials and the client certificate are for.
	// Without one no Credentials are shown, and the certificate is to whoever
	// asks for one.
	Home        *url.URL
	Credentials Credentials
	Everywhere  bool // shows them to other servers as well, but not without TLS if Home has it
	// Redirect says which redirects are followed; nil: [Anywhere].
	Redirect func(req *http.Request, via []*http.Request) error
	Dial     DialFunc // nil: [Dial]
}

// NewClient returns a client. It keeps connections, so that polling costs no
// handshake. An answer is not decompressed, so that a small one does not
// unfold.
func NewClient(o Options) (*http.Client, error) {
	conf, err := o.TLS.Config()
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if o.Proxy.URL != "" {
		u, err := o.Proxy.Parse()
		if err != nil {
			return nil, err
		}
		proxy = http.ProxyURL(u)
	}
	if o.Dial == nil {
		o.Dial = Dial
	}
	if o.Redirect == nil {
		o.Redirect = Anywhere
	}
	own := &http.Transport{
		Proxy:                  proxy,
		DialContext:            o.Dial,
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    15 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: MaxHead,
		DisableCompression:     true,
	}
	t := &transport{own: own, other: own, o: o}
	if o.Home != nil && len(conf.Certificates) > 0 {
		t.other = own.Clone()
		t.other.TLSClientConfig.Certificates = nil
	}
	return &http.Client{Transport: t, CheckRedirect: o.Redirect}, nil
}

// A transport shows to each server what is for it. It is here that credentials
// join a request, so no redirect carries them along.
type transport struct {
	own, other *http.Transport // with the client certificate, and without
	o          Options
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.o.Proxy.URL != "" { // nobody here sees which address a name leads to
		if err := refuseLiteral(req.URL.Hostname()); err != nil {
			return nil, err
		}
	}
	if t.o.Home == nil {
		return t.own.RoundTrip(req)
	}
	if !t.trusts(req.URL) {
		return t.other.RoundTrip(req)
	}
	req = req.Clone(req.Context())
	t.o.Credentials.Authorize(req)
	return t.own.RoundTrip(req)
}

// CloseIdleConnections is what [http.Client.CloseIdleConnections] calls.
func (t *transport) CloseIdleConnections() {
	t.own.CloseIdleConnections()
	t.other.CloseIdleConnections()
}

func (t *transport) trusts(u *url.URL) bool {
	return SameServer(t.o.Home, u) || t.o.Everywhere && (u.Scheme == "https" || t.o.Home.Scheme != "https")
}

// SameServer reports whether two addresses have one scheme, host and port.
func SameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && PortOf(a) == PortOf(b)
}

// PortOf returns the port of an http or https address.
func PortOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// A Pool keeps clients for as long as somebody asks for them. The zero value is
// empty. It is safe for concurrent use.
type Pool struct {
	mu      sync.Mutex
	clients map[string]*pooled
}

type pooled struct {
	*http.Client
	used time.Time
}

// rest is how long a client is kept that nobody asks for.
const rest = time.Hour

// Get returns the client of a key, which must tell of all that a connection
// depends on, or makes one.
func (p *Pool) Get(key string, make_ func() (*http.Client, error)) (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.clients[key]; ok {
		c.used = time.Now()
		return c.Client, nil
	}
	c, err := make_()
	if err != nil {
		return nil, err
	}
	for other, c := range p.clients { // such as those of certificates that were renewed
		if time.Since(c.used) > rest {
			p.forget(other)
		}
	}
	if p.clients == nil {
		p.clients = make(map[string]*pooled)
	}
	p.clients[key] = &pooled{c, time.Now()}
	return c, nil
}

// Forget lets go of the clients whose keys begin with prefix.
func (p *Pool) Forget(prefix string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.clients {
		if strings.HasPrefix(key, prefix) {
			p.forget(key)
		}
	}
}

func (p *Pool) forget(key string) {
	p.clients[key].CloseIdleConnections()
	delete(p.clients, key)
}

// A DialFunc opens a connection, or refuses to.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Address is a URL without user, password and query, for people.
func Address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "(invalid URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Server names who answers at a URL: the proxy, if there is one, or else the
// server. Two at one server have the same.
func Server(raw string, p Proxy) string {
	if p.URL != "" {
		raw = p.URL
	}
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
