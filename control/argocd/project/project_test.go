package project

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/object"
)

// read makes an AppProject of the YAML of its spec.
func read(t *testing.T, spec string) *argocd.AppProject {
	t.Helper()
	p := &argocd.AppProject{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "argocd"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%v\n%s", err, spec)
	}
	return p
}

func project(t *testing.T, spec string) *Project {
	t.Helper()
	return New(read(t, spec), Scope{Namespace: "argocd"})
}

// refused checks that err has each of the words.
func refused(t *testing.T, what string, err error, reason fault.Reason, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s is allowed", what)
		return
	}
	if f := fault.Of(err); f.Reason != reason || f.Next != fault.Stall {
		t.Errorf("%s: %s %s, want %s", what, f.Next, f.Reason, reason)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

func allowed(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func TestAnApplicationIsOfAProjectByItsNamespace(t *testing.T) {
	q := project(t, `sourceNamespaces: [team-*, other, '/^((?!kube-)prod-.)*$/', '/[/', fault/, /]`)
	for _, ns := range []string{"argocd", "", "team-a", "other", "prod-aprod-b"} {
		allowed(t, ns, q.Admits("web", ns))
	}
	for _, ns := range []string{"default", "fault", "others", "kube-system", "xteam-a"} {
		refused(t, ns, q.Admits("web", ns), fault.InvalidSpec,
			"application 'web' in namespace '"+ns+"' is not permitted to use project 'shop'", "spec.sourceNamespaces")
	}
	if p := q.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), `"/[/" is no regular expression`) {
		t.Errorf("%v", p)
	}
	refused(t, "without an entry", project(t, `{}`).Admits("web", "default"), fault.InvalidSpec)
}

func TestARegularExpressionThatTakesTooLongDoesNotMatch(t *testing.T) {
	n, bad := NewNamespaces([]string{`/^(a+)+\1$/`})
	if bad != nil {
		t.Fatal(bad)
	}
	if n.Match(strings.Repeat("a", 60) + "!") {
		t.Error("it matches")
	}
}

func TestSources(t *testing.T) {
	for _, c := range []struct {
		spec    string
		yes, no []string
		words   string
	}{
		{`sourceRepos: ['*']`, []string{"https://github.com/a/b", "git@x:y", "ghcr.io/z"}, []string{"https://host/../x"}, ".."},
		{`{}`, nil, []string{"https://github.com/a/b"}, "no entry of the project's spec.sourceRepos matches it (add it there"},
		{`sourceRepos: ['https://github.com/argoproj/*']`, []string{"https://GitHub.com/argoproj/a.git"}, []string{"https://github.com/other/a"}, "no entry of"},
		{`sourceRepos: ['!https://github.com/argoproj/secret', '*']`, []string{"https://github.com/argoproj/b"}, []string{"https://ada:pass@GITHUB.com:443/ArgoProj//%73ecret.git/"}, `spec.sourceRepos "!https://github.com/argoproj/secret" denies it`},
		{`sourceRepos: ['*', '!git@github.com:org/*']`, []string{"https://github.com/org/a", "git@github.com:other/a"}, []string{"git@github.com:org/a", "ssh://eve@github.com/org/a"}, "denies it"},
		{`sourceRepos: ['!http://**', '*']`, []string{"https://host/a"}, []string{"http://host/a", "HTTP://host:80/a"}, "denies it"},
		// What entries deny is all they deny, as Argo CD has it.
		{`sourceRepos: ['!https://github.com/argoproj/*.git']`, []string{"https://github.com/argoproj1/a"}, []string{"https://github.com/argoproj/a"}, "denies it"},
		{`sourceRepos: ['!*']`, nil, []string{"https://github.com/a/b"}, "denies it"},
		{`sourceRepos: ['*', '!https://host/[']`, nil, []string{"https://github.com/a/b"}, "can't be read and so denies all"},
		{`sourceRepos: ['https://host/[']`, nil, []string{"https://host/["}, "can't be read"},
		{`sourceRepos: ['!https://ada:pass@host/x', '*']`, nil, []string{"https://host/x"}, `"!https://host/x" denies`},
	} {
		q := project(t, c.spec)
		for _, s := range c.yes {
			allowed(t, c.spec+" "+s, q.Source(s))
		}
		for _, s := range c.no {
			err := q.Source(s)
			refused(t, c.spec+" "+s, err, fault.InvalidSpec, c.words, "application repo ", " is not permitted in project 'shop'")
			if err != nil && strings.Contains(err.Error(), "pass") {
				t.Errorf("it tells a password: %v", err)
			}
		}
	}
}

