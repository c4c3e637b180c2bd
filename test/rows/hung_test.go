package rows_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/internal/line/linetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// hung accepts connections on 127.0.0.1 and never answers.
func hung(t *testing.T) (addr string) {
	t.Helper()
	return linetest.Serve(t, func(net.Conn) { <-t.Context().Done() })
}

// Other clusters that do not answer keep no unit of plumb's own from being
// held true, and say so.
func TestClustersThatNeverAnswerHoldNobodyElse(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	unit(t, w, ns, "own", three)
	w.AwaitReady(t, ns, "own", "")
	one := hung(t)
	for i := range 40 {
		// Some share a server, some have their own.
		addr := one
		if i%2 == 0 {
			addr = hung(t)
		}
		name := fmt.Sprintf("remote-%d", i)
		w.Apply(t, kubeconfigSecret(ns, name, fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://%s"}}]
users: [{name: u, user: {token: t-%d}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, addr, i)))
		w.Unit(t, ns, name, "own", "./app", "kubeConfig: {secretRef: {name: "+name+"}}", "retryInterval: 1s")
	}
	message := w.AwaitReason(t, pt.Kustomization, ns, "remote-0", "ClusterNotAnswering")
	contains(t, message, "has not answered since")
	kubetest.Eventually(t, pt.Patience, func() error {
		s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, "remote-1")
		if c := s.Condition("Ready"); err == nil && (c.Status != metav1.ConditionUnknown || c.Reason != "ClusterNotAnswering") {
			err = fmt.Errorf("what nobody can see is said to be %+v", c)
		}
		return err
	})
	for i := range 5 {
		if out, err := w.Kubectl(t.Context(), "", "-n", ns, "delete", "configmap/a"); err != nil {
			t.Fatal(i, out, err)
		}
		w.Await(t, configMap, ns, "a", nil)
	}
	fresh := w.Namespace(t)
	unit(t, w, fresh, "fresh", three)
	w.AwaitReady(t, fresh, "fresh", "")
}

// A cluster that is lost while all of its units rest is found out although
// nobody looks at any.
func TestAClusterThatIsLostWhileAllRestsIsFoundOut(t *testing.T) {
	// How long a connection may be silent before it is tried.
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "2")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "2")
	w := pt.On(t, kubetest.Private(t, "--audit", "--api-only"))
	ns := w.Namespace(t)
	way := forward(t, w)
	w.Apply(t, kubeconfigSecret(ns, "remote", kubeconfig(w, way.Addr())))
	unit(t, w, ns, "u", three, "kubeConfig: {secretRef: {name: remote}}")
	w.Unit(t, ns, "v", "u", "./app", "targetNamespace: "+w.Namespace(t), "kubeConfig: {secretRef: {name: remote}}")
	for _, name := range []string{"u", "v"} {
		w.AwaitReady(t, ns, name, "")
	}
	for what, lose := range map[string]func(){"it hangs": way.Hang, "its connections end": way.Cut} {
		t.Run(what, func(t *testing.T) {
			began := time.Now()
			lose()
			for _, name := range []string{"u", "v"} {
				kubetest.Eventually(t, 2*pt.Patience, func() error {
					s, _, err := w.StatusOf(t.Context(), pt.Kustomization, ns, name)
					if c := s.Condition("Ready"); err == nil && (c.Status != metav1.ConditionUnknown || c.Reason != "ClusterNotAnswering") {
						err = fmt.Errorf("what nobody can see is said to be %+v", c)
					}
					return err
				})
				contains(t, w.AwaitReason(t, pt.Kustomization, ns, name, "ClusterNotAnswering"), way.Addr()+" has not answered since")
			}
			way.Mend()
			for _, name := range []string{"u", "v"} {
				w.AwaitReady(t, ns, name, "")
			}
			for _, q := range w.Requests(t, began) {
				if q.Resource == "configmaps" && q.Write() {
					t.Errorf("%s %s, although nothing was to do", q.Verb, q.URI)
				}
			}
		})
	}
}

// A Git server that does not answer keeps no source of another from being
// polled.
func TestGitServersThatNeverAnswerHoldNobodyElse(t *testing.T) {
	w := pt.New(t)
	ns := w.Namespace(t)
	r := w.Git.Repo(t, ns)
	r.Commit(t, three, "start")
	w.Source(t, ns, "good", r)
	w.Unit(t, ns, "good", "good", "./app")
	w.AwaitReady(t, ns, "good", "")
	addr := hung(t)
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: hung-%d, namespace: %s}
spec: {interval: 1s, timeout: 1440m, url: "http://%s/x"}
`, i, ns, addr)
	}
	w.Apply(t, b.String())
	for i := range 5 {
		hash := w.Commit(t, r, map[string]string{"app/a.yaml": pt.ConfigMap("a", "k", fmt.Sprint(i))})
		w.AwaitReady(t, ns, "good", hash)
	}
	fresh := w.Namespace(t)
	unit(t, w, fresh, "fresh", three)
	w.AwaitReady(t, fresh, "fresh", "")
}
