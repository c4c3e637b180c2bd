package inspect

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// A Reader reads what custom resources refer to, in the name of who looks, and
// remembers what of it may not be shown. It implements [view.Reader]. It is for
// one question: what it has read it does not read again.
type Reader struct {
	ctx context.Context
	c   *Cluster // nil: there is no cluster

	mu    sync.Mutex
	known map[lookup.Ref]map[string][]byte // a nil map: it does not exist
	// selected are Secrets by namespace and selector.
	selected map[string][]*corev1.Secret
}

// Reader returns a Reader for one question, which ends with ctx.
func (c *Cluster) Reader(ctx context.Context) *Reader {
	return &Reader{ctx: ctx, c: c, known: map[lookup.Ref]map[string][]byte{}, selected: map[string][]*corev1.Secret{}}
}

// Offline returns a Reader that has only what it is told.
func Offline(ctx context.Context) *Reader { return (*Cluster)(nil).Reader(ctx) }

// Get implements [view.Reader].
func (r *Reader) Get(ref lookup.Ref) (map[string][]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if data, ok := r.known[ref]; ok {
		return data, data != nil, nil
	}
	if r.c == nil {
		return nil, false, fmt.Errorf("%s is needed, and %w", ref, view.ErrOffline)
	}
	data, err := r.read(ref)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", ref, err)
	}
	r.known[ref] = data
	return data, data != nil, nil
}

func (r *Reader) read(ref lookup.Ref) (map[string][]byte, error) {
	core := r.c.Clientset.CoreV1()
	data := map[string][]byte{}
	if ref.Kind == lookup.Secret {
		s, err := core.Secrets(ref.Namespace).Get(r.ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		for k, v := range s.Data {
			data[k] = v
		}
		return data, nil
	}
	if ref.Kind == lookup.ServiceAccount {
		a, err := core.ServiceAccounts(ref.Namespace).Get(r.ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return lookup.AccountData(a), nil
	}
	c, err := core.ConfigMaps(ref.Namespace).Get(r.ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for k, v := range c.Data {
		data[k] = []byte(v)
	}
	for k, v := range c.BinaryData {
		data[k] = v
	}
	return data, nil
}

// Resource implements [view.Reader].
func (r *Reader) Resource(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	if r.c == nil {
		return nil, fmt.Errorf("%s is needed, and %w", ref, view.ErrOffline)
	}
	f, err := r.c.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return f.Object, nil
}

// Secrets implements [view.Reader].
func (r *Reader) Secrets(ctx context.Context, namespace, selector string) (all []*corev1.Secret, err error) {
	if r.c == nil {
		return nil, fmt.Errorf("Secrets of namespace %s are needed, and %w", namespace, view.ErrOffline)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	which := namespace + "\x00" + selector
	if all, ok := r.selected[which]; ok {
		return all, nil
	}
	l, err := r.c.Clientset.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list Secrets of namespace %s with %s: %w", namespace, selector, err)
	}
	for i := range l.Items { // none of what they hold gets into an object
		all = append(all, &l.Items[i])
	}
	r.selected[which] = all
	return all, nil
}

// Object implements [view.Reader].
func (r *Reader) Object(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	if r.c == nil {
		return nil, fmt.Errorf("%s %s/%s is needed, and %w", resource.Resource, namespace, name, view.ErrOffline)
	}
	u, err := r.c.Client.Dynamic().Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // as its contract says
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", resource.Resource, namespace, name, err)
	}
	return u, nil
}

// Tell gives r the content of ConfigMaps and Secrets beforehand.
func (r *Reader) Tell(manifests []*unstructured.Unstructured, namespace string) error {
	for _, u := range manifests {
		if u.GetAPIVersion() != "v1" || u.GetKind() != "Secret" && u.GetKind() != "ConfigMap" {
			return fmt.Errorf("%s is no Secret and no ConfigMap", object.RefOf(u))
		}
		ref := lookup.Ref{Kind: lookup.Kind(u.GetKind()), Namespace: cmp.Or(u.GetNamespace(), namespace), Name: u.GetName()}
		data := map[string][]byte{}
		for _, field := range []string{"data", "binaryData", "stringData"} {
			values, _, err := unstructured.NestedStringMap(u.Object, field)
			if err != nil {
				return fmt.Errorf("%s: %s is not made of text", ref, field)
			}
			for k, v := range values {
				data[k] = []byte(v)
				if field == "binaryData" || field == "data" && ref.Kind == lookup.Secret {
					if data[k], err = base64.StdEncoding.DecodeString(v); err != nil {
						return fmt.Errorf("%s: %s.%s is not base64", ref, field, k)
					}
				}
			}
		}
		r.known[ref] = data
	}
	return nil
}

// shortestSecret is the length from which on a value that was read from a
// Secret is looked for in what is shown. Shorter ones are in every word.
const shortestSecret = 4

// Redact replaces in v, a value as JSON has it, what was read from Secrets.
// A variable that a Secret fills can be anywhere in an object.
func (r *Reader) Redact(v any) any { return redact(v, r.secrets()) }

func redact(v any, secrets []string) any {
	switch v := v.(type) {
	case string:
		return redactText(v, secrets)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = redact(e, secrets)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = redact(e, secrets)
		}
		return out
	}
	return v
}

// RedactText is Redact for text.
func (r *Reader) RedactText(s string) string { return redactText(s, r.secrets()) }

func redactText(s string, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, owned.Masked)
	}
	return s
}

// A hidden is an error whose text is without what r has read from Secrets.
type hidden struct {
	error
	text string
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.error }

// Hide makes err one that can be shown: what fails may quote what it was given.
func (r *Reader) Hide(err error) error {
	if err == nil {
		return nil
	}
	return hidden{err, r.RedactText(err.Error())}
}

// secrets returns the values that may not be shown, the longest first.
func (r *Reader) secrets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for ref, data := range r.known {
		if ref.Kind != lookup.Secret {
			continue
		}
		for _, v := range data {
			for _, form := range []string{string(v), strings.Trim(string(v), "\r\n")} {
				if len(form) >= shortestSecret {
					out = append(out, form)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(out)
}
