package address

import (
	"fmt"
	"net/url"
	"strings"

	"plumb.dev/plumb/fault"
)

// InCluster is the server that stands for the cluster that plumb runs in.
const InCluster = "https://kubernetes.default.svc"

// Server brings the URL of an API server to the one form in which they are
// compared. A query tells two ways apart to go to one server, as different accounts,
// and is no part of where it is: see [Host]. What is no such URL is a [fault.Stall] of
// reason InvalidSpec.
func Server(s string) (string, error) {
	form, err := server(strings.Trim(s, " \t\r\n"))
	if err != nil {
		return "", &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("server %q: %w", Show(s), err), Hint: "write https://HOST:PORT",
		}
	}
	return form, nil
}

// Host is what can be connected to of a server, in the form of [Server].
func Host(server string) string {
	host, _, _ := strings.Cut(server, "?")
	return host
}

func server(s string) (string, error) {
	s, query, _ := strings.Cut(s, "?")
	if err := plain(s); err != nil {
		return "", err
	}
	if query != "" {
		if err := plain(query); err != nil {
			return "", fmt.Errorf("its query: %w", err)
		}
		query = "?" + query
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("it is not the URL of a server")
	}
	if u.User != nil {
		return "", fmt.Errorf("it has a user in it, which belongs into the Secret's config")
	}
	host, port, err := hostPort(u.Scheme, u.Host)
	if err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if part == "." || part == ".." {
			return "", fmt.Errorf("its path has %s in it", part)
		}
	}
	if port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/") + query, nil
}

// A ServerPattern stands for API servers.
type ServerPattern struct {
	globs []func(string) bool
}

// ParseServerPattern reads a pattern of servers, in which * crosses everything.
func ParseServerPattern(s string) (p ServerPattern, err error) {
	texts, err := expand(strings.Trim(s, " \t\r\n"))
	if err != nil {
		return p, err
	}
	for _, text := range texts {
		g, err := match(serverForm(text))
		if err != nil {
			return p, err
		}
		p.globs = append(p.globs, g)
	}
	return p, nil
}

// serverForm brings a pattern of servers to the form of [Server], in lower
// case.
func serverForm(s string) string {
	scheme, rest, has := strings.Cut(lower(s), "://")
	if !has {
		return strings.TrimRight(scheme, "/")
	}
	authority, path, _ := strings.Cut(rest, "/")
	if port := ports[scheme]; port != "" {
		authority = strings.TrimSuffix(authority, ":"+port)
	}
	return strings.TrimRight(scheme+"://"+strings.TrimSuffix(authority, ".")+"/"+path, "/")
}

// Matches reports whether p stands for a server, in the form of [Server].
func (p ServerPattern) Matches(server string) bool {
	for _, g := range p.globs {
		if g(lower(server)) {
			return true
		}
	}
	return false
}
