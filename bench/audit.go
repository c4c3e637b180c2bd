package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// An audit reads the audit log of the API server.
type audit struct {
	path   string
	offset int64
	seen   map[string]bool
}

// A request is one that plumb has sent.
type request struct{ verb, resource string }

func (r request) String() string { return r.verb + " " + r.resource }

// writes reports whether the request is one that changes something.
func (r request) writes() bool {
	switch r.verb {
	case "get", "list", "watch":
		return false
	}
	return true
}

// since returns how many requests of each sort plumb has sent since the last
// call.
func (a *audit) since() (map[request]int, error) {
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(a.offset, io.SeekStart); err != nil {
		return nil, err
	}
	all, err := io.ReadAll(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	all = all[:bytes.LastIndexByte(all, '\n')+1]
	a.offset += int64(len(all))
	count := map[request]int{}
	for line := range bytes.Lines(all) {
		var e struct {
			AuditID   string `json:"auditID"`
			Verb      string `json:"verb"`
			UserAgent string `json:"userAgent"`
			URI       string `json:"requestURI"`
			ObjectRef struct {
				Resource    string `json:"resource"`
				Subresource string `json:"subresource"`
			} `json:"objectRef"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		if !strings.HasPrefix(e.UserAgent, "plumb/") || a.seen[e.AuditID] {
			continue
		}
		a.seen[e.AuditID] = true
		r := request{e.Verb, e.ObjectRef.Resource}
		if e.ObjectRef.Subresource != "" {
			r.resource += "/" + e.ObjectRef.Subresource
		}
		if r.resource == "" {
			r.resource, _, _ = strings.Cut(e.URI, "?")
		}
		if r.writes() && strings.Contains(e.URI, "dryRun=All") {
			r.verb = "dry-run " + r.verb
		}
		count[r]++
	}
	return count, nil
}
