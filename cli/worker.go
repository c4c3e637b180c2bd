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

	"plumb.dev/plumb/engine/jq"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/watch/health/lua"
)

// newJobs is a command that is not for people: it reads jobs from the standard
// input.
func newJobs(use, short string, jobs map[string]worker.Func, warm func()) *cobra.Command {
	return &cobra.Command{
		Use:    use,
		Short:  short,
		Hidden: true,
		Args:   takes(0, 0),
		// Of what the others share, it needs nothing.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(*cobra.Command, []string) error {
			return worker.Serve(jobs, os.Stdin, os.Stdout, warm)
		},
	}
}

// workerCommand is what plumb serve starts itself with, to render.
const workerCommand = "render-worker"

// healthWorkerCommand is what it starts itself with to judge by rules in Lua.
const healthWorkerCommand = "health-worker"

func newHealthWorker() *cobra.Command {
	jobs := map[string]worker.Func{lua.Kind: lua.Job}
	return newJobs(healthWorkerCommand, "Judge health by Lua for plumb serve, which starts it", jobs, func() {})
}

// luaRunner returns what judges by rules in Lua for plumb serve, and what ends
// it. Its process is started by the first object that is judged so.
func luaRunner(log *slog.Logger) (r *lua.Runner, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program, to judge health with it: %w", err)
	}
	pool := worker.New(worker.Options{
		Command: []string{self, healthWorkerCommand}, Workers: 1, Slow: 2 * lua.Time,
		Memory: lua.Memory, Together: 2 * lua.Memory, Time: lua.Time, Idle: workerIdle, Keep: lua.Memory / 2, Log: log,
	})
	return lua.NewRunner(pool), pool.Close, nil
}

func newWorker() *cobra.Command {
	jobs := map[string]worker.Func{kustomize.Kind: render.Job(kustomize.Decode), detect.Kind: render.Job(detect.Decode)}
	return newJobs(workerCommand, "Render for plumb serve, which starts it", jobs, kustomize.Warm)
}

// jqCommand is what plumb serve starts itself with, to evaluate expressions.
const jqCommand = "jq-worker"

func newJQWorker() *cobra.Command {
	jobs := map[string]worker.Func{jq.Kind: jq.Job}
	return newJobs(jqCommand, "Evaluate jq expressions for plumb serve, which starts it", jobs, func() {})
}

// jqFinder returns what evaluates expressions for plumb serve, and what ends it.
// Its processes are started by the first rule that has an expression.
func jqFinder(log *slog.Logger) (f *jq.Finder, end func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program, to evaluate expressions with it: %w", err)
	}
	pool := worker.New(worker.Options{
		Command: []string{self, jqCommand}, Workers: jqWorkers, Slow: jq.Time,
		Memory: jq.Memory, Together: jq.Together, Time: jq.Time, Idle: workerIdle, Keep: jq.Memory / 4 * 3, Log: log,
	})
	return jq.NewFinder(pool), pool.Close, nil
}

// jqWorkers is how many processes evaluate expressions side by side.
const jqWorkers = 2

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
	workerKeep = worker.Heavy * 160 << 20
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
