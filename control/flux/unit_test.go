package flux

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/control/view"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
	"plumb.dev/plumb/object/ignore"
	"plumb.dev/plumb/object/owned"
	"plumb.dev/plumb/render"
	"plumb.dev/plumb/render/kustomize"
	"plumb.dev/plumb/watch/health"
)

// data are Secrets and ConfigMaps, by how messages call them.
type data map[string]map[string]string

func (d data) Get(ref lookup.Ref) (map[string][]byte, bool, error) {
	values, found := d[ref.String()]
	if why := values["error"]; why != "" {
		return nil, false, map[string]error{
			"unread":  &fault.Error{Next: fault.Wait, Reason: fault.Progressing, Err: fmt.Errorf("%s has not been read yet", ref)},
			"offline": fmt.Errorf("read %s: %w", ref, view.ErrOffline),
			"refused": &fault.Error{Next: fault.Retry, Err: fmt.Errorf("read %s: forbidden", ref)},
		}[why]
	}
	out := map[string][]byte{}
	for k, v := range values {
		out[k] = []byte(v)
	}
	return out, found, nil
}

func TestAPlainKustomizationIsAUnit(t *testing.T) {
	got := Options{}.unit(read(t, plainSpec), data{})
	want := engine.Unit{
		Name: "Kustomization/shop/web", UID: "uid-1", Namespace: "shop", Digest: "2 uid-1",
		Sources: []string{"GitRepository/shop/src"}, Renders: []engine.Rendering{{Options: render.Options{Builder: kustomize.Options{Generate: true, AllowRemoteBases: true}}}},
		Interval: time.Minute, RetryInterval: time.Minute, Objects: objects{},
		Managers: owned.Managers{Self: "kustomize-controller", Undo: []string{"kubectl", "before-first-apply"}},
		Order:    apply.Order{Needed: sourceKinds}, Prune: engine.Prune{Protected: []string{""}},
		Health: engine.Health{Timeout: 30 * time.Second},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(objects{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Every field of a Kustomization that this version honours is in its unit.
func TestEveryFieldOfAKustomizationIsInItsUnit(t *testing.T) {
	o := Options{
		NoRemoteBases: true, StrictSubstitution: true, OverrideManagers: []string{"helm"}, CustomStageKinds: []string{"A"}, ApplyFluxComponents: true, OwnNamespace: "plumb",
	}
	got := o.unit(read(t, `
metadata:
  generation: 7
  annotations: {plumb.dev/allow-empty: "True", plumb.dev/approve-prune: main@sha1:9}
spec:
  interval: 10m
  retryInterval: 20s
  timeout: 3m
  path: ./apps
  prune: true
  force: true
  wait: true
  suspend: true
  targetNamespace: elsewhere
  namePrefix: a-
  nameSuffix: -z
  serviceAccountName: deployer
  sourceRef: {kind: GitRepository, name: src, namespace: infra}
  commonMetadata: {labels: {l: "1"}, annotations: {a: "2"}}
  components: [../c]
  ignoreMissingComponents: true
  buildMetadata: [originAnnotations]
  images: [{name: img, newName: m, newTag: t, digest: d}]
  patches:
  - patch: p1
    target: {group: g, version: v, kind: k, name: obj, namespace: ns, labelSelector: ls, annotationSelector: as}
  - patch: p2
  patchesStrategicMerge: [{kind: A}]
  patchesJson6902: [{target: {kind: B}, patch: [{op: remove, path: /x}]}]
  validation: client
  ignore:
  - paths: [/spec/replicas, /spec/paused]
    target: {group: g, version: v, kind: k, name: obj, namespace: ns, labelSelector: ls, annotationSelector: as}
  - paths: [/data/x]
  healthChecks:
  - {kind: Deployment, name: a}
  - {apiVersion: v1, kind: Service, name: b, namespace: infra}
  healthCheckExprs: [{apiVersion: x.example/v1, kind: X, current: "status.ok == true", failed: "status.bad"}]
  postBuild: {substituteStrategy: Always, substitute: {k: v}}
status:
  lastAppliedRevision: main@sha1:1
  lastAttemptedRevision: main@sha1:2
  observedGeneration: 6
  conditions: [{type: Ready, status: "False", reason: PruneHeld, message: too much, observedGeneration: 7, lastTransitionTime: "2026-01-01T00:00:00Z"}]
  inventory: {entries: [{id: shop_a__ConfigMap, v: v1}]}
  history:
  - {digest: d2, lastReconciledStatus: PruneHeld, metadata: {revision: main@sha1:2}, firstReconciled: "2026-01-01T00:00:00Z", lastReconciled: "2026-01-01T00:00:00Z", lastReconciledDuration: 1s}
  - {digest: d1, lastReconciledStatus: ReconciliationSucceeded, metadata: {revision: main@sha1:1}, firstReconciled: "2026-01-01T00:00:00Z", lastReconciled: "2026-01-01T00:00:00Z", lastReconciledDuration: 1s}
`), data{})
	judge, err := health.Compile(health.Exprs{Current: "status.ok == true", Failed: "status.bad"})
	if err != nil {
		t.Fatal(err)
	}
	want := engine.Unit{
		Name: "Kustomization/shop/web", UID: "uid-1", Namespace: "shop", Digest: "7 uid-1", Suspended: true,
		Sources: []string{"GitRepository/infra/src"},
		Renders: []engine.Rendering{{Options: render.Options{
			Path: "./apps", Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "2"},
			Builder: kustomize.Options{
				Generate: true, Namespace: "elsewhere", NamePrefix: "a-", NameSuffix: "-z", Components: []string{"../c"}, IgnoreMissingComponents: true,
				BuildMetadata: []string{"originAnnotations"}, Images: []kustomize.Image{{Name: "img", NewName: "m", NewTag: "t", Digest: "d"}},
				Patches: []kustomize.Patch{
					{Patch: "p1", Target: &kustomize.Selector{Group: "g", Version: "v", Kind: "k", Name: "obj", Namespace: "ns", LabelSelector: "ls", AnnotationSelector: "as"}},
					{Patch: "p2"}, {Patch: "kind: A\n"}, {Patch: `[{"op":"remove","path":"/x"}]`, Target: &kustomize.Selector{Kind: "B"}},
				},
			},
			Substitute: &render.Substitution{Vars: map[string]string{"k": "v"}, Always: true, Strict: true, DisabledKey: "kustomize.toolkit.fluxcd.io/substitute"},
		}}},
		Interval: 10 * time.Minute, RetryInterval: 20 * time.Second, Objects: objects{applyComponents: true}, Force: true,
		Target:   engine.Target{User: "system:serviceaccount:shop:deployer"},
		Managers: owned.Managers{Self: "kustomize-controller", Undo: []string{"kubectl", "before-first-apply", "helm"}},
		Ignores: []ignore.Rule{
			{From: "spec.ignore[0]", Group: "g", Version: "v", Kind: "k", Name: "obj", Namespace: "ns", Labels: "ls", Annotations: "as", Pointers: []string{"/spec/replicas", "/spec/paused"}, Apply: true},
			{From: "spec.ignore[1]", Pointers: []string{"/data/x"}, Apply: true},
		},
		Order: apply.Order{Stage: []string{"A"}, Needed: sourceKinds},
		Prune: engine.Prune{Enabled: true, AllowEmpty: true, Approved: "main@sha1:9", Held: true, Protected: []string{"plumb"}},
		Health: engine.Health{
			Wait: true, Timeout: 3 * time.Minute,
			Checks: []engine.Check{
				{Ref: object.Ref{Group: "apps", Kind: "Deployment", Name: "a"}, Version: "v1"}, {Ref: object.Ref{Kind: "Service", Namespace: "infra", Name: "b"}, Version: "v1"},
			},
			Judges: health.Rules{{Group: "x.example", Kind: "X", Judge: judge}},
		},
		Remembers: []apply.Entry{{Ref: configMap("a"), Version: "v1"}}, Applied: "main@sha1:1", AppliedDigest: "d1",
		Was: engine.Standing{Digest: "7 uid-1", Ready: "False", Reason: "PruneHeld", Message: "too much", Attempted: "main@sha1:2"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(objects{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b health.Judge) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// What another version of plumb would honour, or nobody, is refused by name.
func TestWhyAKustomizationIsRefused(t *testing.T) {
	long := strings.Repeat("n", 254)
	many := func(n int, one string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(one+", ", n), ", ") + "]"
	}
	stall := func(reason fault.Reason, why string) *fault.Error {
		return &fault.Error{Next: fault.Stall, Reason: reason, Err: errors.New(why)}
	}
	tenant, plain := Options{NoCrossNamespaceRefs: true}, Options{}
	for name, c := range map[string]struct {
		o    Options
		spec string // more of it
		want *fault.Error
	}{
		"decryption":         {plain, "decryption: {provider: sops}", stall("UnsupportedField", "spec.decryption: ")},
		"an ignored field":   {plain, "ignore: [{paths: [/x]}, {paths: [spec.x]}]", stall("InvalidSpec", `spec.ignore[1]: "spec.x": a JSON pointer begins with /`)},
		"ignored objects":    {plain, "ignore: [{paths: [/x], target: {name: '('}}]", stall("InvalidSpec", "spec.ignore[0]: \"(\": the name: ")},
		"another's artifact": {plain, "sourceRef: {kind: ExternalArtifact, name: src}", stall("UnsupportedField", "spec.sourceRef.kind: this version of plumb has no sources of kind ExternalArtifact")},
		"no source":          {plain, "sourceRef: {kind: GitRepository, name: ''}", stall("InvalidSpec", `spec.sourceRef: "" is no name of an object: it is empty`)},
		"a source by a path": {plain, "sourceRef: {kind: GitRepository, name: a/b}", stall("InvalidSpec", `spec.sourceRef: "a/b" is no name of an object: `)},
		"a source in no namespace": {
			plain, "sourceRef: {kind: GitRepository, name: a, namespace: A/..}", stall("InvalidSpec", `spec.sourceRef: "A/.." is no name of a namespace: `),
		},
		"a source elsewhere": {
			tenant, "sourceRef: {kind: GitRepository, name: a, namespace: infra}", stall("AccessDenied", "CrossNamespaceDenied: spec.sourceRef: can't access GitRepository/infra/a from namespace shop"),
		},
		"a dependency elsewhere": {
			tenant, "dependsOn: [{name: a}, {name: b, namespace: infra}]", stall("AccessDenied", "CrossNamespaceDenied: spec.dependsOn: can't access Kustomization/infra/b from namespace shop"),
		},
		"a dependency by a path":    {plain, "dependsOn: [{name: a}, {name: ../b}]", stall("InvalidSpec", `spec.dependsOn: "../b" is no name of an object: `)},
		"a dependency in no place":  {plain, "dependsOn: [{name: a, namespace: _}]", stall("InvalidSpec", `spec.dependsOn: "_" is no name of a namespace: `)},
		"a dependency that is dots": {plain, "dependsOn: [{name: ..}]", stall("InvalidSpec", `spec.dependsOn: ".." is no name of an object: `)},
		"a name that is too long":   {plain, "dependsOn: [{name: " + long + "}]", stall("InvalidSpec", `spec.dependsOn: "`+long+`" is no name of an object: it is too long`)},
		"values by a path":          {plain, "postBuild: {substituteFrom: [{kind: Secret, name: a%2fb}]}", stall("InvalidSpec", `spec.postBuild.substituteFrom: "a%2fb" is no name of an object: `)},
		"values of no name":         {plain, "postBuild: {substituteFrom: [{kind: Secret, name: '', optional: true}]}", stall("InvalidSpec", `spec.postBuild.substituteFrom: "" is no name of an object: `)},
		"an account elsewhere":      {plain, "serviceAccountName: infra:deployer", stall("AccessDenied", `CrossNamespaceDenied: spec.serviceAccountName "infra:deployer" is not the name of a service account in namespace shop`)},
		"an account by a path":      {plain, "serviceAccountName: infra/deployer", stall("AccessDenied", `CrossNamespaceDenied: spec.serviceAccountName "infra/deployer" is not`)},
		"an account that is none":   {plain, "serviceAccountName: '%'", stall("InvalidSpec", `spec.serviceAccountName: "%" is no name of an object: `)},
		"a cluster from a ConfigMap": {
			plain, "kubeConfig: {configMapRef: {name: a}}", stall("UnsupportedField", "spec.kubeConfig.configMapRef: "),
		},
		"a cluster from nothing": {plain, "kubeConfig: {}", stall("InvalidSpec", "spec.kubeConfig names no Secret")},
		"a cluster by a path":    {plain, "kubeConfig: {secretRef: {name: a/b}}", stall("InvalidSpec", `spec.kubeConfig: "a/b" is no name of an object: `)},
		"a check of no kind":     {plain, "healthChecks: [{name: a, kind: ''}]", stall("InvalidSpec", `spec.healthChecks: "a" has no kind`)},
		"a check of no version":  {plain, "healthChecks: [{apiVersion: a/b/c, name: a, kind: B}]", stall("InvalidSpec", "spec.healthChecks: unexpected GroupVersion string: a/b/c")},
		"a check by a path":      {plain, "healthChecks: [{name: a/b, kind: B}]", stall("InvalidSpec", `spec.healthChecks: "a/b" is no name of an object: `)},
		"a check elsewhere": {
			tenant, "healthChecks: [{name: a, kind: Deployment, namespace: infra}]", stall("AccessDenied", "CrossNamespaceDenied: spec.healthChecks: can't access Deployment/infra/a from namespace shop"),
		},
		"too many checks":          {plain, "healthChecks: " + many(101, "{kind: A, name: a}"), stall("InvalidSpec", "spec.healthChecks: 101 objects, which is more than the 100 that one Kustomization may check; use spec.wait")},
		"too many expressions":     {plain, "healthCheckExprs: " + many(51, `{apiVersion: v1, kind: A, current: "true"}`), stall("InvalidSpec", "spec.healthCheckExprs: 51 of them, which is more than 50")},
		"an expression of nothing": {plain, `healthCheckExprs: [{apiVersion: a/b/c, kind: A, current: "true"}]`, stall("InvalidSpec", "spec.healthCheckExprs: unexpected GroupVersion string: a/b/c")},
		"an expression that is none": {
			plain, `healthCheckExprs: [{apiVersion: v1, kind: A, current: "status.("}]`, stall("InvalidCELExpression", "spec.healthCheckExprs"),
		},
		"what can be read in the same namespace": {tenant, "dependsOn: [{name: a, namespace: shop}]\n  healthChecks: [{name: a, kind: Deployment, namespace: shop}]", nil},
		"as many as may be":                      {plain, "healthChecks: " + many(100, "{kind: A, name: a}") + "\n  healthCheckExprs: " + many(50, `{apiVersion: v1, kind: A, current: "true"}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			source := "sourceRef: {kind: GitRepository, name: src}\n  "
			if strings.HasPrefix(c.spec, "sourceRef") {
				source = ""
			}
			u := c.o.unit(read(t, "spec:\n  interval: 1m\n  "+source+c.spec+"\n"+stoodReady), data{})
			if len(u.Remembers) != 1 || u.Name != "Kustomization/shop/web" || u.Applied != "main@sha1:1" {
				t.Errorf("what it has applied is not known: %+v", u)
			}
			if c.want == nil {
				if u.Refused != nil {
					t.Error(u.Refused)
				}
				return
			}
			f := fault.Of(u.Refused)
			if u.Refused == nil || f.Next != c.want.Next || f.Reason != c.want.Reason || !strings.HasPrefix(u.Refused.Error(), c.want.Err.Error()) {
				t.Errorf("%s %s: %v", f.Next, f.Reason, u.Refused)
			}
		})
	}
}

const kubeconfig = `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://far.example:6443"}}], users: [{name: u, user: {token: t}}]}`

// Where a unit is, and as whom it acts there. Where that is not known it is
// nowhere, and not here.
func TestWhereAUnitIs(t *testing.T) {
	const user = "system:serviceaccount:shop:"
	unsafe := strings.Replace(kubeconfig, "https:", "http:", 1)
	for name, c := range map[string]struct {
		account string // the default one
		spec    string
		secrets data
		user    string
		host    string // empty: here; or Nowhere
		err     string
		next    fault.Next
	}{
		"here, as plumb":                {"", "", nil, "", "", "", 0},
		"here, as an account":           {"", "serviceAccountName: a", nil, user + "a", "", "", 0},
		"here, as the default":          {"d", "", nil, user + "d", "", "", 0},
		"here, as an account after all": {"d", "serviceAccountName: a", nil, user + "a", "", "", 0},
		"there":                         {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"value": kubeconfig}}, "", "https://far.example:6443", "", 0},
		"there, by another key":         {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"value": "", "value.yaml": kubeconfig}}, "", "https://far.example:6443", "", 0},
		"there, by a key that is named": {"", "kubeConfig: {secretRef: {name: kc, key: k}}", data{"Secret/shop/kc": {"value": unsafe, "k": kubeconfig}}, "", "https://far.example:6443", "", 0},
		"there, not as the default of here": {
			"d", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"value": kubeconfig}}, "", "https://far.example:6443", "", 0,
		},
		"there, as an account": {
			"d", "kubeConfig: {secretRef: {name: kc}}\n  serviceAccountName: a", data{"Secret/shop/kc": {"value": kubeconfig}}, user + "a", "https://far.example:6443", "", 0,
		},
		"a Secret that is not there": {"", "kubeConfig: {secretRef: {name: kc}}", nil, "", engine.Nowhere, "spec.kubeConfig: Secret/shop/kc does not exist (create it)", fault.Wait},
		"one that has no such key": {
			"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"kubeconfig": kubeconfig}}, "", engine.Nowhere, "spec.kubeConfig: Secret/shop/kc has no key value or value.yaml (create it)", fault.Wait,
		},
		"one without the key that is named": {
			"", "kubeConfig: {secretRef: {name: kc, key: k}}", data{"Secret/shop/kc": {"value": kubeconfig, "k": ""}}, "", engine.Nowhere, "spec.kubeConfig: Secret/shop/kc has no key k (create it)", fault.Wait,
		},
		"one that was not read yet":    {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"error": "unread"}}, "", engine.Nowhere, "Secret/shop/kc has not been read yet", fault.Wait},
		"one that can't be read":       {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"error": "refused"}}, "", engine.Nowhere, "read Secret/shop/kc: forbidden", fault.Retry},
		"a kubeconfig that is none":    {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"value": "{token: s3cret"}}, "", engine.Nowhere, "spec.kubeConfig: Secret/shop/kc: the kubeconfig can't be read", fault.Stall},
		"one that may not be followed": {"", "kubeConfig: {secretRef: {name: kc}}", data{"Secret/shop/kc": {"value": unsafe}}, "", engine.Nowhere, "spec.kubeConfig: Secret/shop/kc: the kubeconfig has a server without TLS", fault.Stall},
	} {
		t.Run(name, func(t *testing.T) {
			u := Options{DefaultServiceAccount: c.account}.unit(read(t, "spec:\n  interval: 1m\n  sourceRef: {kind: GitRepository, name: src}\n  "+c.spec+"\n"), c.secrets)
			if c.err != "" {
				if f := fault.Of(u.Refused); u.Refused == nil || !strings.HasPrefix(u.Refused.Error(), c.err) || f.Next != c.next || strings.Contains(u.Refused.Error(), "s3cret") {
					t.Errorf("%s: %v", f.Next, u.Refused)
				}
				if !u.Target.Invalid || u.Target.Config != nil || u.Target.Cluster != engine.Nowhere {
					t.Errorf("it is at %+v", u.Target)
				}
				return
			}
			if u.Refused != nil || u.Target.Invalid || u.Target.User != c.user {
				t.Errorf("as %q, %v", u.Target.User, u.Refused)
			}
			if (u.Target.Cluster == "") != (c.host == "") || (u.Target.Config == nil) != (c.host == "") || c.host != "" && u.Target.Config.Host != c.host {
				t.Errorf("it is at %+v", u.Target)
			}
		})
	}
}

