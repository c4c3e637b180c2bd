package render_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/rendertest"
	"plumb.dev/plumb/internal/worker"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

const workerArg = "worker-of-the-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		kinds := map[string]worker.Func{kustomize.Kind: render.Job(kustomize.Decode), detect.Kind: render.Job(detect.Decode), hostileKind: render.Job(decodeHostile)}
		if err := worker.Serve(kinds, os.Stdin, os.Stdout, kustomize.Warm); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func pool(t testing.TB, change func(*worker.Options)) *worker.Pool {
	t.Helper()
	o := worker.Options{
		Command: []string{os.Args[0], workerArg}, OpenEnv: os.Environ(), Workers: runtime.GOMAXPROCS(0), Slow: 2 * time.Second,
		Memory: 384 << 20, Together: 768 << 20, Time: time.Minute, Idle: time.Minute, Keep: 128 << 20,
	}
	if change != nil {
		change(&o)
	}
	p := worker.New(o)
	t.Cleanup(p.Close)
	return p
}

func workers(t testing.TB, change func(*worker.Options)) *render.Workers {
	return render.NewWorkers(pool(t, change), render.Bounds{Memory: 384 << 20, Time: time.Minute, Hint: "or raise --render-worker-memory"})
}

// In a process of its own, a render gives what it gives in this one: objects,
// warnings and errors, and what it saw of the tree.
func TestAWorkerGivesWhatARenderGives(t *testing.T) {
	w := workers(t, nil)
	compare := func(what string, m map[string]string, o render.Options) {
		t.Helper()
		here, errHere := render.Objects(t.Context(), tree.FromFiles(m), o)
		there, errThere := w.Objects(t.Context(), tree.FromFiles(m), o)
		if diff := cmp.Diff(outcome(here, errHere), outcome(there, errThere)); diff != "" {
			t.Errorf("%s: -here +in a worker:\n%s", what, diff)
		}
		if here.Digest != there.Digest || here.Secret != there.Secret || here.Kind != there.Kind || here.Revised != there.Revised || here.Revision != there.Revision || here.Cacheable != there.Cacheable || here.Asked != there.Asked || here.Answered != there.Answered || !slices.Equal(here.Items, there.Items) {
			t.Errorf("%s: %+v, and in a worker %+v", what, here, there)
		}
		sightings := func(r render.Result) map[string]tree.Sighting {
			m := map[string]tree.Sighting{}
			for _, s := range r.Trace.Sightings() {
				m[s.Name] = s
			}
			return m
		}
		if diff := cmp.Diff(sightings(here), sightings(there)); diff != "" {
			t.Errorf("%s: trace: -here +in a worker:\n%s", what, diff)
		}
	}
	for _, name := range archives(t) {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, o, _ := unpack(t, a)
		compare(name, m, o.Render())
	}
	for _, name := range rendertest.DetectArchives(t) {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, o, _ := rendertest.UnpackDetect(t, a)
		compare(name, m, o.Render())
	}
	chart := map[string]string{"Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: b, version: 1.x, repository: https://charts.example}]\n"}
	var here, there *render.Needs
	_, err := render.Objects(t.Context(), tree.FromFiles(chart), render.Options{Builder: detect.Options{Release: detect.Release{Name: "a"}}})
	_, other := w.Objects(t.Context(), tree.FromFiles(chart), render.Options{Builder: detect.Options{Release: detect.Release{Name: "a"}}})
	if !errors.As(err, &here) || !errors.As(other, &there) || !slices.Equal(here.All, there.All) {
		t.Errorf("a chart with a dependency: %v, and in a worker %v", err, other)
	}
	compare("an app", app("app"), options{Path: "app/overlays/production"}.Render())
	compare("a secret variable", files("a.yaml", configMap("a", "${v}")), options{Substitute: &render.Substitution{Vars: map[string]string{"v": "s3cr3t"}, Secret: []string{"v"}}}.Render())
	compare("a field with a place", files("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  finalizers: [1]\n"), options{}.Render())
	compare("a link outside", files("a.yaml", "-> ../b"), options{}.Render())
	large := map[string]string{"a.yaml": configMap("large", strings.Repeat("x", 100_000))}
	for i := range 300 {
		large[fmt.Sprintf("d/%d.yaml", i)] = configMap(fmt.Sprint("c", i), "x")
	}
	compare("many files", large, options{}.Render())
}

