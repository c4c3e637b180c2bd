package settings

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/cluster"
	"plumb.dev/plumb/control/argocd/project"
	"plumb.dev/plumb/engine"
	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/internal/kubetest"
	"plumb.dev/plumb/object"
)

func TestClusters(t *testing.T) {
	cert, key, _ := gittest.ClientCertificate(t)
	encode := base64.StdEncoding.EncodeToString
	s := read(
		secret("cluster", "token", "server", "https://Token.example:6443/", "name", "token", "shard", "1", "config",
			`{"bearerToken": "t", "tlsClientConfig": {"insecure": false, "serverName": "api", "caData": "`+encode(cert)+`"}, "disableCompression": true}`),
		secret("cluster", "basic", "server", "https://basic.example", "name", "basic", "config", `{"username": "ada", "password": "pass"}`),
		secret("cluster", "mtls", "server", "https://mtls.example", "name", "mtls", "config", `{"tlsClientConfig": {"certData": "`+encode(cert)+`", "keyData": "`+encode(key)+`"}}`),
		secret("cluster", "loose", "server", "http://loose.example:80", "name", "loose", "config", `{"tlsClientConfig": {"insecure": true, "caData": "`+encode(cert)+`"}}`),
		secret("cluster", "nobody", "server", "https://nobody.example", "name", "nobody"),
		cluster.KubeconfigPolicy{AllowInsecureTLS: true},
	)
	if len(s.Problems) > 0 {
		t.Fatalf("%v", s.Problems)
	}
	ids := map[string]bool{}
	for name, want := range map[string]*rest.Config{
		"token":  {Host: "https://token.example:6443", BearerToken: "t", DisableCompression: true, TLSClientConfig: rest.TLSClientConfig{ServerName: "api", CAData: cert}},
		"basic":  {Host: "https://basic.example", Username: "ada", Password: "pass"},
		"mtls":   {Host: "https://mtls.example", TLSClientConfig: rest.TLSClientConfig{CertData: cert, KeyData: key}},
		"loose":  {Host: "http://loose.example", TLSClientConfig: rest.TLSClientConfig{Insecure: true}},
		"nobody": {Host: "https://nobody.example"},
	} {
		byName, err := s.Cluster("", name, "default")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		byServer, err := s.Cluster(strings.ToUpper(want.Host)+"/", "", "default")
		if err != nil || byServer.Target.Cluster != byName.Target.Cluster || byServer.Name != name {
			t.Errorf("by its server it is %+v, %v", byServer, err)
		}
		if diff := cmp.Diff(want, byName.Target.Config); diff != "" || byName.Target.Invalid || byName.Target.User != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if _, err := cluster.New(byName.Target.Cluster, byName.Target.Config); err != nil {
			t.Errorf("%s can't be connected to: %v", name, err)
		}
		ids[byName.Target.Cluster] = true
	}
	if len(ids) != 5 || ids[""] {
		t.Errorf("clusters are not told apart: %v", ids)
	}
}

func TestTheClusterThatPlumbRunsIn(t *testing.T) {
	const server = "https://kubernetes.default.svc"
	for _, c := range []struct {
		about, server, name string
		objects             []any
		want                Cluster
		words               string
	}{
		{about: "by its name", name: "in-cluster", want: Cluster{Server: server, Name: "in-cluster"}},
		{about: "by its server", server: server + ":443/", want: Cluster{Server: server, Name: "in-cluster"}},
		{about: "with a Secret", server: server, objects: []any{secret("cluster", "x", "server", server, "name", "prod", "namespaces", "a", "config", `{"tlsClientConfig":{"insecure":false}}`)}, want: Cluster{Server: server, Name: "prod", Namespaces: []string{"a"}}},
		{about: "by the name that a Secret gives", name: "prod", objects: []any{secret("cluster", "x", "server", server, "name", "prod")}, want: Cluster{Server: server, Name: "prod"}},
		{about: "by its own name all the same", name: "in-cluster", objects: []any{secret("cluster", "x", "server", server, "name", "prod")}, want: Cluster{Server: server, Name: "prod"}},
		{about: "disabled", server: server, objects: []any{configMap("argocd-cm", "cluster.inClusterEnabled", "false")}, words: `cluster "https://kubernetes.default.svc" is disabled`},
		{about: "disabled, by its name", name: "in-cluster", objects: []any{configMap("argocd-cm", "cluster.inClusterEnabled", "false"), secret("cluster", "x", "server", server, "name", "in-cluster")}, words: "there are no clusters with this name: in-cluster"},
	} {
		got, err := read(c.objects...).Cluster(c.server, c.name, "default")
		if c.words != "" {
			if err == nil || !strings.Contains(err.Error(), c.words) || !got.Target.Invalid {
				t.Errorf("%s: %+v, %v", c.about, got, err)
			}
			continue
		}
		got.secret = ""
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(Cluster{})); err != nil || diff != "" {
			t.Errorf("%s: %v\n-want +got:\n%s", c.about, err, diff)
		}
	}
	s := read(secret("cluster", "x", "server", server, "name", "prod", "config", `{"bearerToken": "t"}`))
	if c, err := s.Cluster(server, "", "default"); err != nil || c.Target.Cluster == "" || c.Target.Config.BearerToken != "t" {
		t.Errorf("as somebody else: %+v, %v", c, err)
	}
}

