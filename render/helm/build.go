package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"sort"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	chartcommon "helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/object"
	"plumb.dev/plumb/render"
)

// Build implements [render.Builder].
func (o Options) Build(ctx context.Context, in render.Input) (render.Built, error) {
	return o.within(ctx, in, defaultLimits)
}

func (o Options) within(ctx context.Context, in render.Input, l limits) (render.Built, error) {
	first, err := o.once(ctx, in, l)
	if err != nil {
		return render.Built{}, err
	}
	b := render.Built{Kind: Kind, Warnings: first.warnings, Place: first.place, Asked: first.asked}
	for _, e := range first.entries {
		b.Objects = append(b.Objects, &unstructured.Unstructured{Object: e.object})
	}
	if !first.random {
		return b, nil
	}
	second, err := o.once(ctx, in, l)
	if err != nil {
		return render.Built{}, err
	}
	var unsteady []string
	b.Varies, unsteady = varying(first.entries, second.entries)
	b.Warnings = append(b.Warnings, unsteady...)
	return b, nil
}

// An attempt is what rendering a chart once has come to.
type attempt struct {
	entries  []entry
	warnings []string
	random   bool
	asked    render.Asked
	dir      string
}

// once renders the chart once.
func (o Options) once(ctx context.Context, in render.Input, l limits) (*attempt, error) {
	r := &reader{ctx: ctx, tree: in.Tree, limits: l}
	c, err := r.chart(in.Dir, 0)
	if err != nil {
		return nil, err
	}
	if len(r.needs) > 0 {
		return nil, &render.Needs{All: r.needs}
	}
	if err := checkRelease(o.Release.Name); err != nil {
		return nil, err
	}
	if c.Metadata.Type != "" && c.Metadata.Type != "application" {
		return nil, render.Stall(reasonInvalid, "render a chart that depends on it", fmt.Errorf("%s: a chart of type %s is for others to depend on", path.Join(in.Dir, chartFile), c.Metadata.Type))
	}
	values, err := r.values(o)
	if err != nil {
		return nil, err
	}
	caps, err := capabilitiesOf(o, in.Cluster)
	if err != nil {
		return nil, err
	}
	a := &attempt{dir: in.Dir}
	files, err := o.templates(ctx, c, values, caps, a)
	if err != nil {
		return nil, err
	}
	if !o.SkipCRDs {
		if err := a.crds(c); err != nil {
			return nil, err
		}
	}
	if err := a.manifests(c, files, o.SkipTests); err != nil {
		return nil, err
	}
	a.asked = caps.asked
	return a, nil
}

// templates renders the templates, by their names.
func (o Options) templates(ctx context.Context, c *chart.Chart, values map[string]any, caps *capabilities, a *attempt) (map[string]string, error) {
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, wrong(a.dir, err)
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion().String()) {
		return nil, render.Stall(reasonInvalid, "take a version of the chart that is for this version of Kubernetes",
			fmt.Errorf("%s: the chart is for Kubernetes %s, and this is %s", path.Join(a.dir, chartFile), want, caps.is.KubeVersion.Version))
	}
	if !o.SkipSchema {
		if err := checkSchemas(c, a.dir); err != nil {
			return nil, err
		}
	}
	top, err := chartcommon.ToRenderValuesWithSchemaValidation(c, values, common.ReleaseOptions{
		Name: o.Release.Name, Namespace: o.Release.Namespace, Revision: max(o.Release.Revision, 1), IsUpgrade: o.Release.Upgrade, IsInstall: !o.Release.Upgrade,
	}, caps.is, o.SkipSchema)
	if err != nil {
		return nil, wrong(a.dir, err)
	}
	top["Capabilities"] = caps
	files, err := engine.Engine{CustomTemplateFuncs: functions(&a.random)}.RenderWithContext(ctx, c, top)
	if err != nil {
		return nil, render.Stall(render.BuildFailed, "", render.Quote(path.Join(path.Dir(a.dir), ".")+": "+err.Error()))
	}
	for name := range files {
		if path.Base(name) == notesFile || strings.HasSuffix(name, notesFile) {
			delete(files, name)
		}
	}
	return files, nil
}

// longestRelease is how long Helm lets the name of a release be: names of objects
// and labels are made from it.
const longestRelease = 53

// checkRelease refuses names that Helm refuses.
func checkRelease(name string) error {
	if err := chartutil.ValidateReleaseName(name); err != nil {
		return render.Stall("InvalidSpec", fmt.Sprintf("set a release name of at most %d small letters, digits, dashes and dots", longestRelease),
			fmt.Errorf("%q can't be the name of a Helm release", name))
	}
	return nil
}

