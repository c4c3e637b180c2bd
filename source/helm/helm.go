// Package helm has the charts of Helm repositories as sources, and the
// repositories themselves.
//
// A [Chart] is the version of a chart that a range stands for, an [Index] what
// a repository has. Both are plain values; a [Store] holds what they share: the
// connections, and of each repository the last index, of which only what leads
// to an archive is in memory. What is promised beside what [archive.Store] does:
//
//   - An index is asked for on condition that it has changed, if the server can
//     tell, and by one at a time. One answer serves all who had asked before it
//     was asked for.
//   - Credentials go to the repository's own scheme, host and port, unless
//     PassCredentials says otherwise, wherever the index or a redirect leads.
//   - An archive is looked into when it has the digest that the index says, if
//     that says one, and is refused if its Chart.yaml is of another name or
//     version.
//   - Whatever a server can make long has a bound ([Options]).
//
// Left to others: OCI registries, provenance, dependencies of a chart that are
// not in its archive, and what a chart renders to.
package helm

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"
	"weak"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/web"
)

// The reasons of this package's faults, beside those of web and archive.
const (
	ReasonInvalidURL        = web.ReasonInvalidURL    // the address can't be used; a Stall
	ReasonInvalidReference  = "InvalidReference"      // a chart's name that can be none; a Stall
	ReasonInvalidSemver     = "InvalidSemver"         // a range that can't be parsed; a Stall
	ReasonInvalidIndex      = "InvalidIndex"          // an index that can't be read
	ReasonInvalidChart      = "InvalidChart"          // an archive that is not the chart it should be; a Stall
	ReasonNotARepository    = "NotAHelmRepository"    // such as a login page
	ReasonReferenceNotFound = "ReferenceNotFound"     // no such chart, or no version in the range
	ReasonCorrupt           = archive.ReasonCorrupt   // another digest than the index says
	ReasonNotFetched        = source.ReasonNotFetched // Open of what isn't there
)

// Options bound what servers can make a Store do. The zero value is for
// production.
type Options struct {
	MaxIndexBytes int64          // 0: 100 MiB
	MaxChartBytes int64          // of an archive; 0: 10 MiB
	Unpacked      archive.Limits // 0: 5 MiB of a file, 100 MiB in all, 10,000 entries
	StallTimeout  time.Duration  // without progress; 0: 30 s
	Dial          web.DialFunc   // nil: [web.Dial]
}

func (o Options) withDefaults() Options {
	set := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&o.MaxIndexBytes, 100<<20)
	set(&o.MaxChartBytes, 10<<20)
	set(&o.Unpacked.FileBytes, 5<<20)
	set(&o.Unpacked.TotalBytes, 100<<20)
	if o.Unpacked.Entries <= 0 {
		o.Unpacked.Entries = 10_000
	}
	return o
}

// A Store is what the charts of all repositories share. It is safe for
// concurrent use.
type Store struct {
	files   *archive.Store
	opt     Options
	clients web.Pool

	mu      sync.Mutex
	known   map[string]*known // by who asks which repository
	indexes map[[32]byte]weak.Pointer[index]
}

// NewStore returns a Store that keeps on disk in files, which sweeps it.
func NewStore(files *archive.Store, o Options) *Store {
	return &Store{
		files: files, opt: o.withDefaults(),
		known: make(map[string]*known), indexes: make(map[[32]byte]weak.Pointer[index]),
	}
}

// Close lets go of connections.
func (s *Store) Close() { s.clients.Forget("") }

// A Repository is where charts are, and how to reach it. Printing one shows its
// address without secrets.
type Repository struct {
	// URL is http or https. What it has for a user and password is used if
	// Credentials has none.
	URL             string
	Credentials     web.Credentials
	PassCredentials bool // shows them to the other servers, too, that charts are at
	TLS             web.TLS
	Proxy           web.Proxy
	Timeout         time.Duration // of one Resolve or Fetch; 0 is a minute
}

// String returns the address without user, password and query.
func (r Repository) String() string { return web.Address(r.URL) }

// GoString is String.
func (r Repository) GoString() string { return r.String() }

// LogValue is String.
func (r Repository) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Validate reports why no server can have r, as a fault with reason
// InvalidURL.
func (r Repository) Validate() error {
	_, err := r.parse()
	return err
}

func (r Repository) parse() (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidURL, Hint: "write one such as https://charts.example.com/stable",
			Err: fmt.Errorf("the address of the Helm repository %s", why),
		}
	}
	if strings.ContainsFunc(r.URL, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) }) {
		return bad("has a space or a character in it that can't be seen")
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return bad("cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https":
		return bad("is not an http or https URL")
	case u.Opaque != "" || u.Hostname() == "":
		return bad("has no host")
	case u.Fragment != "":
		return bad("has a fragment")
	}
	return u, nil
}

// credentials are r's own, or those of its URL.
func (r Repository) credentials(u *url.URL) web.Credentials {
	c := r.Credentials
	if c.Username == "" && c.Password == "" && u.User != nil {
		c.Username = u.User.Username()
		c.Password, _ = u.User.Password()
	}
	return c
}

// server names who answers: the proxy, if there is one, or else the server.
func (r Repository) server() string { return web.Server(r.URL, r.Proxy) }

// place names what is kept of something in r, whoever asks.
func (s *Store) place(r Repository, kind, name string) string {
	at := r.URL
	if u, err := r.parse(); err == nil {
		bare := *u
		bare.User = nil
		bare.Path = strings.TrimRight(bare.Path, "/")
		at = bare.String()
	}
	return s.files.Key("helm", kind, at, r.Proxy.Address(), name)
}

// access names whoever asks as r does: by what is shown to the server, what is
// expected of it, and the way to it.
func (s *Store) access(r Repository) string {
	var c web.Credentials
	if u, err := r.parse(); err == nil {
		c = r.credentials(u)
	}
	return s.files.Key(c.Username, c.Password, c.BearerToken, string(r.TLS.CA), string(r.TLS.ClientCert), string(r.TLS.ClientKey),
		fmt.Sprint(r.TLS.Insecure, r.PassCredentials), r.Proxy.URL, r.Proxy.Username, r.Proxy.Password)
}

func (s *Store) client(r Repository, u *url.URL) (*http.Client, error) {
	return s.clients.Get(s.place(r, "client", "")+s.access(r), func() (*http.Client, error) {
		return web.NewClient(web.Options{
			TLS: r.TLS, Proxy: r.Proxy, Home: u, Credentials: r.credentials(u), Everywhere: r.PassCredentials, Dial: s.opt.Dial,
		})
	})
}

// talk is a conversation with r.
func (s *Store) talk(r Repository, doing string) web.Talk {
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = time.Minute
	}
	return web.Talk{
		Doing: doing, With: r.String(), Timeout: timeout, Stall: s.opt.StallTimeout,
		Secrets: web.Secrets(
			[]string{r.Credentials.Password, r.Credentials.BearerToken, r.Proxy.Password, string(r.TLS.ClientKey)},
			[]string{r.Credentials.Username, r.Proxy.Username},
			[]string{r.URL, r.Proxy.URL},
		),
	}
}
