package argocd_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	pt "plumb.dev/plumb/internal/plumbtest"
)

// project applies an AppProject, which goes with the test.
func (w *world) project(t *testing.T, name, spec string) {
	t.Helper()
	w.Apply(t, fmt.Sprintf("{apiVersion: argoproj.io/v1alpha1, kind: AppProject, metadata: {name: %s, namespace: argocd}, spec: %s}", name, spec))
	w.leaves(t, "appprojects.argoproj.io/"+name)
}

// secret applies a Secret of Argo CD's.
func (w *world) secret(t *testing.T, kind, name string, data map[string]string) {
	t.Helper()
	encoded := map[string][]byte{} // of stringData, keys that go would stay
	for key, value := range data {
		encoded[key] = []byte(value)
	}
	text, err := json.Marshal(encoded)
	if err != nil {
		t.Fatal(err)
	}
	w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: %s, namespace: argocd, labels: {argocd.argoproj.io/secret-type: %s}}, data: %s}", name, kind, text))
	w.leaves(t, "secret/"+name)
}

// leaves has something go with the test.
func (w *world) leaves(t *testing.T, what string) {
	t.Cleanup(func() {
		if _, err := w.Kubectl(context.WithoutCancel(t.Context()), "", "-n", "argocd", "delete", "--wait=false", "--ignore-not-found", what); err != nil {
			t.Log(err)
		}
	})
}

// of applies an Application of a project, both called as its namespace.
func (w *world) of(t *testing.T, ns string, r *gittest.Repository, spec ...string) string {
	t.Helper()
	return w.member(t, ns, ns, ns, r, spec...)
}

// setting sets argocd-cm, which goes with the test.
func (w *world) setting(t *testing.T, data string) {
	t.Helper()
	w.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: argocd-cm, namespace: argocd, labels: {app.kubernetes.io/part-of: argocd}}, data: "+data+"}")
	w.leaves(t, "configmap/argocd-cm")
}

const anything = "sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}]"

// What a project refuses is not done, and what it refuses from now on is left as
// it is; what it allows then is done at once.
func projects(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "1")})
	app := w.of(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}")
	w.condition(t, app, api.ConditionInvalidSpecError, "Application referencing project "+ns+" which does not exist")
	// One address is written in several ways.
	same := strings.Replace(strings.TrimSuffix(r.URL(), ".git"), "http://", "HTTP://", 1)
	allowed := fmt.Sprintf("{sourceRepos: [%q], destinations: [{name: in-cluster, namespace: %s}]}", same, ns)
	for spec, want := range map[string]string{
		"{sourceRepos: ['https://other.example.com/*'], destinations: [{server: '*', namespace: '*'}]}": "application repo " + r.URL() + " is not permitted in project '" + ns + "'",
		"{sourceRepos: ['*'], destinations: [{server: '*', namespace: other}]}":                         "and namespace '" + ns + "' do not match any of the allowed destinations in project '" + ns + "'",
		"{sourceRepos: ['*'], destinationz: []}":                                                        "destinationz",
	} {
		w.project(t, ns, spec)
		w.condition(t, app, api.ConditionInvalidSpecError, want)
	}
	w.project(t, ns, allowed)
	a := w.is(t, app, "Synced Healthy", "")
	if len(a.Status.Conditions) != 0 {
		t.Errorf("it says %+v", a.Status.Conditions)
	}
	// Nothing is put back where the project does not allow it any more.
	w.project(t, ns, "{sourceRepos: ['*'], destinations: [{server: '*', namespace: other}]}")
	w.condition(t, app, api.ConditionInvalidSpecError, "do not match any of the allowed destinations")
	w.EditConfigMap(t, ns, "c", "theirs")
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")})
	w.patch(t, app, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":"normal"}}}`)
	w.await(t, app, func(a *api.Application) string {
		if a.Annotations["argocd.argoproj.io/refresh"] != "" {
			return "it is not refreshed"
		}
		return ""
	})
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "theirs"))
	w.project(t, ns, allowed)
	w.is(t, app, "Synced Healthy", next)
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "2"))
}

