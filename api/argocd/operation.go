package argocd

// An Operation is something that somebody has asked for, once.
type Operation struct {
	Sync        *SyncOperation `json:"sync,omitempty"`
	InitiatedBy Initiator      `json:"initiatedBy,omitzero"`
	Info        []Info         `json:"info,omitempty"`
	Retry       Retry          `json:"retry,omitzero"`
}

// An Initiator is who has asked for an operation.
type Initiator struct {
	Username  string `json:"username,omitempty"`
	Automated bool   `json:"automated,omitempty"` // nobody
}

// A SyncOperation brings the cluster to a revision.
type SyncOperation struct {
	// Revision, or Revisions with several sources, is in place of what the
	// sources target.
	Revision  string   `json:"revision,omitempty"`
	Revisions []string `json:"revisions,omitempty"`
	Prune     bool     `json:"prune,omitempty"`
	DryRun    bool     `json:"dryRun,omitempty"`
	// SyncStrategy is hook if there is none.
	SyncStrategy *SyncStrategy `json:"syncStrategy,omitempty"`
	// Resources, if there are any, are all that is synced.
	Resources []SyncResource `json:"resources,omitempty"`
	// Source, or Sources, is in place of that of the spec.
	Source  *Source  `json:"source,omitempty"`
	Sources []Source `json:"sources,omitempty"`
	// Manifests are in place of what the sources render to.
	Manifests   []string `json:"manifests,omitempty"`
	SyncOptions []string `json:"syncOptions,omitempty"`
	// AutoHealAttemptsCount is how often the same revision was synced of itself.
	AutoHealAttemptsCount int64 `json:"autoHealAttemptsCount,omitempty"`
}

// A SyncStrategy says whether hooks run.
type SyncStrategy struct {
	Apply *SyncStrategyForce `json:"apply,omitempty"`
	Hook  *SyncStrategyForce `json:"hook,omitempty"`
}

// SyncStrategyForce recreates objects whose change is immutable.
type SyncStrategyForce struct {
	Force bool `json:"force,omitempty"`
}

// A SyncResource is one of those that are synced.
type SyncResource struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// SkipsHooks reports whether a strategy runs no hooks.
func (s *SyncStrategy) SkipsHooks() bool { return s != nil && s.Apply != nil && s.Hook == nil }

// Forces reports whether a strategy recreates what can't be changed.
func (s *SyncStrategy) Forces() bool {
	return s != nil && (s.Apply != nil && s.Apply.Force || s.Hook != nil && s.Hook.Force)
}
