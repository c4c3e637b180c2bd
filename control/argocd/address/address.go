// Package address compares addresses of repositories and API servers, as Argo
// CD's Secrets, projects and Applications write them.
//
// What an address is compared by is one form of it, in which all ways to write
// the same thing are the same: the case of letters, git@host:path and
// ssh://git@host/path, the port that the scheme has anyway, .git and slashes at
// the end, percent-encoding, names in other scripts, a user and password before
// an HTTP server's name. What could stand for another thing than it seems to,
// such as .. or an escaped slash, is no address: [Parse] refuses it with a
// [fault.Stall] of reason InvalidSpec.
//
// Patterns are globs as Argo CD has them: * and ? within a part of the path, **
// across, [ab] and {a,b}. They are brought to the same form, so that a pattern
// can't be passed by writing an address another way. No error shows a password.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"plumb.dev/plumb/fault"
)

// An Address is where a repository is.
type Address struct {
	scheme string // empty: a registry that is written without one
	user   string // whom an SSH server knows; of others, nothing
	host   string
	port   string // empty: the scheme's own
	path   string // without slashes at its ends; lower case

	given  string // as it can be fetched from
	folder bool   // it was written with a slash at its end
}

// ports are the schemes that there are, and the port that each has anyway.
var ports = map[string]string{"https": "443", "http": "80", "ssh": "22", "oci": "443", "file": "", "": "443"}

// maxLength is what an address and a pattern may have in characters.
const maxLength = 2048

// Parse reads the address of a repository: a URL, or USER@HOST:PATH as Git and
// SSH have it, or HOST/PATH of a registry.
func Parse(s string) (Address, error) {
	a, err := parse(strings.Trim(s, " \t\r\n"))
	if err != nil {
		return Address{}, &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("repository %q: %w", Show(s), err),
			Hint: "write https://HOST/PATH, ssh://git@HOST/PATH, git@HOST:PATH or oci://HOST/PATH",
		}
	}
	return a, nil
}

func parse(s string) (a Address, err error) {
	if err := plain(s); err != nil {
		return a, err
	}
	scheme, authority, path := split(s)
	if _, ok := ports[scheme]; !ok {
		return a, fmt.Errorf("the scheme %q is none of http, https, ssh and oci", scheme)
	}
	a.scheme = scheme
	user, host := cutLast(authority, "@")
	user, _, _ = strings.Cut(user, ":")
	if a.host, a.port, err = hostPort(scheme, host); err != nil {
		return a, err
	}
	if scheme == "ssh" {
		if a.user = strings.ToLower(user); a.user == "" {
			a.user = "git"
		}
		if strings.HasPrefix(a.user, "-") || strings.Contains(a.user, "%") {
			return a, errors.New("the user before the host is no user name")
		}
	}
	if a.path, err = cleanPath(path); err != nil {
		return a, err
	}
	if a.host == "" && (scheme != "file" || a.path == "") || scheme == "" && strings.HasSuffix(host, ":") {
		return a, errors.New("it has no host")
	}
	a.folder = strings.HasSuffix(path, "/")
	if a.given = s; scheme == "ssh" {
		a.given = "ssh://" + authority + path
	}
	return a, nil
}

// plain refuses what no address has in it, or what can't be seen in one.
func plain(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > maxLength:
		return fmt.Errorf("it has more than %d characters", maxLength)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unfit):
		return errors.New("it has a space, a control character or an invisible one in it")
	case strings.ContainsAny(s, "\\?#"):
		return errors.New("it has a query, a fragment or a backslash")
	case strings.HasPrefix(s, "-"):
		return errors.New("it starts with a dash")
	}
	return nil
}

func unfit(c rune) bool {
	return unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) || c == unicode.ReplacementChar
}

// split takes an address or a pattern apart. USER@HOST:PATH, and ssh://HOST:PATH
// with a path that is no port, have the scheme ssh.
func split(s string) (scheme, authority, path string) {
	scheme, rest, has := strings.Cut(s, "://")
	if !has {
		scheme, rest = "", s
	}
	scheme = lower(scheme)
	if authority = rest; strings.Contains(rest, "/") {
		i := strings.IndexByte(rest, '/')
		authority, path = rest[:i], rest[i:]
	}
	if has && scheme != "ssh" || !has && !strings.Contains(authority, "@") {
		return scheme, authority, path
	}
	at := strings.LastIndexByte(authority, '@') + 1
	if strings.HasPrefix(authority[at:], "[") {
		at += strings.IndexByte(authority[at:], ']') + 1 // the colons of an IPv6 address
	}
	colon := strings.IndexByte(authority[at:], ':')
	if colon < 0 || has && isPort(authority[at+colon+1:]) {
		return "ssh", authority, path
	}
	colon += at
	return "ssh", authority[:colon], "/" + strings.TrimLeft(authority[colon+1:]+path, "/")
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil || s == ""
}

func cutLast(s, sep string) (before, after string) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):]
	}
	return "", s
}

// hostPort is a host and its port in the one form.
func hostPort(scheme, s string) (host, port string, err error) {
	host, port, _ = strings.Cut(s, ":")
	if strings.HasPrefix(s, "[") {
		inner, after, closed := strings.Cut(s[1:], "]")
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || ip.Zone() != "" || after != "" && after[0] != ':' {
			return "", "", errors.New("the host in brackets is no IPv6 address")
		}
		host, port = "["+ip.String()+"]", strings.TrimPrefix(after, ":")
	} else if host != "" {
		if host, err = hostName(host); err != nil {
			return "", "", err
		}
	}
	if port, err = portOf(scheme, port); err != nil {
		return "", "", err
	}
	return host, port, nil
}

