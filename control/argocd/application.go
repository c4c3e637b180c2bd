package argocd

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control"
	"plumb.dev/plumb/control/custom"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/render/manifest"
)

// An application is an Application, decoded.
type application struct {
	api.Application
	// unreadable is why spec or operation can't be decoded, and statusErr why the
	// status can't.
	unreadable, statusErr error
	// terms are what it may do, in what a unit was made of; nil: nothing.
	terms *terms
}

func (a *application) key() types.NamespacedName {
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Name}
}

// origin is a as the engine keeps it for the dialect: without its status, which
// changes with every write.
func (a *application) origin() *application {
	o := *a
	o.Status = api.ApplicationStatus{}
	o.ManagedFields = nil
	return &o
}

// originOf returns the Application that a unit was made of. It has no status.
func originOf(u engine.Unit) *application { return u.Origin.(*application) }

// sources are those of a spec, of which there are one or several.
func (a *application) sources() []api.Source { return sourcesOf(a.Spec.Source, a.Spec.Sources) }

func sourcesOf(one *api.Source, several []api.Source) []api.Source {
	if len(several) > 0 {
		return several
	}
	if one != nil {
		return []api.Source{*one}
	}
	return nil
}

// several reports whether a names its sources in a list: so its revisions are.
func (a *application) several() bool { return len(a.Spec.Sources) > 0 }

func (a *application) project() string { return cmp.Or(a.Spec.Project, defaultProject) }

// defaultProject is the one of Applications that name none. Argo CD's server
// makes it where it is missing, and until then plumb takes it for that one.
const defaultProject = "default"

// automated returns how a is synced of itself, or nil.
func (a *application) automated() *api.Automated {
	p := a.Spec.SyncPolicy
	if p == nil || p.Automated == nil || p.Automated.Enabled != nil && !*p.Automated.Enabled {
		return nil
	}
	return p.Automated
}

func is(b *bool) bool { return b != nil && *b }

// decode decodes an Application but for its status. One that can't be decoded says
// why, and has what could be told.
func decode(u *unstructured.Unstructured) *application {
	a, rest := &application{}, &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	delete(rest.Object, "status")
	err := custom.Whole(rest)
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(rest.Object, &a.Application, true)
	}
	if err != nil {
		a.Application = api.Application{}
		a.Namespace, a.Name, a.UID, a.Generation = u.GetNamespace(), u.GetName(), u.GetUID(), u.GetGeneration()
		a.DeletionTimestamp, a.Finalizers, a.Annotations = u.GetDeletionTimestamp(), u.GetFinalizers(), u.GetAnnotations()
		a.ResourceVersion = u.GetResourceVersion()
		if wrong := mistyped(rest); wrong != "" {
			a.unreadable = invalid("this version of plumb can't read it: %s", wrong)
		} else {
			a.unreadable = invalid("this version of plumb can't read it: %s%w", culprit(rest), err)
		}
	}
	return a
}

// decodeStatus decodes the status of u, in which there may be more than this
// version knows.
func decodeStatus(u *unstructured.Unstructured) (st api.ApplicationStatus, err error) {
	switch s := u.Object["status"].(type) {
	case nil:
	case string: // as the cache keeps it
		err = utiljson.Unmarshal([]byte(s), &st)
	case map[string]any:
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(s, &st)
	default:
		err = errors.New("it is no object")
	}
	if err != nil {
		return api.ApplicationStatus{}, fmt.Errorf("status: %w", err)
	}
	return st, nil
}

// mistyped says which field is of another type than it should be, if that is what is
// wrong.
func mistyped(u *unstructured.Unstructured) string {
	b, err := json.Marshal(u.Object)
	if err != nil {
		return ""
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(json.Unmarshal(b, &api.Application{}), &wrong) {
		return manifest.Wrong(wrong)
	}
	return ""
}

// culprit names the field that can't be decoded: not every error does.
func culprit(u *unstructured.Unstructured) string {
	for _, part := range []string{"spec", "operation"} {
		fields, ok := u.Object[part].(map[string]any)
		if !ok {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			only := map[string]any{part: map[string]any{name: fields[name]}}
			into := reflect.New(reflect.TypeFor[api.Application]()).Interface()
			if runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(only, into, true) != nil {
				return part + "." + name + ": "
			}
		}
	}
	return ""
}

// invalid is the error for a spec that is wrong.
func invalid(format string, args ...any) error {
	return &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: fmt.Errorf(format, args...)}
}

// unsupported is the error for a field that this version can't honour.
func unsupported(field, what string) error {
	return &fault.Error{
		Next: fault.Stall, Reason: fault.UnsupportedField, Err: fmt.Errorf("%s: %s", field, what),
		Hint: "remove it, or wait for a version that honours it",
	}
}

