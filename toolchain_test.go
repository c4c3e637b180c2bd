package plumb

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// One version of Go builds all of it: what a machine with another Go takes
// (make reads it from go.mod), what each module asks for, and the image's.
func TestOneGoBuildsEverything(t *testing.T) {
	lines := regexp.MustCompile(`(?m)^(go|toolchain) .*$`)
	read := func(path string) string {
		t.Helper()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	want := strings.Join(lines.FindAllString(read("go.mod"), -1), ", ")
	_, version, ok := strings.Cut(want, "toolchain go")
	if !ok {
		t.Fatalf("go.mod says %q; make reads the toolchain from it", want)
	}
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "go.mod" {
			return err
		}
		if got := strings.Join(lines.FindAllString(read(path), -1), ", "); got != want {
			t.Errorf("%s says %q, go.mod %q", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{"Dockerfile": "golang:" + version + " ", "README.md": version} {
		if !strings.Contains(read(path), says) {
			t.Errorf("%s does not say %q", path, says)
		}
	}
}

func TestMakeSaysWhatToDoWithoutTheToolchain(t *testing.T) {
	old := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho go1.20.14\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"no Go", []string{"GO=no-such-go"}, []string{"Go is missing", "https://go.dev/"}},
		{"a Go that takes no other", []string{"GO=" + old}, []string{"go1.20.14 can't take another", "install Go 1.21 or newer"}},
		{
			"no way to a proxy", []string{"GOTOOLCHAIN=go1.27.99", "GOPROXY=off"},
			[]string{"go: download go1.27.99", "could not take it from GOPROXY=off", "go env -w GOPROXY=", "https://go.dev/dl/"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := exec.Command("make", append(c.args, "check-go")...).CombinedOutput()
			if err == nil {
				t.Error("it passes")
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("nothing says %q:\n%s", w, out)
				}
			}
		})
	}
}