// An account that may not be is no reason to act as plumb.
func TestWithoutAValidAccountNothingIsDone(t *testing.T) {
	for _, spec := range []string{"serviceAccountName: a/b", "serviceAccountName: a:b", "serviceAccountName: ..", "serviceAccountName: " + strings.Repeat("a", 300)} {
		u := Options{}.unit(read(t, "spec:\n  interval: 1m\n  sourceRef: {kind: GitRepository, name: src}\n  "+spec), data{})
		if !u.Target.Invalid || u.Refused == nil || u.Target.User != "" || u.Target.Cluster != "" {
			t.Errorf("%s: %+v, %v", spec, u.Target, u.Refused)
		}
	}
}

// Without a cluster to ask, what is rendered does not depend on where it goes.
func TestOfflineAUnitIsHere(t *testing.T) {
	u := Options{}.unit(read(t, "spec: {interval: 1m, kubeConfig: {secretRef: {name: kc}}, sourceRef: {kind: GitRepository, name: src}, postBuild: {substituteFrom: [{kind: Secret, name: s, optional: true}]}}"),
		data{"Secret/shop/kc": {"error": "offline"}, "Secret/shop/s": {"error": "offline"}})
	if u.Refused != nil || u.Target.Invalid || len(u.Renders) != 1 {
		t.Errorf("%+v, %v", u.Target, u.Refused)
	}
	u = Options{}.unit(read(t, "spec: {interval: 1m, sourceRef: {kind: GitRepository, name: src}, postBuild: {substituteFrom: [{kind: Secret, name: s}]}}"), data{"Secret/shop/s": {"error": "offline"}})
	if !errors.Is(u.Refused, view.ErrOffline) {
		t.Errorf("what is rendered without its values is %v", u.Refused)
	}
}

