package argocd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/watch/health"
	"plumb.dev/plumb/watch/health/lua"
)

// settingsMaps are the ConfigMaps that hold settings.
var settingsMaps = []string{"argocd-cm", "argocd-cmd-params-cm", "argocd-ssh-known-hosts-cm", "argocd-tls-certs-cm"}

// secretTypes selects the Secrets that hold settings.
const secretTypes = prefix + "secret-type in (repository,repo-creds,cluster)"

// An around is what surrounds all Applications at one time: settings,
// repositories, clusters and projects. Nobody changes it.
type around struct {
	*settings.Settings
	// err is why nothing may be done.
	err error
	// common are the settings without what Secrets say, which units keep.
	common *common
	// read returns an AppProject, or nothing if there is none.
	read func(name string) (*unstructured.Unstructured, error)
	// lenient: no project is known, and none is asked.
	lenient bool
	// hidden is why Secrets are not known, where who looks may not read them.
	hidden  error
	wasRead bool // nothing is missing
	// problems are what can't be read or is not honoured.
	problems []error

	mu       sync.Mutex
	projects map[string]verdict
}

// A common is what all Applications have in common, while the settings stay the
// same.
type common struct {
	*settings.Settings
	judges  health.Judges
	ignores []ignore.Rule
	err     error // why nothing may be done
}

// A verdict is a project, or why there is none.
type verdict struct {
	project *project.Project
	err     error
}

// A surrounding is what an around is read from.
type surrounding struct {
	namespace string
	maps      []*corev1.ConfigMap
	secrets   []*corev1.Secret
	policy    cluster.KubeconfigPolicy // of clusters
	lua       *lua.Runner              // nil: rules in Lua are not asked
	projects  func(name string) (*unstructured.Unstructured, error)
	before    *around // what of it is the same is kept; nil: nothing
}

// readAround reads what surrounds Applications.
func readAround(in surrounding) *around {
	s := settings.Read(settings.Objects{Namespace: in.namespace, Secrets: in.secrets, ConfigMaps: in.maps, Policy: in.policy})
	w := &around{Settings: s, err: s.Refused, wasRead: true, read: in.projects, problems: s.Problems, projects: make(map[string]verdict)}
	if before := in.before; before != nil && before.common != nil && before.common.Digest == s.Digest {
		w.common = before.common
	} else {
		w.common = readCommon(in)
	}
	if w.err == nil {
		w.err = w.common.err
	}
	w.problems = slices.Concat(w.problems, later(s))
	if in.before != nil {
		w.keep(in.before)
	}
	return w
}

// keep takes over projects of before that are the same: units hold them.
func (w *around) keep(before *around) {
	before.mu.Lock()
	defer before.mu.Unlock()
	for name, was := range before.projects {
		if is := w.make(name); is.project != nil && was.project != nil && is.project.Digest == was.project.Digest {
			w.projects[name] = was
		} else {
			w.projects[name] = is
		}
	}
}

func readCommon(in surrounding) *common {
	c := &common{Settings: settings.Read(settings.Objects{Namespace: in.namespace, ConfigMaps: in.maps}), judges: health.Table}
	c.ignores, c.err = systemIgnores(c.Settings)
	if slices.Contains(c.Disabled, "jsonnet") {
		c.err = errors.Join(c.err, unsupported("ConfigMap argocd-cm: key jsonnet.enable", "this version of plumb can't do without jsonnet"))
	}
	if in.lua == nil {
		return c
	}
	for _, m := range in.maps {
		if m.Name != "argocd-cm" {
			continue
		}
		rules, err := in.lua.Rules(m.Name, m.Data)
		if err != nil {
			c.err = errors.Join(c.err, err)
			continue
		}
		c.judges = health.First{rules, health.Table}
	}
	return c
}

// systemIgnores are the fields that may differ in objects of all Applications.
func systemIgnores(s *settings.Settings) (rules []ignore.Rule, err error) {
	for _, c := range s.Customizations {
		d := c.IgnoreDifferences
		if len(d.JSONPointers)+len(d.JQPathExpressions)+len(d.ManagedFieldsManagers) == 0 {
			continue
		}
		rules = append(rules, ignore.Rule{
			From: fmt.Sprintf("argocd-cm: ignoreDifferences of %s", strings.TrimPrefix(c.Group+"/"+c.Kind, "/")), Group: ignore.Glob(c.Group), Kind: ignore.Glob(c.Kind),
			Pointers: d.JSONPointers, JQ: d.JQPathExpressions, Managers: d.ManagedFieldsManagers,
		})
	}
	if err := ignore.Check(rules); err != nil {
		return nil, &fault.Error{Next: fault.Wait, Reason: fault.InvalidSpec, Err: err, Hint: "nothing is applied until it is corrected"}
	}
	return rules, nil
}

