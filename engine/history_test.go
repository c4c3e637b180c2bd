package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/tree"
	"plumb.dev/plumb/watch"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed of the first history; 0: another one each time")
	steps = flag.Int("steps", 24, "how many commits the histories have together")
)

// Whatever has happened to a unit and its objects, what a preview says of a
// commit is what is done about it: no more, no less, and nothing else.
func TestWhatIsForetoldIsDone(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("go test ./engine -run %s -seed %d -steps %d", t.Name(), *seed, *steps)
	env := kubetest.Start(t)
	const each = 12 // commits of one history
	seen := map[string]int{}
	for n := 0; n*each < *steps; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHistory(t, env, rand.New(rand.NewPCG(*seed, uint64(n))))
			h.seen = seen
			for range each {
				h.step()
			}
		})
	}
	t.Logf("seen: %v", seen)
	if *steps < enough {
		return
	}
	for _, what := range []string{
		"create", "update", "recreate", "delete", "Ready", "OutOfSync", "Waiting", "Contested", "Held", "Failed", "Suspended",
		"unknown-kind", "ignored", "ending", "if-not-present", "as-desired", "left-alone", "fight", "permission", "stage-order", "needed",
		"pruning-off", "claimed", "claims-unknown", "empty-render", "most-pruned", "surplus", "a kind that comes", "a build that fails",
	} {
		if seen[what] == 0 {
			t.Errorf("%d commits, and never %s", *steps, what)
		}
	}
}

// So many commits show all that histories are about.
const enough = 1000

// A history is what happens to one unit.
type history struct {
	*rand.Rand
	t      *testing.T
	env    *kubetest.Env
	ns     string
	log    []string
	engine *Engine
	stop   context.CancelFunc
	files  map[string]string
	unit   Unit
	other  Unit // which may want what the first one has, or had
	theirs map[string]string
	commit int
	seen   map[string]int     // how often something was done, a rule spoke, and the unit was in a state
	last   []*source.Artifact // that was applied in full by the engine; nil: it can't be told
	buoy   *corev1.ConfigMap
}

const markOf = "history.example.com/unit"

