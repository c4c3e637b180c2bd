package plumbtest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A Request is one that plumb sent to the API server.
type Request struct {
	Verb, URI      string
	Resource, Name string // of the object, as in "configmaps" and "cm-1"
}

// Write reports whether the request may have changed something. A review is
// created to ask, and nothing is stored of it.
func (r Request) Write() bool {
	return !strings.HasSuffix(r.Resource, "accessreviews") && slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb) && !strings.Contains(r.URI, "dryRun=All")
}

// Requests returns what plumb has sent since a time. The control plane has to
// be one with an audit log: kubetest.Private(t, "--audit").
func (w *World) Requests(t testing.TB, since time.Time) []Request {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.Dir(), "log", "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var out []Request
	for line := range strings.Lines(string(b)) {
		var e struct {
			Verb, UserAgent, RequestURI string
			ObjectRef                   struct{ Resource, Name string }
			RequestReceivedTimestamp    time.Time
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.RequestReceivedTimestamp.After(since) && strings.HasPrefix(e.UserAgent, "plumb/") {
			out = append(out, Request{e.Verb, e.RequestURI, e.ObjectRef.Resource, e.ObjectRef.Name})
		}
	}
	return out
}
