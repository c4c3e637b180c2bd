package bucket

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/web"
)

// A Remote is a bucket on a server, and how to reach it. Printing one shows its
// address without secrets.
type Remote struct {
	Bucket   string
	Endpoint string // host, or host:port
	Region   string // empty: the server is asked
	Prefix   string // only objects whose keys begin with it
	Auth     Auth
	TLS      web.TLS

	Proxy    web.Proxy     // none: what the environment says
	Insecure bool          // HTTP without TLS
	Timeout  time.Duration // of one Resolve or Fetch; 0 is a minute
}

// Auth is what to sign requests with; without keys they are not signed. Logins by
// the identity of a cloud would stand beside them.
type Auth struct {
	AccessKey, SecretKey string
}

// String returns nothing of what is in a.
func (a Auth) String() string { return "(credentials)" }

// GoString returns nothing of what is in a.
func (a Auth) GoString() string { return a.String() }

// LogValue returns nothing of what is in a.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String returns the address of the bucket.
func (r Remote) String() string {
	u, err := r.parse()
	if err != nil {
		return "(invalid address)"
	}
	u.Path = "/" + r.Bucket
	if r.Prefix != "" {
		u.Path += "/" + r.Prefix
	}
	return web.OneLine(u.String(), 400)
}

// GoString is String.
func (r Remote) GoString() string { return r.String() }

// LogValue is String.
func (r Remote) LogValue() slog.Value { return slog.StringValue(r.String()) }

// The reasons of this package's faults, beside those of source/web and
// source/archive.
const (
	ReasonInvalidBucket = "InvalidBucket" // a name that no bucket can have; a Stall
	ReasonNotAnS3Server = "NotAnS3Server" // such as a login page
)

// Validate reports why the address can't be used, as a fault with reason
// InvalidURL or InvalidBucket.
func (r Remote) Validate() error {
	if _, err := r.parse(); err != nil {
		return err
	}
	if s3utils.CheckValidBucketName(r.Bucket) != nil {
		return &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidBucket, Hint: "write 3 to 63 lower-case letters, digits, dots and dashes",
			Err: fmt.Errorf("no bucket can have the name %s", named(r.Bucket)),
		}
	}
	if s3utils.CheckValidObjectNamePrefix(r.Prefix) != nil || strings.ContainsFunc(r.Prefix, unicode.IsControl) {
		return &fault.Error{
			Next: fault.Stall, Reason: ReasonInvalidBucket,
			Err: fmt.Errorf("no object can have the prefix %s", named(r.Prefix)),
		}
	}
	return nil
}

// parse returns the server's address.
func (r Remote) parse() (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		f := web.InvalidURL("the endpoint %s", why)
		f.Hint = "write a host, or host:port"
		return nil, f
	}
	scheme := "https"
	if r.Insecure {
		scheme = "http"
	}
	if r.Endpoint == "" {
		return bad("is empty")
	}
	if strings.Contains(r.Endpoint, "://") {
		return bad("has a scheme, and insecure says which")
	}
	u, err := url.Parse(scheme + "://" + r.Endpoint)
	switch {
	case err != nil, u.Hostname() == "", strings.HasPrefix(r.Endpoint, "-"),
		strings.ContainsFunc(r.Endpoint, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) }):
		return bad("is no host")
	case u.User != nil:
		return bad("has a user in it")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has more than a host and a port")
	}
	u.Path = ""
	return u, nil
}

// address tells what is kept apart from what: the objects, and the way to them,
// which could say anything.
func (r Remote) address() []string {
	at := r.Endpoint
	if u, err := r.parse(); err == nil {
		at = u.Scheme + "://" + strings.ToLower(u.Host)
	}
	return []string{at, r.Bucket, r.Prefix, r.Region, r.Proxy.Address()}
}

// server names who answers: the proxy, if there is one, or else the server.
func (r Remote) server() string {
	if r.Proxy.URL != "" {
		if u, err := url.Parse(r.Proxy.URL); err == nil {
			return strings.ToLower(u.Host)
		}
	}
	return strings.ToLower(r.Endpoint)
}

// access is whoever asks as r does: what is shown, what is expected, the way.
func (r Remote) access() []string {
	return []string{
		r.Auth.AccessKey, r.Auth.SecretKey, string(r.TLS.CA), string(r.TLS.ClientCert), string(r.TLS.ClientKey),
		fmt.Sprint(r.TLS.Insecure), r.Proxy.URL, r.Proxy.Username, r.Proxy.Password,
	}
}

func (r Remote) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return time.Minute
}

// secrets are what no error may hold.
func (r Remote) secrets() []string {
	return web.Secrets([]string{r.Auth.SecretKey, r.Proxy.Password, string(r.TLS.ClientKey)},
		[]string{r.Auth.AccessKey, r.Proxy.Username}, []string{r.Endpoint, r.Proxy.URL})
}