// A kind that a project denies fails the operation before anything is written,
// also if it is a hook's.
func deniedKinds(t *testing.T, w *world) {
	for _, denied := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {argocd.argoproj.io/hook: PreSync}}\n",
	} {
		ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/s.yaml": denied})
		w.project(t, ns, "{"+anything+", namespaceResourceBlacklist: [{group: '', kind: Secret}]}")
		app := w.of(t, ns, r)
		const want = "resource :Secret is not permitted in project "
		if !strings.Contains(denied, "hook") {
			w.condition(t, app, api.ConditionSyncError, want+ns)
		}
		w.patch(t, app, syncNow)
		a := w.done(t, app, api.PhaseFailed)
		if m := a.Status.OperationState.Message; !strings.Contains(m, want+ns) {
			t.Errorf("it says %s", m)
		}
		w.absent(t, "v1/Secret", ns, "s")
		w.absent(t, configMap, ns, "c")
		w.project(t, ns, "{"+anything+"}")
		w.patch(t, app, syncNow)
		w.done(t, app, api.PhaseSucceeded)
		w.Await(t, configMap, ns, "c", pt.Has("metadata.name", "c"))
	}
	// What is there and as desired may be denied afterwards: it is not known to be
	// right, and nothing is done for it, nor to it.
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"})
	w.project(t, ns, "{"+anything+"}")
	app := w.of(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	w.project(t, ns, "{"+anything+", namespaceResourceBlacklist: [{group: '', kind: Secret}]}")
	w.await(t, app, func(a *api.Application) string {
		for _, x := range a.Status.Resources {
			if x.Kind == "Secret" && x.Status == api.Unknown {
				return ""
			}
		}
		return "the Secret is known"
	})
	w.condition(t, app, api.ConditionSyncError, "resource :Secret is not permitted in project "+ns)
	if a := w.is(t, app, "Synced Healthy", ""); a.Operation != nil || a.Status.OperationState.Phase != api.PhaseSucceeded {
		t.Errorf("%+v", a.Status.OperationState)
	}
	w.Await(t, "v1/Secret", ns, "s", pt.Has("metadata.name", "s"))
	w.patch(t, app, syncNow)
	w.done(t, app, api.PhaseFailed)
	w.Await(t, "v1/Secret", ns, "s", pt.Has("metadata.name", "s"))
	// In a project no kind without a namespace is allowed unless it says so.
	ns, r = w.start(t, map[string]string{"app/n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: not-to-be}\n"})
	w.project(t, ns, "{"+anything+"}")
	app = w.of(t, ns, r, automated)
	w.condition(t, app, api.ConditionSyncError, "resource :Namespace is not permitted in project "+ns)
	w.absent(t, "v1/Namespace", "", "not-to-be")
}

// While a window is closed nothing is synced and nothing put back; what somebody
// asks for waits, and says so.
func windows(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "1")})
	closed := "{" + anything + ", syncWindows: [{kind: deny, schedule: '* * * * *', duration: 2h, applications: ['*']%s}]}"
	w.project(t, ns, fmt.Sprintf(closed, ""))
	app := w.of(t, ns, r, "syncPolicy: {automated: {selfHeal: true}}")
	w.condition(t, app, api.ConditionSyncWindow, "Sync operation blocked by sync window: spec.syncWindows[0]")
	w.absent(t, configMap, ns, "c")
	w.patch(t, app, syncNow)
	w.await(t, app, func(a *api.Application) string {
		if s := a.Status.OperationState; a.Operation == nil || s == nil || s.Phase != api.PhaseRunning || !strings.Contains(s.Message, "blocked by sync window") {
			return "it does not wait"
		}
		return ""
	})
	w.absent(t, configMap, ns, "c")
	// People may, if the window says so.
	w.project(t, ns, fmt.Sprintf(closed, ", manualSync: true"))
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", "")
	w.EditConfigMap(t, ns, "c", "theirs")
	w.is(t, app, "OutOfSync Healthy", "")
	// And when it is over, all is as it is without.
	w.project(t, ns, "{"+anything+"}")
	w.is(t, app, "Synced Healthy", "")
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "1"))
	w.project(t, ns, fmt.Sprintf(closed, ""))
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")})
	w.is(t, app, "OutOfSync Healthy", next)
	w.project(t, ns, "{"+anything+", syncWindows: [{kind: allow, schedule: '* * * * *', duration: 2h, namespaces: ["+ns+"]}]}")
	w.is(t, app, "Synced Healthy", next)
	// A window is in the time of its zone, and says when it is over.
	zone, err := time.LoadLocation("Pacific/Kiritimati")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().Add(-30 * time.Minute).In(zone).Truncate(time.Minute)
	w.project(t, ns, fmt.Sprintf("{%s, syncWindows: [{kind: deny, schedule: '%d %d * * *', duration: 2h, timeZone: %s, applications: ['*']}]}", anything, from.Minute(), from.Hour(), zone))
	w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "3")})
	w.condition(t, app, api.ConditionSyncWindow, "it opens at "+from.Add(2*time.Hour).UTC().Format(time.RFC3339))
	w.Await(t, configMap, ns, "c", pt.Has("data.k", "2"))
}

