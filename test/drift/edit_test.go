package drift_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	pt "plumb.dev/plumb/internal/plumbtest"
)

// rivals are who else writes: one that is left alone, one whose fields are
// taken back, and one who says that it is plumb.
var rivals = []client.FieldOwner{"rival", "kubectl-edit", "kustomize-controller"}

// An editor is a second client that changes objects of which it knows what
// Git says.
type editor struct {
	*rand.Rand
	w *pt.World
}

// edit changes an object in a random way that the server accepts, and says
// how. Not every change is one of what Git has.
func (e *editor) edit(ctx context.Context, git *unstructured.Unstructured) (string, error) {
	var last error
	for range 100 {
		live, err := e.w.Object(ctx, kindOf(git), git.GetNamespace(), git.GetName())
		if err != nil {
			return "", err
		}
		before := live.GetResourceVersion()
		how, after, err := e.try(ctx, git, live)
		switch {
		case apierrors.IsInvalid(err), apierrors.IsConflict(err), apierrors.IsBadRequest(err), apierrors.IsInternalError(err), apierrors.IsAlreadyExists(err):
			last = fmt.Errorf("%s: %w", how, err)
		case err != nil && (strings.Contains(err.Error(), "failed to create typed patch object") || strings.Contains(err.Error(), "unable to convert")):
			last = err // the value does not fit the schema, so it never was there
		case err != nil:
			return "", fmt.Errorf("%s: %w", how, err)
		case after != before:
			return how, nil
		}
	}
	return "", fmt.Errorf("the server accepts no edit of %s %s: %w", git.GetKind(), git.GetName(), last)
}

// try makes one change, and returns the version of the object after it.
func (e *editor) try(ctx context.Context, git, live *unstructured.Unstructured) (how, version string, err error) {
	by := rivals[e.IntN(len(rivals))]
	switch e.IntN(12) {
	case 0:
		return "delete", "", e.w.Client.Delete(ctx, live)
	case 1: // somebody else's of the same name
		other := git.DeepCopy()
		how = "delete, create with " + e.change(other) + " by " + string(by)
		if e.IntN(2) == 0 {
			other.SetLabels(nil)
			how += " without labels"
		}
		if err := e.w.Client.Create(ctx, stripped(other), client.DryRunAll, by); !apierrors.IsAlreadyExists(err) {
			return how, live.GetResourceVersion(), err
		}
		if err := e.w.Client.Delete(ctx, live); err != nil {
			return how, "", err
		}
		if err = e.w.Client.Create(ctx, stripped(other), by); apierrors.IsAlreadyExists(err) {
			err = nil // plumb was faster
		}
		return how, "", err
	case 2: // the marks of the unit
		how = "take the marks by " + string(by)
		labels := live.GetLabels()
		if e.IntN(2) == 0 {
			delete(labels, "kustomize.toolkit.fluxcd.io/name")
		} else {
			labels["kustomize.toolkit.fluxcd.io/name"] = "nobody"
		}
		live.SetLabels(labels)
		err = e.w.Client.Update(ctx, live, by)
		return how, live.GetResourceVersion(), err
	case 3, 4, 5: // by applying, so that fields have two owners
		other := git.DeepCopy()
		how = "apply " + e.change(other) + " by " + string(by)
		err = e.w.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(other), by, client.ForceOwnership)
		return how, other.GetResourceVersion(), err
	case 6, 7:
		how = "reorder " + e.reorder(live) + " by " + string(by)
		err = e.w.Client.Update(ctx, live, by)
		return how, live.GetResourceVersion(), err
	default:
		how = "update " + e.change(live) + " by " + string(by)
		err = e.w.Client.Update(ctx, live, by)
		return how, live.GetResourceVersion(), err
	}
}

// reorder turns round a random list of u that has an order, and says which.
func (e *editor) reorder(u *unstructured.Unstructured) string {
	lists := map[string][]any{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				walk(path+"."+k, v[k])
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), v[i])
			}
			if len(v) > 1 {
				lists[path] = v
			}
		}
	}
	walk(".spec", u.Object["spec"])
	walk(".rules", u.Object["rules"])
	walk(".imagePullSecrets", u.Object["imagePullSecrets"])
	if len(lists) == 0 {
		return "nothing"
	}
	path := slices.Sorted(maps.Keys(lists))[e.IntN(len(lists))]
	slices.Reverse(lists[path])
	return path
}

func stripped(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = u.DeepCopy()
	u.SetResourceVersion("")
	u.SetUID("")
	return u
}

// change changes one random place of u, anywhere but in what makes it the
// object it is, and says which.
func (e *editor) change(u *unstructured.Unstructured) string {
	type place struct {
		path string
		set  func(value any) // nil takes it away
		old  any
	}
	var places []place
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				at := path + "." + k
				if slices.Contains([]string{".apiVersion", ".kind", ".status", ".metadata.name", ".metadata.namespace", ".metadata.managedFields", ".metadata.uid", ".metadata.resourceVersion", ".metadata.generation", ".metadata.creationTimestamp"}, at) {
					continue
				}
				walk(at, v[k])
				if at == ".metadata" || at == ".type" || strings.HasSuffix(at, "].port") || strings.HasSuffix(at, "].containerPort") || strings.HasSuffix(at, "].mountPath") {
					// The type of a Secret is immutable, and these are the
					// keys of their lists: with another one there would be
					// two elements, one of each manager. Of ports the server
					// refuses two with one name, and the unit's condition
					// says so; a mount beside ours is the other's, as a
					// sidecar is.
					continue
				}
				places = append(places, place{at, func(to any) {
					if v[k] = to; to == nil {
						delete(v, k)
					}
				}, v[k]})
			}
		case []any:
			for i := range v {
				at := fmt.Sprintf("%s[%d]", path, i)
				places = append(places, place{at, func(to any) { v[i] = to }, v[i]})
				walk(at, v[i])
			}
		}
	}
	walk("", u.Object)
	slices.SortFunc(places, func(a, b place) int { return strings.Compare(a.path, b.path) })
	p := places[e.IntN(len(places))]
	to := e.other(p.old)
	p.set(to)
	return fmt.Sprintf("%s to %v", p.path, to)
}

// other returns another value in place of one.
func (e *editor) other(v any) any {
	switch v := v.(type) {
	case string:
		return []any{v + "x", "other", "", nil, "10"}[e.IntN(5)]
	case int64:
		return []any{v + 1, int64(0), nil}[e.IntN(3)]
	case bool:
		return []any{!v, nil}[e.IntN(2)]
	case []any:
		v = slices.Clone(v)
		switch i := e.IntN(max(1, len(v))); e.IntN(4) {
		case 0:
			return nil
		case 1:
			slices.Reverse(v)
			return v
		case 2:
			if len(v) > 0 {
				return slices.Delete(v, i, i+1)
			}
			return v
		default:
			if len(v) > 0 {
				return slices.Insert(v, 0, e.renamed(v[i]))
			}
			return v
		}
	case map[string]any:
		if e.IntN(2) == 0 {
			return nil
		}
		more := map[string]any{"added": "x"}
		for k, old := range v {
			more[k] = old
		}
		return more
	}
	return nil
}

// renamed returns an element that may stand beside v in a list.
func (e *editor) renamed(v any) any {
	switch v := v.(type) {
	case string:
		return v + "-more"
	case map[string]any:
		more := map[string]any{}
		for k, old := range v {
			more[k] = old
			switch k {
			case "name", "key", "host":
				more[k] = fmt.Sprint(old) + "-more"
			case "port", "containerPort":
				more[k] = int64(1000 + e.IntN(1000))
			}
		}
		return more
	}
	return v
}
