package oci

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"

	"plumb.dev/plumb/source/web"
)

// A Remote is a repository of a registry, and how to reach it. Printing one
// shows its address without secrets.
type Remote struct {
	URL  string // oci://host/repository
	Auth Auth
	TLS  web.TLS

	Proxy    web.Proxy     // none: what the environment says
	Insecure bool          // HTTP without TLS
	Timeout  time.Duration // of one Resolve or Fetch; 0 is a minute
}

// Auth is what to show to a registry. The user counts before the configs. Logins
// by the identity of a cloud would stand beside them.
type Auth struct {
	Username, Password string
	// DockerConfigs are the contents of Secrets of the type
	// kubernetes.io/dockerconfigjson. As with pods, the most special address that
	// fits the repository counts, and of equal ones the first.
	DockerConfigs [][]byte
}

// String returns nothing of what is in a.
func (a Auth) String() string { return "(credentials)" }

// GoString returns nothing of what is in a.
func (a Auth) GoString() string { return a.String() }

// LogValue returns nothing of what is in a.
func (a Auth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// String returns the address.
func (r Remote) String() string { return web.Address(r.URL) }

// GoString is String.
func (r Remote) GoString() string { return r.String() }

// LogValue is String.
func (r Remote) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Validate reports why the URL can't be used, as a fault with reason
// InvalidURL.
func (r Remote) Validate() error {
	_, err := r.parse()
	return err
}

// Where Docker's own registry is, and what it is called.
const (
	dockerHub  = "registry-1.docker.io"
	dockerName = "index.docker.io"
)

func (r Remote) parse() (registry.Reference, error) {
	bad := func(format string, args ...any) (registry.Reference, error) {
		f := web.InvalidURL("URL %s %s", r, fmt.Sprintf(format, args...))
		f.Hint = "write oci://host/repository"
		return registry.Reference{}, f
	}
	rest, ok := strings.CutPrefix(r.URL, "oci://")
	if !ok {
		return bad("does not begin with oci://")
	}
	if strings.ContainsFunc(r.URL, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) }) {
		return bad("has a space or control character in it")
	}
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return bad("has no host")
	case u.User != nil:
		return bad("has a user in it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return bad("has a query or fragment")
	}
	host, repo, _ := strings.Cut(rest, "/")
	repo = strings.TrimSuffix(repo, "/")
	if name, tag, ok := strings.Cut(repo, "@"); ok || strings.Contains(repo, ":") {
		if !ok {
			_, tag, _ = strings.Cut(name, ":")
		}
		return bad("has the tag or digest %q in it, which belongs to the reference", web.OneLine(tag, 100))
	}
	switch host = strings.ToLower(host); host {
	case "docker.io", dockerName, dockerHub:
		if host = dockerHub; !strings.Contains(repo, "/") {
			repo = "library/" + repo
		}
	}
	ref := registry.Reference{Registry: host, Repository: repo}
	if err := ref.ValidateRegistry(); err != nil {
		return bad("has a host that is none")
	}
	if err := ref.ValidateRepository(); err != nil || strings.HasPrefix(host, "-") {
		return bad("has no name of a repository after the host")
	}
	return ref, nil
}

// base is the registry's address.
func (r Remote) base(ref registry.Reference) *url.URL {
	scheme := "https"
	if r.Insecure {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: ref.Registry}
}

// address tells what is kept apart from what: the repository, and the way to
// it, which could say anything.
func (r Remote) address() string {
	ref, err := r.parse()
	if err != nil {
		return r.URL
	}
	return fmt.Sprintf("%s %s %q", r.base(ref), ref.Repository, r.Proxy.Address())
}

// server names who answers: the proxy, if there is one, or else the registry.
func (r Remote) server() string {
	if r.Proxy.URL != "" {
		if u, err := url.Parse(r.Proxy.URL); err == nil {
			return strings.ToLower(u.Host)
		}
	}
	ref, err := r.parse()
	if err != nil {
		return ""
	}
	return ref.Registry
}

