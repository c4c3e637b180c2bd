package settings

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/fault"
)

// secret is one of Argo CD's namespace.
func secret(kind, name string, data ...string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: name, Labels: map[string]string{secretType: kind}},
		Data:       map[string][]byte{},
	}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: name}, Data: map[string]string{}}
	for i := 0; i < len(data); i += 2 {
		m.Data[data[i]] = data[i+1]
	}
	return m
}

// read reads settings from Secrets and ConfigMaps.
func read(objects ...any) *Settings {
	o := Objects{Namespace: "argocd"}
	for _, one := range objects {
		switch one := one.(type) {
		case *corev1.Secret:
			o.Secrets = append(o.Secrets, one)
		case *corev1.ConfigMap:
			o.ConfigMaps = append(o.ConfigMaps, one)
		case cluster.KubeconfigPolicy:
			o.Policy = one
		}
	}
	return Read(o)
}

// problems are what settings say that is wrong, a line each.
func (s *Settings) problems() string {
	var b strings.Builder
	for _, p := range s.Problems {
		b.WriteString(p.Error() + "\n")
	}
	return b.String()
}

func TestWithoutASettingThereIsADefault(t *testing.T) {
	s := read()
	want := &Settings{
		Namespace: "argocd", Tracking: ByAnnotation, InstanceLabel: "app.kubernetes.io/instance",
		Reconciliation: 2 * time.Minute, Jitter: time.Minute, Enforced: true,
		Compare: CompareOptions{IgnoreDifferencesOnResourceUpdates: true}, ValuesFileSchemes: []string{"https", "http"},
	}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreUnexported(Settings{}), cmpopts.IgnoreFields(Settings{}, "Digest")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !s.AppliesTo("argocd") || s.AppliesTo("default") {
		t.Error("Applications count elsewhere")
	}
}

// The digest is that of what all Applications go by.
func TestTheDigestOfSettings(t *testing.T) {
	none := read().Digest
	for name, c := range map[string]struct {
		object any
		other  bool
	}{
		"a way to track":       {configMap("argocd-cm", "application.resourceTrackingMethod", "label"), true},
		"a rule for health":    {configMap("argocd-cm", "resource.customizations.health.apps_Deployment", "return {}"), true},
		"other namespaces":     {configMap("argocd-cmd-params-cm", "application.namespaces", "team-*"), true},
		"a server's own":       {configMap("argocd-cm", "url", "https://argo.example", "accounts.ada", "login"), false},
		"a process's own":      {configMap("argocd-cmd-params-cm", "server.insecure", "true"), false},
		"a repository":         {secret("repository", "r", "url", "https://git.example.com/r"), false},
		"what is not honoured": {configMap("argocd-cm", "kustomize.buildOptions", "--x"), false},
	} {
		if got := read(c.object).Digest; got == "" || (got != none) != c.other {
			t.Errorf("%s: another digest: %v, want %v", name, got != none, c.other)
		}
	}
}

func TestSettingsAreRead(t *testing.T) {
	s := read(configMap("argocd-cm",
		"application.resourceTrackingMethod", "annotation+label", "application.instanceLabelKey", "mycompany.com/appname", "installationID", "my-id",
		"timeout.reconciliation", "180s", "timeout.reconciliation.jitter", "0s", "timeout.hard.reconciliation", "1h",
		"application.sync.impersonation.enabled", "true", "application.sync.impersonation.enforced", "false",
		"kustomize.enable", "false", "helm.enable", "true", "resource.sensitive.mask.annotations", "token, example.com/Key", "helm.valuesFileSchemes", "https, S3",
		"globalProjects", "- projectName: all\n  labelSelector:\n    matchExpressions:\n    - {key: opt, operator: In, values: [prod]}\n",
		"resource.compareoptions", "ignoreAggregatedRoles: true\nignoreResourceStatusField: off\n",
		"url", "https://argo.example", "accounts.alice", "apiKey", "dex.config", "x", "ui.bannercontent", "hi", "extension.config", "x", "extension.config.a", "y",
	), configMap("argocd-cmd-params-cm", "application.namespaces", "team-*, /^prod-(?!x)/ ,", "controller.sync.timeout.seconds", "90", "server.insecure", "true"))
	want := &Settings{
		Namespace: "argocd", Tracking: ByAnnotationAndLabel, InstanceLabel: "mycompany.com/appname", InstallationID: "my-id",
		Reconciliation: 3 * time.Minute, HardReconciliation: time.Hour, SyncTimeout: 90 * time.Second, Impersonate: true,
		Compare:           CompareOptions{IgnoreAggregatedRoles: true, IgnoreResourceStatusField: "none", IgnoreDifferencesOnResourceUpdates: true},
		ValuesFileSchemes: []string{"https", "s3"}, Disabled: []string{"kustomize"}, Sensitive: []string{"token", "example.com/Key"}, Globals: s.Globals,
	}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreUnexported(Settings{}), cmpopts.IgnoreFields(Settings{}, "Digest")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(s.Globals) != 1 || s.Globals[0].ProjectName != "all" || s.Globals[0].LabelSelector.MatchExpressions[0].Key != "opt" {
		t.Errorf("%+v", s.Globals)
	}
	for ns, want := range map[string]bool{"argocd": true, "team-a": true, "prod-a": true, "prod-x": false, "default": false} {
		if s.AppliesTo(ns) != want {
			t.Errorf("Applications of %s count: %v", ns, !want)
		}
	}
}

