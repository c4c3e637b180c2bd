package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/inspect"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/source"
)

type buildOptions struct {
	file, path, revision, with, output string
	refs                               []string
	showSecrets                        bool
}

func newBuild(a *app) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build NAME [--path DIR | --revision REV] | -f FILE --path DIR",
		Short: "Print the objects of a unit as they would be applied",
		Long: `Print the objects of a unit as they would be applied, as YAML, in the order
in which they were rendered.

The unit is read from the cluster, or with -f from a file, and then no cluster
is asked at all. What such a unit refers to in postBuild.substituteFrom has to
be given with --with, unless it is marked optional; one that is missing is an
error, as it is in the cluster. A kind that only a cluster knows stays without
a namespace if it has none.

--path is the root of the source, or the directory in it that spec.path names.
Of an Application with several sources it is the one that makes objects, and
--ref gives the files of each that is only referred to.

Values of Secrets, and of variables that a Secret gives, are masked unless
--show-secrets is set.`,
		Example: `  plumb build app --path . | less
  plumb build -f clusters/production/apps.yaml --path . --with vars.yaml
  plumb build -f web.yaml --path charts --ref values=../config`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(cmd.Context(), a, name)
		},
		ValidArgsFunction: a.completeNames(units),
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "filename", "f", "", "file with the unit, and perhaps others: no cluster is asked; - is the standard input")
	f.StringVar(&o.path, "path", "", "local directory: the root of the source, or the unit's path in it")
	refFlag(f, &o.refs)
	f.StringVar(&o.revision, "revision", "", "branch, tag, full ref, commit, or revision as a status has it")
	f.StringVar(&o.with, "with", "", "file with ConfigMaps and Secrets that the unit refers to; they go before those of the cluster")
	f.BoolVar(&o.showSecrets, "show-secrets", false, "don't mask values of Secrets")
	outputFlag(cmd, &o.output, "yaml", "json", "name")
	exclusive(cmd, "path", "revision")
	exclusive(cmd, "filename", "revision")
	a.asServed(cmd)
	return cmd
}

func (o buildOptions) run(ctx context.Context, a *app, name string) error {
	var s *conn
	r := inspect.Offline(ctx)
	if o.file == "" {
		var err error
		if s, err = a.connect(); err != nil {
			return err
		}
		r = s.Reader(ctx)
	}
	set, err := o.objects(ctx, a, s, r, name)
	if err != nil && !o.showSecrets {
		return r.Hide(err)
	}
	if err != nil {
		return err
	}
	return o.print(a, r, set)
}

func (o buildOptions) objects(ctx context.Context, a *app, s *conn, r *inspect.Reader, name string) (object.Set, error) {
	f, src, err := o.find(ctx, a, s, name)
	if err != nil {
		return nil, err
	}
	if o.with != "" {
		manifests, err := readManifests(a.io.In, o.with)
		if err != nil {
			return nil, err
		}
		if err := r.Tell(manifests, f.Ref.Namespace); err != nil {
			return nil, fmt.Errorf("--with %s: %w", o.with, err)
		}
	}
	reads := view.Reader(r)
	if s == nil {
		reads = offlineReader{r}
	}
	u, err := f.Dialect.Unit(f.Object, reads)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Ref, err)
	}
	if err := o.source(ctx, reads, f, src, &u); err != nil {
		return nil, err
	}
	result, err := engine.Render(ctx, u)
	if err != nil {
		return nil, inDirectory(err, o.path)
	}
	for _, w := range result.Warnings() {
		a.note("%s %s", a.warn("warning:"), clean(w))
	}
	var kinds engine.Kinds
	if s != nil {
		kinds = s.Client
	} else if kinds, err = builtin(result); err != nil {
		return nil, err
	}
	return engine.Desired(ctx, kinds, u, result)
}

// find returns the unit and its source; the latter may be nil.
func (o buildOptions) find(ctx context.Context, a *app, s *conn, name string) (f, src *inspect.Found, err error) {
	if s != nil {
		if name == "" {
			return nil, nil, errors.New("say which unit: plumb build NAME, or plumb build -f FILE --path DIR")
		}
		if f, err = s.one(ctx, name, units); err != nil || f.Inline {
			return f, nil, err
		}
		src, err = s.Get(ctx, f.Source)
		return f, src, err
	}
	if o.path == "" {
		return nil, nil, errors.New("-f needs the files of the source; add --path DIR")
	}
	manifests, err := readManifests(a.io.In, o.file)
	if err != nil {
		return nil, nil, err
	}
	from := o.file
	if from == "-" {
		from = "the standard input"
	}
	return pick(a.offline(), manifests, from, name, or(*a.flags.Namespace, "default"))
}

