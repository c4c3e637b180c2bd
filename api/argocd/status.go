package argocd

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An ApplicationStatus is what was found of an Application.
type ApplicationStatus struct {
	Resources      []ResourceStatus `json:"resources,omitempty"`
	Sync           SyncStatus       `json:"sync,omitzero"`
	Health         Health           `json:"health,omitzero"`
	History        []Revision       `json:"history,omitempty"` // the oldest first
	Conditions     []Condition      `json:"conditions,omitempty"`
	ReconciledAt   *metav1.Time     `json:"reconciledAt,omitempty"`
	OperationState *OperationState  `json:"operationState,omitempty"`
	ObservedAt     *metav1.Time     `json:"observedAt,omitempty"` // of old versions
	SourceType     string           `json:"sourceType,omitempty"`
	Summary        Summary          `json:"summary,omitzero"`
	// ResourceHealthSource is empty: the health of objects is in Resources.
	ResourceHealthSource string          `json:"resourceHealthSource,omitempty"`
	SourceTypes          []string        `json:"sourceTypes,omitempty"`
	ControllerNamespace  string          `json:"controllerNamespace,omitempty"`
	SourceHydrator       *HydratorStatus `json:"sourceHydrator,omitempty"`
}

// Whether objects are as desired.
const (
	Synced    = "Synced"
	OutOfSync = "OutOfSync"
	Unknown   = "Unknown"
)

// A SyncStatus says whether the cluster is as the sources are.
type SyncStatus struct {
	Status     string      `json:"status"`
	ComparedTo *ComparedTo `json:"comparedTo,omitempty"`
	Revision   string      `json:"revision,omitempty"`
	Revisions  []string    `json:"revisions,omitempty"`
}

// ComparedTo is what a SyncStatus is about.
type ComparedTo struct {
	Source            *Source            `json:"source,omitempty"`
	Destination       Destination        `json:"destination"`
	Sources           []Source           `json:"sources,omitempty"`
	IgnoreDifferences []IgnoreDifference `json:"ignoreDifferences,omitempty"`
}

// How healthy something is, from best to worst, and then Unknown.
const (
	Healthy     = "Healthy"
	Suspended   = "Suspended"
	Progressing = "Progressing"
	Missing     = "Missing"
	Degraded    = "Degraded"
)

// A Health says how something is.
type Health struct {
	Status  string `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// LastTransitionTime moves when Status does.
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// A ResourceStatus is that of an object.
type ResourceStatus struct {
	Group                        string  `json:"group,omitempty"`
	Version                      string  `json:"version,omitempty"`
	Kind                         string  `json:"kind,omitempty"`
	Namespace                    string  `json:"namespace,omitempty"`
	Name                         string  `json:"name,omitempty"`
	Status                       string  `json:"status,omitempty"`
	Health                       *Health `json:"health,omitempty"` // nil: the kind has none
	Hook                         bool    `json:"hook,omitempty"`
	RequiresPruning              bool    `json:"requiresPruning,omitempty"`
	SyncWave                     int64   `json:"syncWave,omitempty"`
	RequiresDeletionConfirmation bool    `json:"requiresDeletionConfirmation,omitempty"`
}

// A Revision is one that was synced.
type Revision struct {
	Revision        string       `json:"revision,omitempty"`
	DeployedAt      metav1.Time  `json:"deployedAt"`
	ID              int64        `json:"id"`
	Source          *Source      `json:"source,omitempty"`
	DeployStartedAt *metav1.Time `json:"deployStartedAt,omitempty"`
	Sources         []Source     `json:"sources,omitempty"`
	Revisions       []string     `json:"revisions,omitempty"`
	InitiatedBy     Initiator    `json:"initiatedBy,omitzero"`
}

// The types of conditions. Those that end in Error keep an Application from
// being synced.
const (
	ConditionDeletionError         = "DeletionError"
	ConditionInvalidSpecError      = "InvalidSpecError"
	ConditionComparisonError       = "ComparisonError"
	ConditionSyncError             = "SyncError"
	ConditionUnknownError          = "UnknownError"
	ConditionSharedResourceWarning = "SharedResourceWarning"
	ConditionRepeatedResource      = "RepeatedResourceWarning"
	ConditionExcludedResource      = "ExcludedResourceWarning"
	ConditionOrphanedResource      = "OrphanedResourceWarning"
	// ConditionSyncWindow is plumb's own: what is to be synced waits for a sync
	// window.
	ConditionSyncWindow = "SyncWindowInfo"
)

// A Condition is something that is wrong.
type Condition struct {
	Type               string       `json:"type"`
	Message            string       `json:"message"`
	LastTransitionTime *metav1.Time `json:"lastTransitionTime,omitempty"`
}

// The phases of an operation.
const (
	PhaseRunning     = "Running"
	PhaseTerminating = "Terminating"
	PhaseFailed      = "Failed"
	PhaseError       = "Error"
	PhaseSucceeded   = "Succeeded"
)

// An OperationState is how far an operation has come, or had.
type OperationState struct {
	Operation  Operation    `json:"operation"`
	Phase      string       `json:"phase"`
	Message    string       `json:"message,omitempty"`
	SyncResult *SyncResult  `json:"syncResult,omitempty"`
	StartedAt  metav1.Time  `json:"startedAt"`
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`
	RetryCount int64        `json:"retryCount,omitempty"`
}

