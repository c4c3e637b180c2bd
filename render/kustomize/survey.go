package kustomize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	k8syaml "sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
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

// check compares the extent of k with the limits.
func (e extent) check(k *kustomization, l limits) error {
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
			return extent{}, stall("RenderCycle", "", fmt.Errorf("%s: %q leads back to where it came from: %s",
				by.at(entry), entry, strings.Join(append(slices.Clone(v.stack[i:]), dir), " → ")))
		}
	}
	if len(v.stack) >= v.src.limits.bases {
		return extent{}, stall("RenderCycle", "", fmt.Errorf("%s: more than %d kustomizations under one another",
			by.at(entry), v.src.limits.bases))
	}
	if e, ok := v.done[dir]; ok {
		if len(v.stack)+e.height > v.src.limits.bases {
			return extent{}, stall("RenderCycle", "", fmt.Errorf("%s: more than %d kustomizations under one another",
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
		return extent{}, stall(render.BuildFailed, "", fmt.Errorf("%s: directory %q has no kustomization file", by.at(entry), entry))
	}
	return v.visit(k)
}

func (v *surveyor) visit(k *kustomization) (extent, error) {
	k.empty = k.CheckEmpty() != nil
	v.deprecated(k)
	k.FixKustomization()
	v.stack = append(v.stack, k.dir)
	e, err := v.look(k)
	v.stack = v.stack[:len(v.stack)-1]
	// Kustomize compares each object with all others, in each kustomization
	// that it passes.
	e.work += e.objects * e.objects
	if err == nil {
		err = e.check(k, v.src.limits)
	}
	if err == nil {
		err = v.src.handKustomization(k)
	}
	v.done[k.dir] = e
	return e, err
}

// look goes through the fields of a kustomization, and leaves in them what
// Kustomize is handed.
func (v *surveyor) look(k *kustomization) (extent, error) {
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
func (v *surveyor) deprecated(k *kustomization) {
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
			v.src.warn("%s: %s is deprecated: use %s", k.at(f.name), f.name, f.instead)
		}
	}
}

func disabled(format string, args ...any) error {
	return stall("FeatureDisabled", "", fmt.Errorf(format, args...))
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

// manifest checks a file that will be parsed.
func (v *surveyor) manifest(k *kustomization, p string) (string, extent, error) {
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return p, extent{}, err
	}
	b, d, err := v.src.manifest(name)
	if err != nil {
		return "", extent{}, err
	}
	v.src.named[name] = true
	k.weight += int64(len(b))
	for _, root := range d.roots {
		if err := annotated(root, name); err != nil {
			return "", extent{}, err
		}
		if err := v.src.fieldPaths(root, name); err != nil {
			return "", extent{}, err
		}
	}
	return dotted(p), extent{bytes: int64(len(b))}, nil
}

// strategic checks an entry of patchesStrategicMerge: patches, or the path of
// a file of them.
func (v *surveyor) strategic(k *kustomization, text string) (string, extent, error) {
	d, err := v.src.check([]byte(text), k.at(text)+" (inline)")
	if fault.Is(err, "ManifestTooLarge") {
		return "", extent{}, err
	}
	if err == nil && !slices.ContainsFunc(d.roots, func(n *yaml.Node) bool { return n.Kind != yaml.MappingNode }) {
		return notAPath(text), extent{}, nil
	}
	return v.manifest(k, text)
}

// data checks a file that will not be parsed. source may be key=path.
func (v *surveyor) data(k *kustomization, source string) (string, extent, error) {
	p := pathOf(source)
	key := strings.TrimSuffix(source[:len(source)-len(p)], "=")
	if p == source {
		key = path.Base(p)
	}
	handed, e, err := v.env(k, p)
	return key + "=" + handed, e, err
}

// pathOf returns the path of a source that may be key=path.
func pathOf(source string) string {
	if _, p, ok := strings.Cut(source, "="); ok && !isURL(source) {
		return p
	}
	return source
}

// env is data, for a source that is a path alone.
func (v *surveyor) env(k *kustomization, p string) (string, extent, error) {
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return p, extent{}, err
	}
	v.src.data[name] = true
	b, err := v.src.load(name)
	handed := dotted(p)
	if slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
		handed += "/" + asData
	}
	return handed, extent{bytes: int64(len(b))}, err
}