func TestWhatASettingWithoutWhichNothingIsSureRefuses(t *testing.T) {
	for key, value := range map[string]string{
		"application.resourceTrackingMethod": "anotation", "application.sync.impersonation.enabled": "yes please", "application.sync.impersonation.enforced": "?",
		"cluster.inClusterEnabled": "no!", "globalProjects": "- [", "resource.exclusions": "- apiGroups: ['[']", "resource.inclusions": "x: y",
		"kustomize.enable": "maybe", "resource.customizations.ignoreDifferences.apps_Deployment": "jsonPointers: 5",
		"resource.customizations.ignoreDifferences.a_b_c": "jsonPointers: []", "resource.customizations": "a: [",
	} {
		s := read(configMap("argocd-cm", key, value))
		if f := fault.Of(s.Refused); s.Refused == nil || f.Next != fault.Wait || f.Reason != fault.InvalidSpec || !strings.Contains(s.Refused.Error(), "ConfigMap argocd-cm: key "+key) {
			t.Errorf("%s: %v", key, s.Refused)
		}
	}
	two := read(configMap("argocd-cm", "kustomize.enable", "maybe", "globalProjects", "- ["))
	if text := fmt.Sprint(two.Refused); strings.Contains(text, "\n") || !strings.Contains(text, "globalProjects") || !strings.Contains(text, "kustomize.enable") {
		t.Errorf("%s", text)
	}
	s := read(configMap("argocd-cm", "resource.customizations", "apps/Deployment:\n  ignoreDifferences: |\n    jsonPointers: x\n"))
	if s.Refused == nil || !strings.Contains(s.Refused.Error(), "resource.customizations: apps/Deployment: ignoreDifferences") {
		t.Errorf("%v", s.Refused)
	}
}

func TestWhatIsNotHonouredIsNamed(t *testing.T) {
	s := read(configMap("argocd-cm",
		"timeout.reconciliation", "3 minutes", "timeout.hard.reconciliation", "-1s", "application.instanceLabel", "x", "kustomize.buildOptions", "--enable-helm",
		"resource.customizations", "/:\n  ignoreDifferences: 'jsonPointers: [/spec]'\n", "resource.customizations.ignoreDifferences._", "jsonPointers: [/spec]",
		"kustomize.version.v3.5.1", "/x", "resource.customizations.health.a_b_c", "x", "resource.customizations.helth.apps_Deployment", "x",
		"resource.customizations.useOpenLibs.apps_Deployment", "si", "resource.compareoptions", "ignoreResourceStatusField: some",
		"resource.customizations.ignoreDifferences.apps_Deployment", "jsonPointer: [/a]\njsonPointers: [/b]\n",
		"globalProjects", "- projectName: a\n  labelSelecter: {}\n",
	), configMap("argocd-cmd-params-cm", "application.namespaces", "[,a", "controller.sync.timeout.seconds", "soon"))
	if s.Refused != nil {
		t.Errorf("%v", s.Refused)
	}
	for _, want := range []string{
		`key resource.customizations: "/": it names no kind`, "key resource.customizations.ignoreDifferences._: it names no kind",
		`key timeout.reconciliation: "3 minutes" is no duration`, "key timeout.hard.reconciliation:", "key application.instanceLabel: it is not known",
		"key kustomize.buildOptions: this version of plumb does not honour it", "key kustomize.version.v3.5.1: this version of plumb has one version of Kustomize",
		`key resource.customizations.health.a_b_c: "a_b_c" is neither GROUP_KIND nor KIND`, "key resource.customizations.helth.apps_Deployment: it is not known",
		`key resource.customizations.useOpenLibs.apps_Deployment: "si" is neither true nor false`, "key resource.compareoptions: ",
		"key resource.customizations.ignoreDifferences.apps_Deployment: it has no effect", "jsonPointer", "key globalProjects: it has no effect",
		`ConfigMap argocd-cmd-params-cm: key application.namespaces: "[" is no glob`, `key controller.sync.timeout.seconds: "soon" is no number`,
	} {
		if !strings.Contains(s.problems(), want) {
			t.Errorf("nothing says %q:\n%s", want, s.problems())
		}
	}
	if strings.Count(s.problems(), "\n") != len(s.Problems) {
		t.Errorf("not a line each:\n%s", s.problems())
	}
	if !slices.IsSortedFunc(s.Problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) {
		t.Errorf("in no order:\n%s", s.problems())
	}
	if s.Reconciliation != 2*time.Minute || len(s.Customizations) != 1 || s.Customizations[0].IgnoreDifferences.JSONPointers[0] != "/b" || !s.AppliesTo("a") {
		t.Errorf("%+v", s)
	}
}