// ignoring are the fields that may differ in objects of a: by the settings, and by
// its own rules.
func (c *common) ignoring(a *application, own []ignore.Rule) []ignore.Rule {
	opts, _ := a.options() // they were checked
	all := make([]ignore.Rule, 0, len(c.ignores)+len(own))
	for _, r := range c.ignores {
		r.Apply = opts.respects
		all = append(all, r)
	}
	return append(all, own...)
}

// interval is how often a repository is asked; 0: only when somebody hints.
func (w *around) interval() time.Duration {
	if w.Reconciliation == 0 {
		return 0
	}
	return w.Reconciliation + w.Jitter
}

// project returns a project by name, or why there is none.
func (w *around) project(name string) (*project.Project, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.projects[name]
	if !ok {
		k = w.make(name)
		w.projects[name] = k
	}
	return k.project, k.err
}

// make reads a project.
func (w *around) make(name string) verdict {
	p, err := w.decode(name)
	switch {
	case err != nil:
		return verdict{err: err}
	case p == nil && (name == defaultProject || w.lenient):
		p = everything(name)
		if w.lenient {
			p.Spec.SourceNamespaces = []string{"*"}
		}
	case p == nil:
		return verdict{err: project.Missing(name)}
	}
	var unread error
	scope, bad := w.Scope(p, func(global string) *api.AppProject {
		g, err := w.decode(global)
		if err != nil && unread == nil {
			unread = err
		}
		return g
	})
	if unread != nil { // it may deny what the project itself allows
		return verdict{err: unread}
	}
	q := project.New(p, scope)
	w.problems = append(append(w.problems, bad...), q.Problems()...)
	return verdict{project: q}
}

// decode returns an AppProject, or nothing if there is none. What is not known in
// one might deny something.
func (w *around) decode(name string) (*api.AppProject, error) {
	u, err := w.read(name)
	if u == nil || err != nil {
		return nil, err
	}
	p := &api.AppProject{}
	only := map[string]any{"metadata": u.Object["metadata"], "spec": u.Object["spec"]}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(only, p, true); err != nil {
		return nil, &fault.Error{
			Next: fault.Wait, Reason: fault.InvalidSpec, Err: fmt.Errorf("project '%s': this version of plumb can't read it: %w", name, err),
			Hint: "correct the AppProject",
		}
	}
	return p, nil
}

// everything is a project in which all is allowed: the one that Argo CD's server
// makes if there is no default one.
func everything(name string) *api.AppProject {
	p := &api.AppProject{Spec: api.AppProjectSpec{
		SourceRepos: []string{"*"}, Destinations: []api.AllowedDestination{{Server: "*", Namespace: "*"}},
		ClusterResourceWhitelist: []api.NamedKind{{Group: "*", Kind: "*"}},
	}}
	p.ObjectMeta = metav1.ObjectMeta{Name: name}
	return p
}

// later are the settings that can be read, and that this version does not honour.
func later(s *settings.Settings) (all []error) {
	not := func(key, effect string) {
		all = append(all, fmt.Errorf("ConfigMap argocd-cm: key %s: this version of plumb does not honour it: %s", key, effect))
	}
	if s.HardReconciliation > 0 {
		not("timeout.hard.reconciliation", "what is rendered is rendered anew when it is another")
	}
	if s.Compare.IgnoreAggregatedRoles {
		not("resource.compareoptions: ignoreAggregatedRoles", "rules of roles count; say so in resource.customizations.ignoreDifferences")
	}
	if f := s.Compare.IgnoreResourceStatusField; f != "" && f != "all" {
		not("resource.compareoptions: ignoreResourceStatusField", "a status counts where plumb owns a field of it")
	}
	return all
}

// unread surrounds Applications while it is not known what does.
func unread(namespace string, err error) *around {
	w := readAround(surrounding{namespace: namespace, projects: noProject})
	w.err, w.wasRead = err, false
	return w
}

// found are the problems that have been found so far.
func (w *around) found() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.problems)
}

func noProject(string) (*unstructured.Unstructured, error) { return nil, nil }

// configMap makes a ConfigMap of what was looked up.
func configMap(namespace, name string, data map[string][]byte) *corev1.ConfigMap {
	m := &corev1.ConfigMap{Data: make(map[string]string, len(data))}
	m.Namespace, m.Name = namespace, name
	for k, v := range data {
		m.Data[k] = string(v)
	}
	return m
}

// readMaps looks up the ConfigMaps of settings: all of them, whatever one of them
// comes to.
func readMaps(namespace string, get func(lookup.Ref) (map[string][]byte, bool, error)) (all []*corev1.ConfigMap, err error) {
	var errs []error
	for _, name := range settingsMaps {
		data, found, err := get(lookup.Ref{Kind: lookup.ConfigMap, Namespace: namespace, Name: name})
		if errs = append(errs, err); found {
			all = append(all, configMap(namespace, name, data))
		}
	}
	return all, errors.Join(errs...)
}
