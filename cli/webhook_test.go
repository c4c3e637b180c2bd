package cli

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const pushed = `{"repository":{"clone_url":"https://github.com/o/r.git"}}`

func request(body io.Reader, signed string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api/webhook", body)
	r.Header.Set("X-GitHub-Event", "push")
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(signed))
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return r
}

func TestWebhooksAreAnswered(t *testing.T) {
	var told []string
	known, unknown := map[string][]string{"webhook.github.secret": {"s3cret"}}, error(nil)
	h := newWebhooks(func() (map[string][]string, error) { return known, unknown }, func(urls []string) int { told = append(told, urls...); return 1 }, slog.New(slog.DiscardHandler))
	ask := func(r *http.Request) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := ask(request(strings.NewReader(pushed), pushed)); code != http.StatusAccepted || len(told) != 1 || told[0] != "https://github.com/o/r.git" {
		t.Errorf("a push: %d %s, told %q", code, body, told)
	}
	told = nil
	stranger := httptest.NewRequest(http.MethodPost, "/api/webhook", strings.NewReader(pushed))
	long := request(io.MultiReader(strings.NewReader(pushed), strings.NewReader(strings.Repeat(" ", mostWebhook))), pushed)
	long.ContentLength = -1
	said := request(strings.NewReader(pushed), pushed)
	said.ContentLength = 1 << 30
	get := request(nil, "")
	get.Method = http.MethodGet
	for name, c := range map[string]struct {
		r    *http.Request
		code int
	}{
		"of nobody":        {stranger, http.StatusBadRequest},
		"forged":           {request(strings.NewReader(pushed), "other"), http.StatusUnauthorized},
		"too large":        {long, http.StatusRequestEntityTooLarge},
		"said to be large": {said, http.StatusRequestEntityTooLarge},
		"broken off":       {request(io.MultiReader(strings.NewReader("{"), broken{}), "{"), http.StatusBadRequest},
		"looked at":        {get, http.StatusMethodNotAllowed},
		"no JSON":          {request(strings.NewReader("x"), "x"), http.StatusBadRequest},
	} {
		if code, body := ask(c.r); code != c.code || len(told) > 0 || strings.Contains(body, "s3cret") {
			t.Errorf("%s: %d %s, told %q", name, code, body, told)
		}
	}
	// What can't be checked yet is no forgery.
	known, unknown = nil, errors.New("not read yet")
	if code, body := ask(request(strings.NewReader(pushed), pushed)); code != http.StatusServiceUnavailable || strings.Contains(body, "not read") {
		t.Errorf("%d %s", code, body)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken off") }

// However often something is asked for, it is done at once, and then once after
// each pause.
func TestWhatIsAskedForAgainIsDoneLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		done := map[string]int{}
		c := calm{pause: time.Second}
		do := func(name string) {
			count := func() {
				mu.Lock()
				defer mu.Unlock()
				done[name]++
			}
			c.do(name, count, count)
		}
		for range 100 {
			do("a")
		}
		do("b")
		is := func(a, b int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if done["a"] != a || done["b"] != b {
				t.Errorf("done: %v, want a %d and b %d times", done, a, b)
			}
		}
		is(1, 1)
		time.Sleep(1100 * time.Millisecond)
		is(2, 1)
		for range 3 * mostCalm {
			do(time.Now().String())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(c.last) > mostCalm+1 || len(c.due) > 0 {
			t.Errorf("%d are remembered, %d are due", len(c.last), len(c.due))
		}
	})
}
