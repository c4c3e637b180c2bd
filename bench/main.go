// Command bench measures what plumb costs, each figure beside a floor that
// was measured in the same run: the least that the same work takes.
//
//	make bench
//	go run ./bench -n 1000 -json figures.json
//
// It starts an API server with etcd, and no controllers, in a temporary
// folder, serves one Git repository with n apps of ten objects over HTTP, and
// runs plumb on them. Everything is on one machine, so plumb, the API server
// and the benchmark share its processors: the ratios travel better than the
// seconds. It needs git, and bin/plumb and bin/plumb-sandbox, which make
// builds. docs/performance.md explains the figures.
//
// Another benchmark, of ways to hold a large Git repository, is in bench/git;
// this one runs it too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"plumb.dev/plumb/internal/tools"
)

// A bench is what the flags say and what was measured.
type bench struct {
	units, small     int
	large, clusters  int
	runs, samples    int
	idle, settle     time.Duration
	quiet            time.Duration // before a commit that all units are told of at once
	files, megabytes int
	root             string // of this repository
	plumbPath        string
	sandboxPath      string
	profiles         string // folder
	only             string
	kinds            []*kind // of units

	figures figures
}

func main() {
	log.SetFlags(0)
	var b bench
	var jsonFile, of string
	flag.StringVar(&of, "units", "", "only units of that kind, such as Applications")
	flag.IntVar(&b.units, "n", 1000, "units, each with an app of its own")
	flag.IntVar(&b.small, "small", 100, "units of the run before, to compare with; 0 is none")
	flag.IntVar(&b.large, "large", 0, "units of a run after, of which cold, a commit, idle and memory are compared; 0 is none")
	flag.IntVar(&b.clusters, "clusters", 20, "clusters that as many units as -n says are on, some of which hang; 0 is none")
	flag.IntVar(&b.runs, "runs", 11, "how often to measure what is short; the median counts")
	flag.IntVar(&b.samples, "samples", 200, "objects to change by hand, one after the other")
	flag.DurationVar(&b.idle, "idle", 5*time.Minute, "how long to watch plumb do nothing")
	flag.DurationVar(&b.settle, "settle", 45*time.Second, "how long after the work to read the memory: longer than a worker that has nothing to do is kept")
	flag.DurationVar(&b.quiet, "quiet", quietTime, "how long to wait before a commit that all units are to be told of at once")
	flag.IntVar(&b.files, "files", 100_000, "files of the large repository; 0 is none")
	flag.IntVar(&b.megabytes, "megabytes", 1024, "size of the other large repository")
	flag.StringVar(&b.only, "only", "", "measure only what matches this regular expression, and what has to come before")
	flag.StringVar(&jsonFile, "json", "", "write the figures to this file, as JSON; - is standard output, after the table")
	flag.StringVar(&b.plumbPath, "plumb", "", "the program to measure (default bin/plumb)")
	flag.StringVar(&b.sandboxPath, "sandbox", "", "the program that runs the API server (default bin/plumb-sandbox)")
	flag.StringVar(&b.profiles, "profile", "", "write profiles of plumb to this folder; they cost some per cent")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.kinds = slices.DeleteFunc(slices.Clone(kinds), func(k *kind) bool { return of != "" && k.name != of })
	if err := b.main(ctx, jsonFile); err != nil {
		log.Fatalf("bench: %v", err)
	}
}

