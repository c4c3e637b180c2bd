package apply_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

var managers = owned.Managers{Self: "plumb", Undo: []string{"kubectl"}}

// A desk is a PodTemplate that is applied, and the server it is on. No
// controller cares for one.
type desk struct {
	t       *testing.T
	env     *kubetest.Env
	item    apply.Item
	applier *apply.Applier
	settled bool
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, env: kubetest.Start(t)}
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(`
apiVersion: v1
kind: PodTemplate
metadata: {name: a, annotations: {who: git}}
template:
  spec:
    containers:
    - name: web
      image: git
      args: [git]
      env: [{name: ONE, value: git}, {name: TWO, value: git}]
`), &u.Object); err != nil {
		t.Fatal(err)
	}
	u.SetNamespace(d.env.Namespace(t))
	c, err := cluster.New("", d.env.Config)
	if err != nil {
		t.Fatal(err)
	}
	as, err := c.As("")
	if err != nil {
		t.Fatal(err)
	}
	d.item = apply.Item{Ref: object.RefOf(u), Version: "v1", Digest: "1", Object: func() *unstructured.Unstructured { return u }}
	d.applier = &apply.Applier{
		Client: as, Managers: managers,
		Mine:    func(*unstructured.Unstructured) bool { return true },
		Settled: func(object.Ref, string, *unstructured.Unstructured) { d.settled = true },
	}
	d.write(nil, nil)
	return d
}

func (d *desk) live() *unstructured.Unstructured {
	d.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(d.item.Object().GroupVersionKind())
	if err := d.env.Client.Get(d.t.Context(), client.ObjectKey{Namespace: d.item.Ref.Namespace, Name: d.item.Ref.Name}, u); err != nil {
		d.t.Fatal(err)
	}
	return u
}

// patch changes the PodTemplate as somebody else.
func (d *desk) patch(manager, patch string) {
	d.t.Helper()
	u := d.live()
	if err := d.env.Client.Patch(d.t.Context(), u, client.RawPatch(types.StrategicMergePatchType, []byte(patch)), client.FieldOwner(manager)); err != nil {
		d.t.Fatal(err)
	}
}

// write plans for what is known of the live PodTemplate, and makes the change.
func (d *desk) write(live *unstructured.Unstructured, leave []owned.Path) (*apply.Result, []*apply.Result) {
	d.t.Helper()
	d.settled = false
	p, _ := apply.Make(apply.Facts{
		Items: []apply.Item{d.item}, Managers: managers,
		Live: func(object.Ref) (apply.Live, bool) {
			return apply.Live{Exists: live != nil, Digest: "1", Object: live}, true
		},
		Policy: func(*unstructured.Unstructured) apply.Policy { return apply.Policy{} },
	})
	stages := p.Stages()
	if len(stages) == 0 {
		d.t.Fatal("there is nothing to write")
	}
	stages[0][0].Leave = leave // as the rule of fights does
	record := apply.Begin(p)
	if err := d.applier.Stage(context.Background(), record.Of(stages[0])); err != nil {
		d.t.Fatal(err)
	}
	return record.All()[0], record.That(apply.Written)
}

// is compares what is live, and who owns the image.
func (d *desk) is(want string) {
	d.t.Helper()
	u := d.live()
	list, _, _ := unstructured.NestedSlice(u.Object, "template", "spec", "containers")
	c := list[0].(map[string]any)
	got := fmt.Sprintf("%v %v %v %v", c["image"], c["args"], c["env"], u.GetAnnotations()["who"])
	for _, e := range u.GetManagedFields() {
		var s fieldpath.Set
		if e.Operation == metav1.ManagedFieldsOperationApply || e.Subresource == "" {
			if err := s.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
				d.t.Fatal(err)
			}
		}
		if s.Has(container("image")) {
			got += "; the image is " + e.Manager + "'s"
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		d.t.Errorf("-want +got:\n%s", diff)
	}
}

func container(path ...any) owned.Path {
	key := fieldpath.KeyByFields("name", "web")
	return append(fieldpath.MakePathOrDie("template", "spec", "containers", key), fieldpath.MakePathOrDie(path...)...)
}