// file returns the name of the file that p stands for; "" if there is none.
func (v *surveyor) file(k *kustomization, p string) (string, error) {
	if p == "" {
		return "", nil
	}
	if isURL(p) {
		return "", v.fetched(k, p)
	}
	name := path.Join(k.dir, p)
	if path.IsAbs(p) || !fs.ValidPath(name) {
		return "", escapes(p, k.at(p))
	}
	name, err := tree.Resolve(v.src.tree, name)
	if err != nil {
		return "", v.src.fail(err)
	}
	e, err := v.src.lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", render.Missing(err, render.BuildFailed, "%s: file %q", k.at(p), p)
	}
	if err != nil {
		return "", err
	}
	if e.Kind != tree.File {
		return "", stall(render.BuildFailed, "", fmt.Errorf("%s: %q is a %s, not a file", k.at(p), p, e.Kind))
	}
	return name, nil
}

// fetched notes what has to be fetched. Where nothing may be, all of it is
// refused once all of it is known.
func (v *surveyor) fetched(k *kustomization, entry string) error {
	if v.o.AllowRemoteBases {
		v.src.fetches()
		return nil
	}
	v.remote = append(v.remote, fmt.Sprintf("%s: %q", k.at(entry), withoutCredentials(entry)))
	return nil
}

// local refuses what has to be fetched.
func (v *surveyor) local() error {
	if len(v.remote) == 0 {
		return nil
	}
	slices.Sort(v.remote)
	places := slices.Compact(v.remote)
	what := "is not in this source"
	if len(places) > 1 {
		what = "are not in this source"
	}
	more := ""
	if n := len(places) - maxPlaces; n > 0 {
		places, more = places[:maxPlaces], fmt.Sprintf(", and %d more", n)
	}
	return &fault.Error{
		Next: fault.Stall, Reason: "RemoteBaseDisabled",
		Hint: "copy it into the repository, or let plumb fetch it with --no-remote-bases=false",
		Err:  fmt.Errorf("%s%s %s", strings.Join(places, ", "), more, what),
	}
}

// maxPlaces is how many places one message names.
const maxPlaces = 20

var userinfo = regexp.MustCompile(`//[^/@\s]*@`)

// withoutCredentials takes user, password and query out of a URL.
func withoutCredentials(u string) string {
	u, _, _ = strings.Cut(u, "?")
	return userinfo.ReplaceAllString(u, "//")
}

// inline checks YAML inside of a kustomization. Kustomize never takes it for
// a path.
func (v *surveyor) inline(k *kustomization, text string) (string, extent, error) {
	if text == "" {
		return "", extent{}, nil
	}
	d, err := v.src.check([]byte(text), k.at(text)+" (inline)")
	if err != nil {
		return "", extent{}, err
	}
	for _, root := range d.roots {
		if err := annotated(root, k.file+" (inline)"); err != nil {
			return "", extent{}, err
		}
		if err := v.src.fieldPaths(root, k.file+" (inline)"); err != nil {
			return "", extent{}, err
		}
	}
	return text, extent{}, nil
}

// resource checks an entry of resources: a manifest or a kustomization.
func (v *surveyor) resource(k *kustomization, entry string) (string, extent, error) {
	name, e, err := v.entry(k, entry)
	if name == "" || err != nil {
		return entry, extent{}, err
	}
	if e.Kind == tree.Dir {
		below, err := v.directory(name, k, entry)
		return dotted(entry), below, err
	}
	b, d, err := v.src.manifest(name)
	if err != nil {
		return "", extent{}, err
	}
	v.src.named[name] = true
	for _, root := range d.roots {
		if err := identified(root, name); err != nil {
			return "", extent{}, err
		}
	}
	return dotted(entry), extent{bytes: int64(len(b)), objects: int64(count(d.roots))}, nil
}

// entry resolves what a kustomization names as a file or directory. The name
// is empty if it is to be fetched.
func (v *surveyor) entry(k *kustomization, entry string) (string, tree.Entry, error) {
	if isURL(entry) {
		return "", tree.Entry{}, v.fetched(k, entry)
	}
	name := path.Join(k.dir, entry)
	if entry == "" {
		return "", tree.Entry{}, stall(render.BuildFailed, "", fmt.Errorf("%s: an empty entry", k.file))
	}
	if path.IsAbs(entry) || !fs.ValidPath(name) {
		if remote(entry) {
			return "", tree.Entry{}, v.fetched(k, entry)
		}
		return "", tree.Entry{}, escapes(entry, k.at(entry))
	}
	name, err := tree.Resolve(v.src.tree, name)
	if err != nil {
		return "", tree.Entry{}, v.src.fail(err)
	}
	e, err := v.src.lookup(name)
	if remote(entry) && (err != nil || e.Kind != tree.File) {
		// Kustomize takes a file of such a name for what it is, but a
		// directory for a URL.
		return "", tree.Entry{}, v.fetched(k, entry)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", tree.Entry{}, render.Missing(err, render.BuildFailed, "%s: %q", k.at(entry), entry)
	case err != nil:
		return "", tree.Entry{}, err
	case e.Kind != tree.Dir && e.Kind != tree.File:
		return "", tree.Entry{}, stall(render.BuildFailed, "", fmt.Errorf("%s: %q is a %s", k.at(entry), entry, e.Kind))
	}
	return name, e, nil
}

