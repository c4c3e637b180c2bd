package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A step is something to try.
type step struct {
	name     string
	title    string
	commands []string // the last of them has the effect
	// effect says what of a check's observations shows that it is live. It
	// returns when that was, and from when to count: no time stands for the
	// start of the last command.
	effect func([]observation) (from, live time.Time)
}

const (
	replicasBefore, replicasAfter = 3, 5

	overlay = "apps/frontend/overlays/production/"

	versionBefore, versionAfter = "v1", "v2"
)

// clone is where the commands have the monorepo. It goes with the demo.
func (d *demo) clone() string { return filepath.Join(d.dir, "monorepo") }

// setup is what each terminal starts with.
func (d *demo) setup() []string {
	lines := []string{
		fmt.Sprintf("export KUBECONFIG=%s PATH=%s:$PATH", d.kubeconfig, d.programs),
	}
	if _, err := exec.LookPath("kubectl"); err != nil {
		lines = append(lines, `kubectl() { plumb-sandbox kubectl "$@"; }`)
	}
	for _, name := range []string{"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"} {
		if os.Getenv(name) != "" {
			return append(lines, "export no_proxy=127.0.0.1")
		}
	}
	return lines
}

func (d *demo) cloning() string {
	return fmt.Sprintf("git clone -c user.name=you -c user.email=you@example.com %s %s", d.url("monorepo"), d.clone())
}

func (d *demo) steps() []step {
	frontend := func(at observation, replicas int64) bool {
		return at.kind == "Deployment" && at.name == "frontend" && !at.gone && at.replicas == replicas
	}
	ingress := func(at observation, gone bool) bool {
		return at.kind == "Ingress" && at.name == "frontend" && at.gone == gone
	}
	return []step{
		{
			name: "change", title: "Change a replica count in Git. It is live in a moment.",
			commands: []string{
				sed(fmt.Sprintf("s/count: %d/count: %d/", replicasBefore, replicasAfter), overlay+"kustomization.yaml"),
				fmt.Sprintf("git commit --all --message 'frontend: %d replicas'", replicasAfter),
				"git push",
			},
			effect: func(seen []observation) (from, live time.Time) {
				return from, first(seen, func(o observation) bool { return frontend(o, replicasAfter) })
			},
		},
		{
			name: "drift", title: "Change the cluster behind Git's back. It is put back. (kubectl edit is no different.)",
			commands: []string{"kubectl --namespace shop scale deployment/frontend --replicas=1"},
			effect: func(seen []observation) (from, live time.Time) {
				for i, o := range seen {
					if frontend(o, 1) {
						return o.at, first(seen[i:], func(o observation) bool { return frontend(o, replicasAfter) })
					}
				}
				return from, live
			},
		},
		{
			name: "prune", title: "Delete a file. What it held is pruned.",
			commands: []string{
				"git rm " + overlay + "ingress.yaml",
				sed("/ingress.yaml/d", overlay+"kustomization.yaml"),
				"git commit --all --message 'frontend: no ingress'",
				"git push",
			},
			effect: func(seen []observation) (from, live time.Time) {
				return from, first(seen, func(o observation) bool { return ingress(o, true) })
			},
		},
		{
			name: "revert", title: "Take that back. It is rolled back.",
			commands: []string{"git revert --no-edit HEAD", "git push"},
			effect: func(seen []observation) (from, live time.Time) {
				return from, first(seen, func(o observation) bool { return ingress(o, false) })
			},
		},
		{
			name: "sync", title: "Change what the Application deploys. First its Job runs, then the wave of orders, then that of worker.",
			commands: []string{
				sed(fmt.Sprintf("s/newTag: %s/newTag: %s/", versionBefore, versionAfter), "orders/kustomization.yaml"),
				fmt.Sprintf("git commit --all --message 'orders: %s'", versionAfter),
				"git push",
			},
			effect: func(seen []observation) (from, live time.Time) {
				return from, first(seen, func(o observation) bool {
					return o.kind == "Deployment" && o.name == "worker" && strings.HasSuffix(o.image, ":"+versionAfter)
				})
			},
		},
	}
}

// looks are commands that only show something.
func (d *demo) looks() []string {
	return []string{
		"plumb get --all-namespaces",
		"plumb tree apps --namespace flux-system",
		"plumb events apps --namespace flux-system",
		"plumb trace deployment/frontend --namespace shop",
		"plumb tree orders --namespace argocd",
		"plumb history orders --namespace argocd",
	}
}

// sed edits a file in place, which differs from system to system.
func sed(expr, file string) string {
	inPlace := "-i"
	if runtime.GOOS != "linux" {
		inPlace = "-i ''"
	}
	return fmt.Sprintf("sed %s '%s' %s", inPlace, expr, file)
}

// invite says what to try.
func (d *demo) invite() {
	p := func(format string, args ...any) { fmt.Fprintf(d.w, format+"\n", args...) }
	indented := func(lines ...string) { p("  %s", strings.Join(lines, "\n  ")) }
	p("\nIn another terminal:\n")
	indented(d.setup()...)
	indented(d.cloning(), "cd "+d.clone())
	p("\nIn a third one, with the same first line, watch what happens:\n")
	indented("kubectl get deployments --all-namespaces --watch")
	for i, s := range d.steps() {
		p("\n%d. %s\n", i+1, s.title)
		indented(s.commands...)
	}
	p("\nLook at it:\n")
	indented(d.looks()...)
	p("\nMore to apply: examples/README.md. plumb's log: %s; metrics: http://%s/metrics", filepath.Join(d.dir, "plumb.log"), d.metrics)
	p("Ctrl-C ends everything and removes %s.", d.dir)
}
