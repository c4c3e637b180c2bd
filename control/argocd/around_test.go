package argocd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	api "plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/apply"
	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/settings"
	"plumb.dev/plumb/control/lookup"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// An office is what surrounds Applications, as tests write it.
type office struct {
	maps     map[string]map[string]string
	secrets  []*corev1.Secret
	projects map[string]string // the spec in YAML, by name
}

func (o office) around(t *testing.T, before *around) *around {
	t.Helper()
	in := surrounding{namespace: "argocd", secrets: o.secrets, before: before}
	for name, data := range o.maps {
		m := &corev1.ConfigMap{Data: data}
		m.Namespace, m.Name = "argocd", name
		in.maps = append(in.maps, m)
	}
	in.projects = func(name string) (*unstructured.Unstructured, error) {
		if spec, ok := o.projects[name]; ok {
			u := app(t, "metadata: {name: "+name+", namespace: argocd}\nspec: "+spec)
			u.SetGroupVersionKind(api.ProjectKind)
			return u, nil
		}
		return nil, nil //nolint:nilnil // there is none
	}
	return readAround(in)
}

// What is unsafe in the Secret of a cluster is a matter of plumb's own flags.
func TestWhatTheSecretOfAClusterMayAskFor(t *testing.T) {
	secrets := []*corev1.Secret{settingsSecret("cluster", "x", "server", "https://x.example", "name", "x", "config", `{"bearerToken":"t","tlsClientConfig":{"insecure":true}}`)}
	for policy, want := range map[*cluster.KubeconfigPolicy]int{nil: 1, {}: 1, {AllowInsecureTLS: true}: 0} {
		o := &Options{Kubeconfig: policy}
		w := readAround(surrounding{namespace: "argocd", projects: noProject, secrets: secrets, policy: o.policy()})
		if len(w.found()) != want {
			t.Errorf("with %+v: %v", policy, w.found())
		}
	}
}

func settingsSecret(kind, name string, data ...string) *corev1.Secret {
	s := &corev1.Secret{Data: map[string][]byte{}}
	s.Namespace, s.Name, s.Labels = "argocd", name, map[string]string{prefix + "secret-type": kind}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

const (
	shopRules = "{sourceRepos: ['https://git.example.com/*'], destinations: [{server: '*', namespace: shop}]}"
	inShop    = "spec: {source: " + from + ", project: shop, destination: {name: in-cluster, namespace: shop}}"
)

// What a project does not allow refuses an Application as a whole, which then
// does nothing at all.
func TestAProjectRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		rules, parts, want string
		reason             fault.Reason
	}{
		"nothing":             {shopRules, inShop, "", ""},
		"a repository":        {"{sourceRepos: ['https://other.example.com/*'], destinations: [{server: '*', namespace: '*'}]}", inShop, "application repo https://git.example.com/shop.git is not permitted in project 'shop'", fault.InvalidSpec},
		"a namespace":         {"{sourceRepos: ['*'], destinations: [{server: '*', namespace: other}]}", inShop, "application destination server 'in-cluster' and namespace 'shop' do not match", fault.InvalidSpec},
		"both":                {"{sourceRepos: ['https://other.example.com/*'], destinations: [{server: '*', namespace: other}]}", inShop, "; application repo https://git.example.com/shop.git is not permitted", fault.InvalidSpec},
		"where it is":         {shopRules, inShop + "\nmetadata: {name: web, namespace: team}", "in namespace 'team' is not permitted to use project 'shop'", fault.InvalidSpec},
		"what is not signed":  {"{sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}], signatureKeys: [{keyID: A}]}", inShop, "does not verify signatures", fault.UnsupportedField},
		"what it has unknown": {"{sourceRepoz: ['*']}", inShop, `unknown field "spec.sourceRepoz"`, fault.InvalidSpec},
	} {
		t.Run(name, func(t *testing.T) {
			in := office{projects: map[string]string{"shop": c.rules}}.around(t, nil)
			u, wants := dialect.toUnit(read(app(t, c.parts)), in)
			switch {
			case c.want == "" && (u.Refused != nil || u.Target.Invalid || len(wants) != 1):
				t.Errorf("it is refused: %v", u.Refused)
			case c.want == "":
			case u.Refused == nil || !strings.Contains(u.Refused.Error(), c.want) || !fault.Is(u.Refused, c.reason):
				t.Errorf("it says %v, want %q (%s)", u.Refused, c.want, c.reason)
			case !u.Target.Invalid || u.Target.Cluster != "" || len(wants) > 0:
				t.Errorf("it goes on at %+v with %v", u.Target, wants)
			}
		})
	}
}

