// Package flux is the dialect of Flux: it turns GitRepositories,
// OCIRepositories and Buckets into sources and Kustomizations into units, and what
// became of them into the status, events and metrics that Flux's users and tools
// rely on. One controller works on the sources of all kinds: what a kind differs
// in is its sourceKind, and a source its sourceObject.
//
// Custom resources are read as they are stored, without a Go type in between,
// and decoded strictly one by one: an object that this version can't make
// sense of is stalled by itself, with the field named, and hurts no other.
package flux

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/report"
)

// The kinds of the dialect.
var (
	KustomizationKind = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	GitRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	OCIRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "OCIRepository"}
	BucketKind        = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "Bucket"}
)

// Names that are API.
const (
	finalizer        = "finalizers.fluxcd.io"
	requestedAt      = "reconcile.fluxcd.io/requestedAt"
	prefix           = "kustomize.toolkit.fluxcd.io/"
	nameLabel        = prefix + "name"
	namespaceLabel   = prefix + "namespace"
	applyManager     = "kustomize-controller"
	statusManager    = "gotk-kustomize-controller"
	substituteKey    = prefix + "substitute"
	allowEmpty       = "plumb.dev/allow-empty"
	approvePrune     = "plumb.dev/approve-prune"
	pruneProtected   = "plumb.dev/prune-protected"
	eventMetadata    = "event.toolkit.fluxcd.io/"
	revisionMetadata = prefix + "revision"
)

// undone are the managers whose fields are taken back from objects that a
// Kustomization applies, as kustomize-controller has them, beside what
// --override-manager adds.
var undone = []string{"kubectl", "before-first-apply"}

func managers(more []string) owned.Managers {
	return owned.Managers{Self: applyManager, Undo: append(append([]string(nil), undone...), more...)}
}

// A kustomization is a Kustomization, decoded.
type kustomization struct {
	kustomizev1.Kustomization
	unreadable bool // but for its status
}

// origin is k as the engine keeps it for the dialect: without what is in the
// cache, and changes with every write.
func (k *kustomization) origin() *kustomization {
	o := *k
	o.Status = kustomizev1.KustomizationStatus{}
	o.ManagedFields = nil
	return &o
}

// originOf returns the Kustomization that a unit was made of. It has no status,
// and may be given one.
func originOf(u engine.Unit) *kustomization {
	k := *u.Origin.(*kustomization)
	return &k
}

// digestOfSpec changes whenever the user changes k.
func digestOfSpec(k *kustomization) string { return fmt.Sprintf("%d %s", k.Generation, k.UID) }

// A specFault is an error that only a change of the custom resource mends.
type specFault struct{ error }

func (s specFault) Unwrap() error { return s.error }

func isSpecFault(err error) bool {
	var s specFault
	return errors.As(err, &s)
}

func (k *kustomization) key() types.NamespacedName {
	return types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
}

func (k *kustomization) subject() report.Subject {
	return report.Subject{Kind: KustomizationKind.Kind, Name: k.Name, Namespace: k.Namespace}
}

// legacySpec are the fields of v1beta1 and v1beta2 that v1 has no more.
type legacySpec struct {
	PatchesStrategicMerge []apiextensionsv1.JSON    `json:"patchesStrategicMerge"`
	PatchesJSON6902       []kustomize.JSON6902Patch `json:"patchesJson6902"`
	Validation            string                    `json:"validation"` // of no effect since v1beta2
}

// decode decodes u strictly into a typed object; legacy fields are those that
// the type does not have.
func decode(u *unstructured.Unstructured, into any, legacy ...string) error {
	o := u
	if spec, ok := u.Object["spec"].(map[string]any); ok && slices.ContainsFunc(legacy, func(f string) bool { _, ok := spec[f]; return ok }) {
		o = &unstructured.Unstructured{Object: maps.Clone(u.Object)}
		spec = maps.Clone(spec)
		for _, f := range legacy {
			delete(spec, f)
		}
		o.Object["spec"] = spec
	}
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true)
	if err != nil {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("this version of plumb can't read it: %s%w", culprit(o, into), err),
			Hint: "correct the field, or use a version that knows it",
		}
	}
	return nil
}

// culprit names the field of the spec that can't be decoded: not every error
// does.
func culprit(u *unstructured.Unstructured, like any) string {
	spec, ok := u.Object["spec"].(map[string]any)
	if !ok {
		return "spec: "
	}
	for _, field := range slices.Sorted(maps.Keys(spec)) {
		only := map[string]any{"spec": map[string]any{field: spec[field]}}
		into := reflect.New(reflect.TypeOf(like).Elem()).Interface()
		if runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(only, into, true) != nil {
			return "spec." + field + ": "
		}
	}
	return ""
}

func decodeKustomization(u *unstructured.Unstructured) (*kustomization, error) {
	var k kustomization
	if err := decode(u, &k.Kustomization, "patchesStrategicMerge", "patchesJson6902", "validation"); err != nil {
		return nil, err
	}
	var legacy legacySpec
	if spec, ok := u.Object["spec"].(map[string]any); ok {
		for _, field := range []string{"patchesStrategicMerge", "patchesJson6902"} {
			var one legacySpec
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{field: spec[field]}, &one); err != nil {
				return nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.%s: %w", field, err)}
			}
			legacy.PatchesStrategicMerge = append(legacy.PatchesStrategicMerge, one.PatchesStrategicMerge...)
			legacy.PatchesJSON6902 = append(legacy.PatchesJSON6902, one.PatchesJSON6902...)
		}
	}
	for _, p := range legacy.PatchesStrategicMerge {
		y, err := yaml.JSONToYAML(p.Raw)
		if err != nil {
			return nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.patchesStrategicMerge: %w", err)}
		}
		k.Spec.Patches = append(k.Spec.Patches, kustomize.Patch{Patch: string(y)})
	}
	for _, p := range legacy.PatchesJSON6902 {
		b, err := json.Marshal(p.Patch)
		if err != nil {
			return nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.patchesJson6902: %w", err)}
		}
		t := p.Target
		k.Spec.Patches = append(k.Spec.Patches, kustomize.Patch{Patch: string(b), Target: &t})
	}
	return &k, nil
}

// unsupported is the error for a field that this version can't honour.
func unsupported(field, what string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: fault.UnsupportedField,
		Err:  fmt.Errorf("spec.%s: %s", field, what),
		Hint: "remove the field, or wait for a version that honours it",
	}
}

// accessDenied is the error for a reference that leaves its namespace.
func accessDenied(format string, args ...any) error {
	return &fault.Error{
		Next: fault.Stall, Reason: fault.AccessDenied, Err: fmt.Errorf("CrossNamespaceDenied: "+format, args...),
		Hint: "refer to an object in the same namespace, or start plumb with --no-cross-namespace-refs=false",
	}
}

// unitName names a unit, and is how the engine and the queue call it.
func unitName(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// keyOf is the other direction of unitName.
func keyOf(unit string) (kind string, key types.NamespacedName) {
	parts := strings.SplitN(unit, "/", 3)
	if len(parts) != 3 {
		return "", types.NamespacedName{}
	}
	return parts[0], types.NamespacedName{Namespace: parts[1], Name: parts[2]}
}