func TestAValueOfASecretIsNotGivenToAWorker(t *testing.T) {
	w := workers(t, nil)
	o := options{Path: "app", Substitute: &render.Substitution{Vars: map[string]string{"v": "s3cr3t-canary"}, Secret: []string{"v"}}}
	r, err := w.Objects(t.Context(), tree.FromFiles(files("app/a.yaml", configMap("a", "${v}"))), o.Render())
	if err != nil || !strings.Contains(outcome(r, nil), "s3cr3t-canary") {
		t.Fatal(err, outcome(r, nil))
	}
	for _, pid := range w.Processes() {
		if found, err := inMemory(pid, "s3cr3t-"+"canary"); err != nil || found {
			t.Errorf("found %v, %v", found, err)
		}
		if found, err := inMemory(pid, "name: a\ndata:"); err != nil || !found {
			t.Errorf("the manifest is not found either: %v", err)
		}
	}
}

// inMemory reports whether a text is in the memory of a process.
func inMemory(pid int, text string) (bool, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return false, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return false, err
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			return false, err
		}
		if !strings.HasPrefix(mode, "rw") || strings.Contains(line, "[v") {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, int64(from)) // what is reserved can't be read
		if strings.Contains(string(b[:n]), text) {
			return true, nil
		}
	}
	return false, nil
}