func newHistory(t *testing.T, env *kubetest.Env, r *rand.Rand) *history {
	h := &history{
		Rand: r, t: t, env: env, ns: env.Namespace(t), files: map[string]string{}, theirs: map[string]string{}, seen: map[string]int{},
	}
	h.unit, h.other = h.named("u"), h.named("other")
	t.Cleanup(func() {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(kinds[len(kinds)-1])
		crd.SetName(h.definition())
		if err := env.Client.Delete(context.WithoutCancel(t.Context()), crd); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return h
}

// definition is the name of that of Widgets.
func (h *history) definition() string { return "widgets." + h.ns + ".example.com" }

// marked is how the objects of these units are marked and read.
type marked struct{}

func (marked) Selector() string { return markOf }

func (marked) Marks(u Unit) func(object.Ref) Marks {
	m := Marks{Labels: map[string]string{markOf: strings.Replace(strings.TrimPrefix(u.Name, "Toy/"), "/", ".", 1)}}
	return func(object.Ref) Marks { return m }
}

func (marked) Owner(o *unstructured.Unstructured) string {
	ns, name, ok := strings.Cut(o.GetLabels()[markOf], ".")
	if !ok {
		return ""
	}
	return "Toy/" + ns + "/" + name
}

// Admits refuses what nobody may have.
func (marked) Admits(_ Unit, r object.Ref) error {
	if r.Name == "forbidden" {
		return errors.New("the name is not permitted")
	}
	return nil
}

func (marked) Policy(_ Unit, o *unstructured.Unstructured) (p apply.Policy) {
	p.Wave, p.Hook = turnOf(o.GetAnnotations())
	switch o.GetAnnotations()["policy"] {
	case "keep":
		p.Keep = true
	case "ignore":
		p.Mode, p.Keep = apply.Ignore, true
	case "once":
		p.Mode = apply.IfNotPresent
	case "merge":
		p.Mode = apply.Merge
	case "force":
		p.Force = true
	case "loose":
		p.Ignores = &ignore.Own{Rules: []ignore.Rule{{Pointers: []string{"/data"}}}}
	case "apart":
		p.Ignores = &ignore.Own{Rules: []ignore.Rule{{JQ: []string{".data.v"}, Apply: true}}}
	}
	return p
}

func (h *history) named(name string) Unit {
	full := "Toy/" + h.ns + "/" + name
	return Unit{
		Name: full, Namespace: h.ns, Digest: "1", Sources: []string{"Git/" + full},
		Renders:  []Rendering{{Options: render.Options{Path: ".", Builder: kustomize.Options{}}}},
		Managers: owned.Managers{Self: "history", Undo: []string{"kubectl"}},
		Prune:    Prune{Enabled: true, Approved: "any"},
		Objects:  marked{},
	}
}

// step lets others edit, commits, asks what would be done, has it done, and
// compares.
func (h *history) step() {
	h.t.Helper()
	if h.last != nil && h.IntN(4) == 0 {
		h.say("others: %s", h.quarrel(h.contestable()))
	}
	for range h.IntN(4) {
		h.say("others: %s", h.edit())
	}
	for range h.IntN(4) {
		h.say("git: %s", h.change())
	}
	h.say("other unit: %s", h.otherChanges())
	if h.last == nil || h.IntN(3) == 0 {
		h.say("a start")
		h.restart()
		h.last, h.unit.Fights = nil, nil
	}
	h.say("the unit: %s", h.asks())
	u := h.current()
	u.Last = h.last
	began := time.Now()
	foretold, refused := h.foretell(u)
	h.say("foretold: %v, %v", foretold, refused)
	before := h.snapshot()
	out, err := h.run(u, before)
	did := compare(before, h.snapshot())
	h.say("done: %v, %s: %v", did, out.State, err)
	if !slices.ContainsFunc(u.Fights, func(f apply.Fight) bool { return f.Until.After(began) && f.Until.Before(time.Now()) }) {
		// Else a pause has ended between the two.
		if diff := cmp.Diff(foretold, did); diff != "" {
			h.t.Fatalf("%s\n-foretold +done:\n%s", strings.Join(h.log, "\n"), diff)
		}
	}
	h.note(u, before, did, out, err)
}

// note is what the loop, and the status, remember of a run.
func (h *history) note(u Unit, before snapshot, did map[string]string, out Outcome, err error) {
	h.t.Helper()
	h.seen[out.State.String()]++
	for _, action := range did {
		h.seen[action]++
	}
	if u.Permission == apply.Suspended {
		return
	}
	h.last = nil
	if err == nil && out.applied() {
		h.unit.Applied, h.unit.AppliedDigest, h.last = u.Revision(), out.Digest, u.Artifacts
	}
	h.unit.Remembers, h.unit.Fights, h.unit.Prune.Held = out.Inventory, out.Fights, fault.Is(err, fault.PruneHeld)
	if out.Plan == nil {
		h.seen["a build that fails"]++
		return
	}
	told := map[string]bool{}
	for _, c := range out.Plan.Changes {
		told[c.Ref.String()] = true
		h.seen[string(c.Rule)]++
	}
	for _, en := range before.entries(h.unit.Remembers) {
		if !told[en] {
			h.t.Errorf("%s\nthe plan says nothing of %s", strings.Join(h.log, "\n"), en)
		}
	}
}

func (h *history) say(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *history) restart() {
	h.t.Helper()
	if h.stop != nil {
		h.stop()
	}
	var ctx context.Context
	ctx, h.stop = context.WithCancel(h.t.Context())
	h.t.Cleanup(h.stop)
	e, err := New(ctx, Options{
		Config: h.env.Config, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), RenderMemory: 1 << 20, Workers: 1, Elsewhere: 1,
		Artifact: func(_ context.Context, name string) (*source.Artifact, error) {
			if name == h.unit.Sources[0] {
				return h.artifact(name, h.files), nil
			}
			return h.artifact(name, h.theirs), nil
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	e.wake = func(string) {}
	h.engine = e
}

func (h *history) artifacts(name string, files map[string]string) []*source.Artifact {
	return []*source.Artifact{h.artifact(name, files)}
}

func (h *history) artifact(name string, files map[string]string) *source.Artifact {
	all := maps.Clone(files)
	var names []string
	for _, n := range slices.Sorted(maps.Keys(files)) {
		names = append(names, "\n- "+n)
	}
	all["kustomization.yaml"] = "resources:" + strings.Join(names, "")
	if len(names) == 0 {
		all["kustomization.yaml"] = "resources: []"
	}
	return &source.Artifact{Source: name, Revision: h.revision(), Tree: tree.FromFiles(all)}
}

func (h *history) revision() string { return fmt.Sprintf("main@%d", h.commit) }

// asks changes what the unit asks for.
func (h *history) asks() string {
	p := &h.unit.Prune
	p.Enabled, p.AllowEmpty, p.Approved = h.IntN(8) > 0, h.IntN(2) == 0, ""
	if h.IntN(3) > 0 {
		p.Approved = h.revision()
	}
	h.unit.Permission = apply.Everything
	if h.IntN(4) == 0 {
		h.unit.Permission = apply.Permission(h.IntN(4))
	}
	h.unit.Digest = fmt.Sprint(h.unit.Prune, h.unit.Permission)
	h.other.Unknown = h.IntN(8) == 0
	return fmt.Sprintf("%s, prune %+v; the other can be read: %v", h.unit.Permission, *p, !h.other.Unknown)
}

// current is the unit at its newest commit.
func (h *history) current() Unit {
	u := h.unit
	u.Artifacts = h.artifacts(u.Sources[0], h.files)
	return u
}

// foretell is what a preview says would be done, by object.
func (h *history) foretell(u Unit) (map[string]string, error) {
	h.t.Helper()
	out, err := h.preview(u)
	would := map[string]string{}
	for _, r := range out.Changes() {
		if r.KindComes() {
			h.seen["a kind that comes"]++
		}
		if r.Action != apply.Release {
			would[r.Ref.String()] = r.Action.String()
		}
	}
	return would, err
}

func (h *history) preview(u Unit) (Outcome, error) {
	h.t.Helper()
	c, err := cluster.New("", h.env.Config)
	if err != nil {
		h.t.Fatal(err)
	}
	as, err := c.As("")
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := Preview(h.t.Context(), as, u, func(context.Context) ([]Unit, []string) { return []Unit{u, h.other}, nil })
	if out.Plan == nil && !fault.Is(err, fault.BuildFailed) {
		h.t.Fatalf("%s\nno plan: %v", strings.Join(h.log, "\n"), err)
	}
	return out, err
}

// run runs the unit until there is nothing it could do now.
func (h *history) run(u Unit, before snapshot) (out Outcome, err error) {
	h.t.Helper()
	h.engine.Put(u)
	h.engine.Put(h.other)
	h.seeAll()
	kubetest.Eventually(h.t, time.Minute, func() error {
		out, err = h.engine.Run(h.t.Context(), u, stored{})
		h.finish(before)
		if out.State == Progressing && !ends(out, err, before) || len(out.Changes()) > 0 {
			return fmt.Errorf("it goes on: %s: %w", out.State, err)
		}
		return nil
	})
	if out.Plan == nil && u.Permission != apply.Suspended && !fault.Is(err, fault.BuildFailed) {
		h.t.Fatalf("%s\nno plan: %v", strings.Join(h.log, "\n"), err)
	}
	return out, err
}

// finish lets go what the unit has deleted: whoever holds it is done with it.
func (h *history) finish(before snapshot) {
	h.t.Helper()
	for name, o := range h.snapshot() {
		if was := before[name]; o.GetDeletionTimestamp() == nil || was == nil || was.GetDeletionTimestamp() != nil || was.GetUID() != o.GetUID() {
			continue
		}
		o.SetFinalizers(nil)
		if err := h.env.Client.Update(h.t.Context(), o); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			h.t.Fatal(err)
		}
	}
}

// ends reports whether a unit waits for an object to be gone that somebody else
// holds: its own turn, or what is deleted after it.
func ends(out Outcome, err error, before snapshot) bool {
	return slices.ContainsFunc(out.Held(), func(c *apply.Result) bool {
		was := before[c.Ref.String()]
		return c.Ref == fault.Of(err).Object && (c.Rule == apply.RuleEnding || c.Did == apply.Going) ||
			c.Did == apply.Going && was != nil && was.GetDeletionTimestamp() != nil
	})
}

// seeAll waits for the watch to have seen all that was done: it shows what
// happens to one kind in order.
func (h *history) seeAll() {
	h.t.Helper()
	p, err := h.engine.place(Target{}, "")
	if err != nil {
		h.t.Fatal(err)
	}
	if h.buoy == nil {
		h.buoy = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: "buoy", Labels: map[string]string{markOf: h.ns + ".buoy"}}}
		err = h.env.Client.Create(h.t.Context(), h.buoy)
	} else {
		h.buoy.Data = map[string]string{"n": h.buoy.ResourceVersion}
		err = h.env.Client.Update(h.t.Context(), h.buoy)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	ref := object.Ref{Kind: "ConfigMap", Namespace: h.ns, Name: "buoy"}
	target := watch.Target{Ref: ref, Version: "v1", Scope: watch.Scope{Selector: markOf}}
	if err := p.watch.Follow(h.t.Context(), "buoy", []watch.Target{target}); err != nil {
		h.t.Fatal(err)
	}
	kubetest.Eventually(h.t, time.Minute, func() error {
		if l, _ := p.watch.Live("buoy", ref); l.Object == nil || l.Object.GetResourceVersion() != h.buoy.ResourceVersion {
			return fmt.Errorf("the watch has not come to version %s", h.buoy.ResourceVersion)
		}
		return nil
	})
}

type stored struct{}

func (stored) Store(context.Context, []apply.Entry) error { return nil }

// kinds are those that the histories are about.
var kinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "Service"}, {Version: "v1", Kind: "ServiceAccount"},
	{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
}

// A snapshot is what there is, by name.
type snapshot map[string]*unstructured.Unstructured

func (h *history) snapshot() snapshot {
	h.t.Helper()
	out := snapshot{}
	widget := schema.GroupVersionKind{Group: h.ns + ".example.com", Version: "v1", Kind: "Widget"}
	for _, gvk := range append(slices.Clone(kinds), widget) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk)
		if err := h.env.Client.List(h.t.Context(), list, client.InNamespace(h.ns)); apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			h.t.Fatal(err)
		}
		for i := range list.Items {
			name := list.Items[i].GetName()
			if name == "kube-root-ca.crt" || name == "default" || name == "buoy" || gvk.Kind == "CustomResourceDefinition" && name != h.definition() {
				continue // which is of the cluster, of the test, or of others
			}
			out[object.RefOf(&list.Items[i]).String()] = &list.Items[i]
		}
	}
	return out
}

