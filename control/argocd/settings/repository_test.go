package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
)

func TestCredentialsOfARepository(t *testing.T) {
	s := read(
		secret("repository", "exact", "url", "https://github.com/argoproj/Private.git", "username", "ada", "password", "exact", "type", "git", "name", "x", "depth", "1", "forceHttpBasicAuth", "true"),
		secret("repository", "mine", "url", "https://github.com/argoproj/private", "username", "ada", "password", "mine", "project", "shop"),
		secret("repository", "theirs", "url", "https://github.com/argoproj/theirs", "username", "ada", "password", "theirs", "project", "other"),
		secret("repository", "bare", "url", "https://github.com/argoproj/bare", "proxy", "http://proxy:8080", "insecure", "false"),
		secret("repo-creds", "short", "url", "https://github.com", "username", "ada", "password", "short"),
		secret("repo-creds", "long", "url", "https://github.com/argoproj/", "username", "ada", "password", "long", "type", "helm"),
		secret("repo-creds", "long-shop", "url", "https://GITHUB.com/argoproj", "username", "ada", "password", "long-shop", "project", "shop"),
		secret("repo-creds", "ssh", "url", "git@github.com:argoproj", "sshPrivateKey", "key"),
		secret("repo-creds", "mtls", "url", "https://mtls.example:8443", "tlsClientCertData", "cert", "tlsClientCertKey", "pair", "proxy", "http://p:1", "noProxy", "mtls.example"),
		secret("repo-creds", "token", "url", "https://token.example", "bearerToken", "token", "proxy", "http://p:1", "noProxy", "other.example,10.0.0.0/8"),
		configMap("argocd-ssh-known-hosts-cm", "ssh_known_hosts", "github.com ssh-ed25519 AAAA"),
		configMap("argocd-tls-certs-cm", "Mtls.example", "pem"),
	)
	if len(s.Problems) > 0 {
		t.Errorf("%v", s.Problems)
	}
	basic := func(password string) git.Auth {
		return git.Auth{Username: "ada", Password: password, KnownHosts: []byte("github.com ssh-ed25519 AAAA")}
	}
	none := git.Auth{KnownHosts: []byte("github.com ssh-ed25519 AAAA")}
	for _, c := range []struct {
		url, project, want string
		auth               git.Auth
		proxy              string
	}{
		{"https://github.com/argoproj/private", "default", "", basic("exact"), ""},
		{"HTTPS://GitHub.com:443/ArgoProj/Private.git", "default", "", basic("exact"), ""},
		{"https://github.com/argoproj/private", "shop", "", basic("mine"), ""},
		{"https://github.com/argoproj/theirs", "shop", "", basic("long-shop"), ""},
		{"https://github.com/argoproj/theirs", "default", "", basic("long"), ""},
		{"https://github.com/argoproj/bare", "default", "", basic("long"), "http://proxy:8080"},
		{"https://github.com/argoproj-labs/x", "default", "", basic("short"), ""}, // the longer one ends with a slash, which is none
		{"https://github.com/other", "default", "", basic("short"), ""},
		{"http://github.com/argoproj/private", "default", "", none, ""},
		{"https://github.com:8443/argoproj/private", "default", "", none, ""},
		{"https://github.com.evil.example/argoproj/private", "default", "", none, ""},
		{"https://github.com@evil.example/argoproj/private", "default", "", none, ""},
		{"git@github.com:argoproj/x.git", "default", "ssh://git@github.com/argoproj/x.git", git.Auth{Identity: []byte("key"), KnownHosts: none.KnownHosts}, ""},
		{"eve@github.com:argoproj/x.git", "default", "ssh://eve@github.com/argoproj/x.git", none, ""},
		{"https://mtls.example:8443/a", "default", "", git.Auth{ClientCert: []byte("cert"), ClientKey: []byte("pair"), CA: []byte("pem"), KnownHosts: none.KnownHosts}, ""},
		{"https://token.example/a", "default", "", git.Auth{BearerToken: "token", KnownHosts: none.KnownHosts}, "http://p:1"},
	} {
		want := git.Remote{URL: c.want, Auth: c.auth, Proxy: git.Proxy{URL: c.proxy}}
		if want.URL == "" {
			want.URL = c.url
		}
		got, err := s.Remote(c.url, c.project)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s of %s: %v\n-want +got:\n%s", c.url, c.project, err, diff)
		}
	}
}