// A private repository is asked with what a Secret holds, of it or of those that
// begin as it does.
func privateRepository(t *testing.T, w *world) {
	ns := w.Namespace(t)
	s := gittest.New(t)
	s.RequireBasic("ada", "open sesame")
	r := s.Repo(t, ns)
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")}, "start")
	app := w.app(t, ns, r, automated)
	w.condition(t, app, api.ConditionComparisonError, "Failed to load target state")
	w.secret(t, "repository", ns, map[string]string{"url": r.URL(), "type": "git", "username": "ada", "password": "open sesame", "project": "another"})
	w.secret(t, "repo-creds", ns+"-all", map[string]string{"url": s.URL(), "username": "ada", "password": "wrong"})
	w.condition(t, app, api.ConditionComparisonError, "Failed to load target state")
	// What a Secret has that plumb can't use is named, and nothing of what it holds.
	w.secret(t, "repo-creds", ns+"-all", map[string]string{"url": s.URL(), "githubAppPrivateKey": "open sesame"})
	w.condition(t, app, api.ConditionInvalidSpecError, "Secret "+ns+"-all: this version of plumb does not support the key githubAppPrivateKey")
	w.secret(t, "repo-creds", ns+"-all", map[string]string{"url": s.URL(), "username": "ada", "password": "open sesame"})
	a := w.is(t, app, "Synced Healthy", "")
	// A new password counts at once, and nothing is rendered or applied anew.
	s.RequireBasic("ada", "another")
	w.secret(t, "repo-creds", ns+"-all", map[string]string{"url": s.URL(), "username": "ada", "password": "another"})
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")})
	b := w.is(t, app, "Synced Healthy", next)
	if len(b.Status.History) != len(a.Status.History)+1 {
		t.Errorf("history %+v", b.Status.History)
	}
	if strings.Contains(w.kubectl(t, "-n", "argocd", "get", "app", app, "-o", "yaml"), "sesame") || strings.Contains(w.Plumb.Log(), "sesame") {
		t.Error("a password is told")
	}
}

// That a server is the right one is known from ConfigMaps.
func provenServers(t *testing.T, w *world) {
	ns := w.Namespace(t)
	s := gittest.NewTLS(t, nil)
	r := s.Repo(t, ns)
	r.Commit(t, map[string]string{"app/c.yaml": pt.ConfigMap("c")}, "start")
	app := w.app(t, ns, r, automated)
	tell := func(name, key string, value []byte) {
		t.Helper()
		text, err := json.Marshal(map[string]string{key: string(value)})
		if err != nil {
			t.Fatal(err)
		}
		w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s, namespace: argocd}, data: %s}", name, text))
		w.leaves(t, "configmap/"+name)
	}
	w.condition(t, app, api.ConditionComparisonError, "certificate")
	tell("argocd-tls-certs-cm", "127.0.0.1", s.CA())
	w.is(t, app, "Synced Healthy", "")

	signer, key := gittest.NewKey(t, "")
	over := s.SSH(t, gittest.SSHOptions{Accept: signer.PublicKey()})
	w.secret(t, "repository", ns, map[string]string{"url": over.URL(r), "sshPrivateKey": string(key)})
	w.patch(t, app, fmt.Sprintf(`{"spec":{"source":{"repoURL":%q}}}`, over.URL(r)))
	w.condition(t, app, api.ConditionComparisonError, "no known hosts were given")
	tell("argocd-ssh-known-hosts-cm", "ssh_known_hosts", over.KnownHosts())
	w.is(t, app, "Synced Healthy", "")
}

