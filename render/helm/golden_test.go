package helm_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/charttest"
	"plumb.dev/plumb/internal/tools"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/helm"
	"plumb.dev/plumb/tree"
)

// A corpus is a chart and what it is rendered with: testdata/charts/NAME and
// testdata/charts/NAME.yaml. Helm template is the judge of it, so there is nothing
// to update.
type corpus struct {
	Shows string
	Cases []goldenCase

	// What the chart is given that can't be or is better not in Git.
	Pack   []string          // folders that become archives, the innermost first
	CRLF   []string          // files whose lines end as on Windows
	BOM    []string          // files that begin with a byte order mark
	Latin1 []string          // files that are not UTF-8
	Links  map[string]string // links, and where they lead
	Pad    map[string]int    // sizes that files get: "pad" in them is made longer, and the newline at the end goes
}

// A goldenCase is a chart rendered once. Names of files are relative to the
// chart.
type goldenCase struct {
	Name                    string
	Release, Namespace      string   // rel, default
	ValueFiles              []string // before Values
	Values                  []string // YAML
	Set, SetString, SetFile []string // in this order
	KubeVersion             string   // v1.33.0: in a test, Helm's library takes another one for given than the command does
	APIVersions             []string
	IncludeCRDs, SkipTests  bool
	SkipSchema, Upgrade     bool
	Error                   string // what helm says; plumb has to fail too, in its own words
	Differs                 string // why plumb gives other objects, where it does
}

// Every chart of testdata/charts comes out of plumb as it comes out of helm
// template: the same objects in the same order, or an error where that has one.
func TestChartsRenderAsWithHelm(t *testing.T) {
	names, err := filepath.Glob("testdata/charts/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d charts, %v", len(names), err)
	}
	exe := command(t)
	for _, file := range names {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := readCorpus(t, file)
			root, home := t.TempDir(), t.TempDir()
			c.unpack(t, filepath.Join("testdata/charts", name), filepath.Join(root, name))
			at, err := tree.OpenDir(root)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range c.Cases {
				t.Run(g.Name, func(t *testing.T) { g.compare(t, helmCommand{exe: exe, root: root, home: home}, name, at) })
			}
		})
	}
}

