package kustomize_test

import (
	"fmt"
	"strings"
	"testing"
)

// Each of these is small in Git, and would end the process or fill it.
func TestWhatWouldEndTheProcessIsRefused(t *testing.T) {
	long := strings.Repeat("a/", 10_000) + "a"
	longer := strings.ReplaceAll(long, "/", ".")
	k := func(text string) map[string]string {
		return files("apps/kustomization.yaml", "resources: [a.yaml]\n"+text, "apps/a.yaml", configMap("a", "x"))
	}
	reference := func(properties string) map[string]string {
		return with(k("crds: [c.json]\n"), "apps/c.json", `{"x.Bee": {"Schema": {"properties": {"kind": {}, "apiVersion": {}, "metadata": {}, `+properties+`}}}}`)
	}
	doubling := `{"x0": {"Schema": {"properties": {"kind": {}, "apiVersion": {}, "metadata": {}, "a": {"$ref": "x1"}}}}`
	for i := 1; i < 30; i++ {
		doubling += fmt.Sprintf(`, "x%d": {"schema": {"properties": {"a": {"$ref": "x%d"}, "b": {"$ref": "x%d"}}}}`, i, i+1, i+1)
	}
	var many, list strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&many, "---\n{apiVersion: v1, kind: A, metadata: {name: a%d}}\n", i)
	}
	list.WriteString("apiVersion: v1\nkind: List\nitems:\n")
	for i := range 20_000 {
		fmt.Fprintf(&list, "- {apiVersion: v1, kind: A, metadata: {name: a%d}}\n", i)
	}
	transformer := func(config string) map[string]string {
		return with(k("transformers: [t.yaml]\n"), "apps/t.yaml", "apiVersion: builtin\nmetadata: {name: t}\n"+config)
	}
	for what, m := range map[string]map[string]string{
		"the path of a label":         k("labels: [{pairs: {x: z}, fields: [{path: " + long + ", create: true}]}]\n"),
		"the path of a transformer":   transformer("kind: LabelTransformer\nlabels: {x: z}\nfieldSpecs: [{path: " + long + ", create: true}]\n"),
		"a path behind an alias":      transformer("kind: LabelTransformer\nlabels: {x: &l " + long + "}\nfieldSpecs: [{path: *l, create: true}]\n"),
		"a path behind a merge":       transformer("kind: LabelTransformer\nlabels: {x: z}\nfieldSpecs: [{<<: {path: " + long + "}, create: true}]\n"),
		"the path of a configuration": with(k("configurations: [c.yaml]\ncommonLabels: {x: z}\n"), "apps/c.yaml", "commonLabels: [{Path: "+long+", create: true}]\n"),
		"the source of a replacement": k("replacements: [{source: {kind: ConfigMap, fieldPath: " + longer + "}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x]}]}]\n"),
		"the target of a replacement": k("replacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [" + longer + "], options: {create: true}}]}]\n"),
		"a replacement in a file":     with(k("replacements: [{path: r.yaml}]\n"), "apps/r.yaml", "source: {kind: ConfigMap}\ntargets: [{select: {kind: ConfigMap}, fieldPaths: ["+longer+"], options: {create: true}}]\n"),
		"the path of a patch":         k("patches: [{target: {kind: ConfigMap}, patch: '[{\"op\": \"add\", \"path\": \"/" + long + "\", \"value\": 1}]'}]\n"),
		"the field of a variable":     k("vars: [{name: X, objref: {apiVersion: v1, kind: ConfigMap, name: a}, fieldref: {fieldPath: " + longer + "}}]\n"),
		"a value for a field":         transformer("kind: ValueAddTransformer\nvalue: x\ntargets: [{selector: {kind: ConfigMap}, fieldPath: " + long + "}]\n"),
		"a definition of itself":      reference(`"next": {"$ref": "x.Bee"}`),
		"a definition in a circle":    with(k("crds: [c.json]\n"), "apps/c.json", `{"x.A": {"Schema": {"Properties": {"kind": {}, "apiVersion": {}, "metadata": {}, "b": {"$ref": "x.B"}}}}, "x.B": {"schema": {"properties": {"a": {"$ref": "x.A"}}}}}`),
		"definitions that double":     with(k("crds: [c.json]\n"), "apps/c.json", doubling+"}"),
		"many objects":                files("apps/a.yaml", many.String()),
		"many objects in a list":      files("apps/a.yaml", list.String()),
		"a list of empty lists":       files("apps/a.yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec: ["+strings.Repeat("[],", 999_990)+"[]]\n"),
	} {
		t.Run(what, func(t *testing.T) {
			refused(t, m, options{Path: "apps"}, "ManifestTooLarge")
		})
	}
	// What people write goes on.
	mustRender(t, reference(`"spec": {"$ref": "x.Spec"}`), options{Path: "apps"})
	mustRender(t, k("labels: [{pairs: {x: z}, fields: [{path: spec/template/spec/topologySpreadConstraints/labelSelector/matchLabels, create: false}]}]\n"), options{Path: "apps"})
}

