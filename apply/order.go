package apply

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"

	"plumb.dev/plumb/object"
)

// The stages: what others need to exist goes first.
const (
	stageDefinitions = iota
	stageClasses
	stageCustom
	stageRest
	lastStage = stageRest
)

func (o Order) stage(r object.Ref) int {
	switch {
	case r.Group == "apiextensions.k8s.io" && r.Kind == "CustomResourceDefinition",
		r.Group == "" && r.Kind == "Namespace",
		r.Group == "rbac.authorization.k8s.io" && r.Kind == "ClusterRole":
		return stageDefinitions
	case r.Namespace == "" && strings.HasSuffix(r.Kind, "Class"):
		return stageClasses
	case oneOf(o.Stage, r):
		return stageCustom
	}
	return stageRest
}

func oneOf(kinds []string, r object.Ref) bool {
	return slices.ContainsFunc(kinds, func(s string) bool {
		return strings.EqualFold(s, r.Kind) || strings.EqualFold(s, r.Group+"/"+r.Kind)
	})
}

// The steps of a stage are written one after the other, each side by side.
const (
	stepEnablers = iota // what changes how others are admitted, or who they run as
	stepBindings        // what refers to those
	stepContents        // what workloads read and mount
	stepRest
	stepWebhooks // they may ask a workload of the same stage
	lastStep     = stepWebhooks
)

// steps has the kinds of each step in order; what is in none is in stepRest.
var steps = [...][]string{
	stepEnablers: {
		"Namespace", "CustomResourceDefinition", "ClusterRole", "ResourceQuota", "LimitRange", "PriorityClass",
		"ServiceAccount", "Role", "NetworkPolicy", "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy",
	},
	stepBindings: {"ClusterRoleBinding", "RoleBinding", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicyBinding"},
	stepContents: {"PodDisruptionBudget", "ConfigMap", "Secret", "PersistentVolume", "PersistentVolumeClaim", "Service"},
	stepWebhooks: {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"},
}

// place returns the step of an object and its place among those of the step.
func place(r object.Ref) (step, at int) {
	if builtIn(r) {
		for step, kinds := range steps {
			if at := slices.Index(kinds, r.Kind); at >= 0 {
				return step, at
			}
		}
	}
	return stepRest, 0
}

// builtIn reports whether the kind of r is of Kubernetes itself, and not one
// that somebody defined.
func builtIn(r object.Ref) bool {
	return scheme.Scheme.IsGroupRegistered(r.Group) || r.Group == "apiextensions.k8s.io" || r.Group == "apiregistration.k8s.io"
}

func inOrder(a, b object.Ref) int {
	stepA, atA := place(a)
	stepB, atB := place(b)
	return cmp.Or(cmp.Compare(stepA, stepB), cmp.Compare(atA, atB))
}

// Steps divides a stage, which is in order, into what is written side by side.
// What there was no answer about comes last.
func Steps(stage []*Result) [][]*Result {
	late := slices.DeleteFunc(slices.Clone(stage), func(c *Result) bool { return !isLate(c) })
	steps := split(slices.DeleteFunc(slices.Clone(stage), isLate), func(c *Result) int { step, _ := place(c.Ref); return step })
	if len(late) > 0 {
		steps = append(steps, late)
	}
	return steps
}

func split[T any, K comparable](changes []T, by func(T) K) (parts [][]T) {
	for i, c := range changes {
		if i == 0 || by(c) != by(changes[i-1]) {
			parts = append(parts, nil)
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], c)
	}
	return parts
}

// The steps of a deletion. Each begins once nothing of the one before is left:
// a custom resource that goes may still have work to do, which it needs the
// rest for.
const (
	leaveWebhooks  = iota
	leaveCustom    // custom resources
	leaveNeeded    // those that others are made from
	leaveWorkloads // and all that is not named here
	leaveContents
	leaveRights
	leaveStage // kinds with a stage of their own, which the rest came after
	leaveClasses
	leaveDefinitions
)

// An Order is what a unit adds to the order in which objects are written and
// deleted. Kinds are as "Kind" or "group/Kind".
type Order struct {
	Stage []string // kinds that are applied in a stage before the rest
	// Needed are kinds of custom resources that others need while they go,
	// such as what they were made from.
	Needed []string
}

func (o Order) leaves(r object.Ref) int {
	switch o.stage(r) {
	case stageDefinitions:
		return leaveDefinitions
	case stageClasses:
		return leaveClasses
	case stageCustom:
		return leaveStage
	}
	switch step, _ := place(r); {
	case step == stepWebhooks:
		return leaveWebhooks
	case oneOf(o.Needed, r):
		return leaveNeeded
	case !builtIn(r):
		return leaveCustom
	case step == stepContents:
		return leaveContents
	case step != stepRest:
		return leaveRights
	}
	return leaveWorkloads
}

// sort puts changes in the order of deletion: the last wave goes first.
func (o Order) sort(changes []*Change) {
	slices.SortStableFunc(changes, func(a, b *Change) int {
		return cmp.Or(-cmp.Compare(a.At.Wave, b.At.Wave), cmp.Compare(o.leaves(a.Ref), o.leaves(b.Ref)), -inOrder(a.Ref, b.Ref), object.Compare(a.Ref, b.Ref))
	})
}

// Leaving divides what is deleted, which is in order, into its steps.
func Leaving(prune []*Result) [][]*Result {
	return split(prune, func(c *Result) turn { return turn{c.At, c.Stage} })
}
