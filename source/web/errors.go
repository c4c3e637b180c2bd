package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
)

// The reasons of this package's faults.
const (
	ReasonInvalidURL         = "InvalidURL"           // the address can't be used; a Stall
	ReasonInvalidAuth        = "InvalidCredentials"   // a key or certificate that can't be parsed
	ReasonAuthFailed         = "AuthenticationFailed" // 401, 403, or a client certificate that is refused
	ReasonNotFound           = "NotFound"             // 404, 410
	ReasonRateLimited        = "RateLimited"          // 429, or 503 or 403 with Retry-After
	ReasonServerError        = "ServerError"          // another status
	ReasonTooLarge           = "SourceTooLarge"       // longer than it may be
	ReasonTimeout            = source.ReasonTimeout   // the timeout, or no progress
	ReasonRedirectRefused    = "RedirectRefused"      // such as from https to http
	ReasonCertificateInvalid = "CertificateInvalid"   // the server's TLS certificate
	ReasonConnectionFailed   = "ConnectionFailed"     // refused, reset, no such host
	ReasonAddressRefused     = "AddressRefused"       // by Dial
)

// Failure is a fault that may pass by itself.
func Failure(reason fault.Reason, format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Retry, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// InvalidURL is the fault of an address that can never work.
func InvalidURL(format string, args ...any) *fault.Error {
	return &fault.Error{Next: fault.Stall, Reason: ReasonInvalidURL, Err: fmt.Errorf(format, args...)}
}

// In says where an error is, also if it is a fault.
func In(what string, err error) error {
	var f *fault.Error
	if err == nil {
		return nil
	}
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", what, err)
	}
	at := *f
	at.Err = fmt.Errorf("%s: %w", what, f.Err)
	return &at
}

// Refusal says what the status of an answer means, or nil if it is 200 or one
// of those that are well too. The body is never looked at: it may be long, and
// may hold what we sent.
func Refusal(resp *http.Response, well ...int) error {
	code := resp.StatusCode
	after := retryAfter(resp.Header.Get("Retry-After"))
	status := fmt.Sprintf("the server answers %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusOK, slices.Contains(well, code):
		return nil
	case code == http.StatusTooManyRequests, after > 0 && (code == http.StatusServiceUnavailable || code == http.StatusForbidden):
		// github.com answers 403 to who asks too often.
		f := Failure(ReasonRateLimited, "%s", status)
		f.After = after
		return f
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return Failure(ReasonAuthFailed, "%s", status)
	case code == http.StatusNotFound, code == http.StatusGone:
		return Failure(ReasonNotFound, "%s", status)
	case code == http.StatusProxyAuthRequired:
		return Failure(ReasonAuthFailed, "the proxy answers %d %s", code, http.StatusText(code))
	case code >= 300 && code < 400:
		return Failure(ReasonRedirectRefused, "%s", status)
	}
	return Failure(ReasonServerError, "%s", status)
}

// maxAfter bounds what a server may ask for: a source that waits for days
// because of one bad header would look dead.
const maxAfter = time.Hour

func retryAfter(s string) time.Duration {
	var d time.Duration
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		d = time.Duration(min(n, int(maxAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), maxAfter)
}

// Causes that end a context.
var (
	errStalled = errors.New("no progress")
	// ErrTimedOut is the cause of a context whose time is over.
	ErrTimedOut = errors.New("timeout")
)

// A Talk is one conversation with a server.
type Talk struct {
	Doing   string // resolve, fetch
	With    string // the address, without what is secret in it
	Secrets []string
	Timeout time.Duration
	Stall   time.Duration // without progress; 0: 30 s
}

// Run has a conversation within its timeout, and explains what went wrong.
func (t Talk) Run(ctx context.Context, do func(context.Context, *Pulse) error) error {
	ctx, stop := context.WithTimeoutCause(ctx, t.Timeout, ErrTimedOut)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if t.Stall <= 0 {
		t.Stall = 30 * time.Second
	}
	p := NewPulse(t.Stall, cancel)
	defer p.Stop()
	return t.Explain(ctx, do(ctx, p))
}

// Explain turns what went wrong into a fault, in words that hold no secret. It
// is the one way out for text that another program wrote. What it has explained
// already it leaves as it is.
func (t Talk) Explain(ctx context.Context, err error) error {
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
	case errors.Is(cause, ErrTimedOut), errors.Is(cause, context.DeadlineExceeded):
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
		text: scrub(fmt.Sprintf("%s %s: %s", t.Doing, t.With, OneLine(err.Error(), 400)), t.Secrets),
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

// scrub takes every secret out of s. The longest have to be first.
func scrub(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}

// Secrets are those of a conversation, in the forms that they are likely to be
// written in: these, and what is secret in the addresses. Users are those whose
// password one may be.
func Secrets(plain, users, addresses []string) []string {
	var short []string
	add := func(s string) {
		// A shorter one can't be told from ordinary text.
		if len(s) >= 4 {
			short = append(short, s)
		}
	}
	for _, s := range plain {
		add(s)
	}
	for _, raw := range addresses {
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
	for _, p := range short {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			decoded = p
		}
		for _, user := range users {
			all = append(all, base64.StdEncoding.EncodeToString([]byte(user+":"+decoded)))
		}
		all = append(all, p, decoded, url.QueryEscape(decoded), url.PathEscape(decoded),
			base64.StdEncoding.EncodeToString([]byte(decoded)))
	}
	// The longest first, so that none is left in parts.
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(all)
}

// OneLine makes text from elsewhere fit to print: one line, no control
// characters, not long.
func OneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return Clip(strings.TrimSpace(s), most)
}

// Clip makes text not longer than most, but for a sign that there was more.
func Clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