// component checks an entry of components: a directory.
func (v *surveyor) component(k *kustomization, entry string) (string, extent, error) {
	name, e, err := v.entry(k, entry)
	if name == "" || err != nil {
		return entry, extent{}, err
	}
	if e.Kind != tree.Dir {
		return "", extent{}, stall(render.BuildFailed, "", fmt.Errorf("%s: component %q is not a directory", k.at(entry), entry))
	}
	below, err := v.directory(name, k, entry)
	return dotted(entry), below, err
}

// plugin checks an entry of generators, transformers or validators: the
// configuration of a plugin, inline, in a file, or in a directory.
func (v *surveyor) plugin(k *kustomization, entry string) (string, extent, error) {
	d, err := v.src.check([]byte(entry), k.file+" (inline)")
	if fault.Is(err, "ManifestTooLarge") {
		return "", extent{}, err
	}
	if err == nil && len(d.roots) > 0 && d.roots[0].Kind == yaml.MappingNode {
		b, e, err := v.configs(k, d.roots, k.file)
		return notAPath(string(b)), e, err
	}
	name, e, err := v.entry(k, entry)
	if name == "" || err != nil {
		return entry, extent{}, err
	}
	if e.Kind == tree.Dir {
		below, err := v.pluginDirectory(k, name, entry)
		return dotted(entry), below, err
	}
	if _, d, err = v.src.manifest(name); err != nil {
		return "", extent{}, err
	}
	b, below, err := v.configs(k, d.roots, name)
	if err != nil {
		return "", extent{}, err
	}
	return dotted(entry), below, v.src.hand(name, b)
}

// pluginDirectory checks a kustomization whose output configures plugins. It
// may not do more than list files: a patch could put together a URL that is
// nowhere to be seen.
func (v *surveyor) pluginDirectory(by *kustomization, dir, entry string) (extent, error) {
	k, err := v.src.kustomizationIn(dir)
	if err != nil {
		return extent{}, err
	}
	if k != nil && !v.o.AllowRemoteBases {
		plain := types.Kustomization{TypeMeta: k.TypeMeta, MetaData: k.MetaData, Resources: k.Resources}
		plain.FixKustomization()
		whole := k.Kustomization
		whole.FixKustomization()
		if !equal(plain, whole) {
			return extent{}, disabled("%s: a directory of generators or transformers may list resources, and nothing else", k.file)
		}
	}
	e, err := v.directory(dir, by, entry)
	if err != nil || k == nil {
		return e, err
	}
	k.FixKustomization()
	v.stack = append(v.stack, dir)
	defer func() { v.stack = v.stack[:len(v.stack)-1] }()
	for _, entry := range k.Resources {
		_, below, err := v.plugin(k, entry)
		if err != nil {
			return e, err
		}
		e.add(below)
	}
	return e, nil
}

// configs checks documents that configure plugins, and returns what Kustomize
// is handed.
func (v *surveyor) configs(k *kustomization, roots []*yaml.Node, file string) ([]byte, extent, error) {
	var all extent
	var configs []map[string]any
	for len(roots) > 0 {
		root := roots[0]
		roots = roots[1:]
		if items := field(root, "items"); items != nil && strings.HasSuffix(scalar(root, "kind"), "List") {
			roots = append(slices.Clone(items.Content), roots...)
			continue
		}
		if root.Kind == yaml.AliasNode {
			root = root.Alias
		}
		config, e, err := v.config(k, root, file)
		if err != nil {
			return nil, extent{}, err
		}
		all.add(e)
		configs = append(configs, config)
	}
	b, err := encodeConfigs(configs)
	return b, all, err
}

