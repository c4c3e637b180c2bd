package kustomize_test

import "plumb.dev/plumb/internal/rendertest"

type options = rendertest.Options

var (
	objects    = rendertest.Objects
	mustRender = rendertest.MustRender
	refused    = rendertest.Refused
	archives   = rendertest.Archives
	unpack     = rendertest.Unpack
	outcome    = rendertest.Outcome
	files      = rendertest.Files
	with       = rendertest.With
	configMap  = rendertest.ConfigMap
	app        = rendertest.App
)