// What a project or a cluster's Secret denies is not admitted, whatever else is.
func TestWhatAUnitMayHave(t *testing.T) {
	in := office{projects: map[string]string{"shop": "{sourceRepos: ['*'], destinations: [{server: '*', namespace: shop}], namespaceResourceBlacklist: [{group: '', kind: Secret}], clusterResourceWhitelist: [{group: '', kind: Namespace, name: shop*}]}"}}.around(t, nil)
	u, _ := dialect.toUnit(read(app(t, inShop)), in)
	for _, c := range []struct {
		ref  object.Ref
		want string
	}{
		{object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, ""},
		{object.Ref{Kind: "ConfigMap", Namespace: "other", Name: "a"}, "namespace other is not permitted"},
		{object.Ref{Kind: "Secret", Namespace: "shop", Name: "a"}, "resource :Secret is not permitted in project shop"},
		{object.Ref{Kind: "Namespace", Name: "shop-b"}, ""},
		{object.Ref{Kind: "Namespace", Name: "b"}, "resource :Namespace is not permitted in project shop"},
	} {
		err := u.Objects.Admits(u, c.ref)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !fault.Is(err, fault.NotAdmitted)) {
			t.Errorf("%s: %v, want %q", c.ref, err, c.want)
		}
	}
	if err := u.Objects.Admits(engine.Unit{}, object.Ref{Kind: "ConfigMap", Namespace: "shop", Name: "a"}); err == nil {
		t.Error("a unit of which nothing is known may have everything")
	}
	limited := office{
		secrets:  []*corev1.Secret{settingsSecret("cluster", "far", "server", "https://far.example.com", "name", "far", "namespaces", "shop", "config", `{"bearerToken":"t"}`)},
		projects: map[string]string{"shop": "{sourceRepos: ['*'], destinations: [{name: far, namespace: '*'}]}"},
	}.around(t, nil)
	u, _ = dialect.toUnit(read(app(t, strings.ReplaceAll(inShop, "in-cluster", "far"))), limited)
	if u.Refused != nil || u.Target.Cluster == "" || u.Target.Config == nil || u.Target.Config.BearerToken != "t" {
		t.Fatalf("it goes to %+v: %v", u.Target, u.Refused)
	}
	if err := u.Objects.Admits(u, object.Ref{Kind: "ConfigMap", Namespace: "other", Name: "a"}); err == nil || !strings.Contains(err.Error(), `namespace "other"`) {
		t.Errorf("in a namespace that the Secret does not name: %v", err)
	}
}

// A unit is another one if a rule is, and keeps no Secret of before.
func TestTheDigestIsThatOfTheRules(t *testing.T) {
	one := office{projects: map[string]string{"shop": shopRules}}
	first := one.around(t, nil)
	was, _ := dialect.toUnit(read(app(t, inShop)), first)
	more := one
	more.secrets = append(more.secrets, settingsSecret("repository", "r", "url", "https://git.example.com/other", "password", "x"))
	second := more.around(t, first)
	if is, _ := dialect.toUnit(read(app(t, inShop)), second); is.Digest != was.Digest || termsOf(is).project != termsOf(was).project || termsOf(is).common != termsOf(was).common {
		t.Error("a Secret makes another unit")
	}
	for name, other := range map[string]office{
		"a project": {projects: map[string]string{"shop": strings.ReplaceAll(shopRules, "namespace: shop", "namespace: 'sho*'")}},
		"a setting": {projects: one.projects, maps: map[string]map[string]string{"argocd-cm": {"application.resourceTrackingMethod": "label"}}},
	} {
		if is, _ := dialect.toUnit(read(app(t, inShop)), other.around(t, first)); is.Digest == was.Digest {
			t.Errorf("%s makes no other unit", name)
		}
	}
	same := one
	same.maps = map[string]map[string]string{"argocd-cm": {"url": "https://argocd.example.com", "accounts.ada": "login"}}
	if is, _ := dialect.toUnit(read(app(t, inShop)), same.around(t, first)); is.Digest != was.Digest {
		t.Error("what is about Argo CD's server makes another unit")
	}
}