func (v *surveyor) config(k *kustomization, n *yaml.Node, file string) (map[string]any, extent, error) {
	at := fmt.Sprintf("%s:%d", file, n.Line)
	refuse := func(format string, args ...any) (map[string]any, extent, error) {
		return nil, extent{}, disabled(format, args...)
	}
	annotations := field(field(n, "metadata"), "annotations")
	for _, key := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
		if field(annotations, key) != nil {
			return refuse("%s: %s %q runs a container or a program, which plumb doesn't",
				at, scalar(n, "kind"), scalar(field(n, "metadata"), "name"))
		}
	}
	kind := scalar(n, "kind")
	fields, builtIn := plugins[kind]
	switch {
	case scalar(n, "apiVersion") != "builtin":
		return refuse("%s: %s is not a plugin that is built in, and plumb runs no others", at, kind)
	case kind == "HelmChartInflationGenerator":
		return refuse("%s: %s runs the helm program, which plumb doesn't", at, kind)
	case !builtIn:
		return refuse("%s: there is no plugin %s", at, kind)
	}
	fields = append([]reflect.Type{pluginHead}, fields...)
	if err := (speller{file: file}).check(n, fields...); err != nil {
		return nil, extent{}, err
	}
	if err := v.src.fieldPaths(n, file); err != nil {
		return nil, extent{}, err
	}
	decoded, err := decodeConfig(n)
	if err != nil {
		return nil, extent{}, stall(render.BuildFailed, "", fmt.Errorf("%s: %s can't be decoded", at, kind))
	}
	config := known(decoded, fields...).(map[string]any) // of a map, a map
	e, err := v.pluginPlaces(k, kind, config)
	if err == nil && kind == "ReplacementTransformer" {
		var p builtins.ReplacementTransformerPlugin
		b, encoding := encodeConfigs([]map[string]any{config})
		if encoding != nil || k8syaml.Unmarshal(b, &p) != nil {
			return refuse("%s: the replacements of %s can't be decoded", at, kind)
		}
		err = v.growth.replacements(k, p.ReplacementList)
	}
	return config, e, err
}

func count(roots []*yaml.Node) int {
	n := 0
	for _, root := range roots {
		n += len(objectsIn(root))
	}
	return n
}

// identified checks that a document is an object that Kustomize can tell from
// others.
func identified(n *yaml.Node, file string) error {
	bad := func(format string, args ...any) error {
		return stall(render.BuildFailed, "", fmt.Errorf("%s:%d: %s", file, n.Line, fmt.Sprintf(format, args...)))
	}
	if n.Kind != yaml.MappingNode {
		return bad("not a Kubernetes object")
	}
	kind, meta := scalar(n, "kind"), field(n, "metadata")
	if err := annotated(n, file); err != nil {
		return err
	}
	switch {
	case kind == "":
		return bad("not a Kubernetes object: it has no kind")
	case strings.HasSuffix(kind, "List"):
		return nil
	case scalar(meta, "name") != "":
		return nil
	case scalar(meta, "generateName") != "":
		return bad("%s has a generateName, which gives a new object each time: give it a name", kind)
	}
	return bad("%s has no metadata.name", kind)
}

// annotated checks the labels and annotations of objects and patches. Kustomize
// makes text of a number among the latter, and nothing of a list or a map.
func annotated(root *yaml.Node, file string) error {
	for _, n := range objectsIn(root) {
		for _, name := range []string{"labels", "annotations"} {
			f := field(field(n, "metadata"), name)
			for i := 0; f != nil && f.Kind == yaml.MappingNode && i+1 < len(f.Content); i += 2 {
				k, v := f.Content[i], f.Content[i+1]
				if v.Kind == yaml.AliasNode {
					v = v.Alias
				}
				if k.Value == mergeKey || v.Kind == yaml.ScalarNode || k.Value == "$patch" {
					continue
				}
				is := "list"
				if v.Kind == yaml.MappingNode {
					is = "map"
				}
				return &fault.Error{
					Next: fault.Stall, Reason: render.BuildFailed, Object: identityOf(n),
					Err: fmt.Errorf("%s:%d: metadata.%s.%s is a %s, not text", file, k.Line, name, k.Value, is),
				}
			}
			if f != nil && f.Kind == yaml.SequenceNode {
				return &fault.Error{
					Next: fault.Stall, Reason: render.BuildFailed, Object: identityOf(n),
					Err: fmt.Errorf("%s:%d: metadata.%s is a list, not a map", file, f.Line, name),
				}
			}
		}
	}
	return nil
}

// field returns the value of a key of a mapping, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			if v := n.Content[i+1]; v.Kind == yaml.AliasNode {
				return v.Alias
			}
			return n.Content[i+1]
		}
	}
	return nil
}

func scalar(n *yaml.Node, key string) string {
	if f := field(n, key); f != nil && f.Kind == yaml.ScalarNode && f.Tag != "!!null" {
		return f.Value
	}
	return ""
}

// isURL reports whether Kustomize would open p over HTTP.
func isURL(p string) bool {
	u, err := url.Parse(p)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

var scpLike = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// remote reports whether Kustomize might take p for a URL, of a file or of a
// Git repository.
func remote(p string) bool {
	low := strings.ToLower(p)
	for _, prefix := range []string{"git::", "gh:", "ssh://", "https://", "http://", "file://", "github.com/", "github.com:"} {
		if strings.HasPrefix(low, prefix) {
			return true
		}
	}
	return isURL(p) || scpLike.MatchString(p)
}

// equal reports whether two kustomizations say the same.
func equal(a, b types.Kustomization) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