func TestAProjectHasItsOwnRepositoriesAndClusters(t *testing.T) {
	q := New(read(t, `{}`), Scope{
		Repositories: []string{"https://host/org/*", "git@github.com:org/app.git", "no address"},
		Clusters: []Cluster{
			{Server: "https://a:6443", Name: "a"}, {Server: "https://B/", Name: "b", Namespaces: []string{"web", "db"}}, {Server: "nothing"},
		},
	})
	allowed(t, "its own repository", q.Source("ssh://git@github.com/Org/App"))
	allowed(t, "one with a star in its name", q.Source("https://host/org/*"))
	refused(t, "what is no glob", q.Source("https://host/org/other"), fault.InvalidSpec)
	allowed(t, "its own cluster", q.Destination(Destination{Server: "https://A:6443/", Namespace: "any"}))
	allowed(t, "a namespace of it", q.Destination(Destination{Server: "https://b", Namespace: "db"}))
	refused(t, "another namespace", q.Destination(Destination{Server: "https://b", Namespace: "kube-system"}), fault.InvalidSpec)
	refused(t, "another cluster", q.Destination(Destination{Server: "https://c", Namespace: "db"}), fault.InvalidSpec)
}

func TestDestinations(t *testing.T) {
	const here = "https://kubernetes.default.svc"
	for _, c := range []struct {
		entries string // server name namespace, separated by commas
		yes, no []string
	}{
		{here + " - default", []string{here + " - default", here + ":443/ - default", "https://KUBERNETES.default.svc - default"}, []string{here + " - kube-system", "https://other - default", here + ".evil - default"}},
		{here + " - *", []string{here + " - kube-system", here + " - -"}, nil},
		{here + " - default", nil, []string{here + " - -"}},
		{"https://*.default.svc - default", []string{here + " - default"}, nil},
		{"https://team1-* - default", nil, []string{"https://test2-dev-cluster - default"}},
		{here + " - test-*", []string{here + " - test-foo"}, []string{here + " - test"}},
		{"* - *", []string{here + " - test"}, nil},
		{"- test *", []string{"https://x test test"}, []string{"https://x test2 test", "https://x - test"}},
		{"!" + here + " - default", []string{"https://other - default"}, []string{here + " - default"}},
		{here + " - !default", []string{here + " - kube-system"}, []string{here + " - default", "https://other - x"}},
		{"!https://*.default.svc - default", nil, []string{here + " - default"}},
		{"- !test *", []string{"https://x test2 test"}, []string{"https://x test test", "https://x - test"}},
		{"* - kube-system,* - !kube-system", []string{here + " - x"}, []string{here + " - kube-system"}},
		{here + " - *,!" + here + " - *", nil, []string{here + " - kube-system"}},
		{"* - *,!" + here + " - kube-system,* - !kube-system", []string{here + " - default"}, []string{here + " - kube-system", "https://test-dev - kube-system"}},
		{"* - test,!https://test-server - other", []string{"https://test-server - test"}, []string{"https://test-server - other"}},
		{"* - *,https://test-server - !other", []string{"https://other-server - other"}, []string{"https://test-server - other"}},
		{here + " host-cluster !{kube-system;argocd},https://eks destination *", []string{"https://eks - kube-system"}, []string{here + " host-cluster argocd"}},
		{"* - *,- !prod *", []string{"https://x dev a"}, []string{"https://x prod a", "https://x - a"}},
		// What denies by name wins over what the same entry allows by server.
		{"* !prod *,* - *", []string{"https://x dev a"}, []string{"https://x prod a"}},
		// An entry with two ! denies what both say.
		{"!" + here + " - !kube-system,* - *", nil, []string{here + " - kube-system", here + " - a", "https://x - kube-system"}},
		{"* - *,- prod !kube-system", []string{"https://x dev kube-system"}, []string{"https://x prod kube-system"}},
		{"* - [", nil, []string{here + " - a"}},
		{"* - *,* - ![", nil, []string{here + " - a"}},
		{"* - !*,* - *", nil, []string{here + " - a"}},
	} {
		q := New(&argocd.AppProject{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: argocd.AppProjectSpec{Destinations: entries(c.entries)}}, Scope{})
		for _, s := range c.yes {
			allowed(t, c.entries+": "+s, q.Destination(destination(s)))
		}
		for _, s := range c.no {
			d := destination(s)
			refused(t, c.entries+": "+s, q.Destination(d), fault.InvalidSpec,
				"application destination server '"+d.Server+"' and namespace '"+d.Namespace+"' do not match any of the allowed destinations in project 'shop'", "destinations")
		}
	}
}

