package detect

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/helm"
	"plumb.dev/plumb/tree"
)

// Helm is what the chart of the directory is rendered with.
type Helm struct {
	// ValueFiles are relative to the chart, or to the root of the source with a
	// slash before; $name/… is one of the source that is called so
	// ([Options.Refs]). They may be patterns, see [helm.Values]. Later ones win,
	// over all of them Values, over that ValuesObject takes its place, and over
	// these the parameters.
	ValueFiles              []string       `json:"valueFiles,omitempty"`
	IgnoreMissingValueFiles bool           `json:"ignoreMissingValueFiles,omitempty"`
	Values                  string         `json:"values,omitempty"`
	ValuesObject            map[string]any `json:"valuesObject,omitempty"`

	Parameters     []HelmParameter     `json:"parameters,omitempty"`
	FileParameters []HelmFileParameter `json:"fileParameters,omitempty"`

	// ReleaseName and Namespace are in place of [Options.Release].
	ReleaseName string `json:"releaseName,omitempty"`
	Namespace   string `json:"namespace,omitempty"`

	SkipCrds             bool `json:"skipCrds,omitempty"`
	SkipTests            bool `json:"skipTests,omitempty"`
	SkipSchemaValidation bool `json:"skipSchemaValidation,omitempty"`

	// KubeVersion and APIVersions are in place of what the cluster says.
	KubeVersion string   `json:"kubeVersion,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`

	// Version is that of Helm, without a number after the first: v3. What is built
	// in renders charts for that and for v4.
	Version string `json:"version,omitempty"`

	// PassCredentials is about fetching a chart, and says nothing here.
	PassCredentials bool `json:"passCredentials,omitempty"`
}

// A HelmParameter sets one value; see [helm.Parameter]. A comma in it is part of
// it, unless it is a list in braces.
type HelmParameter struct {
	Name        string `json:"name,omitempty"`
	Value       string `json:"value,omitempty"`
	ForceString bool   `json:"forceString,omitempty"`
}

// A HelmFileParameter sets a value to what a file holds.
type HelmFileParameter struct {
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
}

// helm are the options for the chart in a directory.
func (o Options) helm(h Helm, dir string, env expander) (out helm.Options, err error) {
	if !slices.Contains([]string{"", "v3", "v4"}, h.Version) {
		return out, &fault.Error{
			Next: fault.Stall, Reason: fault.UnsupportedField, Hint: "leave it out",
			Err: fmt.Errorf("helm.version is %q, and plumb renders charts of v3 and v4", h.Version),
		}
	}
	out = helm.Options{
		Release: helm.Release{Name: o.Release.Name, Namespace: o.Release.Namespace}, IgnoreMissingFiles: h.IgnoreMissingValueFiles,
		KubeVersion: h.KubeVersion, APIVersions: h.APIVersions, SkipCRDs: h.SkipCrds, SkipTests: h.SkipTests, SkipSchema: h.SkipSchemaValidation,
	}
	if h.ReleaseName != "" {
		out.Release.Name = h.ReleaseName
	}
	if h.Namespace != "" {
		out.Release.Namespace = h.Namespace
	}
	for i, text := range h.ValueFiles {
		as := fmt.Sprintf("helm.valueFiles[%d]", i)
		name, err := o.file(text, dir, env, as)
		if err != nil {
			return out, err
		}
		out.Values = append(out.Values, helm.Values{File: name, Pattern: strings.ContainsAny(name, "*?["), As: as, Written: text})
	}
	switch {
	case len(h.ValuesObject) > 0:
		b, err := json.Marshal(h.ValuesObject)
		if err != nil {
			return out, err
		}
		out.Values = append(out.Values, helm.Values{Text: string(b), As: "helm.valuesObject"})
	case h.Values != "":
		out.Values = append(out.Values, helm.Values{Text: h.Values, As: "helm.values"})
	}
	for _, p := range h.Parameters {
		out.Parameters = append(out.Parameters, helm.Parameter{Name: p.Name, Value: escaped(env.expand(p.Value)), Text: p.ForceString})
	}
	for _, p := range h.FileParameters {
		name, err := o.file(p.Path, dir, env, "helm.fileParameters: "+p.Name)
		if err != nil {
			return out, err
		}
		out.Parameters = append(out.Parameters, helm.Parameter{Name: p.Name, File: name})
	}
	return out, nil
}

// escaped is a value in which a comma is no end, but in a list.
func escaped(value string) string {
	if strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") {
		return value
	}
	var b strings.Builder
	before := rune(0)
	for _, r := range value {
		if r == ',' && before != '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		before = r
	}
	return b.String()
}

// file is the name in the tree of a file that a section names.
func (o Options) file(text, dir string, env expander, as string) (string, error) {
	if name, ok := strings.CutPrefix(text, "$"); ok {
		ref, rest, _ := strings.Cut(name, "/")
		if slices.Contains(o.Refs, ref) {
			below, err := tree.Clean(env.expand(rest))
			if err != nil {
				return "", fmt.Errorf("%s: %w", as, err)
			}
			return path.Join("$"+ref, below), nil
		}
		if !env.knows(ref) {
			return "", &fault.Error{
				Next: fault.Stall, Reason: fault.InvalidSpec, Hint: noRefs(o.Refs),
				Err: fmt.Errorf("%s: there is no source that is called %q, as in %q", as, ref, text),
			}
		}
	}
	name := env.expand(text)
	if scheme, _, ok := strings.Cut(name, "://"); ok {
		return "", &fault.Error{
			Next: fault.Stall, Reason: render.FeatureDisabled, Hint: "keep the file in a repository, and name it by a source with ref",
			Err: fmt.Errorf("%s: plumb fetches nothing by %s while it renders", as, scheme),
		}
	}
	if rooted, ok := strings.CutPrefix(name, "/"); ok {
		name = rooted
	} else {
		name = path.Join(dir, name)
	}
	clean, err := tree.Clean(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", as, err)
	}
	return clean, nil
}

func noRefs(refs []string) string {
	if len(refs) == 0 {
		return "add a source with ref to spec.sources, or write the path without $"
	}
	return "there are: $" + strings.Join(slices.Sorted(slices.Values(refs)), ", $")
}

// knows reports whether a variable is defined.
func (e expander) knows(name string) bool {
	_, known := e.env.Vars[name]
	_, revision := e.env.Revision[name]
	return known || revision
}
