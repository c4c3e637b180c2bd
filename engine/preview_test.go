package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/internal/kubetest"
)

// settledAt is a unit that is at its first commit.
func settledAt(t *testing.T, files map[string]string) *history {
	t.Helper()
	h := newHistory(t, kubetest.Start(t), rand.New(rand.NewPCG(1, 1)))
	h.files = files
	h.other.Artifacts = h.artifacts(h.other.Sources[0], h.theirs)
	h.restart()
	h.commits()
	if h.last == nil {
		t.Fatalf("the first commit was not applied: %v", h.log)
	}
	return h
}

// commits has the unit's files previewed and applied. It returns what both say
// of the objects that are not as desired.
func (h *history) commits() (foretold, done []string) {
	h.t.Helper()
	h.commit++
	u := h.current()
	u.Last = h.last
	preview, err := h.preview(u)
	h.say("foretold: %v", err)
	before := h.snapshot()
	out, err := h.run(u, before)
	h.say("done: %v", err)
	h.note(u, before, nil, out, err)
	return heldOf(preview), heldOf(out)
}

func heldOf(out Outcome) (held []string) {
	for _, r := range out.Held() {
		held = append(held, fmt.Sprintf("%s %s: %s", r.Ref.Name, r.Rule, r.Why))
	}
	slices.Sort(held)
	return held
}

func valued(name, value string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {v: %s}}", name, value)
}

func (h *history) wants(what string, files map[string]string) {
	h.t.Helper()
	for name, value := range files {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: name}}
		err := h.env.Client.Get(h.t.Context(), client.ObjectKeyFromObject(o), o)
		if client.IgnoreNotFound(err) != nil {
			h.t.Fatal(err)
		}
		if o.Data["v"] != value {
			h.t.Errorf("%s: %s is %q, want %q", what, name, o.Data["v"], value)
		}
	}
}

// A commit with a changed object, and one of a kind that the cluster does not
// have, changes nothing but what somebody has edited: that is what is foretold,
// and why.
func TestACommitWithAnUnknownKindIsForetoldAsHeld(t *testing.T) {
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "first"), "b.yaml": valued("b", "first"), "old.yaml": valued("old", "first")})
	h.files["a.yaml"] = valued("a", "second")
	h.files["c.yaml"] = valued("c", "second")
	h.files["x.yaml"] = "{apiVersion: nobody.example.com/v1, kind: Unknown, metadata: {name: x}}"
	delete(h.files, "old.yaml")
	h.edits("b", "edited")
	h.commit++
	u := h.current()
	u.Last = h.last
	would, err := h.foretell(u)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]string{"ConfigMap/" + h.ns + "/b": "update"}, would); diff != "" {
		t.Errorf("-want +foretold:\n%s", diff)
	}
	foretold, done := h.commits()
	if diff := cmp.Diff(foretold, done); diff != "" {
		t.Errorf("-foretold +done:\n%s", diff)
	}
	const why = "stage-order: the cluster does not have the kind of Unknown/x, which comes with it"
	want := []string{"a " + why, "c " + why, "old " + why, "x unknown-kind: the cluster does not have its kind; nothing is pruned before it does"}
	if diff := cmp.Diff(want, foretold); diff != "" {
		t.Errorf("-want +foretold:\n%s", diff)
	}
	h.wants("after it", map[string]string{"a": "first", "b": "first", "c": "", "old": "first"})
}

// While somebody sets a field again and again, it is foretold that it is left as
// it is, as it then is; and that another value is written, as it is.
func TestAFightIsForetoldAsHeld(t *testing.T) {
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "git")})
	h.quarrel("a")
	if len(h.unit.Fights) == 0 {
		t.Fatal("there is no fight")
	}
	h.edits("a", "theirs")
	foretold, done := h.commits()
	if want := []string{"a fight: it is fought over"}; !slices.Equal(foretold, want) || !slices.Equal(done, want) {
		t.Errorf("foretold %v, done %v, want %v", foretold, done, want)
	}
	h.wants("in a fight", map[string]string{"a": "theirs"})

	h.files["a.yaml"] = valued("a", "new")
	foretold, done = h.commits()
	if len(foretold) > 0 || len(done) > 0 {
		t.Errorf("another value: foretold %v held, done %v held", foretold, done)
	}
	h.wants("another value", map[string]string{"a": "new"})
}