// hostName is a name as it is looked up.
func hostName(s string) (string, error) {
	name := strings.TrimSuffix(lower(s), ".")
	if strings.ContainsFunc(name, func(c rune) bool { return c >= utf8.RuneSelf }) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", errors.New("the host is no name that can be looked up")
		}
		name = ascii
	}
	ok := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("-._", c)
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.Contains(name, "..") || strings.ContainsFunc(name, func(c rune) bool { return !ok(c) }) {
		return "", errors.New("the host is no host name")
	}
	return name, nil
}

func portOf(scheme, port string) (string, error) {
	if port == "" {
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("the port is no number of a port")
	}
	if port = strconv.FormatUint(n, 10); port == ports[scheme] {
		return "", nil
	}
	return port, nil
}

// cleanPath is a path in the one form.
func cleanPath(s string) (string, error) {
	s, err := unescape(s)
	if err != nil {
		return "", err
	}
	var parts []string
	for part := range strings.SplitSeq(lower(s), "/") {
		switch part {
		case "":
		case ".", "..":
			return "", fmt.Errorf("its path has %s in it", part)
		default:
			parts = append(parts, part)
		}
	}
	if n := len(parts); n > 0 {
		if parts[n-1] = strings.TrimSuffix(parts[n-1], ".git"); parts[n-1] == "" {
			parts = parts[:n-1] // the folder .git itself
		}
	}
	return strings.Join(parts, "/"), nil
}

// unescape takes percent-encoding out. What an escape could hide is refused.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("its path has a % that escapes nothing")
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("its path has a % that escapes nothing")
		}
		if strings.ContainsRune("/\\?#*[]{}%", rune(c)) || c < ' ' || c == 0x7f {
			return "", fmt.Errorf("its path has %%%02X in it", c)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	if !utf8.ValidString(b.String()) || strings.ContainsFunc(strings.ReplaceAll(b.String(), " ", ""), unfit) {
		return "", errors.New("its path has an escaped character that is none or can't be seen")
	}
	return b.String(), nil
}

// lower changes the letters of ASCII only: others may have two lower cases, or
// become letters of ASCII.
func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// String returns the form that addresses are compared by.
func (a Address) String() string { return a.form(a.user) }

func (a Address) form(user string) string {
	var b strings.Builder
	if a.scheme != "" {
		b.WriteString(a.scheme + "://")
	}
	if user != "" {
		b.WriteString(user + "@")
	}
	b.WriteString(a.host)
	if a.port != "" {
		b.WriteString(":" + a.port)
	}
	if a.path != "" {
		b.WriteString("/" + a.path)
	}
	return b.String()
}

// Scheme returns http, https, ssh, oci or file, or nothing of a registry that
// is written without one.
func (a Address) Scheme() string { return a.scheme }

// Host returns the server's name without a port, as it is looked up.
func (a Address) Host() string { return strings.Trim(a.host, "[]") }

// HostPort returns the server's name, with a port if it is not the scheme's own.
func (a Address) HostPort() string {
	if a.port == "" {
		return a.host
	}
	return a.host + ":" + a.port
}

// Place is the host and the path: the same whichever way a repository is got at.
func (a Address) Place() string { return a.host + "/" + a.path }

// Fetch returns the address as it was written, as a URL. It may hold a
// password.
func (a Address) Fetch() string { return a.given }

// Same reports whether two addresses are of one repository.
func (a Address) Same(b Address) bool {
	a.given, a.folder = b.given, b.folder
	return a == b
}

// Within reports whether a is on the server of prefix, with the same scheme,
// user and port, and its path begins as that of prefix does. So a prefix ends
// within a name, unless it was written with a slash at its end.
func (a Address) Within(prefix Address) bool {
	path, begin := a.path, prefix.path
	if prefix.folder && begin != "" {
		path, begin = path+"/", begin+"/"
	}
	return a.scheme == prefix.scheme && a.user == prefix.user && a.host == prefix.host && a.port == prefix.port && strings.HasPrefix(path, begin)
}

// Length says how long a prefix is, to tell which of several is the longest.
func (a Address) Length() int { return len(a.path) }

// Show returns an address for messages, without a user and password that it may
// have. The user of SSH stays.
func Show(s string) string {
	s = strings.Map(func(c rune) rune {
		if unfit(c) {
			return '�'
		}
		return c
	}, strings.Trim(s, " \t\r\n"))
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200]) + "…"
	}
	scheme, rest, has := strings.Cut(s, "://")
	if !has {
		scheme, rest = "", s
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	if !strings.Contains(authority, "@") {
		if at := strings.LastIndex(rest, "@"); at >= 0 && strings.Contains(rest[:at], ":") {
			authority = rest[:at+1] // a password with a slash in it
		}
	}
	user, _ := cutLast(authority, "@")
	if user == "" {
		return s
	}
	after := rest[len(user)+1:]
	user, _, _ = strings.Cut(user, ":")
	if slices.Contains([]string{"ssh", ""}, strings.ToLower(scheme)) {
		after = user + "@" + after
	}
	if has {
		after = scheme + "://" + after
	}
	return after
}