// A second cluster is known by a Secret, by its name, and by its server.
func secondCluster(t *testing.T, w *world) {
	far := kubetest.Private(t, "--api-only")
	far.CRDs(t)
	there := far.Namespace(t)
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "1")})
	c := far.Config
	b64 := base64.StdEncoding.EncodeToString
	config, err := json.Marshal(map[string]any{
		"bearerToken":     c.BearerToken,
		"tlsClientConfig": map[string]any{"caData": b64(c.CAData), "certData": b64(c.CertData), "keyData": b64(c.KeyData)},
	})
	if err != nil {
		t.Fatal(err)
	}
	app := w.app(t, ns, r)
	w.patch(t, app, fmt.Sprintf(`{"spec":{"syncPolicy":{"automated":{}},"destination":{"server":null,"name":"far","namespace":%q}}}`, there))
	w.condition(t, app, api.ConditionInvalidSpecError, "there are no clusters with this name: far")
	server := c.Host + "?user=far" // by which one account there is told from others
	w.secret(t, "cluster", ns, map[string]string{"name": "far", "server": server, "config": string(config)})
	w.is(t, app, "Synced Healthy", "")
	is := func(want string) {
		t.Helper()
		kubetest.Eventually(t, pt.Patience, func() error {
			out, err := far.Kubectl(t.Context(), "", "-n", there, "get", "configmap", "c", "--ignore-not-found", "-o", "jsonpath={.data.k}")
			if err != nil || out != want {
				return fmt.Errorf("it is %q, want %q: %w", out, want, err)
			}
			return nil
		})
	}
	uid := func() string {
		t.Helper()
		out, err := far.Kubectl(t.Context(), "", "-n", there, "get", "configmap", "c", "-o", "jsonpath={.metadata.uid}")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	is("1")
	// The same by its server, of a project that allows nothing else.
	w.project(t, ns, fmt.Sprintf("{sourceRepos: ['*'], destinations: [{name: far, namespace: %s}]}", there))
	w.patch(t, app, fmt.Sprintf(`{"spec":{"project":%q,"destination":{"server":%q,"name":null}}}`, ns, server))
	w.is(t, app, "Synced Healthy", "")
	w.is(t, app, "Synced Healthy", w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")}))
	is("2")
	// Here nothing was written.
	if _, err := w.Object(t.Context(), configMap, there, "c"); !apierrors.IsNotFound(err) {
		t.Errorf("it is on the other cluster, too: %v", err)
	}
	// One that does not answer is told of, and nobody else notices.
	near := w.named(t, ns+"-near", ns, r, automated)
	w.is(t, near, "Synced Healthy", "")
	before := uid()
	far.Signal(t, "kube-apiserver", syscall.SIGSTOP)
	stopped := true
	t.Cleanup(func() {
		if stopped {
			far.Signal(t, "kube-apiserver", syscall.SIGCONT)
		}
	})
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "3")})
	w.is(t, near, "Synced Healthy", next)
	w.is(t, app, "Unknown Unknown", "")
	far.Signal(t, "kube-apiserver", syscall.SIGCONT)
	stopped = false
	w.is(t, app, "Synced Healthy", next)
	is("3")
	if after := uid(); after != before {
		t.Errorf("it was object %s, and is %s", before, after)
	}
	// A Secret that goes leaves all as it is there, also of an Application that goes.
	// (There is nobody on that cluster who would end a deletion in the foreground.)
	w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io/background"]}}`)
	w.kubectl(t, "-n", "argocd", "delete", "secret", ns)
	w.condition(t, app, api.ConditionInvalidSpecError, "add a Secret of that cluster")
	w.is(t, app, "Unknown Unknown", "")
	is("3")
	w.kubectl(t, "-n", "argocd", "delete", "--wait=false", "applications.argoproj.io/"+app)
	w.condition(t, app, api.ConditionDeletionError, "add a Secret of that cluster")
	is("3")
	w.secret(t, "cluster", ns, map[string]string{"name": "far", "server": server, "config": string(config)})
	is("")
}

