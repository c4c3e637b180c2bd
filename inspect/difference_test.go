package inspect_test

import (
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
)

// diff is what some files would change for the unit, which is of all of them.
func (w *world) diff(c *inspect.Cluster, files map[string]string) *inspect.Difference {
	w.t.Helper()
	d, err := w.tryDiff(c, files)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) tryDiff(c *inspect.Cluster, files map[string]string) (*inspect.Difference, error) {
	w.t.Helper()
	f := w.unit(c, "app")
	r := c.Reader(w.t.Context())
	u, err := f.Dialect.Unit(f.Object, r)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := f.Dialect.Directory(f.Source, tree.FromFiles(files), "main@sha1:3333")
	if err != nil {
		w.t.Fatal(err)
	}
	u.Artifacts = []*source.Artifact{a}
	return c.Diff(w.t.Context(), f, u, r)
}

// brief is one line for each object and field.
func brief(d *inspect.Difference) string {
	var b strings.Builder
	for _, c := range d.Changes {
		fmt.Fprintf(&b, "%s %s/%s\n", c.Action, c.Object.Kind, c.Object.Name)
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "  %s: %v -> %v\n", f.Path, f.Old, f.New)
		}
	}
	for _, e := range d.Errors {
		fmt.Fprintf(&b, "error: %s\n", e)
	}
	return b.String()
}

func TestADifferenceIsWhatWouldBeDone(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, "", entry(w.ns, "there", "", "ConfigMap", "v1")+", "+entry(w.ns, "old", "", "ConfigMap", "v1")))
	w.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there, labels: {%[1]s}}\ndata: {a: one}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: old, labels: {%[1]s}}\n", mark))
	d := w.diff(c, map[string]string{"apps/all.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: {name: there}
data: {a: two}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: new}
`})
	want := "create ConfigMap/new\nupdate ConfigMap/there\n  data.a: one -> two\ndelete ConfigMap/old\n"
	got := brief(d)
	for line := range strings.Lines(want) {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in\n%s", line, got)
		}
	}
	if !d.Changed() || d.PruneHeld() || d.Count("create") != 1 || d.Count("update", "delete") != 2 || d.Revision != "main@sha1:3333" || d.Unit != "Kustomization/"+w.ns+"/app" {
		t.Errorf("%+v", d)
	}
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n") // fails if that was created
}

func TestADifferenceShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: vars}\nstringData: {password: hunter2}\n")
	w.apply(fmt.Sprintf(unit, ", postBuild: {substituteFrom: [{kind: Secret, name: vars}]}", ""))
	d := w.diff(c, map[string]string{"apps/all.yaml": `
apiVersion: v1
kind: ConfigMap
metadata: {name: config}
data: {dsn: "postgres://shop:${password}@db"}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {token: in-the-source}
`})
	got := fmt.Sprintf("%s %v", brief(d), d)
	for _, c := range d.Changes {
		got += fmt.Sprint(c.Desired)
	}
	if strings.Contains(got, "hunter2") || strings.Contains(got, "in-the-source") || !strings.Contains(got, "postgres://shop:***@db") {
		t.Errorf("it shows\n%s", got)
	}
}

func TestADifferenceThatTheServerRefusesSaysSo(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, "", ""))
	d := w.diff(c, map[string]string{"apps/all.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 99999}]}\n"})
	if len(d.Errors) != 1 || !strings.Contains(d.Errors[0], "99999") {
		t.Errorf("errors: %q", d.Errors)
	}
	if _, err := w.tryDiff(c, map[string]string{"other/all.yaml": ""}); err == nil || !strings.Contains(err.Error(), "apps") {
		t.Errorf("without the unit's path: %v", err)
	}
}

func TestADifferenceHoldsWhatPruningWouldHold(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	var entries []string
	for i := range 4 {
		name := fmt.Sprintf("old%d", i)
		entries = append(entries, entry(w.ns, name, "", "ConfigMap", "v1"))
		w.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {%s}}\n", name, mark))
	}
	w.apply(fmt.Sprintf(unit, "", strings.Join(entries, ", ")))
	d := w.diff(c, map[string]string{"apps/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old0}\n"})
	if !d.PruneHeld() || d.Count("hold") != 3 || d.Count("delete") != 0 {
		t.Errorf("it is\n%s", brief(d))
	}
}

// What a rule says does not count is no change, and is shown; of what is written
// all the same it is not said twice.
func TestADifferenceThatDoesNotCount(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, ", ignore: [{paths: [/data/a], target: {kind: ConfigMap}}, {paths: [/data/token], target: {kind: Secret}}]", entry(w.ns, "there", "", "ConfigMap", "v1")))
	files := func(a, b string) map[string]string {
		return map[string]string{"apps/all.yaml": fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: there}
data: {a: %s, b: %s}
---
apiVersion: v1
kind: Secret
metadata: {name: there}
stringData: {token: in-the-source}
`, a, b)}
	}
	w.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there, labels: {%[1]s}}\ndata: {a: live, b: live}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: there, labels: {%[1]s}}\nstringData: {token: on-the-cluster}\n", mark))
	for _, c2 := range []struct{ b, want string }{
		{"live", "ignore ConfigMap/there\n  data.a: live -> git\nignore Secret/there\n  data.token: *** -> ***\n"},
		{"git", "  data.b: live -> git\nignore ConfigMap/there\n  data.a: live -> git\nignore Secret/there\n  data.token: *** -> ***\n"},
	} {
		d := w.diff(c, files("git", c2.b))
		got := ""
		for line := range strings.Lines(brief(d)) {
			if !strings.HasPrefix(line, "update") { // for who owns the fields
				got += line
			}
		}
		if got != c2.want {
			t.Errorf("it is\n%s, want\n%s", brief(d), c2.want)
		}
		if strings.Contains(fmt.Sprint(d), "in-the-source") || d.Count("update") != 2 || !d.Changed() {
			t.Errorf("%+v", d)
		}
	}
}
