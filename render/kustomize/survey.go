package kustomize

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/render"
)

// A surveyor goes through all kustomizations that a build will see, before
// Kustomize does. Kustomize takes a name that is no file for something to
// fetch, recurses as deep as it is told to, and gives errors that name no
// line; the survey refuses what may not be and names the entry that is wrong.
type surveyor struct {
	src *source
	o   Options

	stack []string
	done  map[string]extent
	found findings

	growth growth
	remote []string // what would have to be fetched, and where it is named
}

// findings is what the build has to know.
type findings struct {
	empty  bool // there is nothing to build
	schema bool // a kustomization brings its own OpenAPI schema

	managedBy bool // objects are to say what they were built with
	sorted    bool // the kustomization says in which order they are
}

// extent is how much a kustomization makes of what it names, each as often as
// it names it: a small repository can name one large file a thousand times.
type extent struct {
	visits, height int
	bytes, objects int64
	work           int64
}

func (e *extent) add(below extent) {
	e.visits += below.visits
	e.height = max(e.height, below.height+1)
	e.bytes += below.bytes
	e.objects += below.objects
	e.work += below.work
}

// within reports as an error where the extent of k is beyond the limits.
func (e extent) within(l limits, k *kustomization) error {
	switch {
	case e.visits > l.visits:
		return tooLarge("%s: builds more than %d kustomizations", k.file, l.visits)
	case e.bytes > l.read:
		return tooLarge("%s: names files of more than %d MiB, counting each as often as it is named", k.file, l.read>>20)
	case e.objects > l.objects:
		return tooLarge("%s: builds more than %d objects; make several Kustomizations of it", k.file, l.objects)
	case e.work > l.work:
		return tooLarge("%s: too many objects go through too many kustomizations", k.file)
	case e.objects*k.weight > l.product:
		return tooLarge("%s: has too much to change in too many objects", k.file)
	}
	return nil
}

func survey(s *source, top *kustomization, o Options) (findings, error) {
	v := &surveyor{src: s, o: o, done: map[string]extent{}, growth: growth{src: s}}
	v.found.empty = top.CheckEmpty() != nil
	v.found.sorted = top.SortOptions != nil
	if slices.Contains(top.BuildMetadata, types.ManagedByLabelOption) {
		v.found.managedBy = true
		top.BuildMetadata = slices.DeleteFunc(slices.Clone(top.BuildMetadata), func(s string) bool { return s == types.ManagedByLabelOption })
	}
	e, err := v.visit(top)
	if err != nil {
		return v.found, err
	}
	if l := s.limits; v.found.schema && (e.objects > l.aloneObjects || e.bytes > l.aloneBytes) {
		// All others wait for it.
		return v.found, tooLarge("%s: with an openapi of its own it may build %d objects from %d MiB, and not more; make several Kustomizations of it",
			top.file, l.aloneObjects, l.aloneBytes>>20)
	}
	if err := v.local(); err != nil {
		return v.found, err
	}
	return v.found, s.handsOneThing()
}

// directory surveys the kustomization in dir, which entry of by names.
func (v *surveyor) directory(dir string, by *kustomization, entry string) (extent, error) {
	for i, seen := range v.stack {
		// Kustomize refuses a base that contains where it came from, too.
		if seen == dir || dir == "." || strings.HasPrefix(seen, dir+"/") {
			return extent{}, render.Stall("RenderCycle", "", fmt.Errorf("%s: %q leads back to where it came from: %s",
				by.at(entry), entry, strings.Join(append(slices.Clone(v.stack[i:]), dir), " → ")))
		}
	}
	if len(v.stack) >= v.src.limits.bases {
		return extent{}, render.Stall("RenderCycle", "", fmt.Errorf("%s: more than %d kustomizations under one another",
			by.at(entry), v.src.limits.bases))
	}
	if e, ok := v.done[dir]; ok {
		if len(v.stack)+e.height > v.src.limits.bases {
			return extent{}, render.Stall("RenderCycle", "", fmt.Errorf("%s: more than %d kustomizations under one another",
				by.at(entry), v.src.limits.bases))
		}
		return e, nil
	}
	k, err := v.src.kustomizationIn(dir)
	if err != nil {
		return extent{}, err
	}
	if k == nil {
		if err := v.src.excludedKustomization(dir); err != nil {
			return extent{}, render.Missing(err, render.BuildFailed, "%s: the kustomization file of directory %q", by.at(entry), entry)
		}
		return extent{}, render.Stall(render.BuildFailed, "", fmt.Errorf("%s: directory %q has no kustomization file", by.at(entry), entry))
	}
	return v.visit(k)
}

