package render_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/tree"
)

// revision is a directory whose programs are given a variable.
var revision = &directory.Files{Jsonnet: directory.Jsonnet{ExtVars: []directory.Variable{{Name: "r", Value: "${R}"}}}}

// What no library bounds is bounded by its process, and hits nobody else.
func TestB05AProgramWithoutEndIsEnded(t *testing.T) {
	large := workers(t, func(o *worker.Options) { o.Memory, o.Together = 160<<20, 512<<20 })
	quick := workers(t, func(o *worker.Options) { o.Time = time.Second })
	killed := []fault.Reason{render.OutOfMemory, render.Crashed} // by whoever sees it first
	for what, c := range map[string]struct {
		program string
		reasons []fault.Reason
	}{
		"that is nested without end":    {strings.Repeat("[", 200_000), killed},
		"that takes all memory at once": {"std.foldl(function(a, b) a + b, std.range(0, 2000000000), 0)", killed},
		"that loops in little memory":   {"local f(n) = if n == 0 then 0 else f(n - 1) tailstrict; std.foldl(function(a, b) f(400), std.range(0, 100000), 0)", []fault.Reason{render.TooSlow}},
		"that fills memory":             {"local f(s, n) = if n == 0 then s else f(s + s, n - 1); std.length(f('x', 34))", killed},
		"that gives very much":          {"{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, x: [i for i in std.range(0, 4000000)] }", killed},
		"that calls itself without end": {"local f(x) = f(x + 1) + 1; f(0)", []fault.Reason{render.BuildFailed}},
	} {
		t.Run(what, func(t *testing.T) {
			m := files("bad/a.jsonnet", c.program, "good/a.yaml", configMap("a", "x"))
			w := large
			if slices.Contains(c.reasons, render.TooSlow) {
				w = quick
			}
			_, err := w.Objects(t.Context(), tree.FromFiles(m), render.Options{Path: "bad", Builder: detect.Options{}})
			if f := fault.Of(err); !slices.Contains(c.reasons, f.Reason) {
				t.Errorf("%s: %v; want one of %s", f.Reason, err, c.reasons)
			}
			if r, err := w.Objects(t.Context(), tree.FromFiles(m), render.Options{Path: "good", Builder: detect.Options{}}); err != nil || len(r.Items) != 1 {
				t.Errorf("the other unit: %v", err)
			}
		})
	}
}

// A worker says which kind it has found, and whether it has looked at the
// revision.
func TestAWorkerSaysWhatItHasFound(t *testing.T) {
	w := workers(t, nil)
	m := files("plain/a.yaml", configMap("a", "x"), "k/kustomization.yaml", "resources: [../plain/a.yaml]\n", "j/a.jsonnet", "{apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: std.extVar('r')}}")
	env := detect.Env{Revision: map[string]int{"R": 7}}
	for path, c := range map[string]struct {
		kind    string
		section detect.Sections
		revised bool
	}{
		"plain": {kind: "directory"},
		"k":     {kind: "kustomize"},
		"j":     {kind: "directory", section: detect.Sections{Directory: revision}, revised: true},
	} {
		o := render.Options{Path: path, Revision: "0123456789", Builder: detect.Options{Sections: c.section, Env: env}}
		r, err := w.Objects(t.Context(), tree.FromFiles(m), o)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if r.Kind != c.kind || r.Revised != c.revised || r.Revised && (r.Revision != o.Revision || r.Items[0].Ref.Name != "0123456") {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// What has looked at the revision is good for that one alone, also after a
// restart; what has not is good for all.
func TestOnlyWhatLooksAtTheRevisionDependsOnIt(t *testing.T) {
	at := tree.FromFiles(files("a.jsonnet", "{apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'r' + std.extVar('r')}}"))
	dir := t.TempDir()
	start := func() *render.Cache {
		folder, err := render.OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		c := render.NewCache(1 << 20)
		c.KeepIn(folder, func(err error) { t.Error(err) })
		return c
	}
	c := start()
	render1 := func(key, revision string, b render.Builder) (string, bool) {
		t.Helper()
		r, hit, err := c.Objects(t.Context(), key, at, render.Options{Revision: revision, Builder: b})
		if err != nil {
			t.Fatal(err)
		}
		return r.Items[0].Ref.Name, hit
	}
	looks := detect.Options{Sections: detect.Sections{Directory: revision}, Env: detect.Env{Revision: map[string]int{"R": 0}}}
	doesNot := detect.Options{Sections: detect.Sections{Directory: revision}, Env: detect.Env{Vars: map[string]string{"R": "fixed"}}}
	for _, step := range []struct {
		revision, looks, doesNot string
		hit, otherHit, restart   bool
	}{
		{revision: "1", looks: "r1", doesNot: "rfixed"},
		{revision: "1", looks: "r1", doesNot: "rfixed", hit: true, otherHit: true},
		{revision: "2", looks: "r2", doesNot: "rfixed", otherHit: true},
		{revision: "2", looks: "r2", doesNot: "rfixed", hit: true, otherHit: true, restart: true},
		{revision: "3", looks: "r3", doesNot: "rfixed", otherHit: true, restart: true},
		{revision: "", looks: "r", doesNot: "rfixed", otherHit: true},
		{revision: "", looks: "r", doesNot: "rfixed", hit: true, otherHit: true, restart: true},
	} {
		if step.restart {
			c = start()
		}
		stands := c.Stands("looks", step.revision, nil, at, nil)
		if got, hit := render1("looks", step.revision, looks); got != step.looks || hit != step.hit {
			t.Errorf("%+v: %s, used again is %v", step, got, hit)
		}
		if !step.restart && stands != step.hit {
			t.Errorf("%+v: it stands is %v", step, stands)
		}
		if got, hit := render1("does not", step.revision, doesNot); got != step.doesNot || hit != step.otherHit {
			t.Errorf("%+v: %s, used again is %v", step, got, hit)
		}
	}
}
