package git

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/Masterminds/semver/v3"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/keyed"
	"plumb.dev/plumb/source/web"
)

// A Remote is a repository on a server, and how to reach it. Printing one
// shows its address without secrets.
type Remote struct {
	// URL is http, https or ssh. What it has for a user and password is used
	// if Auth has none.
	URL  string
	Auth Auth

	Proxy   Proxy         // none: what the environment says, for http and https
	Timeout time.Duration // of one Resolve or Fetch; 0 is a minute
}

// Auth is what to show to a server, and what to expect of it. All of it is
// optional but KnownHosts for ssh.
type Auth struct {
	Username, Password string
	BearerToken        string
	Identity           []byte // an SSH private key in PEM; its passphrase is Password
	KnownHosts         []byte // SSH host keys to trust, as in known_hosts
	CA                 []byte // PEM certificates to trust beside the system's
	ClientCert         []byte // PEM, for mutual TLS
	ClientKey          []byte
}

// A Proxy is an http, https, socks5 or socks5h address.
type Proxy = web.Proxy

func (a Auth) tls() web.TLS {
	return web.TLS{CA: a.CA, ClientCert: a.ClientCert, ClientKey: a.ClientKey}
}

// String returns nothing of what is in a.
func (a Auth) String() string { return "(credentials)" }

// GoString returns nothing of what is in a.
func (a Auth) GoString() string { return a.String() }

// LogValue returns nothing of what is in a.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String returns the address without user, password and query.
func (r Remote) String() string { return web.Address(r.URL) }

// Server names who answers: the proxy, if there is one, or else the server. Two
// remotes at one server have the same.
func (r Remote) Server() string { return web.Server(r.URL, r.Proxy) }

// GoString is String.
func (r Remote) GoString() string { return r.String() }

// LogValue is String.
func (r Remote) LogValue() slog.Value { return slog.StringValue(r.String()) }

// A Ref says which commit is wanted: of Commit, Name, SemVer, Tag, Branch and
// Short the first that is set. Commit with Branch is that commit if the branch
// contains it. An empty Ref is the branch master, as Flux has it.
type Ref struct {
	Branch string
	Tag    string
	SemVer string // a range, such as ">=1.0.0 <2.0.0"
	Name   string // a full name, such as refs/pull/420/head
	Commit string
	Short  string // the name of a branch or else of a tag, a full name, HEAD, or a commit
}

// A Head is what a Ref stood for when a server was asked.
type Head struct {
	// Revision is what users see: main@sha1:<hash> of a branch,
	// v1.0@sha1:<hash> of a tag, refs/pull/1/head@sha1:<hash> of a full name,
	// sha1:<hash> of a bare commit.
	Revision string
	Hash     string // the commit
	RefName  string // the full name that was found; empty for a bare commit
	Tag      string // the annotated tag's own object, if RefName is one
}

// Validate reports why the URL can't be used, as a fault with reason
// InvalidURL.
func (r Remote) Validate() error {
	_, err := r.parse()
	return err
}

func (r Remote) parse() (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, invalidURL("URL %s %s", r, why)
	}
	switch {
	case r.URL == "":
		return nil, invalidURL("URL is empty")
	case strings.HasPrefix(r.URL, "-"):
		return bad("starts with a dash")
	case strings.ContainsFunc(r.URL, unfit):
		return bad("has a space or control character in it")
	case !strings.Contains(r.URL, "://"):
		return bad("is not an http, https or ssh URL") // scp's form, ext::, a path
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return bad("cannot be parsed")
	}
	switch u.Scheme {
	case "http", "https", "ssh":
	default:
		return bad("is not an http, https or ssh URL")
	}
	host := u.Hostname()
	switch {
	case u.Opaque != "" || host == "":
		return bad("has no host")
	case strings.HasPrefix(host, "-") || strings.ContainsFunc(host, func(c rune) bool { return unfit(c) || strings.ContainsRune(`'"\$;|&<>`+"`", c) }):
		return bad("has a host that is no host name")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has a query or fragment")
	case strings.Trim(u.Path, "/") == "":
		return bad("has no path")
	case strings.ContainsFunc(strings.ReplaceAll(u.Path, " ", ""), unfit) || strings.ContainsAny(u.Path, `'"\`+"`"):
		return bad("has a quote, backslash or control character in its path")
	case strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-"):
		return bad("has a path that starts with a dash")
	}
	if user := u.User.Username(); strings.HasPrefix(user, "-") || strings.ContainsFunc(user, unfit) {
		return bad("has a user that is no user name")
	}
	return u, nil
}

// unfit reports whether c has no place in a URL that a person wrote. Format
// characters are invisible, so that an address could look like another.
func unfit(c rune) bool {
	return unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) || c == unicode.ReplacementChar
}

// credentials are those for u: r.Auth's, or the URL's own.
func (r Remote) credentials(u *url.URL) (user, password string) {
	if r.Auth.Username != "" || r.Auth.Password != "" {
		return r.Auth.Username, r.Auth.Password
	}
	password, _ = u.User.Password()
	return u.User.Username(), password
}

// Validate reports why no server can have r, as a fault with reason
// InvalidReference or InvalidSemver.
func (r Ref) Validate() error {
	_, err := r.plan()
	return err
}

