package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
)

// workerCommand is what plumb serve starts itself with, to render.
const workerCommand = "render-worker"

// newWorker is not for people: it reads jobs from the standard input.
func newWorker() *cobra.Command {
	return &cobra.Command{
		Use:    workerCommand,
		Short:  "Render for plumb serve, which starts it",
		Hidden: true,
		Args:   takes(0, 0),
		// Of what the others share, it needs nothing.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(*cobra.Command, []string) error {
			jobs := map[string]worker.Func{kustomize.Kind: render.Job(kustomize.Decode)}
			return worker.Serve(jobs, os.Stdin, os.Stdout, kustomize.Warm)
		},
	}
}

// renderWorkers is how many processes render side by side if nothing else is
// said: as many as there are cores. Each takes some memory, and so there are
// not more than a few on a node with many.
func renderWorkers() int { return min(runtime.GOMAXPROCS(0), 4) }

const (
	// renderTime is how long a render may take. It is far above what people
	// write, also on a machine that has much else to do.
	renderTime = 2 * time.Minute
	// slowRender is how long one keeps its slot from others.
	slowRender = 2 * time.Second
	// othersMemory is what is left to all others beside one that has all it
	// may have, in bytes.
	othersMemory = 160 << 20
	// workerIdle is how long a process is kept that has nothing to do.
	workerIdle = 30 * time.Second
	// workerKeep is how much memory one may have that is kept, in bytes.
	workerKeep = 160 << 20
)

// renderers returns what renders for plumb serve, and what ends it.
func (o serveOptions) renderers(log *slog.Logger) (w *render.Workers, end func(), err error) {
	const least = 64 << 20
	switch {
	case o.renderWorkers < 1:
		return nil, nil, errors.New("--render-workers has to be 1 or more")
	case o.renderWorkerMemory < least:
		return nil, nil, fmt.Errorf("--render-worker-memory has to be %d or more", least)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program, to render with it: %w", err)
	}
	pool := worker.New(worker.Options{
		Command: []string{self, workerCommand}, OpenEnv: fetchingEnv(os.Environ()),
		Workers: o.renderWorkers, Slow: slowRender, Memory: o.renderWorkerMemory,
		Together: o.renderWorkerMemory + othersMemory, Time: renderTime, Idle: workerIdle, Keep: min(workerKeep, o.renderWorkerMemory), Log: log,
	})
	return render.NewWorkers(pool, render.Bounds{Memory: o.renderWorkerMemory, Together: o.renderWorkerMemory + othersMemory, Time: renderTime, Hint: "or give it more with --render-worker-memory"}), pool.Close, nil
}

// fetchingEnv is what of an environment the program git needs, which Kustomize
// starts where bases by URL are allowed.
func fetchingEnv(all []string) (some []string) {
	names := []string{"PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
	for _, v := range all {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(names, strings.ToUpper(name)) || strings.HasPrefix(name, "GIT_") {
			some = append(some, v)
		}
	}
	return some
}
