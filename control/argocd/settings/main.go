package settings

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/glob"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/control/argocd/project"
)

// The ConfigMaps of settings.
const (
	mainMap       = "argocd-cm"
	parametersMap = "argocd-cmd-params-cm"
)

// elsewhere are keys of argocd-cm, or what they begin with, that Argo CD's API
// server, UI, notifications and hydrator are for.
var elsewhere = []string{
	"url", "additionalUrls", "statusbadge.", "users.", "passwordPattern", "ga.", "help.", "dex.", "oidc.", "admin.", "accounts.", "ui.",
	"server.", "exec.", "project.links", "application.links", "resource.links", "extension.config", "extension.config.", "webhook.", "commit.author.",
	"sourceHydrator.", "application.sync.requireOverridePrivilegeForRevisionSync", "application.allowedNodeLabels",
	"resource.customLabels", "resource.customizations.actions.",
	// What it is for is not there in plumb, which watches only what is in use.
	"resource.ignoreResourceUpdatesEnabled", "resource.customizations.ignoreResourceUpdates.", "resource.respectRBAC",
}

// later are keys of argocd-cm that this version does not honour, and what that
// comes to.
var later = map[string]string{
	"kustomize.buildOptions":         "Kustomize is run with no options",
	"resource.includeEventLabelKeys": "events have no labels of Applications",
	"resource.excludeEventLabelKeys": "events have no labels of Applications",
	"configManagementPlugins":        "there are no plugins",
}

// A key is a setting of argocd-cm that is honoured.
type key struct {
	name string
	read func(s *Settings, where, value string) error
	// needed: without it, it is not known what may be done.
	needed bool
}

var keys = []key{
	{"application.resourceTrackingMethod", readTracking, true},
	{"application.instanceLabelKey", text(func(s *Settings) *string { return &s.InstanceLabel }), true},
	{"installationID", text(func(s *Settings) *string { return &s.InstallationID }), true},
	{"timeout.reconciliation", duration(func(s *Settings) *time.Duration { return &s.Reconciliation }), false},
	{"timeout.reconciliation.jitter", duration(func(s *Settings) *time.Duration { return &s.Jitter }), false},
	{"timeout.hard.reconciliation", duration(func(s *Settings) *time.Duration { return &s.HardReconciliation }), false},
	{"application.sync.impersonation.enabled", boolean(func(s *Settings) *bool { return &s.Impersonate }), true},
	{"application.sync.impersonation.enforced", boolean(func(s *Settings) *bool { return &s.Enforced }), true},
	{"cluster.inClusterEnabled", boolean(func(s *Settings) *bool { return &s.inCluster }), true},
	{"globalProjects", document(func(s *Settings) any { return &s.Globals }), true},
	{"resource.exclusions", filters(func(s *Settings) *[]filter { return &s.exclusions }), true},
	{"resource.inclusions", filters(func(s *Settings) *[]filter { return &s.inclusions }), true},
	{"resource.compareoptions", document(func(s *Settings) any { return &s.Compare }), false},
	{"resource.sensitive.mask.annotations", readSensitive, false},
	{"helm.valuesFileSchemes", readSchemes, false},
	{"helm.enable", tool("helm"), true},
	{"kustomize.enable", tool("kustomize"), true},
	{"jsonnet.enable", tool("jsonnet"), true},
}

