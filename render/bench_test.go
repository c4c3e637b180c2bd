package render_test

import (
	"context"
	"fmt"
	"testing"

	"plumb.dev/plumb/render"
	"plumb.dev/plumb/tree"
)

func BenchmarkCold(b *testing.B) {
	t := tree.FromFiles(app("app"))
	b.ReportAllocs()
	for b.Loop() {
		r, err := objects(context.Background(), t, options{Path: "app/overlays/production"})
		if err != nil || len(r.Items) != 10 {
			b.Fatal(len(r.Items), err)
		}
	}
}

func BenchmarkColdSubstituted(b *testing.B) {
	t := tree.FromFiles(app("app"))
	o := options{Path: "app/overlays/production", Substitute: &render.Substitution{Vars: map[string]string{"a": "b"}, Strict: true}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := objects(context.Background(), t, o); err != nil {
			b.Fatal(err)
		}
	}
}

// A commit touches one of a thousand units, and each asks for its objects.
func BenchmarkCommitOverAThousandUnits(b *testing.B) {
	const n = 1000
	before := map[string]string{}
	for i := range n {
		for name, content := range app(fmt.Sprintf("apps/app-%03d", i)) {
			before[name] = content
		}
	}
	after := with(before, "apps/app-500/overlays/production/kustomization.yaml",
		"namespace: shop\nresources: [../../base]\nimages: [{name: nginx, newTag: 1.21.2}]\n")
	trees := []tree.Tree{tree.FromFiles(before), tree.FromFiles(after)}
	c := render.NewCache(64 << 20)
	round := func(t tree.Tree) (hits int) {
		for i := range n {
			dir := fmt.Sprintf("apps/app-%03d", i)
			_, hit, err := c.Objects(context.Background(), dir, t, options{Path: dir + "/overlays/production"}.Render())
			if err != nil {
				b.Fatal(err)
			}
			if hit {
				hits++
			}
		}
		return hits
	}
	round(trees[0])
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if hits := round(trees[i%2]); hits != n-1 {
			b.Fatalf("%d hits", hits)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/unit")
	b.ReportMetric(float64(c.Bytes())/n, "bytes/unit")
}

// A commit touched nothing that the unit reads.
func BenchmarkHit(b *testing.B) {
	t := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := c.Objects(context.Background(), "unit", t, options{Path: "app/overlays/production"}.Render()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeOfAHit(b *testing.B) {
	t := tree.FromFiles(app("app"))
	c := render.NewCache(1 << 20)
	ask := func() render.Result {
		r, _, err := c.Objects(context.Background(), "unit", t, options{Path: "app/overlays/production"}.Render())
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	ask()
	r := ask()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Objects(); err != nil {
			b.Fatal(err)
		}
	}
}
