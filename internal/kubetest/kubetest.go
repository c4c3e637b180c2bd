// Package kubetest gives tests a real Kubernetes API server.
//
// [Start] returns a control plane that all packages of a go test run share,
// with controllers and simulated nodes where the server is plumb's own
// sandbox, so that Deployments become ready. It starts when the first test
// asks for it and ends some seconds after the last process that used it,
// however that process ended. A test keeps to namespaces of its own, from
// [Env.Namespace], and leaves objects outside of them as they are.
//
// [Private] returns a sandbox for one test alone, which may break it.
//
// KUBECONFIG_TEST names a kubeconfig of an existing cluster to use for the
// shared one; else KUBEBUILDER_ASSETS names a folder with etcd and
// kube-apiserver (which have no controllers: see [Env.RequireControllers]);
// else the sandbox is used, and built first if this machine has not built the
// same before.
package kubetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/tools"
)

// patience is how long a control plane may take to start. It takes seconds;
// the rest is for machines that are busy with something else.
const patience = 4 * time.Minute

// An Env is a control plane, and the administrator's way to it.
type Env struct {
	Config     *rest.Config // a test that changes it takes a copy
	Kubeconfig string       // the path of a file
	Client     client.Client

	kind    kind
	sandbox *sandbox // of a private one
}

// A kind is what a control plane is run by.
type kind string

const (
	existing kind = "existing" // KUBECONFIG_TEST
	assets   kind = "assets"   // KUBEBUILDER_ASSETS
	own      kind = "sandbox"
)

// chosen is the kind of the shared control plane.
func chosen() kind {
	switch {
	case os.Getenv("KUBECONFIG_TEST") != "":
		return existing
	case os.Getenv("KUBEBUILDER_ASSETS") != "":
		return assets
	}
	return own
}

var shared = sync.OnceValues(func() (*Env, error) {
	if k := chosen(); k != existing {
		return join(k)
	}
	path, err := filepath.Abs(os.Getenv("KUBECONFIG_TEST"))
	if err != nil {
		return nil, err
	}
	return newEnv(existing, path)
})

// Start returns the control plane that the packages of a test run share.
func Start(t testing.TB) *Env {
	t.Helper()
	env, err := shared()
	if err != nil {
		t.Fatalf("start the shared control plane: %v", err)
	}
	return env
}

func newEnv(k kind, kubeconfig string) (*Env, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	c, err := client.New(config, client.Options{Log: klog.Background()})
	if err != nil {
		return nil, err
	}
	return &Env{Config: config, Kubeconfig: kubeconfig, Client: c, kind: k}, nil
}

// RequireControllers skips the test if nothing but an API server runs: no
// Deployment gets Pods there, and no namespace is emptied.
func (e *Env) RequireControllers(t testing.TB) {
	t.Helper()
	if e.kind == assets {
		t.Skip("needs kube-controller-manager, which KUBEBUILDER_ASSETS does not have")
	}
}

// Namespace creates a namespace and returns its name. It is deleted when the
// test ends; nobody waits for that.
func (e *Env) Namespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: slug(t.Name()) + "-",
		Labels:       map[string]string{"plumb.dev/test": "true"},
	}}
	if err := e.Client.Create(t.Context(), ns); err != nil {
		t.Fatalf("create a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Client.Delete(ctx, ns); client.IgnoreNotFound(err) != nil {
			t.Logf("delete namespace %s: %v", ns.Name, err)
		}
	})
	return ns.Name
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// slug is the start of a namespace's name that says whose it is.
func slug(test string) string {
	s := notInNames.ReplaceAllString(strings.ToLower(test), "-")
	s = "t-" + strings.Trim(strings.TrimPrefix(s, "test"), "-")
	if len(s) > 40 {
		s = s[:40]
	}
	return strings.TrimRight(s, "-")
}

// Kubectl runs kubectl as the administrator, with input as its standard
// input, and returns its standard output. The error holds what it said else.
func (e *Env) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	path, args, err := e.kubectl(args)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Shell runs a script with bash, as a person who is the administrator would,
// and returns what it printed.
func (e *Env) Shell(t testing.TB, script string) (string, error) {
	t.Helper()
	exe, _, err := e.kubectl(nil)
	if err != nil {
		return "", err
	}
	// The sandbox is kubectl when it is called by that name.
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "kubectl")); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig, "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// kubectl is the sandbox's own one, which is as old as the server. Other
// servers come with no sandbox, and are used with what the machine has.
func (e *Env) kubectl(args []string) (string, []string, error) {
	if e.kind != own {
		path, err := exec.LookPath("kubectl")
		if err != nil {
			err = fmt.Errorf("%w; install kubectl, or unset KUBECONFIG_TEST and KUBEBUILDER_ASSETS to use the sandbox's", err)
		}
		return path, args, err
	}
	exe, err := sandboxProgram()
	return exe, append([]string{"kubectl"}, args...), err
}

// sandboxProgram builds the sandbox if need be. go test keeps what a test
// prints until it ends, so progress goes to the terminal, if there is one.
var sandboxProgram = sync.OnceValues(func() (string, error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	progress := os.Stderr
	if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		defer tty.Close()
		progress = tty
	}
	return tools.Build(root, tools.Sandbox, progress)
})

// Eventually calls done until it returns no error, and fails the test with
// the last one if that takes longer than within.
func Eventually(t testing.TB, within time.Duration, done func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, 250*time.Millisecond) {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not so after %s: %v", within, err)
		}
		if t.Context().Err() != nil {
			t.Fatalf("the test ended before it was so: %v", err)
		}
		time.Sleep(pause)
	}
}

// Ready returns nil when the API server answers that it is ready.
func (e *Env) Ready(ctx context.Context) error {
	hc, err := rest.HTTPClientFor(e.Config)
	if err != nil {
		return err
	}
	return ready(ctx, hc, e.Config.Host)
}

var errNotReady = errors.New("not ready")
