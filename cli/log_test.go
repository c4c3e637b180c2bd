package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// A safeBuffer may be written to by several at once.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The loggers are those of the process, and so the cases share them.
func TestWhoeverSpeaksInThisProcessSpeaksJSON(t *testing.T) {
	stderr, plain := os.Stderr, slog.Default()
	t.Cleanup(func() { os.Stderr = stderr; slog.SetDefault(plain) })
	var out safeBuffer
	l, err := newLogger(&out, "json", "debug")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := speakIn(l)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]func(){
		"by klog":                 func() { klog.Warning("by klog") },
		"by klog with keys":       func() { klog.InfoS("by klog with keys", "a", "b") },
		"by Go's logger":          func() { log.Print("by Go's logger") },
		"by slog":                 func() { slog.Info("by slog") },
		"by the library's":        func() { ctrl.Log.Info("by the library's") },
		"of\\nseveral lines":      func() { log.Print("of\nseveral lines") },
		"to standard error":       func() { fmt.Fprintln(os.Stderr, "# Warning: to standard error") },
		"without a line break":    func() { fmt.Fprint(os.Stderr, "a \"line\" without a line break") },
		strings.Repeat("x", 4000): func() { fmt.Fprintln(os.Stderr, strings.Repeat("x", 1<<20)) },
		"by a program": func() {
			cmd := exec.Command("sh", "-c", "echo; echo by a program >&2")
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
		},
		"by an HTTP server": func() {
			s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("by an HTTP server") }))
			defer s.Close()
			if resp, err := http.Get(s.URL); err == nil {
				resp.Body.Close()
			}
		},
	}
	for _, say := range said {
		say()
	}
	stop()
	for want := range said {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q was not logged:\n%.2000s", want, out.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		var record struct{ TS, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.TS == "" || record.Level == "" || record.Msg == "" {
			t.Errorf("%v: %.200q", err, line)
		}
	}
}
