package kustomize

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	k8syaml "sigs.k8s.io/yaml"

	"plumb.dev/plumb/tree"
)

// Kustomize opens a connection for a text that looks like a URL, and starts
// git for one that looks like a repository, wherever it takes one for a path;
// there is no way to take that from it. So it never sees what a repository
// says. It is handed kustomizations and configurations of plugins that are
// written anew from what they were decoded to, in which every path begins with
// a dot, and every text that could be taken for a path with a newline: neither
// can begin a URL. A file that the survey has not looked at, it can't read.

// dotted returns a path in the form that Kustomize can only take for a path.
func dotted(p string) string {
	p = path.Clean(p)
	if p == ".." || strings.HasPrefix(p, "../") {
		return p
	}
	return "./" + p
}

// notAPath returns YAML in a form that Kustomize can't take for a URL if it
// can't make objects of it, either.
func notAPath(text string) string { return "\n" + text }

// asData ends the path of a file that is to be read as the data that it is,
// also where Kustomize is handed something else for it.
const asData = ".as-data"

// hand has Kustomize read b where the file name is.
func (s *source) hand(name string, b []byte) error {
	if other, ok := s.handed[name]; ok && !bytes.Equal(other, b) {
		return disabled("%s is used in two ways, as a kustomization or a plugin's configuration of two directories", name)
	}
	s.handed[name] = b
	return nil
}

// handKustomization has Kustomize read k as it is now, not as its file says.
func (s *source) handKustomization(k *kustomization) error {
	b, err := k8syaml.Marshal(k.Kustomization)
	if err != nil {
		return err
	}
	if !k.empty && len(k.Resources) == 0 {
		// It has fields, and nothing in them. To Kustomize one without fields
		// is broken.
		b = append(b, "resources: []\n"...)
	}
	name := k.file
	if _, ok := s.overlay[name]; !ok {
		if name, err = tree.Resolve(s.tree, name); err != nil {
			return s.fail(err)
		}
	}
	return s.hand(name, b)
}

// handsOneThing checks that no file is read both as what was made of it and as
// data.
func (s *source) handsOneThing() error {
	for name := range s.handed {
		if s.data[name] && !slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(name)) {
			return disabled("%s is both data and a plugin's configuration: make two files of it", name)
		}
	}
	return nil
}

// A place is where a kustomization names something.
type place struct {
	text *string
	look look
}

// A look examines what a place names, and returns what Kustomize is handed in
// its place.
type look func(k *kustomization, text string) (handed string, e extent, err error)

// places returns all places of a kustomization: a text that it doesn't return
// is none that Kustomize takes for a path.
func (v *surveyor) places(k *kustomization) []place {
	var all []place
	add := func(l look, texts []string) {
		for i := range texts {
			all = append(all, place{&texts[i], l})
		}
	}
	for _, patches := range [][]types.Patch{k.Patches, k.PatchesJson6902} {
		for i := range patches {
			all = append(all, place{&patches[i].Path, v.manifest}, place{&patches[i].Patch, v.inline})
		}
	}
	for i := range k.PatchesStrategicMerge {
		all = append(all, place{(*string)(&k.PatchesStrategicMerge[i]), v.strategic})
	}
	for i := range k.Replacements {
		all = append(all, place{&k.Replacements[i].Path, v.manifest})
	}
	add(v.manifest, k.Configurations)
	add(v.definitions, k.Crds)
	for i := range k.ConfigMapGenerator {
		add(v.data, k.ConfigMapGenerator[i].FileSources)
		add(v.env, k.ConfigMapGenerator[i].EnvSources)
	}
	for i := range k.SecretGenerator {
		add(v.secretData, k.SecretGenerator[i].FileSources)
		add(v.secretEnv, k.SecretGenerator[i].EnvSources)
	}
	add(v.resource, k.Resources)
	add(v.component, k.Components)
	add(v.plugin, k.Generators)
	add(v.plugin, k.Transformers)
	add(v.plugin, k.Validators)
	return all
}

// pluginPlaces looks at all places of a plugin's configuration, and puts into
// it what Kustomize is handed in their stead.
func (v *surveyor) pluginPlaces(k *kustomization, kind string, config map[string]any) (extent, error) {
	var all extent
	at := func(in map[string]any, key string, l look) error {
		texts, ok := in[key].([]any)
		if !ok {
			texts = []any{in[key]}
		}
		for i := range texts {
			text, ok := texts[i].(string)
			if !ok {
				continue // which is no path either
			}
			handed, e, err := l(k, text)
			if err != nil {
				return err
			}
			all.add(e)
			texts[i] = handed
		}
		if !ok && in[key] != nil {
			in[key] = texts[0]
		}
		return nil
	}
	type field struct {
		key  string
		look look
	}
	fields := map[string][]field{
		"ConfigMapGenerator":             {{"files", v.data}, {"envs", v.env}, {"env", v.env}},
		"SecretGenerator":                {{"files", v.secretData}, {"envs", v.secretEnv}, {"env", v.secretEnv}},
		"PatchTransformer":               {{"path", v.manifest}, {"patch", v.inline}},
		"PatchJson6902Transformer":       {{"path", v.manifest}, {"jsonOp", v.inline}},
		"PatchStrategicMergeTransformer": {{"paths", v.strategic}, {"patches", v.inline}},
		"ValueAddTransformer":            {{"targetFilePath", v.manifest}},
	}
	for _, f := range fields[kind] {
		if err := at(config, f.key, f.look); err != nil {
			return all, err
		}
	}
	if kind == "ReplacementTransformer" {
		list, _ := config["replacements"].([]any)
		for _, r := range list {
			if r, ok := r.(map[string]any); ok {
				if err := at(r, "path", v.manifest); err != nil {
					return all, err
				}
			}
		}
	}
	return all, nil
}

// decodeConfig decodes the configuration of a plugin, with aliases and merges
// followed.
func decodeConfig(n *yaml.Node) (map[string]any, error) {
	textual(n, map[*yaml.Node]bool{})
	var m map[string]any
	if err := n.Decode(&m); err != nil {
		return nil, err
	}
	return m, nil
}

// textual makes text of what would decode to a time, which JSON doesn't have.
func textual(n *yaml.Node, seen map[*yaml.Node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	textual(n.Alias, seen)
	for _, c := range n.Content {
		textual(c, seen)
	}
}

// encodeConfigs is the reverse of decodeConfig.
func encodeConfigs(configs []map[string]any) ([]byte, error) {
	var b bytes.Buffer
	for i, config := range configs {
		if i > 0 {
			b.WriteString("---\n")
		}
		text, err := k8syaml.Marshal(config)
		if err != nil {
			return nil, fmt.Errorf("encode a plugin's configuration: %w", err)
		}
		b.Write(text)
	}
	return b.Bytes(), nil
}
