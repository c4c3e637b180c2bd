package kustomize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/types"
	k8syaml "sigs.k8s.io/yaml"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/manifest"
	"plumb.dev/plumb/tree"
)

// plugin checks an entry of generators, transformers or validators: the
// configuration of a plugin, inline, in a file, or in a directory.
func (v *surveyor) plugin(k *kustomization, entry string) (string, extent, error) {
	d, err := v.src.parse([]byte(entry), k.file+" (inline)")
	if fault.Is(err, "ManifestTooLarge") {
		return "", extent{}, err
	}
	if err == nil && len(d) > 0 && d[0].Kind == yaml.MappingNode {
		b, e, err := v.configs(k, d, k.file)
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
	b, below, err := v.configs(k, d, name)
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
		if items := manifest.Field(root, "items"); items != nil && strings.HasSuffix(manifest.Text(root, "kind"), "List") {
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
	annotations := manifest.Field(manifest.Field(n, "metadata"), "annotations")
	for _, key := range []string{"config.kubernetes.io/function", "config.k8s.io/function"} {
		if manifest.Field(annotations, key) != nil {
			return refuse("%s: %s %q runs a container or a program, which plumb doesn't",
				at, manifest.Text(n, "kind"), manifest.Text(manifest.Field(n, "metadata"), "name"))
		}
	}
	kind := manifest.Text(n, "kind")
	fields, builtIn := plugins[kind]
	switch {
	case manifest.Text(n, "apiVersion") != "builtin":
		return refuse("%s: %s is not a plugin that is built in, and plumb runs no others", at, kind)
	case kind == "HelmChartInflationGenerator":
		return refuse("%s: %s runs the helm program, which plumb doesn't", at, kind)
	case !builtIn:
		return refuse("%s: there is no plugin %s", at, kind)
	}
	fields = append([]reflect.Type{pluginHead}, fields...)
	if err := (manifest.Speller{File: file}).Check(n, fields...); err != nil {
		return nil, extent{}, err
	}
	if err := v.src.fieldPaths(n, file); err != nil {
		return nil, extent{}, err
	}
	decoded, err := decodeConfig(n)
	if err != nil {
		return nil, extent{}, render.Stall(render.BuildFailed, "", fmt.Errorf("%s: %s can't be decoded", at, kind))
	}
	config := manifest.Known(decoded, fields...).(map[string]any) // of a map, a map
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

// equal reports whether two kustomizations say the same.
func equal(a, b types.Kustomization) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
