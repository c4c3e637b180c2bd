package flux

import (
	"github.com/fluxcd/pkg/apis/meta"

	"plumb.dev/plumb/fault"
)

// words are what Flux's users call the reasons of the engine, where they have a
// word of their own. What is found out about sources and renders is called as
// the packages call it that do.
var words = map[fault.Reason]string{
	fault.Progressing:          meta.ProgressingReason,
	fault.ReconciliationFailed: meta.ReconciliationFailedReason,
	fault.InternalError:        "InternalError",
	fault.UnknownKind:          "UnknownKind",
	fault.AccessDenied:         "AccessDenied",
	fault.OwnedByOther:         "OwnedByOther",
	fault.NamespaceTerminating: "NamespaceTerminating",
	fault.Terminating:          "Terminating",
	fault.HealthCheckFailed:    meta.HealthCheckFailedReason,
	fault.HealthRuleFailed:     "HealthRuleFailed",
	fault.EmptyRender:          "EmptyRender",
	fault.PruneHeld:            "PruneHeld",
	fault.Unconfirmed:          "Unconfirmed",
	fault.PruneProtected:       "PruneProtected",
	fault.PruneFailed:          meta.PruneFailedReason,
	fault.BuildFailed:          meta.BuildFailedReason,
	fault.NotPermitted:         "NotPermitted",
	fault.NotAdmitted:          "NotAdmitted",
	fault.FieldConflict:        "FieldConflict",
	fault.IgnoreFailed:         "IgnoreRuleFailed",
	fault.NotAnswering:         "ClusterNotAnswering",
	fault.AnswerTooLarge:       "ClusterAnswerTooLarge",
	fault.Redirected:           "ClusterRedirects",
	fault.InvalidKubeconfig:    "InvalidKubeconfig",
	fault.UnsafeKubeconfig:     "UnsafeKubeconfig",
	fault.InvalidSpec:          "InvalidSpec",
	fault.InvalidInventory:     "InvalidInventory",
	fault.UnsupportedField:     "UnsupportedField",
	fault.DependencyNotReady:   meta.DependencyNotReadyReason,
	fault.ArtifactFailed:       meta.ArtifactFailedReason,
	fault.AuthenticationFailed: "AuthenticationFailed",
	fault.PathNotFound:         "PathNotFound",
	fault.NotYetRead:           meta.ProgressingReason,
}

// reasonOf returns the reason of an error as a condition has it.
func reasonOf(err error, otherwise string) string {
	r := fault.Of(err).Reason
	if word, ok := words[r]; ok {
		return word
	}
	if r != "" {
		return string(r)
	}
	return otherwise
}