// pick finds the unit of a file, and its source if that is there too.
func pick(offline *inspect.Cluster, manifests []*unstructured.Unstructured, file, name, namespace string) (f, src *inspect.Found, err error) {
	var all []*inspect.Found
	var names []string
	for _, m := range manifests {
		if m.GetNamespace() == "" {
			m.SetNamespace(namespace)
		}
		k, ok := offline.KindOf(object.RefOf(m))
		if !ok {
			continue
		}
		x := offline.Found(k, m)
		all = append(all, x)
		if !k.IsSource && (name == "" || name == x.Ref.Name) {
			f = x
			names = append(names, x.Ref.Name)
		}
	}
	switch {
	case len(names) == 0 && name != "":
		return nil, nil, fmt.Errorf("%s holds no unit %q", file, clean(name))
	case len(names) == 0:
		return nil, nil, fmt.Errorf("%s holds no unit; units are: %s", file, strings.Join(kindsOf(offline, units), ", "))
	case len(names) > 1:
		return nil, nil, fmt.Errorf("%s holds %d units; say which: %s", file, len(names), clean(strings.Join(names, ", ")))
	}
	for _, x := range all {
		if x.Ref == f.Source {
			src = x
		}
	}
	return f, src, nil
}

// source gives u the files that it is made from.
func (o buildOptions) source(ctx context.Context, r view.Reader, f, src *inspect.Found, u *engine.Unit) (err error) {
	if o.path != "" {
		u.Artifacts, err = locals(ctx, r, f, src, o.path, o.refs, u)
		return err
	}
	if f.Inline {
		store, done, err := openStore()
		if err != nil {
			return err
		}
		defer done()
		u.Artifacts, err = f.Dialect.Artifacts(ctx, f.Object, r, store, view.Want{Revision: or(o.revision, f.Revision)})
		return err
	}
	want := or(o.revision, src.Revision)
	if want == "" {
		return fmt.Errorf("%s has no revision yet; name one with --revision, or a directory with --path", src.Ref)
	}
	store, done, err := openStore()
	if err != nil {
		return err
	}
	defer done()
	a, err := src.Dialect.Artifact(ctx, src.Object, r, store, view.Want{Revision: want})
	if err != nil {
		return fmt.Errorf("fetch %s at %s: %w; with a checkout of it, type: plumb build %s --path DIR", src.Ref, want, err, f.Ref.Name)
	}
	u.Artifacts = []*source.Artifact{a}
	return nil
}

func (o buildOptions) print(a *app, r *inspect.Reader, set object.Set) error {
	var out strings.Builder
	var list []any
	for _, u := range set {
		if !o.showSecrets {
			u = owned.Mask(u)
			u.Object, _ = r.Redact(u.Object).(map[string]any)
		}
		switch o.output {
		case "name":
			fmt.Fprintln(&out, object.RefOf(u))
		case "json":
			list = append(list, u.Object)
		default:
			b, err := yaml.Marshal(u.Object)
			if err != nil {
				return err
			}
			out.WriteString("---\n")
			out.Write(b)
		}
	}
	if o.output == "json" {
		if list == nil {
			list = []any{}
		}
		return a.data(map[string]any{"apiVersion": "v1", "kind": "List", "items": list}, "json")
	}
	return a.bytes([]byte(out.String()))
}

// readManifests reads the objects of a file of YAML or JSON.
func readManifests(stdin io.Reader, file string) ([]*unstructured.Unstructured, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("%w; name a file, or - for the standard input", err)
		}
		defer f.Close()
		in = f
	}
	var out []*unstructured.Unstructured
	d := utilyaml.NewYAMLOrJSONDecoder(in, 4096)
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: it is no YAML of Kubernetes objects: %w", file, err)
		case len(u.Object) == 0:
			continue
		case u.IsList():
			if err := u.EachListItem(func(o runtime.Object) error {
				out = append(out, o.(*unstructured.Unstructured))
				return nil
			}); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			continue
		}
		out = append(out, u)
	}
}

// A scopes is what is known of kinds without a cluster: whether their objects
// have a namespace.
type scopes map[schema.GroupKind]bool

// builtin knows Kubernetes' own kinds, and those that a render defines.
func builtin(rs engine.Results) (scopes, error) {
	set, err := rs.Objects()
	if err != nil {
		return nil, err
	}
	s := scopes{}
	for _, o := range set {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		text := func(fields ...string) string {
			v, found, e := unstructured.NestedString(o.Object, fields...)
			if e == nil && !found {
				e = errors.New("it is missing")
			}
			if e != nil && err == nil {
				err = fmt.Errorf("%s: %s: %w", object.RefOf(o), strings.Join(fields, "."), e)
			}
			return v
		}
		kind := schema.GroupKind{Group: text("spec", "group"), Kind: text("spec", "names", "kind")}
		s[kind] = text("spec", "scope") == "Namespaced"
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Mapping implements [engine.Kinds].
func (s scopes) Mapping(_ context.Context, gvk schema.GroupVersionKind) (*apimeta.RESTMapping, error) {
	namespaced, ok := s[gvk.GroupKind()]
	if !ok {
		api, kind := gvk.ToAPIVersionAndKind()
		if namespaced, ok = openapi.IsNamespaceScoped(kyaml.TypeMeta{APIVersion: api, Kind: kind}); !ok {
			return nil, &fault.Error{Next: fault.Wait, Reason: fault.UnknownKind, Err: fmt.Errorf("kind %s of %s is not known without a cluster", gvk.Kind, gvk.GroupVersion())}
		}
	}
	m := &apimeta.RESTMapping{GroupVersionKind: gvk, Scope: apimeta.RESTScopeRoot}
	if namespaced {
		m.Scope = apimeta.RESTScopeNamespace
	}
	return m, nil
}