// Credentials come from Secrets; whose they are is in the name of a source, and
// what they are is not.
func TestCredentialsOfSources(t *testing.T) {
	with := func(project, password string) *around {
		return office{projects: map[string]string{"shop": shopRules, "other": shopRules}, secrets: []*corev1.Secret{
			settingsSecret("repository", "private", "url", "https://git.example.com/shop.git", "username", "ada", "password", password, "project", project),
		}}.around(t, nil)
	}
	a := read(app(t, inShop))
	_, wants := dialect.toUnit(a, with("shop", "one"))
	if auth := wants[0].Git.Auth; auth.Username != "ada" || auth.Password != "one" {
		t.Errorf("it asks as %q", auth.Username)
	}
	if _, changed := dialect.toUnit(a, with("shop", "two")); changed[0].name() != wants[0].name() {
		t.Error("another password is another source")
	}
	if _, others := dialect.toUnit(a, with("other", "one")); others[0].name() == wants[0].name() || others[0].Git.Auth.Password != "" {
		t.Error("it is given what another project's credentials show")
	}
}

// Those are put anew that a change concerns, and no others.
func TestAChangeConcernsWhoUsesIt(t *testing.T) {
	w := newWorld(t)
	far := settingsSecret("cluster", "far", "server", "https://far.example.com", "name", "far", "config", `{"bearerToken":"t"}`)
	private := settingsSecret("repository", "private", "url", "https://git.example.com/shop.git", "password", "x")
	anything := "{sourceRepos: ['*'], destinations: [{name: '*', namespace: '*'}]}"
	base := office{projects: map[string]string{"shop": anything, "other": anything}, secrets: []*corev1.Secret{far, private}}
	first := base.around(t, nil)
	for name, parts := range map[string]string{
		"shop":  inShop,
		"other": strings.ReplaceAll(inShop, "project: shop", "project: other"),
		"far":   strings.ReplaceAll(strings.ReplaceAll(inShop, "in-cluster", "far"), "shop.git", "x.git"),
	} {
		c := concernOf(read(app(t, parts)))
		w.known.concerned(types.NamespacedName{Namespace: "argocd", Name: name}, c, first.print(c, w.sources.stores))
	}
	change := func(f func(*office)) office {
		o := office{maps: map[string]map[string]string{}, projects: map[string]string{}, secrets: slices.Clone(base.secrets)}
		for name, rules := range base.projects {
			o.projects[name] = rules
		}
		f(&o)
		return o
	}
	for name, c := range map[string]struct {
		change func(*office)
		want   string
	}{
		"nothing":       {func(*office) {}, ""},
		"a project":     {func(o *office) { o.projects["other"] = shopRules }, "other"},
		"one that goes": {func(o *office) { delete(o.projects, "shop") }, "far shop"},
		"a password": {func(o *office) {
			o.secrets[1] = settingsSecret("repository", "private", "url", "https://git.example.com/shop.git", "password", "y")
		}, "other shop"},
		"a repository": {func(o *office) {
			o.secrets = append(o.secrets, settingsSecret("repository", "new", "url", "https://git.example.com/new"))
		}, ""},
		"a cluster": {func(o *office) {
			o.secrets[0] = settingsSecret("cluster", "far", "server", "https://far.example.com", "name", "far", "config", `{"bearerToken":"u"}`)
		}, "far"},
		"a setting of all":    {func(o *office) { o.maps["argocd-cm"] = map[string]string{"timeout.reconciliation": "60s"} }, "far other shop"},
		"a setting of nobody": {func(o *office) { o.maps["argocd-cm"] = map[string]string{"url": "https://x", "dex.config": "a: b"} }, ""},
	} {
		after := change(c.change).around(t, first)
		var names []string
		for _, key := range w.known.concerns(func(c concern) string { return after.print(c, w.sources.stores) }) {
			names = append(names, key.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s concerns %q, want %q", name, got, c.want)
		}
	}
}

// While a window is closed nothing is done by itself, nor put back, nor done that
// was asked for; when it opens, the Application is put anew.
func TestAClosedWindowHoldsAnOperation(t *testing.T) {
	const night = "{sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}], syncWindows: [{kind: deny, schedule: '0 22 * * *', duration: 8h, applications: ['*']%s}]}"
	at := func(hour int) time.Time { return time.Date(2026, 3, 4, hour, 0, 0, 0, time.UTC) }
	a := read(app(t, strings.ReplaceAll(inShop, "project: shop,", "project: shop, syncPolicy: {automated: {selfHeal: true}},")+
		"\noperation: {sync: {}}\nstatus: {operationState: {phase: Running, startedAt: '2026-03-04T21:00:00Z', operation: {sync: {}}}}"))
	for _, c := range []struct {
		more    string
		hour    int
		blocked bool
	}{
		{"", 12, false}, {"", 23, true}, {", manualSync: true", 23, false}, {", syncOverrun: true", 23, false},
	} {
		in := office{projects: map[string]string{"shop": fmt.Sprintf(night, c.more)}}.around(t, nil)
		u, _ := dialect.toUnit(a, in)
		why := a.blocked(termsOf(u), at(c.hour))
		if (why != "") != c.blocked || c.blocked && !strings.HasPrefix(why, "Sync operation blocked by sync window: ") {
			t.Errorf("%q at %d: %q", c.more, c.hour, why)
		}
		if o := termsOf(u).opening(at(c.hour)); o.Auto != (c.hour == 12) || o.Until.IsZero() {
			t.Errorf("%q at %d: %+v", c.more, c.hour, o)
		}
	}
	// What has hooks that were made goes on.
	a.Status.OperationState.SyncResult = &api.SyncResult{Resources: []api.ResourceResult{{Kind: "Job", Name: "h", HookType: "PreSync", SyncPhase: "PreSync"}}}
	u, _ := dialect.toUnit(a, office{projects: map[string]string{"shop": fmt.Sprintf(night, "")}}.around(t, nil))
	if why := a.blocked(termsOf(u), at(23)); why != "" {
		t.Errorf("its hooks would be ended: %s", why)
	}
}

// An operation that waits for a window says so, once.
func TestAnOperationThatIsBlockedSaysSo(t *testing.T) {
	w := newWorld(t, app(t, inShop+"\noperation: {sync: {}}"))
	closed := "{sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}], syncWindows: [{kind: deny, schedule: '* * * * *', duration: 1h, applications: ['*']}]}"
	w.surround(office{projects: map[string]string{"shop": closed}}.around(t, nil))
	w.reconcile(t)
	a := w.now(t)
	if s := a.Status.OperationState; a.Operation == nil || s.Phase != api.PhaseRunning || !strings.Contains(s.Message, "blocked by sync window") {
		t.Errorf("%+v", s)
	}
	w.written()
	w.reconcile(t)
	if all := w.written(); len(all) != 0 {
		t.Errorf("it says so again: %q", all)
	}
	open := strings.ReplaceAll(closed, "kind: deny", "kind: allow")
	w.surround(office{projects: map[string]string{"shop": open}}.around(t, nil))
	before := ""
	w.known.with(reconcileWeb.NamespacedName, func(r *remembered) { before = r.signature })
	w.reconcile(t)
	w.known.with(reconcileWeb.NamespacedName, func(r *remembered) {
		if r.signature == before {
			t.Error("it is not put when the window opens")
		}
	})
}

// Operations that take from elsewhere are asked about, too.
func TestAnOperationMayNotTakeFromElsewhere(t *testing.T) {
	w := newWorld(t, app(t, inShop+"\noperation: {sync: {source: {repoURL: 'https://other.example.com/x', path: p}}}"))
	w.surround(office{projects: map[string]string{"shop": shopRules}}.around(t, nil))
	w.reconcile(t)
	if s := w.now(t).Status.OperationState; s.Phase != api.PhaseError || !strings.Contains(s.Message, "application repo https://other.example.com/x is not permitted") {
		t.Errorf("%+v", s)
	}
}

// How objects are marked, settings say.
func TestMarksFollowTheSettings(t *testing.T) {
	ref := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}
	id := "web:apps/Deployment:shop/web"
	for name, c := range map[string]struct {
		settings            map[string]string
		labels, annotations map[string]string
	}{
		"nothing":    {nil, nil, map[string]string{trackingID: id}},
		"labels":     {map[string]string{"application.resourceTrackingMethod": "label"}, map[string]string{"app.kubernetes.io/instance": "web"}, nil},
		"both":       {map[string]string{"application.resourceTrackingMethod": "annotation+label", "application.instanceLabelKey": "x.io/app"}, map[string]string{"x.io/app": "web"}, map[string]string{trackingID: id}},
		"where from": {map[string]string{"installationID": "here"}, nil, map[string]string{trackingID: id, installationID: "here"}},
	} {
		in := office{maps: map[string]map[string]string{"argocd-cm": c.settings}}.around(t, nil)
		u, _ := dialect.toUnit(read(app(t, spec(""))), in)
		m := u.Objects.Marks(u)(ref)
		delete(m.Labels, unitLabel)
		if fmt.Sprint(m.Labels) != fmt.Sprint(orNone(c.labels)) || fmt.Sprint(m.Annotations) != fmt.Sprint(orNone(c.annotations)) {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func orNone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// By labels an object is whose an Application is called so, if there is one.
func TestWhoseAnObjectIsByLabels(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	o.names.add("Application/argocd/web")
	labels := map[string]string{"app.kubernetes.io/instance": "web"}
	if got := o.objects().Owner(objectWith(labels, nil)); got != "" {
		t.Errorf("by annotations it is %s's", got)
	}
	o.common.Store(office{maps: map[string]map[string]string{"argocd-cm": {"application.resourceTrackingMethod": "label", "installationID": "here"}}}.around(t, nil).common)
	if got := o.objects().Owner(objectWith(labels, nil)); got != "Application/argocd/web" {
		t.Errorf("it is %q's", got)
	}
	labels["app.kubernetes.io/instance"] = "nobody"
	if got := o.objects().Owner(objectWith(labels, nil)); got != "" {
		t.Errorf("it is %s's, which there isn't", got)
	}
	track := map[string]string{trackingID: "web:apps/Deployment:shop/web", installationID: "there"}
	if got := o.objects().Owner(objectWith(nil, track)); got != "" {
		t.Errorf("that of another installation is %s's", got)
	}
}

// What settings leave out is left alone, and rules of all Applications come
// first.
func TestSettingsOfAllApplications(t *testing.T) {
	in := office{maps: map[string]map[string]string{"argocd-cm": {
		"resource.exclusions": "[{apiGroups: [apps], kinds: [Deployment]}]",
		"resource.customizations.ignoreDifferences.apps_Deployment":     "{jsonPointers: [/spec/replicas]}",
		"resource.customizations.ignoreDifferences.all":                 "{managedFieldsManagers: [somebody]}",
		"timeout.hard.reconciliation":                                   "1h",
		"resource.customizations.ignoreDifferences.example.com_Nothing": "",
	}}}.around(t, nil)
	u, _ := dialect.toUnit(read(app(t, spec(", syncPolicy: {syncOptions: [RespectIgnoreDifferences=true]}, ignoreDifferences: [{kind: X, jsonPointers: [/a]}]"))), in)
	if u.Refused != nil || len(u.Ignores) != 3 {
		t.Fatalf("%v: %+v", u.Refused, u.Ignores)
	}
	for _, r := range u.Ignores {
		if !r.Apply {
			t.Errorf("%+v is applied", r)
		}
	}
	p := u.Objects.Policy(u, objectWith(nil, nil))
	if p.Mode != apply.Ignore || p.Why != settings.ExcludedWarning("apps", "Deployment", "web") {
		t.Errorf("%+v", p)
	}
	if all := fmt.Sprint(in.found()); !strings.Contains(all, "timeout.hard.reconciliation") {
		t.Errorf("it says %s", all)
	}
	for key, value := range map[string]string{
		"resource.customizations.ignoreDifferences.apps_Deployment": "{jqPathExpressions: ['.a[']}", "globalProjects": "7", "jsonnet.enable": "false",
	} {
		in := office{maps: map[string]map[string]string{"argocd-cm": {key: value}}}.around(t, nil)
		if u, _ := dialect.toUnit(read(app(t, spec(""))), in); u.Refused == nil || !u.Target.Invalid {
			t.Errorf("%s: %s is passed over", key, value)
		}
	}
}

// Who acts is asked of the project, where settings say so.
func TestWhoActs(t *testing.T) {
	on := map[string]map[string]string{"argocd-cm": {"application.sync.impersonation.enabled": "true"}}
	rules := "{sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}]%s}"
	account := ", destinationServiceAccounts: [{server: '*', namespace: shop, defaultServiceAccount: deployer}]"
	for name, c := range map[string]struct {
		maps       map[string]map[string]string
		more, want string
		refused    bool
	}{
		"nobody":     {nil, account, "", false},
		"an account": {on, account, "system:serviceaccount:shop:deployer", false},
		"none":       {on, "", "", true},
	} {
		u, _ := dialect.toUnit(read(app(t, inShop)), office{maps: c.maps, projects: map[string]string{"shop": fmt.Sprintf(rules, c.more)}}.around(t, nil))
		if u.Target.User != c.want || (u.Refused != nil) != c.refused {
			t.Errorf("%s: %q, %v", name, u.Target.User, u.Refused)
		}
	}
}

// The end of an Application asks its project, too.
func TestADeletionIsNotWithoutAProject(t *testing.T) {
	w := newWorld(t)
	a := read(app(t, inShop+"\nmetadata: {name: web, namespace: argocd, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [resources-finalizer.argocd.argoproj.io]}"))
	for name, in := range map[string]*around{"no project": plain, "nothing was read": unread("argocd", notYetRead(nil))} {
		u, _ := w.o.toUnit(a, in)
		w.leave(a, in, &u)
		if u.Refused == nil || !u.Target.Invalid || !u.Removal.Deletes {
			t.Errorf("%s: %v, %+v", name, u.Refused, u.Target)
		}
	}
	// Where it took its objects from does not count any more.
	in := office{projects: map[string]string{"shop": "{destinations: [{server: '*', namespace: '*'}]}"}}.around(t, nil)
	u, _ := w.o.toUnit(a, in)
	if w.leave(a, in, &u); u.Refused != nil || u.Target.Invalid {
		t.Errorf("%v", u.Refused)
	}
}

// An operation ends that takes longer than it may.
func TestAnOperationMayNotTakeForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &api.OperationState{}
		s.StartedAt.Time = time.Now()
		op := &engine.Operation{}
		if end := timeout(op, s, time.Minute, time.Now()); op.Terminate || !end.Equal(time.Now().Add(time.Minute)) {
			t.Errorf("it ends at %s", end)
		}
		time.Sleep(time.Minute)
		if timeout(op, s, 0, time.Now()); op.Terminate {
			t.Error("it ends, and may take for ever")
		}
		if timeout(op, s, time.Minute, time.Now()); !op.Terminate {
			t.Error("it goes on")
		}
	})
}

