package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/api/flux"
	"plumb.dev/plumb/internal/child"
)

// The namespaces: of the custom resources, of what plumb applies, and of what
// the floors do.
const (
	unitSpace  = "units"
	appSpace   = "apps"
	floorSpace = "floor"
	againSpace = "again"
)

var (
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	deployments     = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	events          = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	// resources are those of what apps hold, by kind.
	resources = map[string]schema.GroupVersionResource{
		"ConfigMap":               configMaps,
		"Deployment":              deployments,
		"Service":                 {Version: "v1", Resource: "services"},
		"ServiceAccount":          {Version: "v1", Resource: "serviceaccounts"},
		"Role":                    {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		"RoleBinding":             {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		"HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
		"PodDisruptionBudget":     {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
		"NetworkPolicy":           {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	}
)

// A world is an API server, a Git server, and plumb between them.
type world struct {
	*bench
	kind       *kind
	n          int // units
	dir        string
	kubeconfig string
	client     dynamic.Interface
	core       rest.Interface
	sandboxUp  *child.Child
	gitUp      *child.Child
	plumb      *child.Child
	repo, url  string // the bare repository
	hint       string // addresses of plumb
	health     string
	metrics    string
	pprof      string
	audit      audit
	loop       bareLoop
	next       int // unit to pick
	versions   int
}

func newWorld(ctx context.Context, b *bench, k *kind, n int) (w *world, err error) {
	dir, err := os.MkdirTemp("", "plumb-bench-")
	if err != nil {
		return nil, err
	}
	w = &world{bench: b, kind: k, n: n, dir: dir, kubeconfig: filepath.Join(dir, "kubeconfig"), repo: filepath.Join(dir, "git", "apps.git")}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.end())
		}
	}()
	w.sandboxUp, err = child.Start(dir, "sandbox", nil, b.sandboxPath, "up", "--dir", filepath.Join(dir, "cluster"), "--kubeconfig", w.kubeconfig,
		"--api-only", "--ephemeral", "--audit", "--until-eof")
	if err != nil {
		return w, err
	}
	w.audit = audit{path: filepath.Join(dir, "cluster", "log", "audit.log"), seen: map[string]bool{}}
	if err := w.serveGit(ctx); err != nil {
		return w, err
	}
	err = w.sandboxUp.Until(ctx, 3*time.Minute, func() error { _, err := os.Stat(w.kubeconfig); return err })
	if err != nil {
		return w, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", w.kubeconfig)
	if err != nil {
		return w, err
	}
	config.QPS, config.UserAgent, config.WarningHandler = -1, "bench", rest.NoWarnings{}
	if w.client, err = dynamic.NewForConfig(config); err != nil {
		return w, err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return w, err
	}
	w.core = clientset.CoreV1().RESTClient()
	return w, w.install(ctx)
}

// stopPatience is how long a program may take to end.
const stopPatience = 30 * time.Second

// end ends all that runs and removes what it left.
func (w *world) end() error {
	return errors.Join(w.plumb.Stop(stopPatience), w.gitUp.Stop(stopPatience), w.sandboxUp.Stop(stopPatience), os.RemoveAll(w.dir))
}

// serveGit makes the repository and serves it.
func (w *world) serveGit(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(w.repo), 0o755); err != nil {
		return err
	}
	if _, err := git(ctx, w.repo, nil, "init", "--quiet", "--bare", "--initial-branch=main"); err != nil {
		return err
	}
	files := map[string]string{}
	for i := range w.n {
		maps.Copy(files, appFiles(unitName(i), "1.0.0"))
	}
	for i := range chainLength {
		files[chainDir(i)+"/configmap.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\n", chainName(i), appSpace)
	}
	if err := importCommit(ctx, w.repo, files, "all apps"); err != nil {
		return err
	}
	addr, err := child.FreeAddr("127.0.0.1")
	if err != nil {
		return err
	}
	w.url = "http://" + addr + "/apps.git"
	w.gitUp, err = child.Start(w.dir, "git", nil, w.sandboxPath, "git", "--root", filepath.Dir(w.repo), "--addr", addr, "--until-eof")
	if err != nil {
		return err
	}
	return w.gitUp.Until(ctx, 30*time.Second, func() error { return child.Get(ctx, w.url+"/info/refs?service=git-upload-pack", io.Discard) })
}

// install makes the namespaces and the definitions.
func (w *world) install(ctx context.Context) error {
	for _, name := range []string{unitSpace, appSpace, floorSpace, againSpace} {
		if err := w.createNamespace(ctx, name); err != nil {
			return err
		}
	}
	for _, d := range append(flux.Definitions(), argocd.Definitions()...) {
		if err := w.define(ctx, d); err != nil {
			return err
		}
		if d.GetName() != w.kind.resource.GroupResource().String() {
			continue
		}
		d = d.DeepCopy()
		floors := w.kind.floors()
		d.SetName(floors.GroupResource().String())
		if err := unstructured.SetNestedField(d.Object, floors.Group, "spec", "group"); err != nil {
			return err
		}
		unstructured.RemoveNestedField(d.Object, "spec", "names", "shortNames")
		if err := w.define(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) createNamespace(ctx context.Context, name string) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err := w.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(ctx, ns, metav1.CreateOptions{})
	return err
}

// define creates a CustomResourceDefinition and waits until it can be used.
func (w *world) define(ctx context.Context, d *unstructured.Unstructured) error {
	if _, err := w.client.Resource(definitions).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("define %s: %w", d.GetName(), err)
	}
	return w.sandboxUp.Until(ctx, time.Minute, func() error {
		u, err := w.client.Resource(definitions).Get(ctx, d.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !condition(u, "Established") {
			return fmt.Errorf("%s is not established", d.GetName())
		}
		return nil
	})
}

// serve starts plumb. It does not wait until it is ready.
func (w *world) serve() (err error) {
	for _, addr := range []*string{&w.hint, &w.health, &w.metrics, &w.pprof} {
		if *addr, err = child.FreeAddr("127.0.0.1"); err != nil {
			return err
		}
	}
	w.plumb, err = child.Start(w.dir, "plumb", nil, w.plumbPath, "serve", "--kubeconfig", w.kubeconfig, "--data", w.data(),
		"--hint-addr", w.hint, "--health-addr", w.health, "--metrics-addr", w.metrics, "--pprof-addr", w.pprof,
		"--argocd-namespace", unitSpace)
	return err
}

func (w *world) usage() (usage, bool) { return usageOf(w.plumb.PID()) }

// serverCPU is what the API server and etcd have used.
func (w *world) serverCPU() time.Duration {
	var sum time.Duration
	for _, name := range []string{"kube-apiserver", "etcd"} {
		b, err := os.ReadFile(filepath.Join(w.dir, "cluster", "run", name+".pid"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			continue
		}
		if u, ok := usageOf(pid); ok {
			sum += u.cpu
		}
	}
	return sum
}

// poke tells plumb that the repository was pushed to.
func (w *world) poke(ctx context.Context) error {
	return child.Hint(ctx, "http://"+w.hint+"/hint", w.url)
}

// profile writes profiles of plumb and of the API server, until the returned
// function is called and then until they are written.
func (w *world) profile(ctx context.Context, name string, length time.Duration) (wait func() error) {
	if w.profiles == "" {
		return func() error { return nil }
	}
	write := func(suffix string, get func(io.Writer) error) error {
		f, err := os.Create(filepath.Join(w.profiles, fmt.Sprintf("%s-%d-%s.%s", w.kind.name, w.n, name, suffix)))
		if err != nil {
			return err
		}
		return errors.Join(get(f), f.Close())
	}
	ofPlumb := func(query string) func(io.Writer) error {
		return func(f io.Writer) error { return child.Get(ctx, "http://"+w.pprof+"/debug/pprof/"+query, f) }
	}
	listens := func() error { // which takes it a moment after a start
		return w.plumb.Until(ctx, w.patience(), func() error { return ofPlumb("cmdline")(io.Discard) })
	}
	seconds := fmt.Sprint(int(max(1, length.Seconds())))
	done := make(chan error, 2)
	go func() {
		done <- errors.Join(listens(), write("cpu", ofPlumb("profile?seconds="+seconds)))
	}()
	go func() {
		done <- write("server-cpu", func(f io.Writer) error {
			b, err := w.core.Get().AbsPath("/debug/pprof/profile").Param("seconds", seconds).Do(ctx).Raw()
			if err != nil {
				return err
			}
			_, err = f.Write(b)
			return err
		})
	}()
	return func() error { return errors.Join(write("heap", ofPlumb("heap")), <-done, <-done) }
}

// data is the folder of plumb.
func (w *world) data() string { return filepath.Join(w.dir, "data") }

// condition reports whether a condition of an object is true.
func condition(u *unstructured.Unstructured, name string) bool {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == name {
			return m["status"] == "True"
		}
	}
	return false
}

// parallel calls f for 0 to n-1, with sixteen calls under way.
func parallel(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil && !apierrors.IsAlreadyExists(err) {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return first
}