// A SyncResult is what became of a sync.
type SyncResult struct {
	Resources                []ResourceResult          `json:"resources,omitempty"`
	Revision                 string                    `json:"revision"`
	Source                   *Source                   `json:"source,omitempty"`
	Sources                  []Source                  `json:"sources,omitempty"`
	Revisions                []string                  `json:"revisions,omitempty"`
	ManagedNamespaceMetadata *ManagedNamespaceMetadata `json:"managedNamespaceMetadata,omitempty"`
}

// What became of an object.
const (
	ResultSynced       = "Synced"
	ResultSyncFailed   = "SyncFailed"
	ResultPruned       = "Pruned"
	ResultPruneSkipped = "PruneSkipped"
)

// A ResourceResult is what became of an object.
type ResourceResult struct {
	Group     string   `json:"group"`
	Version   string   `json:"version"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Status    string   `json:"status,omitempty"`
	Message   string   `json:"message,omitempty"`
	HookType  string   `json:"hookType,omitempty"`
	HookPhase string   `json:"hookPhase,omitempty"` // of other objects too
	SyncPhase string   `json:"syncPhase,omitempty"`
	Images    []string `json:"images,omitempty"`
}

// A Summary is what is shown of an Application in lists.
type Summary struct {
	ExternalURLs []string `json:"externalURLs,omitempty"`
	Images       []string `json:"images,omitempty"`
	IsAppOfApps  bool     `json:"isAppOfApps,omitempty"`
}

// A HydratorStatus is how far a SourceHydrator has come.
type HydratorStatus struct {
	LastSuccessfulOperation *SuccessfulHydrateOperation `json:"lastSuccessfulOperation,omitempty"`
	CurrentOperation        *HydrateOperation           `json:"currentOperation,omitempty"`
	LastComparedDryRevision string                      `json:"lastComparedDryRevision,omitempty"`
}

// A HydrateOperation is one that runs, or did.
type HydrateOperation struct {
	StartedAt      metav1.Time     `json:"startedAt,omitzero"`
	FinishedAt     *metav1.Time    `json:"finishedAt,omitempty"`
	Phase          string          `json:"phase"`
	Message        string          `json:"message"`
	DrySHA         string          `json:"drySHA,omitempty"`
	HydratedSHA    string          `json:"hydratedSHA,omitempty"`
	SourceHydrator *SourceHydrator `json:"sourceHydrator,omitempty"`
}

// A SuccessfulHydrateOperation is the last one that succeeded.
type SuccessfulHydrateOperation struct {
	DrySHA         string          `json:"drySHA,omitempty"`
	HydratedSHA    string          `json:"hydratedSHA,omitempty"`
	SourceHydrator *SourceHydrator `json:"sourceHydrator,omitempty"`
}