// Later values take the place of earlier ones, and those of the spec of all; a
// value is secret if it is the one of a Secret.
func TestWhereTheValuesOfASubstitutionComeFrom(t *testing.T) {
	at := data{
		"ConfigMap/shop/c": {"a": "c", "b": "c", "n": "1"}, "Secret/shop/s": {"b": "s", "d": "s", "e": "s"}, "ConfigMap/shop/late": {"d": "late"},
		"ConfigMap/shop/unread": {"error": "unread"}, "Secret/shop/refused": {"error": "refused"},
		"Secret/other/x": {"a": "of another namespace"},
	}
	for name, c := range map[string]struct {
		postBuild string
		vars      map[string]string
		secret    []string
		err       string
		next      fault.Next
		reason    fault.Reason
	}{
		"none": {"{}", map[string]string{}, nil, "", 0, ""},
		"all": {
			"{substituteFrom: [{kind: ConfigMap, name: c}, {kind: Secret, name: s}, {kind: ConfigMap, name: late}], substitute: {e: spec, f: spec}}",
			map[string]string{"a": "c", "b": "s", "d": "late", "e": "spec", "f": "spec", "n": "1"}, []string{"b"}, "", 0, "",
		},
		"the other way round": {
			"{substituteFrom: [{kind: Secret, name: s}, {kind: ConfigMap, name: c}]}",
			map[string]string{"a": "c", "b": "c", "d": "s", "e": "s", "n": "1"}, []string{"d", "e"}, "", 0, "",
		},
		"one that may be missing": {"{substituteFrom: [{kind: Secret, name: x, optional: true}, {kind: ConfigMap, name: late}]}", map[string]string{"d": "late"}, nil, "", 0, ""},
		"one that may not": {
			"{substituteFrom: [{kind: Secret, name: x}]}", nil, nil, "spec.postBuild.substituteFrom: Secret/shop/x does not exist (create it, or mark it optional)", fault.Wait, fault.BuildFailed,
		},
		"the right name of another kind": {"{substituteFrom: [{kind: ConfigMap, name: s}]}", nil, nil, "spec.postBuild.substituteFrom: ConfigMap/shop/s does not exist", fault.Wait, fault.BuildFailed},
		"one that was not read yet":      {"{substituteFrom: [{kind: ConfigMap, name: unread, optional: true}]}", nil, nil, "ConfigMap/shop/unread has not been read yet", fault.Wait, fault.Progressing},
		"one that can't be read":         {"{substituteFrom: [{kind: Secret, name: refused, optional: true}]}", nil, nil, "read Secret/shop/refused: forbidden", fault.Retry, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u := Options{}.unit(read(t, "spec: {interval: 1m, sourceRef: {kind: GitRepository, name: src}, postBuild: "+c.postBuild+"}"), at)
			if c.err != "" {
				if f := fault.Of(u.Refused); u.Refused == nil || !strings.HasPrefix(u.Refused.Error(), c.err) || f.Next != c.next || f.Reason != c.reason {
					t.Errorf("%v", u.Refused)
				}
				return
			}
			if u.Refused != nil {
				t.Fatal(u.Refused)
			}
			s := u.Renders[0].Substitute
			if diff := cmp.Diff(c.vars, s.Vars); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(c.secret, s.Secret); diff != "" {
				t.Errorf("what is secret: -want +got:\n%s", diff)
			}
		})
	}
}

