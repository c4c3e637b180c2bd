package argocd

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// judged are the types of conditions that each look decides about.
var judged = []string{
	api.ConditionInvalidSpecError, api.ConditionComparisonError, api.ConditionSyncError, api.ConditionDeletionError,
	api.ConditionSharedResourceWarning, api.ConditionRepeatedResource, api.ConditionUnknownError, api.ConditionExcludedResource,
	api.ConditionSyncWindow, api.ConditionOrphanedResource, conditionRolledBack, conditionMisspelt, conditionSpec, conditionDeletes,
}

// conditions are those that hold now, by type. One that says what it said before
// keeps its time, and those that nobody here decides about stay.
func conditions(before []api.Condition, now map[string]string) (all []api.Condition) {
	for _, c := range before {
		if !slices.Contains(judged, c.Type) {
			all = append(all, c)
		}
	}
	for _, t := range slices.Sorted(maps.Keys(now)) {
		for _, message := range messages(now[t]) {
			at := clock()
			c := api.Condition{Type: t, Message: clipTo(message, maxCondition), LastTransitionTime: &at}
			for _, was := range before {
				if was.Type == t && was.Message == c.Message && was.LastTransitionTime != nil {
					c.LastTransitionTime = was.LastTransitionTime
				}
			}
			all = append(all, c)
		}
	}
	return all
}

// conditionSpec is plumb's own: it names what of a spec does nothing as it is.
const conditionSpec = "SpecWarning"

// idle are the fields of a spec that do nothing.
func (a *application) idle() (all []string) {
	if !a.managesNamespace() {
		return nil
	}
	if opts, err := a.options(); err == nil && !is(opts.namespace) {
		all = append(all, "spec.syncPolicy.managedNamespaceMetadata: it counts with the sync option CreateNamespace=true only, which is not there; the namespace is not pruned")
	}
	return all
}

// messages takes several errors apart, each of which is a condition of its own.
func messages(text string) []string {
	const most = 10
	all := strings.Split(text, "\n")
	if rest := len(all) - most; rest > 0 {
		all = append(all[:most], fmt.Sprintf("and %d more", rest))
	}
	return all
}

// maxCondition is the most bytes that the message of a condition gets.
const maxCondition = 20_000

// clipTo bounds a text, between two characters.
func clipTo(text string, most int) string {
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-len(" …")], "") + " …"
	}
	return text
}

// wrongWith is what a look has found to be wrong, by the type of the condition.
func (a *application) wrongWith(out engine.Outcome) map[string]string {
	now := map[string]string{}
	f := fault.Of(out.Err)
	switch {
	case out.Err == nil, out.Plan == nil && waits(out):
	case barred(out), f.Reason == fault.DependencyNotReady && !waits(out):
		now[api.ConditionInvalidSpecError] = out.Err.Error()
	case out.Plan == nil:
		now[api.ConditionComparisonError] = a.comparison(out.Err)
	case f.Reason == fault.OwnedByOther:
		now[api.ConditionSharedResourceWarning] = out.Err.Error()
	}
	if len(out.Repeated) > 0 {
		now[api.ConditionRepeatedResource] = repeated(out.Repeated)
	}
	if !fault.Is(out.Err, fault.OwnedByOther) { // which says so
		var shared []string
		for _, l := range out.Foreign {
			shared = append(shared, l.Why)
		}
		if text := listed(shared); text != "" {
			now[api.ConditionSharedResourceWarning] = text
		}
	}
	var excluded, left []string
	for _, l := range out.Left {
		switch {
		case l.Why == settings.ExcludedWarning(l.Ref.Group, l.Ref.Kind, l.Ref.Name):
			excluded = append(excluded, l.Why)
		case l.Why != "" && l.Why != whySkip:
			left = append(left, fmt.Sprintf("%s is left alone: %s", l.Ref, l.Why))
		}
	}
	if out.Unjudged != nil {
		left = append(left, "error setting app health: "+out.Unjudged.Error())
	}
	say := func(kind string, texts []string) {
		switch text := listed(texts); {
		case text == "":
		case now[kind] == "":
			now[kind] = text
		default:
			now[kind] += "; " + text
		}
	}
	var doubted []string
	for _, l := range out.Doubted {
		doubted = append(doubted, fmt.Sprintf("%s: %s", l.Ref, l.Why))
	}
	say(conditionMisspelt, doubted)
	say(conditionSpec, a.idle())
	say(api.ConditionExcludedResource, excluded)
	say(api.ConditionComparisonError, left)
	say(api.ConditionSyncError, notAdmitted(out))
	return now
}

// listed puts some of texts into one line.
func listed(texts []string) string {
	if n := len(texts); n > mostNamed {
		texts = append(texts[:mostNamed:mostNamed], fmt.Sprintf("%d more", n-mostNamed))
	}
	return strings.Join(texts, "; ")
}

// specReasons are why an Application can't be what its spec says, by its project,
// by Secrets and by settings, too.
var specReasons = []fault.Reason{fault.InvalidSpec, fault.UnsupportedField, fault.InvalidInventory, fault.InvalidKubeconfig, fault.UnsafeKubeconfig}

// barred reports whether an Application can't be what its spec says.
func barred(out engine.Outcome) bool {
	f := fault.Of(out.Err)
	return f != nil && slices.Contains(specReasons, f.Reason)
}

// notAdmitted names what the Application may not have.
func notAdmitted(out engine.Outcome) (all []string) {
	if out.Plan == nil {
		return nil
	}
	for _, c := range out.Plan.Held() {
		if c.Rule == apply.RuleNotAdmitted {
			all = append(all, fmt.Sprintf("%s: %s", c.Ref, c.Why))
		}
	}
	return all
}

// comparison says why there is nothing to compare with.
func (a *application) comparison(err error) string {
	text := err.Error()
	if fault.Is(err, fault.PathNotFound) {
		if !a.several() && a.Spec.Source != nil {
			text += ": " + a.Spec.Source.Path
		}
		text += ": app path does not exist"
	}
	return "Failed to load target state: " + text
}

// repeated says which objects are there more than once.
func repeated(refs []object.Ref) string {
	parts := make([]string, len(refs))
	for i, ref := range refs {
		parts[i] = fmt.Sprintf("%s/%s/%s/%s", ref.Group, ref.Kind, ref.Namespace, ref.Name)
	}
	return fmt.Sprintf("Resource %s appeared more than once; the last one counts", strings.Join(parts, ", "))
}
