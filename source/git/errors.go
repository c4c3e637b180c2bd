package git

import (
	"context"
	"fmt"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/web"
)

// The reasons of this package's faults.
const (
	ReasonInvalidURL         = web.ReasonInvalidURL         // the address can't be used; a Stall
	ReasonInvalidReference   = "InvalidReference"           // a branch, tag, name or commit that can be none; a Stall
	ReasonInvalidSemver      = "InvalidSemver"              // a range that can't be parsed; a Stall
	ReasonInvalidAuth        = web.ReasonInvalidAuth        // a key or certificate that can't be parsed
	ReasonAuthFailed         = web.ReasonAuthFailed         // 401, 403, or no SSH method accepted
	ReasonNotFound           = "RepositoryNotFound"         // 404
	ReasonRateLimited        = web.ReasonRateLimited        // 429, or 503 or 403 with Retry-After
	ReasonServerError        = web.ReasonServerError        // another status, or a server that reports an error
	ReasonReferenceNotFound  = "ReferenceNotFound"          // a branch that is gone, an empty repository
	ReasonTooLarge           = web.ReasonTooLarge           // over one of the limits in Options
	ReasonTimeout            = web.ReasonTimeout            // the timeout, or no progress
	ReasonNotAGitServer      = "NotAGitServer"              // such as a login page
	ReasonRedirectRefused    = web.ReasonRedirectRefused    // to another host, or from https to http
	ReasonHostKeyMismatch    = "HostKeyMismatch"            // unknown, changed, revoked or weak
	ReasonCertificateInvalid = web.ReasonCertificateInvalid // the server's TLS certificate
	ReasonConnectionFailed   = web.ReasonConnectionFailed   // refused, reset, no such host
	ReasonCorrupt            = "SourceCorrupt"              // a broken pack, from the server or on disk
	ReasonUnsafeTree         = "UnsafeTree"                 // a name that must not be in a tree
	ReasonNotFetched         = source.ReasonNotFetched      // Open of what isn't there
	ReasonInvalidSubmodule   = "InvalidSubmodule"           // a submodule that can't be mounted
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

// explain turns what went wrong while talking to r into a fault, in words
// that hold none of r's secrets.
func explain(ctx context.Context, r Remote, doing string, err error) error {
	return r.talk(doing).Explain(ctx, err)
}

// talk is a conversation with r.
func (r Remote) talk(doing string) web.Talk {
	return web.Talk{Doing: doing, With: r.String(), Secrets: r.secrets(), Timeout: r.timeout()}
}

func (r Remote) secrets() []string {
	return web.Secrets(
		[]string{r.Auth.Password, r.Auth.BearerToken, r.Proxy.Password, string(r.Auth.Identity), string(r.Auth.ClientKey)},
		[]string{r.Auth.Username, r.Proxy.Username},
		[]string{r.URL, r.Proxy.URL},
	)
}
