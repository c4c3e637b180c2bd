package gitserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"time"

	"plumb.dev/plumb/sandbox/internal/listen"
)

// Options say what to serve, where, and to whom.
type Options struct {
	Root     string
	Addr     string // host:port; port 0 picks one
	User     string
	Password string
	Token    string
	TLSCert  string // files; both or none
	TLSKey   string
	Hints    []string // URLs that get a POST after each push

	Out io.Writer // gets the line "ready URL"
	Log io.Writer // gets pushes and failures
}

// Serve serves until ctx is done. It returns nil when that is why it ended.
func Serve(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("serve Git: %w; install git", err)
	}
	handler, err := NewHandler(o.Root, git)
	if err != nil {
		return fmt.Errorf("serve --root: %w", err)
	}
	log := &lines{w: o.Log}
	hints := &hinter{urls: o.Hints, log: log.printf, client: &http.Client{Timeout: 5 * time.Second}}
	defer hints.pending.Wait()
	handler.User, handler.Password, handler.Token = o.User, o.Password, o.Token
	handler.Log = log.printf
	handler.Pushed = hints.send
	return listen.Serve(ctx, listen.Address{Addr: o.Addr, TLSCert: o.TLSCert, TLSKey: o.TLSKey}, handler, func(scheme, at string) {
		hints.base = scheme + "://" + at + "/"
		fmt.Fprintf(o.Out, "ready %s\n", hints.base)
	})
}

func (o Options) check() error {
	switch {
	case o.Token != "" && (o.User != "" || o.Password != ""):
		return errors.New("--token and --user exclude each other; give one of them")
	case (o.User == "") != (o.Password == ""):
		return errors.New("--user and --password belong together; give both or none")
	}
	return listen.Address{TLSCert: o.TLSCert, TLSKey: o.TLSKey}.Check()
}

// A hinter tells others of pushes. A hint that gets lost costs nothing but
// the time until the next poll, so it is sent once.
type hinter struct {
	base    string
	urls    []string
	client  *http.Client
	log     func(format string, args ...any)
	pending sync.WaitGroup
}

func (h *hinter) send(pushes []Push) {
	for _, p := range pushes {
		h.log("push %s %s %s", p.Path, p.Ref, p.Revision)
		p.URL = h.base + p.Path
		for _, url := range h.urls {
			h.pending.Go(func() {
				if err := h.post(url, p); err != nil {
					h.log("hint to %s: %v", url, err)
				}
			})
		}
	}
}

func (h *hinter) post(url string, p Push) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	response, err := h.client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return errors.New(response.Status)
	}
	return nil
}

// lines writes whole lines, one at a time.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", args...)
}
