package settings_test

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/api/argocd"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/control/argocd/settings"
)

// How one learns what an Application may do, from what is in Argo CD's
// namespace.
func Example() {
	s := settings.Read(settings.Objects{
		Namespace: "argocd",
		Secrets: []*corev1.Secret{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "org", Labels: map[string]string{"argocd.argoproj.io/secret-type": "repo-creds"}},
			Data:       map[string][]byte{"url": []byte("https://git.example/org"), "username": []byte("ada"), "password": []byte("…")},
		}},
		ConfigMaps: []*corev1.ConfigMap{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "argocd", Name: "argocd-cm"},
			Data:       map[string]string{"application.sync.impersonation.enabled": "true"},
		}},
	})
	shop := &argocd.AppProject{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: argocd.AppProjectSpec{
		SourceRepos:                []string{"https://git.example/org/*"},
		Destinations:               []argocd.AllowedDestination{{Server: "*", Namespace: "shop-*"}},
		DestinationServiceAccounts: []argocd.DestinationServiceAccount{{Server: "*", Namespace: "*", DefaultServiceAccount: "deployer"}},
		SyncWindows:                []argocd.SyncWindow{{Kind: "deny", Schedule: "0 22 * * *", Duration: "8h", Applications: []string{"*"}}},
	}}
	scope, bad := s.Scope(shop, func(string) *argocd.AppProject { return nil })
	fmt.Println("global projects:", bad)
	p := project.New(shop, scope)

	fmt.Println("settings:", s.Refused)
	fmt.Println("project:", p.Admits("web", "argocd"), p.Verifies())
	fmt.Println("source:", p.Source("https://git.example/other/web"))
	remote, err := s.Remote("https://git.example/org/web.git", p.Name)
	fmt.Println("credentials:", remote, remote.Auth.Username, err)

	cluster, err := s.Cluster("", "in-cluster", p.Name)
	to := project.Destination{Server: cluster.Server, Name: cluster.Name, Namespace: "shop-web", ByName: true}
	fmt.Println("cluster:", cluster.Server, err, p.Destination(to))
	user, err := p.Account(to, "argocd", s.Enforced)
	fmt.Println("as:", user, err)

	binding := project.Object{GroupKind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, Name: "all"}
	fmt.Println("object:", p.Object(binding, to))

	o := p.Windows(project.Application{Name: "web", Cluster: "in-cluster", Namespace: "shop-web"}).At(time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC))
	fmt.Println("now:", o.Auto, o.Manual, o.Until.Format(time.TimeOnly))
	fmt.Println(o.Why)
	// Output:
	// global projects: []
	// settings: <nil>
	// project: <nil> <nil>
	// source: application repo https://git.example/other/web is not permitted in project 'shop': no entry of the project's spec.sourceRepos matches it (add it there, or use another repository)
	// credentials: https://git.example/org/web.git ada <nil>
	// cluster: https://kubernetes.default.svc <nil> <nil>
	// as: system:serviceaccount:shop-web:deployer <nil>
	// object: resource rbac.authorization.k8s.io:ClusterRole is not permitted in project shop: no entry of the project's spec.clusterResourceWhitelist matches ClusterRole all, which has no namespace (add one)
	// now: false false 06:00:00
	// blocked by sync window: spec.syncWindows[0] "deny 0 22 * * * 8h" of project 'shop' is open; it opens at 2026-03-05T06:00:00Z
}