// readMain reads argocd-cm, and adds to a digest what of it is honoured.
func (s *Settings) readMain(data map[string]string, settled io.Writer) {
	s.Tracking, s.InstanceLabel = ByAnnotation, "app.kubernetes.io/instance"
	s.Reconciliation, s.Jitter = 2*time.Minute, time.Minute
	s.Enforced = true
	s.Compare.IgnoreDifferencesOnResourceUpdates = true
	s.ValuesFileSchemes = []string{"https", "http"}
	honoured := make(map[string]bool)
	for _, k := range keys {
		honoured[k.name] = true
		value, ok := data[k.name]
		if !ok || strings.TrimSpace(value) == "" && k.name != "helm.valuesFileSchemes" {
			continue
		}
		fmt.Fprintf(settled, "%q %q ", k.name, value)
		where := fmt.Sprintf("ConfigMap %s: key %s", mainMap, k.name)
		switch err := k.read(s, where, strings.TrimSpace(value)); {
		case err != nil && k.needed:
			s.refuse(where, err)
		case err != nil:
			s.problem(where, "%w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch {
		case honoured[name]:
		case s.readCustomization(name, data[name]):
			fmt.Fprintf(settled, "%q %q ", name, data[name])
		default:
			s.unread(name)
		}
	}
	s.sortCustomizations()
}

// unread names a key that is not honoured, unless it is another process's.
func (s *Settings) unread(name string) {
	where := fmt.Sprintf("ConfigMap %s: key %s", mainMap, name)
	known := slices.ContainsFunc(elsewhere, func(e string) bool {
		return name == e || strings.HasSuffix(e, ".") && strings.HasPrefix(name, e)
	})
	effect, isLater := later[name]
	switch {
	case known:
	case isLater:
		s.problem(where, "this version of plumb does not honour it: %s", effect)
	case strings.HasPrefix(name, "kustomize.version.") || strings.HasPrefix(name, "kustomize.path.") || strings.HasPrefix(name, "kustomize.buildOptions."):
		s.problem(where, "this version of plumb has one version of Kustomize, its own")
	default:
		s.problem(where, "it is not known")
	}
}

// readParameters reads argocd-cmd-params-cm, of which most is about processes
// that plumb does not have.
func (s *Settings) readParameters(data map[string]string, settled io.Writer) {
	fmt.Fprintf(settled, "%q %q ", data["application.namespaces"], data["controller.sync.timeout.seconds"])
	var patterns []string
	for p := range strings.SplitSeq(data["application.namespaces"], ",") {
		if p = strings.TrimSpace(p); p != "" {
			patterns = append(patterns, p)
		}
	}
	where := "ConfigMap " + parametersMap + ": key "
	var bad []error
	s.namespaces, bad = project.NewNamespaces(patterns)
	for _, err := range bad {
		s.problem(where+"application.namespaces", "%w", err)
	}
	if value := strings.TrimSpace(data["controller.sync.timeout.seconds"]); value != "" {
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			s.problem(where+"controller.sync.timeout.seconds", "%q is no number of seconds", value)
		}
		s.SyncTimeout = time.Duration(n) * time.Second
	}
}

func readTracking(s *Settings, _, value string) error {
	switch t := Tracking(value); t {
	case ByAnnotation, ByLabel, ByAnnotationAndLabel:
		s.Tracking = t
		return nil
	}
	return fmt.Errorf("%q is none of %s, %s and %s", value, ByAnnotation, ByAnnotationAndLabel, ByLabel)
}

func readSchemes(s *Settings, _, value string) error {
	s.ValuesFileSchemes = items(strings.ToLower(value))
	return nil
}

func readSensitive(s *Settings, _, value string) error {
	s.Sensitive = items(value)
	return nil
}

// items are those of a list with commas.
func items(list string) (all []string) {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

func tool(name string) func(*Settings, string, string) error {
	return func(s *Settings, _, value string) error {
		on, err := strconv.ParseBool(value)
		if err == nil && !on {
			s.Disabled = append(s.Disabled, name)
		}
		return noBool(value, err)
	}
}

func noBool(value string, err error) error {
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	return nil
}

func text(at func(*Settings) *string) func(*Settings, string, string) error {
	return func(s *Settings, _, value string) error {
		*at(s) = value
		return nil
	}
}

func boolean(at func(*Settings) *bool) func(*Settings, string, string) error {
	return func(s *Settings, _, value string) error {
		b, err := strconv.ParseBool(value)
		if err == nil {
			*at(s) = b
		}
		return noBool(value, err)
	}
}

func duration(at func(*Settings) *time.Duration) func(*Settings, string, string) error {
	return func(s *Settings, _, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is no duration, such as 120s", value)
		}
		*at(s) = d
		return nil
	}
}

