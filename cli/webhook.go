package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/source/webhook"
)

const (
	// mostWebhook is how large the body of a webhook may be, and webhooksAtOnce
	// how many of them are in memory.
	mostWebhook    = 10 << 20
	webhooksAtOnce = 4
	// webhookSlow is how long one may take to come.
	webhookSlow = 20 * time.Second
)

// webhookSecret is the Secret of plumb's own namespace that holds secrets of
// forges, under the keys that argocd-secret has them, too.
const webhookSecret = "plumb-webhooks"

// webhooks serves them once all custom resources are known.
func (o serveOptions) webhooks(c *control.Control, log *slog.Logger) *manager.Server {
	refs := []lookup.Ref{{Kind: lookup.Secret, Namespace: OwnNamespace(), Name: webhookSecret}}
	for _, d := range o.dialects {
		if p, ok := d.(control.Pushable); ok {
			refs = append(refs, p.WebhookSecrets()...)
		}
	}
	secrets := func() (map[string][]string, error) { return c.Secrets(refs) }
	_, _ = secrets() // they are read from now on
	return &manager.Server{Name: "webhook", Server: &http.Server{
		Addr: o.webhookAddr, Handler: newWebhooks(secrets, c.Pushed, log), ReadTimeout: webhookSlow, WriteTimeout: 2 * webhookSlow, MaxHeaderBytes: 16 << 10,
	}}
}

// newWebhooks serves POST /api/webhook: a forge says that a repository was pushed
// to. As with hints, all that comes of it is that the refs of repositories that
// are known anyway are asked for sooner.
func newWebhooks(secrets func() (map[string][]string, error), pushed func(urls []string) int, log *slog.Logger) http.Handler {
	rooms := make(chan struct{}, webhooksAtOnce)
	calm := calm{pause: hintPause}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/webhook", func(w http.ResponseWriter, r *http.Request) {
		urls, forge, err := readWebhook(r, secrets, rooms)
		var refused *webhook.Error
		switch {
		case errors.As(err, &refused):
			log.Warn("a webhook was refused", "forge", forge, "status", refused.Status, "err", err)
			http.Error(w, err.Error(), refused.Status)
			return
		case err != nil:
			log.Error("a webhook could not be checked", "forge", forge, "err", err)
			w.Header().Set("Retry-After", "5")
			http.Error(w, "it can't be checked now; send it again", http.StatusServiceUnavailable)
			return
		case len(urls) == 0: // it is about something else
			w.WriteHeader(http.StatusOK)
			return
		}
		n := 0
		calm.do(strings.Join(urls, " "), func() { n = pushed(urls) }, func() { pushed(urls) })
		log.Info("webhook", "forge", forge, "sources", n)
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// readWebhook returns the URLs of a repository that was pushed to. What can be
// told without the body is told without reading it.
func readWebhook(r *http.Request, secrets func() (map[string][]string, error), rooms chan struct{}) (urls []string, forge string, err error) {
	f, ok := webhook.Of(r.Header)
	if !ok {
		return nil, "", &webhook.Error{Status: http.StatusBadRequest, Err: fmt.Errorf("its headers are those of none of %s", strings.Join(webhook.Names(), ", "))}
	}
	known, unknown := secrets()
	if err := f.Ready(r.Header, known); err != nil {
		return nil, f.Name, cmp.Or(unknown, err)
	}
	tooLarge := &webhook.Error{Status: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("the body is larger than %d bytes", mostWebhook)}
	if r.ContentLength > mostWebhook {
		return nil, f.Name, tooLarge
	}
	select {
	case rooms <- struct{}{}:
		defer func() { <-rooms }()
	case <-r.Context().Done():
		return nil, f.Name, r.Context().Err()
	case <-time.After(webhookSlow / 2):
		return nil, f.Name, errors.New("too many webhooks at once")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, mostWebhook))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, f.Name, tooLarge
	case err != nil:
		return nil, f.Name, &webhook.Error{Status: http.StatusBadRequest, Err: errors.New("the body did not come")}
	}
	urls, err = f.Read(r.Header, body, known)
	if err != nil {
		err = cmp.Or(unknown, err)
	}
	return urls, f.Name, err
}

// A calm keeps what is asked for again and again from being done more often than
// after a pause. What comes too early is done once after it.
type calm struct {
	pause time.Duration

	mu   sync.Mutex
	last map[string]time.Time
	due  []string
}

// mostCalm is how many things are remembered.
const mostCalm = 1000

// do does what goes by that name now, or has it done later.
func (c *calm) do(name string, now, later func()) {
	c.mu.Lock()
	recent := time.Since(c.last[name]) < c.pause
	waits := slices.Contains(c.due, name)
	if c.last == nil || len(c.last) > mostCalm {
		c.last = map[string]time.Time{}
	}
	switch {
	case !recent:
		c.last[name] = time.Now()
	case !waits:
		c.due = append(c.due, name)
	}
	c.mu.Unlock()
	switch {
	case !recent:
		now()
	case !waits:
		time.AfterFunc(c.pause, func() {
			c.mu.Lock()
			c.due, c.last[name] = slices.DeleteFunc(c.due, func(n string) bool { return n == name }), time.Now()
			c.mu.Unlock()
			later()
		})
	}
}
