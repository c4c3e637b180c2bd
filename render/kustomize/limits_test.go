package kustomize

import (
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

func TestB06SumsAreBounded(t *testing.T) {
	small := defaultLimits
	small.read, small.marks = 8<<20, 800
	tooLarge := func(files map[string]string, want string) {
		t.Helper()
		_, err := Options{Generate: true}.within(t.Context(), tree.FromFiles(files), "apps", small)
		if !fault.Is(err, "ManifestTooLarge") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ManifestTooLarge: %s", err, want)
		}
	}
	chunk := strings.Repeat("x", 1<<20)
	read := map[string]string{"apps/kustomization.yaml": "configMapGenerator:\n"}
	for i := range 9 {
		read["apps/kustomization.yaml"] += fmt.Sprintf("- {name: g%d, files: [d%d]}\n", i, i)
		read[fmt.Sprintf("apps/d%d", i)] = chunk
	}
	tooLarge(read, "8 MiB")

	written := map[string]string{"apps/kustomization.yaml": "configMapGenerator:\n", "apps/d": chunk}
	for i := range 5 {
		written["apps/kustomization.yaml"] += fmt.Sprintf("- {name: g%d, files: [d]}\n", i)
	}
	for i := range 5 {
		written["apps/kustomization.yaml"] += fmt.Sprintf("- {name: h%d, files: [d]}\n", i)
	}
	tooLarge(written, "as often as it is named")

	many := map[string]string{"apps/kustomization.yaml": "resources: [a.yaml]\ncommonAnnotations: {x: " + chunk + "}\n"}
	for i := range 3000 {
		many["apps/a.yaml"] += fmt.Sprintf("---\n{apiVersion: v1, kind: A, metadata: {name: a%d}}\n", i)
	}
	small.marks = defaultLimits.marks
	tooLarge(many, "too much to change")
	small.marks = 800

	values := map[string]string{}
	for i := range 100 {
		values[fmt.Sprintf("apps/a%d.yaml", i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a%d\n", i)
	}
	tooLarge(values, "800 values")
}

// What others have to wait for is small.
func TestWhatRunsAloneIsSmall(t *testing.T) {
	files := map[string]string{"kustomization.yaml": "resources: [a.yaml]\nopenapi: {path: s.json}\n", "s.json": `{"definitions": {}}`}
	for range 2_100 {
		files["a.yaml"] += "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	}
	if _, err := (Options{}).Build(t.Context(), render.Input{Tree: tree.FromFiles(files), Dir: "."}); !fault.Is(err, render.TooLarge) {
		t.Errorf("%v", err)
	}
}