// document reads a setting that is YAML of its own.
func document(at func(*Settings) any) func(*Settings, string, string) error {
	return func(s *Settings, where, value string) error {
		return s.unmarshal(where, value, at(s))
	}
}

// unmarshal reads YAML. What is unknown in it is a problem, as it has no effect.
func (s *Settings) unmarshal(where, value string, into any) error {
	strict := yaml.UnmarshalStrict([]byte(value), into)
	if strict == nil {
		return nil
	}
	if err := yaml.Unmarshal([]byte(value), into); err != nil {
		return fmt.Errorf("it can't be read: %s", inOneLine(err))
	}
	s.problem(where, "it has no effect: %s", inOneLine(strict))
	return nil
}

func inOneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// A filter is which kinds are left out, or left in. An empty list stands for
// all.
type filter struct {
	groups, kinds, clusters []func(string) bool
}

// A writtenFilter is a filter as it is written.
type writtenFilter struct {
	APIGroups []string `json:"apiGroups"`
	Kinds     []string `json:"kinds"`
	Clusters  []string `json:"clusters"`
}

func filters(at func(*Settings) *[]filter) func(*Settings, string, string) error {
	return func(s *Settings, where, value string) error {
		var written []writtenFilter
		if err := s.unmarshal(where, value, &written); err != nil {
			return err
		}
		for i, w := range written {
			f, err := w.compile()
			if err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
			*at(s) = append(*at(s), f)
		}
		return nil
	}
}

func (w writtenFilter) compile() (f filter, err error) {
	read := func(globs []string) (all []func(string) bool) {
		for _, text := range globs {
			g, bad := glob.Compile(text)
			if bad != nil {
				err = fmt.Errorf("%q is no glob", text)
				continue
			}
			all = append(all, g.Match)
		}
		return all
	}
	f.groups, f.clusters = read(w.APIGroups), read(w.Clusters)
	for _, kind := range w.Kinds { // of which * is the only glob
		f.kinds = append(f.kinds, func(s string) bool { return kind == "*" || kind == s })
	}
	return f, err
}

func oneOf(match []func(string) bool, s string) bool {
	return len(match) == 0 || slices.ContainsFunc(match, func(m func(string) bool) bool { return m(s) })
}

// always are the kinds that Argo CD never looks at.
var always = []filter{
	{groups: []func(string) bool{is("events.k8s.io"), is("metrics.k8s.io")}},
	{groups: []func(string) bool{is("")}, kinds: []func(string) bool{is("Event")}},
	{groups: []func(string) bool{is("coordination.k8s.io")}, kinds: []func(string) bool{is("Lease")}},
}

func is(want string) func(string) bool { return func(s string) bool { return s == want } }

// Excluded reports whether objects of a kind on a cluster, by its server, are
// left out by resource.exclusions and resource.inclusions.
func (s *Settings) Excluded(group, kind, server string) bool {
	matches := func(f filter) bool {
		return oneOf(f.groups, group) && oneOf(f.kinds, kind) && oneOf(f.clusters, server)
	}
	switch {
	case slices.ContainsFunc(always, matches), slices.ContainsFunc(s.exclusions, matches):
		return true
	case slices.ContainsFunc(s.inclusions, matches):
		return false
	}
	return slices.ContainsFunc(s.inclusions, func(f filter) bool { return oneOf(f.clusters, server) })
}

// ExcludedWarning is what a condition says of an object that is left out.
func ExcludedWarning(group, kind, name string) string {
	return fmt.Sprintf("Resource %s/%s %s is excluded in the settings", group, kind, name)
}