// check refuses what is wrong with a spec by itself, and what this version can't
// honour yet.
func (a *application) check() (rules []ignore.Rule, err error) {
	if a.unreadable != nil {
		return nil, a.unreadable
	}
	if a.Spec.SourceHydrator != nil {
		return nil, unsupported("spec.sourceHydrator", "this version of plumb does not commit what it renders")
	}
	sources := a.sources()
	if len(sources) == 0 {
		return nil, invalid("spec.source: there is none; name one with repoURL and path")
	}
	for i, s := range sources {
		if err := checkSource(s); err != nil {
			return nil, fmt.Errorf("%s: %w", a.sourceField(i), err)
		}
	}
	if _, err := a.options(); err != nil {
		return nil, err
	}
	if rules, err = a.ignores(); err != nil {
		return nil, err
	}
	if _, err := control.Dependencies(a.Annotations[control.DependsOn], api.ApplicationKind.Kind, a.Namespace); err != nil {
		return nil, err
	}
	if p := a.Spec.SyncPolicy; p != nil {
		if _, err := retryOf(p.Retry); err != nil {
			return nil, fmt.Errorf("spec.syncPolicy.retry.%w", err)
		}
	}
	return rules, nil
}

// ignores are the fields that may differ. They are applied nonetheless, unless a
// sync option says otherwise.
func (a *application) ignores() (rules []ignore.Rule, err error) {
	opts, err := a.options()
	if err != nil {
		return nil, err
	}
	for i, d := range a.Spec.IgnoreDifferences {
		r := ignore.Rule{
			From: fmt.Sprintf("spec.ignoreDifferences[%d]", i), Group: groupPattern(d.Group), Kind: exactly(d.Kind), Namespace: exactly(d.Namespace),
			Name: exactly(d.Name), Pointers: d.JSONPointers, JQ: d.JQPathExpressions, Managers: d.ManagedFieldsManagers, Apply: opts.respects,
		}
		rules = append(rules, r)
	}
	if err := ignore.Check(rules); err != nil {
		return nil, &fault.Error{Next: fault.Stall, Reason: fault.InvalidSpec, Err: err}
	}
	return rules, nil
}

// exactly is the pattern of a name; none stands for all, and so does a star.
func exactly(name string) string {
	if name == "" || name == "*" {
		return ""
	}
	return ignore.Exactly(name)
}

// groupPattern is the pattern of a group, of which none is that of the core.
func groupPattern(group string) string {
	if group == "*" {
		return ""
	}
	return ignore.Exactly(group)
}

// sourceField is how the i-th source is called where it is written.
func (a *application) sourceField(i int) string {
	if a.several() {
		return fmt.Sprintf("spec.sources[%d]", i)
	}
	return "spec.source"
}

// checkSource refuses what is wrong with a source by itself.
func checkSource(s api.Source) error {
	switch {
	case s.RepoURL == "":
		return invalid("it has no repoURL")
	case s.Plugin != nil:
		return &fault.Error{
			Next: fault.Stall, Reason: fault.UnsupportedField, Err: errors.New("plugin: plumb runs no programs of others to make objects"),
			Hint: "commit what the plugin makes, or leave this Application to Argo CD",
		}
	case s.Chart != "" && s.Path != "":
		return invalid("it has both chart and path; leave one of them out")
	case s.Chart != "" && s.Ref != "":
		return invalid("it has both chart and ref; files of a chart are for that chart alone")
	case s.Chart != "" && (s.Kustomize != nil || s.Directory != nil):
		return invalid("it has a chart, and kustomize or directory; leave one of them out")
	case s.Kustomize != nil && s.Directory != nil:
		return invalid("it has both kustomize and directory; leave one of them out")
	case s.Helm != nil && (s.Kustomize != nil || s.Directory != nil):
		return invalid("it has helm and something else; leave one of them out")
	case s.Ref != "" && strings.ContainsFunc(s.Ref, notInRefs):
		return invalid("the ref %q is made of other characters than letters, digits, - and _", s.Ref)
	case s.TagPrefix != "":
		return unsupported("tagPrefix", "this version of plumb knows no tags with a prefix")
	case s.Path == "" && s.Ref == "" && s.Chart == "":
		return invalid("it has no path, no chart and no ref")
	}
	return nil
}

// notInRefs reports whether no name of a source has a character.
func notInRefs(r rune) bool {
	return !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
}

// refs are the names by which sources refer to others, and which these are.
func refs(sources []api.Source) (names []string, mounts []engine.Mount, err error) {
	for i, s := range sources {
		if s.Ref == "" {
			continue
		}
		if slices.Contains(names, s.Ref) {
			return nil, nil, invalid("two sources have the ref %q", s.Ref)
		}
		names, mounts = append(names, s.Ref), append(mounts, engine.Mount{From: i, At: "$" + s.Ref})
	}
	return names, mounts, nil
}

// equal reports whether two values are the same in JSON.
func equal(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