// entries are those of an inventory that are there.
func (s snapshot) entries(inventory []apply.Entry) (names []string) {
	for _, en := range inventory {
		if _, ok := s[en.Ref.String()]; ok {
			names = append(names, en.Ref.String())
		}
	}
	return names
}

// compare says what was done between two snapshots.
func compare(before, after snapshot) map[string]string {
	did := map[string]string{}
	for name, was := range before {
		is, ok := after[name]
		switch {
		case !ok, is.GetDeletionTimestamp() != nil && was.GetDeletionTimestamp() == nil:
			did[name] = "delete"
		case is.GetUID() != was.GetUID():
			did[name] = "recreate"
		case is.GetResourceVersion() != was.GetResourceVersion():
			did[name] = "update"
		}
	}
	for name := range after {
		if before[name] == nil {
			did[name] = "create"
		}
	}
	return did
}

// definition is that of a kind that one history has.
const definition = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: widgets.%[1]s.example.com}, spec: {
group: %[1]s.example.com, scope: Namespaced, names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget},
versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`

// manifest is what a commit may contain under a name.
func (h *history) manifest(name string) (text, what string) {
	value := h.IntN(3)
	policy := []string{"none", "none", "none", "keep", "ignore", "once", "merge", "force", "loose", "apart"}[h.IntN(10)]
	meta := fmt.Sprintf(`metadata: {name: %s, annotations: {policy: %s}}`, name, policy)
	switch n := h.IntN(17); {
	case n < 7:
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, %s, data: {v: \"%d\"}}", meta, value), fmt.Sprint("ConfigMap ", value, " ", policy)
	case n < 9:
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, %s, immutable: true, data: {v: \"%d\"}}", meta, value), fmt.Sprint("immutable ConfigMap ", value, " ", policy)
	case n < 10:
		return fmt.Sprintf("{apiVersion: v1, kind: Secret, %s, stringData: {v: \"%d\"}}", meta, value), fmt.Sprint("Secret ", value, " ", policy)
	case n < 11:
		return fmt.Sprintf("{apiVersion: v1, kind: ServiceAccount, %s}", meta), "ServiceAccount " + policy
	case n < 12:
		return fmt.Sprintf("{apiVersion: v1, kind: Service, %s, spec: {ports: [{port: -1}]}}", meta), "broken Service " + policy
	case n < 13:
		return fmt.Sprintf("{apiVersion: nobody.example.com/v1, kind: Unknown, %s}", meta), "of an unknown kind " + policy
	case n < 14:
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: nowhere-%s}}", name, h.ns), "in a namespace that is not there"
	case n < 15:
		return fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, %s}", h.ns, meta), "a Widget " + policy
	case n < 16:
		widget := fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, %s}", h.ns, meta)
		return fmt.Sprintf(definition, h.ns) + "\n---\n" + widget, "the definition of Widgets, and one " + policy
	}
	return nonsense, "nonsense"
}

// nonsense can't be rendered.
const nonsense = "{apiVersion: v1"

// broken are the files that can't be applied.
func (h *history) broken() (files []string) {
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		for _, what := range []string{nonsense, "nobody.", "port: -1", "nowhere-"} {
			if text := h.files[name]; text == what || what != nonsense && strings.Contains(text, what) {
				files = append(files, name)
			}
		}
	}
	return files
}

var names = []string{"a", "b", "c", "d", "e", "f"}

// change makes one change of the next commit.
func (h *history) change() string {
	h.commit++
	name := names[h.IntN(len(names))]
	file := name + ".yaml"
	if h.IntN(20) == 0 {
		clear(h.files)
		return "remove all"
	}
	if broken := h.broken(); len(broken) > 0 && h.IntN(2) == 0 {
		file = broken[h.IntN(len(broken))]
		delete(h.files, file)
		return "repair by removing " + file
	}
	if _, ok := h.files[file]; ok && h.IntN(3) == 0 {
		delete(h.files, file)
		return "remove " + name
	}
	text, what := h.manifest(name)
	h.files[file] = text
	return name + " is " + what
}

// otherChanges lets the other unit claim something, or nothing, of what there
// is.
func (h *history) otherChanges() string {
	h.commit++
	clear(h.theirs)
	defer func() { h.other.Artifacts = h.artifacts(h.other.Sources[0], h.theirs) }()
	if h.IntN(3) > 0 {
		return "claims nothing"
	}
	name := names[h.IntN(len(names))]
	h.theirs[name+".yaml"] = fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {v: theirs}}", name)
	return "claims ConfigMap " + name
}

// edit is what somebody else does to a live object.
func (h *history) edit() string {
	h.t.Helper()
	name := names[h.IntN(len(names))]
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: name}}
	err := h.env.Client.Get(h.t.Context(), client.ObjectKeyFromObject(o), o)
	if apierrors.IsNotFound(err) {
		o.Data = map[string]string{"v": "found"}
		if h.IntN(2) == 0 {
			o.Labels = map[string]string{markOf: h.ns + ".other"}
		}
		return h.did("create "+name+fmt.Sprint(o.Labels), h.env.Client.Create(h.t.Context(), o))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	by := []client.FieldOwner{"rival", "kubectl-edit", "history"}[h.IntN(3)]
	switch h.IntN(6) {
	case 5:
		if o.DeletionTimestamp != nil {
			o.Finalizers = nil
			return h.did("let go of "+name, h.env.Client.Update(h.t.Context(), o, by))
		}
		o.Finalizers = []string{"history.example.com/hold"}
		return h.did("hold "+name, h.env.Client.Update(h.t.Context(), o, by))
	case 0:
		return h.did("delete "+name, h.env.Client.Delete(h.t.Context(), o))
	case 1:
		o.Labels = map[string]string{markOf: h.ns + ".other"}
		return h.did("mark "+name+" as the other's", h.env.Client.Update(h.t.Context(), o, by))
	case 2:
		o.Annotations = map[string]string{"policy": []string{"keep", "ignore", "none"}[h.IntN(3)]}
		return h.did(fmt.Sprint("annotate ", name, o.Annotations), h.env.Client.Update(h.t.Context(), o, by))
	case 3:
		o.Data = map[string]string{"v": "0", "more": "x"}
		return h.did("add to "+name+" by "+string(by), h.env.Client.Update(h.t.Context(), o, by))
	}
	o.Data = map[string]string{"v": "edited"}
	return h.did("change "+name+" by "+string(by), h.env.Client.Update(h.t.Context(), o, by))
}

// did tells of an edit, which the server may refuse.
func (h *history) did(what string, err error) string {
	h.t.Helper()
	switch {
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
		return what + ", which is refused"
	case err != nil:
		h.t.Fatal(err)
	}
	return what
}

// contestable is a name of something that is applied, if there is one, and can
// be edited.
func (h *history) contestable() string {
	var all []string
	for _, file := range slices.Sorted(maps.Keys(h.files)) {
		if text := h.files[file]; strings.Contains(text, "kind: ConfigMap") && !strings.Contains(text, "immutable") {
			all = append(all, strings.TrimSuffix(file, ".yaml"))
		}
	}
	if len(all) == 0 {
		return names[0]
	}
	return all[h.IntN(len(all))]
}

// quarrel has somebody set a field again and again, until it is fought over.
func (h *history) quarrel(name string) string {
	h.t.Helper()
	u := h.current()
	u.Permission = apply.Everything
	for n := range 8 {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: name}}
		if err := h.env.Client.Get(h.t.Context(), client.ObjectKeyFromObject(o), o); apierrors.IsNotFound(err) {
			return "nothing to quarrel over"
		} else if err != nil {
			h.t.Fatal(err)
		}
		o.Data = map[string]string{"v": fmt.Sprint("quarrel ", n)}
		if err := h.env.Client.Update(h.t.Context(), o, client.FieldOwner("rival")); err != nil {
			return h.did("quarrel over "+name, err)
		}
		out, err := h.run(u, h.snapshot())
		if err != nil {
			return fmt.Sprintf("quarrel over %s: %v", name, err)
		}
		if h.unit.Fights = out.Fights; len(out.Fights) > 0 {
			h.edits(name, "theirs") // which stays for now
			break
		}
	}
	return fmt.Sprintf("quarrel over %s: %v", name, h.unit.Fights)
}
