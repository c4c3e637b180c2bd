package render_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/detect"
	"plumb.dev/plumb/render/directory"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/tree"
)

func TestTheVersionIsThatOfTheModules(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ version, module, word string }{
		{render.Version, "sigs.k8s.io/kustomize/kyaml", "kyaml/"},
		{render.Version, "github.com/fluxcd/pkg/envsubst", "envsubst/"},
		{render.Version, "sigs.k8s.io/yaml", "yaml/"},
		{kustomize.Options{}.Version(), "sigs.k8s.io/kustomize/api", "kustomize/"},
		{kustomize.Options{}.Version(), "sigs.k8s.io/kustomize/kyaml", "kyaml/"},
		{kustomize.Options{}.Version(), "sigs.k8s.io/yaml", "yaml/"},
		{directory.Options{}.Version(), "github.com/google/go-jsonnet", "go-jsonnet/"},
		{directory.Options{}.Version(), "github.com/gobwas/glob", "glob/"},
		{directory.Options{}.Version(), "go.yaml.in/yaml/v3", "yaml/"},
		{detect.Options{}.Version(), "sigs.k8s.io/kustomize/api", "kustomize/"},
		{detect.Options{}.Version(), "github.com/google/go-jsonnet", "go-jsonnet/"},
	} {
		_, rest, ok := strings.Cut(string(mod), c.module+" ")
		version, _, _ := strings.Cut(rest, "\n")
		version, _, _ = strings.Cut(version, " ")
		if !ok || !slices.Contains(strings.Fields(c.version), c.word+version) {
			t.Errorf("%s is %s, and not in %q", c.module, version, c.version)
		}
	}
}

func TestB06WhatIsWrittenIsBounded(t *testing.T) {
	m := files("apps/kustomization.yaml", "configMapGenerator:\n", "apps/d", strings.Repeat("x", 1<<20))
	for i := range 5 {
		m["apps/kustomization.yaml"] += fmt.Sprintf("- {name: g%d, files: [d]}\n", i)
	}
	_, err := render.WithMostWritten(t.Context(), tree.FromFiles(m), options{Path: "apps"}.Render(), 4<<20)
	if !fault.Is(err, render.TooLarge) || !strings.Contains(err.Error(), "4 MiB") {
		t.Errorf("%v", err)
	}
}