func TestDestinationsThatAreNone(t *testing.T) {
	s := read(secret("cluster", "a", "server", "https://a", "name", "twin"), secret("cluster", "b", "server", "https://b", "name", "twin"), secret("cluster", "c", "server", "https://b", "name", "twin"))
	for _, c := range []struct {
		server, name, words string
		next                fault.Next
	}{
		{"https://a", "twin", "application destination can't have both name and server defined: twin https://a", fault.Stall},
		{"", "", "Destination server missing from app spec", fault.Stall},
		{"", "gone", "there are no clusters with this name: gone", fault.Wait},
		{"", "twin", "there are 2 clusters with the same name: [https://a https://b]", fault.Wait},
		{"https://gone", "", `error getting cluster by server "https://gone": cluster "https://gone" not found`, fault.Wait},
		{"https://u:pass@a", "", "it has a user in it", fault.Stall},
		{"a", "", "it is not the URL of a server", fault.Stall},
	} {
		got, err := s.Cluster(c.server, c.name, "default")
		f := fault.Of(err)
		if err == nil || f.Next != c.next || f.Reason != fault.InvalidSpec || f.Hint == "" || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "pass") {
			t.Errorf("%s %s: %v", c.server, c.name, err)
		}
		if diff := cmp.Diff(engine.Target{Cluster: engine.Nowhere, Invalid: true}, got.Target); diff != "" {
			t.Errorf("%s %s: it leads somewhere: %s", c.server, c.name, diff)
		}
	}
	if !strings.Contains(s.problems(), "Secret c: it is about the same server as Secret b") {
		t.Error(s.problems())
	}
}

// Row D21: what a Secret may not have plumb do.
func TestClustersThatAreNotSafeAreRefused(t *testing.T) {
	for config, c := range map[string]struct {
		reason fault.Reason
		words  string
	}{
		`{"execProviderConfig": {"command": "argocd-k8s-auth", "args": ["gcp"]}}`:                      {fault.UnsupportedField, "no credentials from execProviderConfig (argocd-k8s-auth gcp)"},
		`{"execProviderConfig": {"command": "argocd-k8s-auth", "args": ["azure"], "env": {"A": "b"}}}`: {fault.UnsupportedField, "argocd-k8s-auth azure"},
		`{"execProviderConfig": {"command": "argocd-k8s-auth", "args": ["other", "x"]}}`:               {fault.UnsupportedField, "(argocd-k8s-auth)"},
		`{"execProviderConfig": {"command": "/bin/sh", "args": ["-c", "id"]}}`:                         {fault.UnsupportedField, "(an exec plugin)"},
		`{"awsAuthConfig": {"clusterName": "x"}}`:                                                      {fault.UnsupportedField, "awsAuthConfig (AWS IAM)"},
		`{"proxyUrl": "http://proxy"}`:                                                                 {fault.UnsafeKubeconfig, "a proxy (proxyUrl)"},
		`{"tlsClientConfig": {"insecure": true}}`:                                                      {fault.UnsafeKubeconfig, "tlsClientConfig.insecure"},
		`{"tlsClientConfig": {"caFile": "/etc/ca"}}`:                                                   {fault.UnsafeKubeconfig, "the field tlsClientConfig.caFile"},
		`{"TlsClientConfig": {"KEYFILE": "/etc/key"}}`:                                                 {fault.UnsafeKubeconfig, "KEYFILE"},
		`{"bearerTokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}`:                   {fault.UnsafeKubeconfig, "bearerTokenFile"},
		`{"authProvider": {}}`:                   {fault.UnsafeKubeconfig, "authProvider"},
		`{`:                                      {fault.InvalidKubeconfig, "is no JSON"},
		`[]`:                                     {fault.InvalidKubeconfig, "is no JSON"},
		`{"bearerToken": 5}`:                     {fault.InvalidKubeconfig, "something else in bearerToken than a string"},
		`{"tlsClientConfig": {"caData": "***"}}`: {fault.InvalidKubeconfig, "base64"},
		`{"tlsClientConfig": {"caData": "eA=="}}`:   {fault.InvalidKubeconfig, "caData holds no certificate"},
		`{"tlsClientConfig": {"certData": "eA=="}}`: {fault.InvalidKubeconfig, "certData and keyData"},
		`{"bearerToken": "t", "username": "ada"}`:   {fault.InvalidKubeconfig, "both a bearerToken and a username"},
	} {
		s := read(secret("cluster", "x", "server", "https://x", "name", "x", "config", config), secret("cluster", "y", "server", "https://y", "name", "y"))
		got, err := s.Cluster("", "x", "default")
		f := fault.Of(err)
		if err == nil || f.Reason != c.reason || f.Next != fault.Wait || f.Hint == "" || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), "cluster https://x: Secret x: ") {
			t.Errorf("%s: %v", config, err)
		}
		if !got.Target.Invalid || got.Target.Config != nil || got.Server != "https://x" || len(s.Problems) != 1 {
			t.Errorf("%s: %+v, %v", config, got, s.Problems)
		}
		if _, err := s.Cluster("", "y", "default"); err != nil {
			t.Errorf("%s: another cluster: %v", config, err)
		}
	}
	if _, err := read(secret("cluster", "x", "server", "http://x", "name", "x")).Cluster("", "x", "default"); !fault.Is(err, fault.UnsafeKubeconfig) {
		t.Errorf("a server without TLS: %v", err)
	}
	if c := read(secret("cluster", "x", "name", "x")); len(c.Problems) != 1 || !strings.Contains(c.problems(), "Secret x: server") {
		t.Errorf("%v", c.Problems)
	}
}

