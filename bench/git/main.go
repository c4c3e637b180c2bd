// Command git measures ways to hold a large Git repository: the time and the
// peak memory of a first fetch, of the fetch of a commit that changes one file,
// and of reading a thousand files of one directory.
//
//	go run ./bench/git
//
// It makes two repositories, one of 100,000 small files and one of 1 GB, and
// serves them on this machine by git http-backend. Each step of each way runs
// in a process of its own, whose high-water mark is its peak. It needs git and
// 8 GB of disk.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"plumb.dev/plumb/internal/tools"
	"plumb.dev/plumb/source/git"
)

func main() {
	log.SetFlags(0)
	var (
		files = flag.Int("files", 100_000, "files in the repository of many files")
		mega  = flag.Int("megabytes", 1024, "size of the large repository")
		dir   = flag.String("dir", "", "where to work; empty: a temporary directory, removed at the end")
		only  = flag.String("only", "plumb,go-git,git", "the ways to measure")
		into  = flag.String("json", "", "write the results to this file, as JSON")
		step  = flag.String("step", "", "internal: the step to run")
		way   = flag.String("way", "", "internal: the way to run it")
		url   = flag.String("url", "", "internal: the repository")
	)
	flag.Parse()
	if *step != "" {
		if err := child(*way, *step, *dir, *url); err != nil {
			log.Fatalf("%s, %s: %v", *way, *step, err)
		}
		return
	}
	results, err := run(*dir, *files, *mega, strings.Split(*only, ","))
	if err == nil {
		err = print(results)
	}
	if err == nil && *into != "" {
		err = write(results, *into)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A result is what one step took.
type result struct {
	Repository, Way, Step string
	Seconds               float64
	PeakMB                float64
	WireKB                float64
}

var steps = []string{"first", "incremental", "read"}

func run(dir string, files, mega int, ways []string) (all []result, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-git-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if slices.Contains(ways, "go-git") {
		if err := buildGoGit(dir); err != nil {
			return nil, err
		}
	}
	addr, sent, err := serve(dir)
	if err != nil {
		return nil, err
	}
	for _, repo := range []struct {
		name string
		make func(io.Writer)
	}{
		{fmt.Sprintf("%d files", files), func(w io.Writer) { manyFiles(w, files) }},
		{fmt.Sprintf("%d MB", mega), func(w io.Writer) { manyBytes(w, mega) }},
	} {
		log.Printf("making the repository of %s", repo.name)
		at := filepath.Join(dir, strings.ReplaceAll(repo.name, " ", "-")+".git")
		if err := generate(at, repo.make); err != nil {
			return nil, err
		}
		for _, way := range ways {
			local := filepath.Join(dir, "local")
			os.RemoveAll(local)
			for i, step := range steps {
				if step == "incremental" {
					if err := commit(at, fmt.Sprint(way, i)); err != nil {
						return nil, err
					}
				}
				sent.Store(0)
				r, err := measure(way, step, local, "http://"+addr+"/"+filepath.Base(at))
				if err != nil {
					log.Printf("%s, %s, %s: %v", repo.name, way, step, err)
					break
				}
				r.Repository, r.WireKB = repo.name, float64(sent.Load())/1024
				all = append(all, r)
			}
		}
	}
	return all, nil
}

func print(all []result) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "repository\tway\tstep\ttime\tpeak memory\ton the wire\t")
	for _, r := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.3f s\t%.0f MB\t%.1f kB\t\n", r.Repository, r.Way, r.Step, r.Seconds, r.PeakMB, r.WireKB)
	}
	return t.Flush()
}

func write(all []result, file string) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// measure runs a step in a process of its own.
func measure(way, step, dir, url string) (result, error) {
	r := result{Way: way, Step: step}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(context.Background(), self, "-way", way, "-step", step, "-dir", dir, "-url", url)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

// child runs a step and prints what it took.
func child(way, step, dir, url string) error {
	fn, ok := map[string]map[string]func(string, string) error{
		"plumb":  {"first": plumbFetch, "incremental": plumbFetch, "read": plumbRead},
		"go-git": {"first": goGit("fetch"), "incremental": goGit("fetch"), "read": goGit("read")},
		"git":    {"first": gitFetch, "incremental": gitFetch, "read": gitRead},
	}[way][step]
	if !ok {
		return errors.New("unknown step")
	}
	begin := time.Now()
	if err := fn(dir, url); err != nil {
		return err
	}
	r := result{Way: way, Step: step, Seconds: time.Since(begin).Seconds()}
	peak, err := peak(way)
	if err != nil {
		return err
	}
	r.PeakMB = peak
	return json.NewEncoder(os.Stdout).Encode(r)
}

// peak is the high-water mark in MB of this process, or for the ways that are
// programs of their own of the largest of their processes.
func peak(way string) (float64, error) {
	if way != "plumb" {
		var below syscall.Rusage
		err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &below)
		return float64(below.Maxrss) / 1024, err
	}
	// Not from getrusage, which starts from what the parent had.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kb, err := strconv.Atoi(f[1])
			return float64(kb) / 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}

