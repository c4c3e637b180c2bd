package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/control/flux"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
)

// settings adds the flags that decide what becomes of a unit. A command that
// foretells what the controller does takes the same ones.
func settings(f *pflag.FlagSet, o *flux.Options) {
	f.BoolVar(&o.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to objects of other namespaces, as plumb install --multi-tenant sets it")
	f.BoolVar(&o.NoRemoteBases, "no-remote-bases", true, "refuse kustomizations that name bases by URL")
	f.BoolVar(&o.ApplyFluxComponents, "apply-flux-components", false, "apply Flux's own controllers, and prune what Flux is made of, like other objects")
	f.BoolVar(&o.StrictSubstitution, "strict-substitutions", true, "fail where postBuild finds a variable that is not set and has no default")
	f.StringSliceVar(&o.OverrideManagers, "override-manager", nil, "field managers whose changes are taken back, beside kubectl")
	f.StringSliceVar(&o.CustomStageKinds, "custom-apply-stage-kinds", nil, "kinds to apply before the rest, as Kind or group/Kind")
}

// asServed adds the settings to a command.
func (a *app) asServed(cmd *cobra.Command) {
	served := pflag.NewFlagSet("served", pflag.ContinueOnError)
	settings(served, &a.dialect)
	cmd.Flags().AddFlagSet(served)
	cmd.Long += `

If the controller runs with other settings than it ships with, such as
--no-cross-namespace-refs, give the same ones here.`
}

// unit makes the unit of f as the controller does.
func (s *conn) unit(ctx context.Context, f *found) (engine.Unit, error) {
	return s.dialect.Unit(f.object, s.reader(ctx))
}

func (s *conn) reader(ctx context.Context) *reader {
	return &reader{ctx: ctx, s: s, known: map[lookup.Ref]map[string][]byte{}}
}

// A reader reads what custom resources refer to, in the name of who runs the
// command, and remembers what of it may not be shown. It implements
// [flux.Reader].
type reader struct {
	ctx context.Context
	s   *conn // nil: there is no cluster

	mu    sync.Mutex
	known map[lookup.Ref]map[string][]byte // a nil map: it does not exist
}

// Get implements [flux.Reader].
func (r *reader) Get(ref lookup.Ref) (map[string][]byte, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if data, ok := r.known[ref]; ok {
		return data, data != nil, nil
	}
	if r.s == nil {
		return nil, false, fmt.Errorf("%s is needed, and %w; give its manifest with --with FILE", ref, flux.ErrOffline)
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

func (r *reader) read(ref lookup.Ref) (map[string][]byte, error) {
	core := r.s.clientset.CoreV1()
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

// Resource implements [flux.Reader].
func (r *reader) Resource(ctx context.Context, ref object.Ref) (*unstructured.Unstructured, error) {
	if r.s == nil {
		return nil, fmt.Errorf("%s is needed, and %w; name the unit without -f, so that one is", ref, flux.ErrOffline)
	}
	f, err := r.s.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	return f.object, nil
}

// tell gives r the content of ConfigMaps and Secrets beforehand.
func (r *reader) tell(manifests []*unstructured.Unstructured, namespace string) error {
	for _, u := range manifests {
		if u.GetAPIVersion() != "v1" || u.GetKind() != "Secret" && u.GetKind() != "ConfigMap" {
			return fmt.Errorf("%s is no Secret and no ConfigMap", object.RefOf(u))
		}
		ref := lookup.Ref{Kind: lookup.Kind(u.GetKind()), Namespace: or(u.GetNamespace(), namespace), Name: u.GetName()}
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

// redact replaces in v, a value as JSON has it, what was read from Secrets.
// A variable that a Secret fills can be anywhere in an object.
func (r *reader) redact(v any) any {
	switch v := v.(type) {
	case string:
		return r.redactText(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = r.redact(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = r.redact(e)
		}
		return out
	}
	return v
}

func (r *reader) redactText(s string) string {
	for _, secret := range r.secrets() {
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

// hide makes err one that can be shown: what fails may quote what it was given.
func (r *reader) hide(err error) error {
	if err == nil {
		return nil
	}
	return hidden{err, r.redactText(err.Error())}
}

// secrets returns the values that may not be shown, the longest first.
func (r *reader) secrets() []string {
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
