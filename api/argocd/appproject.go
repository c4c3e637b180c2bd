package argocd

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An AppProject says what its Applications may do: take from which
// repositories, write which kinds to which namespaces of which clusters, as
// whom, and when.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=appprojects,shortName=appproj;appprojs
type AppProject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec   AppProjectSpec   `json:"spec"`
	Status AppProjectStatus `json:"status,omitempty"`
}

// An AppProjectList is what a server lists.
//
// +kubebuilder:object:root=true
type AppProjectList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []AppProject `json:"items"`
}

// An AppProjectSpec is what an AppProject allows. Repositories, destinations
// and namespaces are globs.
type AppProjectSpec struct {
	// SourceRepos are addresses of repositories, with ! of those that may not
	// be used.
	SourceRepos []string `json:"sourceRepos,omitempty"`
	// Destinations are where objects may be; a part that begins with ! denies.
	Destinations []AllowedDestination `json:"destinations,omitempty"`
	// +kubebuilder:validation:MaxLength=255
	Description string        `json:"description,omitempty"`
	Roles       []ProjectRole `json:"roles,omitempty"`
	// ClusterResourceWhitelist are the kinds without a namespace that may be
	// written; there are no others.
	ClusterResourceWhitelist []NamedKind `json:"clusterResourceWhitelist,omitempty"`
	// NamespaceResourceBlacklist are kinds that may not be written to
	// namespaces.
	NamespaceResourceBlacklist []metav1.GroupKind `json:"namespaceResourceBlacklist,omitempty"`
	OrphanedResources          *OrphanedResources `json:"orphanedResources,omitempty"`
	SyncWindows                []SyncWindow       `json:"syncWindows,omitempty"`
	// NamespaceResourceWhitelist, if it is there, are the only kinds that may
	// be written to namespaces. It may be there and empty.
	NamespaceResourceWhitelist []metav1.GroupKind `json:"namespaceResourceWhitelist,omitempty"`
	// SignatureKeys is what SourceIntegrity was before.
	SignatureKeys []SignatureKey `json:"signatureKeys,omitempty"`
	// ClusterResourceBlacklist are kinds and names without a namespace that may
	// not be written.
	ClusterResourceBlacklist []NamedKind `json:"clusterResourceBlacklist,omitempty"`
	// SourceNamespaces are where Applications of the project may be, beside
	// Argo CD's own namespace: globs, or regular expressions between slashes.
	SourceNamespaces []string `json:"sourceNamespaces,omitempty"`
	// PermitOnlyProjectScopedClusters leaves only clusters whose Secret names
	// the project.
	PermitOnlyProjectScopedClusters bool `json:"permitOnlyProjectScopedClusters,omitempty"`
	// DestinationServiceAccounts is who acts; the first that matches counts.
	DestinationServiceAccounts []DestinationServiceAccount `json:"destinationServiceAccounts,omitempty"`
	SourceIntegrity            *SourceIntegrity            `json:"sourceIntegrity,omitempty"`
}

// An AllowedDestination is a cluster, by the URL of its server or by its name,
// and a namespace, as globs.
type AllowedDestination struct {
	Server    string `json:"server,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// A NamedKind is a kind whose objects have no namespace, and which of them:
// globs, of which an empty name stands for all.
type NamedKind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name,omitempty"`
}

// A ProjectRole is who may do what with Applications of the project, by Argo
// CD's API server. plumb does not look at it.
type ProjectRole struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	Policies    []string   `json:"policies,omitempty"`
	JWTTokens   []JWTToken `json:"jwtTokens,omitempty"`
	Groups      []string   `json:"groups,omitempty"`
}

// A JWTToken is when a token was made and ends, in seconds since 1970. The token
// is nowhere.
type JWTToken struct {
	IssuedAt  int64  `json:"iat"`
	ExpiresAt int64  `json:"exp,omitempty"`
	ID        string `json:"id,omitempty"`
}

// OrphanedResources has objects found that no Application has, where it is
// there.
type OrphanedResources struct {
	// Warn makes a condition of them.
	Warn   *bool           `json:"warn,omitempty"` // not set: it does not
	Ignore []OrphanIgnored `json:"ignore,omitempty"`
}

// An OrphanIgnored is which objects are no orphans, as globs. An empty kind or
// name stands for all, an empty group for the core group.
type OrphanIgnored struct {
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Name  string `json:"name,omitempty"`
}

// A SyncWindow is a time in which the Applications that it selects may or may
// not be synchronised.
type SyncWindow struct {
	Kind     string `json:"kind,omitempty"`     // allow or deny
	Schedule string `json:"schedule,omitempty"` // when it opens: five fields of cron
	Duration string `json:"duration,omitempty"` // for how long, such as 1h30m
	// Applications, Namespaces and Clusters are globs of names, of
	// spec.destination.namespace, and of spec.destination.server or .name.
	Applications []string `json:"applications,omitempty"`
	Namespaces   []string `json:"namespaces,omitempty"`
	Clusters     []string `json:"clusters,omitempty"`
	// ManualSync lets people synchronise where it would not be done by itself.
	ManualSync bool `json:"manualSync,omitempty"`
	// TimeZone is that of Schedule, such as Europe/Berlin; empty: UTC.
	TimeZone string `json:"timeZone,omitempty"`
	// AndOperator has all of the lists match that are there, in place of one.
	AndOperator bool `json:"andOperator,omitempty"`
	// +kubebuilder:validation:MaxLength=255
	Description string `json:"description,omitempty"`
	// SyncOverrun lets end what was begun while it was allowed.
	SyncOverrun bool `json:"syncOverrun,omitempty"`
}

// A SignatureKey is whose signatures are good.
type SignatureKey struct {
	KeyID string `json:"keyID"`
}

// A DestinationServiceAccount is who acts at a destination. Server and
// Namespace are globs; the account is NAME, of the destination's namespace, or
// NAMESPACE:NAME.
type DestinationServiceAccount struct {
	Server                string `json:"server"`
	Namespace             string `json:"namespace,omitempty"`
	DefaultServiceAccount string `json:"defaultServiceAccount"`
}

// A SourceIntegrity is what has to be signed, and by whom.
type SourceIntegrity struct {
	Git *SourceIntegrityGit `json:"git"`
}

// A SourceIntegrityGit is what has to be signed in Git repositories.
type SourceIntegrityGit struct {
	Policies []SourceIntegrityPolicy `json:"policies"`
}

// A SourceIntegrityPolicy is which keys may sign in which repositories.
type SourceIntegrityPolicy struct {
	Repos []SourceIntegrityRepo `json:"repos"`
	GPG   *SourceIntegrityGPG   `json:"gpg"`
}

// A SourceIntegrityRepo is a glob of addresses, with ! of those that are
// excepted.
type SourceIntegrityRepo struct {
	URL string `json:"url"`
}

// A SourceIntegrityGPG is which commits are looked at: none, head or strict (all
// of the history), and the keys that may sign them.
type SourceIntegrityGPG struct {
	Mode string   `json:"mode"`
	Keys []string `json:"keys"`
}

// An AppProjectStatus holds the tokens that Argo CD's API server has made.
type AppProjectStatus struct {
	JWTTokensByRole map[string]JWTTokens `json:"jwtTokensByRole,omitempty"`
}

// JWTTokens are the tokens of a role.
type JWTTokens struct {
	Items []JWTToken `json:"items,omitempty"`
}