// What the status says of a unit counts for the spec that it was said of.
func TestWhatAStatusSaysOfAUnit(t *testing.T) {
	condition := func(more string) string {
		return "status: {observedGeneration: 2, lastAttemptedRevision: r, conditions: [{type: Ready, reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\", " + more + "}]}"
	}
	for name, c := range map[string]struct {
		status string
		want   engine.Standing
	}{
		"nothing":                          {"", engine.Standing{}},
		"nothing of whether it is ready":   {"status: {observedGeneration: 2, conditions: [{type: Stalled, status: \"True\", reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}", engine.Standing{}},
		"it is ready":                      {condition(`status: "True", observedGeneration: 2`), engine.Standing{Digest: "2 uid-1", Ready: "True", Reason: "R", Message: "m", Attempted: "r"}},
		"it was, at an earlier spec":       {condition(`status: "True", observedGeneration: 1`), engine.Standing{Ready: "True", Reason: "R", Message: "m", Attempted: "r"}},
		"one that says not of which":       {condition(`status: "False"`), engine.Standing{Digest: "2 uid-1", Ready: "False", Reason: "R", Message: "m", Attempted: "r"}},
		"one that is not known":            {condition(`status: Unknown, observedGeneration: 2`), engine.Standing{Digest: "2 uid-1", Ready: "Unknown", Reason: "R", Message: "m", Attempted: "r"}},
		"a later spec than there is":       {condition(`status: "True", observedGeneration: 3`), engine.Standing{Ready: "True", Reason: "R", Message: "m", Attempted: "r"}},
		"neither says of which spec it is": {"status: {conditions: [{type: Ready, status: \"True\", reason: R, message: m, lastTransitionTime: \"2026-01-01T00:00:00Z\"}]}", engine.Standing{Ready: "True", Reason: "R", Message: "m"}},
	} {
		if diff := cmp.Diff(c.want, standingOf(read(t, plainSpec+c.status))); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

// By its digest it is known what was applied last, if that is the revision that
// the status says.
func TestTheDigestOfWhatWasAppliedLast(t *testing.T) {
	run := func(digest, result, revision string) string {
		return fmt.Sprintf("{digest: %s, lastReconciledStatus: %s, metadata: {revision: %s}, firstReconciled: \"2026-01-01T00:00:00Z\", lastReconciled: \"2026-01-01T00:00:00Z\", lastReconciledDuration: 1s}", digest, result, revision)
	}
	const ok = "ReconciliationSucceeded"
	for name, c := range map[string]struct {
		history []string
		want    string
	}{
		"none":                               {nil, ""},
		"the latest":                         {[]string{run("d1", ok, "r1")}, "d1"},
		"before one that failed":             {[]string{run("d2", "BuildFailed", "r2"), run("d1", ok, "r1")}, "d1"},
		"another one was applied since":      {[]string{run("d2", ok, "r2"), run("d1", ok, "r1")}, ""},
		"it failed only":                     {[]string{run("d1", "BuildFailed", "r1")}, ""},
		"one of which nothing more is known": {[]string{"{digest: d1, lastReconciledStatus: " + ok + ", firstReconciled: \"2026-01-01T00:00:00Z\", lastReconciled: \"2026-01-01T00:00:00Z\", lastReconciledDuration: 1s}"}, ""},
	} {
		k := read(t, plainSpec+"status: {lastAppliedRevision: r1, history: ["+strings.Join(c.history, ", ")+"]}")
		if got := appliedDigest(&k.Status); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// How an object says that it is to be treated.
func TestWhatAnObjectSaysOfItself(t *testing.T) {
	ignored, kept := apply.Policy{Mode: apply.Ignore, Keep: true}, apply.Policy{Keep: true}
	for name, c := range map[string]struct {
		metadata string
		want     apply.Policy
	}{
		"nothing":                     {"{}", apply.Policy{}},
		"it is not reconciled":        {"{annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}", ignored},
		"whatever the case":           {"{annotations: {kustomize.toolkit.fluxcd.io/reconcile: Disabled}}", ignored},
		"by a label":                  {"{labels: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}", ignored},
		"it is reconciled":            {"{annotations: {kustomize.toolkit.fluxcd.io/reconcile: enabled}}", apply.Policy{}},
		"it is ignored":               {"{annotations: {kustomize.toolkit.fluxcd.io/ssa: Ignore}}", ignored},
		"it is only created":          {"{annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}", apply.Policy{Mode: apply.IfNotPresent}},
		"it is merged":                {"{annotations: {kustomize.toolkit.fluxcd.io/ssa: merge}}", apply.Policy{Mode: apply.Merge}},
		"a way that there is not":     {"{annotations: {kustomize.toolkit.fluxcd.io/ssa: Else}}", apply.Policy{}},
		"first of all it is disabled": {"{annotations: {kustomize.toolkit.fluxcd.io/ssa: Merge, kustomize.toolkit.fluxcd.io/reconcile: disabled}}", ignored},
		"it is recreated":             {"{annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}", apply.Policy{Force: true}},
		"it is not pruned":            {"{labels: {kustomize.toolkit.fluxcd.io/prune: disabled}}", kept},
		"it may be pruned after all":  {"{annotations: {plumb.dev/prune-protected: allowed}}", apply.Policy{PruneProtected: true}},
		"which no label says":         {"{labels: {plumb.dev/prune-protected: allowed}}", apply.Policy{}},
		"a label that is a number":    {"{labels: {kustomize.toolkit.fluxcd.io/prune: 7, a: b}, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}", kept},
		"annotations of no map":       {"{annotations: x, labels: {kustomize.toolkit.fluxcd.io/prune: disabled}}", kept},
	} {
		if got := policyOf(parsed(t, "{kind: A, metadata: "+c.metadata+"}")); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// An object may say of itself what does not count of it, and that is not applied
// either, as with spec.ignore.
func TestWhatDoesNotCountOfAnObject(t *testing.T) {
	o := parsed(t, `{kind: A, metadata: {annotations: {plumb.dev/ignore-differences: "jsonPointers: [/spec/x]"}}}`)
	want := &ignore.Own{Rules: []ignore.Rule{{From: "annotation plumb.dev/ignore-differences", Pointers: []string{"/spec/x"}, Apply: true}}}
	if diff := cmp.Diff(want, policyOf(o).Ignores); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Whose an object is, is what its marks say, and they say it of every unit.
func TestTheMarksOfAnObject(t *testing.T) {
	u := engine.Unit{Name: "Kustomization/shop/web"}
	marks := objects{}.Marks(u)(object.Ref{}).Labels
	if diff := cmp.Diff(map[string]string{"kustomize.toolkit.fluxcd.io/name": "web", "kustomize.toolkit.fluxcd.io/namespace": "shop"}, marks); diff != "" {
		t.Error(diff)
	}
	o := parsed(t, "{kind: A}")
	if owner := (objects{}).Owner(o); owner != "" {
		t.Errorf("what has no marks is %s's", owner)
	}
	o.SetLabels(marks)
	if owner := (objects{}).Owner(o); owner != u.Name {
		t.Errorf("it is %q's", owner)
	}
	if _, ok := marks[objects{}.Selector()]; !ok {
		t.Error("it is not watched by its marks")
	}
	for _, labels := range []string{"{kustomize.toolkit.fluxcd.io/namespace: shop}", "{kustomize.toolkit.fluxcd.io/name: 7}", "7"} {
		if owner := (objects{}).Owner(parsed(t, "{kind: A, metadata: {labels: "+labels+"}}")); owner != "" {
			t.Errorf("%s is %s's", labels, owner)
		}
	}
}
