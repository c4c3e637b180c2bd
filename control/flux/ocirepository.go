package flux

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/oci"
	"plumb.dev/plumb/source/stores"
)

func ociKind() *sourceKind {
	return &sourceKind{
		GroupVersionKind: OCIRepositoryKind, plural: "ocirepositories",
		names:  []string{"ocirepository", "ocirepositories", "ocirepo", "source"},
		failed: sourcev1.OCIPullFailedReason,
		decode: func(u *unstructured.Unstructured) (sourceObject, error) { return asSource(decodeOCIRepository(u)) },
	}
}

// An ociRepository is an OCIRepository, as a [sourceObject].
type ociRepository struct{ sourcev1.OCIRepository }

func decodeOCIRepository(u *unstructured.Unstructured) (*ociRepository, error) {
	o := &ociRepository{}
	if err := decode(u, &o.OCIRepository); err != nil {
		return nil, err
	}
	return o, o.check()
}

// check refuses what no registry and no cluster can answer.
func (o *ociRepository) check() error {
	err := checkRefs(secretRef{"secretRef", o.Spec.SecretRef}, secretRef{"certSecretRef", o.Spec.CertSecretRef}, secretRef{"proxySecretRef", o.Spec.ProxySecretRef})
	if err != nil {
		return err
	}
	if name := o.Spec.ServiceAccountName; name != "" {
		if err := checkName("serviceAccountName", name); err != nil {
			return err
		}
	}
	if op := o.GetLayerOperation(); op != sourcev1.OCILayerExtract && op != sourcev1.OCILayerCopy {
		return &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.layerSelector.operation: %q is none", clip(op)),
			Hint: "write extract or copy",
		}
	}
	return nil
}

func (o *ociRepository) common() common {
	st := &o.Status
	return common{
		interval: timeoutOf(o.Spec.Interval), suspend: o.Spec.Suspend, ignore: o.Spec.Ignore,
		status: st, conditions: &st.Conditions, observedGeneration: &st.ObservedGeneration, artifact: &st.Artifact,
		observedIgnore: &st.ObservedIgnore, handled: &st.LastHandledReconcileAt,
	}
}

// shape implements [sourceObject]. Of a layer that is copied nothing is ignored:
// in Flux it is the layer as it was pushed that consumers unpack.
func (o *ociRepository) shape() (source.Shape, error) {
	return source.Shape{Ignore: o.Spec.Ignore, Whole: o.GetLayerOperation() == sourcev1.OCILayerCopy}, nil
}

func (o *ociRepository) fetcher(refs getter, s *stores.Stores) (source.Fetcher, error) {
	from := oci.Source{Store: s.Archives, Clients: s.Registries, Ref: o.ref(), Layer: oci.Layer{MediaType: o.GetLayerMediaType()}}
	m := &from.Remote
	m.URL, m.Insecure, m.Timeout = o.Spec.URL, o.Spec.Insecure, timeoutOf(o.Spec.Timeout)
	var err error
	if m.Proxy, err = proxyOf(o.Namespace, refs, o.Spec.ProxySecretRef); err != nil {
		return nil, err
	}
	switch {
	case o.Spec.Verify != nil:
		return from, specFault{unsupported("verify", "this version of plumb does not verify signatures")}
	case o.GetProvider() != sourcev1.GenericOCIProvider:
		return from, noProvider(o.GetProvider())
	}
	if m.TLS, err = tlsOf(o.Namespace, refs, o.Spec.CertSecretRef); err != nil {
		return from, err
	}
	m.Auth, err = o.auth(refs)
	return from, err
}

func (o *ociRepository) ref() oci.Ref {
	f := o.Spec.Reference
	if f == nil {
		return oci.Ref{}
	}
	return oci.Ref{Digest: f.Digest, SemVer: f.SemVer, SemverFilter: f.SemverFilter, Tag: f.Tag}
}

// auth reads the Secret of the spec, and those of the service account.
func (o *ociRepository) auth(refs getter) (a oci.Auth, err error) {
	add := func(field, name string) error {
		data, err := secret(o.Namespace, refs, field, name)
		if err != nil {
			return err
		}
		config := dockerConfig(data)
		if len(config) == 0 {
			return unauthenticated("make it of the type kubernetes.io/dockerconfigjson", "spec.%s: Secret/%s/%s has no key .dockerconfigjson", field, o.Namespace, name)
		}
		a.DockerConfigs = append(a.DockerConfigs, config)
		return nil
	}
	if s := o.Spec.SecretRef; s != nil {
		if err := add("secretRef", s.Name); err != nil {
			return a, err
		}
	}
	if o.Spec.ServiceAccountName == "" {
		return a, nil
	}
	ref := lookup.Ref{Kind: lookup.ServiceAccount, Namespace: o.Namespace, Name: o.Spec.ServiceAccountName}
	data, found, err := refs.Get(ref)
	if err == nil && !found {
		err = unauthenticated("create it", "spec.serviceAccountName: %s does not exist", ref)
	}
	if err != nil {
		return a, err
	}
	for name := range strings.FieldsSeq(string(data[lookup.PullSecrets])) {
		if err := checkName("serviceAccountName: imagePullSecrets", name); err != nil {
			return a, err
		}
		if err := add("serviceAccountName", name); err != nil {
			return a, err
		}
	}
	return a, nil
}

// dockerConfig is what a Secret for registries holds, of either type.
func dockerConfig(data map[string][]byte) []byte {
	if config := data[".dockerconfigjson"]; len(config) > 0 {
		return config
	}
	if old := data[".dockercfg"]; json.Valid(old) {
		return []byte(`{"auths":` + string(old) + `}`)
	}
	return nil
}

var sha256Of = regexp.MustCompile(`(^|@)sha256:[0-9a-f]{64}$`)

// wanted implements [sourceObject]: a revision as a status has it, a digest or a
// tag.
func (o *ociRepository) wanted(ctx context.Context, at source.Fetcher, name string) (source.Revision, error) {
	if sha256Of.MatchString(name) {
		return source.Revision{Name: name}, nil
	}
	from := at.(oci.Source)
	from.Ref = oci.Ref{Tag: name}
	return from.Resolve(ctx)
}

func (o *ociRepository) observe(source.State, func(string, *source.Artifact) *meta.Artifact) {
	o.Status.ObservedLayerSelector = o.Spec.LayerSelector
}

// file implements [sourceObject]: the digest, as in Flux.
func (o *ociRepository) file(a *source.Artifact) string {
	return a.Revision[strings.LastIndex(a.Revision, "@")+1:]
}

func (o *ociRepository) stored(a *source.Artifact) string {
	return fmt.Sprintf("stored artifact for digest '%s'", a.Revision)
}

func (o *ociRepository) news(a *source.Artifact) string {
	return fmt.Sprintf("stored artifact with revision '%s' from '%s'", a.Revision, o.Spec.URL)
}