// The charts of examples/ do, too. One of them names its dependencies by file://,
// which helm template does not follow: it is given the chart with them in it.
func TestExampleChartsRenderAsWithHelm(t *testing.T) {
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(root, "examples")
	at := charttest.Folder(t, filepath.Join(examples, "charts"))
	production := func(name string) []string {
		b, err := os.ReadFile(filepath.Join(examples, "monorepo/infrastructure", name, "overlays/production/values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		return []string{string(b)}
	}
	for _, c := range []struct {
		chart string
		goldenCase
	}{
		{"cert-manager", goldenCase{Release: "cert-manager", Values: production("cert-manager")}},
		{"cert-manager", goldenCase{Values: []string{"replicaCount: two"}, Error: "replicaCount"}},
		{"ingress-nginx", goldenCase{Release: "nginx-ingress", Namespace: "nginx-ingress", Values: production("nginx-ingress")}},
		{"platform", goldenCase{}},
		{"platform", goldenCase{Values: []string{"{certificates: {enabled: false}, tags: {edge: false}}"}, SkipTests: true}},
	} {
		t.Run(c.chart, func(t *testing.T) {
			dir := t.TempDir()
			charttest.Pack(t, at, c.chart).Unpack(t, dir)
			c.compare(t, helmCommand{exe: command(t), root: dir, home: t.TempDir()}, c.chart, at)
		})
	}
}

// command is the helm command.
var command = func() func(testing.TB) string {
	build := sync.OnceValues(func() (string, error) {
		root, err := tools.Root()
		if err != nil {
			return "", err
		}
		return tools.Build(root, tools.Helm, os.Stderr)
	})
	return func(t testing.TB) string {
		t.Helper()
		exe, err := build()
		if err != nil {
			t.Fatal(err)
		}
		return exe
	}
}()

func readCorpus(t *testing.T, file string) (c corpus) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(b, &c); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if c.Shows == "" || len(c.Cases) == 0 {
		t.Fatalf("%s shows %q in %d cases", file, c.Shows, len(c.Cases))
	}
	return c
}

func (g goldenCase) compare(t *testing.T, h helmCommand, name string, at tree.Tree) {
	g.Release, g.Namespace, g.KubeVersion = cmp.Or(g.Release, "rel"), cmp.Or(g.Namespace, "default"), cmp.Or(g.KubeVersion, "v1.33.0")
	want, failed := h.objects(t, name, g)
	if g.Error == "" && failed != "" || !strings.Contains(failed, g.Error) {
		t.Fatalf("helm says %q, and the case %q", failed, g.Error)
	}
	got, err := plumbObjects(t, at, name, g)
	switch {
	case err != nil && g.Error != "":
	case err != nil:
		t.Fatalf("helm renders it, and plumb says: %v", err)
	case g.Error != "":
		t.Fatalf("plumb renders it, and helm says: %s", failed)
	}
	switch diff := gocmp.Diff(contents(want), contents(got)); {
	case g.Differs == "" && diff != "":
		t.Errorf("helm's objects (-) and plumb's (+):\n%s", diff)
	case g.Differs != "" && diff == "":
		t.Errorf("they are the same by now, although: %s", g.Differs)
	}
}

// plumbObjects are what plumb makes of the chart in a directory of a tree.
func plumbObjects(t *testing.T, at tree.Tree, dir string, g goldenCase) ([]*unstructured.Unstructured, error) {
	t.Helper()
	o := helm.Options{
		Release:     helm.Release{Name: g.Release, Namespace: g.Namespace, Upgrade: g.Upgrade},
		KubeVersion: g.KubeVersion, APIVersions: g.APIVersions,
		SkipCRDs: !g.IncludeCRDs, SkipTests: g.SkipTests, SkipSchema: g.SkipSchema,
	}
	for _, file := range g.ValueFiles {
		o.Values = append(o.Values, helm.Values{File: dir + "/" + file})
	}
	for _, text := range g.Values {
		o.Values = append(o.Values, helm.Values{Text: text, As: "values"})
	}
	add := func(settings []string, parameter func(name, value string) helm.Parameter) {
		for _, s := range settings {
			name, value, ok := strings.Cut(s, "=")
			if !ok {
				t.Fatalf("%q sets nothing", s)
			}
			o.Parameters = append(o.Parameters, parameter(name, value))
		}
	}
	add(g.Set, func(name, value string) helm.Parameter { return helm.Parameter{Name: name, Value: value} })
	add(g.SetString, func(name, value string) helm.Parameter { return helm.Parameter{Name: name, Value: value, Text: true} })
	add(g.SetFile, func(name, value string) helm.Parameter { return helm.Parameter{Name: name, File: dir + "/" + value} })
	b, err := o.Build(t.Context(), render.Input{Tree: at, Dir: dir, Revision: func() string { return "" }})
	return b.Objects, err
}

// A helmCommand runs in a folder of charts, with a folder of its own.
type helmCommand struct{ exe, root, home string }

// objects are what helm template prints, or what it says of the chart.
func (h helmCommand) objects(t *testing.T, name string, g goldenCase) (objects []*unstructured.Unstructured, failed string) {
	t.Helper()
	args := []string{"template", g.Release, "./" + name, "--namespace", g.Namespace}
	with := func(flag string, values ...string) {
		for _, v := range values {
			args = append(args, flag, v)
		}
	}
	for _, file := range g.ValueFiles {
		with("--values", filepath.Join(name, file))
	}
	for i, text := range g.Values {
		file := filepath.Join(h.home, fmt.Sprintf("values-%d.yaml", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		with("--values", file)
	}
	with("--set", g.Set...)
	with("--set-string", g.SetString...)
	for _, s := range g.SetFile {
		key, file, _ := strings.Cut(s, "=")
		with("--set-file", key+"="+filepath.Join(name, file))
	}
	with("--api-versions", g.APIVersions...)
	with("--kube-version", g.KubeVersion)
	for flag, on := range map[string]bool{"--include-crds": g.IncludeCRDs, "--skip-tests": g.SkipTests, "--skip-schema-validation": g.SkipSchema, "--is-upgrade": g.Upgrade} {
		if on {
			args = append(args, flag)
		}
	}
	cmd := exec.CommandContext(t.Context(), h.exe, args...)
	cmd.Dir = h.root
	// Nothing of who runs the test: no configuration, no plugins, no cluster.
	cmd.Env = []string{"HOME=" + h.home, "KUBECONFIG=" + os.DevNull}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, said.String()
	} else if err != nil {
		t.Fatal(err)
	}
	return parsed(t, out.String()), ""
}

// parsed are the objects of what helm prints. It puts a line "---" before each
// document, and takes lines for that which only begin so.
func parsed(t *testing.T, text string) (objects []*unstructured.Unstructured) {
	t.Helper()
	var doc strings.Builder
	end := func() {
		b, err := yaml.YAMLToJSON([]byte(doc.String()))
		if err != nil {
			t.Fatalf("helm prints what is no YAML: %v\n%s", err, doc.String())
		}
		doc.Reset()
		var u unstructured.Unstructured
		if err := utiljson.Unmarshal(b, &u.Object); err != nil {
			t.Fatalf("helm prints what is no object: %v\n%s", err, b)
		}
		if u.Object != nil {
			objects = append(objects, &u)
		}
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "---"); ok {
			end()
			line = rest
		}
		doc.WriteString(line)
	}
	end()
	return objects
}

func contents(objects []*unstructured.Unstructured) (all []map[string]any) {
	for _, o := range objects {
		all = append(all, o.Object)
	}
	return all
}

// unpack puts the chart of a folder into another.
func (c corpus) unpack(t *testing.T, from, to string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.CopyFS(to, os.DirFS(from)))
	change := func(name string, f func(string) string) {
		t.Helper()
		path := filepath.Join(to, name)
		b, err := os.ReadFile(path)
		check(err)
		check(os.WriteFile(path, []byte(f(string(b))), 0o600))
	}
	for _, name := range c.CRLF {
		change(name, func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") })
	}
	for _, name := range c.BOM {
		change(name, func(s string) string { return "\ufeff" + s })
	}
	for _, name := range c.Latin1 {
		change(name, func(s string) string {
			var b []byte
			for _, r := range s {
				b = append(b, byte(r))
			}
			return string(b)
		})
	}
	for name, size := range c.Pad {
		change(name, func(s string) string {
			s = strings.TrimSuffix(s, "\n")
			before, after, ok := strings.Cut(s, "pad")
			if !ok || len(s) > size {
				t.Fatalf("%s has %d bytes and can't be padded to %d", name, len(s), size)
			}
			return before + "pad" + strings.Repeat("d", size-len(s)) + after
		})
	}
	for name, target := range c.Links {
		path := filepath.Join(to, name)
		check(os.MkdirAll(filepath.Dir(path), 0o700))
		check(os.Symlink(target, path))
	}
	for _, dir := range c.Pack {
		path := filepath.Join(to, dir)
		archive := charttest.Pack(t, charttest.Folder(t, path), ".").Archive
		check(os.RemoveAll(path))
		check(os.WriteFile(path+"-0.0.0.tgz", archive, 0o600))
	}
}
