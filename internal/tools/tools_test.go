package tools

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// repository makes one with a small program in it, and a cache of its own.
func repository(t *testing.T) (root string, p Program) {
	t.Helper()
	root = t.TempDir()
	compiled, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(compiled))) // it is in there too
	t.Setenv("XDG_CACHE_HOME", filepath.Join(root, "cache"))
	write(t, root, "hello/go.mod", "module hello\n\ngo 1.26\n")
	write(t, root, "hello/main.go", "package main\n\nimport _ \"embed\"\n\n//go:embed word.txt\nvar word string\n\nfunc main() { print(word) }\n")
	write(t, root, "hello/word.txt", "hello")
	return root, Program{Name: "hello", Dir: "hello", Package: ".", Why: "a test"}
}

func write(t *testing.T, root, path, content string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func build(t *testing.T, root string, p Program) (exe, progress string) {
	t.Helper()
	var w bytes.Buffer
	exe, err := Build(root, p, &w)
	if err != nil {
		t.Fatal(err)
	}
	return exe, w.String()
}

func says(t *testing.T, exe string) string {
	t.Helper()
	out, err := exec.Command(exe).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestSameContentIsBuiltOnce(t *testing.T) {
	root, p := repository(t)
	first, progress := build(t, root, p)
	if !strings.Contains(progress, "built in") {
		t.Errorf("the first build says %q", progress)
	}

	write(t, root, "hello/main_test.go", "package main")
	write(t, root, "hello/testdata/a", "b")
	again, progress := build(t, root, p)
	if again != first || progress != "" {
		t.Errorf("with only tests changed it is %s and says %q; want %s and nothing", again, progress, first)
	}

	write(t, root, "hello/word.txt", "goodbye")
	other, _ := build(t, root, p)
	if other == first || says(t, other) != "goodbye" || says(t, first) != "hello" {
		t.Errorf("%s says %q, %s says %q", first, says(t, first), other, says(t, other))
	}
}

func TestManyWhoAskAtOnceGetOneBuild(t *testing.T) {
	root, p := repository(t)
	progress := make([]bytes.Buffer, 4)
	var wg sync.WaitGroup
	for i := range progress {
		wg.Go(func() {
			if _, err := Build(root, p, &progress[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	builds := 0
	for i := range progress {
		builds += strings.Count(progress[i].String(), "built in")
	}
	if builds != 1 {
		t.Errorf("built %d times", builds)
	}
}

func TestProgramThatDoesNotCompileSaysWhy(t *testing.T) {
	root, p := repository(t)
	write(t, root, "hello/main.go", "package main\nfunc main() { nothing() }\n")
	_, err := Build(root, p, new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "undefined: nothing") {
		t.Errorf("error is %v; want what the compiler said", err)
	}
}

func TestInstallFollowsTheContent(t *testing.T) {
	root, p := repository(t)
	path := filepath.Join(root, "bin/hello")
	for _, word := range []string{"hello", "hello", "goodbye", "hello"} {
		write(t, root, "hello/word.txt", word)
		if err := Install(root, p, path, new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
		if got := says(t, path); got != word {
			t.Errorf("it says %q; want %q", got, word)
		}
	}
}