func (v *surveyor) visit(k *kustomization) (extent, error) {
	k.empty = k.CheckEmpty() != nil
	k.FixKustomization()
	v.stack = append(v.stack, k.dir)
	e, err := v.fields(k)
	v.stack = v.stack[:len(v.stack)-1]
	// Kustomize compares each object with all others, in each kustomization
	// that it passes.
	e.work += e.objects * e.objects
	if err == nil {
		err = e.within(v.src.limits, k)
	}
	if err == nil {
		err = v.src.handKustomization(k)
	}
	v.done[k.dir] = e
	return e, err
}

// fields goes through the fields of a kustomization, and leaves in them what
// Kustomize is handed.
func (v *surveyor) fields(k *kustomization) (extent, error) {
	if err := v.features(k); err != nil {
		return extent{}, err
	}
	all := extent{visits: 1, height: 1, objects: int64(len(k.ConfigMapGenerator) + len(k.SecretGenerator))}
	for _, p := range v.places(k) {
		handed, below, err := p.look(k, *p.text)
		if err != nil {
			return extent{}, err
		}
		*p.text = handed
		all.add(below)
	}
	if err := v.growth.replacements(k, k.Replacements); err != nil {
		return extent{}, err
	}
	if err := v.growth.vars(k); err != nil {
		return extent{}, err
	}
	if at, ok := k.OpenAPI["path"]; ok {
		handed, below, err := v.manifest(k, at)
		if err != nil {
			return extent{}, err
		}
		k.OpenAPI["path"] = handed
		all.add(below)
	}
	return all, nil
}

// deprecated warns of fields that Kustomize is going to do without.
func (s *source) deprecated(k *kustomization) {
	for _, f := range []struct {
		name, instead string
		used          bool
	}{
		{"bases", "resources", k.Bases != nil},
		{"commonLabels", "labels", k.CommonLabels != nil},
		{"imageTags", "images", k.ImageTags != nil},
		{"patchesJson6902", "patches", k.PatchesJson6902 != nil},
		{"patchesStrategicMerge", "patches", k.PatchesStrategicMerge != nil},
		{"vars", "replacements", k.Vars != nil},
	} {
		if f.used {
			s.warn("%s: %s is deprecated: use %s", k.at(f.name), f.name, f.instead)
		}
	}
}

func disabled(format string, args ...any) error {
	return render.Stall(render.FeatureDisabled, "", fmt.Errorf(format, args...))
}

// features refuses what runs programs, and notes what changes global state.
func (v *surveyor) features(k *kustomization) error {
	switch {
	case len(k.HelmCharts) > 0:
		return disabled("%s: helmCharts runs the helm program, which plumb doesn't", first(k, "helmCharts", "helmChartInflationGenerator"))
	case isURL(k.OpenAPI["path"]):
		return disabled("%s: openapi.path is a URL", k.at(k.OpenAPI["path"]))
	}
	if len(k.OpenAPI) > 0 {
		v.found.schema = true
	}
	return nil
}

func first(k *kustomization, keys ...string) string {
	for _, key := range keys {
		if at := k.at(key); at != k.file {
			return at
		}
	}
	return k.file
}
