// Package detect builds a directory with what it is made for: Kustomize where
// there is a kustomization file, plain files otherwise, unless it is said which.
//
// [Options] are a [render.Builder]. They hold what a custom resource says of its
// source, section by section. Files of the directory may change the sections
// ([Options.Overrides]), and so may decide as well.
//
// All that decides is traced: the names that were looked for, the override
// files, also those that are not there, and the revision if a text asks for it.
//
// In which order, as Argo CD has it: a section that is there, after the
// overrides, decides; two are an error. Then a kustomization file decides, then
// a Chart.yaml, and what has neither is plain files.
package detect

import (
	"k8s.io/apimachinery/pkg/util/intstr"

	"plumb.dev/plumb/render/directory"
)

// Options say how a directory is built. The zero value finds out.
type Options struct {
	Sections

	// Overrides are names of files in the directory, such as
	// .argocd-source.yaml, that need not be there. Each holds sections, and is
	// merged over those before it as a JSON merge patch (RFC 7386): maps are
	// merged, lists are replaced, null removes. They are no manifests.
	Overrides []string

	// Release is that of a chart, if the sections don't say otherwise.
	Release Release

	// Refs are the names of sources whose trees are in this one, each in a
	// directory of its name with a $ before: $values.
	Refs []string

	// Disabled are kinds that are taken for plain files: kustomize, helm.
	Disabled []string

	// Env is what texts of the sections may refer to.
	Env Env

	// SkipMarker is [directory.Options.SkipMarker].
	SkipMarker string

	// AllowRemoteBases is [kustomize.Options.AllowRemoteBases].
	AllowRemoteBases bool
}

// A Release is the name of one, and its namespace.
type Release struct{ Name, Namespace string }

// Env are variables that texts refer to as $NAME or ${NAME}, where $$ is a
// dollar sign. One that is in neither of the maps is empty.
//
// They are replaced in: the values of extVars and tlas, images, the values of
// commonLabels, paths and parameters of charts, and those of commonAnnotations if commonAnnotationsEnvsubst is
// set.
type Env struct {
	Vars map[string]string

	// Revision are the names that stand for the revision of the source, and
	// how many characters of it they are; 0 is all. A render in which one of
	// them is replaced is made again for each revision, and no other is.
	Revision map[string]int
}

// Sections are what is said of each kind of source. One that is there, also if
// it is empty, says which kind it is. Their names in JSON are those of an
// Application's source, and of an override file.
type Sections struct {
	Directory *directory.Files `json:"directory,omitempty"`
	Kustomize *Kustomize       `json:"kustomize,omitempty"`

	Helm *Helm `json:"helm,omitempty"`

	// Plugin is refused: nothing in it is looked at.
	Plugin *Unrendered `json:"plugin,omitempty"`
}

// Unrendered is a section of a kind of source that plumb does not render.
type Unrendered map[string]any

// Kustomize is what is added to the kustomization of the directory, which has to
// be there. What is not said stays as it is there.
type Kustomize struct {
	// NamePrefix, NameSuffix and Namespace replace the kustomization's own.
	NamePrefix string `json:"namePrefix,omitempty"`
	NameSuffix string `json:"nameSuffix,omitempty"`
	Namespace  string `json:"namespace,omitempty"`

	// Images are name=newName:newTag@digest, of which all but the name and one
	// of the others may be missing; without = the name stays: name:tag,
	// name@digest. Each replaces the kustomization's own of its name as a
	// whole; a * in a place keeps what is there.
	Images []string `json:"images,omitempty"`

	// Replicas replace the kustomization's own, by name.
	Replicas []Replica `json:"replicas,omitempty"`

	// Patches are applied after the kustomization's own.
	Patches []Patch `json:"patches,omitempty"`

	// Components are directories, relative to the one that is built. They come
	// after the kustomization's own; one that is there already is not added.
	Components              []string `json:"components,omitempty"`
	IgnoreMissingComponents bool     `json:"ignoreMissingComponents,omitempty"`

	// CommonLabels reach selectors and templates unless LabelWithoutSelector
	// is set; then they reach templates if LabelIncludeTemplates is. One that
	// the kustomization sets as well is an error unless ForceCommonLabels is
	// set.
	CommonLabels          map[string]string `json:"commonLabels,omitempty"`
	ForceCommonLabels     bool              `json:"forceCommonLabels,omitempty"`
	LabelWithoutSelector  bool              `json:"labelWithoutSelector,omitempty"`
	LabelIncludeTemplates bool              `json:"labelIncludeTemplates,omitempty"`

	// CommonAnnotations are set on objects and templates. One that the
	// kustomization sets as well is an error unless ForceCommonAnnotations is
	// set.
	CommonAnnotations         map[string]string `json:"commonAnnotations,omitempty"`
	ForceCommonAnnotations    bool              `json:"forceCommonAnnotations,omitempty"`
	CommonAnnotationsEnvsubst bool              `json:"commonAnnotationsEnvsubst,omitempty"`

	// Version is that of Kustomize. Another than the one that is built in is
	// refused.
	Version string `json:"version,omitempty"`

	// KubeVersion and APIVersions are what Helm would be told by a
	// kustomization with helmCharts. Such a one is refused, and to all others
	// they say nothing.
	KubeVersion string   `json:"kubeVersion,omitempty"`
	APIVersions []string `json:"apiVersions,omitempty"`
}

// A Replica says how many there are of a workload.
type Replica struct {
	Name  string             `json:"name"`
	Count intstr.IntOrString `json:"count"`
}

// A Patch is a strategic merge or JSON 6902 patch, inline or in a file relative
// to the directory. Options are allowNameChange and allowKindChange.
type Patch struct {
	Path    string          `json:"path,omitempty"`
	Patch   string          `json:"patch,omitempty"`
	Target  *Selector       `json:"target,omitempty"`
	Options map[string]bool `json:"options,omitempty"`
}

// A Selector is [kustomize.Selector].
type Selector struct {
	Group              string `json:"group,omitempty"`
	Version            string `json:"version,omitempty"`
	Kind               string `json:"kind,omitempty"`
	Name               string `json:"name,omitempty"`
	Namespace          string `json:"namespace,omitempty"`
	LabelSelector      string `json:"labelSelector,omitempty"`
	AnnotationSelector string `json:"annotationSelector,omitempty"`
}