// entries are destinations of a project, as a test writes them.
func entries(s string) (all []argocd.AllowedDestination) {
	for e := range strings.SplitSeq(s, ",") {
		d := destination(strings.ReplaceAll(e, ";", ","))
		all = append(all, argocd.AllowedDestination{Server: d.Server, Name: d.Name, Namespace: d.Namespace})
	}
	return all
}

func destination(s string) Destination {
	f := strings.Fields(s)
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	return Destination{Server: f[0], Name: f[1], Namespace: f[2]}
}

func TestADestinationByNameIsToldByItsName(t *testing.T) {
	err := project(t, `{}`).Destination(Destination{Server: "https://x", Name: "prod", Namespace: "a", ByName: true})
	refused(t, "it", err, fault.InvalidSpec, "application destination server 'prod' and namespace 'a' do not match")
}

func TestOnlyProjectScopedClusters(t *testing.T) {
	p := read(t, `{permitOnlyProjectScopedClusters: true, destinations: [{server: '*', namespace: '*'}]}`)
	q := New(p, Scope{Clusters: []Cluster{{Server: "https://mine", Name: "mine"}}})
	allowed(t, "its own", q.Destination(Destination{Server: "https://MINE:443", Namespace: "a"}))
	refused(t, "another", q.Destination(Destination{Server: "https://other", Name: "mine", Namespace: "a"}), fault.InvalidSpec, "permitOnlyProjectScopedClusters")
}

