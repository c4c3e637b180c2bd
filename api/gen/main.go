// Gen writes the custom resource definitions of the kinds that plumb reads: of
// Flux from the Go types that Flux publishes, of Argo CD from those of package
// api/argocd.
//
// Of Flux's kinds all versions that people have manifests of are served, v1 (v2
// for HelmRelease) is stored, and nothing converts between them: what is written
// in one version is read as it is in another. For nothing to be lost on the
// way, every version has the fields of all. A field that the stored
// version does not have of its own says "Legacy" in its description there;
// plumb honours it or names it in a refusal, but never skips it.
//
// What Argo CD's kinds hold beside their fields is kept, for the same end.
//
// Descriptions are dropped: the projects' own documentation has them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/tools/go/packages"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-tools/pkg/crd"
	crdmarkers "sigs.k8s.io/controller-tools/pkg/crd/markers"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
	"sigs.k8s.io/yaml"
)

// An api is a group of kinds and the packages that hold their versions, the
// stored one first, then from new to old.
type api struct {
	group    string
	packages []string
	// module is the folder of the module that requires the packages; empty: it
	// is this one.
	module string
	kinds  []string
	finish func(d *apiextensionsv1.CustomResourceDefinition, versions []string) error
}

var projects = map[string][]api{
	"argocd": {{
		group: "argoproj.io", packages: []string{"plumb.dev/plumb/api/argocd"}, module: "../..",
		kinds: []string{"Application", "AppProject"}, finish: open,
	}},
	"flux": {
		{
			group: "source.toolkit.fluxcd.io",
			packages: []string{
				"github.com/fluxcd/source-controller/api/v1",
				"github.com/fluxcd/source-controller/api/v1beta2",
				"github.com/fluxcd/source-controller/api/v1beta1",
			},
			kinds:  []string{"GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Bucket", "ExternalArtifact"},
			finish: finish,
		},
		{
			group: "kustomize.toolkit.fluxcd.io",
			packages: []string{
				"github.com/fluxcd/kustomize-controller/api/v1",
				"github.com/fluxcd/kustomize-controller/api/v1beta2",
				"github.com/fluxcd/kustomize-controller/api/v1beta1",
			},
			kinds:  []string{"Kustomization"},
			finish: finish,
		},
		{
			group: "helm.toolkit.fluxcd.io",
			packages: []string{
				"github.com/fluxcd/helm-controller/api/v2",
				"github.com/fluxcd/helm-controller/api/v2beta2",
				"github.com/fluxcd/helm-controller/api/v2beta1",
			},
			kinds:  []string{"HelmRelease"},
			finish: finish,
		},
	},
}

func main() {
	out := flag.String("out", ".", "the folder to write to")
	flag.Parse()
	if err := write(*out, flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

func write(dir, project string) error {
	apis, ok := projects[project]
	if !ok {
		return fmt.Errorf("%q is no project that it knows", project)
	}
	for _, a := range apis {
		definitions, err := a.definitions()
		if err != nil {
			return fmt.Errorf("%s: %w", a.group, err)
		}
		for _, d := range definitions {
			content, err := toYAML(d)
			if err != nil {
				return fmt.Errorf("%s: %w", d.Name, err)
			}
			path := filepath.Join(dir, d.Name+".yaml")
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// definitions makes the definitions of one group.
func (a api) definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	parser, versions, err := a.parse()
	if err != nil {
		return nil, err
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, kind := range a.kinds {
		gk := schema.GroupKind{Group: a.group, Kind: kind}
		none := 0
		parser.NeedCRDFor(gk, &none)
		d, ok := parser.CustomResourceDefinitions[gk]
		if !ok {
			return nil, fmt.Errorf("no type makes the kind %s", kind)
		}
		crd.FixTopLevelMetadata(d)
		d.Labels = map[string]string{
			"app.kubernetes.io/part-of": "plumb",
			// No ${…} in these files is plumb's to replace.
			"kustomize.toolkit.fluxcd.io/substitute": "disabled",
		}
		d.Annotations = nil
		if err := a.finish(&d, versions); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		all = append(all, &d)
	}
	return all, nil
}

// parse reads the packages, and returns the names of their versions in the
// same order.
func (a api) parse() (*crd.Parser, []string, error) {
	registry := new(markers.Registry)
	if err := crdmarkers.Register(registry); err != nil {
		return nil, nil, err
	}
	roots, err := loader.LoadRootsWithConfig(&packages.Config{Dir: a.module}, a.packages...)
	if err != nil {
		return nil, nil, err
	}
	parser := &crd.Parser{
		Collector:           &markers.Collector{Registry: registry},
		Checker:             &loader.TypeChecker{NodeFilters: []loader.NodeFilter{crd.Generator{}.CheckFilter()}},
		AllowDangerousTypes: true, // floats and the like: what they allow is upstream's choice
	}
	crd.AddKnownTypes(parser)
	for _, root := range roots {
		parser.NeedPackage(root)
	}
	// Only the declarations that make schemas were type-checked; what is
	// missing from the others is no error.
	if loader.PrintErrors(roots, packages.TypeError) {
		return nil, nil, errors.New("the packages have errors")
	}

	byPath := map[string]string{}
	for _, root := range roots {
		byPath[root.PkgPath] = parser.GroupVersions[root].Version
		for _, kind := range a.kinds {
			// Upstream doesn't serve its old versions any more.
			if info := parser.Types[crd.TypeIdent{Package: root, Name: kind}]; info != nil {
				delete(info.Markers, "kubebuilder:skipversion")
			}
		}
	}
	var versions []string
	for _, path := range a.packages {
		versions = append(versions, byPath[path])
	}
	return parser, versions, nil
}

const header = "# Made by api/gen: `make generate` writes this file.\n"

// toYAML prints a definition without what only an API server fills in.
func toYAML(d *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	content, err := yaml.Marshal(d)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(content, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	delete(fields["metadata"].(map[string]any), "creationTimestamp")
	content, err = yaml.Marshal(fields)
	return append([]byte(header), content...), err
}
