package source_test

import (
	"strings"
	"testing"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/rendertest"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// What is excluded is not missing: people look for it in vain, since it is in
// their repository.
func TestAnExcludedFileIsNotSaidToBeMissing(t *testing.T) {
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	base := map[string]string{"apps/a.yaml": cm, "apps/logo.png": "x", "apps/b/kustomization.yaml": "resources: []\n", "old/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n", "old/a.yaml": cm}
	spec := "old/\n*.conf\n"
	for what, c := range map[string]struct {
		files  map[string]string
		spec   *string
		o      rendertest.Options
		reason string
		want   string
	}{
		"a picture by default": {map[string]string{"apps/kustomization.yaml": "configMapGenerator: [{name: g, files: [logo.png]}]\n"}, nil, rendertest.Options{Path: "apps"}, "BuildFailed",
			`apps/kustomization.yaml:1: file "logo.png" is excluded from the source (default exclusions; spec.ignore: '!*.png' brings it back)`},
		"a file by spec.ignore": {map[string]string{"apps/kustomization.yaml": "configMapGenerator: [{name: g, files: [x.conf]}]\n", "apps/x.conf": "x"}, &spec, rendertest.Options{Path: "apps"}, "BuildFailed",
			`file "x.conf" is excluded from the source (spec.ignore; the rule '!*.conf' at its end brings it back)`},
		"a resource by .sourceignore": {map[string]string{"apps/kustomization.yaml": "resources: [a.yaml]\n", ".sourceignore": "/apps/a.yaml\n"}, nil, rendertest.Options{Path: "apps"}, "BuildFailed",
			`apps/kustomization.yaml:1: "a.yaml" is excluded from the source (.sourceignore; spec.ignore: '!*.yaml' brings it back)`},
		"a base": {map[string]string{"apps/kustomization.yaml": "resources: [../old]\n"}, &spec, rendertest.Options{Path: "apps"}, "BuildFailed",
			`apps/kustomization.yaml:1: "../old" is excluded from the source (spec.ignore; the rule '!/old' at its end brings it back)`},
		"a component":             {map[string]string{"apps/kustomization.yaml": "components: [../old]\n"}, &spec, rendertest.Options{Path: "apps"}, "BuildFailed", `"../old" is excluded from the source`},
		"a component of the unit": {nil, &spec, rendertest.Options{Path: "apps/b", Components: []string{"../../old"}}, "BuildFailed", `component "../../old" is excluded from the source`},
		"the path itself":         {nil, &spec, rendertest.Options{Path: "old"}, "PathNotFound", `path "old" is excluded from the source (spec.ignore; the rule '!/old' at its end brings it back)`},
		"something below it":      {nil, &spec, rendertest.Options{Path: "./old/a.yaml"}, "PathNotFound", `path "./old/a.yaml" is excluded from the source`},
		"the kustomization of a base": {map[string]string{"apps/kustomization.yaml": "resources: [b]\n", ".sourceignore": "/apps/b/kustomization.yaml\n"}, nil, rendertest.Options{Path: "apps"}, "BuildFailed",
			`the kustomization file of directory "b" is excluded from the source (.sourceignore; `},
		"what is not there": {map[string]string{"apps/kustomization.yaml": "resources: [c.yaml]\n"}, nil, rendertest.Options{Path: "apps"}, "BuildFailed", `"c.yaml" does not exist`},
		"a Git file":        {map[string]string{"apps/kustomization.yaml": "configMapGenerator: [{name: g, files: [.gitignore]}]\n", "apps/.gitignore": "x"}, &spec, rendertest.Options{Path: "apps"}, "BuildFailed", `is excluded from the source (the rule for Git's own files; `},
	} {
		t.Run(what, func(t *testing.T) {
			files := map[string]string{}
			for _, m := range []map[string]string{base, c.files} {
				for name, content := range m {
					files[name] = content
				}
			}
			shown, err := new(source.Ignorer).Apply(tree.FromFiles(files), c.spec)
			if err != nil {
				t.Fatal(err)
			}
			// As part of another, too.
			over, err := tree.Overlay(tree.FromFiles(nil), []tree.Mount{{At: ".", Tree: shown}})
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []tree.Tree{shown, over} {
				_, err := rendertest.Objects(t.Context(), at, c.o)
				if !fault.Is(err, fault.Reason(c.reason)) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %s: %s", err, c.reason, c.want)
				}
			}
		})
	}
	sparse, err := tree.Sparse(tree.FromFiles(base), []string{"apps"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rendertest.Objects(t.Context(), sparse, rendertest.Options{Path: "old"}); err == nil || !strings.Contains(err.Error(), `path "old" is excluded from the source (spec.sparseCheckout`) {
		t.Error(err)
	}
}
