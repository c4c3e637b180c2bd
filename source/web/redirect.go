package web

import (
	"fmt"
	"net/http"
	"strings"

	"plumb.dev/plumb/fault"
)

const (
	maxWithin   = 4
	maxAnywhere = 10
)

// Within follows redirects of a server to itself: to the same host and port, or
// from port 80 to 443. It is for conversations in which whoever could be sent
// elsewhere could be made to ask internal services on another's behalf.
func Within(req *http.Request, via []*http.Request) error {
	if len(via) > maxWithin {
		return Redirected(req, "after four redirects")
	}
	if err := Anywhere(req, via); err != nil {
		return err
	}
	switch from, to := via[len(via)-1].URL, req.URL; {
	case !strings.EqualFold(from.Hostname(), to.Hostname()):
		return Redirected(req, "which is another host")
	case PortOf(from) != PortOf(to) && (PortOf(from) != "80" || PortOf(to) != "443"):
		return Redirected(req, "which is another port")
	}
	return nil
}

// Anywhere follows redirects to any server, but from https to http: files are
// often kept at another one. What a client shows goes by where it asks.
func Anywhere(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, req.URL
	switch {
	case len(via) > maxAnywhere:
		return Redirected(req, "after ten redirects")
	case from.Scheme == "https" && to.Scheme != "https":
		return Redirected(req, "which gives up TLS")
	case to.Scheme != "http" && to.Scheme != "https":
		return Redirected(req, "which is not http or https")
	case to.User != nil:
		return Redirected(req, "with credentials in the address")
	}
	return nil
}

// Redirected is the refusal to follow a redirect, and why.
func Redirected(req *http.Request, why string) error {
	to := req.URL
	return &fault.Error{
		Next: fault.Retry, Reason: ReasonRedirectRefused, Hint: "set the URL to where it leads, if that is right",
		Err: fmt.Errorf("redirected to %s://%s, %s", OneLine(to.Scheme, 20), OneLine(to.Host, 200), why),
	}
}