// What a chart can do to who renders it, it does to a process that is ended, and to
// no other render.
func TestAHostileChart(t *testing.T) {
	w := workers(t, func(o *worker.Options) { o.Workers, o.Time = 1, 10*time.Second })
	render1 := func(files map[string]string) (render.Result, error) {
		m := map[string]string{"Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\n"}
		maps.Copy(m, files)
		return w.Objects(t.Context(), tree.FromFiles(m), render.Options{Builder: detect.Options{Release: detect.Release{Name: "a", Namespace: "b"}}})
	}
	template := func(text string) map[string]string {
		return map[string]string{"templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '" + text + "'}\n"}
	}
	bomb := func() string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		a := tar.NewWriter(z)
		const size = 200 << 20
		if err := a.WriteHeader(&tar.Header{Name: "sub/values.yaml", Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, 1<<20)
		for range size >> 20 {
			if _, err := a.Write(zeros); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(a.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []fault.Reason // one of them
	}{
		"a loop without end":             {template("{{ range 900000000000 }}{{ end }}"), []fault.Reason{render.TooSlow}},
		"all memory at once":             {template("{{ len (until 2000000000) }}"), []fault.Reason{render.OutOfMemory, render.Crashed}},
		"all memory by and by":           {template("{{ repeat 2000000000 \"x\" }}"), []fault.Reason{render.OutOfMemory, render.Crashed}},
		"an include of itself":           {template("{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}"), []fault.Reason{render.BuildFailed, render.Crashed}},
		"a template of itself":           {template("{{ define \"a\" }}{{ template \"a\" . }}{{ end }}{{ template \"a\" . }}"), []fault.Reason{render.BuildFailed, render.Crashed}},
		"a text that is a template":      {template("{{ define \"a\" }}{{ tpl \"{{ include `a` . }}\" . }}{{ end }}{{ include \"a\" . }}"), []fault.Reason{render.BuildFailed, render.Crashed, render.OutOfMemory, render.TooSlow}},
		"a schema of itself":             {map[string]string{"values.schema.json": `{"$ref": "#"}`, "values.yaml": "a: 1\n"}, []fault.Reason{"InvalidChart"}},
		"a schema of a file":             {map[string]string{"values.schema.json": `{"$ref": "file:///etc/passwd"}`}, []fault.Reason{render.FeatureDisabled}},
		"a schema of the network":        {map[string]string{"values.schema.json": `{"$id": "http://127.0.0.1:1/a/", "properties": {"a": {"$ref": "b"}}}`, "values.yaml": "a: 1\n"}, []fault.Reason{"InvalidChart"}},
		"an archive that never ends":     {map[string]string{"charts/sub.tgz": bomb()}, []fault.Reason{"InvalidChart", render.OutOfMemory}},
		"an archive that is none":        {map[string]string{"charts/sub.tgz": "no archive"}, []fault.Reason{"InvalidChart"}},
		"values that are nested deeply":  {map[string]string{"values.yaml": "a: " + strings.Repeat("[", 200_000)}, []fault.Reason{"InvalidChart"}},
		"aliases that grow":              {map[string]string{"values.yaml": aliases()}, []fault.Reason{"InvalidChart"}},
		"null in the place of a chart":   {map[string]string{"Chart.yaml": "null"}, []fault.Reason{"InvalidChart"}},
		"dependencies of another type":   {map[string]string{"Chart.yaml": "apiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: {a: b}\n"}, []fault.Reason{"InvalidChart"}},
		"an object with a name too many": {template("{{ range 20000 }}\n---\nkind: ConfigMap{{ end }}"), []fault.Reason{render.BuildFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := render1(c.files)
			if err == nil {
				t.Fatalf("it was rendered: %s", outcome(r, nil))
			}
			if f := fault.Of(err); !slices.Contains(c.want, f.Reason) {
				t.Errorf("the reason is %s, want one of %q: %v", f.Reason, c.want, err)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("it says %d characters", len(err.Error()))
			}
			if r, err := render1(template("{{ .Files.Get \"/etc/hostname\" }}{{ .Files.Get \"../../etc/hostname\" }}{{ getHostByName \"localhost\" }}")); err != nil || !strings.Contains(outcome(r, nil), "x: \"\"") {
				t.Errorf("and then: %v, %s", err, outcome(r, nil))
			}
		})
	}
}

// aliases are values that grow without end when they are written out.
func aliases() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	return b.String()
}

// A kustomization's own schema is seen by its own render.
func TestASchemaIsSeenByNobodyElse(t *testing.T) {
	w := workers(t, func(o *worker.Options) { o.Workers = 1 })
	patched := func(schema string) map[string]string {
		return files("kustomization.yaml", "resources: [a.yaml]\npatches: [{patch: '{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {template: {spec: {containers: [{name: b, image: c}]}}}}'}]\n"+schema,
			"a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a, image: b}]}}}\n",
			"s.json", `{"definitions": {"io.k8s.api.apps.v1.Deployment": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}]}}}`)
	}
	containers := func(schema string) int {
		t.Helper()
		r, err := w.Objects(t.Context(), tree.FromFiles(patched(schema)), options{}.Render())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(outcome(r, nil), "image:")
	}
	const own = "openapi: {path: s.json}\n"
	if a, b, c := containers(""), containers(own), containers(""); a != 2 || b != 1 || c != 2 {
		t.Errorf("%d containers, %d with a schema that knows nothing of lists, %d afterwards", a, b, c)
	}
	containers(own)
	if n := len(w.Processes()); n != 0 {
		t.Errorf("%d processes go on with it", n)
	}
}

// hostile is a builder that has found a way.
type hostile struct{ Does string }

const hostileKind = "hostile"

func decodeHostile(b []byte) (render.Builder, error) {
	return hostile{strings.Trim(string(b), "{}\":Does")}, nil
}

func (h hostile) Kind() string      { return hostileKind }
func (h hostile) Probes() []string  { return nil }
func (h hostile) AsksCluster() bool { return false }
func (h hostile) Open() bool        { return false }
func (h hostile) Version() string   { return "1" }
func (h hostile) Build(_ context.Context, in render.Input) (render.Built, error) {
	b, err := in.Tree.ReadFile(path.Join(in.Dir, "a.yaml"))
	if err != nil {
		return render.Built{}, err
	}
	switch string(b) {
	case "overflow":
		var down func(n int) int
		down = func(n int) int { return down(n+1) + n }
		return render.Built{Warnings: []string{fmt.Sprint(down(0))}}, nil
	case "fill":
		for all := [][]byte{}; ; {
			all = append(all, []byte(strings.Repeat("x", 1<<20)))
		}
	case "loop":
		for {
			runtime.Gosched()
		}
	case "exit":
		os.Exit(1)
	}
	return render.Built{}, nil
}

func TestS04ARenderThatEndsItsProcessIsAFaultOfItsOwn(t *testing.T) {
	for does, want := range map[string]struct {
		reason fault.Reason
		next   fault.Next
		words  []string
	}{
		"overflow": {render.Crashed, fault.Stall, []string{`"apps/x"`, "stack overflow", "nested"}},
		"fill":     {render.OutOfMemory, fault.Stall, []string{`"apps/x"`, "384 MiB", "--render-worker-memory"}},
		"loop":     {render.TooSlow, fault.Retry, []string{`"apps/x"`, "1m0s"}},
		"exit":     {render.Crashed, fault.Stall, []string{`"apps/x"`, "exit status 1"}},
	} {
		t.Run(does, func(t *testing.T) {
			if raced && does == "fill" {
				t.Skip("what looks for data races ends the process before")
			}
			w := workers(t, func(o *worker.Options) {
				if does == "loop" {
					o.Time = 5 * time.Second
				}
			})
			m := files("apps/x/a.yaml", does, "apps/y/a.yaml", configMap("a", "x"))
			o := render.Options{Path: "apps/x", Builder: hostile{does}}
			_, err := w.Objects(t.Context(), tree.FromFiles(m), o)
			f := fault.Of(err)
			if f.Reason != want.reason || f.Next != want.next || f.Hint == "" {
				t.Errorf("%s %s: %v", f.Next, f.Reason, err)
			}
			for _, word := range want.words {
				if !strings.Contains(fmt.Sprint(err), word) {
					t.Errorf("%v doesn't mention %s", err, word)
				}
			}
			if r, err := w.Objects(t.Context(), tree.FromFiles(m), options{Path: "apps/y"}.Render()); err != nil || len(r.Items) != 1 {
				t.Errorf("the other unit: %v", err)
			}
			// It is not tried again, also not at another revision that says
			// the same, ...
			before := w.Processes()
			_, again := w.Objects(t.Context(), tree.FromFiles(with(m, "README", "x")), o)
			if fault.Of(again).Reason != want.reason || !slices.Equal(before, w.Processes()) {
				t.Errorf("%v, by %v after %v", again, w.Processes(), before)
			}
			// ... but at one that says something else.
			if _, err := w.Objects(t.Context(), tree.FromFiles(with(m, "apps/x/a.yaml", "nothing")), o); err != nil {
				t.Errorf("repaired: %v", err)
			}
		})
	}
}

func TestAWorkerThatIsKilledIsTriedAgainLater(t *testing.T) {
	w := workers(t, nil)
	at := tree.FromFiles(files("a.yaml", "loop"))
	failed := make(chan error)
	go func() {
		_, err := w.Objects(t.Context(), at, render.Options{Builder: hostile{}})
		failed <- err
	}()
	for {
		for _, pid := range w.Processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		select {
		case err := <-failed:
			if f := fault.Of(err); f.Reason != render.Crashed || f.Next != fault.Retry || f.After <= 0 {
				t.Errorf("%s %s after %s: %v", f.Next, f.Reason, f.After, err)
			}
			return
		default:
			runtime.Gosched()
		}
	}
}

func TestS05ManyHostileRendersHoldUpNobody(t *testing.T) {
	w := workers(t, func(o *worker.Options) { o.Slow, o.Workers = 50*time.Millisecond, 2 })
	m := app("app")
	for i := range 4 {
		m[fmt.Sprintf("h%d/a.yaml", i)] = "loop"
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if _, err := w.Objects(ctx, tree.FromFiles(m), render.Options{Path: fmt.Sprint("h", i), Builder: hostile{}}); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
	for range 10 {
		if _, err := w.Objects(t.Context(), tree.FromFiles(m), options{Path: "app/base"}.Render()); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}

func TestARenderThatFetchesHasAWorkerOfItsOwn(t *testing.T) {
	w := workers(t, nil)
	if _, err := w.Objects(t.Context(), tree.FromFiles(app("app")), options{Path: "app/base", AllowRemoteBases: true}.Render()); err != nil {
		t.Error(err)
	}
	if n := len(w.Processes()); n != 0 {
		t.Errorf("%d processes stay", n)
	}
}

func TestACacheOfWorkers(t *testing.T) {
	c := render.NewCache(1 << 20)
	c.RenderBy(workers(t, nil))
	m := app("app")
	o := options{Path: "app/overlays/production"}.Render()
	for i, at := range []map[string]string{m, with(m, "README", "x"), with(m, "app/base/pdb.yaml", configMap("x", "y"))} {
		r, hit, err := c.Objects(t.Context(), "unit", tree.FromFiles(at), o)
		if err != nil || len(r.Items) != 10 || hit != (i == 1) {
			t.Errorf("%d: hit %v, %v", i, hit, err)
		}
	}
}

// Many small renders, where what passes between processes counts most. Both are
// measured in turns: what else the machine does slows them alike, and the time
// of the processor says the same as the clock, with less noise.
func BenchmarkWorkersAgainstOneProcess(b *testing.B) {
	const n = 200
	m := map[string]string{}
	for i := range n {
		maps.Copy(m, app(fmt.Sprintf("apps/app-%03d", i)))
	}
	at := tree.FromFiles(m)
	w := workers(b, nil)
	type cost struct{ clock, processor time.Duration }
	all := func(do func(context.Context, tree.Tree, render.Options) (render.Result, error)) cost {
		began, used := time.Now(), processorTime(b, w.Processes())
		var wg sync.WaitGroup
		next := make(chan int)
		for range 16 {
			wg.Go(func() {
				for i := range next {
					r, err := do(context.Background(), at, options{Path: filepath.Join("apps", fmt.Sprintf("app-%03d", i), "overlays/production")}.Render())
					if err != nil || len(r.Items) != 10 {
						b.Error(len(r.Items), err)
					}
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		wg.Wait()
		return cost{time.Since(began), processorTime(b, w.Processes()) - used}
	}
	all(render.Objects)
	all(w.Objects)
	var here, there cost
	for b.Loop() {
		x, y := all(render.Objects), all(w.Objects)
		here.clock, here.processor = here.clock+x.clock, here.processor+x.processor
		there.clock, there.processor = there.clock+y.clock, there.processor+y.processor
	}
	b.ReportMetric(float64(here.processor.Microseconds())/float64(b.N)/n, "µs/here")
	b.ReportMetric(float64(there.processor.Microseconds())/float64(b.N)/n, "µs/workers")
	b.ReportMetric(there.clock.Seconds()/here.clock.Seconds(), "clock-ratio")
	b.ReportMetric(there.processor.Seconds()/here.processor.Seconds(), "processor-ratio")
}

// processorTime is what this process and others have used so far.
func processorTime(b *testing.B, pids []int) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	sum := time.Duration(use.Utime.Nano() + use.Stime.Nano())
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, ticks := range fields[11:13] { // utime and stime, of which there are 100 in a second
			n, err := strconv.Atoi(ticks)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// The first render waits until a process is ready.
func BenchmarkFirstOfAWorker(b *testing.B) {
	at := tree.FromFiles(app("app"))
	for b.Loop() {
		p := pool(b, nil)
		w := render.NewWorkers(p, render.Bounds{})
		if _, err := w.Objects(context.Background(), at, options{Path: "app/base"}.Render()); err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