// edits has somebody set the value of a ConfigMap.
func (h *history) edits(name, value string) {
	h.t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: name}, Data: map[string]string{"v": value}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"data":{"v":%q}}`, value))
	if err := h.env.Client.Patch(h.t.Context(), o, patch, client.FieldOwner("rival")); err != nil {
		h.t.Fatal(err)
	}
}

// Of what the watch does not show, since nobody's mark is on it, the server
// says that it is being deleted: it is not taken meanwhile.
func TestWhatIsBeingDeletedIsNotTaken(t *testing.T) {
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "git")})
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: "b", Finalizers: []string{"history.example.com/hold"}}}
	if err := h.env.Client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	if err := h.env.Client.Delete(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	before := h.snapshot()
	h.files["b.yaml"], h.files["c.yaml"] = valued("b", "git"), valued("c", "git")
	foretold, done := h.commits()
	const why = "it is being deleted; it is created again once it is gone"
	if want := []string{"b ending: " + why}; !slices.Equal(foretold, want) || !slices.Equal(done, []string{"b needed: " + why}) {
		t.Errorf("foretold %v, done %v, want %v", foretold, done, want)
	}
	after := h.snapshot()
	if did, want := compare(before, after), map[string]string{"ConfigMap/" + h.ns + "/c": "create"}; !maps.Equal(did, want) {
		t.Errorf("done: %v, want %v", did, want)
	}
}

// A definition stays as long as there are objects of it, also if these come with
// the commit that it leaves with.
func TestADefinitionStaysForWhatComes(t *testing.T) {
	crd := func(h *history) string { return fmt.Sprintf(definition, h.ns) }
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "git"), "b.yaml": valued("b", "git")})
	h.files["crd.yaml"] = crd(h)
	h.commits()
	delete(h.files, "crd.yaml")
	h.files["w.yaml"] = fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, metadata: {name: w}}", h.ns)
	foretold, done := h.commits()
	want := []string{h.definition() + " surplus: there are still objects of kind Widget, such as Widget/" + h.ns + "/w"}
	if !slices.Equal(foretold, want) || !slices.Equal(done, want) {
		t.Errorf("foretold %v, done %v, want %v", foretold, done, want)
	}
}

// A kind that has gone, and that a commit asks for since, is said to be unknown,
// and is no reason to do nothing about the rest.
func TestAKindThatHasGoneIsUnknown(t *testing.T) {
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "git"), "b.yaml": valued("b", "git")})
	h.files["crd.yaml"] = fmt.Sprintf(definition, h.ns)
	h.files["w.yaml"] = fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, metadata: {name: w}}", h.ns)
	h.commits()
	delete(h.files, "crd.yaml")
	delete(h.files, "w.yaml")
	if _, done := h.commits(); len(done) > 0 {
		t.Fatalf("held: %v", done)
	}
	h.files["w.yaml"] = fmt.Sprintf("{apiVersion: %s.example.com/v1, kind: Widget, metadata: {name: w}}", h.ns)
	h.edits("a", "edited")
	_, done := h.commits()
	if want := []string{"w unknown-kind: the cluster does not have its kind; nothing is pruned before it does"}; !slices.Equal(done, want) {
		t.Errorf("done %v, want %v", done, want)
	}
	h.wants("beside a kind that has gone", map[string]string{"a": "git"})
}

// Who asks for a look at everything does not make plumb forget what it had
// applied: drift is put back beside a commit that can't be applied.
func TestDriftIsPutBackWhenSomebodyAsks(t *testing.T) {
	h := settledAt(t, map[string]string{"a.yaml": valued("a", "git"), "b.yaml": valued("b", "git")})
	h.files["b.yaml"] = fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: nowhere-%s}}", h.ns)
	h.edits("a", "edited")
	h.engine.Doubt(h.unit.Name)
	h.commits()
	h.wants("asked", map[string]string{"a": "git"})
}

// A change that is refused leaves nothing behind, also where others' fields would
// be taken over first.
func TestWhatIsRefusedIsLeftAsItIs(t *testing.T) {
	fixed := "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, immutable: true, data: {v: git}}"
	h := settledAt(t, map[string]string{"a.yaml": fixed})
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: "a"}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"by":"hand"}}}`))
	if err := h.env.Client.Patch(t.Context(), o, patch, client.FieldOwner("kubectl-edit")); err != nil {
		t.Fatal(err)
	}
	h.files["a.yaml"] = strings.Replace(fixed, "v: git", "v: new", 1)
	before := h.snapshot()
	h.commits()
	if did := compare(before, h.snapshot()); len(did) > 0 {
		t.Errorf("done: %v\n%v", did, h.log)
	}
}

// In a fight over one field, another that somebody adds under a name that may
// own nothing is taken away, and that is foretold.
func TestBesideAFightTheRestIsForetold(t *testing.T) {
	for _, by := range []string{"kubectl-edit", "history"} {
		t.Run(by, func(t *testing.T) {
			h := settledAt(t, map[string]string{"a.yaml": valued("a", "git")})
			h.quarrel("a")
			if len(h.unit.Fights) == 0 {
				t.Fatal("there is no fight")
			}
			o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: h.ns, Name: "a"}}
			patch := client.RawPatch("application/merge-patch+json", []byte(`{"data":{"more":"x"}}`))
			if err := h.env.Client.Patch(t.Context(), o, patch, client.FieldOwner(by)); err != nil {
				t.Fatal(err)
			}
			u := h.current()
			u.Last = h.last
			foretold, err := h.foretell(u)
			before := h.snapshot()
			if _, runErr := h.run(u, before); err != nil || runErr != nil {
				t.Fatal(err, runErr)
			}
			want := map[string]string{"ConfigMap/" + h.ns + "/a": "update"}
			if did := compare(before, h.snapshot()); !maps.Equal(foretold, want) || !maps.Equal(did, want) {
				t.Errorf("foretold %v, done %v", foretold, did)
			}
			h.wants("in a fight", map[string]string{"a": "theirs"})
		})
	}
}
