// Package contract_test runs the script that drives, with kubectl alone, what
// clients of Flux's API rely on.
package contract_test

import (
	"os"
	"os/exec"
	"testing"

	pt "plumb.dev/plumb/internal/plumbtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	pt.Clean()
	os.Exit(code)
}

func TestContract(t *testing.T) {
	w := pt.New(t)
	r := w.Git.Repo(t, "app")
	r.Commit(t, map[string]string{
		"app/a.yaml": pt.ConfigMap("a"),
		"app/b.yaml": pt.ConfigMap("b"),
		"app/web.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginx:1.21.0"}]}
`,
	}, "start")
	cmd := exec.CommandContext(t.Context(), "./contract.sh", "contract", r.URL())
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
