// Package webhook reads what forges send when somebody has pushed: which
// repository that was, once it is known that the forge has sent it.
//
// A [Forge] is found by the headers of a request, and [Read] checks the request
// against the forge's secrets before it looks into the body. What is in the body
// is a hint and no more: it says which of the repositories that are known anyway
// may have something new. Nothing of it is fetched from, and it chooses no
// revision, path or action.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// A Forge is a kind of server that hosts repositories.
type Forge struct {
	Name string
	// Keys are those of a Secret under which its secrets are: of any of them.
	Keys []string

	event  string            // the header that names what has happened
	also   string            // one that only this forge sends with it; empty: none
	pushes []string          // values of that header that are about pushes, in lower case
	signed string            // the header with the HMAC of the body
	plain  map[string]string // headers that hold a secret itself, by the key that this is under
	urls   func(body []byte) ([]string, error)
	prefix string // of the HMAC
}

// forges, those first that send the headers of others, too.
var forges = []Forge{
	{
		Name: "Gitea", Keys: []string{"webhook.gitea.secret", "webhook.gogs.secret"}, event: "X-Gitea-Event", pushes: []string{"push", "create", "delete"},
		signed: "X-Gitea-Signature", urls: ofRepository,
	},
	{
		Name: "Gogs", Keys: []string{"webhook.gogs.secret"}, event: "X-Gogs-Event", pushes: []string{"push", "create", "delete"},
		signed: "X-Gogs-Signature", urls: ofRepository,
	},
	{
		Name: "GitHub", Keys: []string{"webhook.github.secret"}, event: "X-GitHub-Event", pushes: []string{"push", "create", "delete"},
		signed: "X-Hub-Signature-256", prefix: "sha256=", urls: ofRepository,
	},
	{
		Name: "GitLab", Keys: []string{"webhook.gitlab.secret"}, event: "X-Gitlab-Event", pushes: []string{"push hook", "tag push hook", systemHook},
		plain: map[string]string{"webhook.gitlab.secret": "X-Gitlab-Token"}, urls: ofProject,
	},
	{
		Name: "Bitbucket Cloud", Keys: []string{"webhook.bitbucket.secret", "webhook.bitbucket.uuid"}, event: "X-Event-Key", also: "X-Hook-UUID",
		pushes: []string{"repo:push"}, signed: "X-Hub-Signature", prefix: "sha256=",
		plain: map[string]string{"webhook.bitbucket.uuid": "X-Hook-UUID"}, urls: ofLinks,
	},
	{
		Name: "Bitbucket Server", Keys: []string{"webhook.bitbucketserver.secret"}, event: "X-Event-Key", pushes: []string{"repo:refs_changed", "mirror:repo_synchronized"},
		signed: "X-Hub-Signature", prefix: "sha256=", urls: ofLinks,
	},
}

// systemHook is about all that happens on a GitLab, most of it in no repository.
const systemHook = "system hook"

// Of returns the forge that a request says to come from.
func Of(h http.Header) (f Forge, ok bool) {
	for _, f := range forges {
		if h.Get(f.event) != "" && (f.also == "" || h.Get(f.also) != "") {
			return f, true
		}
	}
	return f, false
}

// Names are those of all forges.
func Names() (names []string) {
	for _, f := range forges {
		names = append(names, f.Name)
	}
	return names
}

