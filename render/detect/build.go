package detect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/render/helm"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

// Kind is what [Decode] decodes.
const Kind = "detect"

// version names what, besides what is chosen, decides what a build gives.
const version = "detect/2"

// chartFile is the file of a directory that is a Helm chart.
const chartFile = "Chart.yaml"

// Decode returns the options that were encoded as JSON.
func Decode(b []byte) (render.Builder, error) {
	var o Options
	err := json.Unmarshal(b, &o)
	return o, err
}

// Kind implements [render.Builder].
func (o Options) Kind() string { return Kind }

// Probes implements [render.Builder].
func (o Options) Probes() []string {
	return slices.Concat(konfig.RecognizedKustomizationFileNames(), []string{chartFile}, o.Overrides)
}

// AsksCluster implements [render.Builder].
func (o Options) AsksCluster() bool { return true }

// Open implements [render.Builder].
func (o Options) Open() bool { return o.AllowRemoteBases }

// Version implements [render.Builder].
func (o Options) Version() string {
	return strings.Join([]string{version, kustomize.Options{}.Version(), directory.Options{}.Version(), helm.Options{}.Version()}, " ")
}

// Build implements [render.Builder].
func (o Options) Build(ctx context.Context, in render.Input) (render.Built, error) {
	merged := o.Sections
	var warnings []string
	for _, base := range o.Overrides {
		w, err := merged.override(in.Tree, path.Join(in.Dir, base))
		if err != nil {
			return render.Built{}, err
		}
		warnings = append(warnings, w...)
	}
	builder, err := o.choose(in, merged)
	if err != nil {
		return render.Built{}, err
	}
	b, err := builder.Build(ctx, in)
	b.Warnings = append(warnings, b.Warnings...)
	return b, err
}

// choose returns what builds a directory, after the sections.
func (o Options) choose(in render.Input, s Sections) (render.Builder, error) {
	kind, err := s.kind(in, o.Disabled)
	if err != nil {
		return nil, err
	}
	env := expander{o.Env, in.Revision}
	switch kind {
	case helmKind:
		var h Helm
		if s.Helm != nil {
			h = *s.Helm
		}
		return o.helm(h, in.Dir, env)
	case pluginKind:
		return nil, plugin()
	case kustomizeKind:
		var k Kustomize
		if s.Kustomize != nil {
			k = *s.Kustomize
		}
		b, err := k.options(env)
		b.AllowRemoteBases = o.AllowRemoteBases
		return b, err
	}
	var f directory.Files
	if s.Directory != nil {
		f = *s.Directory
	}
	f.Jsonnet.ExtVars, f.Jsonnet.TLAs = env.variables(f.Jsonnet.ExtVars), env.variables(f.Jsonnet.TLAs)
	return directory.Options{Files: f, SkipMarker: o.SkipMarker, Except: o.Overrides}, nil
}

// The kinds, as the sections are called.
const (
	directoryKind = "directory"
	kustomizeKind = "kustomize"
	helmKind      = "helm"
	pluginKind    = "plugin"
)

// kind returns of which kind a directory is.
func (s Sections) kind(in render.Input, disabled []string) (kind string, err error) {
	said := s.said()
	switch len(said) {
	case 0:
		return Found(in.Tree, in.Dir, disabled)
	case 1:
		if slices.Contains(disabled, said[0]) {
			return directoryKind, nil
		}
		return said[0], nil
	}
	return "", &fault.Error{
		Next: fault.Stall, Reason: fault.InvalidSpec, Hint: "keep one of them",
		Err: fmt.Errorf("the source says that it is of several kinds: %s", strings.Join(said, ", ")),
	}
}

// said are the sections that are there.
func (s Sections) said() (kinds []string) {
	for _, section := range []struct {
		kind  string
		there bool
	}{
		{directoryKind, s.Directory != nil}, {helmKind, s.Helm != nil}, {kustomizeKind, s.Kustomize != nil}, {pluginKind, s.Plugin != nil},
	} {
		if section.there {
			kinds = append(kinds, section.kind)
		}
	}
	return kinds
}

// Found looks for the file that says of which kind a directory of a tree is:
// kustomize, helm or, without any, directory. A chart with a kustomization file is
// Kustomize's. disabled are kinds that count for nothing.
func Found(t tree.Tree, dir string, disabled []string) (kind string, err error) {
	for _, f := range marks {
		if slices.Contains(disabled, f.kind) {
			continue
		}
		ok, err := has(t, path.Join(dir, f.base))
		if err != nil {
			return "", err
		}
		if ok {
			return f.kind, nil
		}
	}
	return directoryKind, nil
}

// marks are the files that say of which kind a directory is, in their order.
var marks = func() (all []struct{ base, kind string }) {
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		all = append(all, struct{ base, kind string }{base, kustomizeKind})
	}
	return append(all, struct{ base, kind string }{chartFile, helmKind})
}()

// has reports whether there is a file, or a link, of a name.
func has(t tree.Tree, name string) (bool, error) {
	e, err := t.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && (e.Kind == tree.File || e.Kind == tree.Link), err
}

// plugin is the error for a source of a config management plugin.
func plugin() error {
	return &fault.Error{
		Next: fault.Stall, Reason: fault.InvalidSpec, Err: errors.New("the source is rendered by a plugin, by its plugin section, and plumb runs none"),
		Hint: "use Kustomize, Jsonnet or plain files, or commit what the plugin gives",
	}
}