func TestCredentialsThatThisVersionDoesNotHaveAreRefusedByName(t *testing.T) {
	for key, value := range map[string]string{
		"githubAppPrivateKey": "key", "githubAppID": "1", "githubAppInstallationID": "1", "githubAppEnterpriseBaseUrl": "https://x", "gcpServiceAccountKey": "{}",
		"azureServicePrincipalClientId": "x", "azureServicePrincipalClientSecret": "x", "azureServicePrincipalTenantId": "x", "azureActiveDirectoryEndpoint": "x",
		"useAzureWorkloadIdentity": "true", "insecure": "true", "insecureIgnoreHostKey": "true", "enableLfs": "true",
	} {
		for _, kind := range []string{"repository", "repo-creds"} {
			s := read(secret(kind, "bad", "url", "https://host/a", key, value), secret(kind, "good", "url", "https://host/b", key, "false"))
			_, err := s.Remote("https://host/a", "default")
			if f := fault.Of(err); err == nil || f.Reason != fault.UnsupportedField || f.Next != fault.Wait || !strings.Contains(err.Error(), "Secret bad: this version of plumb does not support the key "+key) || f.Hint == "" {
				t.Errorf("%s %s: %v", kind, key, err)
			}
			if _, err := s.Remote("https://host/b", "default"); err != nil {
				t.Errorf("%s %s: another repository: %v", kind, key, err)
			}
			if len(s.Problems) != 1 {
				t.Errorf("%s %s: %v", kind, key, s.Problems)
			}
		}
	}
}

func TestSecretsOfRepositoriesThatAreWrongAreNamed(t *testing.T) {
	s := read(
		secret("repository", "no-url", "username", "ada"), secret("repo-creds", "bad-url", "url", "https://u:pass@host/../x"), secret("repository", "typo", "url", "https://host/t", "usrname", "ada"),
		secret("repository", "first", "url", "https://host/a", "username", "first"), secret("repository", "second", "url", "https://HOST/a.git", "username", "second"),
		secret("repo-creds", "prefix", "url", "https://host"), secret("repo-creds", "prefix-2", "url", "https://host:443/"),
	)
	for _, want := range []string{
		"Secret no-url: key url: repository \"\": it is empty", "Secret bad-url: key url:", `Secret typo: key "usrname" is not known`,
		"Secret second: it is about the same repository as Secret first", "Secret prefix-2: it is about the same repositories as Secret prefix",
	} {
		if !strings.Contains(s.problems(), want) {
			t.Errorf("nothing says %q:\n%s", want, s.problems())
		}
	}
	if m, err := s.Remote("https://host/a", "default"); err != nil || m.Auth.Username != "first" {
		t.Errorf("%v, %v", m.Auth.Username, err)
	}
	if _, err := s.Remote("https://host/../a", "default"); !fault.Is(err, fault.InvalidSpec) {
		t.Errorf("%v", err)
	}
}

// What is read from Secrets gets in at real servers, and without them nobody
// does.
func TestCredentialsOpenRealServers(t *testing.T) {
	store, err := git.NewStore(t.TempDir(), git.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	web := gittest.NewTLS(t, nil)
	repo := web.Repo(t, "org/app")
	commit := repo.Commit(t, map[string]string{"a.yaml": "x"}, "first")
	web.RequireBasic("ada", "pass")
	signer, key := gittest.NewKey(t, "")
	shell := web.SSH(t, gittest.SSHOptions{Accept: signer.PublicKey()})
	httpsURL := web.URL() + "/org/app"
	sshURL := shell.URL(repo)

	s := read(
		secret("repo-creds", "https", "url", web.URL()+"/org", "username", "ada", "password", "pass"), secret("repository", "ssh", "url", sshURL, "sshPrivateKey", string(key)),
		configMap("argocd-tls-certs-cm", "127.0.0.1", string(web.CA())), configMap("argocd-ssh-known-hosts-cm", "ssh_known_hosts", string(shell.KnownHosts())),
	)
	for _, url := range []string{httpsURL, httpsURL + ".git", sshURL} {
		m, err := s.Remote(url, "default")
		if err != nil {
			t.Fatal(err)
		}
		if url == httpsURL+".git" {
			m.URL = httpsURL // this server has no such folder
		}
		head, err := store.Resolve(t.Context(), m, git.Ref{Branch: "main"})
		if err != nil || head.Hash != commit {
			t.Errorf("%s: %+v, %v", url, head, err)
		}
	}
	for _, url := range []string{httpsURL, sshURL} {
		m, err := read().Remote(url, "default")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Resolve(t.Context(), m, git.Ref{Branch: "main"}); err == nil {
			t.Errorf("%s: anybody gets in", url)
		}
	}
}

// Who goes by other Secrets may see something else.
func TestWhichSecretsARepositoryGoesBy(t *testing.T) {
	s := read(
		secret("repository", "mine", "url", "https://git.example.com/shop", "username", "ada", "password", "x", "project", "shop"),
		secret("repository", "bare", "url", "https://git.example.com/bare"),
		secret("repo-creds", "all", "url", "https://git.example.com", "username", "ada", "password", "y"),
	)
	for _, c := range []struct{ url, project, want string }{
		{"https://git.example.com/shop.git", "shop", "mine"},
		{"https://git.example.com/shop.git", "default", "all"},
		{"https://git.example.com/bare", "default", "bare all"},
		{"https://other.example.com/shop", "default", ""},
		{"no address", "default", ""},
	} {
		if got := s.Access(c.url, c.project); got != c.want {
			t.Errorf("%s of %s goes by %q, want %q", c.url, c.project, got, c.want)
		}
	}
}