func TestUnknownFieldsOfAClusterAreNamed(t *testing.T) {
	s := read(secret("cluster", "x", "server", "https://x", "name", "x", "clusterResource", "true", "config", `{"bearertoken": "t", "bearerTokn": "t", "tlsClientConfig": {"serverNam": "y"}}`))
	if got, want := s.problems(), "Secret x: key \"clusterResource\" is not known\nSecret x: key config: field \"bearerTokn\" is not known\nSecret x: key config: field \"tlsClientConfig.serverNam\" is not known\n"; got != want {
		t.Errorf("%s", got)
	}
	if c, err := s.Cluster("", "x", "default"); err != nil || c.Target.Config.BearerToken != "t" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAClusterOfAProjectIsForIt(t *testing.T) {
	s := read(
		secret("cluster", "a", "server", "https://x", "name", "x", "project", "other", "config", `{"bearerToken": "other"}`),
		secret("cluster", "b", "server", "https://x", "name", "x", "config", `{"bearerToken": "all"}`),
		secret("cluster", "c", "server", "https://x", "name", "x", "project", "shop", "config", `{"bearerToken": "shop"}`),
	)
	for project, want := range map[string]string{"shop": "shop", "other": "other", "default": "all"} {
		if c, err := s.Cluster("https://x", "", project); err != nil || c.Target.Config.BearerToken != want {
			t.Errorf("%s: %+v, %v", project, c, err)
		}
	}
	if len(s.Problems) > 0 {
		t.Errorf("%v", s.Problems)
	}
	skipped := secret("cluster", "s", "server", "https://s", "name", "s")
	skipped.Annotations = map[string]string{skipReconcile: "true"}
	if c, err := read(skipped).Cluster("https://s", "", "default"); err != nil || !c.Skipped {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAClusterThatIsLimitedToNamespaces(t *testing.T) {
	object := func(namespace string) project.Object {
		return project.Object{GroupKind: schema.GroupKind{Kind: "Thing"}, Name: "t", Namespace: namespace, Namespaced: namespace != ""}
	}
	limited, whole := Cluster{Namespaces: []string{"a"}}, Cluster{Namespaces: []string{"a"}, ClusterResources: true}
	for words, err := range map[string]error{
		`namespace "b" for Thing "t" is not managed`:                               limited.Manages(object("b")),
		`cluster level Thing "t" can not be managed when in namespaced mode`:       limited.Manages(object("")),
		`namespace "c" for Thing "t" is not managed (add it to namespaces in Secr`: whole.Manages(object("c")),
	} {
		if !fault.Is(err, fault.NotAdmitted) || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
	}
	for _, err := range []error{limited.Manages(object("a")), whole.Manages(object("")), Cluster{}.Manages(object("b")), Cluster{}.Manages(object(""))} {
		if err != nil {
			t.Error(err)
		}
	}
}

// What a Secret says leads to a real API server, and gets in.
func TestASecretOpensARealAPIServer(t *testing.T) {
	env := kubetest.Start(t)
	ns := env.Namespace(t)
	if err := rest.LoadTLSFiles(env.Config); err != nil {
		t.Fatal(err)
	}
	c := map[string]any{"bearerToken": env.Config.BearerToken, "tlsClientConfig": map[string]any{
		"caData": env.Config.CAData, "certData": env.Config.CertData, "keyData": env.Config.KeyData, "serverName": env.Config.ServerName,
	}}
	get := func(config any) error {
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		found, err := read(secret("cluster", "x", "server", env.Config.Host, "name", "x", "config", string(text))).Cluster("", "x", "default")
		if err != nil {
			return err
		}
		k, err := cluster.New(found.Target.Cluster, found.Target.Config)
		if err != nil {
			return err
		}
		client, err := k.As("")
		if err != nil {
			return err
		}
		_, err = client.Get(t.Context(), object.Ref{Kind: "Namespace", Name: ns}, "v1")
		return err
	}
	if err := get(c); err != nil {
		t.Errorf("%v", err)
	}
	if err := get(map[string]any{"tlsClientConfig": map[string]any{"caData": env.Config.CAData}}); err == nil {
		t.Error("anybody gets in")
	}
	if err := get(map[string]any{"bearerToken": "x"}); err == nil {
		t.Error("any server is believed")
	}
}
