package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

const (
	github    = `{"ref":"refs/heads/main","repository":{"clone_url":"https://github.com/o/r.git","ssh_url":"git@github.com:o/r.git","html_url":"https://github.com/o/r","url":"https://evil.example.com"}}`
	gitlab    = `{"object_kind":"push","project":{"git_http_url":"https://gitlab.com/g/s/r.git","git_ssh_url":"git@gitlab.com:g/s/r.git","web_url":"https://gitlab.com/g/s/r"}}`
	cloud     = `{"repository":{"full_name":"o/r","links":{"html":{"href":"https://bitbucket.org/o/r"},"self":{"href":"https://api.bitbucket.org/x"}}}}`
	bitbucket = `{"repository":{"slug":"r","links":{"clone":[{"href":"ssh://git@b.example.com:7999/p/r.git","name":"ssh"},{"href":"https://b.example.com/scm/p/r.git","name":"http"}]}}}`
)

var all = map[string][]string{
	"webhook.github.secret": {"other", "hub"}, "webhook.gitlab.secret": {"lab"}, "webhook.gitea.secret": {"tea"}, "webhook.gogs.secret": {"gogs"},
	"webhook.bitbucket.uuid": {"{1-2}"}, "webhook.bitbucket.secret": {"cloud"}, "webhook.bitbucketserver.secret": {"server"},
}

// header makes headers of "Name: value" lines.
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Set(name, value)
	}
	return h
}

func TestForgesAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.Header
		body string
		want string // URLs, or what is wrong
	}{
		"GitHub":           {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("hub", github)), github, "https://github.com/o/r.git git@github.com:o/r.git https://github.com/o/r"},
		"GitLab":           {header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: lab"), gitlab, "https://gitlab.com/g/s/r.git git@gitlab.com:g/s/r.git https://gitlab.com/g/s/r"},
		"GitLab, a tag":    {header("X-Gitlab-Event: Tag Push Hook", "X-Gitlab-Token: lab"), gitlab, "https://gitlab.com/g/s/r.git git@gitlab.com:g/s/r.git https://gitlab.com/g/s/r"},
		"GitLab, a system": {header("X-Gitlab-Event: System Hook", "X-Gitlab-Token: lab"), `{"event_name":"user_create"}`, ""},
		"Gitea": {
			header("X-Gitea-Event: push", "X-Gogs-Event: push", "X-GitHub-Event: push", "X-Gitea-Signature: "+sign("tea", github)),
			github, "https://github.com/o/r.git git@github.com:o/r.git https://github.com/o/r",
		},
		"Gitea, by Argo CD's key": {header("X-Gitea-Event: push", "X-Gitea-Signature: "+sign("gogs", github)), github, "https://github.com/o/r.git git@github.com:o/r.git https://github.com/o/r"},
		"Gogs":                    {header("X-Gogs-Event: push", "X-Gogs-Signature: "+sign("gogs", github)), github, "https://github.com/o/r.git git@github.com:o/r.git https://github.com/o/r"},
		"Bitbucket Cloud":         {header("X-Event-Key: repo:push", "X-Hook-UUID: {1-2}"), cloud, "https://bitbucket.org/o/r"},
		"Bitbucket Cloud, signed": {header("X-Event-Key: repo:push", "X-Hook-UUID: {3}", "X-Hub-Signature: sha256="+sign("cloud", cloud)), cloud, "https://bitbucket.org/o/r"},
		"Bitbucket Server":        {header("X-Event-Key: repo:refs_changed", "X-Hub-Signature: sha256="+sign("server", bitbucket)), bitbucket, "ssh://git@b.example.com:7999/p/r.git https://b.example.com/scm/p/r.git"},

		"another event":         {header("X-GitHub-Event: ping", "X-Hub-Signature-256: sha256="+sign("hub", "{}")), "{}", ""},
		"no signature":          {header("X-GitHub-Event: push"), github, "!401 it is not signed as GitHub signs; give the webhook the secret that is under webhook.github.secret"},
		"a short signature":     {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("hub", github)[:32]), github, "!401 it is not signed"},
		"no hexadecimal":        {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256=zz"), github, "!401 it is not signed"},
		"of another kind":       {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha1="+sign("hub", github)), github, "!401 it is not signed"},
		"an old signature":      {header("X-GitHub-Event: push", "X-Hub-Signature: sha1=00"), github, "!401 it is not signed"},
		"a wrong secret":        {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("guess", github)), github, "!401 its signature is not one"},
		"another forge's":       {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("server", github)), github, "!401 its signature is not one"},
		"the empty secret":      {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("", github)), github, "!401 its signature is not one"},
		"another body":          {header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("hub", github)), github + " ", "!401 its signature is not one"},
		"a wrong token":         {header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: la"), gitlab, "!401"},
		"no token":              {header("X-Gitlab-Event: Push Hook"), gitlab, "!401"},
		"a wrong UUID":          {header("X-Event-Key: repo:push", "X-Hook-UUID: {1-3}"), cloud, "!401"},
		"the UUID as a key":     {header("X-Event-Key: repo:push", "X-Hook-UUID: {3}", "X-Hub-Signature: sha256="+sign("{1-2}", cloud)), cloud, "!401"},
		"a compressed body":     {header("X-GitHub-Event: push", "Content-Encoding: gzip"), github, "!415"},
		"no JSON":               {header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: lab"), "payload=%7B", "!400 the body is not what GitLab sends"},
		"another JSON":          {header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: lab"), `{"project": "x"}`, "!400 the body is not what GitLab sends"},
		"no repository":         {header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: lab"), `{}`, "!400 the body names no repository"},
		"a link that is a list": {header("X-Event-Key: repo:push", "X-Hook-UUID: {1-2}"), `{"repository":{"links":{"html":[]}}}`, "!400 the body is not what Bitbucket Cloud sends"},
	} {
		f, ok := Of(c.h)
		if !ok {
			t.Errorf("%s: of no forge", name)
			continue
		}
		if !strings.HasPrefix(c.want, "!") && !strings.HasPrefix(name, f.Name) && name != "another event" {
			t.Errorf("%s: it is read as %s", name, f.Name)
		}
		urls, err := f.Read(c.h, []byte(c.body), all)
		if want, ok := strings.CutPrefix(c.want, "!"); ok {
			var e *Error
			status, text, _ := strings.Cut(want, " ")
			if !errors.As(err, &e) || fmt.Sprint(e.Status) != status || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			continue
		}
		if got := strings.Join(urls, " "); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}

func TestWithoutASecretNothingIsTaken(t *testing.T) {
	for _, secrets := range []map[string][]string{nil, {"webhook.github.secret": {""}}, {"webhook.gitlab.secret": {"", "x"}}} {
		h := header("X-GitHub-Event: push", "X-Hub-Signature-256: sha256="+sign("", github))
		f, _ := Of(h)
		var e *Error
		if _, err := f.Read(h, []byte(github), secrets); !errors.As(err, &e) || e.Status != http.StatusUnauthorized || !strings.Contains(err.Error(), "there is no secret for GitHub; set the key webhook.github.secret") {
			t.Errorf("%v: %v", secrets, err)
		}
	}
	h := header("X-Gitlab-Event: Push Hook", "X-Gitlab-Token: ")
	f, _ := Of(h)
	if _, err := f.Read(h, []byte(gitlab), map[string][]string{"webhook.gitlab.secret": {"", "x"}}); err == nil {
		t.Error("an empty token is an empty secret")
	}
	if _, ok := Of(header("X-Forge: x")); ok {
		t.Error("a forge that nobody knows")
	}
}
