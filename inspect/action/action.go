// Package action is what a person can have done to one object on the cluster
// beside what Git says of it: restart a Deployment, scale it, make a Job of a
// CronJob.
//
// Of an object [Of] tells which actions it has, and [Make] what one of them
// changes. Both are functions of values, so a command and the web UI offer the
// same. [Change.Do] does it, with the rights of the client that it is given, and
// as a field manager of its own: what Git says nothing about stays as it is then,
// whoever holds the object true. What Git does say, [Change.Contests] tells.
//
// The names are those of Argo CD's resource actions.
package action

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Manager is the field manager of what actions change. It begins with none of the
// names whose fields are taken back.
const Manager = "plumb-action"

// An Action is something that can be done to an object.
type Action struct {
	Name string `json:"name"`
	// Does says what it does, in a few words.
	Does string `json:"does"`
	// Params are what has to be said, by name.
	Params []Param `json:"params,omitempty"`
	// Not is why it can't be done now, or nothing.
	Not string `json:"not,omitempty"`

	make func(o *unstructured.Unstructured, params map[string]string, now time.Time) (Change, error)
}

// A Param is a value that an action takes.
type Param struct {
	Name string `json:"name"`
	Is   string `json:"is"`            // what it is, in a few words
	Now  string `json:"now,omitempty"` // what it is now
}

// A field is the names on the way to it.
type field []string

// String returns the form that messages use: spec.replicas.
func (f field) String() string {
	var b strings.Builder
	for i, name := range f {
		switch {
		case strings.ContainsAny(name, "./"):
			fmt.Fprintf(&b, "[%q]", name)
		case i > 0:
			b.WriteString("." + name)
		default:
			b.WriteString(name)
		}
	}
	return b.String()
}

// A Change is what an action does: it sets fields, or makes another object.
type Change struct {
	sets map[string]any // by the last name of the field
	at   map[string]field
	// Creates is the object that it makes; nil: it changes the one it is of.
	Creates *unstructured.Unstructured
}

func set(f field, value any) Change {
	return Change{sets: map[string]any{f.String(): value}, at: map[string]field{f.String(): f}}
}

// Patch returns the change as a merge patch. It is refused where the object is
// another one by then.
func (c Change) Patch(o *unstructured.Unstructured) ([]byte, error) {
	body := map[string]any{"metadata": map[string]any{"uid": string(o.GetUID())}}
	for name, f := range c.at {
		if err := unstructured.SetNestedField(body, c.sets[name], f...); err != nil {
			return nil, err
		}
	}
	return json.Marshal(body)
}

// Contests are the fields of the change that somebody who applies as manager has
// set, sorted: those are in Git.
func (c Change) Contests(o *unstructured.Unstructured, manager string) (fields []string) {
	for name, f := range c.at {
		if slices.ContainsFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
			return e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" && owns(e, f)
		}) {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// owns reports whether an entry has a field.
func owns(e metav1.ManagedFieldsEntry, f field) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var at map[string]json.RawMessage
	if json.Unmarshal(e.FieldsV1.GetRawBytes(), &at) != nil {
		return false
	}
	for _, name := range f {
		inner, ok := at["f:"+name]
		if !ok {
			return false
		}
		at = nil
		if json.Unmarshal(inner, &at) != nil {
			return false
		}
	}
	return true
}

// Of returns the actions of an object, in the order in which they are shown.
func Of(o *unstructured.Unstructured) []Action {
	of := kinds[o.GroupVersionKind().GroupKind()]
	if of == nil {
		return nil
	}
	all := of(o)
	if o.GetDeletionTimestamp() != nil {
		for i := range all {
			all[i].Not = "it is being deleted"
		}
	}
	return all
}

// Make returns what an action changes.
func Make(o *unstructured.Unstructured, name string, params map[string]string, now time.Time) (Change, error) {
	all := Of(o)
	i := slices.IndexFunc(all, func(a Action) bool { return a.Name == name })
	if i < 0 {
		return Change{}, fmt.Errorf("%s has no action %q; it has %s", o.GetKind(), name, namesOf(all))
	}
	a := all[i]
	for given := range params {
		if !slices.ContainsFunc(a.Params, func(p Param) bool { return p.Name == given }) {
			return Change{}, fmt.Errorf("%s takes no %q", name, given)
		}
	}
	for _, p := range a.Params {
		if params[p.Name] == "" {
			return Change{}, fmt.Errorf("%s needs %s=%s", name, p.Name, strings.ToUpper(p.Name))
		}
	}
	if a.Not != "" {
		return Change{}, errors.New(a.Not)
	}
	return a.make(o, params, now)
}

