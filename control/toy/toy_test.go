// Package toy is a second dialect, in as few lines as that takes, to show that
// the engine knows none: Pairs are made from two sources, and are brought to
// them only by hand.
package toy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/git"
)

var pairKind = schema.GroupVersionKind{Group: "toy.plumb.dev", Version: "v1", Kind: "Pair"}

// A spec is that of a Pair: two directories of a repository.
type spec struct {
	URL   string   `json:"url"`
	Paths []string `json:"paths"`
	Auto  bool     `json:"auto"`
	Sync  *struct {
		ID        string   `json:"id"`
		At        []string `json:"at"` // commits
		Terminate bool     `json:"terminate"`
	} `json:"sync"`
}

type status struct {
	State     string           `json:"state,omitempty"`
	Message   string           `json:"message,omitempty"`
	Revision  string           `json:"revision,omitempty"`
	Repeated  []object.Ref     `json:"repeated,omitempty"`
	Inventory []apply.Entry    `json:"inventory,omitempty"`
	Operation *engine.Progress `json:"operation,omitempty"`
}

// dialect is how objects are marked and read. It implements [engine.Objects],
// and [control.Dialect] as far as that is served.
type dialect struct{ view.Dialect }

func (dialect) Selector() string { return "toy.plumb.dev/pair" }

// A mark names the object that it is on, too: on a copy of that it says nothing.
func mark(name string, r object.Ref) string { return name + ":" + r.String() }

const markedAs = "toy.plumb.dev/of"

func (d dialect) Marks(u engine.Unit) func(object.Ref) engine.Marks {
	return func(r object.Ref) engine.Marks {
		return engine.Marks{Labels: map[string]string{d.Selector(): ""}, Annotations: map[string]string{markedAs: mark(u.Name, r)}}
	}
}

func (d dialect) Owner(o *unstructured.Unstructured) string {
	name, _, _ := strings.Cut(o.GetAnnotations()[markedAs], ":")
	if o.GetAnnotations()[markedAs] != mark(name, object.RefOf(o)) {
		return ""
	}
	return name
}

func (dialect) Admits(engine.Unit, object.Ref) error { return nil }

// Policy reads when the turn of an object comes: before, after, or in a wave.
func (dialect) Policy(_ engine.Unit, o *unstructured.Unstructured) (p apply.Policy) {
	phases := map[string]apply.Phase{"before": apply.Before, "after": apply.After}
	turn := o.GetAnnotations()["toy.plumb.dev/turn"]
	if phase, ok := phases[turn]; ok {
		p.Hook = &apply.Hook{Phases: []apply.Phase{phase}, Replace: true, Finalizer: "toy.plumb.dev/hook"}
	} else if n, err := strconv.Atoi(turn); err == nil {
		p.Wave = int32(n)
	}
	return p
}

func (dialect) Kinds() []view.Kind           { return []view.Kind{{GroupVersionKind: pairKind}} }
func (dialect) Slim(obj any) (any, error)    { return obj, nil }
func (dialect) ServeFlags(f *pflag.FlagSet)  {}
func nameOf(namespace, name string) string   { return "Pair/" + namespace + "/" + name }
func keyOf(name string) types.NamespacedName { return keyOfParts(strings.SplitN(name, "/", 4)) }
func keyOfParts(parts []string) types.NamespacedName {
	return types.NamespacedName{Namespace: parts[1], Name: parts[2]}
}

// pairs makes Pairs units, and tells what became of them.
type pairs struct {
	dialect
	control.Parts
	client client.Client
	queue  *control.Queue
}

func (d dialect) Setup(_ context.Context, mgr ctrl.Manager, p control.Parts) (control.Controllers, error) {
	r := &pairs{d, p, mgr.GetClient(), &control.Queue{}}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(pairKind)
	return r, ctrl.NewControllerManagedBy(mgr).Named("pair").For(o).WatchesRawSource(r.queue.Source()).Complete(r)
}

func (r *pairs) Names() []string { return []string{pairKind.Kind} }

func (r *pairs) Wake(name string) { r.queue.Add(keyOf(name)) }

func (r *pairs) Looked(source.Look) {}

func (r *pairs) Touched(string, string, string, []string) bool { return false }

func (r *pairs) Missing(_ context.Context, name string) error {
	if s, ok := r.Sources.State(name); ok && s.Err != nil {
		return s.Err
	}
	return &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s has not been fetched yet", name)}
}

func (r *pairs) Load(ctx context.Context) (sources []string, err error) {
	all := &unstructured.UnstructuredList{}
	all.SetGroupVersionKind(pairKind)
	if err := r.client.List(ctx, all); err != nil {
		return nil, err
	}
	for i := range all.Items {
		if _, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])}); err != nil {
			return nil, err
		}
	}
	return nil, nil // they are put already
}