func parse(s string) Object {
	f := strings.Split(s, "/")
	o := Object{GroupKind: schema.GroupKind{Group: f[0], Kind: f[1]}, Name: f[len(f)-1]}
	if len(f) == 4 {
		o.Namespace, o.Namespaced = f[2], true
	}
	return o
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		spec    string
		yes, no []string
		words   string
	}{
		{`{}`, []string{"apps/Deployment/a/b", "/Secret/a/b"}, []string{"/Namespace/a", "rbac.authorization.k8s.io/ClusterRoleBinding/a"}, "spec.clusterResourceWhitelist"},
		{`clusterResourceWhitelist: [{group: '*', kind: '*'}]`, []string{"/Namespace/a", "apiextensions.k8s.io/CustomResourceDefinition/x"}, nil, ""},
		{`clusterResourceWhitelist: [{group: '', kind: Namespace, name: 'team1-*'}]`, []string{"/Namespace/team1-a"}, []string{"/Namespace/team2", "/Node/team1-a"}, "spec.clusterResourceWhitelist"},
		{`{clusterResourceWhitelist: [{group: '*', kind: '*'}], clusterResourceBlacklist: [{group: '', kind: Namespace, name: 'kube-*'}]}`, []string{"/Namespace/a"}, []string{"/Namespace/kube-system"}, "spec.clusterResourceBlacklist[0] denies it"},
		{`namespaceResourceBlacklist: [{group: '', kind: ResourceQuota}, {group: '*.example', kind: '*'}]`, []string{"/ConfigMap/a/b"}, []string{"/ResourceQuota/a/b", "x.example/Any/a/b"}, "spec.namespaceResourceBlacklist["},
		{`namespaceResourceWhitelist: [{group: apps, kind: Deployment}]`, []string{"apps/Deployment/a/b"}, []string{"apps/StatefulSet/a/b", "/ConfigMap/a/b"}, "spec.namespaceResourceWhitelist"},
		{`namespaceResourceWhitelist: []`, nil, []string{"/ConfigMap/a/b"}, "spec.namespaceResourceWhitelist"},
		{`{namespaceResourceWhitelist: [{group: '*', kind: '*'}], namespaceResourceBlacklist: [{group: '*', kind: 'Secret'}]}`, []string{"/ConfigMap/a/b"}, []string{"/Secret/a/b"}, "namespaceResourceBlacklist[0]"},
		{`namespaceResourceBlacklist: [{group: '', kind: '['}]`, nil, []string{"/ConfigMap/a/b"}, "can't be read and so denies all"},
		{`namespaceResourceBlacklist: [{group: '[', kind: 'Secret'}]`, nil, []string{"/ConfigMap/a/b"}, "can't be read and so denies all"},
		{`{clusterResourceWhitelist: [{group: '*', kind: '*'}], clusterResourceBlacklist: [{group: '', kind: Node, name: '['}]}`, nil, []string{"/Namespace/a"}, "can't be read and so denies all"},
		{`clusterResourceWhitelist: [{group: '', kind: Namespace, name: '['}]`, nil, []string{"/Namespace/["}, "no entry"},
	} {
		q := project(t, c.spec)
		for _, s := range c.yes {
			allowed(t, c.spec+" "+s, q.Kind(parse(s)))
		}
		for _, s := range c.no {
			o := parse(s)
			refused(t, c.spec+" "+s, q.Kind(o), fault.NotAdmitted, "resource "+o.Group+":"+o.Kind+" is not permitted in project shop", c.words)
		}
		if strings.Contains(c.spec, "'['") != (len(q.Problems()) > 0) {
			t.Errorf("%s: %v", c.spec, q.Problems())
		}
	}
}

// Row D20: what a tenant's repository may not bring.
func TestATenantsObjectsStayWhereItsProjectSays(t *testing.T) {
	q := project(t, `{sourceRepos: ['https://host/tenant/*'], destinations: [{server: 'https://kubernetes.default.svc', namespace: 'tenant-*'}]}`)
	here := Destination{Server: "https://kubernetes.default.svc", Name: "in-cluster", Namespace: "tenant-a"}
	allowed(t, "its own", q.Object(parse("apps/Deployment/tenant-a/web"), here))
	allowed(t, "another of its own", q.Object(parse("/Secret/tenant-b/s"), here))
	refused(t, "another's namespace", q.Object(parse("/ConfigMap/kube-system/x"), here), fault.NotAdmitted, "namespace kube-system is not permitted in project 'shop'", "spec.destinations")
	refused(t, "a binding for the cluster", q.Object(parse("rbac.authorization.k8s.io/ClusterRoleBinding/x"), here), fault.NotAdmitted, "resource rbac.authorization.k8s.io:ClusterRoleBinding is not permitted in project shop")
	refused(t, "an Application elsewhere", q.Admits("web", "tenant-a"), fault.InvalidSpec)
	refused(t, "another's repository", q.Source("https://host/tenant/../other/app"), fault.InvalidSpec)
}

