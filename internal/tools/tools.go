// Package tools builds the programs that work on plumb needs and plumb itself
// does not: the sandbox, the linter, and what tests compare plumb with.
//
// Each has a Go module of its own, so that none of its dependencies is one of
// plumb's. [Build] promises that a program is built once for each content of
// its module on this machine, whatever clone asks for it and however many ask
// at once, and that the path it returns is the program of exactly that
// content. What a program is good for, and how to run it, is the caller's
// business.
package tools

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Program is something to build.
type Program struct {
	Name    string
	Dir     string   // its module, relative to the repository's root
	Package string   // as go build takes it, from within Dir
	Flags   []string // of go build
	Why     string   // what a person who waits for it is told
}

// The programs, by name.
var (
	Sandbox = Program{
		Name: "plumb-sandbox", Dir: "sandbox", Package: ".",
		Flags: []string{"-trimpath", "-ldflags=-s -w"},
		Why:   "a Kubernetes control plane from source; about 4 minutes on 2 cores, once",
	}
	Lint = Program{
		Name: "golangci-lint", Dir: "internal/tools/lint", Package: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint",
		Flags: []string{"-trimpath", "-ldflags=-s -w"},
		Why:   "the linter; about 3 minutes on 2 cores, once",
	}
	Helm = Program{
		Name: "helm", Dir: "internal/tools/helm", Package: "helm.sh/helm/v4/cmd/helm",
		Flags: []string{"-trimpath", "-ldflags=-s -w"},
		Why:   "the helm command that renders are compared with; about 4 minutes on 2 cores, once",
	}

	All = []Program{Sandbox, Lint, Helm}
)

// Root returns the root of the repository that the working directory is in.
func Root() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module plumb.dev/plumb\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find plumb's repository: %s is not in one", wd)
		}
	}
}

// Build returns the path of the program, which it builds if no clone on this
// machine has built the same before. Progress is told to w.
func Build(root string, p Program, w io.Writer) (string, error) {
	key, err := p.key(root)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("build %s: no folder to keep it in: %w; set XDG_CACHE_HOME", p.Name, err)
	}
	kept := filepath.Join(cache, "plumb", p.Name)
	dir := filepath.Join(kept, key)
	exe := filepath.Join(dir, p.Name)
	if isKept(exe, dir) {
		return exe, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	// One build at a time; whoever waited finds the result.
	release, err := lock(filepath.Join(kept, "lock"), func() {
		fmt.Fprintf(w, "%s: waiting for another process that builds it\n", p.Name)
	})
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer release()
	if isKept(exe, dir) {
		return exe, nil
	}
	dropUnused(kept)
	if err := p.build(root, exe, w); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	// Not if a file was edited meanwhile: which content is it then?
	if now, err := p.key(root); err != nil || now != key {
		return "", errors.Join(err, fmt.Errorf("build %s: files in %s changed meanwhile; try again", p.Name, p.Dir), os.Remove(exe))
	}
	return exe, nil
}

// Install is Build, and puts a copy of the program at path.
func Install(root string, p Program, path string, w io.Writer) error {
	exe, err := Build(root, p, w)
	if err != nil {
		return err
	}
	stamp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".built-from")
	if was, err := os.ReadFile(stamp); err == nil && string(was) == exe && isFile(path) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := replace(exe, path); err != nil {
		return fmt.Errorf("copy %s to %s: %w", p.Name, path, err)
	}
	return os.WriteFile(stamp, []byte(exe), 0o644)
}

// key is a digest of all that decides what the program does.
func (p Program) key(root string) (string, error) {
	h := sha256.New()
	ask := exec.Command("go", "env", "GOVERSION", "GOOS", "GOARCH", "CGO_ENABLED")
	ask.Dir = filepath.Join(root, p.Dir) // where another toolchain may be asked for
	env, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its version: %w", err)
	}
	fmt.Fprintf(h, "%s%s\n%q\n", env, p.Package, p.Flags)

	files, err := p.files(root)
	if err != nil {
		return "", err
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, p.Dir, file))
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile, by an editor say
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(file), len(content))
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil))[:20], nil
}

// files are the module's files but those that only its tests read.
func (p Program) files(root string) ([]string, error) {
	top := filepath.Join(root, p.Dir)
	var files []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && (name == "testdata" || strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "."):
			return nil
		}
		rel, err := filepath.Rel(top, path)
		files = append(files, rel)
		return err
	})
	slices.Sort(files)
	return files, err
}

// isKept tells whether a program is there, and marks it as used.
func isKept(exe, dir string) bool {
	if !isFile(exe) {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // only the clean-up is off without it
	return true
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// A program that nobody asked for in a while goes, and so do those of many
// contents that were tried in short order. What may be running stays.
const (
	unused  = 14 * 24 * time.Hour
	enough  = 4
	running = 2 * time.Hour
)

func dropUnused(kept string) {
	entries, err := os.ReadDir(kept)
	if err != nil {
		return
	}
	age := map[string]time.Duration{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() {
			age[e.Name()] = time.Since(info.ModTime())
		}
	}
	young := slices.SortedFunc(maps.Keys(age), func(a, b string) int { return cmp.Compare(age[a], age[b]) })
	for i, name := range young {
		if age[name] > unused || i >= enough && age[name] > running {
			_ = os.RemoveAll(filepath.Join(kept, name))
		}
	}
}

// lock takes the lock file, and calls waiting first if somebody else has it.
func lock(path string, waiting func()) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		waiting()
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// replace puts a copy of a program in another's place, which may be running.
func replace(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(dst.Name())
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Chmod(0o755), dst.Close()); err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}