// A wanted is what a Ref looks for.
type wanted struct {
	prefix string // names to ask a server for
	name   string // the one name that will do; empty: the highest tag in versions
	also   string // another one that will do, if that is not there
	short  string // how a revision calls it

	versions *semver.Constraints
	commit   oid // zero: whatever the name stands for
}

func (r Ref) plan() (wanted, error) {
	named := func(name, short string) (wanted, error) {
		if !validRefName(name) {
			return wanted{}, invalidReference("reference %q is not a valid name", web.OneLine(short, 200))
		}
		return wanted{prefix: name, name: name, short: short}, nil
	}
	switch {
	case r.Commit != "":
		id, err := parseOID(r.Commit)
		if err != nil {
			return wanted{}, invalidReference("commit %q is not 40 hexadecimal digits", web.OneLine(r.Commit, 64))
		}
		w := wanted{}
		if r.Branch != "" {
			if w, err = named("refs/heads/"+r.Branch, r.Branch); err != nil {
				return w, err
			}
		}
		w.commit = id
		return w, nil
	case r.Name != "":
		if !strings.HasPrefix(r.Name, "refs/") && r.Name != "HEAD" {
			return wanted{}, invalidReference("reference name %q does not start with refs/", web.OneLine(r.Name, 200))
		}
		return named(r.Name, r.Name)
	case r.SemVer != "":
		c, err := semver.NewConstraint(r.SemVer)
		if err != nil {
			return wanted{}, &fault.Error{
				Next: fault.Stall, Reason: ReasonInvalidSemver, Err: fmt.Errorf("semver range %q cannot be parsed", web.OneLine(r.SemVer, 200)),
				Hint: `write one such as ">=1.2.0 <2.0.0" or "1.x"`,
			}
		}
		return wanted{prefix: "refs/tags/", versions: c}, nil
	case r.Tag != "":
		return named("refs/tags/"+r.Tag, r.Tag)
	case r.Branch != "":
		return named("refs/heads/"+r.Branch, r.Branch)
	case r.Short != "":
		return r.short(named)
	}
	return named("refs/heads/master", "master")
}

func (r Ref) short(named func(name, short string) (wanted, error)) (wanted, error) {
	if id, err := parseOID(r.Short); err == nil {
		return wanted{commit: id}, nil
	}
	if r.Short == "HEAD" || strings.HasPrefix(r.Short, "refs/") {
		return named(r.Short, r.Short)
	}
	w, err := named("refs/heads/"+r.Short, r.Short)
	w.also = "refs/tags/" + r.Short
	return w, err
}

// prefixes are those of the names to ask a server for.
func (w wanted) prefixes() []string {
	if w.also != "" {
		return []string{w.prefix, w.also}
	}
	return []string{w.prefix}
}

// asks reports whether a name is one of those.
func (w wanted) asks(name string) bool { return hasAnyPrefix(name, w.prefixes()) }

func hasAnyPrefix(name string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// validRefName follows git-check-ref-format, and refuses invisible characters
// as well.
func validRefName(name string) bool {
	if name == "" || name == "@" || len(name) > 1000 || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") ||
		strings.HasSuffix(name, ".") || strings.Contains(name, "..") || strings.Contains(name, "@{") ||
		strings.Contains(name, "//") || strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.ContainsFunc(name, unfit) {
		return false
	}
	short := name
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		short = strings.TrimPrefix(short, prefix)
	}
	if short == "" || strings.HasPrefix(short, "-") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return path.Clean(name) == name
}

// key names the local repository of r: one for each address, whoever asks, and
// for each proxy on the way, which could say anything.
func (r Remote) key(salt keyed.Salt) string {
	u, err := r.parse()
	if err != nil {
		return salt.Name(r.URL)
	}
	at := *u
	at.User = nil
	if u.Scheme == "ssh" {
		at.User = url.User(r.account(u)) // it may have a root of its own
	}
	return salt.Name(at.String(), r.Proxy.Address())
}

// access names whoever asks as r does: by what is shown to the server, what is
// expected of it, and the way to it.
func (r Remote) access(salt keyed.Salt) string {
	var user, password string
	if u, err := r.parse(); err == nil {
		user, password = r.credentials(u)
	}
	return salt.Name(user, password, r.Auth.BearerToken, string(r.Auth.Identity), string(r.Auth.KnownHosts),
		string(r.Auth.CA), string(r.Auth.ClientCert), string(r.Auth.ClientKey), r.Proxy.URL, r.Proxy.Username, r.Proxy.Password)
}

// transport names what a connection depends on.
func (r Remote) transport(salt keyed.Salt) string {
	return r.key(salt) + salt.Name(string(r.Auth.CA), string(r.Auth.ClientCert), string(r.Auth.ClientKey), r.Proxy.URL, r.Proxy.Username, r.Proxy.Password)
}

// account is whom an SSH server knows.
func (r Remote) account(u *url.URL) string {
	if user := u.User.Username(); user != "" {
		return user // ssh://git@…: the address names the account
	}
	if r.Auth.Username != "" || r.Auth.Password != "" {
		return cmp.Or(r.Auth.Username, "git")
	}
	return "git"
}

func (r Remote) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return time.Minute
}