func TestGlobalProjectsAreMerged(t *testing.T) {
	global := read(t, `
sourceRepos: ['https://global/**', '!https://host/denied']
destinations: [{server: '*', namespace: global}]
clusterResourceWhitelist: [{group: '', kind: Namespace}]
namespaceResourceBlacklist: [{group: '', kind: Secret}]
destinationServiceAccounts: [{server: '*', namespace: '*', defaultServiceAccount: 'ops:deployer'}]
syncWindows: [{kind: deny, schedule: '* * * * *', duration: 1h, applications: ['*']}]
sourceNamespaces: ['*']
orphanedResources: {warn: true}`)
	global.Name = "all"
	p := read(t, `{sourceRepos: ['https://host/*'], namespaceResourceWhitelist: [{group: '*', kind: '*'}]}`)
	q := New(p, Scope{Namespace: "argocd", Globals: []*argocd.AppProject{global}})
	allowed(t, "what it allows", q.Source("https://global/a/b"))
	allowed(t, "what the project allows", q.Source("https://host/a"))
	refused(t, "what it denies", q.Source("https://host/denied"), fault.InvalidSpec, "in project 'shop'", "of the global project all denies it")
	allowed(t, "its destination", q.Destination(Destination{Server: "https://x", Namespace: "global"}))
	allowed(t, "its kinds", q.Kind(parse("/Namespace/a")))
	refused(t, "the kinds it denies", q.Kind(parse("/Secret/a/b")), fault.NotAdmitted, "spec.namespaceResourceBlacklist[0] of the global project all denies it")
	if user, err := q.Account(Destination{Server: "https://x"}, "argocd", true); user != "system:serviceaccount:ops:deployer" {
		t.Errorf("%q, %v", user, err)
	}
	if w := q.Windows(Application{Name: "web"}); len(w.all) != 1 {
		t.Errorf("%d windows", len(w.all))
	}
	refused(t, "where its Applications may be", q.Admits("web", "default"), fault.InvalidSpec)
	if seek, _ := q.SeeksOrphans(); seek {
		t.Error("orphans are a global project's too")
	}
	// A list of kinds that a global project has is one for all.
	only := read(t, `namespaceResourceWhitelist: [{group: apps, kind: Deployment}]`)
	q = New(read(t, `{}`), Scope{Globals: []*argocd.AppProject{only}})
	refused(t, "a kind that the global project does not list", q.Kind(parse("/ConfigMap/a/b")), fault.NotAdmitted)
}

func TestGlobalProjectsApplyByLabels(t *testing.T) {
	p := read(t, `{}`)
	p.Labels = map[string]string{"opt": "prod"}
	one := func(name, selector string) Global {
		g := Global{ProjectName: name}
		if err := yaml.UnmarshalStrict([]byte(selector), &g.LabelSelector); err != nil {
			t.Fatal(err)
		}
		return g
	}
	all, bad := Globals(p, []Global{
		one("in", `matchExpressions: [{key: opt, operator: In, values: [prod]}]`), one("not-in", `matchExpressions: [{key: opt, operator: NotIn, values: [prod]}]`),
		one("labels", `matchLabels: {opt: prod}`), one("everywhere", `{}`), one("shop", `{}`), one("gone", `{}`),
		one("bad", `matchExpressions: [{key: opt, operator: Near}]`),
	}, func(name string) *argocd.AppProject {
		if name == "gone" {
			return nil
		}
		return &argocd.AppProject{ObjectMeta: metav1.ObjectMeta{Name: name}}
	})
	var names []string
	for _, g := range all {
		names = append(names, g.Name)
	}
	if got := strings.Join(names, " "); got != "in labels everywhere" {
		t.Errorf("%s apply", got)
	}
	if len(bad) != 2 || bad[0].Error() != `globalProjects[5].projectName: there is no AppProject "gone"` || !strings.Contains(bad[1].Error(), "globalProjects[6].labelSelector") {
		t.Errorf("%v", bad)
	}
}

func TestAccounts(t *testing.T) {
	const spec = `destinationServiceAccounts:
- {server: https://kubernetes.default.svc, namespace: guestbook, defaultServiceAccount: guestbook-deployer}
- {server: https://kubernetes.default.svc, namespace: 'guestbook-*', defaultServiceAccount: 'ops:deployer'}
- {server: 'https://*.example:443', namespace: '*', defaultServiceAccount: remote}
- {server: https://bad, namespace: '*', defaultServiceAccount: 'a:b:c'}
- {server: https://kubernetes.default.svc, namespace: '', defaultServiceAccount: none}
`
	q := project(t, spec)
	for _, c := range []struct{ server, namespace, want, words string }{
		{"https://kubernetes.default.svc", "guestbook", "system:serviceaccount:guestbook:guestbook-deployer", ""},
		{"https://KUBERNETES.default.svc:443/", "guestbook-dev", "system:serviceaccount:ops:deployer", ""},
		{"https://a.example", "x", "system:serviceaccount:x:remote", ""},
		{"https://a.example", "", "system:serviceaccount:argocd:remote", ""},
		{"https://kubernetes.default.svc", "", "system:serviceaccount:argocd:none", ""},
		{"https://kubernetes.default.svc", "other", "", "no matching service account found for destination server https://kubernetes.default.svc and namespace other"},
		{"https://bad", "x", "", `spec.destinationServiceAccounts[3]: defaultServiceAccount "a:b:c"`},
	} {
		user, err := q.Account(Destination{Server: c.server, Namespace: c.namespace}, "argocd", true)
		if c.words != "" {
			refused(t, c.server+" "+c.namespace, err, fault.InvalidSpec, c.words)
		} else if err != nil || user != c.want {
			t.Errorf("%s %s: %q, %v; want %q", c.server, c.namespace, user, err, c.want)
		}
	}
	if user, err := q.Account(Destination{Server: "https://x", Namespace: "y"}, "argocd", false); user != "" || err != nil {
		t.Errorf("where it is not enforced: %q, %v", user, err)
	}
}

