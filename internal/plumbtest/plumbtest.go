// Package plumbtest runs the real plumb beside a real API server and a real
// Git server, as its users do.
//
// A [World] is a control plane of its own, since plumb holds true whatever it
// finds on one. Tests that may share a World keep to namespaces of their own.
package plumbtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/child"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/tools"
)

// Patience is how long something may take that takes well under a second on a
// machine with nothing else to do.
const Patience = 45 * time.Second

// A World is a cluster, a Git server, and plumb between them.
type World struct {
	*kubetest.Env
	Git   *gittest.Server
	Plumb *Process
}

// Binary builds plumb, once per test process, and returns its path; with
// PLUMBTEST_BINARY set, that is it.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("PLUMBTEST_BINARY"); path != "" {
		return path, nil
	}
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "plumbtest-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "plumb")
	args := []string{"build", "-o", path}
	if raced {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/plumb")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build plumb: %w\n%s", err, out)
	}
	return path, nil
})

// Clean removes what [Binary] built; TestMain calls it at the end.
func Clean() {
	if path, err := binary(); err == nil && os.Getenv("PLUMBTEST_BINARY") == "" {
		os.RemoveAll(filepath.Dir(path))
	}
}

// New starts a World whose plumb has the given flags beside those it needs.
func New(t testing.TB, flags ...string) *World {
	t.Helper()
	return On(t, kubetest.Private(t), flags...)
}

// On is New on a control plane that is there already.
func On(t testing.TB, env *kubetest.Env, flags ...string) *World {
	t.Helper()
	env.CRDs(t)
	w := &World{Env: env, Git: gittest.New(t)}
	w.Plumb = Serve(t, env, flags...)
	return w
}

// Raced reports whether plumb looks for data races, which takes some times the
// memory.
func Raced() bool { return raced }

// A Process is plumb serve.
type Process struct {
	t       testing.TB
	args    []string
	env     []string
	Hint    string // URL
	Health  string // URL
	Metric  string // URL
	Webhook string // URL

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer
}

// Serve starts plumb serve, and stops it with the test.
func Serve(t testing.TB, env *kubetest.Env, flags ...string) *Process {
	t.Helper()
	hint, health, metric, webhook := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	p := &Process{
		t: t, Hint: "http://" + hint + "/hint", Health: "http://" + health, Metric: "http://" + metric + "/metrics", Webhook: "http://" + webhook + "/api/webhook",
		args: append([]string{
			"serve", "--kubeconfig", env.Kubeconfig, "--data", t.TempDir(), "--log-format", "text",
			"--hint-addr", hint, "--health-addr", health, "--metrics-addr", metric, "--webhook-addr", webhook,
		}, flags...),
		env: append(gittest.Env(), "RUNTIME_NAMESPACE=plumb-system"),
	}
	p.Start()
	t.Cleanup(func() {
		p.Kill(syscall.SIGTERM)
		if strings.Contains(p.Log(), "WARNING: DATA RACE") {
			t.Error("plumb has a data race")
		}
		if t.Failed() {
			t.Logf("plumb said:\n%s", p.Log())
		}
	})
	return p
}

func freeAddr(t testing.TB) string {
	addr, err := child.FreeAddr("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Start starts the process, if it does not run.
func (p *Process) Start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return
	}
	cmd := exec.Command(Binary(p.t), p.args...)
	cmd.Env = p.env
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // most often it is ended by a signal
		p.mu.Lock()
		if p.cmd == cmd {
			p.cmd = nil
		}
		p.mu.Unlock()
		close(done)
	}(p.done)
}

// Kill sends a signal and waits until the process has ended.
func (p *Process) Kill(s syscall.Signal) {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(s)
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		p.t.Errorf("plumb did not end within 30 s of %s", s)
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return os.ErrProcessDone
	}
	return p.cmd.Process.Signal(s)
}

// PID returns the number of the process, or 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Runs reports whether the process was started and not ended since.
func (p *Process) Runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Write implements [io.Writer] for the log.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// Log returns all that every run of the process has said.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Poke tells plumb that r was pushed to.
func (w *World) Poke(t testing.TB, r *gittest.Repository) {
	t.Helper()
	kubetest.Eventually(t, Patience, func() error { return child.Hint(t.Context(), w.Plumb.Hint, r.URL()) })
}

// Commit writes files to r and tells plumb.
func (w *World) Commit(t testing.TB, r *gittest.Repository, files map[string]string) string {
	t.Helper()
	hash := r.Commit(t, files, "change")
	w.Poke(t, r)
	return hash
}

// Remove deletes files of r and tells plumb.
func (w *World) Remove(t testing.TB, r *gittest.Repository, names ...string) string {
	t.Helper()
	hash := r.Remove(t, "remove", names...)
	w.Poke(t, r)
	return hash
}

// Apply applies YAML documents as kubectl does.
func (w *World) Apply(t testing.TB, manifests string) {
	t.Helper()
	if out, err := w.Kubectl(t.Context(), manifests, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// Source applies a GitRepository of r's branch main.
func (w *World) Source(t testing.TB, ns, name string, r *gittest.Repository, spec ...string) {
	t.Helper()
	w.Apply(t, fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: %s, namespace: %s}
spec:
  interval: 10m
  url: %s
  ref: {branch: main}
%s`, name, ns, r.URL(), indent(spec)))
}

// Unit applies a Kustomization of the source of that name; spec holds further
// lines of its spec, such as "wait: true".
func (w *World) Unit(t testing.TB, ns, name, source, path string, spec ...string) {
	t.Helper()
	w.Apply(t, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %s, namespace: %s}
spec:
  interval: 10m
  retryInterval: 5s
  timeout: 1m
  prune: true
  path: %q
  sourceRef: {kind: GitRepository, name: %s}
%s`, name, ns, path, source, indent(spec)))
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		for _, l := range strings.Split(l, "\n") {
			b.WriteString("  " + l + "\n")
		}
	}
	return b.String()
}

