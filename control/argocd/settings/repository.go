package settings

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"

	"plumb.dev/plumb/control/argocd/address"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/helm"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/web"
)

// A repository is a Secret of the types repository and repo-creds.
type repository struct {
	secret  string // its name
	url     string
	address address.Address
	project string
	data    map[string][]byte
	err     error
}

// A use is what becomes of a key of a Secret.
type use uint8

const (
	honoured   use = iota + 1
	credential     // honoured, and says who asks
	without        // plumb does as it says, or it is about nothing that plumb has
	flagged        // not done by this version: refused unless it is false
	foreign        // a credential that this version does not have: refused
)

// repositoryKeys are those of repositories, and what to do in place of those
// that are refused.
var repositoryKeys = map[string]use{
	"url": honoured, "project": honoured, "proxy": honoured, "noProxy": honoured,
	"username": credential, "password": credential, "bearerToken": credential, "sshPrivateKey": credential,
	"tlsClientCertData": credential, "tlsClientCertKey": credential,
	"name": without, "type": without, "depth": without, "forceHttpBasicAuth": without, "webhookManifestCacheWarmDisabled": without,
	"enableOCI": without, "insecureOCIForceHttp": honoured,
	"insecure": flagged, "insecureIgnoreHostKey": flagged, "enableLfs": flagged,
	"githubAppID": foreign, "githubAppInstallationID": foreign, "githubAppPrivateKey": foreign, "githubAppEnterpriseBaseUrl": foreign,
	"gcpServiceAccountKey": foreign, "useAzureWorkloadIdentity": foreign,
	"azureServicePrincipalClientId": foreign, "azureServicePrincipalClientSecret": foreign, "azureServicePrincipalTenantId": foreign,
	"azureActiveDirectoryEndpoint": foreign,
}

// templateKeys are those of credential templates, two of which Argo CD spells
// in another way.
var templateKeys = func() map[string]use {
	keys := maps.Clone(repositoryKeys)
	keys["azureServicePrincipalClientID"], keys["azureServicePrincipalTenantID"] = foreign, foreign
	return keys
}()

// instead is what to do in place of a key that is refused.
var instead = map[string]string{
	"insecure":              "put the server's certificate into argocd-tls-certs-cm, or its host key into argocd-ssh-known-hosts-cm, and take the key out",
	"insecureIgnoreHostKey": "put the server's host key into argocd-ssh-known-hosts-cm, and take the key out",
	"enableLfs":             "keep manifests out of Large File Storage, and take the key out",
}

// readRepository reads a Secret of a repository or of a credential template.
func (s *Settings) readRepository(secret *corev1.Secret, known map[string]use) repository {
	r := repository{secret: secret.Name, data: secret.Data, url: strings.TrimSpace(string(secret.Data["url"])), project: string(secret.Data["project"])}
	where := "Secret " + secret.Name
	for _, key := range slices.Sorted(maps.Keys(secret.Data)) {
		if known[key] == 0 {
			s.problem(where, "key %q is not known", key)
		}
	}
	var err error
	if r.address, err = address.Parse(r.url); err != nil {
		s.problem(where, "key url: %w", err)
		r.err = err
		return r
	}
	if r.err = r.unsupported(known); r.err != nil {
		s.problem(where, "%w", r.err)
	}
	return r
}

// unsupported refuses keys that this version does not honour.
func (r repository) unsupported(known map[string]use) error {
	for _, key := range slices.Sorted(maps.Keys(r.data)) {
		value := strings.TrimSpace(string(r.data[key]))
		if u := known[key]; value == "" || strings.EqualFold(value, "false") || u != flagged && u != foreign {
			continue
		}
		hint := instead[key]
		if hint == "" {
			hint = "use username and password, a bearer token, an SSH key or a client certificate"
		}
		return &fault.Error{Next: fault.Wait, Reason: fault.UnsupportedField, Err: fmt.Errorf("this version of plumb does not support the key %s", key), Hint: hint}
	}
	return nil
}

// hasCredentials reports whether a repository says who asks.
func (r repository) hasCredentials() bool {
	for key, u := range repositoryKeys {
		if (u == credential || u == foreign) && len(r.data[key]) > 0 {
			return true
		}
	}
	return false
}

// A Repository is where a source is, and how to reach it: one of the three is set.
type Repository struct {
	Git      *git.Remote
	Charts   *helm.Repository
	Registry *oci.Remote
}

// Address is where it is.
func (r Repository) Address() string {
	switch {
	case r.Charts != nil:
		return r.Charts.URL
	case r.Registry != nil:
		return r.Registry.URL
	}
	return r.Git.URL
}

// Repository returns where a source is, and how to reach it for an Application of a
// project, as [Settings.Remote] does. One that is oci://…, or has no scheme as
// Argo CD writes registries, is a registry; of the others those with charts are
// Helm repositories.
func (s *Settings) Repository(repoURL, project string, charts bool) (r Repository, err error) {
	a, err := address.Parse(repoURL)
	if err != nil {
		return r, err
	}
	m, err := s.remote(a, repoURL, project)
	if err != nil {
		return r, err
	}
	certs := web.TLS{CA: m.Auth.CA, ClientCert: m.Auth.ClientCert, ClientKey: m.Auth.ClientKey}
	switch a.Scheme() {
	case "oci", "":
		r.Registry = &oci.Remote{
			URL: "oci://" + strings.TrimSuffix(strings.TrimPrefix(a.Fetch(), "oci://"), "/"), TLS: certs, Proxy: m.Proxy,
			Auth: oci.Auth{Username: m.Auth.Username, Password: m.Auth.Password}, Insecure: s.plain(a, project),
		}
		return r, nil
	}
	if !charts {
		r.Git = &m
		return r, nil
	}
	r.Charts = &helm.Repository{
		URL: a.Fetch(), TLS: certs, Proxy: m.Proxy,
		Credentials: web.Credentials{Username: m.Auth.Username, Password: m.Auth.Password, BearerToken: m.Auth.BearerToken},
	}
	return r, nil
}

