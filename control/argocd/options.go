package argocd

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
)

// options are what sync options say, of an Application or of an operation.
type options struct {
	keep, pruneLast, respects bool  // Prune=false, PruneLast=true, RespectIgnoreDifferences=true
	namespace                 *bool // CreateNamespace; nil: it is not there
	force, replace, late      bool  // Force=true, Replace=true, SkipDryRunOnMissingResource=true
	changed                   bool  // ApplyOutOfSyncOnly=true
	asks                      bool  // Prune=confirm
	stay, asksToGo            bool  // Delete=false, Delete=confirm
	propagation               metav1.DeletionPropagation
}

// known are the sync options that there are, with the values that each may have,
// and why those that this version can't honour are refused. Those that change
// nothing are accepted: docs/argocd.md says why they don't.
var known = map[string]map[string]string{
	"Validate":                    {"true": "", "false": ""},
	"SkipDryRunOnMissingResource": {"true": "", "false": ""},
	"ApplyOutOfSyncOnly":          {"true": "", "false": ""},
	"PruneLast":                   {"true": "", "false": ""},
	"ServerSideApply":             {"true": "", "false": ""},
	"FailOnSharedResource":        {"true": "", "false": ""},
	"RespectIgnoreDifferences":    {"true": "", "false": ""},
	"PrunePropagationPolicy":      {"foreground": "", "background": "", "orphan": ""},
	"Prune":                       {"true": "", "false": "", "confirm": ""},
	"Delete":                      {"true": "", "false": "", "confirm": ""},
	"Replace":                     {"true": "", "false": ""},
	"Force":                       {"true": "", "false": ""},
	"ClientSideApplyMigration":    {"true": "", "false": "fields that were applied on the client's side are always taken over"},
	"CreateNamespace":             {"true": "", "false": ""},
}

// parseOptions reads sync options. One that is misspelt is named, with those that
// there are.
func parseOptions(field string, list []string) (o options, err error) {
	o.propagation = metav1.DeletePropagationForeground
	for _, text := range list {
		name, value, wrong := readOption(text)
		if wrong != "" {
			return o, invalid("%s: %s", field, wrong)
		}
		if why := known[name][value]; why != "" {
			return o, unsupported(fmt.Sprintf("%s: %s", field, text), why)
		}
		o.set(name, value)
	}
	return o, nil
}

// set takes in one option, which is known.
func (o *options) set(name, value string) {
	yes := value == "true"
	switch name {
	case "Prune":
		o.keep, o.asks = value == "false", value == "confirm"
	case "Delete":
		o.stay, o.asksToGo = value == "false", value == "confirm"
	case "PruneLast":
		o.pruneLast = yes
	case "RespectIgnoreDifferences":
		o.respects = yes
	case "CreateNamespace":
		o.namespace = new(yes)
	case "Force":
		o.force = yes
	case "Replace":
		o.replace = yes
	case "SkipDryRunOnMissingResource":
		o.late = yes
	case "ApplyOutOfSyncOnly":
		o.changed = yes
	case "PrunePropagationPolicy":
		o.propagation = propagations[value]
	}
}

var propagations = map[string]metav1.DeletionPropagation{
	"foreground": metav1.DeletePropagationForeground, "background": metav1.DeletePropagationBackground, "orphan": metav1.DeletePropagationOrphan,
}

// confirmed reports whether somebody has confirmed, since then, that something may
// be deleted.
func (a *application) confirmed(since time.Time) bool {
	at, err := time.Parse(time.RFC3339, a.Annotations[deletionApproved])
	return err == nil && !at.Before(since)
}

// options are those of the spec.
func (a *application) options() (options, error) {
	if a.Spec.SyncPolicy == nil {
		return options{}, nil
	}
	return parseOptions("spec.syncPolicy.syncOptions", a.Spec.SyncPolicy.SyncOptions)
}

// makesNamespace is what the namespace of the destination is to have, if it is to
// be made.
func (a *application) makesNamespace(o options) *engine.Metadata {
	if !is(o.namespace) {
		return nil
	}
	if a.managesNamespace() {
		m := a.Spec.SyncPolicy.ManagedNamespaceMetadata
		return &engine.Metadata{Labels: m.Labels, Annotations: m.Annotations}
	}
	return &engine.Metadata{}
}

// managesNamespace reports whether the spec says what metadata its namespace has.
func (a *application) managesNamespace() bool {
	return a.Spec.SyncPolicy != nil && a.Spec.SyncPolicy.ManagedNamespaceMetadata != nil
}

// Of a retry, what is not said.
const (
	firstPause = 5 * time.Second
	mostPause  = 3 * time.Minute
	growth     = 2
)

// retryOf reads how often an operation is tried again.
func retryOf(r *api.Retry) (out engine.Retry, err error) {
	if r == nil {
		return out, nil
	}
	out = engine.Retry{Limit: int(r.Limit), Refresh: r.Refresh, First: firstPause, Most: mostPause, Factor: growth}
	b := r.Backoff
	if b == nil {
		return out, nil
	}
	if out.First, err = pause("duration", b.Duration, firstPause); err != nil {
		return out, err
	}
	if out.Most, err = pause("maxDuration", b.MaxDuration, mostPause); err != nil {
		return out, err
	}
	if b.Factor != nil {
		if *b.Factor < 1 {
			return out, invalid("backoff.factor: %d is less than 1", *b.Factor)
		}
		out.Factor = float64(*b.Factor)
	}
	return out, nil
}

// pause reads a duration as Go writes it, or a number of seconds.
func pause(field, text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	if err != nil {
		return 0, &fault.Error{
			Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf("backoff.%s: %q is no duration", field, text), Hint: "write one such as 5s or 3m",
		}
	}
	return d, nil
}
