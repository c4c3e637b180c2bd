package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/child"
)

// patience is how long anything may take.
func (w *world) patience() time.Duration { return 2*time.Minute + time.Duration(w.n)*time.Second }

const coldName = "cold: units created → all ready"

// cold starts plumb on an empty cluster, then creates the units.
func (w *world) cold(ctx context.Context) error {
	if err := w.serve(); err != nil {
		return err
	}
	if err := w.plumb.Until(ctx, time.Minute, func() error { return child.Get(ctx, "http://"+w.health+"/readyz", io.Discard) }); err != nil {
		return err
	}
	seen, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	if _, err := w.audit.since(); err != nil {
		return err
	}
	profiled := w.profile(ctx, "cold", 2*(w.loop.render+w.loop.apply))
	before, _ := w.usage()
	server, began := w.serverCPU(), time.Now()
	if err := w.createUnits(ctx); err != nil {
		return err
	}
	created := time.Since(began)
	end, err := w.all(ctx, seen, w.patience(), w.kind.settled)
	if err != nil {
		return err
	}
	after, ok := w.usage()
	serverAfter := w.serverCPU()
	if err := profiled(); err != nil {
		return err
	}
	requests, err := w.audit.since()
	if err != nil {
		return err
	}
	w.seconds(coldName, end.Sub(began)).over(w.loop.all(), "everything rendered and applied").ratioAtMost(1.5)
	w.seconds("cold: of which the units were created", created)
	w.requests("cold: requests of plumb", requests, nil).over(float64(w.n*objectsPerApp), "one for each object")
	if ok {
		w.cpu("cold: CPU of plumb", after.cpu-before.cpu)
		w.cpu("cold: CPU of API server and etcd", serverAfter-server)
		w.add("memory: peak of cold", "MB", after.peak)
	}
	return nil
}

func (w *world) createUnits(ctx context.Context) error {
	if w.kind.source {
		if err := w.createSource(ctx); err != nil {
			return err
		}
	}
	return parallel(w.n, func(i int) error { return w.createUnit(ctx, w.kind, unitName(i), appPath(unitName(i)), nil) })
}

func (w *world) createSource(ctx context.Context) error {
	source := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gitRepositories.GroupVersion().String(), "kind": "GitRepository",
		"metadata": map[string]any{"name": "apps"},
		"spec":     map[string]any{"interval": "1m", "url": w.url, "ref": map[string]any{"branch": "main"}},
	}}
	_, err := w.client.Resource(gitRepositories).Namespace(unitSpace).Create(ctx, source, metav1.CreateOptions{})
	return err
}

