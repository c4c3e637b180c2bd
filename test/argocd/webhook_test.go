package argocd_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// push tells plumb of a push to a repository as GitHub does, signed with a secret.
func (w *world) push(t *testing.T, url, secret string) (status int) {
	t.Helper()
	body := fmt.Sprintf(`{"ref":"refs/heads/nowhere","after":"0000","repository":{"clone_url":%q,"ssh_url":"git@127.0.0.1:other.git"}}`, url)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Plumb.Webhook, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-GitHub-Event", "push")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func webhooks(t *testing.T, w *world) {
	if got := w.push(t, "http://127.0.0.1/x", ""); got != http.StatusUnauthorized {
		t.Errorf("without a secret it answers %d", got)
	}
	w.Apply(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: argocd-secret, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}\nstringData: {webhook.github.secret: s3cret}\n")
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "k/c.yaml": pt.ConfigMap("k")})
	app := w.app(t, ns, r, automated)
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "k", "src", "./k")
	w.is(t, app, "Synced Healthy", "")
	w.AwaitReady(t, ns, "k", "")

	next := r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "v", "2"), "k/c.yaml": pt.ConfigMap("k", "v", "2")}, "nobody is told of it")
	if got := w.push(t, r.URL(), "guess"); got != http.StatusUnauthorized {
		t.Errorf("to one that is forged it answers %d", got)
	}
	w.quiet(t, app)
	if a, err := w.read(t, app); err != nil || a.Status.Sync.Revision == next {
		t.Errorf("one that is forged was heard: %v", err)
	}
	kubetest.Eventually(t, pt.Patience, func() error { // the Secret has yet to be seen
		if got := w.push(t, strings.ToUpper(r.URL())+"/", "s3cret"); got != http.StatusAccepted {
			return fmt.Errorf("it answers %d", got)
		}
		return nil
	})
	w.is(t, app, "Synced Healthy", next)
	w.AwaitReady(t, ns, "k", next)
	if a, err := w.read(t, app); err != nil || a.Annotations["argocd.argoproj.io/refresh"] != "" || a.Status.OperationState.Phase != api.PhaseSucceeded {
		t.Errorf("%v: %+v", err, a.Annotations)
	}
}
