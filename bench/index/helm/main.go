// Command helm is the way of bench/index that reads an index with Helm's own
// library, as its programs do.
//
//	helm FILE CHART...
//
// It prints a line for each chart with the version that * stands for, and then
// its memory. It is a module of its own, so that this
// part of Helm is no dependency of plumb's.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"

	repo "helm.sh/helm/v4/pkg/repo/v1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: helm FILE CHART...")
	}
	index, err := repo.LoadIndexFile(os.Args[1])
	if err != nil {
		log.Fatalf("helm: %v", err)
	}
	for _, chart := range os.Args[2:] {
		v, err := index.Get(chart, "*")
		if err != nil {
			log.Fatalf("helm: %s: %v", chart, err)
		}
		fmt.Println(chart, v.Version, v.URLs[0], v.Digest)
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(index)
	peak, err := highWater()
	if err != nil {
		log.Fatalf("helm: %v", err)
	}
	fmt.Printf("peak %s kB, kept %d B\n", peak, m.HeapAlloc)
}

// highWater is the most memory in kB that this process had. It is not from
// getrusage, which starts from what the parent had.
func highWater() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			return f[1], nil
		}
	}
	return "", errors.New("no VmHWM in /proc/self/status")
}
