// Package script runs plumb as a person types it: each archive in testdata is
// a script of commands on a real cluster that plumb holds true to a real Git
// server.
//
// Scripts share the cluster. Each has a namespace of its own, $NS, and a Git
// server of its own with an empty repository at $REPO. Beside the commands of
// testscript there are:
//
//	kubectl ARGS...      as the administrator
//	apply FILE FLAGS...  kubectl apply, with $NAMES in the file filled in
//	commit DIR MESSAGE   commits the files under DIR; the message may hold Go escapes
//	remove MESSAGE FILE...
//	login USER PASSWORD  from now on the Git server asks for these
//	watching ARGS...     runs plumb in the background
//	seen PATTERN         waits until that has printed a line like this, and
//	                     interrupts it, after which it has to end well
package script

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	plumbtest.Clean()
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	w := plumbtest.New(t)
	bin := t.TempDir()
	if err := os.Symlink(plumbtest.Binary(t), filepath.Join(bin, "plumb")); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			stage := &stage{t: t, world: w, server: gittest.New(t), namespace: w.Namespace(t)}
			stage.repo = stage.server.Repo(t, "repo")
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
					env.Setenv("KUBECONFIG", w.Kubeconfig)
					env.Setenv("NS", stage.namespace)
					env.Setenv("REPO", stage.repo.URL())
					env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"kubectl": stage.kubectl, "apply": stage.apply, "commit": stage.commit, "remove": stage.remove, "login": stage.login,
					"watching": stage.watching, "seen": stage.seen,
				},
			})
		})
	}
}

// A stage is what one script plays on.
type stage struct {
	t         *testing.T
	world     *plumbtest.World
	server    *gittest.Server
	repo      *gittest.Repository
	namespace string

	watch *exec.Cmd
	lines <-chan string
}

func (s *stage) kubectl(ts *testscript.TestScript, neg bool, args []string) {
	out, err := s.world.Kubectl(s.t.Context(), "", args...)
	fmt.Fprint(ts.Stdout(), out)
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
	}
	if (err != nil) != neg {
		ts.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *stage) apply(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("apply FILE FLAGS...")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	if out, err := s.world.Kubectl(s.t.Context(), text, append([]string{"apply", "-n", s.namespace, "-f", "-"}, args[1:]...)...); err != nil {
		ts.Fatalf("apply %s: %v\n%s", args[0], err, out)
	}
}

func (s *stage) commit(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("commit DIR MESSAGE")
	}
	message, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	root := ts.MkAbs(args[0])
	files := map[string]string{}
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = os.Expand(string(b), ts.Getenv)
		return err
	}))
	s.repo.Commit(s.t, files, message)
	ts.Setenv("HEAD", s.repo.Head(s.t, "main"))
}

func (s *stage) remove(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("remove MESSAGE FILE...")
	}
	s.repo.Remove(s.t, args[0], args[1:]...)
	ts.Setenv("HEAD", s.repo.Head(s.t, "main"))
}

func (s *stage) login(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("login USER PASSWORD")
	}
	s.server.RequireBasic(args[0], args[1])
}

func (s *stage) watching(ts *testscript.TestScript, _ bool, args []string) {
	s.watch = exec.CommandContext(s.t.Context(), plumbtest.Binary(s.t), args...)
	s.watch.Env = append(os.Environ(), "KUBECONFIG="+s.world.Kubeconfig)
	out, err := s.watch.StdoutPipe()
	ts.Check(err)
	ts.Check(s.watch.Start())
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	s.lines = lines
}

func (s *stage) seen(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("seen PATTERN")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.After(plumbtest.Patience)
	for found := false; !found; {
		select {
		case line, ok := <-s.lines:
			if !ok {
				ts.Fatalf("it ended before it printed %q", args[0])
			}
			ts.Logf("%s", line)
			found = pattern.MatchString(line)
		case <-deadline:
			ts.Fatalf("it did not print %q within %s", args[0], plumbtest.Patience)
		}
	}
	ts.Check(s.watch.Process.Signal(os.Interrupt))
	for range s.lines { // until it ends
	}
	ts.Check(s.watch.Wait())
}