// plain reports whether a registry is spoken to without TLS.
func (s *Settings) plain(a address.Address, project string) bool {
	own, from := s.about(a, project)
	for _, r := range []*repository{own, from} {
		if r != nil && strings.EqualFold(strings.TrimSpace(string(r.data["insecureOCIForceHttp"])), "true") {
			return true
		}
	}
	return false
}

// Remote returns how to reach a Git repository for an Application of a project:
// with what its own Secret says, which is one of the project before one of none;
// where that has no credentials, or there is none, with those of the credential
// template whose address is the longest beginning of the repository's. An error
// names the Secret.
func (s *Settings) Remote(repoURL, project string) (m git.Remote, err error) {
	a, err := address.Parse(repoURL)
	if err != nil {
		return m, err
	}
	return s.remote(a, repoURL, project)
}

// remote is Remote for an address, which people are shown as it was written.
func (s *Settings) remote(a address.Address, written, project string) (m git.Remote, err error) {
	m.URL = a.Fetch()
	m.Auth.KnownHosts, m.Auth.CA = s.knownHosts, s.certificates[a.Host()]
	own, from := s.about(a, project)
	for _, r := range []*repository{own, from} {
		if r == nil {
			continue
		}
		if r.err != nil {
			return m, fmt.Errorf("repository %s: Secret %s: %w", address.Show(written), r.secret, r.err)
		}
		if m.Proxy.URL == "" {
			m.Proxy.URL = r.proxy(a)
		}
	}
	if from != nil {
		from.show(&m.Auth)
	}
	return m, nil
}

// about are the Secret of a repository, and that whose credentials are shown to
// it; either may be nil.
func (s *Settings) about(a address.Address, project string) (own, from *repository) {
	own = s.repository(a, project)
	if own == nil || !own.hasCredentials() {
		if t := s.template(a, project); t != nil {
			return own, t
		}
	}
	return own, own
}

// Access names the Secrets that [Settings.Remote] goes by. Who goes by others
// may see something else of a repository.
func (s *Settings) Access(repoURL, project string) string {
	a, err := address.Parse(repoURL)
	if err != nil {
		return ""
	}
	var names []string
	own, from := s.about(a, project)
	for _, r := range []*repository{own, from} {
		if r != nil && !slices.Contains(names, r.secret) {
			names = append(names, r.secret)
		}
	}
	return strings.Join(names, " ")
}

// show adds a Secret's credentials.
func (r *repository) show(auth *git.Auth) {
	text := func(key string) string { return string(r.data[key]) }
	auth.Username, auth.Password, auth.BearerToken = text("username"), text("password"), text("bearerToken")
	auth.Identity, auth.ClientCert, auth.ClientKey = r.data["sshPrivateKey"], r.data["tlsClientCertData"], r.data["tlsClientCertKey"]
}

// proxy is the way to a server, or nothing where the Secret excepts it.
func (r *repository) proxy(a address.Address) string {
	proxy := strings.TrimSpace(string(r.data["proxy"]))
	except := strings.TrimSpace(string(r.data["noProxy"]))
	if proxy == "" || except == "" {
		return proxy
	}
	c := httpproxy.Config{HTTPProxy: proxy, HTTPSProxy: proxy, NoProxy: except}
	if u, err := c.ProxyFunc()(&url.URL{Scheme: "https", Host: a.HostPort()}); err == nil && u == nil {
		return ""
	}
	return proxy
}

// repository is the Secret of a repository for a project.
func (s *Settings) repository(a address.Address, project string) (found *repository) {
	for i, r := range s.repositories {
		switch {
		case r.address == (address.Address{}) || !r.address.Same(a):
		case r.project == project && (found == nil || found.project != project):
			found = &s.repositories[i]
		case r.project == "" && found == nil:
			found = &s.repositories[i]
		}
	}
	return found
}

// template is the credential template whose address is the longest beginning of
// a. One that names a project is for that alone, and before one that names none.
func (s *Settings) template(a address.Address, project string) (found *repository) {
	for i, t := range s.templates {
		if t.address == (address.Address{}) || t.project != "" && t.project != project || !a.Within(t.address) {
			continue
		}
		longer := found == nil || t.address.Length() > found.address.Length()
		if longer || t.address.Length() == found.address.Length() && t.project != "" && found.project == "" {
			found = &s.templates[i]
		}
	}
	return found
}

// findTwins names Secrets that are about what another is about.
func (s *Settings) findTwins() {
	first := make(map[string]string)
	twin := func(kind, what, project, secret string) {
		key := strings.Join([]string{kind, what, project}, "\x00")
		if other, ok := first[key]; ok {
			s.problem("Secret "+secret, "it is about the same %s as Secret %s, which is used in its place; delete one of them", kind, other)
			return
		}
		first[key] = secret
	}
	for kind, list := range map[string][]repository{"repository": s.repositories, "repositories": s.templates} {
		for _, r := range list {
			if r.address != (address.Address{}) {
				twin(kind, r.address.String(), r.project, r.secret)
			}
		}
	}
	for _, c := range s.clusters {
		if c.Server != "" {
			twin("server", c.Server, c.Project, c.secret)
		}
	}
}

// String returns nothing of what the Secret holds.
func (r repository) String() string { return "Secret " + r.secret }

// GoString is String.
func (r repository) GoString() string { return r.String() }
