package flux

import (
	"cmp"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/watch/health"
)

// What one Kustomization may ask for. Each check is a watch of its own; who
// needs more asks for spec.wait.
const (
	maxChecks = 100
	maxExprs  = 50
)

// defaultCheckVersion is what a health check without apiVersion is of: so
// `flux create kustomization --health-check` writes those of workloads.
const defaultCheckVersion = "apps/v1"

// checks reads spec.healthChecks and spec.healthCheckExprs.
func (o Options) checks(k *kustomization) (out []engine.Check, judges health.Rules, err error) {
	invalid := func(format string, args ...any) error {
		return &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec."+format, args...)}
	}
	if n := len(k.Spec.HealthChecks); n > maxChecks {
		return nil, nil, invalid("healthChecks: %d objects, which is more than the %d that one Kustomization may check; use spec.wait", n, maxChecks)
	}
	if n := len(k.Spec.HealthCheckExprs); n > maxExprs {
		return nil, nil, invalid("healthCheckExprs: %d of them, which is more than %d", n, maxExprs)
	}
	for _, c := range k.Spec.HealthChecks {
		gv, err := schema.ParseGroupVersion(cmp.Or(c.APIVersion, defaultCheckVersion))
		if err != nil {
			return nil, nil, invalid("healthChecks: %w", err)
		}
		if c.Kind == "" {
			return nil, nil, invalid("healthChecks: %q has no kind", c.Name)
		}
		if err := isName("spec.healthChecks", c.Namespace, c.Name); err != nil {
			return nil, nil, err
		}
		if c.Namespace != "" && c.Namespace != k.Namespace && o.NoCrossNamespaceRefs {
			return nil, nil, accessDenied("spec.healthChecks: can't access %s/%s/%s from namespace %s", c.Kind, c.Namespace, c.Name, k.Namespace)
		}
		out = append(out, engine.Check{
			Ref:     object.Ref{Group: gv.Group, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name},
			Version: gv.Version,
		})
	}
	for _, x := range k.Spec.HealthCheckExprs {
		gv, err := schema.ParseGroupVersion(x.APIVersion)
		if err != nil {
			return nil, nil, invalid("healthCheckExprs: %w", err)
		}
		j, err := health.Compile(health.Exprs{Current: x.Current, InProgress: x.InProgress, Failed: x.Failed})
		if err != nil {
			return nil, nil, fmt.Errorf("spec.%w", err)
		}
		judges = append(judges, health.Rule{Group: gv.Group, Kind: x.Kind, Judge: j})
	}
	return out, judges, nil
}

// appliedDigest is that of the objects that were last applied in full.
func appliedDigest(st *kustomizev1.KustomizationStatus) string {
	for _, h := range st.History {
		if h.LastReconciledStatus == meta.ReconciliationSucceededReason {
			if h.Metadata["revision"] == st.LastAppliedRevision {
				return h.Digest
			}
			return ""
		}
	}
	return ""
}