// settled reads how much memory plumb holds when the work is done.
func (w *world) settled(ctx context.Context) (err error) {
	if k := w.kind.beside; k != nil {
		remove, err := w.beside(ctx, k)
		if err != nil {
			return fmt.Errorf("a unit of another kind: %w", err)
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	if err := sleep(ctx, w.settle); err != nil {
		return err
	}
	if u, ok := w.usage(); ok {
		f := w.add(settledName, "MB", u.size)
		if w.n == w.units {
			f.atMost(w.kind.memory)
		}
	}
	return nil
}

const settledName = "memory: settled after cold"

// pick chooses a unit, another one each time if there are enough.
func (w *world) pick() string {
	w.next++
	return unitName(w.next * 37 % w.n)
}

// A told is how long it took from a push to three things, and until one that came
// right behind another was live.
type told struct{ fetched, live, settled, behind []time.Duration }

const (
	liveName   = "a commit to one app → its Deployment has the new image"
	behindName = "a commit right behind another, while the units say that they know that one → it is live"
	sweepName  = "sweep: that commit → every status names it"
)

// commits measures commits that touch one app each: until the source has it,
// until the app is live, and until every unit says so.
func (w *world) commits(ctx context.Context) error {
	var t told
	mirror := filepath.Join(w.dir, "mirror")
	if _, err := git(ctx, mirror, nil, "init", "--quiet", "--bare"); err != nil {
		return err
	}
	fetch := func() (time.Duration, error) {
		began := time.Now()
		_, err := git(ctx, mirror, nil, "fetch", "--quiet", "--depth", "1", w.url, "main")
		return time.Since(began), err
	}
	if _, err := fetch(); err != nil {
		return err
	}
	samples := max(1, w.runs/12) // of what takes a minute
	for range samples {
		d, err := w.sweep(ctx, w.n)
		if err != nil {
			return err
		}
		t.settled = append(t.settled, d)
	}
	before, _ := w.usage()
	if _, err := w.audit.since(); err != nil {
		return err
	}
	var fetches []time.Duration
	profiled := w.profile(ctx, "commit", time.Duration(w.runs)*(200*time.Millisecond+time.Duration(w.n)*3*time.Millisecond))
	for range w.runs {
		if err := w.commit(ctx, &t, w.pick()); err != nil {
			return err
		}
		d, err := fetch()
		if err != nil {
			return err
		}
		fetches = append(fetches, d)
	}
	after, ok := w.usage()
	if err := profiled(); err != nil {
		return err
	}
	requests, err := w.audit.since()
	if err != nil {
		return err
	}
	for range samples {
		if err := w.behind(ctx, &t); err != nil {
			return err
		}
	}
	one, err := w.floorOfCommit(ctx, w.runs)
	if err != nil {
		return err
	}
	statuses, err := w.floorOfSweep(ctx)
	if err != nil {
		return err
	}
	fetched := quantile(fetches, 0.5)
	if w.kind.source {
		w.seconds("a commit to one app → the source has it", t.fetched...).over(fetched.Seconds(), "a fetch by the program git")
	}
	w.seconds(liveName, t.live...).over((fetched + one).Seconds(), "a fetch by the program git, one render, one apply").atMost(0.3)
	w.seconds(behindName, t.behind...).
		over((fetched + one).Seconds(), "a fetch by the program git, one render, one apply").atMost(0.3)
	w.seconds(sweepName, t.settled...).over((one + statuses).Seconds(), "one render, one apply, a status of each unit").atMost(5)
	if ok {
		w.cpu("a commit to one app: CPU of plumb", (after.cpu-before.cpu)/time.Duration(w.runs))
	}
	for r := range requests {
		requests[r] = (requests[r] + w.runs/2) / w.runs
	}
	w.requests("a commit to one app: requests of plumb", requests, nil).
		over(w.kind.requests, w.kind.of)
	return nil
}

// quietTime is how long after a commit the next one is again told of at once at
// units that it does not touch: twice as long as that may wait.
const quietTime = 61 * time.Second

// pushOne commits to one app.
func (w *world) pushOne(ctx context.Context) (began time.Time, hash string, err error) {
	unit := w.pick()
	return w.push(ctx, map[string]string{overlayFile(unit): overlay(unit, w.version())})
}

// sweep returns how long it takes until so many units say what a commit, the first
// one for a while, has led to. What comes within half a minute has no other status
// written than of the units that it touches.
func (w *world) sweep(ctx context.Context, n int) (time.Duration, error) {
	if err := sleep(ctx, w.quiet); err != nil {
		return 0, err
	}
	units, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	began, hash, err := w.pushOne(ctx)
	if err != nil {
		return 0, err
	}
	end, err := w.many(ctx, units, w.patience(), n, w.kind.at(hash))
	return end.Sub(began), err
}

// behind measures a commit that comes while units are told of the one before it.
func (w *world) behind(ctx context.Context, t *told) error {
	if err := sleep(ctx, w.quiet); err != nil {
		return err
	}
	if _, _, err := w.pushOne(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil { // they begin to
		return err
	}
	var second told
	err := w.commit(ctx, &second, w.pick())
	t.behind = append(t.behind, second.live...)
	return err
}

// toldAll returns when every unit that there is says that it knows the last commit.
func (w *world) toldAll(ctx context.Context) error {
	hash, err := git(ctx, w.repo, nil, "rev-parse", "main")
	if err != nil {
		return err
	}
	knows := w.kind.at(hash)
	return w.plumb.Until(ctx, w.patience(), func() error {
		list, err := w.client.Resource(w.kind.resource).Namespace(unitSpace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for i := range list.Items {
			if !knows(&list.Items[i]) {
				return fmt.Errorf("%s does not know of %s yet", list.Items[i].GetName(), hash)
			}
		}
		return nil
	})
}

// compare sets what one run has shown of a kind against another with fewer units.
func (b *bench) compare(k *kind) {
	find := func(n int, name string) *figure { return b.figures.find(k.name, n, name) }
	small, large := find(b.small, liveName), find(b.units, liveName)
	if small != nil && large != nil {
		b.figures.add(k.name, b.units, "that, against fewer units", "s", large.Value).
			over(small.Value, fmt.Sprintf("the same with %d units", b.small)).ratioAtMost(1.2)
	}
	s, l := find(b.small, settledName), find(b.units, settledName)
	if s != nil && l != nil && b.units > b.small {
		b.figures.add(k.name, 0, "memory: slope for each object", "B", (l.Value-s.Value)*(1<<20)/float64((b.units-b.small)*objectsPerApp)).atMost(4096)
	}
	if b.large > 0 {
		b.compareEach(k)
	}
}

// compareEach sets what many units cost each against what fewer do. A commit to
// one costs the same whatever there is beside it.
func (b *bench) compareEach(k *kind) {
	is := fmt.Sprintf("the same with %d units", b.units)
	both := func(name string) (few, many *figure, ok bool) {
		few, many = b.figures.find(k.name, b.units, name), b.figures.find(k.name, b.large, name)
		return few, many, few != nil && many != nil
	}
	for _, c := range []struct {
		of, name string
		each     bool
		unit     string
		times    float64
	}{
		{coldName, "cold, for each unit", true, "s", 1},
		{liveName, "that, against fewer units", false, "s", 1},
		{sweepName, "sweep, for each unit", true, "s", 1},
		{settledName, "memory: settled after cold, for each unit", true, "kB", 1024},
		{idleName, "idle: CPU of plumb in an hour, for each unit", true, "ms", 3600 * 1000 / 100},
	} {
		few, many, ok := both(c.of)
		if !ok {
			continue
		}
		value, floor := many.Value*c.times, few.Value*c.times
		if c.each {
			value, floor = value/float64(b.large), floor/float64(b.units)
		}
		b.figures.add(k.name, b.large, c.name, c.unit, value).over(floor, is).ratioAtMost(1.2)
	}
	// The API server itself takes longer for each object when it has many.
	for _, of := range []string{coldName, sweepName} {
		if few, many, ok := both(of); ok && few.Ratio > 0 {
			name, _, _ := strings.Cut(of, ":")
			b.figures.add(k.name, b.large, name+", as many times its floor", "×", many.Ratio).over(few.Ratio, is).ratioAtMost(1.2)
		}
	}
}

// push commits files and tells plumb. It returns when that was, and the hash.
func (w *world) push(ctx context.Context, files map[string]string) (began time.Time, hash string, err error) {
	if err := importCommit(ctx, w.repo, files, "change"); err != nil {
		return began, "", err
	}
	if hash, err = git(ctx, w.repo, nil, "rev-parse", "main"); err != nil {
		return began, "", err
	}
	began = time.Now()
	return began, hash, w.poke(ctx)
}

func (w *world) version() string {
	w.versions++
	return fmt.Sprintf("1.%d.%d", w.n, w.versions)
}

// names reports whether a field of an object ends with a hash.
func names(hash string, path ...string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		rev, _, _ := unstructured.NestedString(u.Object, path...)
		return strings.HasSuffix(rev, hash)
	}
}

func hasImage(version string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		if len(list) == 0 {
			return false
		}
		c, _ := list[0].(map[string]any)
		image, _ := c["image"].(string)
		return strings.HasSuffix(image, ":"+version)
	}
}

// commit touches one app.
func (w *world) commit(ctx context.Context, t *told, unit string) error {
	objects, stop, err := w.sight(ctx, deployments, appSpace, unit)
	if err != nil {
		return err
	}
	defer stop()
	var sources <-chan sighting
	if w.kind.source {
		var stop func()
		if sources, stop, err = w.sight(ctx, gitRepositories, unitSpace, ""); err != nil {
			return err
		}
		defer stop()
	}
	version := w.version()
	began, hash, err := w.push(ctx, map[string]string{overlayFile(unit): overlay(unit, version)})
	if err != nil {
		return err
	}
	if sources != nil {
		fetched, err := w.first(ctx, sources, w.patience(), names(hash, "status", "artifact", "revision"))
		if err != nil {
			return err
		}
		t.fetched = append(t.fetched, fetched.Sub(began))
	}
	live, err := w.first(ctx, objects, w.patience(), hasImage(version))
	if err != nil {
		return err
	}
	t.live = append(t.live, live.Sub(began))
	return nil
}

// fanOut measures commits that touch every app.
func (w *world) fanOut(ctx context.Context) error {
	var took, floors []time.Duration
	if _, err := w.audit.since(); err != nil {
		return err
	}
	var requests map[request]int
	for i := range max(1, w.runs/4) {
		profiled := func() error { return nil }
		before, _ := w.usage()
		if i == 0 {
			profiled = w.profile(ctx, "fan-out", time.Duration(w.n)*15*time.Millisecond)
		}
		d, err := w.fanOutOnce(ctx)
		if err != nil {
			return err
		}
		if err := profiled(); err != nil {
			return err
		}
		if i == 0 {
			if after, ok := w.usage(); ok {
				w.cpu("fan-out: CPU of plumb", after.cpu-before.cpu)
			}
			if requests, err = w.audit.since(); err != nil {
				return err
			}
		}
		f, err := w.floorOfFanOut(ctx, w.version())
		if err != nil {
			return err
		}
		took, floors = append(took, d), append(floors, f)
	}
	w.seconds("fan-out: a commit to all apps → all live", took...).
		over(quantile(floors, 0.5).Seconds(), "everything rendered, what changed applied").ratioAtMost(1.5)
	w.requests("fan-out: requests of plumb", requests, nil).over(float64(w.n), "one for each object that changed")
	return nil
}

func (w *world) fanOutOnce(ctx context.Context) (time.Duration, error) {
	objects, stop, err := w.sight(ctx, deployments, appSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	units, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	files, version := map[string]string{}, w.version()
	for i := range w.n {
		files[overlayFile(unitName(i))] = overlay(unitName(i), version)
	}
	began, hash, err := w.push(ctx, files)
	if err != nil {
		return 0, err
	}
	end, err := w.all(ctx, objects, w.patience(), hasImage(version))
	if err != nil {
		return 0, err
	}
	if _, err := w.all(ctx, units, w.patience(), w.kind.at(hash)); err != nil {
		return 0, err
	}
	return end.Sub(began), nil
}

// prune measures commits that remove an object of every app, against ones that
// change one. Both are over when every unit says so.
func (w *world) prune(ctx context.Context) error {
	var took, floors []time.Duration
	var pruning, changing []time.Duration // CPU
	for range max(1, w.runs/4) {
		for _, c := range []struct {
			files func(unit, version string) map[string]string
			took  *[]time.Duration
			cpu   *[]time.Duration
		}{
			{func(unit, version string) map[string]string {
				return map[string]string{overlayFile(unit): overlay(unit, version)}
			}, &floors, &changing},
			{func(unit, _ string) map[string]string {
				return map[string]string{baseFile(unit): baseWithout}
			}, &took, &pruning},
			{func(unit, _ string) map[string]string {
				return map[string]string{baseFile(unit): base(unit)}
			}, nil, nil},
		} {
			before, _ := w.usage()
			d, err := w.told(ctx, c.files)
			if err != nil {
				return err
			}
			if after, ok := w.usage(); ok && c.cpu != nil {
				*c.cpu = append(*c.cpu, after.cpu-before.cpu)
			}
			if c.took != nil {
				*c.took = append(*c.took, d)
			}
		}
	}
	w.seconds("prune: a commit that removes an object of each app → all say so", took...).
		over(quantile(floors, 0.5).Seconds(), "one that changes an object of each").ratioAtMost(1.5)
	if len(pruning) > 0 {
		w.cpu("prune: CPU of plumb", quantile(pruning, 0.5)).over(quantile(changing, 0.5).Seconds(), "one that changes an object of each").ratioAtMost(1.5)
	}
	return nil
}

// told commits files of every app and waits until every unit says so.
func (w *world) told(ctx context.Context, filesOf func(unit, version string) map[string]string) (time.Duration, error) {
	units, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return 0, err
	}
	defer stop()
	files, version := map[string]string{}, w.version()
	for i := range w.n {
		maps.Copy(files, filesOf(unitName(i), version))
	}
	began, hash, err := w.push(ctx, files)
	if err != nil {
		return 0, err
	}
	end, err := w.all(ctx, units, w.patience(), w.kind.at(hash))
	if err != nil {
		return 0, err
	}
	return end.Sub(began), nil
}

// starved measures commits to a healthy unit while one in twenty waits for what
// does not come, such as health: without controllers no Deployment ever has a
// replica.
func (w *world) starved(ctx context.Context) error {
	usual := w.find(behindName) // these come one behind the other, too
	ill := max(1, w.n/20)
	var starved []string
	for i := range ill {
		starved = append(starved, unitName(i*20))
	}
	if err := w.kind.starve(w, ctx, starved); err != nil {
		return err
	}
	seen, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	waiting := map[string]bool{}
	if _, err := w.first(ctx, seen, w.patience(), func(u *unstructured.Unstructured) bool {
		if slices.Contains(starved, u.GetName()) && w.kind.waits(u) {
			waiting[u.GetName()] = true
		}
		return len(waiting) == ill
	}); err != nil {
		return err
	}
	if _, err := w.sweep(ctx, w.n-ill); err != nil {
		return err
	}
	var t told
	for range w.runs {
		unit := w.pick()
		for waiting[unit] {
			unit = w.pick()
		}
		if err := w.commit(ctx, &t, unit); err != nil {
			return err
		}
	}
	w.seconds("starved: a commit, with 5 % of the units never healthy", t.live...).over(usual.Value, "a commit right behind another, without them").ratioAtMost(1.2)
	if err := w.kind.feed(w, ctx, starved); err != nil {
		return err
	}
	_, err = w.all(ctx, seen, w.patience(), w.kind.settled)
	return err
}

const chainLength = 10

func chainName(i int) string { return fmt.Sprintf("chain-%d", i) }
func chainDir(i int) string  { return "chain/" + chainName(i) }

// chain creates units that depend on one another, the last one first.
func (w *world) chain(ctx context.Context) error {
	seen, stop, err := w.sight(ctx, w.kind.resource, unitSpace, "")
	if err != nil {
		return err
	}
	defer stop()
	began := time.Now()
	for i := chainLength - 1; i >= 0; i-- {
		var on map[string]any
		if i > 0 {
			on = map[string]any{"dependsOn": []any{map[string]any{"name": chainName(i - 1)}}}
		}
		if err := w.createUnit(ctx, w.kind, chainName(i), "./"+chainDir(i), on); err != nil {
			return err
		}
	}
	end, err := w.first(ctx, seen, w.patience(), func(u *unstructured.Unstructured) bool {
		return u.GetName() == chainName(chainLength-1) && w.kind.settled(u)
	})
	if err != nil {
		return err
	}
	w.seconds(fmt.Sprintf("chain: %d units, each depending on the one before → all ready", chainLength), end.Sub(began)).atMost(2)
	var errs []error
	for i := range chainLength {
		errs = append(errs, w.client.Resource(w.kind.resource).Namespace(unitSpace).Delete(ctx, chainName(i), metav1.DeleteOptions{}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.plumb.Until(ctx, w.patience(), func() error {
		_, err := w.client.Resource(w.kind.resource).Namespace(unitSpace).Get(ctx, chainName(0), metav1.GetOptions{})
		if err == nil {
			return errors.New("the first of the chain is still there")
		}
		return nil
	})
}
