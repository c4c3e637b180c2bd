package argocd_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	api "plumb.dev/plumb/api/argocd"
	pt "plumb.dev/plumb/internal/plumbtest"
)

var (
	kills = flag.Int("kills", 6, "how often plumb is killed while an Application syncs")
	seed  = flag.Uint64("seed", 0, "of when that is; 0: another one each time")
)

// However often plumb is killed in the middle of operations with hooks and waves,
// each operation is carried out once, each hook runs once for it, and what it
// brings is there.
func TestOperationsSurviveKills(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("go test ./test/argocd -run %s -kills %d -seed %d", t.Name(), *kills, *seed)
	random := rand.New(rand.NewPCG(*seed, 0))
	w := &world{World: pt.New(t)}
	w.RequireControllers(t)
	w.argocd(t)
	files := func(value string) map[string]string {
		return map[string]string{
			"app/before.yaml": job("before", "argocd.argoproj.io/hook: PreSync", "true"),
			"app/last.yaml":   job("last", "argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/sync-wave: \"1\", argocd.argoproj.io/hook-delete-policy: HookSucceeded", "true"),
			"app/after.yaml":  job("after", "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: HookSucceeded", "true"),
			"app/c.yaml":      inWave("second", "2") + "---\n" + inWave("first", "-1") + "---\n" + pt.ConfigMap("value", "k", value),
		}
	}
	ns, r := w.start(t, files("start"))
	app := w.app(t, ns, r)
	w.is(t, app, "OutOfSync Missing", "")
	jobs := w.Seen(t, batchv1.SchemeGroupVersion.WithResource("jobs"), ns)
	killed, operations := 0, 0
	for ; killed < *kills; operations++ {
		value := fmt.Sprint("value-", operations)
		commit := w.Commit(t, r, files(value))
		w.patch(t, app, `{"operation":{"sync":{"revision":"`+commit+`","prune":true}}}`)
		for end := time.Now().Add(4 * pt.Patience); ; {
			time.Sleep(time.Duration(random.IntN(600)) * time.Millisecond)
			if a, err := w.read(t, app); err == nil && over(&a, commit) {
				break
			}
			if time.Now().After(end) {
				a, err := w.read(t, app)
				t.Fatalf("operation %d is not over: %v %+v %+v", operations, err, a.Operation, a.Status.OperationState)
			}
			if killed < *kills && random.IntN(3) == 0 {
				killed++
				w.Plumb.Kill(syscall.SIGKILL)
				w.Plumb.Start()
			}
		}
		a := w.done(t, app, api.PhaseSucceeded)
		if h := a.Status.History; len(h) == 0 || h[len(h)-1].ID != int64(operations) || h[len(h)-1].Revision != commit {
			t.Errorf("after operation %d the history is %+v", operations, h)
		}
		for _, name := range []string{"first", "second"} {
			if _, err := w.Object(t.Context(), configMap, ns, name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.Await(t, configMap, ns, "value", pt.Has("data.k", value))
	}
	for name, n := range jobs() {
		if n != operations {
			t.Errorf("%s has run %d times in %d operations", name, n, operations)
		}
	}
	if n := len(jobs()); n != 3 {
		t.Errorf("of three hooks %d have run", n)
	}
	t.Logf("%d operations, %d kills", operations, killed)
}

// over reports whether the operation to a commit is.
func over(a *api.Application, commit string) bool {
	s := a.Status.OperationState
	return a.Operation == nil && s != nil && s.FinishedAt != nil && s.Operation.Sync != nil && s.Operation.Sync.Revision == commit
}

// argocd has the namespace of Applications be there.
func (w *world) argocd(t *testing.T) {
	t.Helper()
	if out, err := w.Kubectl(t.Context(), "apiVersion: v1\nkind: Namespace\nmetadata: {name: argocd}\n", "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