func plumbFetch(dir, url string) error {
	s, err := git.NewStore(dir, git.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	r := git.Remote{URL: url, Timeout: 10 * time.Minute}
	h, err := s.Resolve(context.Background(), r, git.Ref{Branch: "main"})
	if err != nil {
		return err
	}
	if _, err = s.Fetch(context.Background(), r, h, git.FetchOptions{}); err != nil {
		return err
	}
	return os.WriteFile(dir+".head", []byte(h.Hash), 0o600)
}

func plumbRead(dir, url string) error {
	s, err := git.NewStore(dir, git.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	hash, err := os.ReadFile(dir + ".head")
	if err != nil {
		return err
	}
	snap, err := s.Open(git.Remote{URL: url}, git.Head{Hash: string(hash)}, git.FetchOptions{})
	if err != nil {
		return err
	}
	subs, err := snap.Tree.ReadDir("d000")
	if err != nil {
		return err
	}
	for _, sub := range subs {
		entries, err := snap.Tree.ReadDir("d000/" + sub.Name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, err := snap.Tree.ReadFile("d000/" + sub.Name + "/" + e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// goGit is the way of a program that is a module of its own.
func goGit(step string) func(dir, url string) error {
	return func(dir, url string) error {
		cmd := exec.CommandContext(context.Background(), os.Getenv(goGitProgram), step, dir, url)
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
}

// goGitProgram names the variable that says where that program is.
const goGitProgram = "BENCH_GOGIT"

// buildGoGit builds it.
func buildGoGit(dir string) error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "gogit")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-C", filepath.Join(root, "bench/git/gogit"), "-o", program, ".")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build bench/git/gogit: %w\n%s", err, out)
	}
	return os.Setenv(goGitProgram, program)
}

func gitFetch(dir, url string) error {
	if _, err := os.Stat(dir); err != nil {
		if err := command("init", "--quiet", "--bare", dir); err != nil {
			return err
		}
	}
	return command("-C", dir, "fetch", "--quiet", "--depth=1", "--no-tags", url, "+refs/heads/main:refs/heads/main")
}

func gitRead(dir, _ string) error {
	out, err := exec.CommandContext(context.Background(), "git", "-C", dir, "ls-tree", "-r", "--name-only", "main", "d000").Output()
	if err != nil {
		return err
	}
	var in strings.Builder
	for name := range strings.Lines(string(out)) {
		in.WriteString("main:" + name)
	}
	cmd := exec.CommandContext(context.Background(), "git", "-C", dir, "cat-file", "--batch")
	cmd.Stdin = strings.NewReader(in.String())
	return cmd.Run()
}

func command(args ...string) error {
	if out, err := exec.CommandContext(context.Background(), "git", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}

// serve serves the repositories in dir, and counts the bytes of its answers.
func serve(dir string) (addr string, sent *atomic.Int64, err error) {
	path, err := exec.CommandContext(context.Background(), "git", "--exec-path").Output()
	if err != nil {
		return "", nil, err
	}
	h := &cgi.Handler{
		Path: strings.TrimSpace(string(path)) + "/git-http-backend",
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH", "HOME"},
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	sent = new(atomic.Int64)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:errcheck,gosec // until the end, on this machine
		if r.ContentLength < 0 {
			r.TransferEncoding = nil
		}
		h.ServeHTTP(&counting{w, sent}, r)
	}))
	return l.Addr().String(), sent, nil
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

func generate(at string, content func(io.Writer)) error {
	if _, err := os.Stat(at); err == nil {
		return nil // kept by -dir
	}
	if err := command("init", "--quiet", "--bare", "--initial-branch=main", at); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "git", "--git-dir", at, "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	content(w)
	if err := errors.Join(w.Flush(), in.Close(), cmd.Wait()); err != nil {
		return err
	}
	// As a server would have it: packed, with bitmaps.
	return command("--git-dir", at, "gc", "--quiet")
}

const head = "commit refs/heads/main\ncommitter bench <bench@example.com> 1700000000 +0000\ndata 1\nx\n"

func manyFiles(w io.Writer, n int) {
	rng := rand.New(rand.NewPCG(1, 1))
	fmt.Fprint(w, head)
	for i := range n {
		var b strings.Builder
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%d\n  namespace: ns-%d\ndata:\n", i, i%97)
		for k := range 20 {
			fmt.Fprintf(&b, "  key%d: %016x%016x\n", k, rng.Uint64(), rng.Uint64())
		}
		file(w, fmt.Sprintf("d%03d/s%02d/f%03d.yaml", i/1000, i/50%20, i%50), b.String())
	}
}

func manyBytes(w io.Writer, mega int) {
	rng := rand.NewChaCha8([32]byte{1})
	fmt.Fprint(w, head)
	b := make([]byte, 256<<10)
	for i := range mega * 4 {
		_, _ = rng.Read(b)
		file(w, fmt.Sprintf("d%03d/s%02d/f%03d.bin", i/1000, i/50%20, i%50), string(b))
	}
}

func file(w io.Writer, name, content string) {
	fmt.Fprintf(w, "M 100644 inline %s\ndata %s\n%s\n", name, strconv.Itoa(len(content)), content)
}

// commit changes one file.
func commit(at, content string) error {
	cmd := exec.CommandContext(context.Background(), "git", "--git-dir", at, "fast-import", "--quiet")
	tip, err := exec.CommandContext(context.Background(), "git", "--git-dir", at, "rev-parse", "main").Output()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(head + "from " + string(tip))
	file(&b, "d000/s00/f000.yaml", content)
	cmd.Stdin = strings.NewReader(b.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git fast-import: %w: %s", err, out)
	}
	return nil
}
