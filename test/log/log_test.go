// Package log_test runs plumb through what makes programs and libraries talk,
// and reads every line of its log as the programs of its users do.
package log_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

// inputs are directories of a repository; each is a unit of its own.
var inputs = map[string]map[string]string{
	"deprecated fields of Kustomize": {
		"kustomization.yaml": "bases: [base]\ncommonLabels: {a: b}\npatchesStrategicMerge: [patch.yaml]\nimageTags: []\n" +
			"vars: [{name: UNUSED, objref: {apiVersion: v1, kind: ConfigMap, name: settings}}]\n",
		"patch.yaml":              pt.ConfigMap("settings", "a", "b"),
		"base/kustomization.yaml": "resources: [a.yaml]\n",
		"base/a.yaml":             pt.ConfigMap("settings", "x", "y"),
	},
	"an unknown kind":                  {"a.yaml": "{apiVersion: example.com/v1, kind: Widget, metadata: {name: a}}"},
	"an object that is refused":        {"a.yaml": "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 123456}]}}"},
	"YAML that is none":                {"a.yaml": "{apiVersion: v1, kind: [ConfigMap"},
	"a version that is on its way out": {"a.yaml": "{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]}"},
	"a field that the server warns of": {"a.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {seccomp.security.alpha.kubernetes.io/pod: runtime/default}}, " +
		"spec: {containers: [{name: a, image: a, env: [{name: A, value: a}, {name: A, value: b}]}]}}"},
	"a substitution without a value": {"a.yaml": pt.ConfigMap("a", "b", "${nothing}")},
}

func TestEveryLineOfTheLogIsJSON(t *testing.T) {
	flags := []string{"--log-format", "json", "--log-level", "debug", "--insecure-kubeconfig-exec", "--leader-elect", "--leader-namespace", "default"}
	w := pt.On(t, kubetest.Private(t), flags...)
	await(t, w.Plumb, `"msg":"Starting workers"`)
	other := pt.Serve(t, w.Env, flags...)
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	files := map[string]string{"drift/a.yaml": pt.ConfigMap("drift", "a", "b")}
	units := map[string]string{}
	for name, in := range inputs {
		dir := strings.ReplaceAll(strings.ToLower(name), " ", "-")
		units[dir] = name
		for file, content := range in {
			files[dir+"/"+file] = content
		}
	}
	r.Commit(t, files, "start")
	w.Source(t, ns, "src", r)
	for dir := range units {
		w.Unit(t, ns, dir, "src", "./"+dir, "postBuild: {substitute: {a: b}}")
	}
	w.Unit(t, ns, "drift", "src", "./drift")
	elsewhere(t, w, ns)
	w.AwaitReady(t, ns, "remote", "")

	w.AwaitReady(t, ns, "drift", "")
	if _, err := w.Kubectl(t.Context(), "", "patch", "configmap/drift", "-n", ns, "--type=merge", "-p", `{"data":{"a":"c"}}`); err != nil {
		t.Fatal(err)
	}
	w.Await(t, "v1/ConfigMap", ns, "drift", pt.Has("data.a", "b"))
	for dir, name := range units {
		kubetest.Eventually(t, pt.Patience, func() error {
			s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, dir)
			if err == nil && len(s.Conditions) == 0 {
				err = fmt.Errorf("%s has not been looked at", name)
			}
			return err
		})
	}
	w.AwaitReason(t, pt.Kustomization, ns, "exec", "ReconciliationFailed")
	await(t, w.Plumb, "the program of a kubeconfig speaks")
	for _, path := range []string{"/metrics", "/nothing"} {
		pt.Get(t, strings.TrimSuffix(w.Plumb.Metric, "/metrics")+path)
		pt.Get(t, w.Plumb.Health+path)
	}
	pt.Get(t, w.Plumb.Hint)
	// The other takes over and works on the same.
	w.Plumb.Kill(syscall.SIGTERM)
	await(t, other, `"msg":"Starting workers"`)
	other.Kill(syscall.SIGTERM)

	for name, p := range map[string]*pt.Process{"the first": w.Plumb, "the second": other} {
		isJSON(t, name, p.Log())
		if strings.Contains(p.Log(), "Endpoints is deprecated") {
			t.Errorf("%s logs what a server warns of", name)
		}
	}
}

func await(t *testing.T, p *pt.Process, text string) {
	t.Helper()
	kubetest.Eventually(t, pt.Patience, func() error {
		if !strings.Contains(p.Log(), text) {
			return fmt.Errorf("%q is not in the log", text)
		}
		return nil
	})
}

// elsewhere adds units on the same cluster by a kubeconfig: one whose server
// warns, and one that runs a program that writes to standard error.
func elsewhere(t *testing.T, w *pt.World, ns string) {
	t.Helper()
	own, err := os.ReadFile(w.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	noisy := fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s", certificate-authority-data: "%s"}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh,
  args: [-c, "echo 'the program of a kubeconfig speaks' >&2; exit 1"]}}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, w.Config.Host, base64.StdEncoding.EncodeToString(w.Config.CAData))
	for name, config := range map[string]string{"remote": string(own), "exec": noisy} {
		secret, err := yaml.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": ns}, "stringData": map[string]any{"value": config},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.Apply(t, string(secret))
		w.Unit(t, ns, name, "src", "./a-version-that-is-on-its-way-out", "kubeConfig: {secretRef: {name: "+name+"}}", "namePrefix: "+name+"-")
	}
}

// isJSON checks each line of a log.
func isJSON(t *testing.T, name, log string) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(log) {
		lines++
		var record struct {
			TS         time.Time
			Level, Msg string
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.TS.IsZero() || record.Level == "" || record.Msg == "" {
			t.Errorf("%s: %v: %.300q", name, err, line)
		}
	}
	if lines == 0 {
		t.Errorf("%s: nothing was logged", name)
	}
}

func TestAStartThatFailsSaysSoInJSON(t *testing.T) {
	for name, kubeconfig := range map[string]string{
		"there is no kubeconfig": "/nowhere",
		"nobody answers": "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n" +
			"contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := kubeconfig
			if strings.Contains(kubeconfig, "\n") {
				path = t.TempDir() + "/config"
				if err := os.WriteFile(path, []byte(kubeconfig), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command(pt.Binary(t), "serve", "--kubeconfig", path, "--data", t.TempDir(),
				"--metrics-addr", "0", "--health-addr", "0", "--hint-addr", "0").CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ends with %v", err)
			}
			isJSON(t, name, string(out))
		})
	}
}