// A problem is told once, for as long as it is one.
func TestAProblemIsToldOnce(t *testing.T) {
	var out strings.Builder
	s := &surroundings{namespace: "argocd", log: slog.New(slog.NewTextHandler(&out, nil))}
	with := office{maps: map[string]map[string]string{"argocd-cm": {"kustomize.buildOptions": "--x"}}}.around(t, nil)
	s.tell(with)
	s.tell(with)
	if n := strings.Count(out.String(), "kustomize.buildOptions"); n != 1 {
		t.Errorf("%d times: %s", n, out.String())
	}
	s.tell(plain)
	s.tell(with)
	if n := strings.Count(out.String(), "kustomize.buildOptions"); n != 2 {
		t.Errorf("not again: %s", out.String())
	}
}

// A visitor reads what surrounds Applications, in the name of somebody.
type visitor struct {
	office
	denied error // of Secrets
}

func (v visitor) Get(ref lookup.Ref) (map[string][]byte, bool, error) {
	data, ok := v.maps[ref.Name]
	all := make(map[string][]byte, len(data))
	for k, text := range data {
		all[k] = []byte(text)
	}
	return all, ok, nil
}

func (v visitor) Resource(context.Context, object.Ref) (*unstructured.Unstructured, error) {
	return nil, errors.New("nobody needs it")
}

