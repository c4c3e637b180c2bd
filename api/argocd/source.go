package argocd

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A Source is a directory of a repository, or a chart, and what is made of it.
type Source struct {
	RepoURL string `json:"repoURL"`
	Path    string `json:"path,omitempty"`
	// TargetRevision is a branch, a tag, a range of versions, a commit or HEAD,
	// which it is if it is empty.
	TargetRevision string `json:"targetRevision,omitempty"`
	// TagPrefix is what tags begin with among which a range chooses.
	TagPrefix string `json:"tagPrefix,omitempty"`
	Chart     string `json:"chart,omitempty"`
	// Ref is the name by which other sources refer to files of this one.
	Ref       string           `json:"ref,omitempty"`
	Name      string           `json:"name,omitempty"`
	Helm      *SourceHelm      `json:"helm,omitempty"`
	Kustomize *SourceKustomize `json:"kustomize,omitempty"`
	Directory *SourceDirectory `json:"directory,omitempty"`
	Plugin    *SourcePlugin    `json:"plugin,omitempty"`
}

// A SourceHelm is what a chart is rendered with.
type SourceHelm struct {
	ValueFiles              []string            `json:"valueFiles,omitempty"`
	Parameters              []HelmParameter     `json:"parameters,omitempty"`
	ReleaseName             string              `json:"releaseName,omitempty"`
	Values                  string              `json:"values,omitempty"`
	FileParameters          []HelmFileParameter `json:"fileParameters,omitempty"`
	Version                 string              `json:"version,omitempty"`
	PassCredentials         bool                `json:"passCredentials,omitempty"`
	IgnoreMissingValueFiles bool                `json:"ignoreMissingValueFiles,omitempty"`
	SkipCrds                bool                `json:"skipCrds,omitempty"`
	SkipTests               bool                `json:"skipTests,omitempty"`
	SkipSchemaValidation    bool                `json:"skipSchemaValidation,omitempty"`
	// +kubebuilder:pruning:PreserveUnknownFields
	ValuesObject *runtime.RawExtension `json:"valuesObject,omitempty"`
	Namespace    string                `json:"namespace,omitempty"`
	KubeVersion  string                `json:"kubeVersion,omitempty"`
	APIVersions  []string              `json:"apiVersions,omitempty"`
}

// A HelmParameter is one value.
type HelmParameter struct {
	Name        string `json:"name,omitempty"`
	Value       string `json:"value,omitempty"`
	ForceString bool   `json:"forceString,omitempty"`
}

// A HelmFileParameter is a value from a file.
type HelmFileParameter struct {
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
}

// A SourceKustomize is what a kustomization is built with.
type SourceKustomize struct {
	NamePrefix                string             `json:"namePrefix,omitempty"`
	NameSuffix                string             `json:"nameSuffix,omitempty"`
	Images                    []string           `json:"images,omitempty"` // [old=]new[:tag|@digest]
	CommonLabels              map[string]string  `json:"commonLabels,omitempty"`
	Version                   string             `json:"version,omitempty"`
	CommonAnnotations         map[string]string  `json:"commonAnnotations,omitempty"`
	ForceCommonLabels         bool               `json:"forceCommonLabels,omitempty"`
	ForceCommonAnnotations    bool               `json:"forceCommonAnnotations,omitempty"`
	Namespace                 string             `json:"namespace,omitempty"`
	CommonAnnotationsEnvsubst bool               `json:"commonAnnotationsEnvsubst,omitempty"`
	Replicas                  []KustomizeReplica `json:"replicas,omitempty"`
	Patches                   []KustomizePatch   `json:"patches,omitempty"`
	Components                []string           `json:"components,omitempty"`
	IgnoreMissingComponents   bool               `json:"ignoreMissingComponents,omitempty"`
	LabelWithoutSelector      bool               `json:"labelWithoutSelector,omitempty"`
	KubeVersion               string             `json:"kubeVersion,omitempty"`
	APIVersions               []string           `json:"apiVersions,omitempty"`
	LabelIncludeTemplates     bool               `json:"labelIncludeTemplates,omitempty"`
}

// A KustomizeReplica is how many replicas something has.
type KustomizeReplica struct {
	Name string `json:"name"`
	// Count is a number, or one in quotes.
	Count intstr.IntOrString `json:"count"`
}

// A KustomizePatch is a patch, or a file with one.
type KustomizePatch struct {
	Path    string             `json:"path,omitempty"`
	Patch   string             `json:"patch,omitempty"`
	Target  *KustomizeSelector `json:"target,omitempty"`
	Options map[string]bool    `json:"options,omitempty"`
}

// A KustomizeSelector says which objects a patch is for.
type KustomizeSelector struct {
	Group              string `json:"group,omitempty"`
	Version            string `json:"version,omitempty"`
	Kind               string `json:"kind,omitempty"`
	Name               string `json:"name,omitempty"`
	Namespace          string `json:"namespace,omitempty"`
	AnnotationSelector string `json:"annotationSelector,omitempty"`
	LabelSelector      string `json:"labelSelector,omitempty"`
}

// A SourceDirectory says which files of a directory count, and how Jsonnet
// among them is evaluated.
type SourceDirectory struct {
	Recurse                bool          `json:"recurse,omitempty"`
	Jsonnet                SourceJsonnet `json:"jsonnet,omitzero"`
	Exclude                string        `json:"exclude,omitempty"`
	Include                string        `json:"include,omitempty"`
	DisableExtensionFilter bool          `json:"disableExtensionFilter,omitempty"`
}

// A SourceJsonnet is what Jsonnet is evaluated with.
type SourceJsonnet struct {
	ExtVars []JsonnetVar `json:"extVars,omitempty"`
	TLAs    []JsonnetVar `json:"tlas,omitempty"`
	Libs    []string     `json:"libs,omitempty"`
}

// A JsonnetVar is a variable, of text or of code.
type JsonnetVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Code  bool   `json:"code,omitempty"`
}

// A SourcePlugin is a program that makes objects.
type SourcePlugin struct {
	Name       string            `json:"name,omitempty"`
	Env        []EnvEntry        `json:"env,omitempty"`
	Parameters []PluginParameter `json:"parameters,omitempty"`
}

// An EnvEntry is a variable of a plugin's environment.
type EnvEntry struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A PluginParameter is text, a list or a map.
type PluginParameter struct {
	Name   string            `json:"name,omitempty"`
	String *string           `json:"string,omitempty"`
	Map    map[string]string `json:"map,omitempty"`
	Array  []string          `json:"array,omitempty"`
}

// A SourceHydrator has what is rendered committed to another branch.
type SourceHydrator struct {
	DrySource  DrySource  `json:"drySource"`
	SyncSource SyncSource `json:"syncSource"`
	HydrateTo  *HydrateTo `json:"hydrateTo,omitempty"`
}

// A DrySource is what is rendered.
type DrySource struct {
	RepoURL        string           `json:"repoURL"`
	TargetRevision string           `json:"targetRevision"`
	Path           string           `json:"path"`
	Helm           *SourceHelm      `json:"helm,omitempty"`
	Kustomize      *SourceKustomize `json:"kustomize,omitempty"`
	Directory      *SourceDirectory `json:"directory,omitempty"`
	Plugin         *SourcePlugin    `json:"plugin,omitempty"`
}

// A SyncSource is where what was rendered is synced from.
type SyncSource struct {
	TargetBranch string `json:"targetBranch"`
	Path         string `json:"path"`
	RepoURL      string `json:"repoURL,omitempty"`
}

// A HydrateTo is a branch before that.
type HydrateTo struct {
	TargetBranch string `json:"targetBranch"`
}