func TestCustomizations(t *testing.T) {
	s := read(configMap("argocd-cm",
		"resource.customizations", `
apps/Deployment:
  health.lua: old
  ignoreDifferences: |
    jsonPointers: [/old]
    managedFieldsManagers: [old]
"*.crossplane.io/*":
  health.lua: any
  health.lua.useOpenLibs: true
  actions: |
    x: y
Secret:
  ignoreDifferences: "jqPathExpressions: [.data]"
x.example/Pool:
  knownTypeFields: [{field: spec.template, type: core/v1/PodSpec}]
`,
		"resource.customizations.health.apps_Deployment", "new",
		"resource.customizations.ignoreDifferences.apps_Deployment", "jqPathExpressions: ['.spec.replicas']",
		"resource.customizations.ignoreDifferences.all", "managedFieldsManagers: [kube-controller-manager]\njsonPointers: [/spec/replicas]\n",
		"resource.customizations.health.Certificate", "core",
		"resource.customizations.useOpenLibs.Certificate", "true",
		"resource.customizations.ignoreResourceUpdates.all", "x", "resource.customizations.actions.apps_Deployment", "x",
	))
	want := []Customization{
		{Kind: "Certificate", Health: "core", UseOpenLibs: true},
		{Kind: "Secret", IgnoreDifferences: Ignored{JQPathExpressions: []string{".data"}}},
		{Group: "apps", Kind: "Deployment", Health: "new", IgnoreDifferences: Ignored{JQPathExpressions: []string{".spec.replicas"}}},
		{Group: "x.example", Kind: "Pool", KnownTypeFields: []KnownTypeField{{"spec.template", "core/v1/PodSpec"}}},
		{Group: "*", Kind: "*", IgnoreDifferences: Ignored{ManagedFieldsManagers: []string{"kube-controller-manager"}, JSONPointers: []string{"/spec/replicas"}}},
		{Group: "*.crossplane.io", Kind: "*", Health: "any", UseOpenLibs: true},
	}
	if diff := cmp.Diff(want, s.Customizations); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s.Refused != nil || len(s.Problems) > 0 {
		t.Errorf("%v, %v", s.Refused, s.Problems)
	}
}

func TestExclusions(t *testing.T) {
	exclude := "- {apiGroups: ['*.stash.com'], kinds: [Snapshot], clusters: ['*.local']}\n- {kinds: [Widget]}\n"
	include := "- {apiGroups: [apps], kinds: ['*'], clusters: ['https://b']}\n"
	s := read(configMap("argocd-cm", "resource.exclusions", exclude, "resource.inclusions", include))
	for _, c := range []struct {
		group, kind, server string
		want                bool
	}{
		{"", "ConfigMap", "https://a", false}, {"events.k8s.io", "Event", "https://a", true}, {"", "Event", "https://a", true},
		{"coordination.k8s.io", "Lease", "https://a", true}, {"metrics.k8s.io", "PodMetrics", "https://a", true},
		{"x.stash.com", "Snapshot", "https://a.local", true}, {"x.stash.com", "Snapshot", "https://a", false}, {"x.stash.com", "Other", "https://a.local", false},
		{"any", "Widget", "https://a", true}, {"apps", "Deployment", "https://b", false}, {"", "ConfigMap", "https://b", true}, {"apps", "Widget", "https://b", true},
	} {
		if got := s.Excluded(c.group, c.kind, c.server); got != c.want {
			t.Errorf("%s/%s on %s is excluded: %v", c.group, c.kind, c.server, got)
		}
	}
	if got := ExcludedWarning("apps", "Deployment", "guestbook-ui"); got != "Resource apps/Deployment guestbook-ui is excluded in the settings" {
		t.Error(got)
	}
}