// Settings of all Applications, by argocd-cm.
func settings(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/d.yaml": webDeployment,
		"app/w.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: judged}\ndata: {phase: bad}\n",
	})
	app := w.app(t, ns, r, automated)
	w.is(t, app, "Synced Healthy", "")
	w.setting(t, `{resource.customizations.health.ConfigMap: "return {status = obj.data ~= nil and obj.data.phase == 'bad' and 'Degraded' or 'Healthy', message = 'by a rule'}",
	     resource.customizations.ignoreDifferences.apps_Deployment: "{jsonPointers: [/spec/replicas]}"}`)
	w.is(t, app, "Synced Degraded", "")
	w.Commit(t, r, map[string]string{"app/w.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: judged}\ndata: {phase: good}\n"})
	w.is(t, app, "Synced Healthy", r.Head(t, "main"))
	w.kubectl(t, "-n", ns, "patch", "deployment", "guestbook-ui", "--type=merge", "-p", `{"spec":{"replicas":2}}`)
	w.Await(t, deployment, ns, "guestbook-ui", pt.Has("status.replicas", int64(2)))
	w.is(t, app, "Synced Healthy", "")
	w.setting(t, `{resource.customizations.health.ConfigMap: "return nonsense("}`)
	w.condition(t, app, api.ConditionComparisonError, "error setting app health: ")
	w.setting(t, `{resource.customizations.health.ConfigMap: "while true do end"}`)
	w.condition(t, app, api.ConditionComparisonError, "it works for longer than 1s on one object")
	w.setting(t, `{resource.customizations.ignoreDifferences.apps_Deployment: "{jsonPointers: 7}"}`)
	w.condition(t, app, api.ConditionInvalidSpecError, "resource.customizations.ignoreDifferences.apps_Deployment")
	w.kubectl(t, "-n", "argocd", "delete", "configmap", "argocd-cm")
	w.is(t, app, "OutOfSync Healthy", "") // somebody has changed replicas
}

// A start knows what surrounds Applications before it does anything.
func knownAtAStart(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "1")})
	w.project(t, ns, "{"+anything+"}")
	app := w.of(t, ns, r, automated)
	a := w.is(t, app, "Synced Healthy", "")
	w.Plumb.Kill(9)
	w.Plumb.Start()
	next := w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c", "k", "2")})
	b := w.is(t, app, "Synced Healthy", next)
	if !b.Status.Health.LastTransitionTime.Equal(a.Status.Health.LastTransitionTime) {
		t.Errorf("it was healthy since %s, and is since %s", a.Status.Health.LastTransitionTime, b.Status.Health.LastTransitionTime)
	}
}

