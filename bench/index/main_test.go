package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBothWaysPickTheSame runs the benchmark with a small index. How long
// anything takes is not looked at.
func TestBothWaysPickTheSame(t *testing.T) {
	dir := t.TempDir()
	program, file := filepath.Join(dir, "bench-index"), filepath.Join(dir, "results.json")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(program, "-megabytes", "2", "-json", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []result
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Seconds <= 0 || r.PeakMB <= 0 || r.KeptMB <= 0 || r.Picked == "" {
			t.Errorf("nothing was measured: %+v", r)
		}
	}
	if len(all) != 2 || all[0].WireMB < 1.9 || all[0].WireMB > 2.1 {
		t.Errorf("the index did not travel once: %+v", all)
	}
}