// A directory without a kustomization is searched. One with few bytes may have
// many names for the same directories.
func TestADirectoryIsSearchedOnlySoFar(t *testing.T) {
	m := map[string]string{}
	chain := strings.Repeat("d/", 100)
	for i := range 1000 {
		m[fmt.Sprintf("apps/n%d/%sa.txt", i, chain)] = ""
	}
	refused(t, m, options{Path: "apps"}, "ManifestTooLarge", "apps", "kustomization.yaml")
	wide := map[string]string{"apps/a.yaml": configMap("a", "x")}
	for i := range 20_000 {
		wide[fmt.Sprintf("apps/%d/%d.txt", i%1000, i)] = ""
	}
	mustRender(t, wide, options{Path: "apps"})
}

// Thirty replacements, each of which doubles an object.
func TestReplacementsThatDoubleAreRefused(t *testing.T) {
	thing := "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\nspec: {a: bbbbbbbb}\n"
	structure, text, file := "", "", ""
	for i := range 30 {
		one := fmt.Sprintf("- source: {kind: Thing, fieldPath: spec}\n  targets:\n  - select: {kind: Thing}\n    fieldPaths: [spec.x%d]\n    options: {create: true}\n", i)
		structure += one
		file += one
		text += "- source: {kind: Thing, fieldPath: spec.a}\n  targets:\n  - select: {name: a}\n    fieldPaths: [spec.a]\n    options: {delimiter: '-', index: 1000000}\n"
	}
	long := thing + "  b: " + strings.Repeat("$(X) ", 30_000) + "\n"
	long = strings.Replace(long, "spec: {a: bbbbbbbb}", "spec:\n  a: "+strings.Repeat("x", 10_000), 1)
	for what, m := range map[string]map[string]string{
		"an object":     files("apps/kustomization.yaml", "resources: [a.yaml]\nreplacements:\n"+structure, "apps/a.yaml", thing),
		"a text":        files("apps/kustomization.yaml", "resources: [a.yaml]\nreplacements:\n"+text, "apps/a.yaml", thing),
		"in a file":     files("apps/kustomization.yaml", "resources: [a.yaml]\nreplacements: [{path: r.yaml}]\n", "apps/r.yaml", file, "apps/a.yaml", thing),
		"in a plugin":   files("apps/kustomization.yaml", "resources: [a.yaml]\ntransformers: [r.yaml]\n", "apps/r.yaml", "apiVersion: builtin\nkind: ReplacementTransformer\nmetadata: {name: r}\nreplacements:\n"+file, "apps/a.yaml", thing),
		"in components": files("apps/kustomization.yaml", "resources: [a.yaml]\ncomponents: [../c, ../d]\n", "apps/a.yaml", thing, "c/kustomization.yaml", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nreplacements:\n"+structure, "d/kustomization.yaml", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nreplacements:\n"+text),
		"vars":          files("apps/kustomization.yaml", "resources: [a.yaml]\nvars: [{name: X, objref: {apiVersion: example.com/v1, kind: Thing, name: a}, fieldref: {fieldpath: spec.a}}]\n", "apps/a.yaml", long),
	} {
		t.Run(what, func(t *testing.T) { refused(t, m, options{Path: "apps"}, "ManifestTooLarge") })
	}
	// Many that copy what none of them has written.
	many, objects := "", thing
	for i := range 200 {
		many += fmt.Sprintf("- source: {kind: Thing, name: a, fieldPath: spec.a}\n  targets:\n  - select: {kind: Other}\n    fieldPaths: [spec.x%d]\n    options: {create: true}\n", i)
		objects += fmt.Sprintf("---\napiVersion: example.com/v1\nkind: Other\nmetadata: {name: o%d}\n", i)
	}
	mustRender(t, files("apps/kustomization.yaml", "resources: [a.yaml]\nreplacements:\n"+many, "apps/a.yaml", objects), options{Path: "apps"})
	mustRender(t, files("apps/kustomization.yaml", "resources: [a.yaml]\nvars: [{name: X, objref: {apiVersion: example.com/v1, kind: Thing, name: a}, fieldref: {fieldpath: spec.a}}]\n", "apps/a.yaml", thing), options{Path: "apps"})
}
