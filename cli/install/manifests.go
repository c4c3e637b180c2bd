// Package install puts plumb on a cluster: the custom resource definitions,
// the rights and the Deployment.
//
// [Manifests] says what that is; it is a function of its options, so that
// what is printed, applied and tested is the same. The rights are the fewest
// that can work. What plumb may do in its own name is a role of its own;
// cluster-admin, which applying a Kustomization that names no service account
// takes, is a binding of its own that the multi-tenant mode goes without.
//
// Updating plumb is installing it again. Removing it is left to kubectl
// delete: that needs no knowledge but the manifests.
package install

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/api/flux"
)

// DefaultNamespace is where plumb is installed unless told otherwise.
const DefaultNamespace = "plumb-system"

// Options say what to install.
type Options struct {
	Namespace string // empty is DefaultNamespace
	Image     string
	Version   string // for the label; may be empty

	// MultiTenant leaves out the rights that tenants would share: what names
	// no service account is applied as "default" of its own namespace, and
	// nothing refers to objects of another one.
	MultiTenant bool

	// BesideArgoCD leaves Applications to Argo CD, and their definitions too.
	BesideArgoCD bool

	// ArgoCDRedis is HOST:PORT of the Redis of Argo CD's own server, if that is
	// kept.
	ArgoCDRedis string

	// CRDsOnly leaves out all but the definitions.
	CRDsOnly bool
}

//go:embed manifests/*.yaml
var files embed.FS

// Manifests returns the objects to install, in the order to apply them in.
func Manifests(o Options) ([]*unstructured.Unstructured, error) {
	if o.CRDsOnly {
		return o.definitions(), nil
	}
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		return nil, fmt.Errorf("namespace %q: %s", o.Namespace, strings.Join(problems, "; "))
	}
	if o.Image == "" || strings.ContainsAny(o.Image, " \t\n") {
		return nil, fmt.Errorf("image %q is not the name of one", o.Image)
	}

	if err := o.checkRedis(); err != nil {
		return nil, err
	}

	own, err := read()
	if err != nil {
		return nil, err
	}
	objects := o.definitions()
	for _, u := range own {
		if o.MultiTenant && u.GetName() == "plumb-cluster-admin" {
			continue
		}
		if err := o.adapt(u); err != nil {
			return nil, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
		}
		if u.GetKind() == "Namespace" {
			objects = append([]*unstructured.Unstructured{u}, objects...)
		} else {
			objects = append(objects, u)
		}
	}
	return objects, nil
}

// definitions are those of all dialects.
func (o Options) definitions() []*unstructured.Unstructured {
	if o.BesideArgoCD {
		return flux.Definitions() // Argo CD has its own
	}
	return append(flux.Definitions(), argocd.Definitions()...)
}

// read parses the embedded files, in the order of their names.
func read() ([]*unstructured.Unstructured, error) {
	entries, err := files.ReadDir("manifests")
	if err != nil {
		return nil, err
	}
	var all []*unstructured.Unstructured
	for _, e := range entries {
		content, err := files.ReadFile("manifests/" + e.Name())
		if err != nil {
			return nil, err
		}
		for document := range strings.SplitSeq(string(content), "\n---\n") {
			u := &unstructured.Unstructured{}
			json, err := yaml.YAMLToJSON([]byte(document))
			if err := errors.Join(err, u.UnmarshalJSON(json)); err != nil {
				return nil, fmt.Errorf("%s: %w", e.Name(), err)
			}
			all = append(all, u)
		}
	}
	return all, nil
}

// adapt makes an object of the files what the options say.
func (o Options) adapt(u *unstructured.Unstructured) error {
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels["app.kubernetes.io/name"] = "plumb"
	labels["app.kubernetes.io/part-of"] = "plumb"
	if o.Version != "" {
		labels["app.kubernetes.io/version"] = label(o.Version)
	}
	u.SetLabels(labels)
	if u.GetNamespace() != "" {
		u.SetNamespace(o.Namespace)
	}
	switch u.GetKind() {
	case "Namespace":
		u.SetName(o.Namespace)
	case "ClusterRoleBinding", "RoleBinding":
		subjects, _, err := unstructured.NestedSlice(u.Object, "subjects")
		if err != nil {
			return err
		}
		for _, s := range subjects {
			s.(map[string]any)["namespace"] = o.Namespace
		}
		return unstructured.SetNestedSlice(u.Object, subjects, "subjects")
	case "Deployment":
		return o.adaptDeployment(u)
	}
	return nil
}

func (o Options) adaptDeployment(u *unstructured.Unstructured) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(u.Object, path...)
	if err != nil {
		return err
	}
	container := containers[0].(map[string]any)
	container["image"] = o.Image
	if o.MultiTenant {
		container["args"] = append(container["args"].([]any), locks...)
	}
	if o.BesideArgoCD {
		container["args"] = append(container["args"].([]any), "--argocd-namespace=")
	}
	if o.ArgoCDRedis != "" {
		container["args"] = append(container["args"].([]any), "--argocd-redis="+o.ArgoCDRedis)
		env, _, err := unstructured.NestedSlice(container, "env")
		if err != nil {
			return err
		}
		container["env"] = append(env, map[string]any{"name": "REDIS_PASSWORD", "valueFrom": map[string]any{
			"secretKeyRef": map[string]any{"name": "argocd-redis", "key": "auth", "optional": true},
		}})
	}
	return unstructured.SetNestedSlice(u.Object, containers, path...)
}

func (o Options) checkRedis() error {
	if o.ArgoCDRedis == "" {
		return nil
	}
	if o.BesideArgoCD {
		return errors.New("--argocd-redis is for who has plumb in the place of Argo CD's controller, and --beside-argocd leaves Applications to that")
	}
	if host, port, err := net.SplitHostPort(o.ArgoCDRedis); err != nil || host == "" || port == "" {
		return fmt.Errorf("--argocd-redis %q is not of the form HOST:PORT", o.ArgoCDRedis)
	}
	return nil
}

// locks are what keeps tenants apart: neither means much without the other. A
// unit that acts as plumb may read every namespace anyway, and one that may
// name another namespace's source or dependency acts on what is not its own.
var locks = []any{"--default-service-account=default", "--no-cross-namespace-refs=true"}

var notInLabels = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// label is a version as a label's value may be.
func label(version string) string {
	l := notInLabels.ReplaceAllString(version, "-")
	return strings.Trim(l[:min(len(l), 63)], "-._")
}

// printYAML writes the objects as YAML documents.
func printYAML(w io.Writer, objects []*unstructured.Unstructured) error {
	for _, u := range objects {
		content, err := yaml.Marshal(u.Object)
		if err != nil {
			return fmt.Errorf("print %s %s: %w", u.GetKind(), u.GetName(), err)
		}
		if _, err := fmt.Fprintf(w, "---\n%s", content); err != nil {
			return err
		}
	}
	return nil
}