func namesOf(all []Action) string {
	if len(all) == 0 {
		return "none"
	}
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = a.Name
	}
	return strings.Join(names, ", ")
}

const rollouts = "argoproj.io"

// kinds are those that have actions.
var kinds = map[schema.GroupKind]func(*unstructured.Unstructured) []Action{
	{Group: "apps", Kind: "Deployment"}: func(o *unstructured.Unstructured) []Action {
		return append([]Action{restart, scaleOf(o)}, toggles(o, field{"spec", "paused"}, "pause", "resume", "what changes in it makes no new Pods")...)
	},
	{Group: "apps", Kind: "StatefulSet"}: func(o *unstructured.Unstructured) []Action { return []Action{restart, scaleOf(o)} },
	{Group: "apps", Kind: "DaemonSet"}:   func(*unstructured.Unstructured) []Action { return []Action{restart} },
	{Group: "batch", Kind: "CronJob"}: func(o *unstructured.Unstructured) []Action {
		return append([]Action{createJob}, toggles(o, field{"spec", "suspend"}, "suspend", "resume", "no Jobs are made")...)
	},
	{Group: "batch", Kind: "Job"}: func(o *unstructured.Unstructured) []Action {
		return toggles(o, field{"spec", "suspend"}, "suspend", "resume", "its Pods are ended")
	},
	{Group: rollouts, Kind: "Rollout"}: func(o *unstructured.Unstructured) []Action {
		return append([]Action{restartRollout, scaleOf(o)}, toggles(o, field{"spec", "paused"}, "pause", "resume", "it goes no further")...)
	},
	{Group: rollouts, Kind: "CronWorkflow"}: func(o *unstructured.Unstructured) []Action {
		return toggles(o, field{"spec", "suspend"}, "suspend", "resume", "no Workflows are made")
	},
}

// restartedAt is the annotation of the Pods by which kubectl restarts, too.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

var restart = Action{
	Name: "restart", Does: "replace all Pods, as it does when an image changes",
	make: func(o *unstructured.Unstructured, _ map[string]string, now time.Time) (Change, error) {
		if paused, _, _ := unstructured.NestedBool(o.Object, "spec", "paused"); paused {
			return Change{}, errors.New("it is paused, so nothing would restart; resume it first")
		}
		return set(field{"spec", "template", "metadata", "annotations", restartedAt}, now.UTC().Format(time.RFC3339)), nil
	},
}

var restartRollout = Action{
	Name: "restart", Does: "replace all Pods, a few at a time",
	make: func(_ *unstructured.Unstructured, _ map[string]string, now time.Time) (Change, error) {
		return set(field{"spec", "restartAt"}, now.UTC().Format(time.RFC3339)), nil
	},
}

// mostReplicas is more than anybody means.
const mostReplicas = 100_000

func scaleOf(o *unstructured.Unstructured) Action {
	replicas, ok, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	if !ok {
		replicas = 1
	}
	return Action{
		Name: "scale", Does: "have another number of Pods",
		Params: []Param{{Name: "replicas", Is: "how many", Now: strconv.FormatInt(replicas, 10)}},
		make: func(_ *unstructured.Unstructured, params map[string]string, _ time.Time) (Change, error) {
			n, err := strconv.ParseInt(params["replicas"], 10, 32)
			if err != nil || n < 0 || n > mostReplicas {
				return Change{}, fmt.Errorf("replicas: %q is no number between 0 and %d", params["replicas"], mostReplicas)
			}
			return set(field{"spec", "replicas"}, n), nil
		},
	}
}

// toggles are the actions that set a field and take it back, of which one can be
// done.
func toggles(o *unstructured.Unstructured, f field, on, off, then string) []Action {
	is, _, _ := unstructured.NestedBool(o.Object, f...)
	to := func(value bool) func(*unstructured.Unstructured, map[string]string, time.Time) (Change, error) {
		return func(*unstructured.Unstructured, map[string]string, time.Time) (Change, error) {
			return set(f, value), nil
		}
	}
	stop, start := Action{Name: on, Does: "stop it: " + then, make: to(true)}, Action{Name: off, Does: "let it go on", make: to(false)}
	if is {
		stop.Not = f.String() + " is true already"
	} else {
		start.Not = f.String() + " is not true, so there is nothing to " + off
	}
	return []Action{stop, start}
}