func (b *bench) main(ctx context.Context, jsonFile string) (err error) {
	if len(b.kinds) == 0 {
		return errors.New("-units is " + fluxKind.name + " or " + argocdKind.name)
	}
	if b.units < 1 || b.small < 0 || b.large < 0 || b.clusters < 0 || b.clusters == 1 || b.runs < 1 || b.samples < 1 || flag.NArg() > 0 {
		return errors.New("-n, -runs and -samples are at least 1, -clusters 2 or none, and there are no arguments")
	}
	if b.root, err = tools.Root(); err != nil {
		return err
	}
	for _, p := range []struct {
		path *string
		name string
	}{{&b.plumbPath, "plumb"}, {&b.sandboxPath, "plumb-sandbox"}} {
		if *p.path == "" {
			*p.path = filepath.Join(b.root, "bin", p.name)
		}
		if _, err := os.Stat(*p.path); err != nil {
			return fmt.Errorf("%w; run: make build", err)
		}
	}
	if b.profiles != "" {
		if err := os.MkdirAll(b.profiles, 0o755); err != nil {
			return err
		}
	}
	b.figures = newFigures(b)
	if err := b.run(ctx); err != nil {
		return err
	}
	if err := b.figures.print(os.Stdout); err != nil {
		return err
	}
	if jsonFile != "" {
		return b.figures.write(jsonFile)
	}
	return nil
}

// A step is one thing to measure on a world.
type step struct {
	what string
	do   func(*world, context.Context) error
	of   *kind // if nothing else
}

const idleStep = "nothing to do"

var (
	// always is measured with each number of units, and then with one.
	always = []step{
		{"the floor: a bare loop of renders and server-side applies", (*world).floor, nil},
		{"cold: units created → all ready", (*world).cold, nil},
		{"memory once settled", (*world).settled, nil},
		{"commits that touch one app", (*world).commits, nil},
	}
	then = []step{
		{"the floor of cold: as many requests", (*world).sameRequests, nil},
		{"a commit that touches every app", (*world).fanOut, nil},
		{"a commit that removes an object of every app", (*world).prune, nil},
		{"objects changed by another client, one after the other", (*world).drift, nil},
		{"objects changed by another client, all at once", (*world).storm, nil},
		{"commits while some units can't become healthy", (*world).starved, nil},
		{"units that depend on each other", (*world).chain, &fluxKind},
		{idleStep, (*world).idle, nil},
		{"a restart", (*world).restart, nil},
	}
	// elsewhere is measured by itself, with units on other clusters.
	elsewhere = []step{{"commits to many clusters, some of which hang", (*world).clusters, &fluxKind}}
)

func (b *bench) run(ctx context.Context) error {
	only, err := regexp.Compile(b.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	matching := func(steps []step) (some []step) {
		return slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return !only.MatchString(s.what) })
	}
	after, far := matching(then), b.clusters > 0 && len(matching(elsewhere)) > 0
	for _, k := range b.kinds {
		if len(after) > 0 || len(matching(always)) > 0 {
			if err := b.sizes(ctx, k, after); err != nil {
				return err
			}
		}
		if far && elsewhere[0].of == k {
			if err := b.on(ctx, k, max(b.units, b.clusters), elsewhere); err != nil {
				return err
			}
		}
	}
	if b.files > 0 {
		log.Print("measuring large repositories")
		return b.largeRepositories(ctx)
	}
	return nil
}

// sizes measures with fewer units of a kind, with all, and with more, and compares.
func (b *bench) sizes(ctx context.Context, k *kind, after []step) error {
	idle := slices.DeleteFunc(slices.Clone(after), func(s step) bool { return s.what != idleStep })
	for _, run := range []struct {
		units int
		steps []step
	}{{b.small, always}, {b.units, slices.Concat(always, after)}, {b.large, slices.Concat(always, idle)}} {
		if run.units == 0 {
			continue
		}
		if err := b.on(ctx, k, run.units, run.steps); err != nil {
			return err
		}
	}
	b.compare(k)
	return nil
}

// on measures one thing after the other, on one cluster with n apps.
func (b *bench) on(ctx context.Context, k *kind, n int, steps []step) (err error) {
	log.Printf("starting an API server and a Git server with %d apps of %d objects, for %s", n, objectsPerApp, k.name)
	w, err := newWorld(ctx, b, k, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	for _, s := range steps {
		if s.of != nil && s.of != k {
			continue
		}
		log.Printf("measuring %s", s.what)
		if err := s.do(w, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", s.what, err)
		}
	}
	return nil
}
