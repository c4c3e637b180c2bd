package rows_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	pt "plumb.dev/plumb/internal/plumbtest"
)

// renderers are the numbers of the processes that render for plumb.
func renderers(t *testing.T, w *pt.World) (pids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(w.Plumb.PID()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// What a repository holds is read in processes that hold nothing and can get at
// nothing, and one that ends them costs its own unit.
func TestRenderersAreOnTheirOwn(t *testing.T) {
	memory := 96
	if pt.Raced() {
		memory *= 4
	}
	w := pt.New(t, "--render-worker-memory", strconv.Itoa(memory<<20), "--render-workers", "1")
	unit(t, w, w.Namespace(t), "small", three)
	pids := renderers(t, w)
	if len(pids) != 1 {
		t.Fatalf("%d processes render", len(pids))
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pids[0]))
	if err != nil || len(env) != 0 {
		t.Errorf("its environment is %q, %v", env, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
	if err != nil || !strings.Contains(string(status), "Seccomp:\t2\n") || !strings.Contains(string(status), "NoNewPrivs:\t1\n") {
		t.Errorf("it is not confined: %v\n%s", err, status)
	}
	if log := w.Plumb.Log(); strings.Contains(log, "less confined") {
		t.Error("it says that it is not")
	}

	large := map[string]string{}
	for i := range 9_000 {
		large[fmt.Sprintf("app/%d.yaml", i%10)] += "---\n" + pt.ConfigMap(fmt.Sprint("c", i), "k", strings.Repeat("v", 500))
	}
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns+"-large")
	r.Commit(t, large, "start")
	w.Source(t, ns, "large", r)
	w.Unit(t, ns, "large", "large", "./app")
	contains(t, w.AwaitReason(t, pt.Kustomization, ns, "large", "RenderOutOfMemory"), fmt.Sprintf("rendering %q takes more than %d MiB", "app", memory), "--render-worker-memory")
	if !w.Plumb.Runs() {
		t.Fatal("plumb has ended")
	}
	unit(t, w, w.Namespace(t), "after", three)
	for _, pid := range renderers(t, w) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	unit(t, w, w.Namespace(t), "again", three)
}
