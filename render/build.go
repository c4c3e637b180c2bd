package render

import (
	"fmt"
	"path"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/api/builtins"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// Each copy in a JSON patch can double an object. As the API server does, put
// an end to it for the process.
func init() { jsonpatch.AccumulatedCopySizeLimit = defaultLimits.written }

// schema guards the OpenAPI schema that Kustomize keeps in global variables.
// Once it is loaded, builds only read it, and may run side by side. A build
// that brings a schema of its own changes it for everyone, and so runs alone
// and puts it back.
var schema struct {
	sync.RWMutex
	loaded bool
}

// loadSchema loads Kustomize's own schema, unless it is loaded. That happens
// before the first build rather than when a build first needs it: then a build
// would find kinds in it or not, depending on what ran before. The caller holds
// the lock.
func loadSchema() {
	if !schema.loaded {
		openapi.ResetOpenAPI()
		openapi.Schema()
		schema.loaded = true
	}
}

// dropSchema forgets the schema, and what a build added to it. The caller
// holds the lock.
func dropSchema() {
	openapi.ResetOpenAPI()
	schema.loaded = false
}

// build runs Kustomize on a directory of the source.
func build(s *source, dir string, found findings) (resmap.ResMap, error) {
	if found.schema {
		if err := acquire(s.ctx, schema.TryLock); err != nil {
			return nil, s.fail(err)
		}
		defer schema.Unlock()
		loadSchema()
		defer dropSchema()
		return run(s, dir, found)
	}
	release, err := readSchema(s)
	if err != nil {
		return nil, err
	}
	defer release()
	return run(s, dir, found)
}

// readSchema has Kustomize's own schema stay as it is until release is called.
func readSchema(s *source) (release func(), err error) {
	if err := acquire(s.ctx, schema.TryRLock); err != nil {
		return nil, s.fail(err)
	}
	for !schema.loaded {
		schema.RUnlock()
		if err := acquire(s.ctx, schema.TryLock); err != nil {
			return nil, s.fail(err)
		}
		loadSchema()
		schema.Unlock()
		if err := acquire(s.ctx, schema.TryRLock); err != nil {
			return nil, s.fail(err)
		}
	}
	return schema.RUnlock, nil
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
			m, err = nil, stall(buildFailed, "", fmt.Errorf("kustomize gave up on %s (%T)", dir, r))
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
