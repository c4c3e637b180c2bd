package kustomize

import (
	"bufio"
	"io"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/types"
)

// Kustomize writes to the standard error and to the standard logger, from
// within builds, and there is no way to tell it not to. What of that a user
// should know is in Result.Warnings.

// Quiet takes what Kustomize prints off the standard error of the process. It
// is for main, before anything else runs, since it changes os.Stderr; the file
// that it returns is the real one. What others print goes there as before, and
// is all there once flush has returned.
func Quiet() (stderr *os.File, flush func()) {
	stderr = os.Stderr
	log.SetOutput(Unsaid(log.Writer()))
	r, w, err := os.Pipe()
	if err != nil {
		return stderr, func() {} // a process without files has other worries
	}
	os.Stderr = w
	done := make(chan struct{})
	go func() {
		defer close(done)
		filter(stderr, r)
	}()
	return stderr, func() {
		os.Stderr = stderr
		_ = w.Close() // a pipe of this process
		<-done
	}
}

// filter copies lines, but for what Kustomize has to say of deprecated fields.
func filter(to io.Writer, from io.Reader) {
	r := bufio.NewReader(from)
	for {
		line, err := r.ReadString('\n')
		if line != "" && !Prints(strings.TrimSuffix(line, "\n")) {
			_, _ = io.WriteString(to, line) // there is nowhere else to say that it failed
		}
		if err != nil {
			return
		}
	}
}

// Prints reports whether Kustomize prints a line, about a deprecated field. It
// goes by Kustomize's own account of what that is.
func Prints(line string) bool { return slices.Contains(printed(), line) }

var printed = sync.OnceValue(func() []string {
	all := types.Kustomization{
		Bases: []string{}, CommonLabels: map[string]string{}, ImageTags: []types.Image{}, PatchesJson6902: []types.Patch{},
		PatchesStrategicMerge: []types.PatchStrategicMerge{}, Vars: []types.Var{},
	}
	return *all.CheckDeprecatedFields()
})

// Unsaid returns an output for the standard logger: w, without what Kustomize
// logs.
func Unsaid(w io.Writer) io.Writer { return notKustomize{w} }

// notKustomize is an output of the standard logger that leaves out what code
// of Kustomize logs. The logger calls it from where it is called itself.
type notKustomize struct{ io.Writer }

func (n notKustomize) Write(b []byte) (int, error) {
	callers := make([]uintptr, 16)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "sigs.k8s.io/kustomize/") {
			return len(b), nil
		}
		if !more {
			return n.Writer.Write(b)
		}
	}
}
