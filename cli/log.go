package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"plumb.dev/plumb/render/kustomize"
)

// newLogger returns what writes the log of plumb serve: a line for each record.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not debug, info, warn or error", level)
	}
	opts := &slog.HandlerOptions{Level: l, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			a.Key = "ts"
		}
		return a
	}}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q is not json or text", format)
}

// speakIn has everything in this process speak in log, which is read by
// programs: controller-runtime, klog, Go's own logger, with which an HTTP server
// tells of its troubles, and whatever a library, or a program that it runs,
// writes to standard error. A crash of Go itself still goes there directly.
//
// It is for the life of the process; stop waits for what has been written.
func speakIn(log *slog.Logger) (stop func(), err error) {
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetLogger(logr.FromSlogHandler(log.Handler()))
	slog.SetDefault(log)
	slog.SetLogLoggerLevel(slog.LevelWarn)
	stdlog.SetOutput(kustomize.Unsaid(stdlog.Writer()))

	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("take over standard error: %w", err)
	}
	os.Stderr = w
	done := make(chan struct{})
	go func() {
		defer close(done)
		relay(r, log)
	}()
	return func() { w.Close(); <-done; r.Close() }, nil
}

// longestStray is how much of a line is kept that somebody else has written.
const longestStray = 4 << 10

// relay logs each line of r until it ends.
func relay(r io.Reader, log *slog.Logger) {
	b := bufio.NewReaderSize(r, longestStray)
	for {
		line, more, err := b.ReadLine()
		text := string(line)
		for more && err == nil {
			_, more, err = b.ReadLine() // the rest of a line that is too long
		}
		if text = strings.TrimSpace(text); text != "" && !kustomize.Prints(text) {
			log.Warn("written to standard error", "text", text)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				log.Error("standard error can't be read any longer", "err", err)
			}
			return
		}
	}
}