// An Error says what is wrong with a request, and with which status it is to be
// answered.
type Error struct {
	Status int
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

func wrong(status int, format string, args ...any) error {
	return &Error{status, fmt.Errorf(format, args...)}
}

// Ready refuses a request that can't be genuine, before its body is read. Secrets
// are those that there are, by their key; several may be under one.
func (f Forge) Ready(h http.Header, secrets map[string][]string) error {
	if h.Get("Content-Encoding") != "" {
		return wrong(http.StatusUnsupportedMediaType, "the body is compressed, and has to be as it was signed")
	}
	if !f.any(secrets) {
		return wrong(http.StatusUnauthorized, "there is no secret for %s; set the key %s", f.Name, strings.Join(f.Keys, " or "))
	}
	for key, header := range f.plain {
		for _, s := range secrets[key] {
			if s != "" && hmac.Equal([]byte(strings.Trim(h.Get(header), "{}")), []byte(strings.Trim(s, "{}"))) {
				return nil
			}
		}
	}
	if f.signed != "" && len(f.signature(h)) == sha256.Size {
		return nil
	}
	return wrong(http.StatusUnauthorized, "it is not signed as %s signs; give the webhook the secret that is under %s", f.Name, strings.Join(f.Keys, " or "))
}

func (f Forge) any(secrets map[string][]string) bool {
	for _, key := range f.Keys {
		for _, s := range secrets[key] {
			if s != "" {
				return true
			}
		}
	}
	return false
}

func (f Forge) signature(h http.Header) []byte {
	text, ok := strings.CutPrefix(h.Get(f.signed), f.prefix)
	sum, err := hex.DecodeString(text)
	if !ok || err != nil {
		return nil
	}
	return sum
}

// genuine reports whether whoever made a request knows a secret.
func (f Forge) genuine(h http.Header, body []byte, secrets map[string][]string) bool {
	for _, key := range f.Keys {
		header, plain := f.plain[key]
		for _, s := range secrets[key] {
			switch {
			case s == "":
			case plain && hmac.Equal([]byte(strings.Trim(h.Get(header), "{}")), []byte(strings.Trim(s, "{}"))):
				return true
			case !plain:
				mac := hmac.New(sha256.New, []byte(s))
				mac.Write(body)
				if hmac.Equal(mac.Sum(nil), f.signature(h)) {
					return true
				}
			}
		}
	}
	return false
}

// Read returns the URLs that a pushed repository has by a request: those of people
// and those of git. It has none if it is about something else.
func (f Forge) Read(h http.Header, body []byte, secrets map[string][]string) ([]string, error) {
	if err := f.Ready(h, secrets); err != nil {
		return nil, err
	}
	if !f.genuine(h, body, secrets) {
		return nil, wrong(http.StatusUnauthorized, "its signature is not one by a secret that is under %s", strings.Join(f.Keys, " or "))
	}
	if !f.isPush(h.Get(f.event)) {
		return nil, nil
	}
	urls, err := f.urls(body)
	if err != nil {
		return nil, wrong(http.StatusBadRequest, "the body is not what %s sends: %w", f.Name, err)
	}
	if len(urls) == 0 && !strings.EqualFold(h.Get(f.event), systemHook) {
		return nil, wrong(http.StatusBadRequest, "the body names no repository")
	}
	return urls, nil
}

func (f Forge) isPush(event string) bool {
	for _, p := range f.pushes {
		if strings.EqualFold(p, event) {
			return true
		}
	}
	return false
}

// ofRepository reads what GitHub and its like send.
func ofRepository(body []byte) ([]string, error) {
	var b struct {
		Repository struct {
			Clone string `json:"clone_url"`
			SSH   string `json:"ssh_url"`
			HTML  string `json:"html_url"`
		} `json:"repository"`
	}
	err := json.Unmarshal(body, &b)
	return said(b.Repository.Clone, b.Repository.SSH, b.Repository.HTML), err
}

// ofProject reads what GitLab sends.
func ofProject(body []byte) ([]string, error) {
	var b struct {
		Project struct {
			HTTP string `json:"git_http_url"`
			SSH  string `json:"git_ssh_url"`
			Web  string `json:"web_url"`
		} `json:"project"`
	}
	err := json.Unmarshal(body, &b)
	return said(b.Project.HTTP, b.Project.SSH, b.Project.Web), err
}

// ofLinks reads what Bitbucket sends.
func ofLinks(body []byte) ([]string, error) {
	type link struct {
		Href string `json:"href"`
	}
	var b struct {
		Repository struct {
			Links struct {
				HTML  link   `json:"html"`
				Clone []link `json:"clone"`
			} `json:"links"`
		} `json:"repository"`
	}
	err := json.Unmarshal(body, &b)
	all := []string{b.Repository.Links.HTML.Href}
	for _, l := range b.Repository.Links.Clone {
		all = append(all, l.Href)
	}
	return said(all...), err
}

// mostURLs is how many a repository may have.
const mostURLs = 10

func said(all ...string) (urls []string) {
	for _, u := range all {
		if u != "" && len(urls) < mostURLs {
			urls = append(urls, u)
		}
	}
	return urls
}