func TestAnAccountThatCantBeReadIsAnError(t *testing.T) {
	for entry, words := range map[string]string{
		"{server: 'https://[', namespace: '*', defaultServiceAccount: a}":    "server: it is no glob",
		"{server: '*', namespace: '[', defaultServiceAccount: a}":            `namespace: "[" is no glob`,
		"{server: '!x', namespace: '*', defaultServiceAccount: a}":           "! denies nothing",
		"{server: '*', namespace: '!x', defaultServiceAccount: a}":           "! denies nothing",
		"{server: '*', namespace: '*', defaultServiceAccount: ''}":           "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: ' '}":          "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: '*'}":          "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: 'a/b'}":        "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: 'ns:'}":        "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: ':a'}":         "neither NAME nor NAMESPACE:NAME",
		"{server: '*', namespace: '*', defaultServiceAccount: 'system:x:y'}": "neither NAME nor NAMESPACE:NAME",
	} {
		q := project(t, "destinationServiceAccounts: ["+entry+", {server: '*', namespace: '*', defaultServiceAccount: good}]")
		user, err := q.Account(Destination{Server: "https://x", Namespace: "y"}, "argocd", true)
		refused(t, entry+" → "+user, err, fault.InvalidSpec, "failed to derive service account to impersonate", words)
		if len(q.Problems()) != 1 {
			t.Errorf("%s: %v", entry, q.Problems())
		}
	}
}

func TestOrphans(t *testing.T) {
	q := project(t, `{orphanedResources: {warn: true, ignore: [{kind: ConfigMap, name: kept}, {group: '*', kind: Secret, name: '*.example.com'}, {group: x.example}, {kind: '['}]}, namespaceResourceBlacklist: [{group: '', kind: ResourceQuota}]}`)
	if seek, warn := q.SeeksOrphans(); !seek || !warn {
		t.Errorf("%v, %v", seek, warn)
	}
	for s, want := range map[string]bool{
		"/ConfigMap/a/other": true, "/ConfigMap/a/kept": false, "apps/ConfigMap/a/kept": true, "/Secret/a/b": true, "/Secret/a/tls.example.com": false,
		"x.example/Any/a/b": false, "/ResourceQuota/a/q": false, "/Service/default/kubernetes": false, "/Service/a/kubernetes": true,
		"/ServiceAccount/a/default": false, "/ServiceAccount/a/b": true, "/ConfigMap/a/kube-root-ca.crt": false, "/Namespace/a": false,
	} {
		if got := q.Orphan(parse(s)); got != want {
			t.Errorf("%s is an orphan: %v", s, got)
		}
	}
	if p := q.Problems(); len(p) != 1 || !strings.Contains(p[0].Error(), "spec.orphanedResources.ignore[3]") {
		t.Errorf("%v", p)
	}
	if q := project(t, `{}`); q.Orphan(parse("/ConfigMap/a/b")) {
		t.Error("what nobody asks for is an orphan")
	}
	if seek, warn := project(t, `{orphanedResources: {}}`).SeeksOrphans(); !seek || warn {
		t.Errorf("%v, %v", seek, warn)
	}
	if w := OrphansWarning(1); w != "Application has 1 orphaned resources" {
		t.Error(w)
	}
}