// Object reads any object. Kind is as in "apps/v1/Deployment" or "v1/Secret".
func (w *World) Object(ctx context.Context, kind, ns, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(parseKind(kind))
	err := w.Client.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, u)
	return u, err
}

func parseKind(s string) schema.GroupVersionKind {
	parts := strings.Split(s, "/")
	if len(parts) == 2 {
		return schema.GroupVersionKind{Version: parts[0], Kind: parts[1]}
	}
	return schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]}
}

// The kinds of plumb's own custom resources, for Object.
const (
	Kustomization = "kustomize.toolkit.fluxcd.io/v1/Kustomization"
	GitRepository = "source.toolkit.fluxcd.io/v1/GitRepository"
)

// A Status is what tests ask of a custom resource.
type Status struct {
	ObservedGeneration     int64              `json:"observedGeneration"`
	LastAppliedRevision    string             `json:"lastAppliedRevision"`
	LastHandledReconcileAt string             `json:"lastHandledReconcileAt"`
	Conditions             []metav1.Condition `json:"conditions"`
	Inventory              struct {
		Entries []struct {
			ID string `json:"id"`
			V  string `json:"v"`
		} `json:"entries"`
	} `json:"inventory"`
	Artifact struct {
		Revision string `json:"revision"`
	} `json:"artifact"`
}

// Condition returns one condition; it is empty if there is none of the type.
func (s Status) Condition(t string) metav1.Condition {
	if c := apimeta.FindStatusCondition(s.Conditions, t); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// IDs returns the ids of the inventory.
func (s Status) IDs() []string {
	var out []string
	for _, e := range s.Inventory.Entries {
		out = append(out, e.ID)
	}
	return out
}

// StatusOf reads the status of a custom resource, and its generation.
func (w *World) StatusOf(ctx context.Context, kind, ns, name string) (s Status, generation int64, err error) {
	u, err := w.Object(ctx, kind, ns, name)
	if err != nil {
		return s, 0, err
	}
	m, _, _ := unstructured.NestedMap(u.Object, "status")
	return s, u.GetGeneration(), runtime.DefaultUnstructuredConverter.FromUnstructured(m, &s)
}

// AwaitReady waits until a Kustomization is ready at its generation, and at
// the revision of a commit if one is given.
func (w *World) AwaitReady(t testing.TB, ns, name, commit string) Status {
	t.Helper()
	var s Status
	kubetest.Eventually(t, Patience, func() error {
		var gen int64
		var err error
		if s, gen, err = w.StatusOf(t.Context(), Kustomization, ns, name); err != nil {
			return err
		}
		r := s.Condition("Ready")
		if r.Status != metav1.ConditionTrue || r.ObservedGeneration != gen || !strings.HasSuffix(s.LastAppliedRevision, commit) {
			return fmt.Errorf("%s/%s is not ready at %s: %+v", ns, name, commit, s)
		}
		return nil
	})
	return s
}

// AwaitReason waits until the condition Ready of a custom resource is not true
// for a reason, and returns its message.
func (w *World) AwaitReason(t testing.TB, kind, ns, name, reason string) string {
	t.Helper()
	var c metav1.Condition
	kubetest.Eventually(t, Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), kind, ns, name)
		if err != nil {
			return err
		}
		if c = s.Condition("Ready"); c.Status == metav1.ConditionTrue || c.Reason != reason {
			return fmt.Errorf("%s/%s is not %s: %+v", ns, name, reason, s.Conditions)
		}
		return nil
	})
	return c.Message
}

// AwaitGone waits until an object does not exist.
func (w *World) AwaitGone(t testing.TB, kind, ns, name string) {
	t.Helper()
	kubetest.Eventually(t, Patience, func() error {
		_, err := w.Object(t.Context(), kind, ns, name)
		if err == nil {
			return fmt.Errorf("%s %s/%s is still there", kind, ns, name)
		}
		return client.IgnoreNotFound(err)
	})
}

// Await waits until an object exists and passes a check, which may be nil.
func (w *World) Await(t testing.TB, kind, ns, name string, check func(*unstructured.Unstructured) error) *unstructured.Unstructured {
	t.Helper()
	var u *unstructured.Unstructured
	kubetest.Eventually(t, Patience, func() error {
		var err error
		if u, err = w.Object(t.Context(), kind, ns, name); err != nil || check == nil {
			return err
		}
		return check(u)
	})
	return u
}

// Has checks that an object has a value at a path, as in "spec.replicas".
func Has(path string, want any) func(*unstructured.Unstructured) error {
	return func(u *unstructured.Unstructured) error {
		got, _, _ := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%s %s: %s is %v, want %v", u.GetKind(), u.GetName(), path, got, want)
		}
		return nil
	}
}

// ConfigMap returns the manifest of a ConfigMap without a namespace.
func ConfigMap(name string, data ...string) string {
	m := map[string]string{}
	for i := 0; i+1 < len(data); i += 2 {
		m[data[i]] = data[i+1]
	}
	b, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "data": m})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Get returns the body and status of a URL.
func Get(t testing.TB, url string) (string, int) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), resp.StatusCode
}
