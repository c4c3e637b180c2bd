package kustomize_test

import (
	"flag"
	"testing"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/internal/rendertest"
	"plumb.dev/plumb/tree"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata")

// Each archive is a tree, a section "options" of YAML, and a section "want":
// the objects, or the error. The comment says what it shows.
func TestGolden(t *testing.T) {
	rendertest.Golden(t, archives(t), *update, func(t *testing.T, a *txtar.Archive) (got, want string) {
		files, o, want := unpack(t, a)
		return outcome(objects(t.Context(), tree.FromFiles(files), o)), want
	})
}