const asInGit = "git [git] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is plumb's"

// Whatever is left stays as it is, and its owner's; the rest is put right; and
// once nothing is left, all of it is as in Git, in one write.
func TestLeave(t *testing.T) {
	d := newDesk(t)
	env := container("env", fieldpath.KeyByFields("name", "TWO"))
	for name, c := range map[string]struct {
		manager, patch string
		leave          []owned.Path
		left           string
		late           bool // the patch comes after the object was looked at
	}{
		"a field": {
			"rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "rival"}]}}}`,
			[]owned.Path{container("image")},
			"rival [git] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is rival's", false,
		},
		"a field that is taken just then": {
			"rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "rival"}]}}}`,
			[]owned.Path{container("image")},
			"rival [git] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is rival's", true,
		},
		"a field of one whose fields are taken back": {
			"kubectl-patch", `{"template": {"spec": {"containers": [{"name": "web", "image": "rival", "args": ["rival"]}]}}}`,
			[]owned.Path{container("image")},
			"rival [git] [map[name:ONE value:git] map[name:TWO value:git]] git; the image is kubectl-patch's", false,
		},
		"an element that was removed": {
			"rival", `{"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "TWO", "$patch": "delete"}]}]}}}`,
			[]owned.Path{env},
			"git [git] [map[name:ONE value:git]] git; the image is plumb's", false,
		},
		"a field of an element that was removed": {
			"rival", `{"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "TWO", "$patch": "delete"}]}]}}}`,
			[]owned.Path{append(env, fieldpath.MakePathOrDie("value")...)},
			"git [git] [map[name:ONE value:git]] git; the image is plumb's", false,
		},
		"a field that nobody has taken": {
			"rival", `{}`, []owned.Path{container("image"), container("env")}, asInGit, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d.t = t
			d.patch("other", `{"metadata": {"annotations": {"who": "other"}}}`)
			stale := d.live()
			d.patch(c.manager, c.patch)
			if !c.late {
				stale = d.live()
			}
			d.patch("other", `{"metadata": {"annotations": {"who": "another"}}}`)
			_, made := d.write(stale, c.leave)
			d.is(c.left)
			if len(made) != 1 || d.settled { // what was left is still to do
				t.Errorf("%d changes were made, and it is settled: %v", len(made), d.settled)
			}
			if live := d.live(); c.left != asInGit {
				if change, again := d.write(live, c.leave); len(again) > 0 {
					t.Errorf("it was written again: %v", change.Fields)
				}
				d.write(live, nil)
			}
			d.is(asInGit)
		})
	}
}

// To take back a field that was overwritten costs one write, whoever it was.
func TestAnOverwrittenFieldIsTakenBackInOneWrite(t *testing.T) {
	d := newDesk(t)
	d.patch("kubectl-patch", `{"template": {"spec": {"containers": [{"name": "web", "image": "rival"}]}}}`)
	before := d.live()
	r, err := d.applier.Client.Resource(t.Context(), before.GroupVersionKind(), before.GetNamespace())
	if err != nil {
		t.Fatal(err)
	}
	seen, err := r.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Stop()
	c, _ := d.write(before, nil)
	d.is(asInGit)
	first := (<-seen.ResultChan()).Object.(*unstructured.Unstructured)
	if first.GetResourceVersion() != c.After.GetResourceVersion() {
		t.Error("it took more than one write")
	}
	if len(c.Lost) != 1 || owned.Text(c.Lost[0].Path) != "template.spec.containers[name=web].image" || c.Lost[0].Manager != "kubectl-patch" {
		t.Errorf("lost: %+v", c.Lost)
	}
}

// An object that is gone does not come back as a part of itself.
func TestAPartIsNotWrittenToWhatIsGone(t *testing.T) {
	d := newDesk(t)
	d.patch("rival", `{"template": {"spec": {"containers": [{"name": "web", "image": "rival"}]}}}`)
	live := d.live()
	if err := d.env.Client.Delete(t.Context(), live); err != nil {
		t.Fatal(err)
	}
	if _, made := d.write(live, []owned.Path{container("image")}); len(made) != 0 {
		t.Error("something was written")
	}
}
