// Command index measures what it takes to pick charts from the index of a large
// Helm repository: the time, the peak memory, and the memory that is then kept.
//
//	go run ./bench/index
//
// It makes an index, serves it on this machine, and has twenty charts picked from
// it, by plumb and by Helm's own library, which is the floor. Each way runs in a
// process of its own, whose high-water mark is its peak. Both have to pick the
// same.
package main

import (
	"bytes"
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
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"plumb.dev/plumb/internal/tools"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/helm"
)

const (
	charts = 100
	picked = 20
)

func main() {
	log.SetFlags(0)
	var (
		mega = flag.Int("megabytes", 50, "size of the index")
		into = flag.String("json", "", "write the results to this file, as JSON")
		url  = flag.String("url", "", "internal: the repository")
		dir  = flag.String("dir", "", "internal: where to work")
	)
	flag.Parse()
	var err error
	if *url != "" {
		err = plumb(*url, *dir)
	} else {
		err = run(*mega, *into)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A result is what one way took.
type result struct {
	Way     string
	Seconds float64
	PeakMB  float64
	KeptMB  float64
	WireMB  float64
	Picked  string
}

func run(mega int, into string) error {
	dir, err := os.MkdirTemp("", "bench-index-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "index.yaml")
	if err := generate(file, mega<<20); err != nil {
		return err
	}
	sent, url, err := serve(file)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	floor, err := build(dir)
	if err != nil {
		return err
	}
	names := make([]string, picked)
	for i := range names {
		names[i] = name(i)
	}
	ways := []result{{Way: "plumb"}, {Way: "helm"}}
	for i, cmd := range []*exec.Cmd{
		exec.CommandContext(context.Background(), self, "-url", url, "-dir", filepath.Join(dir, "store")),
		exec.CommandContext(context.Background(), floor, append([]string{file}, names...)...),
	} {
		sent.Store(0)
		if err := ways[i].measure(cmd); err != nil {
			return err
		}
		ways[i].WireMB = float64(sent.Load()) / (1 << 20)
	}
	if ways[0].Picked != ways[1].Picked {
		return fmt.Errorf("plumb picks\n%s\nand helm\n%s", ways[0].Picked, ways[1].Picked)
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "way\ttime\tpeak memory\tkept memory\ton the wire\t")
	for _, r := range ways {
		fmt.Fprintf(t, "%s\t%.2f s\t%.0f MB\t%.0f MB\t%.1f MB\t\n", r.Way, r.Seconds, r.PeakMB, r.KeptMB, r.WireMB)
	}
	if err := t.Flush(); err != nil || into == "" {
		return err
	}
	b, err := json.MarshalIndent(ways, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(into, append(b, '\n'), 0o644)
}

// measure runs a way, which prints what it has picked, and last its memory.
func (r *result) measure(cmd *exec.Cmd) error {
	var said bytes.Buffer
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	b, err := io.ReadAll(out)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w\n%s", r.Way, err, &said)
	}
	r.Seconds = time.Since(begin).Seconds()
	text := strings.TrimSpace(string(b))
	last := strings.LastIndexByte(text, '\n')
	if last < 0 {
		return fmt.Errorf("%s picks nothing", r.Way)
	}
	r.Picked = text[:last]
	var peak, kept float64
	if _, err := fmt.Sscanf(text[last:], "\npeak %f kB, kept %f B", &peak, &kept); err != nil {
		return fmt.Errorf("%s: %w", r.Way, err)
	}
	r.PeakMB, r.KeptMB = peak/1024, kept/(1<<20)
	return nil
}

// plumb resolves the charts one after the other, as a Keeper has it.
func plumb(url, dir string) error {
	files, err := archive.Open(dir, archive.Limits{})
	if err != nil {
		return err
	}
	defer files.Close()
	s := helm.NewStore(files, helm.Options{})
	for i := range picked {
		c := helm.Chart{Store: s, Repo: helm.Repository{URL: url}, Name: name(i), Version: "*"}
		r, err := c.Resolve(context.Background())
		if err != nil {
			return err
		}
		d, ok := r.Detail.(helm.Version)
		if !ok {
			return errors.New("a revision has no detail")
		}
		fmt.Println(c.Name, r.Name, d.URL, strings.TrimPrefix(d.Digest, "sha256:"))
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(s)
	peak, err := highWater()
	fmt.Printf("peak %s kB, kept %d B\n", peak, m.HeapAlloc)
	return err
}

func build(dir string) (program string, err error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "helm")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-C", filepath.Join(root, "bench/index/helm"), "-o", program, ".")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build bench/index/helm: %w\n%s", err, out)
	}
	return program, nil
}

func serve(file string) (sent *atomic.Int64, url string, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, "", err
	}
	sent = new(atomic.Int64)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:errcheck,gosec // it ends with the process
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") == "" {
			sent.Add(info.Size())
		}
		http.ServeFile(w, r, file)
	}))
	return sent, "http://" + l.Addr().String(), nil
}

func name(i int) string { return fmt.Sprintf("chart-%02d", i) }

// generate writes an index with what those of large repositories have for each
// version, some 1.6 kB.
func generate(file string, size int) error {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	var b bytes.Buffer
	b.WriteString("apiVersion: v1\nentries:\n")
	for i := range charts {
		fmt.Fprintf(&b, "  %s:\n", name(i))
		for n := 0; b.Len() < size/charts*(i+1); n++ {
			version := fmt.Sprintf("%d.%d.%d", r.IntN(30), r.IntN(30), n)
			fmt.Fprintf(&b, `  - annotations:
      category: Infrastructure
      images: |
        - name: %[1]s
          image: registry.example.com/library/%[1]s:%[2]s-debian-12-r%[3]d
        - name: os-shell
          image: registry.example.com/library/os-shell:12-debian-12-r%[3]d
      licenses: Apache-2.0
    apiVersion: v2
    appVersion: %[2]s
    created: "2026-0%[4]d-1%[4]dT10:1%[4]d:27.%[5]dZ"
    dependencies:
    - condition: postgresql.enabled
      name: postgresql
      repository: oci://registry.example.com/charts
      version: 16.x.x
    - name: common
      repository: oci://registry.example.com/charts
      tags:
      - library-common
      version: 2.x.x
    description: %[1]s is a tool for programmatically authoring, scheduling and monitoring
      workflows. It is written in several languages, and made to be read by whoever
      has to run it.
    digest: %016[6]x%016[7]x%016[8]x%016[9]x
    home: https://charts.example.com/%[1]s
    icon: https://charts.example.com/assets/stacks/%[1]s/img/%[1]s-stack-220x234.png
    keywords:
    - apache
    - workflow
    - dag
    kubeVersion: '>= 1.23.0-0'
    maintainers:
    - email: ada@example.com
      name: Ada
      url: https://github.example.com/charts
    name: %[1]s
    sources:
    - https://github.example.com/charts/tree/main/%[1]s
    urls:
    - https://charts.example.com/charts/%[1]s-%[2]s.tgz
    version: %[2]s
`, name(i), version, n%30, 1+n%9, r.IntN(1e9), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
		}
	}
	b.WriteString("generated: \"2026-01-01T00:00:00Z\"\n")
	return os.WriteFile(file, b.Bytes(), 0o644)
}
