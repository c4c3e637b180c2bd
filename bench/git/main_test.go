package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEveryWayIsMeasured runs the benchmark with small repositories. How long
// anything takes is not looked at.
func TestEveryWayIsMeasured(t *testing.T) {
	dir := t.TempDir()
	program, file := filepath.Join(dir, "bench-git"), filepath.Join(dir, "results.json")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-files", "100", "-megabytes", "1", "-json", file)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []result
	if err := json.Unmarshal(content, &all); err != nil {
		t.Fatal(err)
	}
	ways := map[string]int{}
	for _, r := range all {
		ways[r.Way]++
		if r.Seconds <= 0 || r.PeakMB <= 0 || r.Step == "first" && r.WireKB <= 0 {
			t.Errorf("nothing was measured: %+v", r)
		}
	}
	for _, way := range []string{"plumb", "go-git", "git"} {
		if want := 2 * len(steps); ways[way] != want {
			t.Errorf("%s: %d steps were measured; want %d\n%s", way, ways[way], want, &said)
		}
	}
}