// access is whoever asks as r does: what is shown, what is expected, the way.
func (r Remote) access() []string {
	fields := []string{
		r.Auth.Username, r.Auth.Password, string(r.TLS.CA), string(r.TLS.ClientCert), string(r.TLS.ClientKey),
		r.Proxy.URL, r.Proxy.Username, r.Proxy.Password, fmt.Sprint(r.TLS.Insecure),
	}
	for _, c := range r.Auth.DockerConfigs {
		fields = append(fields, string(c))
	}
	return fields
}

func (r Remote) timeout() time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	return time.Minute
}

// An entry is what a docker config has for an address.
type entry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          []byte `json:"auth"` // user:password
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (e entry) credential() auth.Credential {
	c := auth.Credential{Username: e.Username, Password: e.Password, RefreshToken: e.IdentityToken, AccessToken: e.RegistryToken}
	if user, password, ok := strings.Cut(string(e.Auth), ":"); ok {
		c.Username, c.Password = user, strings.TrimRight(password, "\x00")
	}
	return c
}

// credential returns what to show to the registry for a repository.
func (r Remote) credential(ref registry.Reference) (auth.Credential, error) {
	if r.Auth.Username != "" || r.Auth.Password != "" {
		return auth.Credential{Username: r.Auth.Username, Password: r.Auth.Password}, nil
	}
	best, most := auth.EmptyCredential, 0
	for _, b := range r.Auth.DockerConfigs {
		var config struct {
			Auths map[string]entry `json:"auths"`
		}
		if err := json.Unmarshal(b, &config); err != nil {
			f := web.Failure(web.ReasonInvalidAuth, "the docker config is not what it should be")
			f.Hint = "make a Secret of the type kubernetes.io/dockerconfigjson, as kubectl create secret docker-registry does"
			return best, f // the cause could quote a password
		}
		for _, at := range slices.Sorted(maps.Keys(config.Auths)) {
			if n := fits(at, ref); n > most {
				best, most = config.Auths[at].credential(), n
			}
		}
	}
	return best, nil
}

// fits returns how special the address of a credential is, or 0 if it is not of
// the repository. As the kubelet has it: a scheme does not count, a host may have
// patterns in its labels, and a path covers what is below it.
func fits(at string, ref registry.Reference) int {
	at = strings.TrimPrefix(strings.TrimPrefix(at, "https://"), "http://")
	host, dir, _ := strings.Cut(at, "/")
	for _, version := range []string{"v1", "v2"} { // https://index.docker.io/v1/
		if below, ok := strings.CutPrefix(dir+"/", version+"/"); ok {
			dir = below
		}
	}
	dir = strings.TrimRight(dir, "/")
	hosts := []string{ref.Registry}
	if ref.Registry == dockerHub {
		hosts = append(hosts, dockerName, "docker.io")
	}
	if !slices.ContainsFunc(hosts, func(h string) bool { return like(strings.ToLower(host), h) }) {
		return 0
	}
	if dir != "" && ref.Repository != dir && !strings.HasPrefix(ref.Repository, dir+"/") {
		return 0
	}
	n := 1 + 2*len(dir)
	if !strings.Contains(host, "*") {
		n++
	}
	return n
}

// like reports whether a host fits a pattern, label by label.
func like(pattern, host string) bool {
	a, b := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if ok, err := path.Match(a[i], b[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// secrets are what no error may hold.
func (r Remote) secrets() []string {
	plain := []string{r.Auth.Password, r.Proxy.Password, string(r.TLS.ClientKey)}
	users := []string{r.Auth.Username, r.Proxy.Username}
	if ref, err := r.parse(); err == nil {
		if c, err := r.credential(ref); err == nil {
			plain = append(plain, c.Password, c.RefreshToken, c.AccessToken)
			users = append(users, c.Username)
		}
	}
	return web.Secrets(plain, users, []string{r.URL, r.Proxy.URL})
}
