package flux

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/stores"
	"plumb.dev/plumb/source/web"
)

// A sourceKind is a kind of source, as the one controller that there is for all
// kinds has to know it, and commands.
type sourceKind struct {
	schema.GroupVersionKind
	plural string
	names  []string // what people call it
	failed string   // the reason of a failure that has no word of its own
	decode func(*unstructured.Unstructured) (sourceObject, error)
}

// sourceTypes are the kinds of source.
func sourceTypes() []*sourceKind { return []*sourceKind{gitKind(), ociKind(), bucketKind()} }

// sourceType returns a kind of source by its name, or nil.
func sourceType(kind string) *sourceKind {
	for _, k := range sourceTypes() {
		if k.Kind == kind {
			return k
		}
	}
	return nil
}

// A sourceObject is the custom resource of a source, decoded: all in which a kind
// differs from another.
type sourceObject interface {
	client.Object
	// common are the fields that all kinds have. What it points to is the
	// object's.
	common() common
	// shape is what an artifact selects of what its server holds.
	shape() (source.Shape, error)
	// fetcher is the source at its server. With an error there is one all the same
	// as soon as its place on disk is known.
	fetcher(refs getter, s *stores.Stores) (source.Fetcher, error)
	// wanted is the revision that somebody means, who is asked for no exact name.
	wanted(ctx context.Context, from source.Fetcher, name string) (source.Revision, error)

	// observe writes into the status what only the kind says of an artifact that is
	// the newest; stored is another one as others would fetch it.
	observe(s source.State, stored func(name string, a *source.Artifact) *meta.Artifact)
	// file is what an artifact is called, without its suffix.
	file(a *source.Artifact) string
	// stored is what the conditions say of an artifact, and news an event.
	stored(a *source.Artifact) string
	news(a *source.Artifact) string
}

// common are the fields that sources of all kinds have.
type common struct {
	interval time.Duration
	suspend  bool
	ignore   *string

	status             any // as a whole
	conditions         *[]metav1.Condition
	observedGeneration *int64
	artifact           **meta.Artifact
	observedIgnore     **string
	handled            *string // the request that was
}

// sourceSpec makes of a source what the keeper is to keep.
func sourceSpec(name string, o sourceObject, refs getter, st *stores.Stores) source.Spec {
	c := o.common()
	s := source.Spec{Name: name, Interval: c.interval, Suspended: c.suspend}
	var badShape error
	s.Shape, badShape = o.shape()
	if s.From, s.Refused = o.fetcher(refs, st); s.Refused == nil {
		s.Refused = badShape
	}
	if requested, ok := meta.ReconcileAnnotationValue(o.GetAnnotations()); ok && requested != *c.handled {
		s.Requested = requested
	}
	if a := *c.artifact; a != nil {
		s.Last = &source.Last{Revision: a.Revision, Digest: a.Digest, Fetched: a.LastUpdateTime.Time}
	}
	return s
}

// secret reads a Secret that a field refers to.
func secret(namespace string, refs getter, field, name string) (map[string][]byte, error) {
	ref := lookup.Ref{Kind: lookup.Secret, Namespace: namespace, Name: name}
	data, found, err := refs.Get(ref)
	if err == nil && !found {
		err = unauthenticated("create it", "spec.%s: %s does not exist", field, ref)
	}
	return data, err
}

// unauthenticated is the error for credentials that are not there, or are none.
func unauthenticated(hint, format string, args ...any) error {
	return &fault.Error{Next: fault.Wait, Reason: fault.AuthenticationFailed, Err: fmt.Errorf(format, args...), Hint: hint}
}

// proxyOf reads the Secret that spec.proxySecretRef names.
func proxyOf(namespace string, refs getter, ref *meta.LocalObjectReference) (p web.Proxy, err error) {
	if ref == nil {
		return p, nil
	}
	data, err := secret(namespace, refs, "proxySecretRef", ref.Name)
	return web.Proxy{URL: string(data["address"]), Username: string(data["username"]), Password: string(data["password"])}, err
}

// tlsOf reads the Secret that spec.certSecretRef names.
func tlsOf(namespace string, refs getter, ref *meta.LocalObjectReference) (t web.TLS, err error) {
	if ref == nil {
		return t, nil
	}
	data, err := secret(namespace, refs, "certSecretRef", ref.Name)
	if err != nil {
		return t, err
	}
	t = web.TLS{CA: first(data, "ca.crt", "caFile"), ClientCert: first(data, "tls.crt", "certFile"), ClientKey: first(data, "tls.key", "keyFile")}
	if len(t.CA)+len(t.ClientCert)+len(t.ClientKey) == 0 {
		return t, unauthenticated("add what the server is known by, or plumb", "spec.certSecretRef: Secret/%s/%s has none of the keys ca.crt, tls.crt and tls.key", namespace, ref.Name)
	}
	return t, nil
}

// first is the first of some keys that has a value: the later ones are of old.
func first(data map[string][]byte, keys ...string) []byte {
	for _, k := range keys {
		if len(data[k]) > 0 {
			return data[k]
		}
	}
	return nil
}

// checkName refuses what is no name of an object: it would be a path.
func checkName(field, name string) error {
	errs := content.IsPathSegmentName(name)
	if name == "" {
		errs = []string{"may not be empty"}
	}
	if len(errs) == 0 {
		return nil
	}
	return &fault.Error{
		Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("spec.%s: %q is no name: %s", field, name, strings.Join(errs, ", ")),
		Hint: "name an object of the same namespace",
	}
}

// secretRef are references of a field, of which there may be none.
type secretRef struct {
	field string
	ref   *meta.LocalObjectReference
}

// checkRefs is checkName for references to Secrets.
func checkRefs(all ...secretRef) error {
	for _, s := range all {
		if s.ref == nil {
			continue
		}
		if err := checkName(s.field+".name", s.ref.Name); err != nil {
			return err
		}
	}
	return nil
}

func timeoutOf(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

// partField says which field of a source a part of a shape is.
var partField = map[source.Part]string{
	source.PartSparse: "spec.sparseCheckout", source.PartInclude: "spec.include", source.PartIgnore: "ignore rules",
}

// inWords says what a source's error is about in words of its custom resource.
func inWords(err error) error {
	var inc *source.IncludeError
	var part *source.ShapeError
	switch {
	case errors.As(err, &inc) && inc.Missing != "":
		kind, key := keyOf(inc.Missing)
		return &fault.Error{
			Next: fault.Wait, Reason: source.ReasonIncludeUnavailable, Err: fmt.Errorf("spec.include: %s '%s' has no artifact", kind, key),
		}
	case errors.As(err, &inc):
		way := make([]string, len(inc.Circle))
		for i, name := range inc.Circle {
			_, key := keyOf(name)
			way[i] = key.String()
		}
		return circular(way)
	case errors.As(err, &part):
		return fmt.Errorf("%s: %w", partField[part.Part], part.Err)
	}
	return err
}

func circular(way []string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: source.ReasonIncludeCircle, Hint: "take one of them out",
		Err: fmt.Errorf("spec.include: GitRepositories include each other in a circle: %s", strings.Join(way, " → ")),
	}
}