func TestSignaturesThatCantBeVerifiedAreNotTakenForGood(t *testing.T) {
	for spec, field := range map[string]string{
		`signatureKeys: [{keyID: ABCD}]`: "spec.signatureKeys",
		`sourceIntegrity: {git: {policies: [{repos: [{url: '*'}], gpg: {mode: strict, keys: [ABCD]}}]}}`: "spec.sourceIntegrity",
	} {
		q := project(t, spec)
		refused(t, spec, q.Verifies(), fault.UnsupportedField, field, "does not verify signatures")
		if len(q.Problems()) != 1 {
			t.Errorf("%v", q.Problems())
		}
	}
	allowed(t, "a project without", project(t, `{}`).Verifies())
}

func TestAProjectThatIsNotThereIsNamed(t *testing.T) {
	err := Missing("garbage")
	if f := fault.Of(err); f.Next != fault.Wait || f.Reason != fault.InvalidSpec || !strings.Contains(err.Error(), "Application referencing project garbage which does not exist") {
		t.Errorf("%v", err)
	}
}

func TestTheDigestOfAProjectIsThatOfItsRules(t *testing.T) {
	digest := func(spec string, in Scope) string { return New(read(t, spec), in).Digest }
	plain := digest(`{sourceRepos: [a]}`, Scope{})
	if again := digest(`{sourceRepos: [a], roles: [{name: x, jwtTokens: [{iat: 1}]}]}`, Scope{}); again != plain {
		t.Error("a token makes it another")
	}
	seen := map[string]string{"": plain}
	for about, d := range map[string]string{
		"another entry":       digest(`{sourceRepos: [b]}`, Scope{}),
		"an empty list":       digest(`{sourceRepos: [a], namespaceResourceWhitelist: []}`, Scope{}),
		"a global project":    digest(`{sourceRepos: [a]}`, Scope{Globals: []*argocd.AppProject{read(t, `{}`)}}),
		"another namespace":   digest(`{sourceRepos: [a]}`, Scope{Namespace: "x"}),
		"a repository":        digest(`{sourceRepos: [a]}`, Scope{Repositories: []string{"x"}}),
		"two, written as one": digest(`{sourceRepos: [a]}`, Scope{Repositories: []string{"x y"}}),
		"two repositories":    digest(`{sourceRepos: [a]}`, Scope{Repositories: []string{"x", "y"}}),
		"a cluster":           digest(`{sourceRepos: [a]}`, Scope{Clusters: []Cluster{{Server: "x"}}}),
		"and its namespaces":  digest(`{sourceRepos: [a]}`, Scope{Clusters: []Cluster{{Server: "x", Namespaces: []string{"y"}}}}),
		"a window":            digest(`{sourceRepos: [a], syncWindows: [{kind: deny}]}`, Scope{}),
	} {
		for other, of := range seen {
			if d == of {
				t.Errorf("%q changes nothing from %q", about, other)
			}
		}
		seen[about] = d
	}
}

func TestAReferenceIsAnObject(t *testing.T) {
	for s, r := range map[string]object.Ref{
		"apps/Deployment/shop/web": {Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, "/Namespace/shop": {Kind: "Namespace", Name: "shop"},
	} {
		if got, want := ObjectOf(r), parse(s); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// It is asked of every object in every look.
func BenchmarkObject(b *testing.B) {
	var spec argocd.AppProjectSpec
	if err := yaml.Unmarshal([]byte(`{destinations: [{server: 'https://other.example', namespace: '*'}, {server: 'https://kubernetes.default.svc', namespace: 'team-*'}],
		namespaceResourceBlacklist: [{group: '', kind: Secret}, {group: '*.example', kind: '*'}]}`), &spec); err != nil {
		b.Fatal(err)
	}
	q := New(&argocd.AppProject{Spec: spec}, Scope{})
	o, to := Object{Group: "apps", Kind: "Deployment", Namespaced: true, Namespace: "team-a", Name: "web"}, Destination{Server: "https://kubernetes.default.svc", Namespace: "team-a"}
	for b.Loop() {
		if err := q.Object(o, to); err != nil {
			b.Fatal(err)
		}
	}
}