func TestTheScopeOfAProject(t *testing.T) {
	s := read(
		secret("repository", "a", "url", "https://host/a", "project", "shop"), secret("repository", "b", "url", "https://host/b"), secret("repository", "c", "url", "https://host/c", "project", "other"),
		secret("cluster", "k", "server", "https://k:6443/", "name", "k", "project", "shop", "namespaces", "web, db,"), secret("cluster", "l", "server", "https://l", "name", "l"),
		configMap("argocd-cm", "globalProjects", "- {projectName: all, labelSelector: {}}\n- {projectName: gone, labelSelector: {}}\n"),
	)
	shop := &argocd.AppProject{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	in, bad := s.Scope(shop, func(name string) *argocd.AppProject {
		return map[string]*argocd.AppProject{"all": {ObjectMeta: metav1.ObjectMeta{Name: "all"}}}[name]
	})
	want := project.Scope{
		Namespace: "argocd", Globals: []*argocd.AppProject{{ObjectMeta: metav1.ObjectMeta{Name: "all"}}}, Repositories: []string{"https://host/a"},
		Clusters: []project.Cluster{{Server: "https://k:6443", Name: "k", Namespaces: []string{"web", "db"}}},
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(bad) != 1 || !strings.Contains(bad[0].Error(), `no AppProject "gone"`) {
		t.Errorf("%v", bad)
	}
}

func TestObjectsOfOtherNamespacesAreNone(t *testing.T) {
	foreign, other := secret("cluster", "x", "server", "https://x", "name", "x"), configMap("argocd-cm", "installationID", "x")
	foreign.Namespace, other.Namespace = "tenant", "tenant"
	s := read(foreign, other, secret("repository-write", "w", "url", "https://w"), secret("", "n", "url", "https://n"))
	if s.InstallationID != "" || len(s.clusters)+len(s.repositories)+len(s.templates) > 0 {
		t.Errorf("%+v", s)
	}
}

// Whatever is wrong, no value of a Secret is told.
func TestNoSecretIsTold(t *testing.T) {
	const canary = "c4n4ry"
	values := []string{canary, `{"bearerToken": "` + canary + `"`, `{"bearerToken": ` + "12345678901" + `}`, `{"username": "` + canary + `", "bearerToken": "` + canary + `"}`,
		`{"tlsClientConfig": {"keyData": "` + canary + `"}}`, `{"tlsClientConfig": {"caData": "YzRuNHJ5"}}`, `{"execProviderConfig": {"command": "` + canary + `", "args": ["` + canary + `"]}}`,
		`{"proxyUrl": "http://u:` + canary + `@proxy"}`, `{"` + "bearerTokenFile" + `": "` + canary + `"}`, `{"tlsClientConfig": "` + canary + `"}`, `["` + canary + `"]`,
		`{"awsAuthConfig": {"roleARN": "` + canary + `"}}`, "https://u:" + canary + "@host/../x", "https://u:" + canary + "@host",
	}
	var objects []any
	for i, v := range values {
		name := fmt.Sprintf("s%02d", i)
		objects = append(objects, secret("cluster", name+"c", "server", fmt.Sprintf("https://h%d", i), "name", name, "config", v))
		if strings.HasPrefix(v, "https://") {
			objects = append(objects, secret("cluster", name+"e", "server", v, "name", name, "config", v), secret("repo-creds", name+"u", "url", v, "password", v))
		}
		for key := range templateKeys {
			if key != "url" && key != "project" {
				objects = append(objects, secret("repository", name+strings.ToLower(key), "url", fmt.Sprintf("https://host/%d/%s", i, key), key, v))
			}
		}
	}
	s := read(objects...)
	told := []string{s.problems(), fmt.Sprintf("%v %+v %#v", s, s, s)}
	for i, c := range s.clusters {
		if _, err := s.Cluster(c.Server, "", ""); err != nil {
			told = append(told, err.Error())
		}
		told = append(told, fmt.Sprintf("%v %+v %#v", c, c, &s.clusters[i]))
	}
	for _, r := range s.repositories {
		m, err := s.Remote(r.url, "")
		told = append(told, fmt.Sprint(err), fmt.Sprintf("%v %+v %#v", m, m, m), fmt.Sprintf("%v %+v %#v", r, r, &r))
	}
	for _, text := range told {
		for _, word := range []string{canary, "12345678901", "YzRuNHJ5"} {
			if at := strings.Index(text, word); at >= 0 {
				t.Fatalf("it tells %s", text[max(0, at-200):min(len(text), at+50)])
			}
		}
	}
	if len(told) < 100 {
		t.Errorf("only %d things were told", len(told))
	}
}
