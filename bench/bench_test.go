package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"plumb.dev/plumb/internal/plumbtest"
	"plumb.dev/plumb/internal/tools"
)

func TestMain(m *testing.M) {
	code := m.Run()
	plumbtest.Clean()
	os.Exit(code)
}

// TestEveryFigureIsMeasured runs the benchmark with few units. How long
// anything takes is not looked at.
func TestEveryFigureIsMeasured(t *testing.T) {
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	sandbox, err := tools.Build(root, tools.Sandbox, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{
		units: 6, small: 3, large: 8, clusters: 3, runs: 2, samples: 3, idle: time.Second, settle: time.Second, quiet: time.Second,
		plumbPath: plumbtest.Binary(t), sandboxPath: sandbox, kinds: kinds,
	}
	file := filepath.Join(t.TempDir(), "figures.json")
	if err := b.main(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got figures
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	goals := 0
	for _, f := range got.All {
		if f.Goal != nil {
			goals++
		}
	}
	const want = 72 // all but those of the large repositories
	if goals != want {
		t.Errorf("%d figures have a goal, not %d", goals, want)
	}
	for _, name := range []string{"cold, for each unit", "memory: settled after cold, for each unit", "idle: CPU of plumb in an hour, for each unit"} {
		for _, k := range kinds {
			if f := got.find(k.name, 8, name); f == nil || f.FloorIs == "" {
				t.Errorf("%s of %s is %+v", name, k.name, f)
			}
		}
	}
	if f := got.find(fluxKind.name, 6, "clusters: they hang → all of their units say Unknown, and since when"); f == nil {
		t.Error("units of clusters that hang were not waited for")
	}
	for _, k := range kinds {
		if f := got.find(k.name, 6, "restart: writes"); f == nil || f.Value > 0 {
			t.Errorf("a restart with %s wrote: %+v", k.name, f)
		}
		if f := got.find(k.name, 6, "idle: requests in 1s but watches"); f == nil || f.Value > 0 {
			t.Errorf("idle with %s: %+v", k.name, f)
		}
	}
}
