package argocd

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An Application is a set of objects and where they come from.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=applications,shortName=app;apps
// +kubebuilder:printcolumn:name="Sync Status",type=string,JSONPath=`.status.sync.status`
// +kubebuilder:printcolumn:name="Health Status",type=string,JSONPath=`.status.health.status`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.sync.revision`,priority=10
// +kubebuilder:printcolumn:name="Project",type=string,JSONPath=`.spec.project`,priority=10
type Application struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec ApplicationSpec `json:"spec"`
	// Operation is what somebody has asked for. It is there until it is done.
	Operation *Operation        `json:"operation,omitempty"`
	Status    ApplicationStatus `json:"status,omitempty"`
}

// An ApplicationSpec is what an Application is to be.
type ApplicationSpec struct {
	Source         *Source         `json:"source,omitempty"`
	Sources        []Source        `json:"sources,omitempty"`
	SourceHydrator *SourceHydrator `json:"sourceHydrator,omitempty"`
	Destination    Destination     `json:"destination"`
	// Project is the AppProject; empty: default.
	Project           string             `json:"project"`
	SyncPolicy        *SyncPolicy        `json:"syncPolicy,omitempty"`
	IgnoreDifferences []IgnoreDifference `json:"ignoreDifferences,omitempty"`
	Info              []Info             `json:"info,omitempty"`
	// RevisionHistoryLimit is how long status.history may be; not set: 10.
	RevisionHistoryLimit *int64 `json:"revisionHistoryLimit,omitempty"`
}

// A Destination is a cluster, by its URL or its name, and the namespace of
// objects that name none.
type Destination struct {
	Server    string `json:"server,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// A SyncPolicy says what happens without being asked for, and how.
type SyncPolicy struct {
	Automated                *Automated                `json:"automated,omitempty"`
	SyncOptions              []string                  `json:"syncOptions,omitempty"`
	Retry                    *Retry                    `json:"retry,omitempty"`
	ManagedNamespaceMetadata *ManagedNamespaceMetadata `json:"managedNamespaceMetadata,omitempty"`
}

// An Automated has each revision synced once, unless it is disabled.
type Automated struct {
	Enabled *bool `json:"enabled,omitempty"` // not set: it is
	// Prune deletes what is no longer in the source.
	Prune *bool `json:"prune,omitempty"`
	// SelfHeal puts back what somebody changes on the cluster.
	SelfHeal *bool `json:"selfHeal,omitempty"`
	// AllowEmpty lets a source without objects prune everything.
	AllowEmpty *bool `json:"allowEmpty,omitempty"`
}

// A Retry says how often an operation that failed is tried again.
type Retry struct {
	Limit   int64    `json:"limit,omitempty"` // less than 0: without end
	Backoff *Backoff `json:"backoff,omitempty"`
	// Refresh has it tried at the newest revision, and not at that of before.
	Refresh bool `json:"refresh,omitempty"`
}

// A Backoff says how long to wait between tries. Durations are as Go writes
// them, or a number of seconds.
type Backoff struct {
	Duration    string `json:"duration,omitempty"`    // of the first pause; empty: 5s
	Factor      *int64 `json:"factor,omitempty"`      // not set: 2
	MaxDuration string `json:"maxDuration,omitempty"` // empty: 3m
}

// ManagedNamespaceMetadata is set on the namespace that CreateNamespace makes.
type ManagedNamespaceMetadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// An IgnoreDifference is fields of a kind, or of one object, that may differ.
type IgnoreDifference struct {
	Group                 string   `json:"group,omitempty"`
	Kind                  string   `json:"kind"`
	Name                  string   `json:"name,omitempty"`
	Namespace             string   `json:"namespace,omitempty"`
	JSONPointers          []string `json:"jsonPointers,omitempty"`
	JQPathExpressions     []string `json:"jqPathExpressions,omitempty"`
	ManagedFieldsManagers []string `json:"managedFieldsManagers,omitempty"`
}

// An Info is for people.
type Info struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}
