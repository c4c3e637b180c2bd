package toy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/source/stores"
)

const definition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pairs.toy.plumb.dev}
spec:
  group: toy.plumb.dev
  scope: Namespaced
  names: {kind: Pair, plural: pairs, singular: pair, listKind: PairList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

// A world is a control plane with Pairs, and plumb at work on them.
type world struct {
	*testing.T
	env  *kubetest.Env
	ns   string
	data string
	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, env: kubetest.Start(t), data: t.TempDir()}
	w.ns = w.env.Namespace(t)
	if err := w.env.Client.Create(t.Context(), parsed(t, definition)); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	kubetest.Eventually(t, time.Minute, func() error {
		_, err := w.env.Kubectl(t.Context(), "", "get", "pairs", "-n", w.ns)
		return err
	})
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func parsed(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// start begins to serve Pairs, as plumb serve does.
func (w *world) start() {
	w.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	mgr, err := ctrl.NewManager(w.env.Config, ctrl.Options{
		Logger: logr.Discard(),
		Scheme: clientgoscheme.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	if err != nil {
		w.Fatal(err)
	}
	clientset, err := kubernetes.NewForConfig(w.env.Config)
	if err != nil {
		w.Fatal(err)
	}
	store, err := stores.Open(w.data)
	if err != nil {
		w.Fatal(err)
	}
	_, err = control.Setup(ctx, mgr, []control.Dialect{dialect{}}, control.Options{
		Stores: store, Clientset: clientset, Events: record.NewFakeRecorder(1000), Log: slog.New(slog.DiscardHandler), RenderMemory: 1 << 20, Concurrent: 4,
	})
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
		if err := store.Close(); err != nil {
			w.Error(err)
		}
		w.stop = func() {}
	}
}

func (w *world) put(spec string) {
	w.Helper()
	var body map[string]any
	if err := yaml.Unmarshal([]byte(spec), &body); err != nil {
		w.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"spec": body})
	if err != nil {
		w.Fatal(err)
	}
	o := parsed(w.T, fmt.Sprintf("{apiVersion: toy.plumb.dev/v1, kind: Pair, metadata: {name: pair, namespace: %s}}", w.ns))
	err = w.env.Client.Patch(w.Context(), o, client.RawPatch("application/merge-patch+json", patch))
	if apierrors.IsNotFound(err) {
		o.Object["spec"] = body
		err = w.env.Client.Create(w.Context(), o)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// said is the status of the Pair in a line.
func (w *world) said() string {
	o := parsed(w.T, "{apiVersion: toy.plumb.dev/v1, kind: Pair}")
	if err := w.env.Client.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: "pair"}, o); err != nil {
		return err.Error()
	}
	r := &pairs{client: w.env.Client}
	_, _, st, err := r.read(w.Context(), client.ObjectKeyFromObject(o))
	if err != nil {
		return err.Error()
	}
	line := st.State
	for _, r := range st.Repeated {
		line += ", repeated " + r.Name
	}
	if st.Message != "" {
		line += ": " + strings.ReplaceAll(st.Message, w.ns+"/", "")
	}
	if op := st.Operation; op != nil {
		line += fmt.Sprintf(" | %s %s", op.ID, op.Stage)
	}
	return line
}

func (w *world) says(want string) {
	w.Helper()
	kubetest.Eventually(w.T, time.Minute, func() error {
		if got := w.said(); got != want {
			return fmt.Errorf("it says %q, want %q", got, want)
		}
		return nil
	})
}

// holds checks the ConfigMaps of the Pair: name=value.
func (w *world) holds(want ...string) {
	w.Helper()
	if got := w.env.ConfigMaps(w, w.ns); !slices.Equal(got, want) {
		w.Errorf("it holds %v, want %v", got, want)
	}
}

func (w *world) edit(name, value string) {
	w.Helper()
	w.env.EditConfigMap(w, w.ns, name, value)
}

func configMap(name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {k: %q}\n", name, value)
}

// A custom resource of two sources, which is brought to them only by hand, once
// or at older commits, runs on the engine as it is.
func TestAPairOfSourcesIsSyncedByHand(t *testing.T) {
	w := newWorld(t)
	repo := gittest.New(t).Repo(t, "pair")
	first := repo.Commit(t, map[string]string{
		"left/a.yaml": configMap("a", "1") + configMap("b", "left"), "right/b.yaml": configMap("b", "right") + configMap("c", "1"),
	}, "first")
	pair := fmt.Sprintf("{url: %q, paths: [left, right], sync: SYNC}", repo.URL())
	sync := func(what string) { w.put(strings.Replace(pair, "SYNC", what, 1)) }

	sync("null")
	w.says("OutOfSync, repeated b: not as desired: ConfigMap/a, ConfigMap/b, ConfigMap/c")
	w.holds()

	sync(`{id: "1"}`)
	w.says("Ready, repeated b | 1 Succeeded")
	w.holds("a=1", "b=right", "c=1")

	w.edit("a", "by hand")
	w.says("OutOfSync, repeated b: not as desired: ConfigMap/a | 1 Succeeded")
	w.holds("a=by hand", "b=right", "c=1")

	repo.Commit(t, map[string]string{"right/b.yaml": configMap("b", "new")}, "second")
	w.says("OutOfSync, repeated b: not as desired: ConfigMap/a, ConfigMap/b, ConfigMap/c | 1 Succeeded")

	// At the commits of before: what was changed by hand is put back, and what
	// the new one brings is not there yet.
	sync(fmt.Sprintf(`{id: "2", at: [%[1]s, %[1]s]}`, first))
	w.says("OutOfSync, repeated b: not as desired: ConfigMap/b, ConfigMap/c | 2 Succeeded")
	w.holds("a=1", "b=right", "c=1")

	// A restart does not do it again.
	w.stop()
	w.edit("c", "by hand")
	w.start()
	w.says("OutOfSync, repeated b: not as desired: ConfigMap/b, ConfigMap/c | 2 Succeeded")
	w.holds("a=1", "b=right", "c=by hand")

	sync(`{id: "3", at: null}`)
	w.says("Ready, repeated b | 3 Succeeded")
	w.holds("a=1", "b=new")
}

func inTurn(name, value, turn string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {toy.plumb.dev/turn: %q}}\ndata: {k: %q}\n", name, turn, value)
}

// By itself a Pair goes to each commit once: first what is before, then wave by
// wave, then what is after. A restart in between takes nothing back.
func TestAPairGoesToEachCommitByItself(t *testing.T) {
	w := newWorld(t)
	repo := gittest.New(t).Repo(t, "pair")
	migration := `---
apiVersion: v1
kind: Pod
metadata: {name: migrate, annotations: {toy.plumb.dev/turn: before}}
spec: {schedulerName: nobody, restartPolicy: Never, containers: [{name: c, image: example.com/c}]}
`
	repo.Commit(t, map[string]string{"one/a.yaml": inTurn("last", "1", "5") + inTurn("first", "1", "-5") + inTurn("notes", "1", "after") + migration}, "first")
	w.put(fmt.Sprintf("{url: %q, paths: [one], auto: true}", repo.URL()))
	pod := func() *unstructured.Unstructured {
		o := parsed(t, "{apiVersion: v1, kind: Pod}")
		kubetest.Eventually(t, time.Minute, func() error {
			return w.env.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "migrate"}, o)
		})
		return o
	}
	waits := func() {
		t.Helper()
		kubetest.Eventually(t, time.Minute, func() error {
			if got := w.said(); !strings.HasPrefix(got, "Progressing: waiting for completion of hook of Pod/migrate | automatic") {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		})
	}
	before := pod()
	waits()
	w.holds()
	w.stop()
	w.start()
	if err := w.env.Client.Status().Patch(t.Context(), pod(), client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Succeeded"}}`))); err != nil {
		t.Fatal(err)
	}
	ready := func(want ...string) {
		t.Helper()
		kubetest.Eventually(t, time.Minute, func() error {
			got := w.said()
			if held := w.env.ConfigMaps(t, w.ns); !strings.HasPrefix(got, "Ready | automatic") || !strings.HasSuffix(got, "Succeeded") || !slices.Equal(held, want) {
				return fmt.Errorf("it says %q and holds %v", got, held)
			}
			return nil
		})
	}
	ready("first=1", "last=1", "notes=1")
	if pod().GetUID() != before.GetUID() {
		t.Error("the hook ran twice")
	}
	repo.Commit(t, map[string]string{"one/a.yaml": inTurn("last", "2", "5") + inTurn("notes", "2", "after")}, "second")
	ready("last=2", "notes=2")
}
