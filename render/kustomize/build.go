package kustomize

import (
	"context"
	"fmt"
	"path"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/schema"
)

// Each copy in a JSON patch can double an object. As the API server does, put
// an end to it for the process.
func init() { jsonpatch.AccumulatedCopySizeLimit = render.MostWritten }

// build runs Kustomize on a directory of the source.
func build(s *source, dir string, found findings) (resmap.ResMap, error) {
	take := schema.Hold
	if found.schema {
		take = schema.Alone
	}
	release, err := take(s.ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	defer release()
	return run(s, dir, found)
}

// managedBy is what objects say they were built with, if they are to: the
// release of Kustomize that has the library in go.mod. The library can't know
// it. A test holds it to go.mod.
const managedBy = "kustomize-v5.8.2"

func run(s *source, dir string, found findings) (m resmap.ResMap, err error) {
	// Kustomize panics over objects that it did not expect. What it says then
	// may quote them.
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, render.Stall(render.BuildFailed, "", fmt.Errorf("kustomize gave up on %s (%T)", dir, r))
		}
	}()
	// Left unsaid, Kustomize would sort. Said where the kustomization says
	// something, too, it would complain.
	order := krusty.ReorderOptionNone
	if found.sorted {
		order = krusty.ReorderOptionUnspecified
	}
	m, err = krusty.MakeKustomizer(&krusty.Options{
		Reorder:          order,
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(s, path.Join(mount, dir))
	if err != nil || !found.managedBy {
		return m, err
	}
	label := builtins.LabelTransformerPlugin{
		Labels:     map[string]string{konfig.ManagedbyLabelKey: managedBy},
		FieldSpecs: []types.FieldSpec{{Path: "metadata/labels", CreateIfNotPresent: true}},
	}
	return m, label.Transform(m)
}

// Warm does what the first build in a process would wait for.
func Warm() {
	if release, err := schema.Hold(context.Background()); err == nil { // no context, no error
		release()
	}
}
