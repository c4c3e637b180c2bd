package health

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

//go:embed testdata/table/*.yaml
var tableStates embed.FS

// tableKinds are the kinds that the table names, and of those with wildcards one.
func tableKinds(t *testing.T) (kinds []schema.GroupKind) {
	t.Helper()
	tab := Table.(*table)
	tab.once.Do(tab.read)
	for gk := range tab.exact {
		kinds = append(kinds, gk)
	}
	for gk := range builtin {
		kinds = append(kinds, gk)
	}
	for _, p := range tab.patterns {
		any := strings.NewReplacer("*", "any")
		kinds = append(kinds, schema.GroupKind{Group: any.Replace(p.group), Kind: any.Replace(p.kind)})
	}
	slices.SortFunc(kinds, func(a, b schema.GroupKind) int { return strings.Compare(a.String(), b.String()) })
	return kinds
}

func parse(t *testing.T, y string) *unstructured.Unstructured {
	t.Helper()
	u := object(t, y)
	integers(u.Object)
	return u
}

// integers makes whole numbers what they are in an object from an API server.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = integers(x)
		}
	case []any:
		for i, x := range v {
			v[i] = integers(x)
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

// Every rule of the table compiles, and every kind that it has can be judged.
func TestTheTableCompiles(t *testing.T) {
	for _, gk := range tableKinds(t) {
		j, ok := Table.For(gk).(*ruled)
		if !ok {
			continue
		}
		if j.once.Do(j.compile); j.err != nil {
			t.Errorf("%s: %v", gk, j.err)
		}
		if len(j.rules) == 0 {
			t.Errorf("%s has no rules", gk)
		}
		if Table.For(gk) != Judge(j) || !IsQuick(j) {
			t.Errorf("%s: it is another judge each time, or takes long", gk)
		}
	}
	if n := len(tableKinds(t)); n < 150 {
		t.Errorf("the table has %d kinds", n)
	}
}

// Each file of testdata/table has objects of some kinds in the states that they
// go through; a comment above each says how that is.
func TestTheTable(t *testing.T) {
	files, err := tableStates.ReadDir("testdata/table")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]map[Status]bool{}
	for _, f := range files {
		text, err := tableStates.ReadFile(path.Join("testdata/table", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
			doc, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			want, body, _ := strings.Cut(strings.TrimSpace(string(doc)), "\n")
			want = strings.TrimPrefix(want, "# ")
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(body), &u.Object); err != nil || len(u.Object) == 0 {
				t.Fatalf("%s: %s: %v", f.Name(), want, err)
			}
			integers(u.Object)
			gk := u.GroupVersionKind().GroupKind()
			r := Table.For(gk).Of(u)
			if seen[gk.Group] == nil {
				seen[gk.Group] = map[Status]bool{}
			}
			seen[gk.Group][r.Status] = true
			if got := told(r); got != want {
				t.Errorf("%s: %s\n  is   %q\n  want %q", f.Name(), body, got, want)
			}
		}
	}
	t.Logf("states of %d groups", len(seen))
}

// What is compiled is what is in use. The figure is in docs/design/health.md.
func TestOnlyWhatIsInUseIsCompiled(t *testing.T) {
	tab := &table{}
	before := heap()
	gk := schema.GroupKind{Group: "cert-manager.io", Kind: "Certificate"}
	tab.For(gk).Of(&unstructured.Unstructured{Object: map[string]any{}})
	one := heap() - before
	for other, j := range tab.exact {
		if len(j.rules) > 0 && tab.exact[other] != tab.exact[gk] {
			t.Errorf("%s is compiled", other)
		}
	}
	for _, gk := range tableKinds(t) {
		tab.For(gk).Of(&unstructured.Unstructured{Object: map[string]any{}})
	}
	t.Logf("the table and one kind: %d KiB; all kinds: %d KiB", one>>10, (heap()-before)>>10)
	runtime.KeepAlive(tab)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkTable(b *testing.B) {
	for name, y := range map[string]string{
		"Deployment":  "{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 2}, spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}",
		"Certificate": "{apiVersion: cert-manager.io/v1, kind: Certificate, status: {conditions: [{type: Ready, status: 'True', message: up to date}]}}",
		"ConfigMap":   "{apiVersion: v1, kind: ConfigMap}",
	} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(y), &u.Object); err != nil {
			b.Fatal(err)
		}
		integers(u.Object)
		gk := u.GroupVersionKind().GroupKind()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Table.For(gk).Of(u)
			}
		})
	}
}