// checkSchemas refuses schemas that would have to be fetched.
func checkSchemas(c *chart.Chart, dir string) error {
	if len(c.Schema) > 0 {
		var schema any
		if err := json.Unmarshal(c.Schema, &schema); err != nil {
			return render.Stall(reasonInvalid, "", fmt.Errorf("%s: it is not JSON: %w", path.Join(dir, schemaFile), err))
		}
		if ref := foreign(schema); ref != "" {
			return render.Stall(render.FeatureDisabled, "copy it into the schema, or skip the validation of the schema",
				fmt.Errorf("%s: it refers to %s, and plumb fetches nothing while it renders", path.Join(dir, schemaFile), ref))
		}
	}
	for _, d := range c.Dependencies() {
		if err := checkSchemas(d, path.Join(dir, "charts", d.Name())); err != nil {
			return err
		}
	}
	return nil
}

// foreign returns a reference in a schema to something that is not in it.
func foreign(v any) string {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if ref := foreign(x); ref != "" {
				return ref
			}
		}
	case map[string]any:
		for _, key := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
			if ref, ok := v[key].(string); ok {
				if u, err := url.Parse(ref); err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "file") {
					return render.ShownURL(ref)
				}
			}
		}
		for _, x := range v {
			if ref := foreign(x); ref != "" {
				return ref
			}
		}
	}
	return ""
}

// An entry is an object and the file that it is from.
type entry struct {
	object map[string]any
	at     string
}

func (e entry) ref() object.Ref { return object.RefOf(&unstructured.Unstructured{Object: e.object}) }

// crds adds what is in the directories crds.
func (a *attempt) crds(c *chart.Chart) error {
	for _, crd := range c.CRDObjects() {
		docs := releaseutil.SplitManifests(string(crd.File.Data))
		for _, key := range inOrder(docs) {
			if err := a.add(docs[key], a.file(c, crd.Filename)); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifests adds what templates have given, as Helm sorts it.
func (a *attempt) manifests(c *chart.Chart, files map[string]string, skipTests bool) error {
	hooks, generic, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return render.Stall(render.BuildFailed, "", render.Quote(fmt.Sprintf("%s: %v", a.dir, err)))
	}
	for _, m := range generic {
		if err := a.add(m.Content, a.file(c, m.Name)); err != nil {
			return err
		}
	}
	for _, h := range hooks {
		if skipTests && slices.Contains(h.Events, release.HookTest) {
			continue
		}
		if err := a.add(h.Manifest, a.file(c, h.Path)); err != nil {
			return err
		}
	}
	a.unknownHooks(c, files)
	return nil
}

// unknownHooks warns of what Helm leaves out.
func (a *attempt) unknownHooks(c *chart.Chart, files map[string]string) {
	for _, name := range sortedKeys(files) {
		for _, doc := range releaseutil.SplitManifests(files[name]) {
			var head releaseutil.SimpleHead
			if yaml.Unmarshal([]byte(doc), &head) != nil || head.Metadata == nil {
				continue // it is among the objects, or an error
			}
			for event := range strings.SplitSeq(head.Metadata.Annotations[release.HookAnnotation], ",") {
				if event = strings.ToLower(strings.TrimSpace(event)); event != "" && !slices.Contains(hookEvents, event) {
					a.warnings = append(a.warnings, fmt.Sprintf("%s: %s %s is left out, since Helm knows no hook %q", a.file(c, name), head.Kind, head.Metadata.Name, event))
					break
				}
			}
		}
	}
}

// hookEvents are the hooks that Helm knows.
var hookEvents = []string{
	"pre-install", "post-install", "pre-delete", "post-delete", "pre-upgrade", "post-upgrade", "pre-rollback", "post-rollback", "test", "test-success",
}

// file is the name in the tree of a file that Helm names after its chart.
func (a *attempt) file(c *chart.Chart, name string) string {
	_, rest, _ := strings.Cut(name, "/")
	return path.Join(a.dir, rest)
}

// add adds the object of a document, if there is one in it.
func (a *attempt) add(doc, at string) error {
	b, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		return render.Stall(render.BuildFailed, "see what it renders to with helm template", render.Quote(fmt.Sprintf("%s: what it renders to is not YAML: %v", at, err)))
	}
	if string(b) == "null" {
		return nil
	}
	e := entry{at: at}
	if err := utiljson.Unmarshal(b, &e.object); err != nil {
		return render.Stall(render.BuildFailed, "see what it renders to with helm template", fmt.Errorf("%s: what it renders to is not a Kubernetes object", at))
	}
	if len(e.object) == 0 {
		a.warnings = append(a.warnings, at+": an object without anything in it is left out")
		return nil
	}
	if _, err := yaml.YAMLToJSONStrict([]byte(doc)); err != nil {
		a.warnings = append(a.warnings, fmt.Sprintf("%s: a key is set twice in %s %s, and the last one counts", at, e.ref().Kind, e.ref().Name))
	}
	a.entries = append(a.entries, e)
	return nil
}

// place says which file an object is from.
func (a *attempt) place(ref object.Ref, _ []string) string {
	for _, e := range a.entries {
		if e.ref() == ref {
			return e.at + ": "
		}
	}
	return ""
}

func inOrder(docs map[string]string) []string {
	keys := make([]string, 0, len(docs))
	for key := range docs {
		keys = append(keys, key)
	}
	sort.Sort(releaseutil.BySplitManifestsOrder(keys))
	return keys
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
