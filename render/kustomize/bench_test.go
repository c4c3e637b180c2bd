package kustomize_test

import (
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The floor: Kustomize on files in memory, and the objects as JSON.
func BenchmarkKrustyAlone(b *testing.B) {
	fs := filesys.MakeFsInMemory()
	for name, content := range app("app") {
		if err := fs.WriteFile("/"+name, []byte(content)); err != nil {
			b.Fatal(err)
		}
	}
	o := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	b.ReportAllocs()
	for b.Loop() {
		m, err := krusty.MakeKustomizer(o).Run(fs, "/app/overlays/production")
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range m.Resources() {
			if _, err := r.MarshalJSON(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
