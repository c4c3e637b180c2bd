package fault

// A Reason says in a word, in CamelCase, what is the matter. Code, dialects and
// tests refer to it; it is no message.
type Reason string

// The reasons of the cluster, and of what is done there. Those of sources and
// renders are beside the packages that find them out.
const (
	// Progressing: it is under way, and goes on by itself. Of an error, it is
	// no failure.
	Progressing Reason = "Progressing"
	// ReconciliationFailed: the API server refused something, or could not be
	// asked, and no other reason says it better.
	ReconciliationFailed Reason = "ReconciliationFailed"
	// InternalError: plumb itself failed, and its log says where.
	InternalError Reason = "InternalError"
	// UnknownKind: the cluster does not have a kind.
	UnknownKind Reason = "UnknownKind"
	// AccessDenied: the identity that acts may not.
	AccessDenied Reason = "AccessDenied"
	// OwnedByOther: another unit holds an object true.
	OwnedByOther Reason = "OwnedByOther"
	// NamespaceTerminating: an object's namespace is being deleted.
	NamespaceTerminating Reason = "NamespaceTerminating"
	// Terminating: an object has been on its way out for longer than that takes.
	Terminating Reason = "Terminating"
	// HealthCheckFailed: an object failed, did not become healthy in time, or
	// can't be judged.
	HealthCheckFailed Reason = "HealthCheckFailed"
	// HealthRuleFailed: a rule that somebody wrote for the health of a kind has
	// no answer.
	HealthRuleFailed Reason = "HealthRuleFailed"
	// EmptyRender: pruning is held, because nothing at all is desired.
	EmptyRender Reason = "EmptyRender"
	// PruneHeld: pruning is held until somebody approves it, or until it can be
	// told what others claim.
	PruneHeld Reason = "PruneHeld"
	// Unconfirmed: somebody has to confirm that an object may be deleted.
	Unconfirmed Reason = "Unconfirmed"
	// PruneProtected: an object is no longer desired, and protected.
	PruneProtected Reason = "PruneProtected"
	// PruneFailed: an object could not be deleted.
	PruneFailed Reason = "PruneFailed"
	// BuildFailed: what the source holds can't be rendered, or not for this
	// cluster.
	BuildFailed Reason = "BuildFailed"
	// NotPermitted: it would be done, if the unit permitted that now.
	NotPermitted Reason = "NotPermitted"
	// NotAdmitted: rules over the unit, such as an AppProject's, don't let it
	// have an object.
	NotAdmitted Reason = "NotAdmitted"
	// FieldConflict: somebody sets fields of an object again and again.
	FieldConflict Reason = "FieldConflict"
	// IgnoreFailed: a rule about what differs and does not count can't be read, or
	// has no answer about an object.
	IgnoreFailed Reason = "IgnoreRuleFailed"
	// NotAnswering: an API server accepts connections, or not even that, and
	// does not answer.
	NotAnswering Reason = "ClusterNotAnswering"
	// AnswerTooLarge: an answer of an API server is larger than one is read.
	AnswerTooLarge Reason = "ClusterAnswerTooLarge"
	// Redirected: an API server leads elsewhere.
	Redirected Reason = "ClusterRedirects"
	// InvalidKubeconfig: a kubeconfig can't be read, or says too little.
	InvalidKubeconfig Reason = "InvalidKubeconfig"
	// UnsafeKubeconfig: a kubeconfig asks for what is not allowed.
	UnsafeKubeconfig Reason = "UnsafeKubeconfig"
)

// The reasons of custom resources, and of what they refer to.
const (
	// InvalidSpec: a custom resource asks for what can't be.
	InvalidSpec Reason = "InvalidSpec"
	// InvalidInventory: the inventory in a status can't be read.
	InvalidInventory Reason = "InvalidInventory"
	// UnsupportedField: a custom resource asks for what this version can't do.
	UnsupportedField Reason = "UnsupportedField"
	// DependencyNotReady: another unit has to be ready first.
	DependencyNotReady Reason = "DependencyNotReady"
	// ArtifactFailed: a source has nothing to apply.
	ArtifactFailed Reason = "ArtifactFailed"
	// AuthenticationFailed: a source refuses the credentials.
	AuthenticationFailed Reason = "AuthenticationFailed"
	// PathNotFound: a path is not in a source.
	PathNotFound Reason = "PathNotFound"
	// NotYetRead: after a start, what is needed has not been read yet. It is no
	// news about the unit.
	NotYetRead Reason = "NotYetRead"
)
