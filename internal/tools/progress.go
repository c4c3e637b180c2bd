package tools

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// build runs go build, and condenses its output to a line that counts.
func (p Program) build(root, exe string, w io.Writer) error {
	began := time.Now()
	dir := filepath.Join(root, p.Dir)
	fmt.Fprintf(w, "%s: building %s\n", p.Name, p.Why)

	partial := exe + ".partial"
	defer os.Remove(partial)
	args := append([]string{"build", "-v", "-mod=readonly", "-buildvcs=false", "-o", partial}, p.Flags...)
	cmd := exec.Command("go", append(args, p.Package)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c := &counter{w: w, name: p.Name, total: packages(dir, p.Package)}
	said := c.follow(out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go build in %s: %w\n%s", p.Dir, err, said)
	}
	if err := os.Rename(partial, exe); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s%s: built in %s\n", c.erase(), p.Name, time.Since(began).Round(time.Second))
	return nil
}

// packages counts what the program consists of; 0 is for "not known".
func packages(dir, pkg string) int {
	cmd := exec.Command("go", "list", "-mod=readonly", "-deps", pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return 0 // go build says what is wrong
	}
	return bytes.Count(out, []byte("\n"))
}

// A counter tells how far go build is: on a terminal in a line that changes,
// elsewhere in one line each 15 seconds.
type counter struct {
	w        io.Writer
	name     string
	total    int
	modules  int
	packages int
}

const quiet = 15 * time.Second

// follow reads what go build -v says until it is through, and returns all
// that was not progress.
func (c *counter) follow(out io.Reader) string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(out)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			lines <- s.Text()
		}
	}()
	interval := quiet
	if c.terminal() {
		interval = 200 * time.Millisecond
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var said strings.Builder
	for {
		select {
		case line, ok := <-lines:
			switch {
			case !ok:
				return said.String()
			case strings.HasPrefix(line, "go: downloading "):
				c.modules++
			case strings.ContainsAny(line, " \t:") || strings.HasPrefix(line, "#"):
				fmt.Fprintln(&said, line)
			default:
				c.packages++
			}
		case <-tick.C:
			c.print()
		}
	}
}

func (c *counter) print() {
	at := fmt.Sprintf("compiled %d packages", c.packages)
	switch {
	case c.packages == 0 && c.modules > 0:
		at = fmt.Sprintf("fetched %d modules", c.modules)
	case c.total > 0:
		// Those that another build has left in Go's cache aren't counted.
		at += fmt.Sprintf(" of at most %d", c.total)
	}
	if c.terminal() {
		fmt.Fprintf(c.w, "%s%s: %s", c.erase(), c.name, at)
		return
	}
	fmt.Fprintf(c.w, "%s: %s\n", c.name, at)
}

func (c *counter) erase() string {
	if c.terminal() {
		return "\r\x1b[K"
	}
	return ""
}

func (c *counter) terminal() bool {
	f, ok := c.w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
