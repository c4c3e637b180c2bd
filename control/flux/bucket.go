package flux

import (
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/bucket"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/stores"
)

func bucketKind() *sourceKind {
	return &sourceKind{
		GroupVersionKind: BucketKind, plural: "buckets", names: []string{"bucket", "buckets", "source"},
		failed: sourcev1.BucketOperationFailedReason,
		decode: func(u *unstructured.Unstructured) (sourceObject, error) { return asSource(decodeBucket(u)) },
	}
}

// A bucketSource is a Bucket, as a [sourceObject].
type bucketSource struct{ sourcev1.Bucket }

func decodeBucket(u *unstructured.Unstructured) (*bucketSource, error) {
	b := &bucketSource{}
	// As with GitRepositories, accessFrom never had an effect.
	if err := decode(u, &b.Bucket, "accessFrom"); err != nil {
		return nil, err
	}
	return b, checkRefs(secretRef{"secretRef", b.Spec.SecretRef}, secretRef{"certSecretRef", b.Spec.CertSecretRef}, secretRef{"proxySecretRef", b.Spec.ProxySecretRef})
}

func (b *bucketSource) common() common {
	st := &b.Status
	return common{
		interval: b.Spec.Interval.Duration, suspend: b.Spec.Suspend, ignore: b.Spec.Ignore,
		status: st, conditions: &st.Conditions, observedGeneration: &st.ObservedGeneration, artifact: &st.Artifact,
		observedIgnore: &st.ObservedIgnore, handled: &st.LastHandledReconcileAt,
	}
}

func (b *bucketSource) shape() (source.Shape, error) { return source.Shape{Ignore: b.Spec.Ignore}, nil }

func (b *bucketSource) fetcher(refs getter, s *stores.Stores) (source.Fetcher, error) {
	from := bucket.Source{Store: s.Archives, Clients: s.Buckets, Ignore: b.Spec.Ignore}
	m := &from.Remote
	m.Bucket, m.Endpoint, m.Region, m.Prefix = b.Spec.BucketName, b.Spec.Endpoint, b.Spec.Region, b.Spec.Prefix
	m.Insecure, m.Timeout = b.Spec.Insecure, timeoutOf(b.Spec.Timeout)
	var err error
	if m.Proxy, err = proxyOf(b.Namespace, refs, b.Spec.ProxySecretRef); err != nil {
		return nil, err
	}
	switch p := b.Spec.Provider; {
	case p != "" && p != sourcev1.BucketProviderGeneric:
		return from, noProvider(p)
	case b.Spec.STS != nil:
		return from, specFault{unsupported("sts", "this version of plumb asks no token service for credentials")}
	case b.Spec.ServiceAccountName != "":
		return from, specFault{unsupported("serviceAccountName", "this version of plumb has no workload identity")}
	}
	if m.TLS, err = tlsOf(b.Namespace, refs, b.Spec.CertSecretRef); err != nil {
		return from, err
	}
	if ref := b.Spec.SecretRef; ref != nil {
		data, err := secret(b.Namespace, refs, "secretRef", ref.Name)
		if err != nil {
			return from, err
		}
		m.Auth = bucket.Auth{AccessKey: string(data["accesskey"]), SecretKey: string(data["secretkey"])}
		if m.Auth.AccessKey == "" || m.Auth.SecretKey == "" {
			return from, unauthenticated("add them", "spec.secretRef: Secret/%s/%s lacks one of the keys accesskey and secretkey", b.Namespace, ref.Name)
		}
	}
	return from, nil
}

// wanted implements [sourceObject]. A bucket has one revision, what is in it now.
func (b *bucketSource) wanted(ctx context.Context, from source.Fetcher, name string) (source.Revision, error) {
	r, err := from.Resolve(ctx)
	if err == nil && r.Name != name {
		err = &fault.Error{
			Next: fault.Stall, Reason: git.ReasonReferenceNotFound, Err: fmt.Errorf("%s is at %s by now, and keeps no other revision", from.URL(), r.Name),
		}
	}
	return r, err
}

func (b *bucketSource) observe(source.State, func(string, *source.Artifact) *meta.Artifact) {}

// file implements [sourceObject]: the digest without its algorithm, as in Flux.
func (b *bucketSource) file(a *source.Artifact) string {
	return a.Revision[strings.LastIndex(a.Revision, ":")+1:]
}

func (b *bucketSource) stored(a *source.Artifact) string {
	return fmt.Sprintf("stored artifact: revision '%s'", a.Revision)
}

func (b *bucketSource) news(a *source.Artifact) string {
	return fmt.Sprintf("stored artifact with revision '%s' from '%s' bucket", a.Revision, b.Spec.BucketName)
}
