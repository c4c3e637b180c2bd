package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/internal/child"
)

// start brings up everything, and tells how far it is.
func (d *demo) start(ctx context.Context) error {
	var err error
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"starting a Kubernetes control plane", d.startCluster},
		{"serving the repositories of examples/", d.startGit},
		{"installing plumb's custom resources", d.install},
		{"starting plumb", d.startPlumb},
	}
	for _, s := range steps {
		began := time.Now()
		fmt.Fprintf(d.w, "%-40s", s.what)
		if err = s.do(ctx); err != nil {
			fmt.Fprintln(d.w)
			return fmt.Errorf("%s: %w", s.what, err)
		}
		fmt.Fprintln(d.w, seconds(time.Since(began)))
	}
	if err := d.kubectl(ctx, "apply", "-f", filepath.Join(d.dir, bootstrap)); err != nil {
		return err
	}
	return d.settle(ctx)
}

// bootstrap is what ties the cluster to the monorepo, which holds the rest.
const bootstrap = "content/monorepo/clusters/production/flux-system/gotk-sync.yaml"

func (d *demo) startCluster(ctx context.Context) (err error) {
	args := []string{"up", "--dir", filepath.Join(d.dir, "cluster"), "--kubeconfig", d.kubeconfig, "--ephemeral", "--until-eof"}
	if d.apiPort != 0 {
		args = append(args, "--port", fmt.Sprint(d.apiPort))
	}
	if d.cluster, err = d.startChild("cluster", "plumb-sandbox", args...); err != nil {
		return err
	}
	return until(ctx, d.cluster, 3*time.Minute, func() error {
		_, err := os.Stat(d.kubeconfig)
		return err
	})
}

// startGit makes a repository of each example and serves them.
func (d *demo) startGit(ctx context.Context) error {
	examples, err := os.ReadDir(filepath.Join(d.root, "examples"))
	if err != nil {
		return err
	}
	for _, e := range examples {
		if !e.IsDir() {
			continue
		}
		if err := d.repository(ctx, e.Name()); err != nil {
			return fmt.Errorf("make a repository of examples/%s: %w", e.Name(), err)
		}
	}
	hint, err := child.FreeAddr("127.0.0.1")
	if err != nil {
		return err
	}
	d.hint = hint
	d.git, err = d.startChild("git", "plumb-sandbox", "git", "--root", filepath.Join(d.dir, "git"), "--addr", d.gitAddr,
		"--hint", "http://"+d.hint+"/hint", "--until-eof")
	if err != nil {
		return err
	}
	return until(ctx, d.git, 30*time.Second, func() error {
		return child.Get(ctx, d.url("monorepo")+"/info/refs?service=git-upload-pack", io.Discard)
	})
}

// repository copies an example, with the URLs that this demo serves it at, and
// commits it to a new bare repository.
func (d *demo) repository(ctx context.Context, name string) error {
	from, content := filepath.Join(d.root, "examples", name), filepath.Join(d.dir, "content", name)
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		to := filepath.Join(content, rel)
		if e.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b = bytes.ReplaceAll(b, []byte("http://"+defaultGitAddr+"/"), []byte("http://"+d.gitAddr+"/"))
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		return err
	}
	bare := filepath.Join(d.dir, "git", name+".git")
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", bare},
		{"--git-dir", bare, "--work-tree", content, "add", "--all"},
		{"--git-dir", bare, "--work-tree", content, "-c", "user.name=plumb demo", "-c", "user.email=demo@plumb.dev",
			"commit", "--quiet", "--message", name + ": first commit"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// install applies the definitions of plumb's kinds, and the namespaces that
// the first of them go to.
func (d *demo) install(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, d.bin("plumb"), "install", "--crds", "--kubeconfig", d.kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("plumb install --crds: %w: %s", err, bytes.TrimSpace(out))
	}
	for _, name := range []string{"flux-system", "argocd"} {
		if err := d.kubectl(ctx, "create", "namespace", name); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startPlumb(ctx context.Context) error {
	health, err := child.FreeAddr("127.0.0.1")
	if err != nil {
		return err
	}
	if d.metrics, err = child.FreeAddr("127.0.0.1"); err != nil {
		return err
	}
	d.plumb, err = d.startChild("plumb", "plumb", "serve", "--data", filepath.Join(d.dir, "plumb"), "--log-format", "text",
		"--hint-addr", d.hint, "--health-addr", health, "--metrics-addr", d.metrics)
	if err != nil {
		return err
	}
	return until(ctx, d.plumb, time.Minute, func() error { return child.Get(ctx, "http://"+health+"/readyz", io.Discard) })
}

func (d *demo) kubectl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, d.bin("plumb-sandbox"), append([]string{"kubectl", "--kubeconfig", d.kubeconfig}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

func (d *demo) client() (dynamic.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(config)
}

// A unit is one that the monorepo holds for this cluster.
type unit struct {
	kind, namespace, name string
	resource              schema.GroupVersionResource
	// ready reports whether it is, and what it says.
	ready func(*unstructured.Unstructured) (is bool, says string)
}

// units are those of the monorepo, in the order in which they get ready.
func units() (all []unit) {
	kustomizations := schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	for _, name := range []string{"flux-system", "infrastructure", "apps"} {
		all = append(all, unit{"Kustomization", "flux-system", name, kustomizations, ready})
	}
	applications := schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	return append(all, unit{"Application", "argocd", "orders", applications, synced})
}

// settle returns when the units of the monorepo are ready.
func (d *demo) settle(ctx context.Context) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	began := time.Now()
	for _, x := range units() {
		said, what := "", x.kind+" "+x.name
		err := until(ctx, d.plumb, time.Minute, func() error {
			u, err := client.Resource(x.resource).Namespace(x.namespace).Get(ctx, x.name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("wait for %s: it does not exist yet", what)
			}
			if err != nil {
				return err
			}
			is, says := x.ready(u)
			if said = says; !is {
				return fmt.Errorf("wait for %s: %s", what, says)
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(d.w, "%-40s%s, %s\n", what, seconds(time.Since(began)), said)
	}
	return nil
}

// ready reads the condition of a Kustomization.
func ready(u *unstructured.Unstructured) (is bool, says string) {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		if m["type"] == "Ready" {
			says, _ = m["message"].(string)
			return m["status"] == "True", says
		}
	}
	return false, "it says nothing yet"
}

// synced reads the status of an Application.
func synced(u *unstructured.Unstructured) (is bool, says string) {
	field := func(path ...string) string {
		s, _, _ := unstructured.NestedString(u.Object, append([]string{"status"}, path...)...)
		return s
	}
	sync, health := field("sync", "status"), field("health", "status")
	return sync == "Synced" && health == "Healthy", fmt.Sprintf("%s and %s: %s", sync, health, field("sync", "revision"))
}

// startChild starts a program of bin/.
func (d *demo) startChild(name, program string, args ...string) (*child.Child, error) {
	return child.Start(d.dir, name, append(os.Environ(), "KUBECONFIG="+d.kubeconfig), d.bin(program), args...)
}

// until calls done until it returns no error, as long as the child that has to
// do it runs.
func until(ctx context.Context, c *child.Child, within time.Duration, done func() error) error {
	return c.Until(ctx, within, func() error {
		if err := done(); err != nil {
			return fmt.Errorf("%w; see %s", err, c.Log)
		}
		return nil
	})
}
