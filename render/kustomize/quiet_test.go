package kustomize_test

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"

	"plumb.dev/plumb/render/kustomize"
)

// Kustomize prints of its own accord. A process that has asked for quiet
// prints what it has to say, and nothing else.
func TestKustomizePrintsNothing(t *testing.T) {
	const child = "PLUMB_TEST_QUIET"
	m := files("apps/a.yaml", configMap("a", "x"), "base/kustomization.yaml", "commonLabels: {y: b}\nresources: [b.yaml]\n", "base/b.yaml", configMap("b", "x"),
		"apps/kustomization.yaml", "bases: [../base]\nresources: [a.yaml]\nvars: [{name: NAME, objref: {apiVersion: v1, kind: ConfigMap, name: a}}]\ncommonLabels: {x: a}\nsortOptions: {order: fifo}\n"+
			"imageTags: [{name: x, newTag: z}]\npatchesStrategicMerge: ['{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {b: c}}']\n"+
			"patchesJson6902: [{target: {version: v1, kind: ConfigMap, name: a}, patch: '[{\"op\": \"add\", \"path\": \"/data/d\", \"value\": \"e\"}]'}]\n")
	if os.Getenv(child) != "" {
		stderr, flush := kustomize.Quiet()
		fmt.Fprintln(stderr, "mine")
		mustRender(t, m, options{Path: "apps"})
		fmt.Fprintln(os.Stderr, "somebody's")
		log.Print("logged")
		flush()
		return
	}
	r := mustRender(t, m, options{Path: "apps"})
	want := []string{
		"apps/kustomization.yaml:1: bases is deprecated: use resources", "apps/kustomization.yaml:4: commonLabels is deprecated: use labels",
		"apps/kustomization.yaml:6: imageTags is deprecated: use images", "apps/kustomization.yaml:8: patchesJson6902 is deprecated: use patches",
		"apps/kustomization.yaml:7: patchesStrategicMerge is deprecated: use patches", "apps/kustomization.yaml:3: vars is deprecated: use replacements",
		"base/kustomization.yaml:1: commonLabels is deprecated: use labels",
	}
	if strings.Join(r.Warnings, "\n") != strings.Join(want, "\n") {
		t.Errorf("warnings:\n%s", strings.Join(r.Warnings, "\n"))
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	c.Env = append(os.Environ(), child+"=1")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(lines) != 3 || lines[0] != "mine" || lines[1] != "somebody's" && !strings.HasSuffix(lines[1], "logged") {
		t.Errorf("%q", lines)
	}
}
