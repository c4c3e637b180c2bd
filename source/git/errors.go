package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
)

// The reasons of this package's faults.
const (
	ReasonInvalidURL         = "InvalidURL"            // the address can't be used; a Stall
	ReasonInvalidReference   = "InvalidReference"      // a branch, tag, name or commit that can be none; a Stall
	ReasonInvalidSemver      = "InvalidSemver"         // a range that can't be parsed; a Stall
	ReasonInvalidAuth        = "InvalidCredentials"    // a key or certificate that can't be parsed
	ReasonAuthFailed         = "AuthenticationFailed"  // 401, 403, or no SSH method accepted
	ReasonNotFound           = "RepositoryNotFound"    // 404
	ReasonRateLimited        = "RateLimited"           // 429, or 503 or 403 with Retry-After
	ReasonServerError        = "ServerError"           // another status, or a server that reports an error
	ReasonReferenceNotFound  = "ReferenceNotFound"     // a branch that is gone, an empty repository
	ReasonTooLarge           = "SourceTooLarge"        // over one of the limits in Options
	ReasonTimeout            = source.ReasonTimeout    // the timeout, or no progress
	ReasonNotAGitServer      = "NotAGitServer"         // such as a login page
	ReasonRedirectRefused    = "RedirectRefused"       // to another host, or from https to http
	ReasonHostKeyMismatch    = "HostKeyMismatch"       // unknown, changed, revoked or weak
	ReasonCertificateInvalid = "CertificateInvalid"    // the server's TLS certificate
	ReasonConnectionFailed   = "ConnectionFailed"      // refused, reset, no such host
	ReasonCorrupt            = "SourceCorrupt"         // a broken pack, from the server or on disk
	ReasonUnsafeTree         = "UnsafeTree"            // a name that must not be in a tree
	ReasonNotFetched         = source.ReasonNotFetched // Open of what isn't there
	ReasonInvalidSubmodule   = "InvalidSubmodule"      // a submodule that can't be mounted
)

func failure(reason fault.Reason, format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Retry, Reason: reason, Err: fmt.Errorf(format, args...)}
}

func invalidURL(format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Stall, Reason: ReasonInvalidURL, Err: fmt.Errorf(format, args...)}
}

func invalidReference(format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Stall, Reason: ReasonInvalidReference, Err: fmt.Errorf(format, args...)}
}

func errTooLarge(format string, args ...any) error {
	return failure(ReasonTooLarge, format, args...)
}

func errCorrupt(format string, args ...any) error {
	return failure(ReasonCorrupt, format, args...)
}

// Causes that end a context.
var (
	errStalled  = errors.New("no progress")
	errTimedOut = errors.New("timeout")
)

// explain turns what went wrong while talking to r into a fault, in words
// that hold none of r's secrets. It is the one way out of this package for
// text that another program wrote.
func explain(ctx context.Context, r Remote, doing string, err error) error {
	if err == nil {
		return nil
	}
	var done *clean
	if errors.As(err, &done) {
		return err // explained where it happened
	}
	f := &fault.Error{Next: fault.Retry}
	var known *fault.Error
	switch cause := context.Cause(ctx); {
	// A context that is over explains whatever it broke.
	case errors.Is(cause, errStalled):
		f.Reason, err = ReasonTimeout, errors.New("the server stopped sending")
	case errors.Is(cause, errTimedOut), errors.Is(cause, context.DeadlineExceeded):
		f.Reason, err = ReasonTimeout, errors.New("the timeout has passed")
	case cause != nil:
		err = cause
	case errors.As(err, &known):
		f.Next, f.Reason, f.After, f.Hint = known.Next, known.Reason, known.After, known.Hint
		err = known.Err
	default:
		f.Reason, err = classify(err)
	}
	f.Err = &clean{
		text: r.scrub(fmt.Sprintf("%s %s: %s", doing, r, oneLine(err.Error(), 400))),
		is:   sentinel(err),
	}
	return f
}

// classify names the cause of an error of the network.
func classify(err error) (reason fault.Reason, plain error) {
	// net/http prefixes its errors with the URL, query and all.
	var ue *url.Error
	for errors.As(err, &ue) {
		err = ue.Err
		ue = nil
	}
	var (
		unknownCA x509.UnknownAuthorityError
		badCert   x509.CertificateInvalidError
		badHost   x509.HostnameError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &unknownCA), errors.As(err, &badCert), errors.As(err, &badHost), errors.As(err, &verify):
		return ReasonCertificateInvalid, err
	case errors.As(err, &alert):
		return ReasonAuthFailed, err // the server refused our certificate, or the lack of one
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout, err
	}
	return ReasonConnectionFailed, err
}

// clean is an error whose text was scrubbed. What it wraps is kept only as far
// as code needs it: another error's text could be printed.
type clean struct {
	text string
	is   error
}

func (c *clean) Error() string { return c.text }
func (c *clean) Unwrap() error { return c.is }

func sentinel(err error) error {
	for _, s := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, s) {
			return s
		}
	}
	return nil
}

// scrub takes every secret of r out of s, in the forms that one is likely to
// be written in.
func (r Remote) scrub(s string) string {
	for _, secret := range r.secrets() {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}

func (r Remote) secrets() []string {
	var plain []string
	add := func(s string) {
		// A shorter one can't be told from ordinary text.
		if len(s) >= 4 {
			plain = append(plain, s)
		}
	}
	add(r.Auth.Password)
	add(r.Auth.BearerToken)
	add(r.Proxy.Password)
	add(string(r.Auth.Identity))
	add(string(r.Auth.ClientKey))
	for _, raw := range []string{r.URL, r.Proxy.URL} {
		if _, rest, ok := strings.Cut(raw, "://"); ok {
			if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
				at := strings.LastIndex(authority, "@")
				if _, password, ok := strings.Cut(authority[:at], ":"); ok {
					add(password)
				}
			}
		}
		if _, query, ok := strings.Cut(raw, "?"); ok {
			add(query)
			for pair := range strings.SplitSeq(query, "&") {
				if _, v, ok := strings.Cut(pair, "="); ok {
					add(v)
				}
			}
		}
	}
	var all []string
	for _, p := range plain {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			decoded = p
		}
		for _, user := range []string{r.Auth.Username, r.Proxy.Username} {
			all = append(all, base64.StdEncoding.EncodeToString([]byte(user+":"+decoded)))
		}
		all = append(all, p, decoded, url.QueryEscape(decoded), url.PathEscape(decoded),
			base64.StdEncoding.EncodeToString([]byte(decoded)))
	}
	// The longest first, so that none is left in parts.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// oneLine makes text from elsewhere fit to print: one line, no control
// characters, not long.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return clip(strings.TrimSpace(s), most)
}

func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// maxAfter bounds what a server may ask for: a source that waits for days
// because of one bad header would look dead.
const maxAfter = time.Hour
