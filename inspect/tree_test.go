package inspect_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/internal/kubetest"
)

// draw is a tree with one line for each object.
func draw(n *inspect.Node) string {
	var b strings.Builder
	var walk func(n *inspect.Node, indent, mark string)
	walk = func(n *inspect.Node, indent, mark string) {
		fmt.Fprintf(&b, "%s%s%s/%s %s", indent, mark, n.Kind, n.Name, n.Health)
		if n.Message != "" {
			fmt.Fprintf(&b, ": %s", n.Message)
		}
		b.WriteByte('\n')
		if n.Source != nil {
			walk(n.Source, indent+"  ", "from ")
		}
		for _, c := range n.Children {
			mark := ""
			if c.HealthCheck {
				mark = "checks "
			}
			walk(c, indent+"  ", mark)
		}
	}
	walk(n, "", "")
	return b.String()
}

func (w *world) tree(c *inspect.Cluster, name string) string {
	w.t.Helper()
	n, hidden, err := c.Tree(w.t.Context(), w.unit(c, name))
	if err != nil || len(hidden) > 0 {
		w.t.Fatal(err, hidden)
	}
	return draw(n)
}

func TestATreeHasAllThatAUnitIsAndChecks(t *testing.T) {
	w := newWorld(t)
	c := w.as("")
	w.apply(repository)
	w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: checked}\n")
	checks := `, healthChecks: [{apiVersion: v1, kind: ConfigMap, name: there}, {apiVersion: v1, kind: ConfigMap, name: checked}, {apiVersion: v1, kind: ConfigMap, name: never}]`
	w.apply(fmt.Sprintf(unit, checks, strings.Join([]string{
		entry(w.ns, "there", "", "ConfigMap", "v1"), entry(w.ns, "gone", "", "ConfigMap", "v1"), entry(w.ns, "a", "example.com", "Thing", "v1"),
		entry(w.ns, "shop", sourceGroup, "GitRepository", "v1"), entry(w.ns, "app", unitGroup, "Kustomization", "v1"),
	}, ", ")))
	want := `Kustomization/app Ready
  from GitRepository/shop Ready
  ConfigMap/gone NotFound
  ConfigMap/there Current
  GitRepository/shop Ready
  Kustomization/app Ready: shown above
  Thing/a NotFound
  checks ConfigMap/checked Current
  checks ConfigMap/never NotFound
`
	if got := w.tree(c, "app"); got != want {
		t.Errorf("it is\n%swant\n%s", got, want)
	}
	n, _, err := c.Tree(t.Context(), w.unit(c, "app"))
	if err != nil || n.Revision != "main@sha1:2222" || n.Source.Subject != "web: two replicas" {
		t.Errorf("revision %q, subject %q, %v", n.Revision, n.Source.Subject, err)
	}
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
`

func TestATreeGoesDownToPods(t *testing.T) {
	w := newWorld(t)
	w.RequireControllers(t)
	c := w.as("")
	w.apply(repository)
	w.apply(deployment)
	w.apply(fmt.Sprintf(unit, "", entry(w.ns, "web", "apps", "Deployment", "v1")))
	kubetest.Eventually(t, time.Minute, func() error {
		got := w.tree(c, "app")
		for _, want := range []string{"\n  Deployment/web Current", "\n    ReplicaSet/web-", "\n      Pod/web-"} {
			if !strings.Contains(got, want) {
				return fmt.Errorf("no %q in\n%s", want, got)
			}
		}
		return nil
	})
}

func TestATreeSaysWhatItCouldNotSee(t *testing.T) {
	w := newWorld(t)
	w.apply(repository)
	w.apply(deployment)
	w.apply(fmt.Sprintf(unit, "", entry(w.ns, "web", "apps", "Deployment", "v1")+", "+entry(w.ns, "db", "apps", "StatefulSet", "v1")))
	w.allow("reader", "get", `kustomize.toolkit.fluxcd.io`, "kustomizations")
	w.allow("reader", "get", "apps", "deployments")
	c := w.as("reader")
	n, hidden, err := c.Tree(t.Context(), w.unit(c, "app"))
	if err != nil {
		t.Fatal(err)
	}
	if got := draw(n); strings.Count(got, "Unknown") != 2 || strings.Count(got, "forbidden") != 2 {
		t.Errorf("neither the source nor the StatefulSet may be read:\n%s", got)
	}
	var pods bool
	for _, err := range hidden {
		pods = pods || strings.HasPrefix(err.Error(), "list objects of kind Pod of namespace "+w.ns)
	}
	if !pods {
		t.Errorf("nothing says that Pods could not be listed: %v", hidden)
	}
}

func TestATreeOfAnotherClusterThatCannotBeReached(t *testing.T) {
	w := newWorld(t)
	w.apply(repository)
	w.apply(fmt.Sprintf(unit, ", kubeConfig: {secretRef: {name: none}}", entry(w.ns, "web", "apps", "Deployment", "v1")))
	got := w.tree(w.as(""), "app")
	if !strings.Contains(got, "Deployment/web Unknown: on another cluster: ") || !strings.Contains(got, "Secret/"+w.ns+"/none does not exist") {
		t.Errorf("it is\n%s", got)
	}
}