// orphaned: what is in the namespace and nobody's is told by whose project asks,
// as it comes and goes.
func orphaned(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/d.yaml": webDeployment, "app/s.yaml": webService, "app/c.yaml": pt.ConfigMap("c"), "other/c.yaml": pt.ConfigMap("others"), "unit/c.yaml": pt.ConfigMap("units"),
	})
	w.project(t, ns, "{"+anything+", orphanedResources: {warn: true}}")
	app := w.of(t, ns, r, automated)
	w.named(t, ns+"-other", ns, r, "source: {repoURL: "+r.URL()+", path: other}", automated)
	w.Source(t, ns, "src", r)
	w.Unit(t, ns, "u", "src", "./unit")
	w.is(t, app, "Synced Healthy", "")
	w.is(t, ns+"-other", "Synced Healthy", "")
	w.Await(t, configMap, ns, "units", nil)
	none := func() {
		t.Helper()
		w.await(t, app, func(a *api.Application) string {
			if len(a.Status.Conditions) > 0 {
				return "it has conditions"
			}
			return ""
		})
	}
	warns := func(n int) {
		t.Helper()
		w.await(t, app, func(a *api.Application) string {
			if c := a.Status.Conditions; len(c) != 1 || c[0].Type != api.ConditionOrphanedResource || c[0].Message != fmt.Sprintf("Application has %d orphaned resources", n) {
				return fmt.Sprintf("it does not warn of %d", n)
			}
			return ""
		})
	}
	// Its source and its Kustomization are the only ones that nobody has.
	warns(2)
	w.project(t, ns, "{"+anything+", orphanedResources: {warn: true, ignore: [{group: '*.toolkit.fluxcd.io'}]}}")
	none()
	w.quiet(t, app)

	w.kubectl(t, "-n", ns, "create", "configmap", "stray")
	warns(1)
	w.kubectl(t, "-n", ns, "create", "deployment", "stray", "--image=example.com/stray:v1")
	warns(4) // with what it owns
	w.kubectl(t, "-n", ns, "delete", "deployment", "stray")
	warns(1)
	w.quiet(t, app)
	w.Plumb.Kill(9)
	w.Plumb.Start()
	warns(1)
	for _, ignored := range []string{"{group: Test, kind: ConfigMap}", "{kind: ConfigMap, name: other*}"} {
		w.project(t, ns, "{"+anything+", orphanedResources: {warn: true, ignore: [{group: '*.toolkit.fluxcd.io'}, "+ignored+"]}}")
		warns(1)
	}
	w.project(t, ns, "{"+anything+", orphanedResources: {warn: true, ignore: [{group: '*.toolkit.fluxcd.io'}, {kind: ConfigMap, name: stray}]}}")
	none()
	w.project(t, ns, "{"+anything+", orphanedResources: {warn: false}}")
	none()
	w.project(t, ns, "{"+anything+", orphanedResources: {warn: true, ignore: [{group: '*.toolkit.fluxcd.io'}]}}")
	warns(1)

	// What an Application leaves behind is nobody's from then on.
	w.kubectl(t, "-n", "argocd", "delete", "app", ns+"-other")
	w.kubectl(t, "-n", "argocd", "annotate", "app", app, "argocd.argoproj.io/refresh=normal")
	warns(2)
	w.project(t, ns, "{"+anything+"}")
	none()
}

// A global project counts in all whose labels match, and an Application of
// another namespace needs its project's leave.
func globalProjects(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"})
	w.project(t, ns, "{"+anything+"}")
	w.kubectl(t, "-n", "argocd", "label", "appprojects.argoproj.io/"+ns, "team="+ns)
	w.project(t, ns+"-all", "{namespaceResourceBlacklist: [{group: '', kind: Secret}]}")
	w.setting(t, fmt.Sprintf(`{globalProjects: "[{projectName: %[1]s-all, labelSelector: {matchLabels: {team: %[1]s}}}]"}`, ns))
	app := w.of(t, ns, r, automated)
	w.condition(t, app, api.ConditionSyncError, "of the global project "+ns+"-all")
	w.absent(t, configMap, ns, "c")
	w.kubectl(t, "-n", "argocd", "label", "appprojects.argoproj.io/"+ns, "team-")
	w.patch(t, app, syncNow)
	w.is(t, app, "Synced Healthy", "")

	elsewhere := w.Namespace(t)
	w.Apply(t, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: argocd-cmd-params-cm, namespace: argocd}, data: {application.namespaces: %s}}", elsewhere))
	w.leaves(t, "configmap/argocd-cmd-params-cm")
	w.Apply(t, fmt.Sprintf(`
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: far, namespace: %[1]s}
spec: {project: %[2]s, source: {repoURL: %[3]q, path: app}, destination: {name: in-cluster, namespace: %[1]s}, %[4]s}
`, elsewhere, ns, r.URL(), automated))
	says := func(path, want string) {
		t.Helper()
		kubetest.Eventually(t, pt.Patience, func() error {
			out, err := w.Kubectl(t.Context(), "", "-n", elsewhere, "get", "applications.argoproj.io", "far", "-o", "jsonpath="+path)
			if err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("it says %q, want %q: %w", out, want, err)
			}
			return nil
		})
	}
	says("{.status.conditions[?(@.type=='InvalidSpecError')].message}", "application 'far' in namespace '"+elsewhere+"' is not permitted to use project '"+ns+"'")
	w.project(t, ns, "{"+anything+", sourceNamespaces: ["+elsewhere+"]}")
	says("{.status.sync.status}", api.Synced)
	w.Await(t, configMap, elsewhere, "c", func(u *unstructured.Unstructured) error {
		if id := u.GetAnnotations()["argocd.argoproj.io/tracking-id"]; id != elsewhere+"_far:/ConfigMap:"+elsewhere+"/c" {
			return fmt.Errorf("it is tracked as %s", id)
		}
		return nil
	})
}

