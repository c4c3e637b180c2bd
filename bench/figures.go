package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A figure is one thing that was measured.
type figure struct {
	Name  string    `json:"name"`
	Units string    `json:"units,omitempty"` // the kind of them
	N     int       `json:"n,omitempty"`
	Value float64   `json:"value"`
	Unit  string    `json:"unit,omitempty"`
	Runs  []float64 `json:"runs,omitempty"` // of which Value is the median
	// Floor is the least that the same takes, in the same unit, and Ratio
	// how often it fits into Value.
	Floor   float64 `json:"floor,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
	FloorIs string  `json:"floorIs,omitempty"`
	// Goal is what the value, or the ratio if it is one, should not exceed.
	Goal    *float64 `json:"goal,omitempty"`
	OfRatio bool     `json:"goalIsRatio,omitempty"`
	Met     *bool    `json:"met,omitempty"`
	// Of is what Value is the sum of.
	Of map[string]int `json:"of,omitempty"`
}

// figures are the result of a run.
type figures struct {
	When       time.Time `json:"when"`
	Version    string    `json:"version"`
	Go         string    `json:"go"`
	CPUs       int       `json:"cpus"`
	Model      string    `json:"model,omitempty"`
	LoadBefore string    `json:"loadBefore,omitempty"` // average of a minute
	All        []*figure `json:"figures"`
}

func newFigures(b *bench) figures {
	f := figures{When: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), CPUs: runtime.NumCPU(), LoadBefore: load()}
	if out, err := exec.Command(b.plumbPath, "--version").Output(); err == nil {
		f.Version = strings.TrimSpace(string(out))
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, model, _ := strings.Cut(string(info), "model name")
		model, _, _ = strings.Cut(model, "\n")
		f.Model = strings.Trim(model, "\t :")
	}
	return f
}

// load is the load average of the last minute, where the system tells it.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// add notes a figure of a world with n units of a kind, or of none if that is
// empty.
func (f *figures) add(units string, n int, name, unit string, value float64) *figure {
	fig := &figure{Name: name, Units: units, N: n, Unit: unit, Value: value}
	f.All = append(f.All, fig)
	return fig
}

// find returns the figure of that name, kind of units and size.
func (f *figures) find(units string, n int, name string) *figure {
	i := slices.IndexFunc(f.All, func(g *figure) bool { return g.Units == units && g.N == n && g.Name == name })
	if i < 0 {
		return nil
	}
	return f.All[i]
}

func (w *world) add(name, unit string, value float64) *figure {
	return w.bench.figures.add(w.kind.name, w.n, name, unit, value)
}

// find returns the figure of that name in this world.
func (w *world) find(name string) *figure { return w.bench.figures.find(w.kind.name, w.n, name) }

// seconds notes how long something took, each time.
func (w *world) seconds(name string, runs ...time.Duration) *figure {
	f := w.add(name, "s", quantile(runs, 0.5).Seconds())
	if len(runs) > 1 {
		for _, r := range runs {
			f.Runs = append(f.Runs, r.Seconds())
		}
	}
	return f
}

// cpu notes processor time.
func (w *world) cpu(name string, d time.Duration) *figure { return w.add(name, "CPU s", d.Seconds()) }

// requests notes how many requests were sent, of those that count; all do if
// that is nil.
func (w *world) requests(name string, sent map[request]int, counts func(request) bool) *figure {
	f := w.add(name, "", 0)
	f.Of = map[string]int{}
	for r, times := range sent {
		if times > 0 && (counts == nil || counts(r)) {
			f.Value += float64(times)
			f.Of[r.String()] = times
		}
	}
	return f
}

// over compares a figure with a floor.
func (f *figure) over(floor float64, is string) *figure {
	f.Floor, f.FloorIs = floor, is
	if floor > 0 {
		f.Ratio = f.Value / floor
	}
	return f
}

// atMost sets the goal for the value.
func (f *figure) atMost(goal float64) *figure {
	met := f.Value <= goal
	f.Goal, f.Met = &goal, &met
	return f
}

// ratioAtMost sets the goal for the ratio.
func (f *figure) ratioAtMost(goal float64) *figure {
	met := f.Ratio <= goal
	f.Goal, f.Met, f.OfRatio = &goal, &met, true
	return f
}

// quantile returns the value that a part q of the runs does not exceed.
func quantile(runs []time.Duration, q float64) time.Duration {
	if len(runs) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(runs))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// write writes the figures as JSON.
func (f *figures) write(file string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if file == "-" {
		_, err := os.Stdout.Write(b)
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// print prints a table.
func (f *figures) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, %s, %d CPUs %s, %s, load %s before and %s after\n\n",
		f.Version, f.When.Format(time.DateOnly), f.CPUs, f.Model, f.Go, f.LoadBefore, load())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tunits\tN\tplumb\tfloor\tratio\tto reach\t\tthe floor is")
	for _, g := range f.All {
		n, floor, ratio, goal, met := "", "", "", "", ""
		if g.N > 0 {
			n = fmt.Sprint(g.N)
		}
		if g.FloorIs != "" {
			floor = format(g.Floor, g.Unit)
		}
		if g.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", g.Ratio)
		}
		if g.Goal != nil {
			goal, met = format(*g.Goal, g.Unit), "no"
			if g.OfRatio {
				goal = fmt.Sprintf("%.1f ×", *g.Goal)
			}
			if *g.Met {
				met = "yes"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Name, g.Units, n, format(g.Value, g.Unit), floor, ratio, goal, met, g.FloorIs)
		for _, part := range slices.Sorted(maps.Keys(g.Of)) {
			fmt.Fprintf(t, "    %s\t\t\t%d\t\t\t\t\t\n", part, g.Of[part])
		}
	}
	return t.Flush()
}

func format(v float64, unit string) string {
	switch {
	case unit == "s" && v < 1:
		return fmt.Sprintf("%.0f ms", v*1000)
	case unit == "s" || unit == "CPU s":
		return fmt.Sprintf("%.2f %s", v, unit)
	case unit == "":
		return fmt.Sprintf("%.0f", v)
	case unit == "%":
		return fmt.Sprintf("%.2f %%", v)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}