func (v visitor) Secrets(context.Context, string, string) ([]*corev1.Secret, error) {
	return v.secrets, v.denied
}

func (v visitor) Object(context.Context, schema.GroupVersionResource, string, string) (*unstructured.Unstructured, error) {
	return nil, nil //nolint:nilnil // there is none
}

// Who may not read Secrets can look at what needs none, and is told of the rest.
func TestWhoMayNotReadSecrets(t *testing.T) {
	o := &Options{Namespace: "argocd"}
	far := office{secrets: []*corev1.Secret{settingsSecret("cluster", "far", "server", "https://far.example.com", "name", "far", "config", `{"bearerToken":"t"}`)}}
	denied := visitor{denied: errors.New("Secrets are forbidden")}
	here, there := app(t, spec("")), app(t, strings.ReplaceAll(strings.ReplaceAll(inShop, "in-cluster", "far"), "project: shop", "project: default"))
	if _, err := o.Unit(here, denied); err != nil {
		t.Errorf("what needs none: %v", err)
	}
	if _, err := o.Unit(there, denied); err == nil || !strings.Contains(err.Error(), "there are no clusters with this name: far") || !strings.Contains(err.Error(), "Secrets are forbidden") {
		t.Errorf("what needs one: %v", err)
	}
	if _, err := o.Unit(there, visitor{office: far}); err != nil {
		t.Errorf("who may: %v", err)
	}
	if units, unknown := o.Units([]unstructured.Unstructured{*here, *there}, denied, nil); len(units) != 1 || len(unknown) != 1 {
		t.Errorf("%d are known, and %q are not", len(units), unknown)
	}
}

// Orphans are searched for where a project warns of them, or somebody looks.
func TestWhoSeeksOrphans(t *testing.T) {
	for rules, want := range map[string][2]bool{
		"":                                   {false, false},
		", orphanedResources: {}":            {false, true},
		", orphanedResources: {warn: false}": {false, true},
		", orphanedResources: {warn: true}":  {true, true},
	} {
		in := office{projects: map[string]string{"shop": "{sourceRepos: ['*'], destinations: [{server: '*', namespace: '*'}]" + rules + "}"}}.around(t, nil)
		u, _ := dialect.toUnit(read(app(t, inShop)), in)
		if got := [2]bool{termsOf(u).seeksOrphans(false), termsOf(u).seeksOrphans(true)}; u.Refused != nil || got != want {
			t.Errorf("%s: %v, want %v; %v", rules, got, want, u.Refused)
		}
		if len(in.problems) > 0 {
			t.Errorf("%s: %v", rules, in.problems)
		}
	}
}