// Reconcile puts one Pair and its sources.
func (r *pairs) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := nameOf(req.Namespace, req.Name)
	o, sp, st, err := r.read(ctx, req.NamespacedName)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err
	} else if err != nil {
		r.Engine.Delete(name)
		return ctrl.Result{}, nil
	}
	u := engine.Unit{
		Name: name, UID: string(o.GetUID()), Namespace: req.Namespace, Digest: fmt.Sprint(sp.URL, sp.Paths),
		Dialect: r, Objects: r.dialect, Managers: owned.Managers{Self: "toy"}, Prune: engine.Prune{Enabled: true, Approved: "any"},
		Interval: time.Hour, RetryInterval: time.Minute,
		Permission: apply.LookOnly, Remembers: st.Inventory,
	}
	if st.Operation != nil {
		u.Hooks = st.Operation.Hooks
	}
	for i, path := range sp.Paths {
		u.Sources = append(u.Sources, r.fetch(name, fmt.Sprint(i), sp.URL, git.Ref{Branch: "main"}))
		u.Renders = append(u.Renders, engine.Rendering{From: i, Options: render.Options{Path: path, Builder: kustomize.Options{Generate: true}}})
	}
	if sp.Auto {
		u.Automation = r
		if p := st.Operation; p != nil && p.Stage == engine.Running {
			u.Operation = &engine.Operation{ID: p.ID, Automatic: true, Was: *p}
		}
	}
	if s := sp.Sync; s != nil {
		u.Operation = &engine.Operation{ID: s.ID, Terminate: s.Terminate}
		for i, commit := range s.At {
			u.Operation.Sources = append(u.Operation.Sources, r.fetch(name, fmt.Sprint(i, " at ", commit), sp.URL, git.Ref{Commit: commit}))
		}
		if st.Operation != nil {
			u.Operation.Was = *st.Operation
		}
	}
	r.Engine.Put(u)
	return ctrl.Result{}, nil
}

// Begin implements [engine.Automation]: a Pair is brought to each revision once.
func (r *pairs) Begin(ctx context.Context, u engine.Unit, out engine.Outcome) *engine.Operation {
	id := "automatic " + u.Digest + " " + out.Revision
	_, _, st, err := r.read(ctx, keyOf(u.Name))
	if err != nil || out.Err != nil || !out.Plan.Forbids(true) || st.Operation != nil && st.Operation.ID == id {
		return nil
	}
	return &engine.Operation{ID: id, Permission: apply.Everything, Automatic: true}
}

// fetch has something fetched, and returns what it is called.
func (r *pairs) fetch(unit, which, url string, ref git.Ref) string {
	name := unit + "/" + which
	r.Sources.Put(source.Spec{Name: name, From: git.Source{Store: r.Stores.Git, Remote: git.Remote{URL: url}, Ref: ref}, Interval: time.Second})
	return name
}

func (r *pairs) read(ctx context.Context, key types.NamespacedName) (o *unstructured.Unstructured, sp spec, st status, err error) {
	o = &unstructured.Unstructured{}
	o.SetGroupVersionKind(pairKind)
	if err := r.client.Get(ctx, key, o); err != nil {
		return o, sp, st, err
	}
	var all struct {
		Spec   spec   `json:"spec"`
		Status status `json:"status"`
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &all)
	return o, all.Spec, all.Status, err
}

// Store implements [engine.Dialect].
func (r *pairs) Store(ctx context.Context, u engine.Unit, entries []apply.Entry) error {
	return r.write(ctx, u, func(st *status) { st.Inventory = entries })
}

// Report implements [engine.Dialect].
func (r *pairs) Report(ctx context.Context, u engine.Unit, out engine.Outcome) error {
	return r.write(ctx, u, func(st *status) {
		*st = status{
			State: out.State.String(), Message: out.Message, Revision: out.Revision, Repeated: out.Repeated, Inventory: out.Inventory,
			Operation: st.Operation,
		}
		if out.Operation.ID != "" {
			st.Operation = &out.Operation
		}
	})
}

func (r *pairs) write(ctx context.Context, u engine.Unit, change func(*status)) error {
	o, _, st, err := r.read(ctx, keyOf(u.Name))
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	change(&st)
	body, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&st)
	if err != nil {
		return err
	}
	with := o.DeepCopy()
	with.Object["status"] = body
	return client.IgnoreNotFound(r.client.Patch(ctx, with, client.MergeFrom(o)))
}