// With a service account of its own, an Application has the rights of that one,
// for everything that is done.
func impersonated(t *testing.T, w *world) {
	ns, r := w.start(t, map[string]string{
		"app/c.yaml":      pt.ConfigMap("c") + "---\n" + pt.ConfigMap("later"),
		"app/before.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: before, annotations: {argocd.argoproj.io/hook: PreSync}}\n",
	})
	w.setting(t, `{application.sync.impersonation.enabled: "true"}`)
	w.project(t, ns, "{"+anything+"}")
	app := w.of(t, ns, r, "syncPolicy: {automated: {prune: true}, retry: {limit: 0}}")
	w.condition(t, app, api.ConditionInvalidSpecError, "no matching service account found for destination server")
	may := func(resources, verbs string) {
		t.Helper()
		w.Apply(t, fmt.Sprintf(`
{apiVersion: v1, kind: ServiceAccount, metadata: {name: deployer, namespace: %[1]s}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: deployer, namespace: %[1]s}, rules: [{apiGroups: [""], resources: %[2]s, verbs: %[3]s}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: deployer, namespace: %[1]s},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}, subjects: [{kind: ServiceAccount, name: deployer, namespace: %[1]s}]}
`, ns, resources, verbs))
	}
	may("[configmaps]", "[get, list, watch, create, patch]")
	w.project(t, ns, fmt.Sprintf("{%s, destinationServiceAccounts: [{server: '*', namespace: %s, defaultServiceAccount: deployer}]}", anything, ns))
	denied := func(what string) {
		t.Helper()
		w.await(t, app, func(a *api.Application) string {
			s := a.Status.OperationState
			if want := fmt.Sprintf("%q %s", "system:serviceaccount:"+ns+":deployer", what); a.Operation != nil || s == nil || s.Phase != api.PhaseFailed || !strings.Contains(s.Message, want) {
				return "no operation fails of " + want
			}
			return ""
		})
	}
	// A hook is made as the account, which may not, and so nothing else is written.
	denied("cannot patch resource \"secrets\"")
	w.absent(t, configMap, ns, "c")
	may("[configmaps, secrets]", "[get, list, watch, create, patch]")
	w.patch(t, app, syncNow)
	w.done(t, app, api.PhaseSucceeded)
	w.is(t, app, "Synced Healthy", "")
	// What leaves Git is pruned as the account.
	w.Commit(t, r, map[string]string{"app/c.yaml": pt.ConfigMap("c"), "app/before.yaml": pt.ConfigMap("more")})
	denied("cannot delete resource \"configmaps\"")
	w.Await(t, configMap, ns, "later", pt.Has("metadata.name", "later"))
	may("[configmaps, secrets]", "[get, list, watch, create, patch, delete]")
	w.patch(t, app, `{"operation":{"sync":{"prune":true}}}`)
	w.done(t, app, api.PhaseSucceeded)
	w.absent(t, configMap, ns, "later")
	// And what goes with the Application is deleted as it.
	w.patch(t, app, `{"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	may("[configmaps, secrets]", "[get, list, watch, create, patch]")
	w.kubectl(t, "-n", "argocd", "delete", "--wait=false", "applications.argoproj.io/"+app)
	w.condition(t, app, api.ConditionDeletionError, "deployer")
	w.Await(t, configMap, ns, "c", pt.Has("metadata.name", "c"))
	may("[configmaps, secrets]", "[get, list, watch, create, patch, delete]")
	w.AwaitGone(t, configMap, ns, "c")
}
